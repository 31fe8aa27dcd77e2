//! Gradients in f64, of whole small networks and at the places where products vanish, against central differences; those of networks
//! and of every operator compiled against the reference.

use kiln::artifact::describe::ModelFacts;
use kiln::autodiff::{Variable, differentiate};
use kiln::backend::cpu::jit::Predictor;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::pipeline::Config;
use kiln_ir::attr::Real;
use kiln_ir::dim::Range;
use kiln_ir::eval::evaluate;
use kiln_ir::graph::Parameter;
use kiln_ir::ops::{self, Activation, WindowKind};
use kiln_ir::verify::verify_module;
use kiln_ir::{Builder, DType, Diagnostic, Dim, Graph, Module, Op, Symbol, Tensor, TensorType, Value};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::instances::{self, Instance};
use kiln_tests::samples::{Fill, Random, tensor};
use kiln_tests::slopes::{Function, gradient_graph, slopes, wrong_slope};

/// Sizes of the batch that each network runs at.
const BATCHES: [usize; 3] = [1, 2, 5];
const SLOPES: Tolerance = Tolerance { absolute: 1e-8, relative: 1e-6 };
/// Sums of some hundred products in another order, and composites made of their parts.
const COMPILED: Tolerance = Tolerance { absolute: 1e-12, relative: 1e-11 };

/// Quotients of them, too.
const COMPILED_OPERATOR: Tolerance = Tolerance { absolute: 1e-11, relative: 1e-10 };

/// A network under construction: f64 inputs `[batch, ..]`, weights as inputs of constant sizes, labels.
struct Network {
    graph: Graph,
}

impl Network {
    fn new() -> Network {
        let mut graph = Graph::new();
        graph.symbols.set(Symbol::new("batch"), Range { min: 1, max: 64 });
        Network { graph }
    }

    fn batched(&mut self, name: &str, dtype: DType, rest: &[usize]) -> Value {
        let shape: Vec<Dim> = [Dim::symbol("batch")].into_iter().chain(rest.iter().map(|&d| Dim::from(d))).collect();
        self.graph.add_input(name, TensorType::new(dtype, shape))
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> Value {
        self.graph.add_input(name, TensorType::fixed(DType::F64, shape))
    }

    fn b(&mut self) -> Builder<'_> {
        Builder::new(&mut self.graph)
    }

    /// x·w + bias over the last axis.
    fn dense(&mut self, name: &str, x: Value, from: usize, to: usize) -> Value {
        let (w, bias) = (self.weight(&format!("{name}.w"), &[from, to]), self.weight(&format!("{name}.b"), &[to]));
        let last = self.graph.ty(x).rank() - 1;
        let mut b = self.b();
        let dot = ops::Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![last], b_contract: vec![0] };
        let product = b.op(dot, &[x, w]);
        b.add(product, bias)
    }

    /// Mean cross-entropy of scores `[batch, classes]` with labels.
    fn classify(mut self, scores: Value) -> Graph {
        let labels = self.batched("labels", DType::I64, &[]);
        let loss = ops::SoftmaxCrossEntropy { reduction: ops::LossReduction::Mean, ignore_index: None, has_weights: false };
        let loss = self.b().op(loss, &[scores, labels]);
        self.graph.add_output("loss", loss);
        self.graph
    }

    /// Mean of squares.
    fn squares(mut self, y: Value) -> Graph {
        let axes: Vec<usize> = (0..self.graph.ty(y).rank()).collect();
        let mut b = self.b();
        let squares = b.mul(y, y);
        let loss = b.op(ops::Mean { axes, keep: false }, &[squares]);
        self.graph.add_output("loss", loss);
        self.graph
    }
}

fn padding(amount: usize) -> Vec<Dim> {
    vec![Dim::from(amount); 2]
}

