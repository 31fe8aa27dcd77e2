//! Every layer of model files in training mode, in f64: the gradients of what training makes small, by all parameters and inputs,
//! against central differences, and compiled against the reference. The lists of layers, settings and activation functions are those of the schema, so a new one fails
//! here until it has a case.

use kiln::frontend::model::schema::schema;
use kiln::frontend::model::{Language, Model, parse};
use kiln::training::OBJECTIVE;
use kiln_ir::{DType, Tensor};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::compare::{Tolerance, difference, farthest};
use kiln_tests::objectives::Objective;
use kiln_tests::slopes::slopes;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Samples in a batch, and what values are drawn by.
const DRAWS: [(i64, u64); 2] = [(3, 7), (2, 8)];
const SLOPES: Tolerance = Tolerance { absolute: 1e-9, relative: 1e-6 };
/// Sums of some dozen products in another order, and composites made of their parts.
const COMPILED: Tolerance = Tolerance { absolute: 1e-12, relative: 1e-11 };
/// A gradient whose elements are all smaller says nothing of its layer.
const LEAST: f64 = 1e-3;

/// Shapes of the inputs `a`, `b`, … behind the batch, with `i64` before those of tokens and `text` before those of texts; and the layers.
type Case = (&'static [&'static str], &'static str);

