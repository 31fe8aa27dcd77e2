//! Element-wise operators with NumPy broadcasting.

use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{ANY, Results, Row, row};
use crate::frontend::onnx::tensor::dtype;
use kiln_ir::ops::{self, Op};
use kiln_ir::{DType, Diagnostic, Dim, Value};

/// The operators.
pub const ROWS: &[Row] = &[
    row("Abs", 1, (1, 1), |cx| unary(cx, ops::Abs {})),
    row("Acos", 7, (1, 1), |cx| unary(cx, ops::Acos {})),
    row("Acosh", 9, (1, 1), |cx| unary(cx, ops::Acosh {})),
    row("Asin", 7, (1, 1), |cx| unary(cx, ops::Asin {})),
    row("Asinh", 9, (1, 1), |cx| unary(cx, ops::Asinh {})),
    row("Atan", 7, (1, 1), |cx| unary(cx, ops::Atan {})),
    row("Atanh", 9, (1, 1), |cx| unary(cx, ops::Atanh {})),
    row("BitwiseNot", 18, (1, 1), |cx| unary(cx, ops::BitNot {})),
    row("Ceil", 1, (1, 1), |cx| unary(cx, ops::Ceil {})),
    row("Cos", 7, (1, 1), |cx| unary(cx, ops::Cos {})),
    row("Cosh", 9, (1, 1), |cx| unary(cx, ops::Cosh {})),
    row("Erf", 9, (1, 1), |cx| unary(cx, ops::Erf {})),
    row("Exp", 1, (1, 1), |cx| unary(cx, ops::Exp {})),
    row("Floor", 1, (1, 1), |cx| unary(cx, ops::Floor {})),
    row("IsInf", 10, (1, 1), is_inf),
    row("IsNaN", 9, (1, 1), |cx| unary(cx, ops::IsNan {})),
    row("Log", 1, (1, 1), |cx| unary(cx, ops::Log {})),
    row("Neg", 1, (1, 1), |cx| unary(cx, ops::Neg {})),
    row("Not", 1, (1, 1), |cx| unary(cx, ops::Not {})),
    row("Reciprocal", 1, (1, 1), |cx| unary(cx, ops::Reciprocal {})),
    row("Round", 11, (1, 1), |cx| unary(cx, ops::Round {})),
    row("Sign", 9, (1, 1), |cx| unary(cx, ops::Sign {})),
    row("Sin", 7, (1, 1), |cx| unary(cx, ops::Sin {})),
    row("Sinh", 9, (1, 1), |cx| unary(cx, ops::Sinh {})),
    row("Sqrt", 1, (1, 1), |cx| unary(cx, ops::Sqrt {})),
    row("Tan", 7, (1, 1), |cx| unary(cx, ops::Tan {})),
    row("Tanh", 1, (1, 1), |cx| unary(cx, ops::Tanh {})),
    row("Add", 1, (2, 2), |cx| binary(cx, ops::Add {})),
    row("And", 1, (2, 2), |cx| binary(cx, ops::And {})),
    row("BitShift", 11, (2, 2), bit_shift),
    row("BitwiseAnd", 18, (2, 2), |cx| binary(cx, ops::BitAnd {})),
    row("BitwiseOr", 18, (2, 2), |cx| binary(cx, ops::BitOr {})),
    row("BitwiseXor", 18, (2, 2), |cx| binary(cx, ops::BitXor {})),
    row("Div", 1, (2, 2), |cx| binary(cx, ops::Div {})),
    row("Equal", 1, (2, 2), |cx| binary(cx, ops::Equal {})),
    row("Greater", 1, (2, 2), |cx| binary(cx, ops::Greater {})),
    row("GreaterOrEqual", 12, (2, 2), |cx| binary(cx, ops::GreaterEqual {})),
    row("Less", 1, (2, 2), |cx| binary(cx, ops::Less {})),
    row("LessOrEqual", 12, (2, 2), |cx| binary(cx, ops::LessEqual {})),
    row("Mod", 10, (2, 2), modulo),
    row("Mul", 1, (2, 2), |cx| binary(cx, ops::Mul {})),
    row("Or", 1, (2, 2), |cx| binary(cx, ops::Or {})),
    row("Pow", 1, (2, 2), power),
    row("Sub", 1, (2, 2), |cx| binary(cx, ops::Sub {})),
    row("Xor", 1, (2, 2), |cx| binary(cx, ops::Xor {})),
    row("Max", 1, (1, ANY), |cx| variadic(cx, ops::Max {})),
    row("Mean", 1, (1, ANY), mean),
    row("Min", 1, (1, ANY), |cx| variadic(cx, ops::Min {})),
    row("Sum", 1, (1, ANY), |cx| variadic(cx, ops::Add {})),
    row("Where", 9, (3, 3), select),
    row("Cast", 6, (1, 1), cast),
    row("CastLike", 15, (2, 2), cast_like),
    row("Clip", 1, (1, 3), clip),
];

