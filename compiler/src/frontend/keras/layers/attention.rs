//! Attention. `MultiHeadAttention` and `GroupQueryAttention` have the parts `query`, `key`, `value` (and `gate`) with
//! `kernel: [features, heads, size]`, `bias: [heads, size]`, and `attention_output` with `kernel: [heads, size, features]`.

use super::super::super::model::context::{Weight, product};
use super::super::super::model::tree::Mistake;
use super::super::call::Call;
use super::super::layer::Layer;
use super::Results;
use super::dense::{GLOROT, ZEROS};
use kiln_ir::attr::Real;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::{self, Attention, AttentionScores, Dot};
use kiln_ir::{DType, Dim, Value};

/// How many heads ask and answer, and of what size they are.
struct Heads {
    queries: usize,
    keys: usize,
    size: usize,
    value_size: usize,
}

/// `MultiHeadAttention`.
pub fn multi_head(l: &mut Layer, call: &Call) -> Result<Results, Mistake> {
    let (count, size) = (l.settings.size("num_heads")?, l.settings.size("key_dim")?);
    let value_size = l.settings.size_or("value_dim", size)?;
    heads(l, call, &Heads { queries: count, keys: count, size, value_size })
}

/// `GroupQueryAttention`: several heads that ask share one that answers.
pub fn grouped_query(l: &mut Layer, call: &Call) -> Result<Results, Mistake> {
    let size = l.settings.size("head_dim")?;
    let (queries, keys) = (l.settings.size("num_query_heads")?, l.settings.size("num_key_value_heads")?);
    heads(l, call, &Heads { queries, keys, size, value_size: size })
}

fn heads(l: &mut Layer, call: &Call, heads: &Heads) -> Result<Results, Mistake> {
    let one = |position: usize, name: &str| call.argument(position, name).and_then(|argument| argument.values().first().copied());
    let (Some(query), Some(value)) = (one(0, "query"), one(1, "value")) else {
        return Err(Mistake::new("it is called without `query` or `value`"));
    };
    let key = one(2, "key").unwrap_or(value);
    for x in [query, key, value] {
        l.expect(x, &["batch", "elements", "features"])?;
    }
    if l.settings.integers("attention_axes")?.is_some_and(|axes| axes != [1]) {
        return Err(Mistake::new("`attention_axes` other than 1 are not supported"));
    }
    l.settings.refuse("use_gate", "attention without a gate is")?;
    l.settings.ignore(&["query_shape", "key_shape", "value_shape"]);
    leave_out_dropout(l)?;
    if heads.queries == 0 || heads.keys == 0 || heads.size == 0 || !heads.queries.is_multiple_of(heads.keys) {
        return Err(Mistake::new(format!("{} heads that ask and {} that answer do not fit", heads.queries, heads.keys)));
    }
    let features = match l.settings.integers("output_shape")?.as_deref() {
        None | Some([]) => l.size(query, 2, "features")?,
        Some([size]) => usize::try_from(*size).map_err(|_| Mistake::new("`output_shape` is no size"))?,
        Some(_) => return Err(Mistake::new("`output_shape` of several axes is not supported")),
    };
    let q = projected(l, "query", query, heads.queries, heads.size)?;
    let k = projected(l, "key", key, heads.keys, heads.size)?;
    let v = projected(l, "value", value, heads.keys, heads.value_size)?;
    let mut operands = vec![q, k, v];
    operands.extend(mask(l, call, query, key)?);
    let gives_scores = call.flag("return_attention_scores");
    let attention = Attention {
        causal: call.flag("use_causal_mask"),
        has_mask: operands.len() == 4,
        scores: gives_scores.then_some(AttentionScores::Probabilities),
        ..Attention::plain()
    };
    let results = l.ops(attention, &operands)?;
    let mixed = l.transpose(results[0], &[0, 2, 1, 3])?;
    let y = output(l, mixed, [heads.queries, heads.value_size], features)?;
    Ok([vec![y], results[1..].to_vec()].concat().into())
}

/// Scores are not dropped out in training.
fn leave_out_dropout(l: &mut Layer) -> Result<(), Mistake> {
    if l.settings.number_or("dropout", 0.0)? > 0.0 {
        l.leave_out("the dropout");
    }
    Ok(())
}

/// `[batch, elements, features]` → `[batch, heads, elements, size]` by the part of that name.
fn projected(l: &mut Layer, name: &'static str, x: Value, count: usize, size: usize) -> Result<Value, Mistake> {
    let features = l.size(x, 2, "features")?;
    let both = product(&[count, size]);
    let weight = Weight { shape: vec![features, count, size], ..Weight::matrix("kernel", features, both, GLOROT) };
    let y = affine(l, name, &format!("{name}_dense"), weight, vec![count, size], x, vec![2])?;
    l.transpose(y, &[0, 2, 1, 3])
}

