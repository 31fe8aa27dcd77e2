//! Random networks of layers that fit one another, in training mode: compiled gradients of what training makes small against the
//! reference, by all parameters and inputs. What single layers cannot show is how kernels take in several of them.

use kiln::frontend::model::{Language, Model, parse};
use kiln_ir::{DType, Tensor};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::compare::farthest;
use kiln_tests::objectives::Objective;
use kiln_tests::samples::Random;
use std::collections::BTreeSet;

const NETWORKS: u64 = 40;
/// Layers that are tried for each; those that do not fit are left out.
const LAYERS: usize = 8;
/// In parts of the largest element of a gradient: norms of few numbers enlarge rounding.
const CLOSE: f64 = 1e-9;

fn one<'a>(of: &[&'a str], random: &mut Random) -> &'a str {
    of[random.below(of.len())]
}

/// A layer for values of that shape, with the names of earlier values of the same shape. It may turn out not to fit.
fn layer(shape: &[usize], like: &[String], random: &mut Random) -> String {
    let (small, few, stride, rate) = (1 + random.below(6), 1 + random.below(3), 1 + random.below(2), 0.1 + 0.4 * random.unit());
    let (flag, act) = (random.below(2) == 0, one(&["linear", "relu", "tanh", "silu", "gelu", "sigmoid", "elu", "mish"], random));
    let padding = one(&["'same'", "'valid'", "1"], random);
    let last = shape.last().copied().unwrap_or(1);
    let (rank, kind) = (shape.len(), random.below(24));
    let spatial = rank.saturating_sub(1);
    match (kind, rank) {
        (0 | 1, _) => format!("'dense', units = {small}, bias = {flag}, activation = '{act}'"),
        (2, _) => format!("'activation', function = '{}'", one(&[act, "softmax", "softplus", "hard_swish", "selu"], random)),
        (3, _) => format!("'dropout', rate = {rate}"),
        (4, _) => "'batch_norm', epsilon = 0.01".into(),
        (5, _) => format!("'{}', epsilon = 0.01", one(&["layer_norm", "rms_norm"], random)),
        (6, _) => format!("'residual', layers = [{{ type = 'layer_norm' }}, {{ type = 'dense', units = {last}, activation = '{act}' }}]"),
        (7 | 8, _) if !like.is_empty() => {
            let other = &like[random.below(like.len())];
            format!("'{}', inputs = ['{}', '{other}']", one(&["add", "multiply", "concat"], random), like[like.len() - 1])
        }
        (9, 2 | 3) => "'permute', order = ".to_string() + if rank == 2 { "[2, 1]" } else { "[3, 1, 2]" },
        (10, 2 | 3) => format!("'{}'", one(&["flatten", "global_max_pool", "global_avg_pool"], random)),
        (11 | 12, 2 | 3) => {
            format!("'conv{spatial}d', filters = {small}, kernel = {few}, strides = {stride}, padding = {padding}, activation = '{act}'")
        }
        (13, 2 | 3) => format!("'depthwise_conv{spatial}d', kernel = {few}, multiplier = {stride}, padding = {padding}, bias = {flag}"),
        (14, 2 | 3) => format!("'conv_transpose{spatial}d', filters = {few}, kernel = {few}, strides = {stride}"),
        (15, 2 | 3) => {
            format!("'{}{spatial}d', size = {few}, strides = {stride}, padding = {padding}", one(&["max_pool", "avg_pool"], random))
        }
        (16, 2 | 3) => "'group_norm', groups = 1, epsilon = 0.01".into(),
        (17 | 18, 2) => {
            let kind = one(&["rnn", "lstm", "gru"], random);
            format!("'{kind}', units = {few}, bidirectional = {flag}, return_sequences = {}", random.below(3) > 0)
        }
        (19, 2) => format!("'multi_head_attention', heads = {few}, head_features = 2, causal = {flag}, rotary = {}", stride == 1),
        (20, 2) => format!("'transformer_encoder', heads = 1, hidden = {small}, norm_first = {flag}, dropout = {rate}, epsilon = 0.01"),
        (21, 2) => one(&["'sinusoidal_position'", "'learned_position', length = 16"], random).into(),
        (22, 1) => "'reshape', shape = [-1, 2]".into(),
        (23, 1) => "'reshape', shape = [2, -1]".into(),
        _ => format!("'dense', units = {small}"),
    }
}

fn read(input: &str, layers: &[String]) -> Option<Model> {
    let text =
        format!("dtype = 'f64'\ninput = [{{ name = 'x', shape = {input} }}]\nlayer = [{}]\n[train]\nloss = 'mse'\n", layers.join(",\n"));
    parse("test.toml", "test", &text, Language::Toml).ok()
}

/// A network and what it is written with.
fn network(random: &mut Random) -> (Model, String) {
    let input = one(&["[5]", "[3, 4]", "[6, 2]", "[2, 5, 4]", "[1, 6, 3]"], random);
    let mut layers: Vec<String> = Vec::new();
    let mut shapes: Vec<Vec<usize>> = Vec::new();
    let mut model = None;
    for _ in 0..LAYERS {
        let shape = match &model {
            None => input.trim_matches(['[', ']']).split(", ").map(|d| d.parse().expect("a number")).collect(),
            Some(_) => shapes[shapes.len() - 1].clone(),
        };
        let like: Vec<String> = (0..shapes.len()).filter(|at| shapes[*at] == shape).map(|at| format!("l{at}")).collect();
        layers.push(format!("{{ name = 'l{}', type = {} }}", layers.len(), layer(&shape, &like, random)));
        match read(input, &layers) {
            Some(grown) => {
                let predict = grown.module.predict().expect("it predicts");
                let ty = predict.ty(predict.outputs()[0].1);
                shapes.push(ty.shape[1..].iter().map(|d| d.as_const().expect("the batch alone is open") as usize).collect());
                model = Some(grown);
            }
            None => drop(layers.pop()),
        }
    }
    (model.unwrap_or_else(|| panic!("nothing fits {input}")), format!("{input}\n{}", layers.join("\n")))
}

#[test]
fn compiled_gradients_agree_with_the_reference() {
    let pool = ThreadPool::new(2);
    let (mut met, mut complaints) = (BTreeSet::new(), Vec::new());
    for seed in 0..NETWORKS {
        let mut random = Random::new(1000 + seed);
        let (model, text) = network(&mut random);
        met.extend(text.split("type = '").skip(1).filter_map(|rest| rest.split('\'').next()).map(str::to_string));
        println!("network {seed}: {text}");
        for batch in [3, 1] {
            let objective = Objective::new(&model, (batch, seed));
            let (places, gradient) = objective.gradient(&model);
            let found = objective.run_compiled(&gradient, &pool);
            let expected = objective.run(&gradient, &objective.values);
            let gradients = found.len() - places.len();
            let largest = |tensor: &Tensor| tensor.floats().iter().fold(0.0f64, |largest, v| largest.max(v.abs()));
            // Errors are as large as those of the largest gradient: what adds up to nothing is not exact by itself.
            let scale = expected[gradients..].iter().map(largest).fold(0.0, f64::max);
            for ((found, expected), (output, _)) in found.iter().zip(&expected).zip(gradient.outputs()) {
                assert_eq!(found.dtype(), DType::F64);
                let (apart, size) = farthest(&found.floats(), &expected.floats());
                if apart > CLOSE * scale.max(size) {
                    complaints.push(format!("network {seed} at {batch}: {output}: {apart:e} apart of {size:e}, {scale:e}\n{text}"));
                }
            }
        }
    }
    assert!(met.len() > 20, "only {met:?}");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
