//! Attention and rotary position embeddings.

use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{Results, Row, row};
use crate::frontend::onnx::tensor::dtype;
use kiln_ir::attr::Real;
use kiln_ir::ops::{self, AttentionScores, PadMode};
use kiln_ir::{DType, Diagnostic, Dim, Value};

/// The operators.
pub const ROWS: &[Row] = &[row("Attention", 23, (3, 7), attention), row("RotaryEmbedding", 23, (3, 4), rotary)];

/// Queries, keys and values as [batch, heads, length, size], keys and values with what came before.
struct Heads {
    q: Value,
    k: Value,
    v: Value,
    kv_length: Dim,
    /// Number of keys that came before.
    past: Dim,
    /// The operands were [batch, length, heads · size].
    merged: bool,
}

fn attention(cx: &mut Context) -> Results {
    let real = |x: Option<f32>| x.map(|x| Real(f64::from(x)));
    let (scale, softcap) = (cx.attributes.float("scale")?, cx.attributes.float("softcap")?.filter(|&c| c > 0.0));
    let scores = match cx.attributes.int_or("qk_matmul_output_mode", 0)? {
        0 => AttentionScores::Raw,
        1 => AttentionScores::Capped,
        2 => AttentionScores::Biased,
        3 => AttentionScores::Probabilities,
        other => return Err(cx.attributes.refuse("qk_matmul_output_mode", format!("is {other}, must be 0 to 3"))),
    };
    let precision = match cx.attributes.int("softmax_precision")? {
        Some(number) => Some(dtype(i32::try_from(number).unwrap_or(-1))?),
        None => None,
    };
    let h = heads(cx)?;
    let given = cx.dtype(h.q);
    // Everything narrower than f32 is computed in f32 anyway.
    let compute = if precision == Some(DType::F64) { DType::F64 } else { given };
    let mut operands = Vec::new();
    for value in [h.q, h.k, h.v] {
        operands.push(cx.cast(value, compute)?);
    }
    let mask = cx.optional(3)?;
    if let Some(mask) = mask {
        let mask = padded(cx, mask, &h.kv_length)?;
        let mask = added(cx, mask, compute)?;
        operands.push(four_axes(cx, mask)?);
    }
    let lengths = cx.optional(6)?;
    operands.extend(lengths);
    let op = ops::Attention {
        scale: real(scale),
        softcap: real(softcap),
        causal: cx.attributes.flag_or("is_causal", false)?,
        past: h.past,
        left_window: window(cx, "left_window_size")?,
        right_window: window(cx, "right_window_size")?,
        has_mask: mask.is_some(),
        has_lengths: lengths.is_some(),
        scores: cx.wants(3).then_some(scores),
    };
    let computed = cx.ops(op, &operands)?;
    let y = cx.cast(computed[0], given)?;
    let y = if h.merged { merge_heads(cx, y)? } else { y };
    let mut results = vec![y, h.k, h.v];
    if let Some(&scores) = computed.get(1) {
        results.push(cx.cast(scores, given)?);
    }
    Ok(results)
}

/// A bound of how far a query sees; −1 is none.
fn window(cx: &Context, name: &str) -> Result<Option<usize>, Diagnostic> {
    match cx.attributes.int_or(name, -1)? {
        -1 => Ok(None),
        bound => match usize::try_from(bound) {
            Ok(bound) => Ok(Some(bound)),
            Err(_) => Err(cx.attributes.refuse(name, format!("is {bound}, must be -1 or more"))),
        },
    }
}