/// One operand, one result of the same shape.
pub fn unary(cx: &mut Context, op: impl Into<Op>) -> Results {
    // What the first operator sets had for in-place updates.
    cx.attributes.ignore(&["consumed_inputs"]);
    let x = cx.input(0)?;
    Ok(vec![cx.op(op, &[x])?])
}

fn binary(cx: &mut Context, op: impl Into<Op>) -> Results {
    let (a, b) = two_operands(cx)?;
    Ok(vec![cx.broadcast_op(op, &[a, b])?])
}

/// Both operands; before operator set 7 the second one was aligned by an attribute.
fn two_operands(cx: &mut Context) -> Result<(Value, Value), Diagnostic> {
    let (a, mut b) = (cx.input(0)?, cx.input(1)?);
    if cx.opset < 7 {
        cx.attributes.ignore(&["consumed_inputs", "broadcast"]);
        if let Some(axis) = cx.attributes.int("axis")? {
            let (rank, mut shape) = (cx.rank(a), cx.shape(b));
            let axis = cx.axis(axis, rank)?;
            while axis + shape.len() < rank {
                shape.push(Dim::ONE);
            }
            b = cx.reshape(b, &shape)?;
        }
    }
    Ok((a, b))
}

fn variadic(cx: &mut Context, op: impl Into<Op>) -> Results {
    cx.attributes.ignore(&["consumed_inputs"]);
    let (op, operands) = (op.into(), cx.all_inputs()?);
    // All at once, so that a chain does not broadcast step by step.
    let operands = cx.broadcast_all(&operands)?;
    let mut result = operands[0];
    for operand in &operands[1..] {
        result = cx.op(op.clone(), &[result, *operand])?;
    }
    Ok(vec![result])
}

fn mean(cx: &mut Context) -> Results {
    let sum = variadic(cx, ops::Add {})?[0];
    let count = cx.like(sum, cx.operand_count() as f64)?;
    Ok(vec![cx.op(ops::Div {}, &[sum, count])?])
}

fn is_inf(cx: &mut Context) -> Results {
    let positive = cx.attributes.flag_or("detect_positive", true)?;
    let negative = cx.attributes.flag_or("detect_negative", true)?;
    unary(cx, ops::IsInf { positive, negative })
}

fn bit_shift(cx: &mut Context) -> Results {
    match cx.attributes.string_or("direction", "")? {
        "LEFT" => binary(cx, ops::ShiftLeft {}),
        "RIGHT" => binary(cx, ops::ShiftRight {}),
        other => Err(cx.attributes.refuse("direction", format!("is {other:?}, must be LEFT or RIGHT"))),
    }
}

