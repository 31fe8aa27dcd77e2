//! Networks written as ONNX files and read again: the same values, for every layer and every example; what cannot be written is told.

use kiln::export::onnx::export;
use kiln::frontend::model::layers::NAMES;
use kiln::frontend::model::{Language, load, parse};
use kiln::frontend::onnx::{Options, import};
use kiln_ir::eval::evaluate;
use kiln_ir::text::{ConstantTable, parse_module};
use kiln_ir::{Diagnostic, Dim, Module, Symbol, Tensor};
use kiln_tests::bless::repository;
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::samples::{Fill, Random, tensor};
use prost::Message as _;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Sums of thousands of products in f32, whose order may be another one.
const CLOSE: Tolerance = Tolerance { absolute: 2e-5, relative: 2e-5 };

/// The module as a file has it.
fn through_a_file(module: &Module) -> Result<Module, Diagnostic> {
    let directory = tempfile::tempdir().expect("a place for files");
    let path = directory.path().join("net.onnx");
    let model = export(module)?;
    let graph = model.graph.as_ref().expect("it has one");
    let used: BTreeSet<&String> = graph.node.iter().flat_map(|node| &node.input).collect();
    let unused: Vec<&String> = graph.initializer.iter().map(|tensor| &tensor.name).filter(|name| !used.contains(name)).collect();
    assert!(unused.is_empty(), "written and not used: {unused:?}");
    fs::write(&path, model.encode_to_vec()).expect("it is written");
    Ok(import(&path, &Options::default()).unwrap_or_else(|errors| panic!("{errors:?}\n{module}")))
}

/// Errors unless the file gives what the module gives, where open sizes are `size`; integers of inputs are below `below`.
fn compare(module: &Module, read: &Module, size: i64, below: f64) -> Result<(), String> {
    let mut random = Random::new(size as u64);
    let (graph, other) = (module.predict().expect("it predicts"), read.predict().expect("it predicts"));
    // Sounds are as long as windows over them.
    let size_of = |symbol: &Symbol| Some(if symbol.name() == "samples" { 500 * size } else { size });
    let shape = |dims: &[Dim]| dims.iter().map(|dim| dim.evaluate(&size_of).expect("known") as usize).collect::<Vec<usize>>();
    let input = |(_, value): &(String, kiln_ir::Value)| {
        let ty = graph.ty(*value);
        let values = if ty.dtype.is_float() { None } else { Some((0.0, below - 1.0)) };
        tensor(ty.dtype, &shape(&ty.shape), Fill::Ordinary, values, &mut random)
    };
    let inputs: Vec<Tensor> = graph.inputs().iter().map(input).collect();
    let names = |graph: &kiln_ir::Graph| graph.outputs().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if names(graph) != names(other) {
        return Err(format!("outputs are {:?}, they were {:?}", names(other), names(graph)));
    }
    let expected = evaluate(module, graph, &inputs).map_err(|error| error.to_string())?;
    let found = evaluate(read, other, &inputs).map_err(|error| format!("what was read: {error}"))?;
    for ((name, _), (found, expected)) in graph.outputs().iter().zip(found.iter().zip(&expected)) {
        if let Some(apart) = difference(found, expected, CLOSE) {
            return Err(format!("{name} at {size}: {apart}"));
        }
    }
    Ok(())
}

