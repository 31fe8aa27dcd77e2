//! Training of Keras models against Keras's own `train_on_batch` (`files/keras/train.py`): losses step by step, and predictions
//! afterwards, which use the statistics that the steps left. What draws random numbers is compared with what its law says.

use kiln::artifact::describe::ModelFacts;
use kiln::autodiff::{Variable, differentiate};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::keras::{Imported, load, parse};
use kiln::frontend::model::Model;
use kiln::pipeline::Config;
use kiln_ir::eval::evaluate;
use kiln_ir::ops::Mean;
use kiln_ir::{Builder, DType, Graph, Module, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::Npz;
use kiln_runtime::threads::ThreadPool;
use kiln_tests::bless::repository;
use kiln_tests::compare::farthest;
use kiln_tests::samples::Random;
use kiln_tests::steps::{Trained, numbers, train};
use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

/// Both compute in f32, in another order.
const CLOSE: f64 = 1e-5;
/// What bfloat16 leaves.
const COARSE: f64 = 1e-2;

/// The models of the folder: those that are trained, or all others.
fn models(trained: bool) -> Vec<PathBuf> {
    let folder = repository().join("tests/files/keras");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    let is_trained = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("train_"));
    let is_model = |path: &Path| path.extension().is_some_and(|ending| ending == "keras" || ending == "h5");
    paths.retain(|path| is_model(path) && is_trained(path) == trained);
    paths.sort();
    assert!(paths.len() >= 10, "{paths:?}");
    paths
}

fn read(arrays: &mut Npz, name: &str) -> Array {
    arrays.read(name).unwrap_or_else(|error| panic!("{error}")).unwrap_or_else(|| panic!("no array {name}"))
}

/// One step of an array of all.
fn part(array: &Array, step: usize) -> Array {
    let (steps, shape) = array.shape().split_first().expect("steps are first");
    let size = array.bytes().len() / steps;
    Array::from_bytes(array.dtype(), shape.to_vec(), &array.bytes()[step * size..][..size]).expect("small")
}

/// What is too far from Keras, in words.
fn compare(path: &Path) -> Vec<String> {
    let name = path.file_stem().expect("it has a name").to_string_lossy();
    let Imported { model, training } = load(path).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    assert_eq!(training.left_out, Vec::<String>::new(), "{name}");
    let config = model.config.clone().unwrap_or_else(|| panic!("{name}: it does not say how it is trained"));
    let mut arrays = Npz::open(&path.with_extension("npz")).unwrap_or_else(|error| panic!("{error}"));
    let mut array = |part: &str| read(&mut arrays, part);
    let values = |parameter: &kiln_ir::graph::Parameter| parameter.value.as_ref().expect("the file has it").floats();
    let start: BTreeMap<String, Vec<f64>> = model.module.parameters.iter().map(|(name, p)| (name.clone(), values(p))).collect();
    let losses = numbers(&array("losses"));
    let outputs: Vec<String> = model.module.predict().expect("it predicts").outputs().iter().map(|(output, _)| output.clone()).collect();
    let found = train(&model, &config, &start, losses.len(), &mut |slot, step| {
        part(&array(&format!("{}/{}", if slot.is_target { "target" } else { "x" }, slot.name)), step)
    });
    let Trained { losses: found_losses, predictions, .. } = found;
    let mut complaints = Vec::new();
    let mut close = |what: &str, found: &[f64], expected: &[f64]| {
        assert_eq!(found.len(), expected.len(), "{name}: {what}");
        let far = found.iter().zip(expected).position(|(a, b)| a.is_nan() || (a - b).abs() > CLOSE * (1.0 + b.abs()));
        complaints.extend(far.map(|at| format!("{name}: {what} {at}: {}, Keras has {}", found[at], expected[at])));
    };
    close("the loss of step", &found_losses, &losses);
    for (output, found) in outputs.iter().zip(&predictions) {
        close(&format!("afterwards, `{output}`"), found, &numbers(&array(&format!("after/{output}"))));
    }
    complaints
}

