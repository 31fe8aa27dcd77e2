//! A hundred steps of training: a model file, its loss, gradients and updates as one compiled function, against PyTorch's weights.

use kiln::artifact::describe::ModelFacts;
use kiln::autodiff::{Variable, differentiate};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::model::{Language, parse};
use kiln::losses::{CrossEntropy, LossReduction, Scores, sparse_cross_entropy};
use kiln::optim::{Adam, Optimiser, Step};
use kiln::pipeline::Config;
use kiln_ir::{Builder, DType, Dim, Graph, Module, NodeKind, Tensor, TensorType, Value};
use kiln_runtime::threads::ThreadPool;
use std::collections::BTreeMap;

const STEPS: usize = 100;

const NET: &str = r#"
[[input]]
name = "x"
shape = [1, 8, 8]
[[layer]]
type = "conv2d"
filters = 3
kernel = 3
padding = "same"
activation = "silu"
[[layer]]
type = "max_pool2d"
size = 2
[[layer]]
type = "conv2d"
filters = 4
kernel = 3
padding = "same"
activation = "silu"
[[layer]]
type = "max_pool2d"
size = 2
[[layer]]
type = "flatten"
[[layer]]
type = "dense"
units = 8
activation = "silu"
[[layer]]
type = "dense"
name = "scores"
units = 3
"#;

/// What PyTorch 2.15 computes in f64: the losses of steps 0, 1, 9, 49 and 99, then for each parameter the sum of its elements, their
/// sum weighted by 1, 2, 3, …, and their norm, after 100 steps.
/// ```python
/// # parameters, by name: 0.5 * sin(0.7 * n) for n from 1 on; optimiser = torch.optim.Adam(parameters, lr=0.01)
/// for t in range(100):
///     x = torch.tensor([math.cos(0.3 * (i + 1) + 0.1 * t) for i in range(4 * 64)], dtype=torch.float64).reshape(4, 1, 8, 8)
///     labels = torch.tensor([(i * i + t) % 3 for i in range(4)])
///     h = f.max_pool2d(f.silu(f.conv2d(x, w1, b1, padding=1)), 2)
///     h = f.max_pool2d(f.silu(f.conv2d(h, w2, b2, padding=1)), 2)
///     h = f.silu(h.flatten(1) @ w3 + b3)
///     loss = f.cross_entropy(h @ w4 + b4, labels)
///     optimiser.zero_grad(); loss.backward(); optimiser.step()
/// ```
const LOSSES: [(usize, f64); 5] =
    [(0, 1.0774428905507822), (1, 1.920653671568894), (9, 1.1038882164268875), (49, 1.1138894367337455), (99, 1.126400179957061)];
const WEIGHTS: [(&str, f64, f64, f64); 8] = [
    ("conv2d.bias", 0.975607465202881, 2.0594433782013466, 0.576174604808071),
    ("conv2d.weight", 0.12644241188650174, 14.013875321573012, 1.4775510120430055),
    ("conv2d_2.bias", -1.071489960208795, -3.7426867992796606, 0.7264315330044011),
    ("conv2d_2.weight", -1.3082833071675746, -138.1585671977023, 3.6272124158811083),
    ("dense.bias", 0.25908298170529426, -1.549780779180176, 0.9442126789053958),
    ("dense.weight", -3.3417142589108306, -263.08666007951047, 4.011121395806892),
    ("scores.bias", 1.207463155892404, 2.6407317540401323, 0.7199715064138851),
    ("scores.weight", -1.1389568414210607, -17.52496248658811, 1.6333440870166969),
];

/// A step as a function: x, labels, rate, count, then each parameter and its state; out come the loss and those, changed.
fn train_step(module: &Module, optimiser: &dyn Optimiser) -> Graph {
    let mut graph = module.predict().expect("it predicts").clone();
    let labels = graph.add_input("labels", TensorType::new(DType::I64, vec![Dim::symbol("batch")]));
    let scores = graph.outputs()[0].1;
    let choices = CrossEntropy { scores: Scores::Logits, label_smoothing: 0.0, reduction: LossReduction::Mean };
    let loss = sparse_cross_entropy(&mut Builder::new(&mut graph), scores, labels, choices);
    graph.add_output("loss", loss);
    let variables: Vec<Variable> = module.parameters.keys().map(|name| Variable::Parameter(name.clone())).collect();
    let gradient = differentiate(&graph, &["loss"], &variables).unwrap_or_else(|errors| panic!("{errors:?}"));

    let mut step = gradient.without_nodes();
    let mut map: BTreeMap<Value, Value> = BTreeMap::new();
    for (name, value) in gradient.inputs() {
        map.insert(*value, step.add_input(name, gradient.ty(*value).clone()));
    }
    let learning_rate = step.add_input("rate", TensorType::fixed(DType::F64, &[]));
    let count = step.add_input("count", TensorType::fixed(DType::I64, &[]));
    let mut held: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let state = optimiser.state();
    for (name, parameter) in &module.parameters {
        let tensors = ["value"].into_iter().chain(state.iter().map(|tensor| tensor.name)).map(|part| format!("{name}.{part}"));
        held.insert(name, tensors.map(|name| step.add_input(name, parameter.ty.clone())).collect());
    }
    for node in gradient.order() {
        if let NodeKind::Parameter(name) = &gradient.node(node).kind {
            map.insert(Value { node, result: 0 }, held[&**name][0]);
        }
    }
    let wanted: Vec<Value> = gradient.outputs()[1..].iter().map(|(_, v)| *v).collect();
    let computed = step.copy_from(&gradient, &wanted, &mut map);
    step.add_output("loss", computed[0]);
    for ((name, held), gradient) in held.iter().zip(&computed[1..]) {
        let inputs = Step { parameter: held[0], gradient: *gradient, state: held[1..].to_vec(), learning_rate, count };
        let update = optimiser.update(&mut Builder::new(&mut step), &inputs);
        for (part, value) in [update.parameter].into_iter().chain(update.state).enumerate() {
            step.add_output(format!("{name}.{part}"), value);
        }
    }
    step
}