/// Sizes are small and odd. Values are drawn once and for all, so that none lies within a step of a kink: a case that meets one gets
/// another size.
const CASES: &[Case] = &[
    (&["[4]"], "{ type = 'dense', units = 3, activation = 'tanh', l1 = 0.1, l2 = 0.2 }"),
    (&["[2, 4]"], "{ type = 'dense', units = 3, bias = false, activity_l1 = 0.1, activity_l2 = 0.3 }"),
    (&["[4, 7]"], "{ type = 'conv1d', filters = 2, kernel = 3, strides = 2, groups = 2, padding = 'same', activation = 'silu', l2 = 0.1 }"),
    (&["[2, 6]"], "{ type = 'conv1d', filters = 2, kernel = 3, dilation = 2, strides = 2, padding = 'causal' }"),
    (&["[2, 6]"], "{ type = 'conv1d', filters = 3, kernel = 2, dilation = 2, bias = false, padding = 1 }"),
    (
        &["[2, 5, 4]"],
        "{ type = 'conv2d', filters = 4, kernel = [3, 2], strides = [2, 1], dilation = [1, 2], groups = 2, padding = 'same' }",
    ),
    (&["[2, 4, 4]"], "{ type = 'conv2d', filters = 2, kernel = 3, bias = false, activation = 'tanh' }"),
    (&["[2, 3, 4, 3]"], "{ type = 'conv3d', filters = 2, kernel = 2, strides = [1, 2, 1], dilation = [1, 1, 2], groups = 2, padding = 1 }"),
    (&["[1, 3, 2, 3]"], "{ type = 'conv3d', filters = 2, kernel = 2, bias = false, activation = 'gelu' }"),
    (&["[2, 7]"], "{ type = 'depthwise_conv1d', kernel = 3, multiplier = 2, strides = 2, dilation = 2, padding = 'same' }"),
    (&["[3, 5]"], "{ type = 'depthwise_conv1d', kernel = 2, bias = false, activation = 'elu' }"),
    (
        &["[2, 5, 4]"],
        "{ type = 'depthwise_conv2d', kernel = [2, 3], multiplier = 2, strides = [2, 1], dilation = [1, 2], padding = 'same' }",
    ),
    (&["[3, 3, 4]"], "{ type = 'depthwise_conv2d', kernel = 2, bias = false, activation = 'mish' }"),
    (&["[2, 4]"], "{ type = 'conv_transpose1d', filters = 3, kernel = 3, strides = 2, padding = 1, output_padding = 1 }"),
    (&["[2, 4]"], "{ type = 'conv_transpose1d', filters = 3, kernel = 2, bias = false, activation = 'softplus' }"),
    (&["[2, 3, 2]"], "{ type = 'conv_transpose2d', filters = 2, kernel = [3, 2], strides = 2, padding = 1, output_padding = [1, 0] }"),
    (&["[2, 3, 2]"], "{ type = 'conv_transpose2d', filters = 2, kernel = 2, bias = false, activation = 'sigmoid' }"),
    (
        &["[2, 2, 1, 3]"],
        "{ type = 'conv_transpose3d', filters = 2, kernel = [2, 3, 2], strides = [1, 2, 1], padding = [0, 1, 1], \
         output_padding = [0, 1, 0] }",
    ),
    (&["[1, 2, 1, 2]"], "{ type = 'conv_transpose3d', filters = 2, kernel = 2, bias = false, activation = 'softsign' }"),
    (&["[2, 7]"], "{ type = 'max_pool1d', size = 3, strides = 2, padding = 'same' }"),
    (&["[2, 5, 5]"], "{ type = 'max_pool2d', size = 2, strides = [1, 2], padding = 'same' }"),
    (&["[2, 3, 4, 3]"], "{ type = 'max_pool3d', size = [2, 3, 2], strides = 1, padding = 1 }"),
    (&["[2, 7]"], "{ type = 'avg_pool1d', size = 3, strides = 2, padding = 'same' }"),
    (&["[2, 5, 5]"], "{ type = 'avg_pool2d', size = 3, strides = [1, 2], padding = 1 }"),
    (&["[2, 3, 4, 3]"], "{ type = 'avg_pool3d', size = [2, 3, 2], strides = 1, padding = 'same' }"),
    (&["[2, 3, 4]"], "{ type = 'global_max_pool' }"),
    (&["[2, 3, 4]"], "{ type = 'global_avg_pool' }"),
    (&["[2, 3]"], "{ type = 'batch_norm', epsilon = 0.01, momentum = 0.7 }"),
    (&["[4]"], "{ type = 'batch_norm' }"),
    (&["[3]"], "{ type = 'dense', units = 4 }, { type = 'batch_norm', name = 'norm' }, { type = 'batch_norm', share = 'norm' }"),
    (&["[2, 5]"], "{ type = 'layer_norm', epsilon = 0.01 }"),
    (&["[4, 3]"], "{ type = 'group_norm', groups = 2, epsilon = 0.01 }"),
    (&["[2, 5]"], "{ type = 'rms_norm', epsilon = 0.01 }"),
    (&["[2, 3]"], "{ type = 'flatten' }"),
    (&["[2, 6]"], "{ type = 'reshape', shape = [3, -1] }"),
    (&["[2, 3, 2]"], "{ type = 'permute', order = [3, 1, 2] }"),
    (&["[4, 5]"], "{ type = 'dropout', rate = 0.4 }"),
    (&["[5]"], "{ type = 'dropout', rate = 0.3 }, { type = 'dense', units = 4 }, { type = 'dropout', rate = 0.5 }"),
    (&["i64[4]"], "{ type = 'embedding', vocabulary = 3, features = 2, l2 = 0.1 }"),
    (&["text[5]"], "{ type = 'word_dropout', rate = 0.3 }, { type = 'embedding', features = 3 }, { type = 'sequence_pool' }"),
    (&["text[5]"], "{ type = 'embedding', features = 3 }, { type = 'sequence_pool', kind = 'max' }"),
    (&["text['time']"], "{ type = 'embedding', features = 3 }, { type = 'sequence_pool', kind = 'first' }"),
    (&["text['time']"], "{ type = 'embedding', features = 3 }, { type = 'sequence_pool', kind = 'last' }"),
    (&["text[4]"], "{ type = 'embedding', features = 4 }, { type = 'multi_head_attention', heads = 2 }"),
    (&["text['time']"], "{ type = 'embedding', features = 2 }, { type = 'lstm', units = 2, bidirectional = true }"),
    (&["text[4]"], "{ type = 'embedding', features = 2 }, { type = 'gru', units = 2, return_sequences = true }"),
    (&["text[4]"], "{ type = 'embedding', features = 2 }, { type = 'rnn', units = 2 }"),
    (&["[3, 4]"], "{ type = 'sequence_pool' }"),
    (&["[3, 4]"], "{ type = 'sequence_pool', kind = 'max' }"),
    (&["['time', 4]"], "{ type = 'sequence_pool', kind = 'last' }"),
    (&["[3, 5]"], "{ type = 'sinusoidal_position', base = 100.0 }"),
    (&["[3, 2]"], "{ type = 'learned_position', length = 4 }"),
    (&["[3, 4]"], "{ type = 'multi_head_attention', heads = 2, causal = true }"),
    (&["[4, 4]"], "{ type = 'multi_head_attention', heads = 2, causal = true, window = 1 }"),
    (&["[3, 4]"], "{ type = 'multi_head_attention', heads = 3, head_features = 2, rotary = true, bias = false }"),
    (&["[3, 4]", "[2, 5]"], "{ type = 'multi_head_attention', inputs = ['a', 'b'], heads = 2 }"),
    (&["[3, 4]"], "{ type = 'transformer_encoder', heads = 2, hidden = 3, dropout = 0.3, causal = true, epsilon = 0.01 }"),
    (
        &["[2, 4]"],
        "{ type = 'transformer_encoder', heads = 2, hidden = 3, norm_first = true, rotary = true, bias = false, activation = 'gelu' }",
    ),
    (&["[3, 4]", "[2, 4]"], "{ type = 'transformer_decoder', inputs = ['a', 'b'], heads = 2, hidden = 3, dropout = 0.2, epsilon = 0.01 }"),
    (
        &["[2, 4]", "[3, 4]"],
        "{ type = 'transformer_decoder', inputs = ['a', 'b'], heads = 1, hidden = 3, norm_first = true, rotary = true, bias = false, \
         activation = 'silu' }",
    ),
    (&["[4, 2]"], "{ type = 'rnn', units = 3, return_sequences = true }"),
    (&["[3, 2]"], "{ type = 'rnn', units = 2, bidirectional = true, l2 = 0.1 }"),
    (&["[4, 2]"], "{ type = 'lstm', units = 3 }"),
    (&["[3, 2]"], "{ type = 'lstm', units = 2, bidirectional = true, return_sequences = true }"),
    (&["[4, 2]"], "{ type = 'gru', units = 3 }"),
    (&["[3, 2]"], "{ type = 'gru', units = 2, bidirectional = true, return_sequences = true }"),
    // Of any length.
    (
        &["[2, 'time']"],
        "{ type = 'conv1d', filters = 2, kernel = 3, strides = 2, padding = 'same', bias = false }, { type = 'batch_norm' }, \
         { type = 'global_max_pool' }",
    ),
    (
        &["[2, 'time']"],
        "{ type = 'max_pool1d', size = 2, strides = 1 }, { type = 'avg_pool1d', size = 3, padding = 'same' }, { type = 'global_avg_pool' }",
    ),
    (&["['time', 2]"], "{ type = 'learned_position', length = 6 }, { type = 'lstm', units = 2, bidirectional = true }"),
    (&["['time', 2]"], "{ type = 'rnn', units = 2, return_sequences = true }, { type = 'gru', units = 2 }"),
    (&["['time', 4]"], "{ type = 'transformer_encoder', heads = 2, hidden = 3, causal = true, window = 2, rotary = true, dropout = 0.2 }"),
    (&["[2, 4]", "['time', 4]"], "{ type = 'multi_head_attention', inputs = ['a', 'b'], heads = 2 }"),
    (&["[2, 3]", "[2, 1]", "[1, 3]"], "{ type = 'add', inputs = ['a', 'b', 'c'] }"),
    (&["[2, 3]", "[2, 1]"], "{ type = 'multiply', inputs = ['a', 'b'] }"),
    (&["[2, 3]", "[1, 3]", "[2, 3]"], "{ type = 'concat', inputs = ['a', 'b', 'c'], axis = 1 }"),
    (&["[4, 3]"], "{ type = 'leaky_relu', slope = 0.2 }"),
    (&["[4, 3]"], "{ type = 'elu', alpha = 0.7 }"),
    (&["[3, 2]"], "{ type = 'softmax', axis = 1 }"),
    (&["[3, 2]"], "{ type = 'log_softmax', axis = 0 }"),
    (&["[4]"], "{ type = 'residual', repeat = 2, layers = [{ type = 'dense', units = 4, activation = 'tanh' }, { type = 'layer_norm' }] }"),
    (&["[9]"], "{ type = 'stft', n_fft = 4, win_length = 3, hop_length = 2, window = 'hamming' }"),
    (&["[1, 7]"], "{ type = 'stft', n_fft = 5, hop_length = 1, window = 'rectangular', center = false }"),
    (&["[9]"], "{ type = 'spectrogram', n_fft = 4, win_length = 4, hop_length = 3, window = 'blackman', center = true, power = 1 }"),
    (&["[8]"], "{ type = 'spectrogram', n_fft = 6, win_length = 5, hop_length = 2, window = 'hann', center = false }"),
    (&["[2, 5]"], "{ type = 'mel', n_mels = 3, sample_rate = 8000, f_min = 300, f_max = 3900, mel_scale = 'slaney', norm = 'none' }"),
    (
        &["['time']"],
        "{ type = 'log_mel', n_fft = 8, win_length = 6, hop_length = 2, window = 'hamming', center = true, power = 1, n_mels = 2, \
         sample_rate = 4000, f_min = 100, f_max = 1900, mel_scale = 'slaney', norm = 'slaney', floor = 0.001, log = 'decibel' }, { type = 'permute', order = [2, 1] }, { type = 'global_avg_pool' }",
    ),
    (&["[17]"], "{ type = 'log_mel', n_fft = 8, hop_length = 3, center = false, n_mels = 3, sample_rate = 1000, log = 'log10' }"),
    (&["[4, 3]"], "{ type = 'normalise', over = 'utterance', epsilon = 0.01 }"),
    (&["[4, 3]"], "{ type = 'normalise', over = 'global', momentum = 0.8 }"),
    (&["[4, 2]"], "{ type = 'deltas', win_length = 3, order = 2 }"),
    (
        &["['time', 3]"],
        "{ type = 'spec_augment', time_masks = 1, time_width = 3, time_part = 0.5, frequency_masks = 1, frequency_width = 2 }",
    ),
    (
        &["[4]"],
        "{ type = 'dense', name = 'first', units = 4, activation = 'tanh', l2 = 0.1 }, \
         { type = 'sequence', layers = [{ type = 'dense', share = 'first', units = 4 }, { type = 'dense', units = 2, repeat = 3 }] }",
    ),
];