/// `[batch, elements, heads, size]` → `[batch, elements, features]`.
fn output(l: &mut Layer, x: Value, [count, size]: [usize; 2], features: usize) -> Result<Value, Mistake> {
    let both = product(&[count, size]);
    let weight = Weight { shape: vec![count, size, features], incoming: vec![0, 1], ..Weight::matrix("kernel", both, features, GLOROT) };
    affine(l, "attention_output", "output_dense", weight, vec![features], x, vec![2, 3])
}

/// x·kernel + bias over `axes`, by the parameters of a part.
fn affine(l: &mut Layer, name: &str, stored: &str, weight: Weight, bias: Vec<usize>, x: Value, axes: Vec<usize>) -> Result<Value, Mistake> {
    let (path, group) = (l.path.clone(), l.group.clone());
    (l.path, l.group) = (format!("{path}/{name}"), format!("{group}/{stored}"));
    let build = || {
        let kernel = l.parameter("kernel", weight)?;
        let b_contract = (0..axes.len()).collect();
        let y = l.op(Dot { a_batch: vec![], b_batch: vec![], a_contract: axes, b_contract }, &[x, kernel])?;
        if !l.settings.flag("use_bias", true)? {
            return Ok(y);
        }
        let bias = l.parameter("bias", Weight { shape: bias, ..Weight::vector("bias", 1, ZEROS) })?;
        l.broadcast_op(ops::Add {}, &[y, bias])
    };
    let result = build();
    (l.path, l.group) = (path, group);
    result
}

/// What is added to the scores, `[batch or 1, heads or 1, queries, keys]`: 0 where a query sees a key, else −∞.
fn mask(l: &mut Layer, call: &Call, query: Value, key: Value) -> Result<Option<Value>, Mistake> {
    let mut seen = None;
    if let Some(mask) = call.named("attention_mask").and_then(|argument| argument.values().first().copied()) {
        let mask = l.cast(mask, DType::Bool);
        // Without an axis for the heads they all see the same.
        let mask = match l.rank(mask) {
            3 => l.b().unsqueeze(mask, &[1]),
            2 => l.b().unsqueeze(mask, &[0, 1]),
            _ => mask,
        };
        seen = Some(mask);
    }
    if l.settings.get("sliding_window").is_some() {
        let window = l.settings.size("sliding_window")?;
        let (queries, keys) = (l.shape(query)[1].clone(), l.shape(key)[1].clone());
        let mut b = l.b();
        let (from, to) = (b.iota(DType::I32, &[queries.clone(), Dim::ONE], 0), b.iota(DType::I32, &[Dim::ONE, keys.clone()], 1));
        let distance = b.sub(from, to);
        let distance = b.abs(distance);
        let most = b.like(distance, window as f64);
        let near = b.less(distance, most);
        let near = b.unsqueeze(near, &[0, 1]);
        seen = Some(match seen {
            Some(mask) => l.broadcast_op(ops::And {}, &[mask, near])?,
            None => near,
        });
    }
    let Some(seen) = seen else { return Ok(None) };
    let dtype = l.dtypes.1;
    let mut b = l.b();
    let zero = b.scalar(dtype, 0.0);
    let shape = b.shape(seen);
    let zero = b.broadcast_to(zero, &shape);
    let never = b.like(zero, f64::NEG_INFINITY);
    Ok(Some(b.select(seen, zero, never)))
}

/// `Attention`: one head without projections, called with [query, value] or [query, value, key].
/// `scale: []`, if `use_scale`.
pub fn dot_product(l: &mut Layer, call: &Call) -> Result<Results, Mistake> {
    let values = call.values();
    let (q, v, k) = match values[..] {
        [q, v] => (q, v, v),
        [q, v, k] => (q, v, k),
        _ => return Err(Mistake::new(format!("it takes query, value and key, and is called with {} values", values.len()))),
    };
    for x in [q, v, k] {
        l.expect(x, &["batch", "elements", "features"])?;
    }
    leave_out_dropout(l)?;
    let number = |name| Weight { shape: vec![], ..Weight::vector(name, 1, Initialiser::Constant(1.0)) };
    let scale = match l.settings.flag("use_scale", false)? {
        true => Some(l.parameter("scale", number("scale"))?),
        false => None,
    };
    let asked = match scale {
        Some(scale) => l.broadcast_op(ops::Mul {}, &[q, scale])?,
        None => q,
    };
    let causal = call.flag("use_causal_mask");
    match l.settings.word("score_mode", "dot")? {
        "dot" => {
            let heads = [asked, k, v].map(|x| l.b().unsqueeze(x, &[1]));
            let scores = call.flag("return_attention_scores").then_some(AttentionScores::Probabilities);
            let attention = Attention { scale: Some(Real(1.0)), causal, scores, ..Attention::plain() };
            let results = l.ops(attention, &heads)?;
            let without_heads = |l: &mut Layer, x: Value| {
                let mut shape = l.shape(x);
                shape.remove(1);
                l.op(ops::Reshape { shape }, &[x])
            };
            let results = results.into_iter().map(|x| without_heads(l, x)).collect::<Result<Vec<_>, _>>()?;
            Ok(results.into())
        }
        other => Err(Mistake::new(format!("the score mode `{other}` is not supported: dot is"))),
    }
}
