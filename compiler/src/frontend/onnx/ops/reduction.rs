//! Reductions, positions of extremes, running sums and the k largest.

use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{Results, Row, row};
use kiln_ir::ops::{self, ArgKind, CumulativeKind, ReduceKind};
use kiln_ir::{DType, Diagnostic, Dim, Value};

/// The operators.
pub const ROWS: &[Row] = &[
    row("ReduceL1", 1, (1, 2), |cx| reduce(cx, absolute, ReduceKind::Sum, same)),
    row("ReduceL2", 1, (1, 2), |cx| reduce(cx, square, ReduceKind::Sum, square_root)),
    row("ReduceLogSum", 1, (1, 2), |cx| reduce(cx, same, ReduceKind::Sum, logarithm)),
    row("ReduceLogSumExp", 1, (1, 2), log_sum_exp),
    row("ReduceMax", 1, (1, 2), |cx| reduce(cx, same, ReduceKind::Max, same)),
    row("ReduceMean", 1, (1, 2), mean),
    row("ReduceMin", 1, (1, 2), |cx| reduce(cx, same, ReduceKind::Min, same)),
    row("ReduceProd", 1, (1, 2), |cx| reduce(cx, same, ReduceKind::Prod, same)),
    row("ReduceSum", 1, (1, 2), |cx| reduce(cx, same, ReduceKind::Sum, same)),
    row("ReduceSumSquare", 1, (1, 2), |cx| reduce(cx, square, ReduceKind::Sum, same)),
    row("ArgMax", 1, (1, 1), |cx| arg_reduce(cx, ArgKind::Max)),
    row("ArgMin", 1, (1, 1), |cx| arg_reduce(cx, ArgKind::Min)),
    row("CumProd", 26, (2, 2), |cx| cumulative(cx, CumulativeKind::Prod)),
    row("CumSum", 11, (2, 2), |cx| cumulative(cx, CumulativeKind::Sum)),
    row("TopK", 1, (1, 2), top_k),
];

type Step = fn(&mut Context, Value) -> Result<Value, Diagnostic>;

fn same(_: &mut Context, x: Value) -> Result<Value, Diagnostic> {
    Ok(x)
}

fn absolute(cx: &mut Context, x: Value) -> Result<Value, Diagnostic> {
    cx.op(ops::Abs {}, &[x])
}

fn square(cx: &mut Context, x: Value) -> Result<Value, Diagnostic> {
    cx.op(ops::Mul {}, &[x, x])
}

fn square_root(cx: &mut Context, x: Value) -> Result<Value, Diagnostic> {
    on_floats(cx, x, |cx, x| cx.op(ops::Sqrt {}, &[x]))
}

fn logarithm(cx: &mut Context, x: Value) -> Result<Value, Diagnostic> {
    on_floats(cx, x, |cx, x| cx.op(ops::Log {}, &[x]))
}

/// Integer operands of real functions go through f64 and are cut off again.
fn on_floats(cx: &mut Context, x: Value, f: Step) -> Result<Value, Diagnostic> {
    let dtype = cx.dtype(x);
    if dtype.is_float() {
        return f(cx, x);
    }
    let wide = cx.cast(x, DType::F64)?;
    let y = f(cx, wide)?;
    cx.cast(y, dtype)
}

/// What to reduce: the operand, its axes and whether they stay as 1. `None` for axes: nothing is reduced.
fn operands(cx: &mut Context) -> Result<(Value, Option<Vec<usize>>, bool), Diagnostic> {
    // The sum took its axes as an operand five operator sets before the others.
    let since = if cx.node.op_type == "ReduceSum" { 13 } else { 18 };
    let axes = cx.ints_by_opset("axes", since, 1)?.filter(|axes| !axes.is_empty());
    let (keep, noop) = (cx.attributes.flag_or("keepdims", true)?, cx.attributes.flag_or("noop_with_empty_axes", false)?);
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let axes = match axes {
        Some(axes) => Some(cx.axes(&axes, rank)?),
        None if noop => None,
        None => Some((0..rank).collect()),
    };
    Ok((x, axes, keep))
}

