//! Training of Keras models against Keras's own `train_on_batch` (`files/keras/train.py`): losses step by step, and predictions
//! afterwards, which use the statistics that the steps left. What draws random numbers is compared with what its law says.

use kiln::artifact::describe::ModelFacts;
use kiln::autodiff::{Variable, differentiate};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::keras::{Imported, load, parse};
use kiln::pipeline::Config;
use kiln_ir::eval::evaluate;
use kiln_ir::ops::Mean;
use kiln_ir::{Builder, DType, Graph, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::Npz;
use kiln_runtime::threads::ThreadPool;
use kiln_tests::bless::repository;
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
    let mut array = |part: &str| arrays.read(part).unwrap_or_else(|error| panic!("{error}")).unwrap_or_else(|| panic!("{name}: no {part}"));
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
        let far = found.iter().zip(expected).position(|(a, b)| !((a - b).abs() <= CLOSE * (1.0 + b.abs())));
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
fn with_squares(training: &Graph) -> Graph {
    let mut graph = training.clone();
    let outputs: Vec<kiln_ir::Value> = graph.outputs().iter().map(|(_, value)| *value).collect();
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

/// Of every layer and operation that the models of the folder have, with their options, by all parameters and inputs.
#[test]
fn compiled_gradients_of_every_layer_agree_with_the_reference() {
    let pool = ThreadPool::new(2);
    for path in models(false) {
        let name = path.file_name().expect("it has a name").to_string_lossy();
        let model = load(&path).unwrap_or_else(|errors| panic!("{name}: {errors:?}")).model;
        let graph = with_squares(&model.training);
        let parameters = model.parameters.iter().filter(|(_, info)| info.trainable).map(|(name, _)| Variable::Parameter(name.clone()));
        let inputs = graph.inputs().iter().filter(|(_, value)| graph.ty(*value).dtype.is_float());
        let by: Vec<Variable> = parameters.chain(inputs.map(|(name, _)| Variable::Input(name.clone()))).collect();
        let gradient = differentiate(&graph, &["squares"], &by).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let stem = name.split('.').next().expect("it has a name");
        let mut arrays = Npz::open(&path.with_file_name(format!("{stem}.npz"))).unwrap_or_else(|error| panic!("{error}"));
        let mut given = |input: &str, dtype: DType| {
            if dtype == DType::U64 {
                return Tensor::from_ints(dtype, vec![], [5]);
            }
            let array = arrays.read(input).unwrap_or_else(|error| panic!("{error}")).unwrap_or_else(|| panic!("{name}: no {input}"));
            match dtype.is_float() {
                true => Tensor::from_floats(dtype, array.shape().to_vec(), numbers(&array)),
                false => Tensor::from_ints(dtype, array.shape().to_vec(), numbers(&array).into_iter().map(|value| value as i128)),
            }
        };
        let given: Vec<Tensor> = gradient.inputs().iter().map(|(input, value)| given(input, gradient.ty(*value).dtype)).collect();
        let mut module = model.initialised().unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let expected = evaluate(&module, &gradient, &given).unwrap_or_else(|error| panic!("{name}: {error}"));
        module.functions.insert("predict".into(), gradient.clone());
        let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
        let compiled = compile(&module, target, ModelFacts::default(), &Config::default()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let found = compiled.predictor(&pool).expect("it loads").run(&given, &pool).unwrap_or_else(|error| panic!("{name}: {error}"));
        let close = if name == "mixed.keras" { COARSE } else { CLOSE };
        for ((found, expected), (output, _)) in found.iter().zip(&expected).zip(gradient.outputs()) {
            let (found, expected) = (found.floats(), expected.floats());
            let largest = expected.iter().fold(0.0f64, |largest, v| largest.max(v.abs()));
            let apart = found.iter().zip(&expected).fold(0.0f64, |apart, (a, b)| apart.max((a - b).abs()));
            assert!(largest.is_finite() && apart <= close * (largest + 0.1), "{name}: {output}: {apart:e} apart of {largest:e}");
        }
    }
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
