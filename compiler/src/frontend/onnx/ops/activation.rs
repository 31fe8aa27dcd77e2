//! Activation functions and soft maxima.

use super::elementwise::unary;
use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{Results, Row, row};
use kiln_ir::attr::Real;
use kiln_ir::ops::gelu::GeluKind;
use kiln_ir::ops::{self, ArgKind, Op};
use kiln_ir::{DType, Diagnostic, Dim};

/// The operators.
pub const ROWS: &[Row] = &[
    row("Celu", 12, (1, 1), |cx| {
        let alpha = real(cx, "alpha", 1.0)?;
        unary(cx, ops::Celu { alpha })
    }),
    row("Elu", 1, (1, 1), |cx| {
        let alpha = real(cx, "alpha", 1.0)?;
        unary(cx, ops::Elu { alpha })
    }),
    row("Gelu", 20, (1, 1), gelu),
    row("HardSigmoid", 1, (1, 1), |cx| {
        let (alpha, beta) = (real(cx, "alpha", 0.2)?, real(cx, "beta", 0.5)?);
        unary(cx, ops::HardSigmoid { alpha, beta })
    }),
    row("HardSwish", 14, (1, 1), |cx| unary(cx, ops::HardSwish {})),
    row("Hardmax", 1, (1, 1), hardmax),
    row("LeakyRelu", 1, (1, 1), |cx| {
        let alpha = real(cx, "alpha", 0.01)?;
        unary(cx, ops::LeakyRelu { alpha })
    }),
    row("LogSoftmax", 1, (1, 1), |cx| along_axis(cx, |axis| ops::LogSoftmax { axis }.into())),
    row("Mish", 18, (1, 1), |cx| unary(cx, ops::Mish {})),
    row("PRelu", 1, (2, 2), prelu),
    row("Relu", 1, (1, 1), |cx| unary(cx, ops::Relu {})),
    row("Selu", 1, (1, 1), selu),
    row("Shrink", 9, (1, 1), shrink),
    row("Sigmoid", 1, (1, 1), |cx| unary(cx, ops::Sigmoid {})),
    row("Softmax", 1, (1, 1), |cx| along_axis(cx, |axis| ops::Softmax { axis }.into())),
    row("Softplus", 1, (1, 1), |cx| unary(cx, ops::Softplus {})),
    row("Softsign", 1, (1, 1), |cx| unary(cx, ops::Softsign {})),
    row("SwiGLU", 28, (2, 2), |cx| {
        let (beta, gate, value) = (real(cx, "alpha", 1.0)?, cx.input(0)?, cx.input(1)?);
        Ok(vec![cx.op(ops::Swiglu { beta }, &[gate, value])?])
    }),
    row("Swish", 24, (1, 1), |cx| {
        let beta = real(cx, "alpha", 1.0)?;
        unary(cx, ops::Swish { beta })
    }),
    row("ThresholdedRelu", 1, (1, 1), |cx| {
        let alpha = real(cx, "alpha", 1.0)?;
        unary(cx, ops::ThresholdedRelu { alpha })
    }),
];

/// A number attribute as the operator's.
pub fn real(cx: &Context, name: &str, default: f32) -> Result<Real, Diagnostic> {
    Ok(Real(f64::from(cx.attributes.float_or(name, default)?)))
}

fn selu(cx: &mut Context) -> Results {
    // The first operator set rounded its defaults more.
    let (alpha, gamma) = if cx.opset < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
    let (alpha, gamma) = (real(cx, "alpha", alpha)?, real(cx, "gamma", gamma)?);
    unary(cx, ops::Selu { alpha, gamma })
}

fn gelu(cx: &mut Context) -> Results {
    let approximate = match cx.attributes.string_or("approximate", "none")? {
        "none" => GeluKind::Erf,
        "tanh" => GeluKind::Tanh,
        other => return Err(cx.attributes.refuse("approximate", format!("is {other:?}, must be none or tanh"))),
    };
    unary(cx, ops::Gelu { approximate })
}

/// The slope broadcasts to `x`; before operator set 7 a vector held one slope per channel.
fn prelu(cx: &mut Context) -> Results {
    cx.attributes.ignore(&["consumed_inputs"]);
    let (x, mut slope) = (cx.input(0)?, cx.input(1)?);
    let rank = cx.rank(x);
    if cx.opset < 7 && cx.rank(slope) == 1 && rank > 2 {
        let mut shape = cx.shape(slope);
        shape.extend(std::iter::repeat_n(Dim::ONE, rank - 2));
        slope = cx.reshape(slope, &shape)?;
    }
    let shape = cx.shape(x);
    let slope = cx.broadcast_to(slope, &shape)?;
    Ok(vec![cx.op(ops::Prelu {}, &[x, slope])?])
}

fn shrink(cx: &mut Context) -> Results {
    let (lambda, bias) = (cx.attributes.float_or("lambd", 0.5)?, cx.attributes.float_or("bias", 0.0)?);
    let x = cx.input(0)?;
    let (low, high, bias) = (cx.like(x, -f64::from(lambda))?, cx.like(x, lambda.into())?, cx.like(x, bias.into())?);
    let zero = cx.like(x, 0.0)?;
    let (below, above) = (cx.op(ops::Less {}, &[x, low])?, cx.op(ops::Greater {}, &[x, high])?);
    let (raised, lowered) = (cx.op(ops::Add {}, &[x, bias])?, cx.op(ops::Sub {}, &[x, bias])?);
    let upper = cx.op(ops::Select {}, &[above, lowered, zero])?;
    Ok(vec![cx.op(ops::Select {}, &[below, raised, upper])?])
}

/// Applies an operator along one axis; before operator set 13 it ran over all axes from `axis` on, flattened.
fn along_axis(cx: &mut Context, op: impl Fn(usize) -> Op) -> Results {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let (axis, flatten) = soft_axis(cx, shape.len())?;
    if !flatten {
        return Ok(vec![cx.op(op(axis), &[x])?]);
    }
    let flat = cx.reshape(x, &[Dim::product(&shape[..axis]), Dim::product(&shape[axis..])])?;
    let y = cx.op(op(1), &[flat])?;
    Ok(vec![cx.reshape(y, &shape)?])
}

/// The axis, and whether all axes from it on count as one.
fn soft_axis(cx: &Context, rank: usize) -> Result<(usize, bool), Diagnostic> {
    if cx.opset >= 13 {
        return Ok((cx.axis(cx.attributes.int_or("axis", -1)?, rank)?, false));
    }
    let axis = cx.attributes.int_or("axis", 1)?;
    let axis = if axis == rank as i64 { rank } else { cx.axis(axis, rank)? };
    Ok((axis, axis + 1 != rank))
}

/// 1 at the first greatest element of each row, 0 elsewhere.
fn hardmax(cx: &mut Context) -> Results {
    let x = cx.input(0)?;
    let original = cx.shape(x);
    let (mut axis, flatten) = soft_axis(cx, original.len())?;
    let mut rows = x;
    if flatten {
        rows = cx.reshape(x, &[Dim::product(&original[..axis]), Dim::product(&original[axis..])])?;
        axis = 1;
    }
    let shape = cx.shape(rows);
    let first = cx.op(ops::ArgReduce { kind: ArgKind::Max, axis, keep: true, last: false }, &[rows])?;
    let first = cx.broadcast_to(first, &shape)?;
    let position = cx.op(ops::Iota { shape, axis, dtype: DType::I64 }, &[])?;
    let hit = cx.op(ops::Equal {}, &[position, first])?;
    let y = cx.cast(hit, cx.dtype(x))?;
    Ok(vec![cx.reshape(y, &original)?])
}
