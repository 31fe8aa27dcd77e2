//! Operators of the domain `com.microsoft`: what ONNX Runtime's optimiser writes in place of several standard ones.

use super::activation::real;
use super::attention::{merge_heads, positive, split_heads};
use super::convolution::conv;
use super::matmul::{gemm, matrix_product, scaled};
use super::normalisation::{in_single_precision, mean_and_inverse_deviation};
use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{Results, Row, row};
use kiln_ir::attr::Real;
use kiln_ir::ops::{self, GeluKind};
use kiln_ir::{DType, Diagnostic, Dim, Value};

/// The operators.
pub const ROWS: &[Row] = &[
    row("BiasGelu", 1, (2, 2), |cx| biased_gelu(cx, GeluKind::Erf)),
    row("FastGelu", 1, (1, 2), |cx| biased_gelu(cx, GeluKind::Tanh)),
    row("FusedConv", 1, (2, 4), fused_conv),
    row("FusedGemm", 1, (2, 3), fused_gemm),
    row("FusedMatMul", 1, (2, 2), fused_matmul),
    row("Gelu", 1, (1, 1), |cx| biased_gelu(cx, GeluKind::Erf)),
    row("MultiHeadAttention", 1, (1, 8), multi_head_attention),
    row("QuickGelu", 1, (1, 1), quick_gelu),
    row("RotaryEmbedding", 1, (4, 4), rotary),
    row("SkipLayerNormalization", 1, (3, 5), skip_layer_norm),
    row("SkipSimplifiedLayerNormalization", 1, (3, 4), skip_rms_norm),
];

/// Operators that ONNX Runtime writes into the standard domain.
pub const STANDARD_ROWS: &[Row] = &[row("SimplifiedLayerNormalization", 1, (2, 2), simplified_layer_norm)];

/// gelu(x + bias), where there is a bias.
fn biased_gelu(cx: &mut Context, approximate: GeluKind) -> Results {
    let mut x = cx.input(0)?;
    if let Some(bias) = cx.optional(1)? {
        x = cx.broadcast_op(ops::Add {}, &[x, bias])?;
    }
    Ok(vec![cx.op(ops::Gelu { approximate }, &[x])?])
}

fn quick_gelu(cx: &mut Context) -> Results {
    let beta = real(cx, "alpha", 1.702)?;
    let x = cx.input(0)?;
    Ok(vec![cx.op(ops::Swish { beta }, &[x])?])
}

/// α·op(A)·op(B); `transBatch` moves the first axis of an operand before its last but one.
fn fused_matmul(cx: &mut Context) -> Results {
    let alpha = cx.attributes.float_or("alpha", 1.0)?;
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let a = turned(cx, a, "transBatchA", "transA")?;
    let b = turned(cx, b, "transBatchB", "transB")?;
    let y = matrix_product(cx, a, b)?;
    Ok(vec![scaled(cx, y, alpha)?])
}

fn turned(cx: &mut Context, x: Value, batch: &str, matrix: &str) -> Result<Value, Diagnostic> {
    let rank = cx.rank(x);
    let (batch, matrix) = (cx.attributes.flag_or(batch, false)?, cx.attributes.flag_or(matrix, false)?);
    if rank < 2 {
        return Ok(x);
    }
    let mut perm: Vec<usize> = (0..rank).collect();
    if batch {
        perm[..rank - 1].rotate_left(1);
    }
    if matrix {
        perm.swap(rank - 2, rank - 1);
    }
    cx.transpose(x, &perm)
}

fn fused_gemm(cx: &mut Context) -> Results {
    let parameters = [cx.attributes.float("activation_alpha")?, cx.attributes.float("activation_beta")?];
    let y = gemm(cx)?[0];
    Ok(vec![activated(cx, y, &parameters)?])
}

/// A convolution, then a residual to add, then an activation function.
fn fused_conv(cx: &mut Context) -> Results {
    let given = cx.attributes.floats("activation_params")?.unwrap_or_default();
    let parameters = [given.first().copied(), given.get(1).copied()];
    let mut y = conv(cx)?[0];
    if let Some(residual) = cx.optional(3)? {
        y = cx.broadcast_op(ops::Add {}, &[y, residual])?;
    }
    Ok(vec![activated(cx, y, &parameters)?])
}

