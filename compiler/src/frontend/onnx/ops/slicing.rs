//! Parts of tensors, and margins around them.

use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{Results, Row, row};
use kiln_ir::ops::{self, PadMode};
use kiln_ir::{Diagnostic, Dim, Value};

/// The operators.
pub const ROWS: &[Row] =
    &[row("Pad", 1, (1, 4), pad), row("Slice", 1, (1, 5), slice), row("Split", 1, (1, 2), split), row("Trilu", 14, (1, 2), trilu)];

/// Bounds beyond this mean "to the end": exporters write the largest number there is.
const FAR: i64 = i32::MAX as i64;

/// Bounds were attributes before operator set 10.
fn slice(cx: &mut Context) -> Results {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let (starts, ends, axes, steps);
    if cx.opset < 10 {
        let dims = |values: &[i64]| values.iter().map(|&v| Dim::from(v)).collect::<Vec<_>>();
        (starts, ends) = (dims(cx.attributes.required_ints("starts")?), dims(cx.attributes.required_ints("ends")?));
        (axes, steps) = (cx.attributes.ints("axes")?.map(<[i64]>::to_vec), None);
    } else {
        (starts, ends) = (cx.required_dims(1, "the start")?, cx.required_dims(2, "the end")?);
        axes = if cx.has(3) { Some(cx.required_ints(3, "the axes")?) } else { None };
        steps = if cx.has(4) { Some(cx.required_ints(4, "the steps")?) } else { None };
    }
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        let what = format!("{} starts, {} ends, {} axes, {} steps", starts.len(), ends.len(), axes.len(), steps.len());
        return Err(cx.error("onnx_size", format!("Slice needs as many of each: {what}")));
    }
    cx.axes(&axes, shape.len())?;
    let mut op = ops::Slice { starts: vec![Dim::ZERO; shape.len()], steps: vec![1; shape.len()], sizes: shape.clone() };
    for (((axis, start), end), &step) in axes.iter().zip(&starts).zip(&ends).zip(&steps) {
        let axis = cx.axis(*axis, shape.len())?;
        // The negation of the least number does not exist.
        if step == 0 || step == i64::MIN {
            return Err(cx.error("onnx_size", format!("step {step} of Slice on axis {axis}")));
        }
        let size = &shape[axis];
        let last = size - Dim::ONE;
        let (start, length) = if step > 0 {
            let start = bound(cx, start, size, &Dim::ZERO, size)?;
            let end = bound(cx, end, size, &Dim::ZERO, size)?;
            (start.clone(), end - start)
        } else {
            let start = bound(cx, start, size, &Dim::ZERO, &last)?;
            let end = bound(cx, end, size, &Dim::from(-1), &last)?;
            (start.clone(), start - end)
        };
        let length = Dim::maximum(&length.ceil_div(&Dim::from(step.saturating_abs())), &Dim::ZERO).simplify(cx.ranges());
        // An empty slice starts anywhere; 0 needs no proof.
        op.starts[axis] = if length.is(0) { Dim::ZERO } else { start };
        op.sizes[axis] = length;
        op.steps[axis] = step;
    }
    if op.sizes == shape && op.starts.iter().all(|d| d.is(0)) && op.steps.iter().all(|&s| s == 1) {
        return Ok(vec![x]);
    }
    Ok(vec![cx.op(op, &[x])?])
}

/// A bound counted from the front and clamped to `low..=high`. A negative bound counts from the end; one whose sign depends
/// on the run is taken as it stands and guarded.
fn bound(cx: &mut Context, value: &Dim, size: &Dim, low: &Dim, high: &Dim) -> Result<Dim, Diagnostic> {
    if let Some(c) = value.as_const() {
        if c >= FAR {
            return Ok(high.clone());
        }
        if c <= -FAR {
            return Ok(low.clone());
        }
    }
    let range = cx.ranges().range(value);
    let from_front = if range.max < 0 {
        value + size
    } else {
        if range.min < 0 {
            cx.require_at_most(&Dim::ZERO, value, "bounds of a slice that depend on sizes count from the front")?;
        }
        value.clone()
    };
    Ok(Dim::minimum(&Dim::maximum(&from_front, low), high).simplify(cx.ranges()))
}

