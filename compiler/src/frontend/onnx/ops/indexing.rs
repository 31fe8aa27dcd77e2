//! Reading and writing by index.

use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{Results, Row, row};
use kiln_ir::ops::{self, ScatterReduction};
use kiln_ir::{DType, Diagnostic, Dim};

/// The operators.
pub const ROWS: &[Row] = &[
    row("Gather", 1, (2, 2), |cx| {
        let (axis, x, indices) = axis_and_operands(cx)?;
        Ok(vec![cx.op(ops::Gather { axis }, &[x, indices])?])
    }),
    row("GatherElements", 11, (2, 2), |cx| {
        let (axis, x, indices) = axis_and_operands(cx)?;
        Ok(vec![cx.op(ops::GatherElements { axis }, &[x, indices])?])
    }),
    row("GatherND", 11, (2, 2), gather_nd),
    row("OneHot", 9, (3, 3), one_hot),
    row("ReverseSequence", 10, (2, 2), |cx| {
        let (batch, time) = (cx.attributes.int_or("batch_axis", 1)?, cx.attributes.int_or("time_axis", 0)?);
        let (x, lengths) = (cx.input(0)?, cx.input(1)?);
        let rank = cx.rank(x);
        let op = ops::ReverseSequence { batch_axis: cx.axis(batch, rank)?, time_axis: cx.axis(time, rank)? };
        let lengths = cx.cast(lengths, DType::I64)?;
        Ok(vec![cx.op(op, &[x, lengths])?])
    }),
    row("Scatter", 9, (3, 3), scatter_elements),
    row("ScatterElements", 11, (3, 3), scatter_elements),
    row("ScatterND", 11, (3, 3), scatter_nd),
];

fn axis_and_operands(cx: &mut Context) -> Result<(usize, kiln_ir::Value, kiln_ir::Value), Diagnostic> {
    let axis = cx.attributes.int_or("axis", 0)?;
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    Ok((cx.axis(axis, cx.rank(x))?, x, indices))
}

fn gather_nd(cx: &mut Context) -> Results {
    let batch_axes = cx.attributes.int_or("batch_dims", 0)?;
    let Ok(batch_axes) = usize::try_from(batch_axes) else {
        return Err(cx.attributes.refuse("batch_dims", format!("is {batch_axes}, must not be negative")));
    };
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![cx.op(ops::GatherNd { batch_axes }, &[x, indices])?])
}

fn reduction(cx: &Context) -> Result<ScatterReduction, Diagnostic> {
    Ok(match cx.attributes.string_or("reduction", "none")? {
        "none" => ScatterReduction::None,
        "add" => ScatterReduction::Add,
        "mul" => ScatterReduction::Mul,
        "max" => ScatterReduction::Max,
        "min" => ScatterReduction::Min,
        other => return Err(cx.attributes.refuse("reduction", format!("is {other:?}, must be none, add, mul, max or min"))),
    })
}

fn scatter_elements(cx: &mut Context) -> Results {
    let reduction = reduction(cx)?;
    let (axis, x, indices) = axis_and_operands(cx)?;
    let updates = cx.input(2)?;
    Ok(vec![cx.op(ops::ScatterElements { axis, reduction }, &[x, indices, updates])?])
}

fn scatter_nd(cx: &mut Context) -> Results {
    let reduction = reduction(cx)?;
    let operands = cx.all_inputs()?;
    Ok(vec![cx.op(ops::ScatterNd { reduction }, &operands)?])
}

/// `values` holds the value elsewhere and the value at the index.
fn one_hot(cx: &mut Context) -> Results {
    let depth: Dim = match cx.required_dims(1, "the depth")?.as_slice() {
        [depth] => depth.clone(),
        other => return Err(cx.error("onnx_size", format!("OneHot takes one depth, got {}", other.len()))),
    };
    let axis = cx.attributes.int_or("axis", -1)?;
    let (indices, values) = (cx.input(0)?, cx.input(2)?);
    let axis = cx.axis(axis, cx.rank(indices) + 1)?;
    let indices = cx.cast(indices, DType::I64)?;
    Ok(vec![cx.op(ops::OneHot { depth, axis }, &[indices, values])?])
}