fn activated(cx: &mut Context, y: Value, parameters: &[Option<f32>; 2]) -> Result<Value, Diagnostic> {
    let parameter = |i: usize, default: f32| Real(f64::from(parameters[i].unwrap_or(default)));
    match cx.attributes.string_or("activation", "")? {
        "" => Ok(y),
        "Relu" => cx.op(ops::Relu {}, &[y]),
        "Sigmoid" => cx.op(ops::Sigmoid {}, &[y]),
        "Tanh" => cx.op(ops::Tanh {}, &[y]),
        "LeakyRelu" => cx.op(ops::LeakyRelu { alpha: parameter(0, 0.01) }, &[y]),
        "HardSigmoid" => cx.op(ops::HardSigmoid { alpha: parameter(0, 0.2), beta: parameter(1, 0.5) }, &[y]),
        "Clip" => {
            let dtype = cx.dtype(y);
            let low = cx.scalar(dtype, parameter(0, f32::MIN).0);
            let high = cx.scalar(dtype, parameter(1, f32::MAX).0);
            cx.op(ops::Clip {}, &[y, low, high])
        }
        other => Err(cx.attributes.refuse("activation", format!("is {other:?}, which is not supported"))),
    }
}

/// The sum of operands 0 and 1 and, if given, of a bias.
fn skip_sum(cx: &mut Context, bias: usize) -> Result<Value, Diagnostic> {
    let (x, skip) = (cx.input(0)?, cx.input(1)?);
    let mut sum = cx.broadcast_op(ops::Add {}, &[x, skip])?;
    if let Some(bias) = cx.optional(bias)? {
        sum = cx.broadcast_op(ops::Add {}, &[sum, bias])?;
    }
    Ok(sum)
}

/// Results: y, mean, 1/deviation, the sum that was normalised.
fn skip_layer_norm(cx: &mut Context) -> Results {
    let epsilon = real(cx, "epsilon", 1e-12)?;
    let sum = skip_sum(cx, 4)?;
    let scale = cx.input(2)?;
    let bias = match cx.optional(3)? {
        Some(bias) => bias,
        None => cx.like(scale, 0.0)?,
    };
    let last = last_axis(cx, sum)?;
    let more = cx.wants(1) || cx.wants(2) || cx.wants(3);
    let mut results = in_single_precision(cx, sum, &[scale, bias], |cx, operands| {
        let mut results = vec![cx.op(ops::LayerNorm { axes_from: last, epsilon }, operands)?];
        if more {
            results.extend(mean_and_inverse_deviation(cx, operands[0], last, epsilon)?);
        }
        Ok(results)
    })?;
    if more {
        results.push(sum);
    }
    Ok(results)
}

fn last_axis(cx: &Context, x: Value) -> Result<usize, Diagnostic> {
    match cx.rank(x) {
        0 => Err(cx.error("onnx_rank", format!("{} of a scalar", cx.node.op_type))),
        rank => Ok(rank - 1),
    }
}

/// Results: y, two that only training writes, the sum that was normalised.
fn skip_rms_norm(cx: &mut Context) -> Results {
    let epsilon = real(cx, "epsilon", 1e-5)?;
    if cx.wants(1) || cx.wants(2) {
        return Err(cx.unsupported("with statistics as results"));
    }
    let sum = skip_sum(cx, 3)?;
    let scale = cx.input(2)?;
    let axes_from = last_axis(cx, sum)?;
    let y = in_single_precision(cx, sum, &[scale], |cx, operands| Ok(vec![cx.op(ops::RmsNorm { axes_from, epsilon }, operands)?]))?[0];
    Ok(vec![y, sum, sum, sum])
}

fn simplified_layer_norm(cx: &mut Context) -> Results {
    let epsilon = real(cx, "epsilon", 1e-5)?;
    let axis = cx.attributes.int_or("axis", -1)?;
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let axes_from = cx.axis(axis, cx.rank(x))?;
    in_single_precision(cx, x, &[scale], |cx, operands| Ok(vec![cx.op(ops::RmsNorm { axes_from, epsilon }, operands)?]))
}