/// `fmod` asks for the sign of the dividend, as in C; otherwise the sign of the divisor, as in Python.
fn modulo(cx: &mut Context) -> Results {
    let fmod = cx.attributes.flag_or("fmod", false)?;
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let operands = cx.broadcast_all(&[a, b])?;
    let rem = cx.op(ops::Rem {}, &operands)?;
    let dtype = cx.dtype(rem);
    if fmod || matches!(dtype, DType::U8 | DType::U16 | DType::U32 | DType::U64) {
        return Ok(vec![rem]);
    }
    let zero = cx.like(rem, 0.0)?;
    let exact = cx.op(ops::Equal {}, &[rem, zero])?;
    let inexact = cx.op(ops::Not {}, &[exact])?;
    let (rem_negative, b_negative) = (cx.op(ops::Less {}, &[rem, zero])?, cx.op(ops::Less {}, &[operands[1], zero])?);
    let opposite = cx.op(ops::Xor {}, &[rem_negative, b_negative])?;
    let wrong = cx.op(ops::And {}, &[inexact, opposite])?;
    let corrected = cx.op(ops::Add {}, &[rem, operands[1]])?;
    let result = cx.op(ops::Select {}, &[wrong, corrected, rem])?;
    if !dtype.is_float() {
        return Ok(vec![result]);
    }
    // Zeros have the sign of the divisor too.
    let minus_zero = cx.like(rem, -0.0)?;
    let signed_zero = cx.op(ops::Select {}, &[b_negative, minus_zero, zero])?;
    Ok(vec![cx.op(ops::Select {}, &[exact, signed_zero, result])?])
}

/// The exponent may have a type of its own; the result has the base's.
fn power(cx: &mut Context) -> Results {
    let (base, exponent) = two_operands(cx)?;
    let dtype = cx.dtype(base);
    if !dtype.is_float() && cx.dtype(exponent).is_float() {
        // An integer to a fractional power is computed as a number and cut off.
        let (wide_base, wide_exponent) = (cx.cast(base, DType::F64)?, cx.cast(exponent, DType::F64)?);
        let wide = cx.broadcast_op(ops::Pow {}, &[wide_base, wide_exponent])?;
        return Ok(vec![cx.cast(wide, dtype)?]);
    }
    let exponent = cx.cast(exponent, dtype)?;
    Ok(vec![cx.broadcast_op(ops::Pow {}, &[base, exponent])?])
}

fn select(cx: &mut Context) -> Results {
    let operands = cx.all_inputs()?;
    Ok(vec![cx.broadcast_op(ops::Select {}, &operands)?])
}

fn cast(cx: &mut Context) -> Results {
    // Both matter only for types smaller than 16 bits.
    cx.attributes.ignore(&["saturate", "round_mode"]);
    let to = cx.attributes.required_int("to")?;
    let to = dtype(i32::try_from(to).unwrap_or(-1))?;
    let x = cx.input(0)?;
    Ok(vec![cx.cast(x, to)?])
}

fn cast_like(cx: &mut Context) -> Results {
    cx.attributes.ignore(&["saturate", "round_mode"]);
    let (x, to) = (cx.input(0)?, cx.operand_type(1)?.dtype);
    Ok(vec![cx.cast(x, to)?])
}

/// Bounds were attributes before operator set 11; either may be left out.
fn clip(cx: &mut Context) -> Results {
    cx.attributes.ignore(&["consumed_inputs"]);
    let x = cx.input(0)?;
    let dtype = cx.dtype(x);
    let (low, high) = if cx.opset < 11 {
        let bounds = (cx.attributes.float("min")?, cx.attributes.float("max")?);
        (bounds.0.map(|v| cx.scalar(dtype, v.into())), bounds.1.map(|v| cx.scalar(dtype, v.into())))
    } else {
        let bounds = (cx.optional(1)?, cx.optional(2)?);
        let scalar = |cx: &mut Context, v: Option<Value>| v.map(|v| cx.reshape(v, &[])).transpose();
        (scalar(cx, bounds.0)?, scalar(cx, bounds.1)?)
    };
    Ok(vec![match (low, high) {
        (Some(low), Some(high)) => cx.op(ops::Clip {}, &[x, low, high])?,
        (Some(low), None) => cx.broadcast_op(ops::Max {}, &[x, low])?,
        (None, Some(high)) => cx.broadcast_op(ops::Min {}, &[x, high])?,
        (None, None) => x,
    }])
}