fn heads(cx: &mut Context) -> Result<Heads, Diagnostic> {
    let (mut q, mut k, mut v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let merged = match (cx.rank(q), cx.rank(k), cx.rank(v)) {
        (3, 3, 3) => true,
        (4, 4, 4) => false,
        _ => {
            let what = format!("Attention takes three operands of 3 or of 4 axes, got {}, {} and {}", cx.ty(q), cx.ty(k), cx.ty(v));
            return Err(cx.error("onnx_rank", what));
        }
    };
    if merged {
        let (q_heads, kv_heads) = (positive(cx, "q_num_heads")?, positive(cx, "kv_num_heads")?);
        q = split_heads(cx, q, q_heads)?;
        k = split_heads(cx, k, kv_heads)?;
        v = split_heads(cx, v, kv_heads)?;
    } else {
        cx.attributes.ignore(&["q_num_heads", "kv_num_heads"]);
    }
    let mut past = Dim::ZERO;
    match (cx.optional(4)?, cx.optional(5)?) {
        (Some(past_k), Some(past_v)) => {
            if cx.rank(past_k) != 4 || cx.rank(past_v) != 4 {
                return Err(cx.error("onnx_rank", "past keys and values have 4 axes"));
            }
            past = cx.shape(past_k)[2].clone();
            k = cx.concat(&[past_k, k], 2)?;
            v = cx.concat(&[past_v, v], 2)?;
        }
        (None, None) => {}
        _ => return Err(cx.error("onnx_arity", "past keys and past values come together")),
    }
    let kv_length = cx.shape(k)[2].clone();
    Ok(Heads { q, k, v, kv_length, past, merged })
}

/// A number of heads. Errors: `onnx_attribute`.
pub fn positive(cx: &Context, name: &str) -> Result<usize, Diagnostic> {
    let value = cx.attributes.required_int(name)?;
    match usize::try_from(value) {
        Ok(v) if v > 0 => Ok(v),
        _ => Err(cx.attributes.refuse(name, format!("is {value}, must be positive"))),
    }
}

/// [B, L, H·D] → [B, H, L, D]
pub fn split_heads(cx: &mut Context, x: Value, heads: usize) -> Result<Value, Diagnostic> {
    let shape = cx.shape(x);
    let heads = Dim::from(heads);
    let size = shape[2].floor_div(&heads).simplify(cx.ranges());
    cx.require_equal(&(&size * &heads), &shape[2], "the heads share the last axis equally")?;
    let x = cx.reshape(x, &[shape[0].clone(), shape[1].clone(), heads, size])?;
    cx.transpose(x, &[0, 2, 1, 3])
}

/// [B, H, L, D] → [B, L, H·D]
pub fn merge_heads(cx: &mut Context, x: Value) -> Result<Value, Diagnostic> {
    let shape = cx.shape(x);
    let x = cx.transpose(x, &[0, 2, 1, 3])?;
    cx.reshape(x, &[shape[0].clone(), shape[2].clone(), &shape[1] * &shape[3]])
}

/// A mask may have fewer columns than there are keys; what it leaves out is hidden.
fn padded(cx: &mut Context, mask: Value, keys: &Dim) -> Result<Value, Diagnostic> {
    let shape = cx.shape(mask);
    let Some(last) = shape.last() else { return Ok(mask) };
    let missing = (keys - last).simplify(cx.ranges());
    if missing.is(0) {
        return Ok(mask);
    }
    cx.require_at_most(last, keys, "a mask has at most a column for each key")?;
    let hidden = if cx.dtype(mask) == DType::Bool { 0.0 } else { f64::NEG_INFINITY };
    let hidden = cx.scalar(cx.dtype(mask), hidden);
    let mut high = vec![Dim::ZERO; shape.len()];
    high[shape.len() - 1] = missing;
    cx.op(ops::Pad { low: vec![Dim::ZERO; shape.len()], high, mode: PadMode::Constant }, &[mask, hidden])
}

/// A mask as numbers to add: a key that may not be seen gets −∞.
fn added(cx: &mut Context, mask: Value, dtype: DType) -> Result<Value, Diagnostic> {
    if cx.dtype(mask) != DType::Bool {
        return cx.cast(mask, dtype);
    }
    let shape = cx.shape(mask);
    let (seen, hidden) = (cx.filled(dtype, &shape, 0.0)?, cx.filled(dtype, &shape, f64::NEG_INFINITY)?);
    cx.op(ops::Select {}, &[mask, seen, hidden])
}

/// The same with leading axes of size 1.
fn four_axes(cx: &mut Context, x: Value) -> Result<Value, Diagnostic> {
    let shape = cx.shape(x);
    if shape.len() > 4 {
        return Err(cx.error("onnx_rank", format!("a mask has at most 4 axes, got {}", cx.ty(x))));
    }
    let mut full = vec![Dim::ONE; 4 - shape.len()];
    full.extend(shape);
    cx.reshape(x, &full)
}

/// Turns pairs of each head's elements by angles that depend on the position.
fn rotary(cx: &mut Context) -> Results {
    let interleaved = cx.attributes.flag_or("interleaved", false)?;
    let rotated = cx.attributes.int_or("rotary_embedding_dim", 0)?;
    let x = cx.input(0)?;
    let merged = match cx.rank(x) {
        3 => true,
        4 => false,
        rank => return Err(cx.error("onnx_rank", format!("RotaryEmbedding takes 3 or 4 axes, got {rank}"))),
    };
    let x = if merged {
        let heads = positive(cx, "num_heads")?;
        split_heads(cx, x, heads)?
    } else {
        cx.attributes.ignore(&["num_heads"]);
        x
    };
    let (mut cos, mut sin) = (cx.input(1)?, cx.input(2)?);
    if let Some(position) = cx.optional(3)? {
        cos = cx.op(ops::Gather { axis: 0 }, &[cos, position])?;
        sin = cx.op(ops::Gather { axis: 0 }, &[sin, position])?;
    }
    let turned = match rotated {
        0 => cx.shape(x)[3].clone(),
        r if r > 0 && r % 2 == 0 => Dim::from(r),
        r => return Err(cx.attributes.refuse("rotary_embedding_dim", format!("is {r}, must be even"))),
    };
    match cx.shape(cos).last() {
        Some(pairs) => cx.require_equal(&(pairs * Dim::from(2)), &turned, "the tables have an angle for each pair")?,
        None => return Err(cx.error("onnx_rank", "the tables of RotaryEmbedding have no axes")),
    }
    let y = cx.op(ops::RotaryEmbedding { interleaved }, &[x, cos, sin])?;
    Ok(vec![if merged { merge_heads(cx, y)? } else { y }])
}
