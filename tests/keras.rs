//! Keras models: every layer with its options against what Keras computes (`files/keras/make.py`), files of three formats, configs
//! without weights, and damaged files.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::keras::layers::CLASSES;
use kiln::frontend::keras::operations::OPERATIONS;
use kiln::frontend::keras::training::Setting;
use kiln::frontend::keras::{Imported, load, parse};
use kiln::pipeline::Config;
use kiln_ir::eval::evaluate;
use kiln_ir::verify::verify_module;
use kiln_ir::{DType, Diagnostic, Module, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::{Npz, read_npy};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::bless::repository;
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::samples::Random;
use std::path::{Path, PathBuf};

/// Keras computes in f32, in another order.
const CLOSE: Tolerance = Tolerance { absolute: 1e-4, relative: 1e-4 };
/// What bfloat16 leaves: eight bits.
const COARSE: Tolerance = Tolerance { absolute: 3e-2, relative: 3e-2 };

fn file(name: &str) -> PathBuf {
    repository().join("tests/files/keras").join(name)
}

fn read(path: &Path) -> Module {
    let imported = load(path).unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
    imported.model.initialised().unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()))
}

/// The array in the element type of an input.
fn tensor(array: &Array, dtype: DType) -> Tensor {
    let values = (0..array.len()).map(|i| array.get_f64(i));
    if dtype.is_float() {
        Tensor::from_floats(dtype, array.shape().to_vec(), values)
    } else {
        Tensor::from_ints(dtype, array.shape().to_vec(), values.map(|value| value as i128))
    }
}

/// How results are computed.
type Executor = fn(&Module, &[Tensor]) -> Vec<Tensor>;

fn reference(module: &Module, inputs: &[Tensor]) -> Vec<Tensor> {
    evaluate(module, module.predict().expect("it predicts"), inputs).unwrap_or_else(|error| panic!("{error}"))
}