/// Sizes come as an attribute before operator set 13 and as an operand since; without them the parts are equal.
fn split(cx: &mut Context) -> Results {
    let axis = cx.attributes.int_or("axis", 0)?;
    let sizes = if cx.opset < 13 {
        let from_operand = if cx.opset < 2 && cx.has(1) { Some(cx.required_dims(1, "the sizes")?) } else { None };
        from_operand.or(cx.attributes.ints("split")?.map(|sizes| sizes.iter().map(|&s| Dim::from(s)).collect()))
    } else if cx.has(1) {
        Some(cx.required_dims(1, "the sizes")?)
    } else {
        None
    };
    let declared = cx.attributes.int("num_outputs")?;
    let parts = cx.node.output.len();
    if let Some(declared) = declared.filter(|&n| n != parts as i64) {
        return Err(cx.attributes.refuse("num_outputs", format!("is {declared}, the node has {parts} results")));
    }
    let x = cx.input(0)?;
    let axis = cx.axis(axis, cx.rank(x))?;
    let total = cx.shape(x)[axis].clone();
    let sizes = match sizes {
        Some(sizes) if sizes.len() != parts => {
            return Err(cx.error("onnx_size", format!("{} sizes for {parts} results of Split", sizes.len())));
        }
        Some(sizes) => sizes,
        None => equal_parts(cx, &total, parts, declared.is_some())?,
    };
    cx.require_equal(&Dim::sum(&sizes), &total, "the parts of a split add up")?;
    let mut start = Dim::ZERO;
    let mut results = Vec::new();
    for size in sizes {
        results.push(cx.slice_axis(x, axis, start.clone(), size.clone())?);
        start = start + size;
    }
    Ok(results)
}

/// With `uneven`, the last part may be smaller.
fn equal_parts(cx: &mut Context, total: &Dim, parts: usize, uneven: bool) -> Result<Vec<Dim>, Diagnostic> {
    let count = Dim::from(parts);
    if parts == 0 {
        return Ok(Vec::new());
    }
    if !uneven {
        let size = total.floor_div(&count);
        cx.require_equal(&(&size * &count), total, "the axis splits into equal parts")?;
        return Ok(vec![size; parts]);
    }
    let size = total.ceil_div(&count);
    let last = (total - &size * Dim::from(parts - 1)).simplify(cx.ranges());
    cx.require_at_most(&Dim::ZERO, &last, "the last part of a split has a size")?;
    let mut sizes = vec![size; parts];
    sizes[parts - 1] = last;
    Ok(sizes)
}

/// Amounts were attributes before operator set 11.
fn pad(cx: &mut Context) -> Results {
    let mode = match cx.attributes.string_or("mode", "constant")? {
        "constant" => PadMode::Constant,
        "edge" => PadMode::Edge,
        "reflect" => PadMode::Reflect,
        "wrap" => PadMode::Wrap,
        other => return Err(cx.attributes.refuse("mode", format!("is {other:?}, must be constant, edge, reflect or wrap"))),
    };
    let x = cx.input(0)?;
    let (rank, dtype) = (cx.rank(x), cx.dtype(x));
    let (amounts, value, axes);
    if cx.opset < 11 {
        let name = if cx.opset < 2 { "paddings" } else { "pads" };
        amounts = cx.attributes.required_ints(name)?.iter().map(|&p| Dim::from(p)).collect();
        let fill = cx.attributes.float_or("value", 0.0)?;
        (value, axes) = (cx.scalar(dtype, fill.into()), None);
    } else {
        amounts = cx.required_dims(1, "the padding")?;
        value = match cx.optional(2)? {
            Some(value) => cx.reshape(value, &[])?,
            None => cx.scalar(dtype, 0.0),
        };
        axes = if cx.has(3) { Some(cx.required_ints(3, "the axes")?) } else { None };
    }
    let axes = match axes {
        Some(axes) => {
            cx.axes(&axes, rank)?;
            axes.iter().map(|&a| cx.axis(a, rank)).collect::<Result<Vec<_>, _>>()?
        }
        None => (0..rank).collect(),
    };
    if amounts.len() != 2 * axes.len() {
        return Err(cx.error("onnx_size", format!("{} amounts of padding for {} axes, two each are needed", amounts.len(), axes.len())));
    }
    let (mut low, mut high) = (vec![Dim::ZERO; rank], vec![Dim::ZERO; rank]);
    for (position, &axis) in axes.iter().enumerate() {
        low[axis] = amounts[position].clone();
        high[axis] = amounts[position + axes.len()].clone();
    }
    Ok(vec![cx.op(ops::Pad { low, high, mode }, &[x, value])?])
}

fn trilu(cx: &mut Context) -> Results {
    let upper = cx.attributes.flag_or("upper", true)?;
    let x = cx.input(0)?;
    let k: Value = match cx.optional(1)? {
        Some(k) => cx.reshape(k, &[])?,
        None => cx.scalar(kiln_ir::DType::I64, 0.0),
    };
    Ok(vec![cx.op(ops::Trilu { upper }, &[x, k])?])
}
