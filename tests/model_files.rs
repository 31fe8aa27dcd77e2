//! Model files: layers against PyTorch's, JSON against TOML, examples from the file to a predictor and to a gradient.

use kiln::artifact::describe::ModelFacts;
use kiln::autodiff::{Variable, differentiate};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::model::initialise::initialiser_words;
use kiln::frontend::model::layers::NAMES;
use kiln::frontend::model::{Language, Model, load, parse};
use kiln::pipeline::Config;
use kiln_ir::eval::evaluate;
use kiln_ir::verify::verify_module;
use kiln_ir::{DType, Diagnostic, Module, Tensor};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::bless::repository;
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::samples::{Fill, Random, tensor};

fn read(text: &str) -> Model {
    parse("test.toml", "test", text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

/// One layer in f64 over inputs of those shapes, the batch first.
fn network(inputs: &[&[usize]], layer: &str) -> String {
    let mut text = "dtype = \"f64\"\n".to_string();
    for (i, shape) in inputs.iter().enumerate() {
        text += &format!("[[input]]\nname = \"x{i}\"\nshape = {:?}\n", &shape[1..]);
    }
    text + "[[layer]]\n" + layer
}

/// The module with values that both sides can write down: all elements of all parameters, by name, are sin(0.7·n)/2 for n from 1 on.
fn filled(model: &Model) -> Module {
    let (mut module, mut n) = (model.module.clone(), 0);
    for parameter in module.parameters.values_mut() {
        let shape = parameter.ty.shape.iter().map(|d| d.as_const().expect("known") as usize).collect::<Vec<_>>();
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|i| 0.5 * (0.7 * (n + i + 1) as f64).sin());
        parameter.value = Some(Tensor::from_floats(DType::F64, shape, values));
        n += count;
    }
    module
}

/// A layer, the shapes of what it takes, and of what comes out: how many numbers, their sum and their weighted sum.
type Case = (&'static str, &'static [&'static [usize]], usize, f64, f64);

/// Layers and what PyTorch 2.15 gives; sums are weighted by 1, 2, 3, … The inputs are cos(0.3·n) for n from 1 on, each beginning anew.
/// ```python
/// f.relu(f.conv2d(f.pad(x, (1, 1, 1, 1)), weight, bias, stride=(2, 1), dilation=(1, 2), groups=2))
/// f.conv1d(x, weight, bias, stride=2, groups=2)
/// f.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=(1, 0))
/// f.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False); f.max_pool2d(f.pad(x, (0, 1, 0, 1), value=-1e9), 2)
/// f.batch_norm(x, mean, variance, scale, bias, eps=1.0); f.group_norm(x, 2, scale, bias)
/// f.multi_head_attention_forward(…)      # alone, and inside encoder and decoder with f.layer_norm as in their descriptions
/// torch.nn.LSTM(3, 2), torch.nn.GRU(3, 2, bidirectional=True), torch.nn.RNN(3, 2, bidirectional=True)      # gates put in our order
/// ```
const LAYERS: &[Case] = &[
    (
        "type = 'conv2d'\nfilters = 4\nkernel = [3, 2]\nstrides = [2, 1]\ndilation = [1, 2]\ngroups = 2\npadding = 'same'\nactivation = 'relu'",
        &[&[2, 2, 5, 6]],
        144,
        74.6812191614802,
        5336.192329244347,
    ),
    ("type = 'depthwise_conv1d'\nkernel = 3\nmultiplier = 2\nstrides = 2", &[&[2, 2, 7]], 24, 6.106683363422992, 91.66130418371822),
    (
        "type = 'conv_transpose2d'\nfilters = 3\nkernel = [3, 2]\nstrides = 2\npadding = 1\noutput_padding = [1, 0]",
        &[&[2, 2, 4, 3]],
        192,
        79.76592739385042,
        8073.233463494114,
    ),
    ("type = 'avg_pool2d'\nsize = 3\nstrides = 2\npadding = 1", &[&[1, 2, 5, 5]], 18, 0.49270596603240613, 11.571369280216233),
    ("type = 'max_pool2d'\nsize = 2\npadding = 'same'", &[&[1, 2, 5, 5]], 18, 7.14135155733008, 45.702989723043665),
    ("type = 'batch_norm'\nepsilon = 1", &[&[2, 4, 3]], 24, 13.132012827269586, 204.38858164958614),
    ("type = 'group_norm'\ngroups = 2", &[&[2, 4, 3]], 24, 7.822376532857235, 89.11737544130037),
    ("type = 'multi_head_attention'\nheads = 2", &[&[2, 3, 4]], 24, 1.8229638173382061, 9.894626840050186),
    ("type = 'transformer_encoder'\nheads = 2\nhidden = 5\ncausal = true", &[&[2, 3, 4]], 24, 5.387548048650615, 59.8969803191242),
    (
        "type = 'transformer_decoder'\ninputs = ['x0', 'x1']\nheads = 2\nhidden = 5\nnorm_first = true\nactivation = 'gelu'",
        &[&[2, 3, 4], &[2, 5, 4]],
        24,
        -9.095443515832706,
        -84.95629974127131,
    ),
    ("type = 'lstm'\nunits = 2", &[&[2, 4, 3]], 4, -1.2153367198232323, -2.978982596492518),
    ("type = 'gru'\nunits = 2\nbidirectional = true\nreturn_sequences = true", &[&[2, 4, 3]], 32, 6.290754487369537, 116.4443208199148),
    ("type = 'rnn'\nunits = 2\nbidirectional = true", &[&[2, 4, 3]], 8, -1.1897394776154886, -5.463725911689766),
    ("type = 'sinusoidal_position'", &[&[1, 5, 4]], 20, 4.76978479552088, 28.95656581227186),
    ("type = 'multi_head_attention'\nheads = 1\nrotary = true", &[&[2, 3, 4]], 24, 1.8141033464488023, 9.977606057964614),
];

#[test]
fn layers_compute_what_pytorch_does() {
    for (layer, inputs, count, sum, weighted) in LAYERS {
        let model = read(&network(inputs, layer));
        let module = filled(&model);
        verify_module(&module).unwrap_or_else(|errors| panic!("{layer}: {errors:?}"));
        let wave = |shape: &&[usize]| {
            let values = (1..=shape.iter().product::<usize>()).map(|n| (0.3 * n as f64).cos());
            Tensor::from_floats(DType::F64, shape.to_vec(), values)
        };
        let inputs: Vec<Tensor> = inputs.iter().map(wave).collect();
        let found = evaluate(&module, &module.functions["predict"], &inputs).unwrap_or_else(|e| panic!("{layer}: {e}"))[0].floats();
        let found_sum: f64 = found.iter().sum();
        let found_weighted: f64 = found.iter().zip(1..).map(|(y, n)| y * f64::from(n)).sum();
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-10 * (1.0 + b.abs());
        assert!(
            found.len() == *count && close(found_sum, *sum) && close(found_weighted, *weighted),
            "{layer}: {} numbers with sum {found_sum} and weighted sum {found_weighted}, expected {count}, {sum}, {weighted}",
            found.len(),
        );
    }
}

#[test]
fn json_says_the_same_as_toml() {
    let toml = "seed = 7\n[[input]]\nname = \"x\"\nshape = [\"n\", 3]\n[[layer]]\ntype = \"dense\"\nunits = 2\nrepeat = 2\n";
    let json = r#"{"seed": 7, "input": [{"name": "x", "shape": ["n", 3]}], "layer": [{"type": "dense", "units": 2, "repeat": 2}]}"#;
    let from_json = parse("test.json", "test", json, Language::Json).unwrap_or_else(|errors| panic!("{errors:?}"));
    let from_toml = read(toml);
    assert_eq!((&from_json.module, &from_json.parameters, from_json.seed), (&from_toml.module, &from_toml.parameters, 7));
    let wrong = json.replace("units", "unit");
    let error = parse("test.json", "test", &wrong, Language::Json).unwrap_err().remove(0);
    let (start, end) = error.labels[0].span.expect("it has a place");
    assert_eq!((&wrong[start..end], error.help.as_deref()), ("\"unit\"", Some("did you mean `units`?")));
}

#[test]
fn values_depend_on_the_seed_and_the_name_alone() {
    let text = |seed: u64, more: &str| {
        format!(
            "seed = {seed}\n[[input]]\nname = 'x'\nshape = [3]\n{more}[[layer]]\ntype = 'dense'\nname = 'head'\ninputs = 'x'\nunits = 2\n"
        )
    };
    let weight = |text: &str| read(text).initialised().expect("it fits").parameters["head.weight"].value.clone();
    let other_layer = "[[layer]]\ntype = 'dense'\nname = 'aside'\nunits = 3\n";
    assert_eq!(weight(&text(1, "")), weight(&text(1, other_layer)));
    assert_ne!(weight(&text(1, "")), weight(&text(2, "")));
}

#[test]
fn what_files_cannot_say_is_told() {
    let told = |errors: Vec<Diagnostic>| errors.iter().map(|e| format!("{}: {}", e.code, e.message)).collect::<Vec<_>>().join("\n");
    let wrong = |text: &str| match parse("test.toml", "test", text, Language::Toml) {
        Ok(model) => format!("reads:\n{}", model.module),
        Err(errors) => told(errors),
    };
    let one = |layer: &str| wrong(&network(&[&[1, 4]], layer));
    let deep = format!("type = 'sequence'\nlayers = [{}{}", "{ type = 'sequence', layers = [".repeat(17), "] }".repeat(17) + "]");
    let texts = [
        wrong(""),
        wrong("layer = []\n"),
        wrong("nme = 'x'\n"),
        one("units = 3"),
        one("type = 'dense'"),
        one("type = 'dense'\nunits = 'many'"),
        one("type = 'sequence'"),
        one("type = 'flatten'\nl2 = 0.1"),
        one("type = 'dense'\nunits = 2\nl2 = -0.1"),
        one("type = 'dense'\nunits = 2\nconstraint = 'max_nrm(3)'"),
        one("type = 'residual'\nl1 = 1\nlayers = [{ type = 'dense', units = 4 }]"),
        one("type = 'dense'\nunits = 3\nrepeat = 0"),
        one("type = 'dense'\nunits = 3\nrepeat = 20000"),
        one("type = 'dense'\nunits = 4000000000"),
        wrong(&network(&[&[1, 1, 9, 9, 9]], "type = 'conv3d'\nfilters = 4000000000\nkernel = 4000000000")),
        one("type = 'dense'\nunits = 3\nshare = 'x0'"),
        one("type = 'reshape'\nshape = [3]"),
        one("type = 'reshape'\nshape = [-1, -1]"),
        one("type = 'permute'\norder = [2]"),
        one("type = 'concat'"),
        one("type = 'residual'\nlayers = [{ type = 'dense', units = 3 }]"),
        one("type = 'embedding'\nvocabulary = 3\nfeatures = 2"),
        wrong(&network(&[&[1, 2, 4]], "type = 'learned_position'\nlength = 3").replace("shape", "dtype = 'f32'\nshape")),
        wrong(&network(&[&[1, 2, 4]], "type = 'dense'\nunits = 3").replace("shape", "dtype = 'f32'\nshape")),
        one("type = 'dropout'\nrate = 1.5"),
        wrong(&network(&[&[1, 2, 9]], "type = 'avg_pool1d'\nsize = 1\npadding = 1")),
        one("type = 'activation'\nfunction = 'softmaxx'"),
        one(&deep),
        wrong(&network(&[&[1, 4], &[1, 4]], "type = 'dense'\nunits = 3")),
        wrong("outputs = ['y']\n[[input]]\nname = 'x'\nshape = [3]\n[[layer]]\ntype = 'flatten'\n"),
        wrong("[[input]]\nname = 'x'\nshape = [-3]\n[[layer]]\ntype = 'flatten'\n"),
        wrong("[[input]]\nname = 'x'\nshape = [3.5]\n[[layer]]\ntype = 'flatten'\n"),
        wrong("[[input]]\nname = 'x'\nshape = ['inf']\n[[layer]]\ntype = 'flatten'\n"),
        wrong("[[input]]\nname = 'an x'\nshape = ['n+1']\n[[layer]]\ntype = 'flatten'\n"),
        wrong("[[input]]\nname = 'x'\nshape = ['n']\n[[layer]]\ntype = 'dense'\nunits = 3\n"),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r#"
    model_value: `input` is missing: tables, each with a name and a shape: [[input]]
    model_value: `layer` is missing: tables, each with a type: [[layer]]
    model_value: `input` is missing: tables, each with a name and a shape: [[input]]
    model_value: `layer` lists tables, one at least, each with a type: [[layer]]
    model_value: nothing here is called `nme`
    model_value: a layer needs a `type`
    model_value: `units` is missing
    model_value: expected a whole number from 0 on, found string "many"
    model_value: a `sequence` holds `layers`
    model_layer: a `flatten` has no weight matrix for `l1`, `l2` or `constraint`
    model_value: -0.1 is no factor of a penalty: numbers from 0 on are
    model_value: there is no constraint `max_nrm`
    model_value: a `residual` has no weights of its own: `l1`, `l2` and `constraint` are its layers'
    model_value: `repeat` is at least 1
    model_layer: the network has more than 10000 layers
    model_layer: with `dense.weight`, f64[4, 4000000000], the network has more than 2147483648 parameters
    model_layer: with `conv3d.weight`, f64[4000000000, 1, 4000000000, 4000000000, 4000000000], the network has more than 2147483648 parameters
    model_layer: a `dense` shares the parameters of its like, `x0` is `input`
    model_layer: 4 elements of each sample do not make 3
    model_layer: only one size may be -1
    model_layer: `order` lists each of the axes 1 to 1 of f64[batch, 4] once
    model_layer: `concat` takes 2 to 64 values, it is given 1
    model_layer: a residual adds what comes in, f64[batch, 4], to what its layers make of it, f64[batch, 3]
    model_layer: takes integers, but what comes in is f64[batch, 4]
    model_layer: element types differ: f32[batch, 2, 4] and f64[batch, 2, 4] (add_c1); the layer's values are f32[batch, 2, 4], f64[batch, 2, 4]
    model_layer: element types differ: f32[batch, 2, 4] and f64[4, 3] (dot_c1); the layer's values are f32[batch, 2, 4], f64[4, 3]
    model_layer: `rate` is 1.5, but a probability below 1 is wanted
    model_layer: a window of 1 may hold nothing but a padding of 1
    model_value: there is no `softmaxx`
    model_value: groups lie in one another more than 16 deep
    model_layer: there are several inputs, so the first layer says which of them it takes
    model_layer: nothing before this is called `y`
    model_value: -3 is no size: numbers from 0 on and names of open sizes are
    model_value: expected a whole number, or text that is a size
    model_value: inf is no size: numbers from 0 on and names of open sizes are
    model_value: `an x` is no name: letters, digits and `_` are
    model_layer: needs a known number of features, axis 1 of f32[batch, n]
    "#);
}

#[test]
fn damaged_files_are_refused_or_read() {
    let example = std::fs::read_to_string(repository().join("examples/fashion/cnn.toml")).expect("it is there");
    let mut texts: Vec<String> = LAYERS.iter().map(|(layer, inputs, ..)| network(inputs, layer)).collect();
    texts.push(example);
    let json = r#"{"input": [{"name": "x", "shape": ["n", 3]}], "layer": [{"type": "residual", "layers": [{"type": "layer_norm"}]}]}"#;
    let mut random = Random::new(5);
    for turn in 0..4000 {
        let (source, language) = match turn % 5 {
            0 => (json, Language::Json),
            _ => (texts[random.below(texts.len())].as_str(), Language::Toml),
        };
        let mut text: Vec<char> = source.chars().collect();
        for _ in 0..=random.below(3) {
            let (at, length) = (random.below(text.len()), random.below(12));
            let end = (at + length).min(text.len());
            match random.below(4) {
                0 => drop(text.drain(at..end)),
                1 => text[at] = ['9', '-', '"', '[', '=', '0', '\'', 'é'][random.below(8)],
                2 => text.splice(at..at, "999999".chars()).for_each(drop),
                _ => {
                    let again = text[at..end].to_vec();
                    text.splice(end..end, again).for_each(drop);
                }
            }
            if text.is_empty() {
                text.push(' ');
            }
        }
        let text: String = text.into_iter().collect();
        // Neither panics, and what is read is a program.
        if let Ok(model) = parse("test", "test", &text, language)
            && let Err(errors) = verify_module(&model.module)
        {
            panic!("{errors:?}\n{text}");
        }
    }
}

/// Settings that a type of layer cannot do without.
fn least_settings(word: &str) -> &'static str {
    match word {
        "dense" | "rnn" | "lstm" | "gru" => "units = 2",
        "depthwise_conv1d" | "depthwise_conv2d" => "kernel = 2\npadding = 'same'\nstrides = 2",
        _ if word.starts_with("conv") && word != "concat" => "filters = 2\nkernel = 2",
        _ if word.contains("_pool") && !word.starts_with("global") && word != "sequence_pool" => "size = 2",
        "group_norm" => "groups = 1",
        "reshape" => "shape = [-1]",
        "permute" => "order = [2, 1]",
        "dropout" | "word_dropout" => "rate = 0.5",
        "embedding" => "vocabulary = 3\nfeatures = 2",
        "learned_position" => "length = 3",
        "multi_head_attention" => "heads = 1\nrotary = true",
        "transformer_encoder" | "transformer_decoder" => "heads = 1\nhidden = 2",
        "activation" => "function = 'softmax'",
        "stft" | "spectrogram" => "n_fft = 2",
        "mel" => "n_mels = 1\nsample_rate = 8000",
        "log_mel" => "n_fft = 2\nn_mels = 1\nsample_rate = 8000",
        _ => "",
    }
}

#[test]
fn any_layer_takes_or_refuses_any_input() {
    let shapes =
        ["[]", "[4]", "['n']", "[0]", "[3, 4]", "['n', 4]", "[4, 'n']", "[2, 4, 4]", "[2, 'n', 0]", "[2, 4, 4, 4]", "[1, 1, 1, 1, 1]"];
    let mut read = std::collections::BTreeSet::new();
    for word in NAMES {
        for shape in shapes {
            // The last one takes texts, as only one input may.
            for (dtype, table) in [("f32", ""), ("f64", ""), ("i64", ""), ("u8", ""), ("i64", "text = { tokens = 'byte' }\n")] {
                for inputs in ["'a'", "['a', 'b']"] {
                    let input = |name: &str| format!("[[input]]\nname = '{name}'\nshape = {shape}\ndtype = '{dtype}'\n");
                    let layer = format!("[[layer]]\ntype = '{word}'\ninputs = {inputs}\n{}\n", least_settings(word));
                    let text = input("a") + table + &input("b") + &layer;
                    if let Ok(model) = parse("test", "test", &text, Language::Toml) {
                        verify_module(&model.module).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
                        read.insert(*word);
                    }
                }
            }
        }
    }
    let refused: Vec<&&str> = NAMES.iter().filter(|word| !read.contains(*word)).collect();
    assert!(refused.is_empty(), "no input fits {refused:?}");
}

#[test]
fn every_word_is_in_the_reference() {
    let reference = std::fs::read_to_string(repository().join("compiler/MODELS.md")).expect("it is there");
    let words = NAMES.iter().copied().chain(initialiser_words());
    let missing: Vec<&str> = words.filter(|w| !reference.contains(&format!("`{w}`")) && !reference.contains(&format!("`{w}("))).collect();
    assert!(missing.is_empty(), "compiler/MODELS.md does not mention {missing:?}");
}

#[test]
fn examples_have_gradients_that_compile() {
    let pool = ThreadPool::new(2);
    let mut random = Random::new(1);
    // Two sizes each; the whole vocabulary is not needed.
    let cases: [(&str, [&[usize]; 2]); 4] = [
        ("fashion/cnn", [&[2, 1, 28, 28], &[1, 1, 28, 28]]),
        ("networks/mnist_cnn", [&[1, 28, 28, 1], &[3, 28, 28, 1]]),
        ("networks/lstm", [&[3, 2, 128], &[1, 1, 128]]),
        ("networks/text_transformer", [&[1, 4], &[2, 1]]),
    ];
    for (name, shapes) in cases {
        let path = repository().join(format!("examples/{name}.toml"));
        let module = load(&path, Language::Toml).and_then(|model| model.initialised());
        let mut module = module.unwrap_or_else(|errors| panic!("{errors:?}"));
        let predict = module.predict().expect("it predicts").clone();
        let variables: Vec<Variable> = module.parameters.keys().map(|name| Variable::Parameter(name.clone())).collect();
        let gradient = differentiate(&predict, &["scores"], &variables).unwrap_or_else(|errors| panic!("{errors:?}"));
        module.functions.insert("predict".into(), gradient.clone());
        let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
        let facts = ModelFacts { name: module.name.clone(), ..ModelFacts::default() };
        let compiled = compile(&module, target, facts, &Config::default()).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let predictor = compiled.predictor(&pool).expect("it loads");
        for shape in shapes {
            let dtype = gradient.ty(gradient.inputs()[0].1).dtype;
            let input = [tensor(dtype, shape, Fill::Ordinary, Some((0.0, 1.0)), &mut random)];
            let found = predictor.run(&input, &pool).unwrap_or_else(|error| panic!("{name}: {error}"));
            let expected = evaluate(&module, &gradient, &input).unwrap_or_else(|error| panic!("{name}: {error}"));
            for ((found, expected), (output, _)) in found.iter().zip(&expected).zip(gradient.outputs()) {
                // Sums of thousands of products in f32.
                let apart = difference(found, expected, Tolerance { absolute: 1e-3, relative: 1e-3 });
                assert!(apart.is_none(), "{name} at {shape:?}: {output}: {}", apart.unwrap_or_default());
            }
        }
    }
}

/// Editors learn of every layer, loss, optimiser and schedule, with what the structs that read them say.
#[test]
fn the_schema_knows_what_can_be_written() {
    let schema: serde_json::Value = serde_json::from_str(&kiln::frontend::model::schema::schema()).expect("JSON");
    let layers = schema["definitions"]["layer"]["anyOf"].as_array().expect("a list");
    let words: Vec<&str> = layers.iter().filter_map(|layer| layer["properties"]["type"]["const"].as_str()).collect();
    assert!(NAMES.iter().all(|name| words.contains(name)) && words.contains(&"residual"), "{words:?}");
    let dense = layers.iter().find(|layer| layer["title"] == "dense").expect("it is there");
    assert_eq!(dense["required"], serde_json::json!(["type", "units"]));
    assert_eq!(dense["properties"]["units"]["minimum"], 0);
    let train = &schema["properties"]["train"]["properties"];
    for (setting, count) in [("optimiser", 8), ("schedule", 8)] {
        assert_eq!(train[setting]["anyOf"].as_array().map(Vec::len), Some(count), "{setting}");
    }
    for setting in ["epochs", "precision", "early_stopping", "augment"] {
        assert!(train[setting].is_object(), "{setting}");
    }
}

/// The same of files that say how a network of another file is trained on.
#[test]
fn the_schema_of_tuning_knows_what_can_be_written() {
    let schema: serde_json::Value = serde_json::from_str(&kiln::frontend::model::schema::tuning_schema()).expect("JSON");
    let properties = schema["properties"].as_object().expect("a table");
    assert_eq!(properties.keys().collect::<Vec<_>>(), ["fine_tune", "seed", "train"]);
    let tune = &schema["properties"]["fine_tune"]["properties"];
    let replacement = &tune["replace"]["items"];
    assert_eq!(replacement["required"], serde_json::json!(["pattern", "units"]));
    assert_eq!(replacement["properties"]["units"]["minimum"], 1);
    let adapters = tune["adapters"].to_string();
    assert!(["pattern", "rank", "alpha"].iter().all(|setting| adapters.contains(setting)), "{adapters}");
    let train = &schema["properties"]["train"]["properties"];
    assert!(train["loss"].is_object() && train["freeze"].is_object() && train["precision"].is_null());
    // An example that is read is one that the schema describes, setting by setting.
    let text = "seed = 1\n[train]\nloss = \"mse\"\n[fine_tune]\nreplace = [{ pattern = \"fc.*\", units = 10 }]\n\
                adapters = { pattern = \"*\", rank = 8, alpha = 16 }\n";
    assert!(kiln::frontend::model::tuning::parse_tuning("tune.toml", text, kiln::frontend::model::Language::Toml).is_ok());
}
