//! A hundred steps of training: a model file, its loss, gradients and updates as one compiled function, against PyTorch's weights.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::frontend::model::{Language, parse};
use kiln::pipeline::Config;
use kiln::training::plan;
use kiln_ir::DType;
use kiln_runtime::arrays::Array;
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::stepper::{Functions, Stepper, initial_values};
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
[train]
loss = "sparse_cross_entropy"
optimiser = "adam"
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

/// The losses, and the parameters before and after, by name.
fn train(dtype: DType, threads: usize) -> (Vec<f64>, BTreeMap<String, [Vec<f64>; 2]>) {
    let text = format!("dtype = \"{dtype}\"\n{NET}");
    let model = parse("net.toml", "net", &text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"));
    let config = model.config.as_ref().expect("it says how it is trained");
    let plan = plan(&model, config).unwrap_or_else(|errors| panic!("{errors:?}"));
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let compiled = plan.compile(&target, &ModelFacts::default(), &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let pool = ThreadPool::new(threads);
    let [step, evaluation, trace] = compiled.load(&pool).expect("it loads");
    let functions = Functions::compiled([step.model(), evaluation.model(), trace.model()], &pool);
    let recipe = &plan.recipe;
    let mut stepper = Stepper::new(recipe, functions, 1).expect("it fits");

    let (mut states, mut n) = (initial_values(&recipe.states, 1).expect("small"), 0);
    let mut by_name: Vec<usize> = (0..recipe.parameters).collect();
    by_name.sort_by_key(|at| &recipe.states[*at].name);
    for at in by_name {
        for i in 0..states[at].len() {
            n += 1;
            states[at].set_f64(i, 0.5 * (0.7 * n as f64).sin());
        }
    }
    let values = |array: &Array| (0..array.len()).map(|i| array.get_f64(i)).collect::<Vec<f64>>();
    let first: Vec<Vec<f64>> = states[..recipe.parameters].iter().map(values).collect();
    stepper.restore(Vec::new(), states, 0);
    let (mut losses, mut x, mut labels) = (Vec::new(), array(dtype, &[4, 1, 8, 8]), array(DType::I64, &[4]));
    for t in 0..STEPS {
        (0..256).for_each(|i| x.set_f64(i, (0.3 * (i + 1) as f64 + 0.1 * t as f64).cos()));
        (0..4).for_each(|i| labels.set_f64(i, ((i * i + t) % 3) as f64));
        let batch = [&x, &labels].map(|a| Array::from_bytes(a.dtype(), a.shape().to_vec(), a.bytes()).expect("small"));
        losses.push(stepper.step(&batch, 0.01).unwrap_or_else(|error| panic!("{error}")));
    }
    let last = stepper.states()[..recipe.parameters].iter().map(values);
    let weights = recipe.states.iter().zip(first.into_iter().zip(last)).map(|(slot, (first, last))| (slot.name.clone(), [first, last]));
    (losses, weights.collect())
}

fn array(dtype: DType, shape: &[usize]) -> Array {
    Array::zeroed(dtype, shape.to_vec()).expect("small")
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
