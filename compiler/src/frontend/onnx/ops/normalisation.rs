//! Normalisations.

use super::activation::real;
use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::import::Mode;
use crate::frontend::onnx::registry::{Results, Row, row};
use kiln_ir::attr::Real;
use kiln_ir::ops;
use kiln_ir::{DType, Diagnostic, Dim, Value};

/// The operators.
pub const ROWS: &[Row] = &[
    row("BatchNormalization", 1, (5, 5), batch_norm),
    row("GroupNormalization", 18, (3, 3), group_norm),
    row("InstanceNormalization", 1, (3, 3), instance_norm),
    row("LRN", 1, (1, 1), local_response),
    row("LayerNormalization", 17, (2, 3), layer_norm),
    row("LpNormalization", 1, (1, 1), lp_norm),
    row("MeanVarianceNormalization", 9, (1, 1), mean_variance_norm),
    row("RMSNormalization", 23, (2, 2), rms_norm),
];

fn batch_norm(cx: &mut Context) -> Results {
    let epsilon = real(cx, "epsilon", 1e-5)?;
    let momentum = cx.attributes.float_or("momentum", 0.9)?;
    cx.attributes.ignore(&["consumed_inputs"]);
    if cx.opset < 9 && !cx.attributes.flag_or("spatial", true)? {
        return Err(cx.unsupported("with one mean per element (`spatial` = 0)"));
    }
    let training = match cx.opset {
        1..7 => !cx.attributes.flag_or("is_test", false)?,
        7..14 => cx.wants(1),
        _ => cx.attributes.flag_or("training_mode", false)?,
    };
    let operands = cx.all_inputs()?;
    let &[x, scale, bias, mean, variance] = operands.as_slice() else {
        return Err(cx.error("onnx_arity", format!("BatchNormalization takes 5 operands, got {}", operands.len())));
    };
    let running = [cx.running_statistic(mean), cx.running_statistic(variance)];
    let dtype = cx.dtype(x);
    // Statistics may be wider than the data.
    let (scale, bias) = (cx.cast(scale, dtype)?, cx.cast(bias, dtype)?);
    if !training || cx.mode() == Mode::Evaluate {
        let statistics = [mean, variance];
        let (mean, variance) = (cx.cast(mean, dtype)?, cx.cast(variance, dtype)?);
        let y = cx.op(ops::BatchNorm { epsilon }, &[x, scale, bias, mean, variance])?;
        return Ok(if training { [&[y][..], &statistics].concat() } else { vec![y] });
    }
    let rank = cx.rank(x);
    if rank < 2 {
        return Err(cx.error("onnx_rank", format!("BatchNormalization takes [N, C, ..], got {}", cx.ty(x))));
    }
    let axes: Vec<usize> = (0..rank).filter(|&a| a != 1).collect();
    let (batch_mean, batch_variance) = moments(cx, x, &axes, false)?;
    let y = cx.op(ops::BatchNorm { epsilon }, &[x, scale, bias, batch_mean, batch_variance])?;
    let mut results = vec![y];
    for ((running, current), name) in [(mean, batch_mean), (variance, batch_variance)].into_iter().zip(running) {
        let current = cx.cast(current, cx.dtype(running))?;
        let (keep, take) = (cx.like(running, momentum.into())?, cx.like(running, 1.0 - f64::from(momentum))?);
        let kept = cx.op(ops::Mul {}, &[running, keep])?;
        let taken = cx.op(ops::Mul {}, &[current, take])?;
        let after = cx.op(ops::Add {}, &[kept, taken])?;
        if let Some(name) = name {
            cx.update_statistic(name, after)?;
        }
        results.push(after);
    }
    Ok(results)
}

/// Mean and mean squared deviation over `axes`.
fn moments(cx: &mut Context, x: Value, axes: &[usize], keep: bool) -> Result<(Value, Value), Diagnostic> {
    let wide_mean = cx.op(ops::Mean { axes: axes.to_vec(), keep: true }, &[x])?;
    let centred = cx.broadcast_op(ops::Sub {}, &[x, wide_mean])?;
    let squared = cx.op(ops::Mul {}, &[centred, centred])?;
    let variance = cx.op(ops::Mean { axes: axes.to_vec(), keep }, &[squared])?;
    let shape = cx.shape(variance);
    let mean = cx.reshape(wide_mean, &shape)?;
    Ok((mean, variance))
}

fn instance_norm(cx: &mut Context) -> Results {
    cx.attributes.ignore(&["consumed_inputs"]);
    let epsilon = real(cx, "epsilon", 1e-5)?;
    let operands = cx.all_inputs()?;
    Ok(vec![cx.op(ops::InstanceNorm { epsilon }, &operands)?])
}

