//! Reductions along axes, and what is made of them.

use super::Spelled;
use super::writer::{Operand, Writer, int};
use kiln_ir::TensorType;
use kiln_ir::ops::{ArgKind, CumulativeKind, Op, ReduceKind};

/// Writes the operator if it is one of these.
pub fn spell(w: &mut Writer, op: &Op, x: &[Operand], types: &[TensorType]) -> Spelled {
    match op {
        Op::Reduce(reduce) => {
            let name = match reduce.kind {
                ReduceKind::Sum => "ReduceSum",
                ReduceKind::Prod => "ReduceProd",
                ReduceKind::Max => "ReduceMax",
                ReduceKind::Min => "ReduceMin",
                ReduceKind::And | ReduceKind::Or => return Ok(None),
            };
            reduced(w, name, x[0], &reduce.axes, reduce.keep, types)
        }
        Op::Mean(mean) if w.ty(x[0]).dtype.is_float() => reduced(w, "ReduceMean", x[0], &mean.axes, mean.keep, types),
        Op::LogSumExp(op) => reduced(w, "ReduceLogSumExp", x[0], &op.axes, op.keep, types),
        Op::Softmax(op) => w.plain("Softmax", x, vec![int("axis", op.axis as i64)], types),
        Op::LogSoftmax(op) => w.plain("LogSoftmax", x, vec![int("axis", op.axis as i64)], types),
        Op::ArgReduce(op) => {
            let name = match op.kind {
                ArgKind::Max => "ArgMax",
                ArgKind::Min => "ArgMin",
            };
            let attributes =
                vec![int("axis", op.axis as i64), int("keepdims", i64::from(op.keep)), int("select_last_index", i64::from(op.last))];
            w.plain(name, x, attributes, types)
        }
        Op::Cumulative(op) if op.kind == CumulativeKind::Sum => {
            let (x, axis) = (w.name(x[0])?, w.initializer(&kiln_ir::Tensor::i64(&[], &[op.axis as i64]), "axis"));
            let attributes = vec![int("exclusive", i64::from(op.exclusive)), int("reverse", i64::from(op.reverse))];
            Ok(Some(w.results("CumSum", vec![x, axis], attributes, types)))
        }
        Op::TopK(op) => {
            let (x, k) = (w.name(x[0])?, w.size(&op.k)?);
            let attributes = vec![int("axis", op.axis as i64), int("largest", i64::from(op.largest))];
            Ok(Some(w.results("TopK", vec![x, k], attributes, types)))
        }
        _ => Ok(None),
    }
}

/// Over no axes, ONNX reduces over all of them.
fn reduced(w: &mut Writer, name: &str, x: Operand, axes: &[usize], keep: bool, types: &[TensorType]) -> Spelled {
    if axes.is_empty() && name != "ReduceLogSumExp" {
        return w.plain("Identity", &[x], vec![], types);
    }
    if axes.is_empty() {
        return Ok(None);
    }
    let (x, axes) = (w.name(x)?, w.integers(&axes.iter().map(|axis| *axis as i64).collect::<Vec<_>>()));
    Ok(Some(w.results(name, vec![x, axes], vec![int("keepdims", i64::from(keep))], types)))
}