/// Layers with their settings and what they take, the batch left away.
const LAYERS: &[(&str, &str, &str)] = &[
    ("dense", "units = 3", "[4]"),
    ("dense", "units = 3\nactivation = 'gelu'\nbias = false", "['t', 4]"),
    ("conv1d", "filters = 2\nkernel = 3\nstrides = 2", "[2, 7]"),
    (
        "conv2d",
        "filters = 4\nkernel = [3, 2]\nstrides = [2, 1]\ndilation = [1, 2]\ngroups = 2\npadding = 'same'\nactivation = 'relu'",
        "[2, 5, 6]",
    ),
    ("conv3d", "filters = 2\nkernel = 2", "[1, 3, 4, 3]"),
    ("depthwise_conv1d", "kernel = 3\nmultiplier = 2\nstrides = 2", "[2, 7]"),
    ("depthwise_conv2d", "kernel = 2", "[3, 4, 4]"),
    ("conv_transpose1d", "filters = 4\nkernel = 3\nstrides = 3", "[2, 5]"),
    ("conv_transpose2d", "filters = 3\nkernel = [3, 2]\nstrides = 2\npadding = 1\noutput_padding = [1, 0]", "[2, 4, 3]"),
    ("conv_transpose2d", "filters = 3\nkernel = 2\nstrides = 2\noutput_padding = 1", "[2, 4, 3]"),
    ("conv_transpose3d", "filters = 2\nkernel = 2\nstrides = 2", "[1, 2, 3, 2]"),
    ("max_pool1d", "size = 2", "[2, 6]"),
    ("max_pool2d", "size = 2\npadding = 'same'", "[2, 5, 5]"),
    ("max_pool3d", "size = 2", "[1, 4, 4, 4]"),
    ("avg_pool1d", "size = 3\nstrides = 2\npadding = 1", "[2, 7]"),
    ("avg_pool2d", "size = 2", "[2, 4, 5]"),
    ("avg_pool2d", "size = [3, 2]\nstrides = 2\npadding = 'same'", "[2, 't', 5]"),
    ("conv2d", "filters = 2\nkernel = 3\nstrides = 2\npadding = 'same'", "[2, 't', 5]"),
    ("max_pool2d", "size = 3\nstrides = 2\npadding = 'same'", "[2, 't', 5]"),
    ("avg_pool3d", "size = 2", "[1, 2, 4, 4]"),
    ("global_max_pool", "", "[3, 4, 5]"),
    ("global_avg_pool", "", "[3, 't']"),
    ("batch_norm", "", "[4, 3]"),
    ("layer_norm", "", "['t', 4]"),
    ("group_norm", "groups = 2", "[4, 3]"),
    ("rms_norm", "", "[3, 4]"),
    ("flatten", "", "['t', 3]"),
    ("reshape", "shape = [-1, 2]", "[4, 3]"),
    ("permute", "order = [2, 1]", "['t', 4]"),
    ("dropout", "rate = 0.5", "[3]"),
    ("embedding", "vocabulary = 5\nfeatures = 3", "['t']"),
    ("sinusoidal_position", "", "['t', 4]"),
    ("learned_position", "length = 9", "['t', 4]"),
    ("multi_head_attention", "heads = 2\nrotary = true\ncausal = true", "['t', 4]"),
    ("transformer_encoder", "heads = 2\nhidden = 5", "['t', 4]"),
    ("transformer_decoder", "inputs = ['x0', 'x1']\nheads = 2\nhidden = 5\nnorm_first = true\nactivation = 'gelu_tanh'", "[3, 4]"),
    ("rnn", "units = 2", "['t', 3]"),
    ("lstm", "units = 2\nbidirectional = true\nreturn_sequences = true", "['t', 3]"),
    ("gru", "units = 2\nbidirectional = true", "['t', 3]"),
    ("add", "inputs = ['x0', 'x1']", "[3, 4]"),
    ("multiply", "inputs = ['x0', 'x1']", "[3, 4]"),
    ("concat", "inputs = ['x0', 'x1']", "[3, 't']"),
    ("activation", "function = 'softplus'", "[4]"),
    ("leaky_relu", "slope = 0.2", "[4]"),
    ("elu", "alpha = 0.5", "[4]"),
    ("softmax", "", "[3, 4]"),
    ("log_softmax", "", "['t', 4]"),
    ("word_dropout", "rate = 0.5", "['t']"),
    ("sequence_pool", "kind = 'max'", "['t', 4]"),
    ("stft", "n_fft = 4\nwin_length = 3\nhop_length = 2", "[9]"),
    ("spectrogram", "n_fft = 6\nwin_length = 5\nhop_length = 2\ncenter = false", "[8]"),
    ("mel", "n_mels = 3\nsample_rate = 8000", "[2, 5]"),
    ("log_mel", "n_fft = 8\nhop_length = 3\nn_mels = 3\nsample_rate = 1000", "[17]"),
    ("normalise", "", "[4, 3]"),
    ("deltas", "win_length = 3\norder = 2", "[4, 2]"),
    ("spec_augment", "", "['t', 3]"),
];