#[test]
fn steps_are_those_of_keras() {
    let complaints: Vec<String> = models(true).iter().flat_map(|path| compare(path)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// A model's function in training mode with one more output: the sum of the mean squares of all floating ones.
fn with_squares(model: &Model) -> Graph {
    let mut graph = model.training.clone();
    // Statistics stand behind what the network gives.
    let count = model.module.predict().expect("it predicts").outputs().len();
    let outputs: Vec<kiln_ir::Value> = graph.outputs()[..count].iter().map(|(_, value)| *value).collect();
    let mut b = Builder::new(&mut graph);
    let mut sum = b.scalar(DType::F64, 0.0);
    for output in outputs {
        if b.dtype(output).is_float() {
            let (y, axes) = (b.cast(output, DType::F64), (0..b.shape(output).len()).collect());
            let squares = b.mul(y, y);
            let mean = b.op(Mean { axes, keep: false }, &[squares]);
            sum = b.add(sum, mean);
        }
    }
    graph.add_output("squares", sum);
    graph
}

/// A model of the folder with the function of all its gradients in training mode, and what its inputs are.
struct Differentiated {
    name: String,
    module: Module,
    gradient: Graph,
    by: Vec<Variable>,
    inputs: Vec<Tensor>,
}

impl Differentiated {
    fn read(path: &Path) -> Differentiated {
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let model = load(path).unwrap_or_else(|errors| panic!("{name}: {errors:?}")).model;
        let graph = with_squares(&model);
        let parameters = model.parameters.iter().filter(|(_, info)| info.trainable).map(|(name, _)| Variable::Parameter(name.clone()));
        let inputs = graph.inputs().iter().filter(|(_, value)| graph.ty(*value).dtype.is_float());
        let by: Vec<Variable> = parameters.chain(inputs.map(|(name, _)| Variable::Input(name.clone()))).collect();
        let gradient = differentiate(&graph, &["squares"], &by).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let mut arrays = Npz::open(&path.with_extension("npz")).unwrap_or_else(|error| panic!("{error}"));
        let mut given = |input: &str, dtype: DType| {
            if dtype == DType::U64 {
                return Tensor::from_ints(dtype, vec![], [5]);
            }
            let array = read(&mut arrays, input);
            match dtype.is_float() {
                true => Tensor::from_floats(dtype, array.shape().to_vec(), numbers(&array)),
                false => Tensor::from_ints(dtype, array.shape().to_vec(), numbers(&array).into_iter().map(|value| value as i128)),
            }
        };
        let inputs = gradient.inputs().iter().map(|(input, value)| given(input, gradient.ty(*value).dtype)).collect();
        let mut module = model.initialised().unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        module.functions.insert("predict".into(), gradient.clone());
        Differentiated { name, module, gradient, by, inputs }
    }

    /// The sum of squares, then the gradients in the order of `by`, compiled.
    fn compiled(&self, pool: &ThreadPool) -> Vec<Tensor> {
        let (name, target) = (&self.name, CpuTarget::host(CpuLevel::Native).expect("this machine"));
        let compiled = compile(&self.module, target, ModelFacts::default(), &Config::default()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let found = compiled.predictor(pool).expect("it loads").run(&self.inputs, pool).unwrap_or_else(|error| panic!("{name}: {error}"));
        found[found.len() - self.by.len() - 1..].to_vec()
    }
}

/// How far numbers are apart, if that is too much for their size.
fn far(found: &[f64], expected: &[f64], close: f64) -> Option<f64> {
    let (apart, largest) = farthest(found, expected);
    (apart > close * (largest + 0.1)).then_some(apart)
}

#[test]
fn compiled_gradients_of_every_layer_agree_with_the_reference() {
    let pool = ThreadPool::new(2);
    for path in models(false) {
        let model = Differentiated::read(&path);
        let expected = evaluate(&model.module, &model.gradient, &model.inputs).unwrap_or_else(|error| panic!("{}: {error}", model.name));
        let close = if model.name == "mixed" { COARSE } else { CLOSE };
        let expected = &expected[expected.len() - model.by.len() - 1..];
        for (at, (found, expected)) in model.compiled(&pool).iter().zip(expected).enumerate() {
            let far = far(&found.floats(), &expected.floats(), close);
            assert!(far.is_none(), "{}: result {at} is {far:?} apart", model.name);
        }
    }
}

#[test]
fn gradients_are_those_of_keras() {
    let (pool, mut compared) = (ThreadPool::new(2), 0);
    for path in models(false) {
        let stem = path.file_stem().expect("it has a name").to_string_lossy();
        let expected = path.with_file_name(format!("gradients_{stem}.npz"));
        // Others draw random numbers, compute in 16 bits or are files that Keras 3 does not read.
        if path.extension().is_none_or(|ending| ending != "keras") || !expected.exists() {
            continue;
        }
        let model = Differentiated::read(&path);
        let mut arrays = Npz::open(&expected).unwrap_or_else(|error| panic!("{error}"));
        let found = model.compiled(&pool);
        let squares = numbers(&read(&mut arrays, "squares"));
        assert!(far(&found[0].floats(), &squares, CLOSE).is_none(), "{stem}: {:?}, Keras has {squares:?}", found[0].floats());
        let gradient = |wanted: &Variable| found[1 + model.by.iter().position(|by| by == wanted).expect("it is there")].floats();
        let (weights, mut from) = (numbers(&read(&mut arrays, "weights")), 0);
        for first in numbers(&read(&mut arrays, "first")) {
            let mut known = model.module.parameters.iter().filter_map(|(name, p)| Some((name, p.value.as_ref()?.floats())));
            let (name, values) = known.find(|(_, values)| values.first() == Some(&first)).expect("a weight begins so");
            let expected = &weights[from..from + values.len()];
            let far = far(&gradient(&Variable::Parameter(name.clone())), expected, CLOSE);
            assert!(far.is_none(), "{stem}: by {name}: {far:?} apart");
            from += values.len();
        }
        assert_eq!(from, weights.len(), "{stem}");
        for by in model.by.iter().filter(|by| matches!(by, Variable::Input(_))) {
            let far = far(&gradient(by), &numbers(&read(&mut arrays, &format!("input/{}", by.name()))), CLOSE);
            assert!(far.is_none(), "{stem}: by {}: {far:?} apart", by.name());
        }
        compared += 1;
    }
    assert_eq!(compared, 11);
}

/// What a layer gives in training for `[64, 8, 8, 5]` values with that key.
fn noisy(class: &str, settings: &str, x: &[f64], key: i128) -> Vec<f64> {
    let text = format!(
        r#"{{"module": "keras", "class_name": "Sequential", "config": {{"name": "s", "layers": [
        {{"module": "keras.layers", "class_name": "InputLayer", "config": {{"batch_shape": [null, 8, 8, 5], "dtype": "float32", "name": "x"}}}},
        {{"module": "keras.layers", "class_name": "{class}", "config": {{"name": "a", "trainable": true, {settings}}}}}]}}}}"#
    );
    let model = parse("test.json", "test", &text).unwrap_or_else(|errors| panic!("{errors:?}")).model;
    let x = Tensor::from_floats(DType::F32, vec![64, 8, 8, 5], x.iter().copied());
    let key = Tensor::from_ints(DType::U64, vec![], [key]);
    evaluate(&model.module, &model.training, &[x, key]).unwrap_or_else(|error| panic!("{error}")).remove(0).floats()
}

fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64)
}

#[test]
fn noise_has_its_law() {
    let ones = vec![1.0; 64 * 8 * 8 * 5];
    let near = |found: f64, expected: f64, apart: f64| assert!((found - expected).abs() < apart, "{found}, expected {expected}");
    let zeros = |values: &[f64]| values.iter().filter(|v| **v == 0.0).count() as f64 / values.len() as f64;

    let dropped = noisy("Dropout", r#""rate": 0.25"#, &ones, 1);
    near(zeros(&dropped), 0.25, 0.015);
    assert!(dropped.iter().all(|v| *v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6));
    assert_eq!(dropped, noisy("Dropout", r#""rate": 0.25"#, &ones, 1));
    assert_ne!(dropped, noisy("Dropout", r#""rate": 0.25"#, &ones, 2));

    // A channel of a sample is there or not as a whole.
    let spatial = noisy("SpatialDropout2D", r#""rate": 0.4"#, &ones, 3);
    near(zeros(&spatial), 0.4, 0.1);
    for sample in spatial.chunks(8 * 8 * 5) {
        assert!(sample.chunks(5).all(|pixel| pixel == &sample[..5]));
        assert!(sample.iter().all(|v| *v == 0.0 || (v - 1.0 / 0.6).abs() < 1e-6));
    }

    let (mean, variance) = mean_and_variance(&noisy("GaussianNoise", r#""stddev": 0.3"#, &ones, 4));
    near(mean, 1.0, 0.01);
    near(variance, 0.09, 0.003);
    let (mean, variance) = mean_and_variance(&noisy("GaussianDropout", r#""rate": 0.2"#, &ones, 5));
    near(mean, 1.0, 0.015);
    near(variance, 0.25, 0.01);

    // What alpha dropout keeps: the mean and the variance of what is normal.
    let mut random = Random::new(1);
    let normal: Vec<f64> = ones.iter().map(|_| (-2.0 * (1.0 - random.unit()).ln()).sqrt() * (TAU * random.unit()).cos()).collect();
    let alpha = noisy("AlphaDropout", r#""rate": 0.3"#, &normal, 6);
    let (mean, variance) = mean_and_variance(&alpha);
    near(mean, 0.0, 0.03);
    near(variance, 1.0, 0.05);
    let mut bits: Vec<u64> = alpha.iter().map(|v| v.to_bits()).collect();
    bits.sort_unstable();
    let longest = bits.chunk_by(|a, b| a == b).map(<[u64]>::len).max().expect("there are some");
    near(longest as f64 / alpha.len() as f64, 0.3, 0.015);
}
