//! Tensors made from sizes and numbers, and operators that do nothing at inference.

use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::external::ExternalFiles;
use crate::frontend::onnx::import::Mode;
use crate::frontend::onnx::registry::{Results, Row, row};
use crate::frontend::onnx::tensor::{TensorData, dtype};
use kiln_ir::ops;
use kiln_ir::{DType, Dim, Tensor};

/// The operators.
pub const ROWS: &[Row] = &[
    row("ConstantOfShape", 9, (1, 1), constant_of_shape),
    row("Dropout", 1, (1, 3), dropout),
    row("EyeLike", 9, (1, 1), eye_like),
    row("Range", 11, (3, 3), range),
    row("Shape", 1, (1, 1), shape),
    row("Size", 1, (1, 1), size),
];

fn constant_of_shape(cx: &mut Context) -> Results {
    let shape = cx.required_dims(0, "the shape")?;
    let value = match cx.attributes.tensor("value")? {
        Some(proto) => TensorData::decode(proto, &mut ExternalFiles::default())?.to_tensor()?,
        None => Tensor::scalar(DType::F32, 0.0),
    };
    if value.elements() != 1 {
        return Err(cx.attributes.refuse("value", format!("has {} elements, must have one", value.elements())));
    }
    if let Some(bad) = shape.iter().find(|d| d.as_const().is_some_and(|c| c < 0)) {
        return Err(cx.error("onnx_reshape", format!("size {bad} is negative")));
    }
    let value = cx.tensor(value.reshaped(Vec::new()));
    Ok(vec![cx.broadcast_to(value, &shape)?])
}

/// At inference the operand passes through and the mask is all true; in a step of training each element is 0 with probability `ratio`,
/// and what stays is larger by 1 / (1 − ratio).
fn dropout(cx: &mut Context) -> Results {
    cx.attributes.ignore(&["ratio", "seed", "is_test", "consumed_inputs"]);
    if cx.mode() == Mode::Train {
        return drops(cx);
    }
    if cx.mode() == Mode::Evaluate {
        return passes_on(cx);
    }
    if cx.opset < 7 && !cx.attributes.flag_or("is_test", false)? {
        return Err(cx.unsupported("in training mode"));
    }
    if cx.has(2) {
        match cx.known(2).and_then(|k| k.constants()).as_deref() {
            Some([0]) => {}
            // Without a ratio of 0 the result is random.
            _ if cx.constant(1).is_some_and(|ratio| ratio.floats() == [0.0]) => {}
            _ => return Err(cx.unsupported("in training mode")),
        }
    }
    passes_on(cx)
}

fn passes_on(cx: &mut Context) -> Results {
    let x = cx.input(0)?;
    let mask_type = if cx.opset < 10 { cx.dtype(x) } else { DType::Bool };
    let shape = cx.shape(x);
    let mut results = vec![x];
    if cx.wants(1) {
        results.push(cx.filled(mask_type, &shape, 1.0)?);
    }
    Ok(results)
}

fn drops(cx: &mut Context) -> Results {
    let ratio = match cx.opset {
        ..12 => f64::from(cx.attributes.float_or("ratio", 0.5)?),
        _ if !cx.has(1) => 0.5,
        _ => match cx.constant(1) {
            Some(ratio) if ratio.elements() == 1 => ratio.floats()[0],
            _ => return Err(cx.unsupported("with a ratio that only the run knows")),
        },
    };
    if !(0.0..1.0).contains(&ratio) {
        return Err(cx.error("onnx_attribute", format!("the ratio of Dropout is {ratio}, but a probability below 1 is wanted")));
    }
    let x = cx.input(0)?;
    let drawn = if ratio > 0.0 { cx.random_like(x)? } else { None };
    let Some(drawn) = drawn else { return passes_on(cx) };
    let (least, factor, zero) = (cx.like(drawn, ratio)?, cx.like(x, 1.0 / (1.0 - ratio))?, cx.like(x, 0.0)?);
    let stays = cx.op(ops::GreaterEqual {}, &[drawn, least])?;
    let larger = cx.op(ops::Mul {}, &[x, factor])?;
    let mut results = vec![cx.op(ops::Select {}, &[stays, larger, zero])?];
    if cx.wants(1) {
        let mask_type = if cx.opset < 10 { cx.dtype(x) } else { DType::Bool };
        results.push(cx.cast(stays, mask_type)?);
    }
    Ok(results)
}