/// The losses, and the parameters before and after, by name.
fn train(dtype: DType, threads: usize) -> (Vec<f64>, BTreeMap<String, [Vec<f64>; 2]>) {
    let text = format!("dtype = \"{dtype}\"\n{NET}");
    let model = parse("net.toml", "net", &text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"));
    let optimiser = Adam::default();
    let mut module = Module { name: "step".into(), ..Module::default() };
    module.functions.insert("predict".into(), train_step(&model.module, &optimiser));
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let facts = ModelFacts { name: "step".into(), ..ModelFacts::default() };
    let compiled = compile(&module, target, facts, &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let pool = ThreadPool::new(threads);
    let predictor = compiled.predictor(&pool).expect("it loads");

    let (mut held, mut n) = (Vec::new(), 0);
    for parameter in model.parameters.values() {
        let shape: Vec<usize> = parameter.ty.shape.iter().map(|d| d.as_const().expect("known") as usize).collect();
        let elements = shape.iter().product::<usize>();
        held.push(Tensor::from_floats(dtype, shape.clone(), (n + 1..=n + elements).map(|n| 0.5 * (0.7 * n as f64).sin())));
        for tensor in optimiser.state() {
            held.push(Tensor::from_floats(dtype, shape.clone(), vec![tensor.initial; elements]));
        }
        n += elements;
    }
    let first = held.clone();
    let mut losses = Vec::new();
    for t in 0..STEPS {
        let x = Tensor::from_floats(dtype, vec![4, 1, 8, 8], (1..=256).map(|i| (0.3 * f64::from(i) + 0.1 * t as f64).cos()));
        let labels = Tensor::from_ints(DType::I64, vec![4], (0..4).map(|i| (i * i + t as i128) % 3));
        let given = [x, labels, Tensor::scalar(DType::F64, 0.01), Tensor::i64(&[], &[t as i64 + 1])];
        let inputs: Vec<Tensor> = given.into_iter().chain(held).collect();
        let mut outputs = predictor.run(&inputs, &pool).unwrap_or_else(|error| panic!("{error}"));
        held = outputs.split_off(1);
        losses.push(outputs[0].floats()[0]);
    }
    let each = 1 + optimiser.state().len();
    let weights = model.parameters.keys().enumerate().map(|(i, name)| (name.clone(), [&first, &held].map(|all| all[i * each].floats())));
    (losses, weights.collect())
}

#[test]
fn a_hundred_steps_end_where_pytorch_does() {
    let (losses, weights) = train(DType::F64, 1);
    for (step, expected) in LOSSES {
        assert!((losses[step] - expected).abs() <= 1e-9, "step {step}: {}, expected {expected}", losses[step]);
    }
    for (name, sum, weighted, norm) in WEIGHTS {
        let values = &weights[name][1];
        let found = [
            values.iter().sum::<f64>(),
            values.iter().zip(1..).map(|(v, n)| v * f64::from(n)).sum(),
            values.iter().map(|v| v * v).sum::<f64>().sqrt(),
        ];
        for ((found, expected), scale) in found.into_iter().zip([sum, weighted, norm]).zip([1.0, values.len() as f64, 1.0]) {
            assert!((found - expected).abs() <= 1e-8 * scale * norm, "{name}: {found}, expected {expected}");
        }
    }
}

#[test]
fn single_precision_stays_beside_it_and_threads_change_nothing() {
    let (exact_losses, exact) = train(DType::F64, 1);
    let (losses, weights) = train(DType::F32, 1);
    for (t, (found, expected)) in losses.iter().zip(&exact_losses).enumerate() {
        assert!((found - expected).abs() <= 1e-4, "step {t}: {found}, expected {expected}");
    }
    let norm = |pairs: &mut dyn Iterator<Item = (f64, f64)>| pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    let [mut apart, mut moved] = [0.0f64; 2];
    for (name, [first, last]) in &exact {
        apart = apart.hypot(norm(&mut weights[name][1].iter().copied().zip(last.iter().copied())));
        moved = moved.hypot(norm(&mut first.iter().copied().zip(last.iter().copied())));
    }
    assert!(apart <= 1e-2 * moved, "weights are {apart} apart after moving by {moved}");
    assert_eq!(train(DType::F32, 2), (losses, weights));
}