fn compiled(module: &Module, inputs: &[Tensor]) -> Vec<Tensor> {
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let facts = ModelFacts { name: module.name.clone(), ..ModelFacts::default() };
    let compiled = compile(module, target, facts, &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let pool = ThreadPool::new(2);
    let predictor = compiled.predictor(&pool).expect("it loads");
    predictor.run(inputs, &pool).unwrap_or_else(|error| panic!("{error}"))
}

/// Compares every output of a model with the arrays beside it.
fn compare(name: &str, tolerance: Tolerance, executor: Executor) -> Vec<String> {
    let imported = load(&file(name)).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    let module = imported.model.initialised().unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    let training = imported.model.training;
    verify_module(&module).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    let training = Module { functions: [("predict".to_string(), training)].into(), ..module.clone() };
    verify_module(&training).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    let stem = name.split('.').next().expect("it has a name");
    let mut arrays = Npz::open(&file(&format!("{stem}.npz"))).unwrap_or_else(|error| panic!("{error}"));
    let mut array = |name: &str| arrays.read(name).unwrap_or_else(|error| panic!("{error}"));
    let graph = module.predict().expect("it predicts");
    let inputs: Vec<Tensor> = graph
        .inputs()
        .iter()
        .map(|(input, value)| tensor(&array(input).unwrap_or_else(|| panic!("{name}: no input {input}")), graph.ty(*value).dtype))
        .collect();
    let found = executor(&module, &inputs);
    let mut complaints = Vec::new();
    for (position, ((output, _), found)) in graph.outputs().iter().zip(&found).enumerate() {
        let expected = array(&format!("output_{position}")).or_else(|| array(&format!("output_{output}")));
        let expected = expected.unwrap_or_else(|| panic!("{name}: no output {position} ({output})"));
        let apart = difference(found, &tensor(&expected, found.dtype()), tolerance);
        complaints.extend(apart.map(|apart| format!("{name}: output {position} ({output}): {apart}")));
    }
    complaints
}

/// The models with what they may be apart.
const MODELS: &[(&str, Tolerance)] = &[
    ("affine.keras", CLOSE),
    ("convolution.keras", CLOSE),
    ("convolution_transpose.keras", CLOSE),
    ("pooling.keras", CLOSE),
    ("normalisation.keras", CLOSE),
    ("activation.keras", CLOSE),
    ("shape.keras", CLOSE),
    ("recurrent.keras", CLOSE),
    ("attention.keras", CLOSE),
    ("merge.keras", CLOSE),
    ("operations.keras", CLOSE),
    ("nested.keras", CLOSE),
    ("nested_old.h5", CLOSE),
    ("trained.keras", CLOSE),
    ("mixed.keras", COARSE),
    ("keras2_functional.h5", CLOSE),
    ("keras2_archive.keras", CLOSE),
    ("keras2_sequential.h5", CLOSE),
    ("keras2_double.keras", CLOSE),
];

fn compare_all(executor: Executor) {
    let complaints: Vec<String> = MODELS.iter().flat_map(|(name, tolerance)| compare(name, *tolerance, executor)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_layer_computes_what_keras_does() {
    compare_all(reference);
}

#[test]
fn compiled_code_computes_what_keras_does() {
    compare_all(compiled);
}

/// Where samples of a release of Keras lie: below the folder that `KILN_DATA` names, which must then have them.
fn samples() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("KILN_DATA")?).join("data/keras");
    assert!(folder.is_dir(), "KILN_DATA has no folder {}", folder.display());
    Some(folder)
}

#[test]
fn samples_compute_what_keras_does() {
    let Some(folder) = samples() else {
        println!("skipped: KILN_DATA does not say where samples are");
        return;
    };
    for name in ["seq_mlp", "seq_cnn", "seq_rnn", "func_transformer"] {
        let array = |part: &str| read_npy(&folder.join(format!("{name}.{part}.npy"))).unwrap_or_else(|error| panic!("{error}"));
        let module = read(&folder.join(format!("{name}.keras")));
        let graph = module.predict().expect("it predicts");
        let inputs = [tensor(&array("x"), graph.ty(graph.inputs()[0].1).dtype)];
        for executor in [reference as Executor, compiled as Executor] {
            let found = executor(&module, &inputs).remove(0);
            let apart = difference(&found, &tensor(&array("y"), found.dtype()), CLOSE);
            assert!(apart.is_none(), "{name}: {}", apart.unwrap_or_default());
        }
    }
}

fn told(errors: Vec<Diagnostic>) -> String {
    let one = |error: &Diagnostic| format!("{}: {} / {}", error.code, error.message, error.help.as_deref().unwrap_or_default());
    errors.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn config(text: &str) -> Result<Imported, Vec<Diagnostic>> {
    parse("test.json", "test", text)
}

#[test]
fn a_config_alone_gets_first_values() {
    let text = std::fs::read_to_string(file("config.json")).expect("it is there");
    let imported = config(&text).unwrap_or_else(|errors| panic!("{errors:?}"));
    let module = imported.model.initialised().expect("it fits");
    let values = |name: &str| module.parameters[name].value.as_ref().expect("it has values").floats();
    // Glorot: within √(6 / (27 + 9)).
    let kernel = values("conv2d/kernel");
    assert!(kernel.iter().all(|v| v.abs() < 6f64.sqrt() / 6.0) && kernel.iter().any(|v| v.abs() > 0.2), "{kernel:?}");
    assert_eq!(values("batch_normalization/moving_variance"), [1.0; 3]);
    // The forget gate of an LSTM is open at first.
    let lstm = r#"{"class_name": "Sequential", "config": {"layers": [{"class_name": "LSTM", "config": {"units": 2, "name": "l",
        "trainable": true, "batch_input_shape": [null, 3, 1]}}]}, "keras_version": "2.11.0"}"#;
    let module = config(lstm).and_then(|imported| imported.model.initialised()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let bias = module.parameters["l/lstm_cell/bias"].value.as_ref().expect("it has values").floats();
    assert_eq!(bias, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn training_is_read_and_planned() {
    let Imported { model, training } = load(&file("trained.keras")).unwrap_or_else(|errors| panic!("{errors:?}"));
    let optimiser = training.optimiser.expect("it is compiled");
    assert_eq!((optimiser.class.as_str(), &optimiser.settings["momentum"]), ("SGD", &Setting::Number(0.9)));
    let loss = training.losses[0].1.as_ref().expect("it has one");
    assert_eq!((loss.name.as_str(), loss.from_logits), ("sparse_categorical_crossentropy", true));
    assert_eq!((training.metrics, training.left_out), (vec!["accuracy".to_string()], vec![]));
    let care = |name: &str| model.parameters[name].care;
    assert_eq!(care("conv2d/kernel").penalty.l2, 0.01);
    assert_eq!(format!("{:?}", care("dense/kernel").constraint), "Some(MaxNorm(3.0))");
    let trainable: Vec<&str> = model.parameters.iter().filter(|(_, info)| info.trainable).map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        trainable,
        ["batch_normalization/beta", "batch_normalization/gamma", "conv2d/bias", "conv2d/kernel", "dense/bias", "dense/kernel"]
    );
    let plan =
        kiln::training::plan(&model, model.config.as_ref().expect("it is in our words")).unwrap_or_else(|errors| panic!("{errors:?}"));
    verify_module(&plan.step).unwrap_or_else(|errors| panic!("{errors:?}"));
    let states: Vec<&str> = plan.recipe.states.iter().map(|slot| slot.name.as_str()).collect();
    assert!(states.contains(&"batch_normalization/moving_mean"), "{states:?}");
}

/// A sequence of one layer over `[batch, 4]`.
fn one(class: &str, settings: &str) -> String {
    sequence("[null, 4]", class, "keras.layers", settings)
}

fn sequence(shape: &str, class: &str, module: &str, settings: &str) -> String {
    format!(
        r#"{{"module": "keras", "class_name": "Sequential", "config": {{"name": "s", "layers": [
            {{"module": "keras.layers", "class_name": "InputLayer", "config": {{"batch_shape": {shape}, "dtype": "float32", "name": "x"}}}},
            {{"module": "{module}", "class_name": "{class}", "config": {{"name": "a", "trainable": true, {settings}}}}}]}}}}"#
    )
}

