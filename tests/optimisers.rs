//! Optimisers against PyTorch's, step by step in f64, in f32, and compiled; bounds on gradients.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::optim::{Adadelta, Adagrad, Adam, AdamW, Constraint, Lion, Optimiser, RmsProp, Sgd, Step, clip_by_norm, clip_by_value};
use kiln::pipeline::Config;
use kiln_ir::eval::evaluate;
use kiln_ir::{Builder, DType, Graph, Module, Tensor, TensorType};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::compare::{Tolerance, difference};

const START: [f64; 5] = [0.5, -1.0, 2.0, 0.0, 1.5];
const STEPS: i64 = 4;

/// The function of one update: parameter, gradient, learning rate, count and state in; parameter and state out.
fn update_graph(optimiser: &dyn Optimiser, dtype: DType) -> Graph {
    let mut graph = Graph::new();
    let ty = TensorType::fixed(dtype, &[5]);
    let parameter = graph.add_input("parameter", ty.clone());
    let gradient = graph.add_input("gradient", ty.clone());
    let learning_rate = graph.add_input("learning_rate", TensorType::fixed(DType::F64, &[]));
    let count = graph.add_input("count", TensorType::fixed(DType::I64, &[]));
    let state = optimiser.state().iter().map(|tensor| graph.add_input(tensor.name, ty.clone())).collect();
    let step = Step { parameter, gradient, state, learning_rate, count };
    let update = optimiser.update(&mut Builder::new(&mut graph), &step);
    graph.add_output("parameter", update.parameter);
    for (tensor, value) in optimiser.state().iter().zip(&update.state) {
        graph.add_output(tensor.name, *value);
    }
    graph
}

/// The parameter after four steps.
fn walk(optimiser: &dyn Optimiser, dtype: DType, rate: f64, run: &dyn Fn(&[Tensor]) -> Vec<Tensor>) -> Tensor {
    let floats = |values: Vec<f64>| Tensor::from_floats(dtype, vec![values.len()], values);
    let mut values = vec![floats(START.to_vec())];
    values.extend(optimiser.state().iter().map(|tensor| floats(vec![tensor.initial; 5])));
    for t in 1..=STEPS {
        let gradient = floats((1..=5).map(|i| (0.7 * t as f64 * f64::from(i)).cos()).collect());
        let given = [gradient, Tensor::scalar(DType::F64, rate), Tensor::i64(&[], &[t])];
        let inputs: Vec<Tensor> = values[..1].iter().chain(&given).chain(&values[1..]).cloned().collect();
        values = run(&inputs);
    }
    values.swap_remove(0)
}