/// Strided, grouped and dilated convolutions, both poolings, dense.
fn convolutional() -> Graph {
    let mut net = Network::new();
    let x = net.batched("x", DType::F64, &[2, 7, 6]);
    let (w1, w2) = (net.weight("conv1.w", &[4, 2, 3, 3]), net.weight("conv2.w", &[4, 2, 2, 2]));
    let bias = net.weight("conv1.b", &[4, 1, 1]);
    let mut b = net.b();
    let first = ops::Conv { low: padding(1), high: padding(1), strides: vec![1, 2], ..ops::Conv::plain(2) };
    let h = b.op(first, &[x, w1]);
    let h = b.add(h, bias);
    let h = b.op(ops::Silu {}, &[h]);
    let pool = |kind| ops::WindowReduce {
        kind,
        window: vec![2, 2],
        strides: vec![2, 1],
        dilations: vec![1, 1],
        low: padding(0),
        high: padding(0),
    };
    let h = b.op(pool(WindowKind::Max), &[h]);
    let second = ops::Conv { low: padding(1), high: padding(1), groups: 2, dilations: vec![2, 1], ..ops::Conv::plain(2) };
    let h = b.op(second, &[h, w2]);
    let h = b.op(ops::Relu {}, &[h]);
    let h = b.op(pool(WindowKind::Sum), &[h]);
    let shape = b.shape(h);
    let features = Dim::product(&shape[1..]);
    let flat = b.reshape(h, &[shape[0].clone(), features.clone()]);
    let features = features.as_const().expect("known") as usize;
    let scores = net.dense("head", flat, features, 3);
    net.classify(scores)
}

fn perceptron_with_norms() -> Graph {
    let mut net = Network::new();
    let x = net.batched("x", DType::F64, &[5]);
    let h = net.dense("first", x, 5, 6);
    let (scale, shift, gain) = (net.weight("norm.scale", &[6]), net.weight("norm.bias", &[6]), net.weight("rms.scale", &[6]));
    let mut b = net.b();
    let h = b.op(ops::LayerNorm { axes_from: 1, epsilon: Real(1e-3) }, &[h, scale, shift]);
    let h = b.op(ops::Gelu { approximate: ops::GeluKind::Erf }, &[h]);
    let h = b.op(ops::RmsNorm { axes_from: 1, epsilon: Real(1e-3) }, &[h, gain]);
    let scores = net.dense("second", h, 6, 4);
    net.classify(scores)
}

/// Embedding, causal attention of two heads, a residual and a norm over a sequence of 3.
fn attention_block() -> Graph {
    let mut net = Network::new();
    let tokens = net.batched("tokens", DType::I64, &[3]);
    let table = net.weight("table", &[4, 4]);
    let x = net.b().gather(table, tokens, 0);
    let [q, k, v] = ["q", "k", "v"].map(|name| {
        let y = net.dense(name, x, 4, 4);
        let mut b = net.b();
        let batch = b.shape(y)[0].clone();
        let heads = b.reshape(y, &[batch, 3.into(), 2.into(), 2.into()]);
        b.transpose(heads, &[0, 2, 1, 3])
    });
    let mut b = net.b();
    let y = b.op(ops::Attention { causal: true, ..ops::Attention::plain() }, &[q, k, v]);
    let y = b.transpose(y, &[0, 2, 1, 3]);
    let shape = b.shape(x);
    let y = b.reshape(y, &shape);
    let y = b.add(x, y);
    let y = b.op(ops::Softmax { axis: 2 }, &[y]);
    net.squares(y)
}