/// Layers whose loops fill vectors and tiles of registers, and leave a remainder.
const LARGER: &[Case] = &[
    (&["[9, 130]"], "{ type = 'dense', units = 70, activation = 'gelu' }"),
    (&["[32, 37]"], "{ type = 'conv1d', filters = 48, kernel = 5, padding = 'same', activation = 'silu' }"),
    (&["[16, 13, 11]"], "{ type = 'conv2d', filters = 24, kernel = 3, padding = 'same' }"),
    (&["[16, 13, 11]"], "{ type = 'conv2d', filters = 40, kernel = [3, 4], strides = 2, dilation = [1, 2], groups = 4, padding = 1 }"),
    (&["[4, 7, 6, 9]"], "{ type = 'conv3d', filters = 18, kernel = 3, padding = 'same' }"),
    (&["[24, 12, 19]"], "{ type = 'depthwise_conv2d', kernel = 3, multiplier = 2, padding = 'same' }"),
    (&["[12, 7, 9]"], "{ type = 'conv_transpose2d', filters = 18, kernel = 4, strides = 2, padding = 1 }"),
    (&["[6, 17, 15]"], "{ type = 'conv2d', filters = 20, kernel = 1 }, { type = 'max_pool2d', size = 3, strides = 2, padding = 1 }"),
    (&["[20, 17, 15]"], "{ type = 'avg_pool2d', size = 3, strides = 2, padding = 'same' }"),
    (&["[40, 9, 7]"], "{ type = 'batch_norm' }, { type = 'activation', function = 'mish' }"),
    (&["[11, 70]"], "{ type = 'layer_norm' }, { type = 'rms_norm' }"),
    (&["[48, 5, 7]"], "{ type = 'group_norm', groups = 8 }"),
    (&["i64[23]"], "{ type = 'embedding', vocabulary = 3, features = 37 }"),
    (
        &["text[23]"],
        "{ type = 'embedding', features = 48 }, { type = 'transformer_encoder', heads = 4, hidden = 50 }, { type = 'sequence_pool' }",
    ),
    (&["text[19]"], "{ type = 'embedding', features = 20 }, { type = 'lstm', units = 33, bidirectional = true, return_sequences = true }"),
    (&["[19, 48]"], "{ type = 'multi_head_attention', heads = 4, causal = true }"),
    (&["[19, 48]"], "{ type = 'transformer_encoder', heads = 3, hidden = 70, dropout = 0.1, rotary = true }"),
    (&["[9, 32]", "[17, 32]"], "{ type = 'transformer_decoder', inputs = ['a', 'b'], heads = 4, hidden = 50, norm_first = true }"),
    (&["[11, 20]"], "{ type = 'lstm', units = 33, bidirectional = true, return_sequences = true }"),
    (&["[11, 20]"], "{ type = 'gru', units = 33, return_sequences = true }"),
    (&["[11, 20]"], "{ type = 'rnn', units = 33, bidirectional = true }"),
    (&["[5, 130]"], "{ type = 'log_softmax' }"),
    (
        &["[700]"],
        "{ type = 'log_mel', n_fft = 200, hop_length = 80, n_mels = 40, sample_rate = 8000, floor = 1e-3 }, { type = 'normalise' }",
    ),
    (&["[37, 20]"], "{ type = 'deltas', order = 2 }, { type = 'spec_augment', time_width = 10 }"),
];