/// Ones on a diagonal.
fn eye_like(cx: &mut Context) -> Results {
    let ty = cx.operand_type(0)?;
    let k = cx.attributes.int_or("k", 0)?;
    let dtype = match cx.attributes.int("dtype")? {
        Some(number) => dtype(i32::try_from(number).unwrap_or(-1))?,
        None => ty.dtype,
    };
    if ty.rank() != 2 {
        return Err(cx.error("onnx_rank", format!("EyeLike takes a matrix, got {ty}")));
    }
    let row = cx.op(ops::Iota { shape: ty.shape.clone(), axis: 0, dtype: DType::I64 }, &[])?;
    let column = cx.op(ops::Iota { shape: ty.shape.clone(), axis: 1, dtype: DType::I64 }, &[])?;
    let k = cx.tensor(Tensor::i64(&[], &[k]));
    let diagonal = cx.broadcast_op(ops::Add {}, &[row, k])?;
    let hit = cx.op(ops::Equal {}, &[diagonal, column])?;
    Ok(vec![cx.cast(hit, dtype)?])
}

/// start, start + delta, … below limit; the length must follow from constants or sizes.
fn range(cx: &mut Context) -> Results {
    let dtype = cx.operand_type(0)?.dtype;
    let length = if dtype.is_float() {
        let number = |i: usize| cx.constant(i).filter(|t| t.elements() == 1).map(|t| t.floats()[0]);
        let (Some(start), Some(limit), Some(delta)) = (number(0), number(1), number(2)) else {
            return Err(cx.error("onnx_data_dependent", "the length of Range depends on data that only the run has"));
        };
        let length = ((limit - start) / delta).ceil().max(0.0);
        if !length.is_finite() {
            return Err(cx.error("onnx_size", format!("Range from {start} to {limit} by {delta} has no end")));
        }
        Dim::from(length as i64)
    } else {
        let number = |i: usize| -> Result<Dim, _> {
            match cx.required_dims(i, "the length")?.as_slice() {
                [d] => Ok(d.clone()),
                other => Err(cx.error("onnx_size", format!("operand {i} of Range has {} elements, must have one", other.len()))),
            }
        };
        let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
        let length = match delta.as_const() {
            Some(step) if step > 0 => (&limit - &start).ceil_div(&delta),
            Some(step) if step < 0 && step != i64::MIN => (&start - &limit).ceil_div(&Dim::from(-step)),
            _ => return Err(cx.error("onnx_size", format!("the step of Range is {delta}"))),
        };
        Dim::maximum(&length, &Dim::ZERO).simplify(cx.ranges())
    };
    let (start, delta) = (cx.input(0)?, cx.input(2)?);
    let (start, delta) = (cx.reshape(start, &[])?, cx.reshape(delta, &[])?);
    let steps = cx.op(ops::Iota { shape: vec![length], axis: 0, dtype }, &[])?;
    let scaled = cx.broadcast_op(ops::Mul {}, &[steps, delta])?;
    Ok(vec![cx.broadcast_op(ops::Add {}, &[scaled, start])?])
}

/// Only reached for sizes that are too complicated to carry along.
fn shape(cx: &mut Context) -> Results {
    cx.attributes.ignore(&["start", "end"]);
    let ty = cx.operand_type(0)?;
    if cx.attributes.int("start")?.is_some() || cx.attributes.int("end")?.is_some() {
        return Err(cx.unsupported("of so complicated a shape, in part,"));
    }
    Ok(vec![cx.op(ops::Dims { values: ty.shape }, &[])?])
}

fn size(cx: &mut Context) -> Results {
    let elements = cx.operand_type(0)?.elements();
    Ok(vec![cx.dim_scalar(&elements, DType::I64)?])
}