/// An LSTM over lengths that differ, then a GRU backwards over its outputs.
fn recurrent() -> Graph {
    let mut net = Network::new();
    let x = net.batched("x", DType::F64, &[4, 2]);
    let lengths = net.batched("lengths", DType::I64, &[]);
    let [w, r, bias] = [("lstm.w", vec![12, 2]), ("lstm.r", vec![12, 3]), ("lstm.bias", vec![24])].map(|(n, s)| net.weight(n, &s));
    let [gw, gr, gb] = [("gru.w", vec![6, 3]), ("gru.r", vec![6, 2]), ("gru.bias", vec![12])].map(|(n, s)| net.weight(n, &s));
    let mut b = net.b();
    let steps = b.transpose(x, &[1, 0, 2]);
    let zero = b.scalar(DType::F64, 0.0);
    let batch = Dim::symbol("batch");
    let state = b.broadcast_to(zero, &[batch.clone(), 3.into()]);
    let lstm = ops::Lstm {
        hidden: 3,
        activations: vec![Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
        alphas: vec![Real(0.0); 3],
        betas: vec![Real(0.0); 3],
        clip: None,
        input_forget: false,
        reverse: false,
        has_lengths: true,
        has_peepholes: false,
    };
    let outputs = b.ops(lstm, &[steps, w, r, bias, state, state, lengths])[0];
    let state = b.broadcast_to(zero, &[batch, 2.into()]);
    let gru = ops::Gru {
        hidden: 2,
        activations: vec![Activation::Sigmoid, Activation::Tanh],
        alphas: vec![Real(0.0); 2],
        betas: vec![Real(0.0); 2],
        clip: None,
        linear_before_reset: true,
        reverse: true,
        has_lengths: false,
    };
    let outputs = b.ops(gru, &[outputs, gw, gr, gb, state])[0];
    net.squares(outputs)
}

/// One matrix applied three times with residuals: every use adds to its gradient.
fn shared_residual() -> Graph {
    let mut net = Network::new();
    let mut x = net.batched("x", DType::F64, &[3]);
    let w = net.weight("w", &[3, 3]);
    for _ in 0..3 {
        let mut b = net.b();
        let product = b.matmul(x, w);
        let bent = b.tanh(product);
        x = b.add(x, bent);
    }
    let mut b = net.b();
    let factors = b.reduce_prod(x, &[1], false);
    net.squares(factors)
}

fn networks() -> Vec<(&'static str, Graph)> {
    vec![
        ("convolutional", convolutional()),
        ("perceptron with norms", perceptron_with_norms()),
        ("attention block", attention_block()),
        ("recurrent", recurrent()),
        ("shared residual", shared_residual()),
    ]
}

fn floating(graph: &Graph) -> Vec<Variable> {
    let smooth = graph.inputs().iter().filter(|(_, v)| graph.ty(*v).dtype == DType::F64);
    smooth.map(|(name, _)| Variable::Input(name.clone())).collect()
}

fn inputs(graph: &Graph, batch: usize, random: &mut Random) -> Vec<Tensor> {
    let draw = |(name, value): &(String, Value)| {
        let ty = graph.ty(*value);
        let size = |d: &Dim| d.evaluate(&|_| Some(batch as i64)).expect("only the batch is open") as usize;
        let shape: Vec<usize> = ty.shape.iter().map(size).collect();
        // Three classes, four tokens, lengths of up to four.
        let interval = if ty.dtype == DType::F64 {
            (-0.9, 0.9)
        } else if name == "lengths" {
            (0.0, 4.0)
        } else {
            (0.0, 2.0)
        };
        tensor(ty.dtype, &shape, Fill::Ordinary, Some(interval), random)
    };
    graph.inputs().iter().map(draw).collect()
}

fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    evaluate(&Module::default(), graph, inputs).unwrap_or_else(|e| panic!("{e}"))
}

fn module_of(graph: Graph) -> Module {
    let mut module = Module { name: "net".into(), ..Module::default() };
    module.functions.insert("predict".into(), graph);
    module
}

fn compiled(module: &Module, pool: &ThreadPool) -> Result<Predictor, Vec<Diagnostic>> {
    let target = CpuTarget::host(CpuLevel::Native).map_err(|error| vec![error])?;
    let facts = ModelFacts { name: "net".into(), ..ModelFacts::default() };
    compile(module, target, facts, &Config::default())?.predictor(pool).map_err(|error| vec![error])
}

fn gradient_of(name: &str, graph: &Graph) -> Graph {
    differentiate(graph, &["loss"], &floating(graph)).unwrap_or_else(|errors| panic!("{name}: {errors:?}"))
}

#[test]
fn gradients_of_networks_are_slopes() {
    for (name, graph) in networks() {
        let gradient = gradient_of(name, &graph);
        let mut random = Random::new(11);
        let inputs = inputs(&graph, 3, &mut random);
        let found = run(&gradient, &inputs);
        let loss = |inputs: &[Tensor]| run(&graph, inputs)[0].floats()[0];
        let apart = difference(&found[0], &run(&graph, &inputs)[0], COMPILED);
        assert!(apart.is_none(), "{name}: the loss itself: {}", apart.unwrap_or_default());
        let smooth = (0..inputs.len()).filter(|i| inputs[*i].dtype() == DType::F64);
        for (operand, found) in smooth.zip(&found[1..]) {
            let apart = difference(found, &slopes(&loss, &inputs, operand), SLOPES);
            assert!(apart.is_none(), "{name}: by {}: {}", graph.inputs()[operand].0, apart.unwrap_or_default());
        }
    }
}