/// Scale and bias were one per group in operator set 18 and are one per channel since 21.
fn group_norm(cx: &mut Context) -> Results {
    let epsilon = real(cx, "epsilon", 1e-5)?;
    let groups = cx.attributes.required_int("num_groups")?;
    let Some(groups) = usize::try_from(groups).ok().filter(|g| (1..1 << 31).contains(g)) else {
        return Err(cx.attributes.refuse("num_groups", format!("is {groups}, must be positive")));
    };
    let operands = cx.all_inputs()?;
    let (x, mut scale, mut bias) = (operands[0], operands[1], operands[2]);
    let shape = cx.shape(x);
    if shape.len() < 2 {
        return Err(cx.error("onnx_rank", format!("GroupNormalization takes [N, C, ..], got {}", cx.ty(x))));
    }
    if cx.opset < 21 {
        let channels = shape[1].clone();
        scale = per_channel(cx, scale, groups, &channels)?;
        bias = per_channel(cx, bias, groups, &channels)?;
    }
    let y = in_single_precision(cx, x, &[scale, bias], |cx, x| Ok(vec![cx.op(ops::GroupNorm { groups, epsilon }, x)?]))?;
    Ok(y)
}

/// [G] → [C], each group's number for its channels.
fn per_channel(cx: &mut Context, x: Value, groups: usize, channels: &Dim) -> Result<Value, Diagnostic> {
    let groups = Dim::from(groups);
    let column = cx.reshape(x, &[groups.clone(), Dim::ONE])?;
    let spread = cx.broadcast_to(column, &[groups.clone(), channels.floor_div(&groups)])?;
    cx.reshape(spread, std::slice::from_ref(channels))
}

/// Runs `f` on operands of at least 32 bits when `stash_type` says so (it does by default), and converts the first result back.
pub fn in_single_precision(
    cx: &mut Context,
    x: Value,
    others: &[Value],
    f: impl Fn(&mut Context, &[Value]) -> Result<Vec<Value>, Diagnostic>,
) -> Results {
    let dtype = cx.dtype(x);
    let wide = cx.attributes.int_or("stash_type", 1)? == 1;
    let compute = if wide && matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
    let mut operands = vec![cx.cast(x, compute)?];
    for other in others {
        operands.push(cx.cast(*other, compute)?);
    }
    let mut results = f(cx, &operands)?;
    results[0] = cx.cast(results[0], dtype)?;
    Ok(results)
}

fn layer_norm(cx: &mut Context) -> Results {
    let epsilon = real(cx, "epsilon", 1e-5)?;
    let axis = cx.attributes.int_or("axis", -1)?;
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    let axes_from = cx.axis(axis, cx.rank(x))?;
    let bias = match bias {
        Some(bias) => bias,
        None => cx.like(scale, 0.0)?,
    };
    let more = cx.wants(1) || cx.wants(2);
    in_single_precision(cx, x, &[scale, bias], |cx, operands| {
        let mut results = vec![cx.op(ops::LayerNorm { axes_from, epsilon }, operands)?];
        if more {
            results.extend(mean_and_inverse_deviation(cx, operands[0], axes_from, epsilon)?);
        }
        Ok(results)
    })
}

/// The mean and 1/√(variance + epsilon) over the axes from `axes_from` on, which stay as 1.
pub fn mean_and_inverse_deviation(cx: &mut Context, x: Value, axes_from: usize, epsilon: Real) -> Result<[Value; 2], Diagnostic> {
    let axes: Vec<usize> = (axes_from..cx.rank(x)).collect();
    let (mean, variance) = moments(cx, x, &axes, true)?;
    let epsilon = cx.like(variance, epsilon.0)?;
    let shifted = cx.op(ops::Add {}, &[variance, epsilon])?;
    let deviation = cx.op(ops::Sqrt {}, &[shifted])?;
    Ok([mean, cx.op(ops::Reciprocal {}, &[deviation])?])
}

fn rms_norm(cx: &mut Context) -> Results {
    let epsilon = real(cx, "epsilon", 1e-5)?;
    let axis = cx.attributes.int_or("axis", -1)?;
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let axes_from = cx.axis(axis, cx.rank(x))?;
    in_single_precision(cx, x, &[scale], |cx, operands| Ok(vec![cx.op(ops::RmsNorm { axes_from, epsilon }, operands)?]))
}

fn local_response(cx: &mut Context) -> Results {
    let size = cx.attributes.required_int("size")?;
    let Some(size) = usize::try_from(size).ok().filter(|s| (1..1 << 31).contains(s)) else {
        return Err(cx.attributes.refuse("size", format!("is {size}, must be positive")));
    };
    let (alpha, beta, bias) = (real(cx, "alpha", 1e-4)?, real(cx, "beta", 0.75)?, real(cx, "bias", 1.0)?);
    let x = cx.input(0)?;
    Ok(vec![cx.op(ops::Lrn { size, alpha, beta, bias }, &[x])?])
}

fn lp_norm(cx: &mut Context) -> Results {
    let axis = cx.attributes.int_or("axis", -1)?;
    let p = match cx.attributes.int_or("p", 2)? {
        1 => 1,
        2 => 2,
        other => return Err(cx.attributes.refuse("p", format!("is {other}, must be 1 or 2"))),
    };
    let x = cx.input(0)?;
    let axis = cx.axis(axis, cx.rank(x))?;
    Ok(vec![cx.op(ops::LpNorm { axis, p }, &[x])?])
}

fn mean_variance_norm(cx: &mut Context) -> Results {
    let axes = cx.attributes.ints("axes")?.unwrap_or(&[0, 2, 3]).to_vec();
    let x = cx.input(0)?;
    let axes = cx.axes(&axes, cx.rank(x))?;
    Ok(vec![cx.op(ops::MeanVarianceNorm { axes }, &[x])?])
}