fn reduce(cx: &mut Context, before: Step, kind: ReduceKind, after: Step) -> Results {
    let (x, axes, keep) = operands(cx)?;
    let x = before(cx, x)?;
    let reduced = match axes {
        Some(axes) => {
            // The largest truth value is their disjunction.
            let kind = match (kind, cx.dtype(x)) {
                (ReduceKind::Max, DType::Bool) => ReduceKind::Or,
                (ReduceKind::Min, DType::Bool) => ReduceKind::And,
                (kind, _) => kind,
            };
            cx.op(ops::Reduce { kind, axes, keep }, &[x])?
        }
        None => x,
    };
    Ok(vec![after(cx, reduced)?])
}

fn mean(cx: &mut Context) -> Results {
    let (x, axes, keep) = operands(cx)?;
    let Some(axes) = axes else { return Ok(vec![x]) };
    if cx.dtype(x).is_float() {
        return Ok(vec![cx.op(ops::Mean { axes, keep }, &[x])?]);
    }
    let shape = cx.shape(x);
    let count = Dim::product(axes.iter().map(|&a| &shape[a]));
    let sum = cx.op(ops::Reduce { kind: ReduceKind::Sum, axes, keep }, &[x])?;
    let count = cx.dim_scalar(&count, cx.dtype(sum))?;
    Ok(vec![cx.broadcast_op(ops::Div {}, &[sum, count])?])
}

fn log_sum_exp(cx: &mut Context) -> Results {
    let (x, axes, keep) = operands(cx)?;
    let Some(axes) = axes else { return Ok(vec![x]) };
    let dtype = cx.dtype(x);
    let wide = if dtype.is_float() { x } else { cx.cast(x, DType::F64)? };
    let y = cx.op(ops::LogSumExp { axes, keep }, &[wide])?;
    Ok(vec![cx.cast(y, dtype)?])
}

fn arg_reduce(cx: &mut Context, kind: ArgKind) -> Results {
    let axis = cx.attributes.int_or("axis", 0)?;
    let (keep, last) = (cx.attributes.flag_or("keepdims", true)?, cx.attributes.flag_or("select_last_index", false)?);
    let x = cx.input(0)?;
    let axis = cx.axis(axis, cx.rank(x))?;
    Ok(vec![cx.op(ops::ArgReduce { kind, axis, keep, last }, &[x])?])
}

fn cumulative(cx: &mut Context, kind: CumulativeKind) -> Results {
    let (exclusive, reverse) = (cx.attributes.flag_or("exclusive", false)?, cx.attributes.flag_or("reverse", false)?);
    let axis = match cx.required_ints(1, "the axis")?.as_slice() {
        &[axis] => axis,
        other => return Err(cx.error("onnx_axis", format!("{} takes one axis, got {other:?}", cx.node.op_type))),
    };
    let x = cx.input(0)?;
    let axis = cx.axis(axis, cx.rank(x))?;
    Ok(vec![cx.op(ops::Cumulative { kind, axis, exclusive, reverse }, &[x])?])
}

/// `k` was an attribute before operator set 10.
fn top_k(cx: &mut Context) -> Results {
    let k = if cx.opset < 10 {
        Dim::from(cx.attributes.required_int("k")?)
    } else {
        match cx.required_dims(1, "the number of results")?.as_slice() {
            [k] => k.clone(),
            other => return Err(cx.error("onnx_size", format!("TopK takes one number of results, got {}", other.len()))),
        }
    };
    let axis = cx.attributes.int_or("axis", -1)?;
    let largest = cx.attributes.flag_or("largest", true)?;
    // Sorted results are also right where any order is.
    cx.attributes.ignore(&["sorted"]);
    let x = cx.input(0)?;
    let axis = cx.axis(axis, cx.rank(x))?;
    cx.ops(ops::TopK { k, axis, largest }, &[x])
}