/// A functional model of these layers over `x: [batch, 4]`, that gives `output`.
fn functional(layers: &str, output: &str) -> String {
    format!(
        r#"{{"module": "keras", "class_name": "Functional", "config": {{"name": "f", "layers": [
            {{"module": "keras.layers", "class_name": "InputLayer", "name": "x", "inbound_nodes": [],
              "config": {{"batch_shape": [null, 4], "dtype": "float32", "name": "x"}}}},
            {layers}], "input_layers": [["x", 0, 0]], "output_layers": [["{output}", 0, 0]]}}}}"#
    )
}

fn layer(name: &str, class: &str, settings: &str, takes: &str) -> String {
    format!(
        r#"{{"module": "keras.layers", "class_name": "{class}", "name": "{name}", "config": {{"name": "{name}", {settings}}},
            "inbound_nodes": [{{"args": [{{"class_name": "__keras_tensor__", "config": {{"keras_history": ["{takes}", 0, 0]}}}}], "kwargs": {{}}}}]}}"#
    )
}

#[test]
fn what_cannot_be_imported_is_told() {
    let wrong = |text: &str| match config(text) {
        Ok(imported) => format!("reads:\n{}", imported.model.module),
        Err(errors) => told(errors),
    };
    let texts = [
        wrong("{"),
        wrong("{}"),
        wrong(r#"{"class_name": "Dense", "config": {"units": 3}}"#),
        wrong(r#"{"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": []}}"#),
        wrong(&one("Dense", r#""units": -3"#)),
        wrong(&one("Dense", r#""units": 4000000000"#)),
        wrong(&one("Dense", r#""units": 2, "activation": "reluu""#)),
        wrong(&one("Dense", r#""units": 2, "dtype": "string""#)),
        wrong(&one("Dense", r#""units": 2, "quantization_config": {"mode": "int8"}"#)),
        wrong(&one("Dense", r#""units": 2, "kernel_initializer": {"class_name": "Identity", "config": {}}"#)),
        wrong(&one("Desne", r#""units": 2"#)),
        wrong(&one("Masking", r#""mask_value": 0"#)),
        wrong(&one("Lambda", r#""function": "x""#)),
        wrong(&sequence("[null, 4]", "Gate", "my.layers", r#""units": 2"#)),
        wrong(&one("LSTM", r#""units": 2"#)),
        wrong(&sequence("[null, 4, 2]", "LSTM", "keras.layers", r#""units": 2, "stateful": true"#)),
        wrong(&sequence("[null, 4, 2]", "LSTM", "keras.layers", r#""units": 2, "activation": "gelu""#)),
        wrong(&sequence("[null, 4, 4, 2]", "Conv2D", "keras.layers", r#""filters": 2, "kernel_size": [5, 5], "padding": "valid""#)),
        wrong(&sequence("[null, 4, 4, null]", "Conv2D", "keras.layers", r#""filters": 2, "kernel_size": 3"#)),
        wrong(&one("Reshape", r#""target_shape": [3]"#)),
        wrong(&functional(&[layer("a", "Dense", r#""units": 2"#, "b"), layer("b", "Dense", r#""units": 4"#, "a")].join(","), "a")),
        wrong(&functional(&layer("a", "Dense", r#""units": 2"#, "x"), "b")),
        wrong(&functional(
            &[
                layer("a", "Embedding", r#""input_dim": 9, "output_dim": 2, "mask_zero": true"#, "x"),
                layer("b", "LSTM", r#""units": 2"#, "a"),
            ]
            .join(","),
            "b",
        )),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r#"
    keras_file: its config is no JSON: EOF while parsing an object / 
    keras_model: a layer has no `class_name` / 
    keras_model: the file holds a Dense, not a Sequential or Functional model / models of classes of one's own have no description that can be read: export them to ONNX
    keras_model: the model has no layers / 
    keras_model: layer `a` (Dense): `units` is no whole number from 0 on / 
    keras_model: layer `a` (Dense): the parameter `a/kernel` of [4, 4000000000] is too large / 
    keras_model: layer `a` (Dense): the activation function `reluu` is not supported / did you mean `relu`?
    keras_model: layer `a` (Dense): the element type `string` is not supported / float32, float64, float16, bfloat16, whole numbers and bool are
    keras_model: layer `a` (Dense): it has a setting `quantization_config`, which is not known here / remove it from the model if it changes nothing, and save again
    keras_model: layer `a` (Dense): the initialiser `Identity` is not known here / save the model with its weights
    keras_model: layer `a` (Desne): the class `Desne` is not supported / the nearest that is supported is `Dense`
    keras_model: layer `a` (Masking): the class `Masking` is not supported / leave it out: sequences of one length need no mask
    keras_model: layer `a` (Lambda): the class `Lambda` is not supported / its function is code that is not in the file; write it with keras.ops or layers
    keras_model: `a` (`Gate`) is a custom class, whose code is not in the file / build the model of Keras's own layers, or export it to ONNX
    keras_model: layer `a` (LSTM): takes [batch, time, features], but what comes in is f32[batch, 4] / 
    keras_model: layer `a` (LSTM): `stateful` is not supported: states that stay from call to call are none of a function's / 
    keras_model: layer `a` (LSTM): a recurrent cell with the activation function `gelu` is not supported / tanh, sigmoid, relu, linear, elu, leaky_relu, softplus, softsign and hard_sigmoid are
    keras_model: layer `a` (Conv2D): window on spatial axis 0 of f32[batch, 2, 4, 4] padded: 5 exceeds 4 (conv_c5); the layer's values are f32[batch, 2, 4, 4], f32[2, 2, 5, 5] / 
    keras_model: layer `a` (Conv2D): needs a known number of channels, axis 1 of f32[batch, time, 4, 4] / 
    keras_model: layer `a` (Reshape): 4 elements do not make 3 / 
    keras_model: layers wait for one another or for others that are not there: `a`, `b` / 
    keras_model: the output `b` is not computed by the model / 
    keras_model: layer `b` (LSTM): it reads the mask that `a` makes (`mask_zero`), and masks are not supported / make the model with mask_zero=False
    "#);
}

/// Reads whatever the bytes are; neither panics, and what is read is a program.
fn survives(bytes: &[u8], ending: &str, folder: &Path) -> bool {
    let path = folder.join(format!("damaged.{ending}"));
    std::fs::write(&path, bytes).expect("a place for it");
    match load(&path) {
        Ok(imported) => {
            verify_module(&imported.model.module).unwrap_or_else(|errors| panic!("{errors:?}"));
            true
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            false
        }
    }
}

#[test]
fn damaged_files_are_refused_or_read() {
    let folder = tempfile::tempdir().expect("a place for files");
    let mut random = Random::new(7);
    for (name, turns) in [("trained.keras", 400), ("nested_old.h5", 400), ("mixed.keras", 300), ("keras2_functional.h5", 200)] {
        let whole = std::fs::read(file(name)).expect("it is there");
        let ending = name.split('.').next_back().expect("it has one");
        assert!(survives(&whole, ending, folder.path()), "{name}");
        for at in 0..100 {
            let reads = survives(&whole[..whole.len() * at / 100], ending, folder.path());
            // What training left stands at the end of HDF5, and nothing reads it.
            assert!(!reads || ending == "h5" && at > 50, "{name} cut at {at} %");
        }
        for _ in 0..turns {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                bytes[at] = match random.below(3) {
                    0 => 0xff,
                    1 => 0,
                    _ => bytes[at] ^ (1 << random.below(8)),
                };
            }
            survives(&bytes, ending, folder.path());
        }
    }
}

#[test]
fn damaged_configs_are_refused_or_read() {
    let text = std::fs::read_to_string(file("config.json")).expect("it is there");
    let mut random = Random::new(3);
    for _ in 0..1500 {
        let mut text: Vec<char> = text.chars().collect();
        for _ in 0..=random.below(2) {
            let (at, length) = (random.below(text.len()), random.below(20));
            let end = (at + length).min(text.len());
            match random.below(3) {
                0 => drop(text.drain(at..end)),
                1 => text[at] = ['9', '-', '"', '[', '0', 'é', '}'][random.below(7)],
                _ => text.splice(at..at, "99999".chars()).for_each(drop),
            }
        }
        if let Ok(imported) = config(&text.into_iter().collect::<String>()) {
            verify_module(&imported.model.module).unwrap_or_else(|errors| panic!("{errors:?}"));
        }
    }
}

/// Settings that a class cannot do without, in two choices.
fn least_settings(class: &str) -> [&'static str; 2] {
    match class {
        "Dense" => [r#""units": 2"#, r#""units": 0, "activation": "softmax""#],
        "EinsumDense" => {
            [r#""equation": "ab,bc->ac", "output_shape": 3"#, r#""equation": "...x,xy->...y", "output_shape": 2, "bias_axes": "y""#]
        }
        "Embedding" => [r#""input_dim": 3, "output_dim": 2"#, r#""input_dim": 0, "output_dim": 0"#],
        "SeparableConv1D" | "SeparableConv2D" => {
            [r#""filters": 2, "kernel_size": 2"#, r#""filters": 2, "kernel_size": 2, "padding": "same", "strides": 2"#]
        }
        _ if class.starts_with("DepthwiseConv") => [r#""kernel_size": 2"#, r#""kernel_size": 1, "data_format": "channels_first""#],
        _ if class.starts_with("Conv") => {
            [r#""filters": 2, "kernel_size": 2"#, r#""filters": 0, "kernel_size": 3, "padding": "same", "strides": 2"#]
        }
        _ if class.contains("Pooling") && !class.starts_with("Global") => {
            [r#""pool_size": 2"#, r#""pool_size": 3, "strides": 2, "padding": "same""#]
        }
        "GroupNormalization" => [r#""groups": -1"#, r#""groups": 2, "axis": 1"#],
        "BatchNormalization" | "LayerNormalization" | "RMSNormalization" | "UnitNormalization" => [r#""axis": -1"#, r#""axis": [1, 1]"#],
        "Normalization" => [r#""axis": [-1]"#, r#""axis": null, "mean": 1, "variance": 2"#],
        "Rescaling" => [r#""scale": 2, "offset": 1"#, r#""scale": [1, 2, 3, 4], "offset": 0"#],
        "Reshape" => [r#""target_shape": [-1]"#, r#""target_shape": [2, -1, 1]"#],
        "Permute" => [r#""dims": [2, 1]"#, r#""dims": [3, 1, 2]"#],
        "RepeatVector" => [r#""n": 2"#, r#""n": 0"#],
        _ if class.starts_with("ZeroPadding") => [r#""padding": 1"#, r#""padding": [[1, 2], [0, 1]]"#],
        _ if class.starts_with("Cropping") => [r#""cropping": 1"#, r#""cropping": [[1, 2], [0, 3]]"#],
        _ if class.starts_with("UpSampling") => [r#""size": 2"#, r#""size": 3, "interpolation": "bilinear""#],
        "Dropout" | "GaussianDropout" | "AlphaDropout" => [r#""rate": 0.5"#, r#""rate": 0"#],
        "GaussianNoise" => [r#""stddev": 0.5"#, r#""stddev": 0"#],
        _ if class.starts_with("SpatialDropout") => [r#""rate": 0.5"#, r#""rate": 0.5, "data_format": "channels_first""#],
        "Activation" => [r#""activation": "glu""#, r#""activation": "softmax""#],
        "PReLU" => [r#""shared_axes": null"#, r#""shared_axes": [1, 2]"#],
        "Softmax" => [r#""axis": -1"#, r#""axis": [0, 1]"#],
        "SimpleRNN" | "LSTM" | "GRU" => [r#""units": 2"#, r#""units": 0, "go_backwards": true, "return_sequences": true"#],
        "RNN" => [
            r#""cell": {"class_name": "LSTMCell", "config": {"units": 2, "name": "c", "trainable": true}}"#,
            r#""cell": {"class_name": "StackedRNNCells", "config": {"name": "s", "cells": []}}"#,
        ],
        "Bidirectional" => [
            r#""merge_mode": "ave", "layer": {"class_name": "GRU", "config": {"units": 2, "name": "c", "return_sequences": true}}"#,
            r#""layer": {"class_name": "Dense", "config": {"units": 2}}"#,
        ],
        "TimeDistributed" => [
            r#""layer": {"class_name": "Dense", "config": {"units": 2, "name": "c", "trainable": true}}"#,
            r#""layer": {"class_name": "Flatten", "config": {"name": "c", "trainable": true}}"#,
        ],
        "MultiHeadAttention" => [r#""num_heads": 2, "key_dim": 3"#, r#""num_heads": 1, "key_dim": 2, "sliding_window": 2"#],
        "GroupQueryAttention" => [
            r#""head_dim": 2, "num_query_heads": 4, "num_key_value_heads": 2"#,
            r#""head_dim": 2, "num_query_heads": 3, "num_key_value_heads": 2"#,
        ],
        "Attention" => [r#""use_scale": true"#, r#""score_mode": "concat""#],
        "Concatenate" => [r#""axis": -1"#, r#""axis": 1"#],
        "Dot" => [r#""axes": -1, "normalize": true"#, r#""axes": [1, 2]"#],
        _ => [r#""name": "a""#, r#""epsilon": 0.1"#],
    }
}

#[test]
fn any_layer_takes_or_refuses_any_input() {
    let shapes = [
        "[null]",
        "[null, 4]",
        "[null, null]",
        "[null, 0]",
        "[null, 3, 4]",
        "[null, null, 4]",
        "[null, 4, null]",
        "[2, 4, 4, 2]",
        "[null, null, 0, 3]",
        "[null, 4, 4, 4, 4]",
        "[null, 1, 1, 1, 1, 1]",
    ];
    let mut read = std::collections::BTreeSet::new();
    for class in CLASSES {
        for (shape, settings) in shapes.iter().flat_map(|shape| least_settings(class).map(|settings| (shape, settings))) {
            for dtype in ["float32", "float16", "int32", "bool"] {
                for count in [1, 2] {
                    let input = |name: &str| {
                        format!(
                            r#"{{"class_name": "InputLayer", "name": "{name}", "inbound_nodes": [],
                            "config": {{"batch_shape": {shape}, "dtype": "{dtype}", "name": "{name}"}}}}"#
                        )
                    };
                    let value =
                        |name: &str| format!(r#"{{"class_name": "__keras_tensor__", "config": {{"keras_history": ["{name}", 0, 0]}}}}"#);
                    let takes = ["x", "y"][..count].iter().map(|name| value(name)).collect::<Vec<_>>().join(",");
                    // Of several values most layers take a list, attention takes each.
                    let takes =
                        if class.ends_with("HeadAttention") || class.starts_with("GroupQuery") { takes } else { format!("[{takes}]") };
                    let text = format!(
                        r#"{{"module": "keras", "class_name": "Functional", "config": {{"name": "f", "layers": [{}, {},
                        {{"class_name": "{class}", "module": "keras.layers", "name": "l", "config": {{"trainable": true, {settings}}},
                          "inbound_nodes": [{{"args": [{takes}], "kwargs": {{}}}}]}}],
                        "input_layers": [["x", 0, 0], ["y", 0, 0]], "output_layers": [["l", 0, 0]]}}}}"#,
                        input("x"),
                        input("y"),
                    );
                    if let Ok(imported) = config(&text) {
                        verify_module(&imported.model.module).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
                        read.insert(*class);
                    }
                }
            }
        }
    }
    let refused: Vec<&&str> = CLASSES.iter().filter(|class| !read.contains(*class)).collect();
    assert!(refused.is_empty(), "no input fits {refused:?}");
}

#[test]
fn any_operation_takes_or_refuses_any_input() {
    let settings = [
        "",
        r#", "axis": -1"#,
        r#", "axis": [0, 0], "keepdims": true"#,
        r#", "axis": 7"#,
        r#", "axis": null"#,
        r#", "axes": [0, 2, 1]"#,
        r#", "newshape": [-1, 2]"#,
        r#", "dtype": "int32""#,
        r#", "x_min": 0, "x_max": 1.5"#,
        r#", "axis": 0, "indices_or_sections": [3, 1]"#,
        r#", "axis": 1, "indices_or_sections": 2"#,
        r#", "repeats": 2, "axis": 0"#,
        r#", "repeats": [2, 1]"#,
        r#", "pad_width": [[0, 1], [1, 0]], "mode": "wrap""#,
        r#", "shape": [2, 4]"#,
        r#", "num_classes": 3, "axis": -1"#,
        r#", "subscripts": "ab,cb->ca""#,
        r#", "axis1": 0, "axis2": -1"#,
        r#", "source": 0, "destination": -1"#,
        r#", "approximate": false"#,
    ];
    let value = |name: &str| format!(r#"{{"class_name": "__keras_tensor__", "config": {{"keras_history": ["{name}", 0, 0]}}}}"#);
    let slice = r#"[{"class_name": "__slice__", "config": {"start": -2, "stop": 9, "step": -1}}, null, {"class_name": "__ellipsis__"}]"#;
    let (x, y) = (value("x"), value("y"));
    let calls = [
        x.clone(),
        format!("{x}, {y}"),
        format!("{x}, 2.5"),
        format!("-1, {x}"),
        format!("[{x}, {y}]"),
        format!("{x}, {slice}"),
        format!("{x}, [[0, 1]]"),
        format!("{x}, {y}, {x}"),
        "1, 2".to_string(),
    ];
    let mut read = std::collections::BTreeSet::new();
    for class in OPERATIONS {
        for shape in ["[null, 4]", "[null, 0, 3]", "[2, null, 3]"] {
            for (a, b) in [("float32", "float32"), ("int32", "float16"), ("bool", "bool")] {
                let input = |name: &str, dtype: &str| {
                    format!(
                        r#"{{"class_name": "InputLayer", "name": "{name}", "inbound_nodes": [],
                        "config": {{"batch_shape": {shape}, "dtype": "{dtype}", "name": "{name}"}}}}"#
                    )
                };
                for (settings, call) in settings.iter().flat_map(|settings| calls.iter().map(move |call| (settings, call))) {
                    let text = format!(
                        r#"{{"module": "keras", "class_name": "Functional", "config": {{"name": "f", "layers": [{}, {},
                        {{"class_name": "{class}", "module": "keras.src.ops.numpy", "name": "l", "config": {{"name": "l"{settings}}},
                          "inbound_nodes": [{{"args": [{call}], "kwargs": {{}}}}]}}],
                        "input_layers": [["x", 0, 0], ["y", 0, 0]], "output_layers": [["l", 0, 0]]}}}}"#,
                        input("x", a),
                        input("y", b),
                    );
                    if let Ok(imported) = config(&text) {
                        verify_module(&imported.model.module).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
                        read.insert(*class);
                    }
                }
            }
        }
    }
    let refused: Vec<&&str> = OPERATIONS.iter().filter(|class| !read.contains(*class)).collect();
    assert!(refused.is_empty(), "no input fits {refused:?}");
}

#[test]
fn every_class_is_in_the_reference_and_in_a_fixture() {
    let reference = std::fs::read_to_string(repository().join("compiler/KERAS.md")).expect("it is there");
    let words = CLASSES.iter().chain(OPERATIONS);
    let missing: Vec<&&str> = words.filter(|word| !reference.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "compiler/KERAS.md does not mention {missing:?}");
    let made = std::fs::read_to_string(file("make.py")).expect("it is there");
    // Keras 2 alone has the last.
    let unused: Vec<&&str> =
        CLASSES.iter().filter(|class| !made.contains(&format!("L.{class}(")) && **class != "ThresholdedReLU").collect();
    let pooled = |class: &str| class.contains("Pooling") && made.contains("Pooling{rank}D");
    let unused: Vec<&&&str> = unused.iter().filter(|class| !pooled(class)).collect();
    assert!(unused.is_empty(), "no fixture has {unused:?}");
}