/// Like the standard operator, with its operands in another order and angles for [tokens] or one first position.
fn rotary(cx: &mut Context) -> Results {
    let interleaved = cx.attributes.flag_or("interleaved", false)?;
    if cx.attributes.flag_or("is_packed_batching", false)? || cx.attributes.float_or("scale", 1.0)? != 1.0 {
        return Err(cx.unsupported("with packed batches or a scale"));
    }
    let rotated = cx.attributes.int_or("rotary_embedding_dim", 0)?;
    let (x, position, cos, sin) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    let merged = cx.rank(x) == 3;
    let heads = if merged {
        let heads = match cx.attributes.int_or("num_heads", 0)? {
            // The table has an angle for each pair of a head's elements.
            0 => match (cx.shape(x)[2].as_const(), cx.shape(cos).last().and_then(Dim::as_const)) {
                (Some(size), Some(pairs)) if rotated == 0 && pairs > 0 => size / (2 * pairs),
                _ => return Err(cx.attributes.refuse("num_heads", "is missing".to_string())),
            },
            heads => heads,
        };
        match usize::try_from(heads) {
            Ok(heads) if heads > 0 => split_heads(cx, x, heads)?,
            _ => return Err(cx.attributes.refuse("num_heads", format!("is {heads}, must be positive"))),
        }
    } else {
        cx.attributes.ignore(&["num_heads"]);
        x
    };
    if cx.rank(heads) != 4 {
        return Err(cx.error("onnx_rank", format!("RotaryEmbedding takes 3 or 4 axes, got {}", cx.rank(x))));
    }
    let shape = cx.shape(heads);
    let position = if cx.rank(position) == 1 {
        // One number: the place of the first token.
        let first = cx.reshape(position, &[Dim::ONE, Dim::ONE])?;
        let first = cx.cast(first, DType::I64)?;
        let step = cx.op(ops::Iota { shape: vec![shape[0].clone(), shape[2].clone()], axis: 1, dtype: DType::I64 }, &[])?;
        cx.broadcast_op(ops::Add {}, &[first, step])?
    } else {
        position
    };
    let cos = cx.op(ops::Gather { axis: 0 }, &[cos, position])?;
    let sin = cx.op(ops::Gather { axis: 0 }, &[sin, position])?;
    let y = cx.op(ops::RotaryEmbedding { interleaved }, &[heads, cos, sin])?;
    Ok(vec![if merged { merge_heads(cx, y)? } else { y }])
}

/// Operands: query, key, value, bias, key padding, bias of the scores, past keys and values.
fn multi_head_attention(cx: &mut Context) -> Results {
    let heads = positive(cx, "num_heads")?;
    let scale = cx.attributes.float("scale")?.filter(|&s| s != 0.0).map(|s| Real(f64::from(s)));
    let causal = cx.attributes.flag_or("unidirectional", false)?;
    cx.attributes.ignore(&["mask_filter_value"]);
    if cx.has(4) || !cx.has(1) || !cx.has(2) {
        return Err(cx.unsupported("with packed operands or key padding"));
    }
    let mut operands = vec![cx.input(0)?, cx.input(1)?, cx.input(2)?];
    if let Some(bias) = cx.optional(3)? {
        // One vector for the three projections.
        let mut start = Dim::ZERO;
        for operand in operands.iter_mut().filter(|v| cx.rank(**v) == 3).collect::<Vec<_>>() {
            let size = cx.shape(*operand)[2].clone();
            let part = cx.slice_axis(bias, 0, start.clone(), size.clone())?;
            *operand = cx.broadcast_op(ops::Add {}, &[*operand, part])?;
            start = start + size;
        }
    }
    for operand in &mut operands {
        *operand = match cx.rank(*operand) {
            3 => split_heads(cx, *operand, heads)?,
            4 => *operand,
            rank => return Err(cx.error("onnx_rank", format!("MultiHeadAttention takes 3 or 4 axes, got {rank}"))),
        };
    }
    let mut past = Dim::ZERO;
    if let (Some(past_k), Some(past_v)) = (cx.optional(6)?, cx.optional(7)?) {
        if cx.rank(past_k) != 4 || cx.rank(past_v) != 4 {
            return Err(cx.error("onnx_rank", "past keys and values have 4 axes"));
        }
        past = cx.shape(past_k)[2].clone();
        operands[1] = cx.concat(&[past_k, operands[1]], 2)?;
        operands[2] = cx.concat(&[past_v, operands[2]], 2)?;
    }
    let (k, v) = (operands[1], operands[2]);
    operands.extend(cx.optional(5)?);
    let op = ops::Attention { scale, causal, past, has_mask: operands.len() > 3, ..ops::Attention::plain() };
    let y = cx.op(op, &operands)?;
    Ok(vec![merge_heads(cx, y)?, k, v])
}