/// PyTorch's call, the same here, the learning rate, and where the parameter ends.
type Case = (&'static str, Box<dyn Optimiser>, f64, [f64; 5]);

/// Where PyTorch 2.15 is after four steps in f64:
/// ```python
/// w = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.5], dtype=torch.float64, requires_grad=True)
/// optimiser = torch.optim.SGD([w], lr=0.1)                          # and so on, with the arguments below
/// for t in range(1, 5):
///     w.grad = torch.tensor([math.cos(0.7 * t * (i + 1)) for i in range(5)], dtype=torch.float64)
///     optimiser.step()
/// ```
fn cases() -> Vec<Case> {
    let weight_decay = 0.05;
    vec![
        (
            "SGD(lr=0.1)",
            Box::new(Sgd::default()),
            0.1,
            [0.5512259115083786, -0.9513049859401131, 2.0514536943673827, 0.048294025245634205, 1.5521354142735653],
        ),
        (
            "SGD(lr=0.1, weight_decay=0.05)",
            Box::new(Sgd { weight_decay, ..Sgd::default() }),
            0.1,
            [0.5423593175186711, -0.9323858056752328, 2.0110101006445955, 0.047401729261162616, 1.5214762409342846],
        ),
        (
            "SGD(lr=0.1, momentum=0.9)",
            Box::new(Sgd { momentum: 0.9, ..Sgd::default() }),
            0.1,
            [0.38105267000773774, -0.7875164779184783, 2.16843298245404, 0.19221626777996884, 1.694418238330725],
        ),
        (
            "SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05)",
            Box::new(Sgd { momentum: 0.9, nesterov: true, weight_decay }),
            0.1,
            [0.4219509081340153, -0.704200805729639, 2.077482581297087, 0.21478395780341802, 1.6308328250979085],
        ),
        (
            "RMSprop(lr=0.1)",
            Box::new(RmsProp::default()),
            0.1,
            [0.542541093168025, -1.1464352384625447, 3.2720711460935474, 0.6037261698404955, 2.1349551853302486],
        ),
        (
            "RMSprop(lr=0.1, alpha=0.9, centered=True, momentum=0.8, weight_decay=0.05)",
            Box::new(RmsProp { decay: 0.9, centred: true, momentum: 0.8, weight_decay, ..RmsProp::default() }),
            0.1,
            [-0.10652728774931057, -1.0575092239703128, 3.1522486586693086, 0.6429503645511766, 2.0485526202286746],
        ),
        (
            "Adagrad(lr=0.1)",
            Box::new(Adagrad::default()),
            0.1,
            [0.5035639448498528, -1.0144952590346288, 2.1269824636870354, 0.06047207642085539, 1.5635548951276956],
        ),
        (
            "Adagrad(lr=0.1, lr_decay=0.2, initial_accumulator_value=0.1, weight_decay=0.05)",
            Box::new(Adagrad { rate_decay: 0.2, initial: 0.1, weight_decay, ..Adagrad::default() }),
            0.1,
            [0.4661094728568428, -0.9568664047754115, 2.086454983949149, 0.06104853980369072, 1.5495400392183187],
        ),
        (
            "Adadelta(lr=1.0)",
            Box::new(Adadelta::default()),
            1.0,
            [0.5022427152622337, -0.9999404730017043, 2.004713999972566, 0.001492132782625577, 1.5016858031136613],
        ),
        (
            "Adam(lr=0.1)",
            Box::new(Adam::default()),
            0.1,
            [0.33085449785362725, -0.9539540531419125, 2.2089236441837024, 0.1465969576559072, 1.6492317516765758],
        ),
        (
            "Adam(lr=0.1, betas=(0.8, 0.9), amsgrad=True, weight_decay=0.05)",
            Box::new(Adam { beta1: 0.8, beta2: 0.9, amsgrad: true, weight_decay, ..Adam::default() }),
            0.1,
            [0.34726526939497676, -0.939490308170493, 2.168733174631187, 0.1345349032620225, 1.606958808327304],
        ),
        (
            "AdamW(lr=0.1, weight_decay=0.05)",
            Box::new(AdamW { adam: Adam { weight_decay, ..Adam::default() } }),
            0.1,
            [0.32332709548932537, -0.9335795936725211, 2.1667726185762635, 0.1449195167305916, 1.6177712300352827],
        ),
    ]
}

#[test]
fn optimisers_walk_where_pytorch_does() {
    let pool = ThreadPool::new(1);
    for (name, optimiser, rate, expected) in cases() {
        let expected = Tensor::from_floats(DType::F64, vec![5], expected);
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
            let graph = update_graph(&*optimiser, dtype);
            let by_reference = walk(&*optimiser, dtype, rate, &|inputs| evaluate(&Module::default(), &graph, inputs).expect("it computes"));
            let mut module = Module { name: "update".into(), ..Module::default() };
            module.functions.insert("predict".into(), graph.clone());
            let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
            let facts = ModelFacts { name: "update".into(), ..ModelFacts::default() };
            let compiled = compile(&module, target, facts, &Config::default()).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
            let predictor = compiled.predictor(&pool).expect("it loads");
            let compiled = walk(&*optimiser, dtype, rate, &|inputs| predictor.run(inputs, &pool).expect("it runs"));
            for found in [by_reference, compiled] {
                let found = Tensor::from_floats(DType::F64, vec![5], found.floats());
                let apart = difference(&found, &expected, Tolerance { absolute: tolerance, relative: tolerance });
                assert!(apart.is_none(), "{name} in {dtype}: {}", apart.unwrap_or_default());
            }
        }
    }
}

