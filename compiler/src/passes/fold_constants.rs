//! Computes what depends on constants and parameters only, where that is little work and makes nothing larger.
//! ```text
//! %t = const i64[2] [3, 4] ; %u = const i64[2] [1, 1] ; %v = add %t, %u      →      %v = const i64[2] [4, 5]
//! ```
//! Needs: values of parameters, where they may be folded.  Keeps: every bit of what is exact (integers, movement); other results
//! are the reference interpreter's, rounded once.  Skips: nodes beyond the budget, which compiled code computes when the
//! parameters are prepared; symbolic sizes; regions; composites that stay whole; what fails, which must fail at run time.
//!
//! A value that is larger than its operands (a broadcast scalar, an iota) is not stored; it is still known to the nodes that use
//! it, so that a reduction of it can be folded.

use super::regions::{keep, rebuild};
use crate::pipeline::{Context, FoldBudget};
use kiln_ir::attr::Attr;
use kiln_ir::graph::NodeKind;
use kiln_ir::{Graph, Node, Op, Tensor, TensorType, Value};
use std::collections::BTreeMap;

/// Values up to this size are stored whatever their operands.
const ALWAYS_BYTES: usize = 1024;

/// See the head of this file.
pub fn fold_constants(graph: &Graph, context: &Context) -> Graph {
    let Some(budget) = context.config.fold else {
        return graph.clone();
    };
    let mut known: BTreeMap<Value, Tensor> = BTreeMap::new();
    let mut bytes_left = budget.total_bytes;
    rebuild(graph, |out, node, op, x| {
        let results = (!context.config.keep.contains(op.name()))
            .then(|| x.iter().map(|v| value_of(out, *v, &known, context, budget)).collect::<Option<Vec<Tensor>>>())
            .flatten()
            .and_then(|operands| compute(op, node, &operands, budget, &mut bytes_left).map(|results| (operands, results)));
        let Some((operands, results)) = results else {
            return keep(out, node, op, x);
        };
        let size = |tensors: &[Tensor]| tensors.iter().map(|t| t.bytes().len()).sum::<usize>();
        if size(&results) <= size(&operands).max(ALWAYS_BYTES) {
            return results.into_iter().map(|t| out.add_constant(t)).collect();
        }
        let values = keep(out, node, op, x);
        known.extend(values.iter().copied().zip(results));
        values
    })
}

fn value_of(graph: &Graph, value: Value, known: &BTreeMap<Value, Tensor>, context: &Context, budget: FoldBudget) -> Option<Tensor> {
    match &graph.node(value.node).kind {
        NodeKind::Constant(tensor) => Some(tensor.clone()),
        NodeKind::Parameter(name) if budget.parameters => context.parameters.get(&**name)?.value.clone(),
        NodeKind::Parameter(_) | NodeKind::Input(_) => None,
        NodeKind::Op(_) => known.get(&value).cloned(),
    }
}

/// The node's results, if they fit the budget.
fn compute(op: &Op, node: &Node, operands: &[Tensor], budget: FoldBudget, bytes_left: &mut u64) -> Option<Vec<Tensor>> {
    let mut symbolic = false;
    op.clone().map_dims(&mut |d| {
        symbolic |= d.as_const().is_none();
        d.clone()
    });
    let region = op.to_attrs().iter().any(|(_, a)| matches!(a, Attr::Graph(_)));
    let sizes: Option<Vec<u64>> = node.types.iter().map(size_bytes).collect();
    let bytes = sizes?.into_iter().fold(0u64, u64::saturating_add);
    if symbolic || region || bytes > *bytes_left || work(op, node, operands)? > budget.node_work {
        return None;
    }
    let results = op.eval(operands).ok()?;
    *bytes_left -= bytes;
    // The claimed types may be written differently; the values must have them all the same.
    results.iter().zip(&node.types).all(|(t, ty)| t.ty() == *ty).then_some(results)
}

fn size_bytes(ty: &TensorType) -> Option<u64> {
    elements(ty)?.checked_mul(ty.dtype.size_bytes() as u64)
}

fn elements(ty: &TensorType) -> Option<u64> {
    ty.fixed_shape()?.into_iter().try_fold(1u64, |n, d| n.checked_mul(d as u64))
}

/// An upper bound of the steps that the interpreter takes: elements read and written, times the length of the sums where
/// elements are read again and again.
fn work(op: &Op, node: &Node, operands: &[Tensor]) -> Option<u64> {
    let written = node.types.iter().map(elements).try_fold(0u64, |n, e| n.checked_add(e?))?;
    let read = operands.iter().map(|t| t.elements() as u64).sum::<u64>();
    let size = |t: &Tensor, axes: &[usize]| axes.iter().map(|&a| t.shape()[a] as u64).product::<u64>();
    let steps = match op {
        Op::Dot(dot) => size(&operands[0], &dot.a_contract),
        Op::Conv(_) => operands[1].shape()[1..].iter().map(|&d| d as u64).product(),
        Op::WindowReduce(window) => window.window.iter().map(|&d| d as u64).product(),
        Op::WindowArgMax(window) => window.window.iter().map(|&d| d as u64).product(),
        // Everything else is linear, or nearly (top_k sorts).
        _ => 1,
    };
    written.checked_mul(steps.max(1))?.checked_add(read)
}