#[test]
fn compiled_gradients_agree_with_the_reference_at_every_batch() {
    let pool = ThreadPool::new(2);
    for (name, graph) in networks() {
        let gradient = gradient_of(name, &graph);
        let module = module_of(gradient.clone());
        verify_module(&module).unwrap_or_else(|errors| panic!("{name}: {errors:?}\n{module}"));
        let predictor = compiled(&module, &pool).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let mut random = Random::new(12);
        for batch in BATCHES {
            let inputs = inputs(&graph, batch, &mut random);
            let found = predictor.run(&inputs, &pool).unwrap_or_else(|error| panic!("{name}, {batch}: {error}"));
            for ((found, expected), (output, _)) in found.iter().zip(run(&gradient, &inputs)).zip(gradient.outputs()) {
                let apart = difference(found, &expected, COMPILED);
                assert!(apart.is_none(), "{name}, batch {batch}: {output}: {}", apart.unwrap_or_default());
            }
        }
    }
}

#[test]
fn compiled_gradients_of_every_operator_agree_with_the_reference() {
    let pool = ThreadPool::new(2);
    let mut compared = 0;
    for (name, mut example) in Op::all_examples() {
        if example.rejected.is_some() {
            continue;
        }
        for (ty, interval) in example.inputs.iter_mut().zip(&mut example.values).filter(|(ty, _)| ty.dtype.is_float()) {
            ty.dtype = DType::F64;
            interval.get_or_insert(if name == "acosh" { (1.2, 2.0) } else { (0.2, 0.9) });
        }
        // Some examples hold regions of one type.
        let Ok(function) = instances::function(&example) else { continue };
        let mut made: Option<(Graph, Graph, Predictor)> = None;
        for symbols in instances::sizes(&example) {
            let function = instances::bind_undefined(&function, &symbols);
            let instance = Instance { name, example: example.clone(), graph: function.clone(), symbols: symbols.clone() };
            if made.as_ref().is_none_or(|(of, _, _)| *of != function) {
                let Some(gradient) = gradient_of_squares(&function) else { continue };
                let module = module_of(gradient.clone());
                verify_module(&module).unwrap_or_else(|errors| panic!("{instance}: {errors:?}\n{module}"));
                // An artefact takes its symbols from whole axes of its inputs.
                let whole = |ty: &TensorType| ty.shape.iter().all(|d| d.as_const().is_some() || d.as_symbol().is_some());
                if !example.inputs.iter().all(whole) {
                    continue;
                }
                let predictor = compiled(&module, &pool).unwrap_or_else(|errors| panic!("{instance}: {errors:?}"));
                made = Some((function, gradient, predictor));
            }
            let Some((_, gradient, predictor)) = &made else { continue };
            if gradient.guards.iter().any(|g| g.holds(&|s| symbols.get(s).copied()) != Some(true)) {
                continue;
            }
            let mut random = instance.random();
            let inputs = instance.inputs(Fill::Ordinary, &mut random);
            let expected = run(gradient, &inputs);
            let found = predictor.run(&inputs, &pool).unwrap_or_else(|error| panic!("{instance}: {error}"));
            for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let apart = difference(found, expected, COMPILED_OPERATOR);
                assert!(apart.is_none(), "{instance}: output {place}: {}", apart.unwrap_or_default());
                compared += 1;
            }
        }
    }
    assert!(compared > 300, "only {compared} gradients were compared");
}

/// The function with the gradients of the sum of squares of its results, which make every gradient depend on its place.
fn gradient_of_squares(function: &Graph) -> Option<Graph> {
    let mut graph = function.clone();
    let smooth: Vec<Value> = function.outputs().iter().map(|(_, v)| *v).filter(|v| function.ty(*v).dtype.is_float()).collect();
    let mut names = Vec::new();
    for value in smooth {
        let square = Builder::new(&mut graph).mul(value, value);
        names.push(format!("square{}", names.len()));
        graph.add_output(names[names.len() - 1].clone(), square);
    }
    // Operators that pass nothing on are refused.
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    differentiate(&graph, &names, &floating(function)).ok().filter(|g| g.outputs().len() > graph.outputs().len())
}