/// Parameters that what training makes small does not depend on, although a gradient reaches them, and why.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("key.bias", "it adds the same to all scores of a query, which softmax takes away"),
    ("dense.bias", "the mean of a batch, which a batch norm takes away, has it too"),
];

/// Settings that no gradient is about: names of things, first values, and what happens behind the gradient.
const ABOUT_OTHER_THINGS: &[&str] =
    &["type", "name", "inputs", "layers", "initialiser", "bias_initialiser", "recurrent_initialiser", "forget_bias", "constraint"];

fn model(inputs: &[&str], layers: &str) -> Model {
    model_in(DType::F64, inputs, layers, "'mse'")
}

fn model_in(floats: DType, inputs: &[&str], layers: &str, loss: &str) -> Model {
    let mut text = format!("dtype = '{floats}'\ninput = [");
    for (name, shape) in ('a'..).zip(inputs) {
        if let Some(shape) = shape.strip_prefix("text") {
            text += &format!("{{ name = '{name}', shape = {shape}, text = {{ tokens = 'word', vocabulary = 3 }} }}, ");
            continue;
        }
        let (dtype, shape) = shape.strip_prefix("i64").map_or((floats, *shape), |shape| (DType::I64, shape));
        text += &format!("{{ name = '{name}', dtype = '{dtype}', shape = {shape} }}, ");
    }
    text += &format!("]\nlayer = [{layers}]\n[train]\nloss = {loss}\n");
    parse("test.toml", "test", &text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

/// Names of the variables whose gradient is nearly 0 at every draw.
fn compare(model: &Model, what: &str) -> BTreeSet<String> {
    let mut small: BTreeMap<String, usize> = BTreeMap::new();
    for draw in DRAWS {
        let objective = Objective::new(model, draw);
        let place = objective.graph.outputs().iter().position(|(name, _)| name == OBJECTIVE).expect("it was added");
        let value = |values: &[Tensor]| objective.run(&objective.graph, values)[place].floats()[0];
        for (at, found) in objective.gradients(model) {
            let name = objective.variables[at].name();
            let apart = difference(&found, &slopes(&value, &objective.values, at), SLOPES);
            assert!(apart.is_none(), "{what}: by {name}: {}", apart.unwrap_or_default());
            *small.entry(name.to_string()).or_default() += usize::from(found.floats().iter().all(|slope| slope.abs() < LEAST));
        }
    }
    small.into_iter().filter(|(_, draws)| *draws == DRAWS.len()).map(|(name, _)| name).collect()
}

#[test]
fn gradients_of_layers_in_training_are_slopes() {
    let mut excused = BTreeSet::new();
    for (inputs, layers) in CASES {
        for name in compare(&model(inputs, layers), layers) {
            let row = WITHOUT_EFFECT.iter().position(|(ending, _)| name.ends_with(ending));
            excused.insert(row.unwrap_or_else(|| panic!("{layers}: the gradient by {name} is nearly 0")));
        }
    }
    assert_eq!(excused.len(), WITHOUT_EFFECT.len(), "not all of {WITHOUT_EFFECT:?} is needed");
}

#[test]
fn compiled_gradients_of_layers_in_training_agree_with_the_reference() {
    let pool = ThreadPool::new(2);
    for (inputs, layers) in CASES {
        let model = model(inputs, layers);
        for objective in DRAWS.map(|draw| Objective::new(&model, draw)) {
            let (_, gradient) = objective.gradient(&model);
            let found = objective.run_compiled(&gradient, &pool);
            let expected = objective.run(&gradient, &objective.values);
            for ((found, expected), (output, _)) in found.iter().zip(&expected).zip(gradient.outputs()) {
                let apart = difference(found, expected, COMPILED);
                assert!(apart.is_none(), "{layers}: {output}: {}", apart.unwrap_or_default());
            }
        }
    }
}

/// In f32, against the reference in f64: errors are measured by the largest element of each gradient, where sums do not cancel.
#[test]
fn compiled_gradients_of_larger_layers_agree_with_the_reference() {
    let pool = ThreadPool::new(2);
    for (inputs, layers) in LARGER {
        let narrow = model_in(DType::F32, inputs, layers, "'mse'");
        let wide = model(inputs, layers);
        let objective = Objective::new(&narrow, (5, 9));
        let widened = objective.values.iter().map(|value| match value.dtype() {
            DType::F32 => Tensor::from_floats(DType::F64, value.shape().to_vec(), value.floats()),
            _ => value.clone(),
        });
        let exact = Objective { values: widened.collect(), ..Objective::new(&wide, (5, 9)) };
        let found = objective.run_compiled(&objective.gradient(&narrow).1, &pool);
        let gradient = exact.gradient(&wide).1;
        for ((found, expected), (output, _)) in found.iter().zip(exact.run(&gradient, &exact.values)).zip(gradient.outputs()) {
            let (apart, largest) = farthest(&found.floats(), &expected.floats());
            assert!(apart <= 1e-5 * largest + 1e-6, "{layers}: {output}: {apart:e} apart of {largest:e}");
        }
    }
}

/// The schema of layers: for each type the schemas of its settings.
fn layers_of_the_schema() -> BTreeMap<String, BTreeMap<String, Json>> {
    let schema: Json = serde_json::from_str(&schema()).expect("JSON");
    let layers = schema["definitions"]["layer"]["anyOf"].as_array().expect("a list");
    let one = |layer: &Json| {
        let settings = layer["properties"].as_object().expect("an object").iter();
        (layer["title"].as_str().expect("its type").to_string(), settings.map(|(name, s)| (name.clone(), s.clone())).collect())
    };
    layers.iter().map(one).collect()
}

/// The words that a schema lists.
fn words(schema: &Json) -> Vec<String> {
    let listed = schema["enum"].as_array().into_iter().flatten();
    let several = schema["oneOf"].as_array().into_iter().flatten().flat_map(words);
    listed.chain(schema.get("const")).filter_map(Json::as_str).map(str::to_string).chain(several).collect()
}

#[test]
fn gradients_of_activation_functions_are_slopes() {
    let functions = words(&layers_of_the_schema()["activation"]["function"]);
    assert!(functions.len() > 10, "{functions:?}");
    for function in functions {
        let layer = format!("{{ type = 'activation', function = '{function}' }}");
        assert_eq!(compare(&model(&["[7, 3]"], &layer), &layer), BTreeSet::new(), "{layer}");
    }
}

/// Losses with their settings, each of a layer that gives what it takes: `a` is its input.
const LOSSES: &[(&str, &str, &str)] = &[
    ("'mse'", "[2, 3]", "{ type = 'flatten' }"),
    ("'mae'", "[2, 3]", "{ type = 'flatten' }"),
    ("{ type = 'huber', delta = 0.4 }", "[2, 3]", "{ type = 'flatten' }"),
    ("{ type = 'smooth_l1', beta = 0.4 }", "[2, 3]", "{ type = 'flatten' }"),
    ("'hinge'", "[2, 3]", "{ type = 'flatten' }"),
    ("{ type = 'binary_cross_entropy', label_smoothing = 0.1 }", "[2, 3]", "{ type = 'flatten' }"),
    ("{ type = 'binary_cross_entropy', logits = false }", "[2, 3]", "{ type = 'activation', function = 'sigmoid' }"),
    ("{ type = 'cross_entropy', label_smoothing = 0.1 }", "[2, 3]", "{ type = 'layer_norm' }"),
    ("{ type = 'cross_entropy', logits = false }", "[2, 3]", "{ type = 'softmax' }"),
    ("{ type = 'sparse_cross_entropy', label_smoothing = 0.1, class_weights = [1, 0.5, 2] }", "[2, 3]", "{ type = 'layer_norm' }"),
    ("{ type = 'sparse_cross_entropy', logits = false }", "[2, 3]", "{ type = 'softmax' }"),
    ("'kl_divergence'", "[2, 3]", "{ type = 'log_softmax' }"),
    ("{ type = 'ctc', blank = 3, drop_impossible = true }", "['time', 4]", "{ type = 'dense', units = 4 }"),
    ("{ type = 'ctc', blank = 3 }", "[12, 4]", "{ type = 'rms_norm' }"),
];

#[test]
fn gradients_of_losses_are_slopes() {
    for (loss, input, layers) in LOSSES {
        assert!(!compare(&model_in(DType::F64, &[input], layers, loss), loss).contains("a"), "{loss}: its gradient is nearly 0");
    }
    let schema: Json = serde_json::from_str(&schema()).expect("JSON");
    let tables = schema["properties"]["train"]["properties"]["loss"]["anyOf"][0]["anyOf"].as_array().expect("a list");
    let missing: Vec<&str> = tables
        .iter()
        .filter_map(|table| table["properties"]["type"]["const"].as_str())
        .filter(|word| !LOSSES.iter().any(|(loss, ..)| loss.contains(&format!("'{word}'"))))
        .collect();
    assert!(tables.len() > 10 && missing.is_empty(), "no case has {missing:?}");
}

#[test]
fn dropout_is_in_what_is_differentiated() {
    let model = model(&["[4, 5]"], "{ type = 'dropout', rate = 0.4 }");
    let gradients = Objective::new(&model, DRAWS[0]).gradients(&model);
    let dropped = gradients[0].1.floats().iter().filter(|slope| **slope == 0.0).count();
    assert!((10..40).contains(&dropped), "{dropped} of 60");
}

#[test]
fn every_layer_and_setting_has_a_case() {
    fn collect(layers: &toml::Value, found: &mut BTreeMap<String, BTreeSet<String>>) {
        for layer in layers.as_array().expect("a list").iter().filter_map(toml::Value::as_table) {
            let word = layer["type"].as_str().expect("text").to_string();
            found.entry(word).or_default().extend(layer.keys().cloned());
            layer.get("layers").into_iter().for_each(|inner| collect(inner, found));
        }
    }
    let mut found = BTreeMap::from([("activation".to_string(), BTreeSet::from(["function".to_string()]))]);
    for (_, layers) in CASES {
        let table: toml::Table = format!("layer = [{layers}]").parse().unwrap_or_else(|error| panic!("{error}: {layers}"));
        collect(&table["layer"], &mut found);
    }
    let layers = layers_of_the_schema();
    let of_all = |name: &String| layers.values().all(|settings| settings.contains_key(name));
    let mut missing = Vec::new();
    for (layer, settings) in &layers {
        let Some(found) = found.get(layer) else {
            missing.push(layer.clone());
            continue;
        };
        let own = settings.keys().filter(|name| !of_all(name) && !ABOUT_OTHER_THINGS.contains(&name.as_str()));
        missing.extend(own.filter(|name| !found.contains(*name)).map(|name| format!("{layer}: {name}")));
    }
    // What every layer has is the same code for all of them.
    let common = layers["dense"].keys().filter(|name| of_all(name) && !ABOUT_OTHER_THINGS.contains(&name.as_str()));
    missing.extend(common.filter(|name| !found.values().any(|settings| settings.contains(*name))).cloned());
    assert!(missing.is_empty(), "no case has {missing:?}");
}

/// What the tests above call a slope is one: a wrong gradient is found.
#[test]
fn a_gradient_of_something_else_is_found() {
    let model = model(&["[4]"], "{ type = 'dense', units = 3, activation = 'tanh' }");
    let objective = Objective::new(&model, DRAWS[0]);
    let loss = |values: &[Tensor]| objective.run(&objective.graph, values).last().expect("it is last").floats()[0] * 1.00001;
    let (at, found) = objective.gradients(&model).pop().expect("there are some");
    assert_eq!(found.dtype(), DType::F64);
    assert!(difference(&found, &slopes(&loss, &objective.values, at), SLOPES).is_some());
}