#[test]
fn lion_moves_by_its_rate_in_the_direction_of_the_sign() {
    // PyTorch has no Lion; these are the formulas of the paper, one element at a time.
    let optimiser = Lion { weight_decay: 0.05, ..Lion::default() };
    let graph = update_graph(&optimiser, DType::F64);
    let found = walk(&optimiser, DType::F64, 0.1, &|inputs| evaluate(&Module::default(), &graph, inputs).expect("it computes"));
    let expected = START.iter().zip(1..).map(|(start, i)| {
        let (mut p, mut m) = (*start, 0.0f64);
        for t in 1..=STEPS {
            let g = (0.7 * t as f64 * f64::from(i)).cos();
            let direction = (0.9 * m + 0.1 * g).signum();
            p -= 0.1 * (direction + 0.05 * p);
            m = 0.99 * m + 0.01 * g;
        }
        p
    });
    let expected = Tensor::from_floats(DType::F64, vec![5], expected);
    let apart = difference(&found, &expected, Tolerance { absolute: 1e-14, relative: 1e-14 });
    assert!(apart.is_none(), "{}", apart.unwrap_or_default());
}

#[test]
fn constraints_hold_for_each_output() {
    let found = |constraint: Constraint, incoming: &[usize]| {
        let mut graph = Graph::new();
        let w = graph.add_input("w", TensorType::fixed(DType::F64, &[2, 3]));
        let y = constraint.apply(&mut Builder::new(&mut graph), w, incoming);
        graph.add_output("y", y);
        let w = Tensor::from_floats(DType::F64, vec![2, 3], [3.0, 0.0, -0.6, 4.0, 0.0, 0.8]);
        evaluate(&Module::default(), &graph, &[w]).expect("it computes")[0].floats()
    };
    let close = |found: Vec<f64>, expected: [f64; 6]| {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, expected {expected:?}");
    };
    // The columns have norms 5, 0 and 1.
    close(found(Constraint::MaxNorm(2.0), &[0]), [1.2, 0.0, -0.6, 1.6, 0.0, 0.8]);
    close(found(Constraint::UnitNorm, &[0]), [0.6, 0.0, -0.6, 0.8, 0.0, 0.8]);
    let row = 3.0f64.hypot(0.6);
    close(
        found(Constraint::MaxNorm(1.0), &[1])[..3].iter().copied().chain([0.0; 3]).collect(),
        [3.0 / row, 0.0, -0.6 / row, 0.0, 0.0, 0.0],
    );
    close(found(Constraint::NonNegative, &[0]), [3.0, 0.0, 0.0, 4.0, 0.0, 0.8]);
}

#[test]
fn gradients_are_bounded_together_or_one_by_one() {
    let mut graph = Graph::new();
    let x = [("a", vec![1, 2]), ("b", vec![1]), ("none", vec![0])].map(|(n, s)| graph.add_input(n, TensorType::fixed(DType::F64, &s)));
    let mut b = Builder::new(&mut graph);
    let (by_norm, norm) = clip_by_norm(&mut b, &x, 5.0);
    let (loose, _) = clip_by_norm(&mut b, &x, 14.0);
    let by_value = clip_by_value(&mut b, &x, 3.5);
    for (i, value) in by_norm.into_iter().chain([norm]).chain(loose).chain(by_value).enumerate() {
        graph.add_output(format!("y{i}"), value);
    }
    let floats = |shape: &[usize], values: &[f64]| Tensor::from_floats(DType::F64, shape.to_vec(), values.iter().copied());
    let inputs = [floats(&[1, 2], &[3.0, -4.0]), floats(&[1], &[12.0]), floats(&[0], &[])];
    let found: Vec<Vec<f64>> = evaluate(&Module::default(), &graph, &inputs).expect("it computes").iter().map(Tensor::floats).collect();
    // torch.nn.utils.clip_grad_norm_ with max_norm=5 of these two gradients.
    assert_eq!(found[..4], [vec![1.1538460650887643, -1.5384614201183524], vec![4.615384260355057], vec![], vec![13.0]]);
    assert_eq!(found[4..7], [vec![3.0, -4.0], vec![12.0], vec![]]);
    assert_eq!(found[7..], [vec![3.0, -3.5], vec![3.5], vec![]]);
}