#[test]
fn products_have_slopes_where_factors_are_zero() {
    let reduce = ops::Reduce { kind: ops::ReduceKind::Prod, axes: vec![1], keep: false };
    let running = |exclusive, reverse| ops::Cumulative { kind: ops::CumulativeKind::Prod, axis: 1, exclusive, reverse };
    let rows = Tensor::from_floats(DType::F64, vec![3, 3], [0.5, 0.0, -0.7, 0.0, 0.0, 0.9, 0.3, 0.4, 0.0]);
    let mut cases: Vec<(Op, Vec<Tensor>)> = vec![(reduce.into(), vec![rows.clone()])];
    for (exclusive, reverse) in [(false, false), (false, true), (true, false), (true, true)] {
        cases.push((running(exclusive, reverse).into(), vec![rows.clone()]));
    }
    let scatter = ops::ScatterElements { axis: 0, reduction: ops::ScatterReduction::Mul };
    let floats = |values: &[f64]| Tensor::from_floats(DType::F64, vec![values.len()], values.iter().copied());
    let (x, updates) = (floats(&[0.0, 0.5, 0.7]), floats(&[0.3, 0.0, 0.0, 0.2]));
    cases.push((scatter.into(), vec![x, Tensor::i64(&[4], &[0, 1, 1, 2]), updates]));
    for (op, inputs) in cases {
        let mut graph = Graph::new();
        let x: Vec<Value> = inputs.iter().enumerate().map(|(i, x)| graph.add_input(format!("x{i}"), x.ty())).collect();
        let y = Builder::new(&mut graph).op(op.clone(), &x);
        graph.add_output("y", y);
        let wrong = wrong_slope(&graph, &gradient_graph(&graph), &inputs, SLOPES, &mut Random::new(14));
        assert!(wrong.is_none(), "{op:?}: {}", wrong.unwrap_or_default());
    }
}

#[test]
fn a_gradient_is_differentiated_again() {
    // Second derivatives of the smooth networks, by differences of their first.
    for (name, graph) in [("perceptron", perceptron_with_norms()), ("recurrent", recurrent()), ("residual", shared_residual())] {
        let first = gradient_of(name, &graph);
        let variables = floating(&graph);
        let last = variables.last().expect("there are weights").clone();
        let outputs = [format!("gradient.{}", variables[0].name())];
        let second =
            differentiate(&first, &[&outputs[0]], std::slice::from_ref(&last)).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let inputs = inputs(&graph, 2, &mut Random::new(13));
        let place = graph.inputs().iter().position(|(n, _)| n == last.name()).expect("it is an input");
        let slope = |inputs: &[Tensor]| run(&first, inputs)[1].floats().iter().sum();
        let found = run(&second, &inputs).pop().expect("the last output");
        let apart = difference(&found, &slopes(&slope, &inputs, place), SLOPES);
        assert!(apart.is_none(), "{name}: {}", apart.unwrap_or_default());
    }
}

#[test]
fn what_is_repeated_at_run_time_only_gets_the_sum() {
    // Whether x is repeated along y, or y along x, or neither, depends on the sizes of the call.
    let mut graph = Graph::new();
    let [x, y] =
        [("x", "n"), ("y", "m")].map(|(name, d)| graph.add_input(name, TensorType::new(DType::F64, vec![2.into(), Dim::symbol(d)])));
    let mut b = Builder::new(&mut graph);
    let product = b.mul(x, y);
    let bent = b.sin(product);
    graph.add_output("loss", bent);
    let gradient = gradient_of("repeated", &graph);
    let pool = ThreadPool::new(1);
    let predictor = compiled(&module_of(gradient.clone()), &pool).expect("it compiles");
    let mut random = Random::new(15);
    for (n, m) in [(1, 1), (1, 4), (4, 1), (4, 4), (0, 1), (1, 0), (0, 0)] {
        let draw = |size: usize, random: &mut Random| tensor(DType::F64, &[2, size], Fill::Ordinary, Some((-0.9, 0.9)), random);
        let inputs = vec![draw(n, &mut random), draw(m, &mut random)];
        let loss = |inputs: &[Tensor]| run(&graph, inputs)[0].floats().iter().sum();
        let (found, again) = (run(&gradient, &inputs), predictor.run(&inputs, &pool).expect("it runs"));
        for operand in 0..2 {
            for found in [&found, &again] {
                let apart = difference(&found[1 + operand], &slopes(&loss, &inputs, operand), SLOPES);
                assert!(apart.is_none(), "n = {n}, m = {m}, operand {operand}: {}", apart.unwrap_or_default());
            }
        }
    }
}