#[test]
fn every_layer_is_read_as_it_was_written() {
    let mut failed = Vec::new();
    for (word, settings, shape) in LAYERS {
        let dtype = match *word {
            "embedding" => "dtype = 'i64'\n",
            "word_dropout" => "text = { tokens = 'byte' }\n",
            _ => "",
        };
        let inputs = if settings.contains("x1") { 2 } else { 1 };
        let mut text = "seed = 3\n".to_owned();
        (0..inputs).for_each(|n| text += &format!("[[input]]\nname = 'x{n}'\nshape = {shape}\n{dtype}"));
        text += &format!("[[layer]]\ntype = '{word}'\n{settings}\n");
        let module = parse("net.toml", "net", &text, Language::Toml).and_then(|model| model.initialised());
        let mut module = module.unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
        // Numbers that are not what layers begin with: 0 and 1 hide much.
        let mut random = Random::new(7);
        for (name, parameter) in &mut module.parameters {
            let shape: Vec<usize> = parameter.ty.shape.iter().map(|dim| dim.as_const().expect("known") as usize).collect();
            let least = if name.ends_with("variance") { 0.5 } else { -0.5 };
            let count = shape.iter().product();
            parameter.value = Some(Tensor::from_floats(parameter.ty.dtype, shape, (0..count).map(|_| random.unit() + least)));
        }
        match through_a_file(&module) {
            Ok(read) => failed.extend([5, 2].into_iter().filter_map(|size| Some((word, compare(&module, &read, size, 5.0).err()?)))),
            Err(error) => failed.push((word, error.to_string())),
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    let tested: BTreeSet<&str> = LAYERS.iter().map(|(word, ..)| *word).collect();
    let missing: Vec<&&str> = NAMES.iter().filter(|name| !tested.contains(**name)).collect();
    assert!(missing.is_empty(), "not tested: {missing:?}");
}

#[test]
fn every_activation_is_read_as_it_was_written() {
    let words = ["relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "softplus", "softsign"];
    for word in words.into_iter().chain(["hard_swish", "hard_sigmoid", "mish", "softmax"]) {
        let text = format!("[[input]]\nname = 'x'\nshape = [9]\n[[layer]]\ntype = 'activation'\nfunction = '{word}'\n");
        let module = parse("net.toml", "net", &text, Language::Toml).and_then(|model| model.initialised());
        let module = module.unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
        let read = through_a_file(&module).unwrap_or_else(|error| panic!("{word}: {error}"));
        compare(&module, &read, 4, 1.0).unwrap_or_else(|error| panic!("{word}: {error}"));
    }
}

fn model_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("it is there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            model_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") && !path.ends_with("Cargo.toml") {
            found.push(path);
        }
    }
}

#[test]
fn every_example_is_read_as_it_was_written() {
    let mut files = Vec::new();
    model_files(&repository().join("examples"), &mut files);
    assert!(files.len() >= 7, "{files:?}");
    for path in files {
        let module = load(&path, Language::Toml).and_then(|model| model.initialised());
        let module = module.unwrap_or_else(|errors| panic!("{errors:?}"));
        let read = through_a_file(&module).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        compare(&module, &read, 2, 5.0).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(read.metadata, module.metadata, "{}", path.display());
    }
    let digits =
        import(&repository().join("examples/digits/digits.onnx"), &Options::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    compare(&digits, &through_a_file(&digits).expect("it is written"), 3, 1.0).unwrap_or_else(|error| panic!("digits: {error}"));
}

/// The function as a module, and what is said when it is written.
fn told(body: &str) -> String {
    let module = parse_module("m.kiln", &format!("module m {{\n{body}}}\n"), &ConstantTable::new());
    match export(&module.unwrap_or_else(|errors| panic!("{errors:?}"))) {
        Ok(model) => format!("writes {} nodes", model.graph.map_or(0, |graph| graph.node.len())),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_has_no_spelling_is_told_by_name() {
    let cases = [
        ("fn predict(%x: f32[4]) { %y = expm1 %x : f32[4] return %y }", "`expm1` cannot be written in ONNX"),
        (
            "fn predict(%x: i64[2, n]) { %y = window_reduce %x {kind = max, window = [2], strides = [1], dilations = [1], low = [0], high = [0]} : i64[2, n - 1] return %y }",
            "`window_reduce` with integers, or windows over other axes",
        ),
        (
            "fn predict(%x: f32[2*n]) { %y = iota {shape = [n], axis = 0, dtype = f32} : f32[n] return %x, %y }",
            "no axis of an input has the size `n`",
        ),
        (
            "parameter w: f32[4]\n fn predict(%x: f32[4]) { %w = parameter w : f32[4] %y = add %x, %w : f32[4] return %y }",
            "parameter `w` has no value",
        ),
        ("fn predict(%x: f32[4]) { return %x, %x }", "writes 2 nodes"),
    ];
    for (body, expected) in cases {
        let said = told(body);
        assert!(said.contains(expected), "{said}, expected {expected}");
    }
}