/// A loop whose steps hold loops: the gradient of a running product is one, and it stands inside the gradient of the outer loop.
fn loop_in_a_loop() -> Graph {
    let row = || TensorType::new(DType::F64, vec![Dim::symbol("n")]);
    let mut body = Graph::new();
    let [h, x, w] = ["h", "x", "w"].map(|name| body.add_input(name, row()));
    let mut b = Builder::new(&mut body);
    let running = ops::Cumulative { kind: ops::CumulativeKind::Prod, axis: 0, exclusive: false, reverse: false };
    let scaled = b.mul(x, w);
    let products = b.op(running, &[scaled]);
    let sum = b.add(h, products);
    let next = b.tanh(sum);
    let square = b.mul(next, w);
    body.add_output("h", next);
    body.add_output("y", square);
    let mut graph = Graph::new();
    let h = graph.add_input("h", row());
    let x = graph.add_input("x", TensorType::new(DType::F64, vec![Dim::symbol("t"), Dim::symbol("n")]));
    let w = graph.add_input("w", row());
    let scan = ops::Scan { body: std::sync::Arc::new(body), carried: 1, scanned: 1, reverse: true };
    let results = Builder::new(&mut graph).ops(scan, &[h, x, w]);
    let mut b = Builder::new(&mut graph);
    let (last, all) = (b.reduce_sum(results[0], &[0], false), b.reduce_sum(results[1], &[0, 1], false));
    let loss = b.add(last, all);
    graph.add_output("loss", loss);
    graph
}

#[test]
fn loops_inside_loops_have_gradients_twice() {
    let graph = loop_in_a_loop();
    let first = gradient_of("loops", &graph);
    let second = differentiate(&first, &["gradient.x"], &floating(&graph)).unwrap_or_else(|errors| panic!("{errors:?}"));
    let pool = ThreadPool::new(1);
    let module = module_of(second.clone());
    verify_module(&module).unwrap_or_else(|errors| panic!("{errors:?}\n{module}"));
    let predictor = compiled(&module, &pool).unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut random = Random::new(16);
    for (t, n) in [(3, 4), (1, 1), (0, 2), (2, 0)] {
        let shapes: [&[usize]; 3] = [&[n], &[t, n], &[n]];
        let inputs = shapes.map(|shape| tensor(DType::F64, shape, Fill::Ordinary, Some((-0.9, 0.9)), &mut random));
        // Outputs: the loss, its gradients by h, x and w, then those of the sum of the gradient by x.
        let expected = run(&second, &inputs);
        let sums: [Function; 2] = [&|inputs| run(&graph, inputs)[0].floats()[0], &|inputs| run(&first, inputs)[2].floats().iter().sum()];
        for (at, sum) in sums.into_iter().enumerate() {
            for operand in 0..3 {
                let apart = difference(&expected[1 + 3 * at + operand], &slopes(sum, &inputs, operand), SLOPES);
                assert!(apart.is_none(), "t = {t}, n = {n}, order {}, operand {operand}: {}", at + 1, apart.unwrap_or_default());
            }
        }
        let found = predictor.run(&inputs, &pool).unwrap_or_else(|error| panic!("{error}"));
        for (found, expected) in found.iter().zip(&expected) {
            let apart = difference(found, expected, COMPILED);
            assert!(apart.is_none(), "t = {t}, n = {n}: {}", apart.unwrap_or_default());
        }
    }
}

#[test]
fn a_parameter_has_one_gradient_wherever_it_is_used() {
    let ty = TensorType::fixed(DType::F64, &[2]);
    let mut graph = Graph::new();
    let first = graph.add_parameter("w", ty.clone());
    let second = graph.add_parameter("w", ty.clone());
    let product = Builder::new(&mut graph).mul(first, second);
    graph.add_output("loss", product);
    let gradient = differentiate(&graph, &["loss"], &[Variable::Parameter("w".into())]).expect("it is smooth");
    let mut module = module_of(gradient.clone());
    let value = Tensor::from_floats(DType::F64, vec![2], [3.0, -4.0]);
    module.parameters.insert("w".into(), Parameter { ty, value: Some(value) });
    assert_eq!(evaluate(&module, &gradient, &[]).expect("it computes")[1].floats(), [6.0, -8.0]);
}

#[test]
fn unknown_names_get_the_nearest() {
    let graph = shared_residual();
    let errors = differentiate(&graph, &["los"], &[Variable::Input("y".into()), Variable::Parameter("w".into())]).unwrap_err();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(texts.join("\n"), @r"
    error[unknown_output]: the function has no output `los` to differentiate
      help: did you mean `loss`?
    error[unknown_variable]: the function has no input `y` to differentiate by
      help: did you mean `x`?
    error[unknown_variable]: the function has no parameter `w` to differentiate by
      help: there are none
    ");
}
