//! Rough numbers of operations: only how they compare matters.

use crate::kernel::{BinaryFn, Body, ExprId, ExprKind, Kernel, Stage, Step, UnaryFn};
use kiln_ir::{Dim, Symbol};

/// Operations of a step at these sizes; what cannot be told counts as one.
pub fn work(step: &Step, sizes: &dyn Fn(&Symbol) -> Option<i64>) -> f64 {
    let value = |dim: &Dim| dim.evaluate(sizes).map_or(1.0, |n| n.max(0) as f64);
    match step {
        Step::Loop { extent, body, .. } => value(extent) * body.iter().map(|step| work(step, sizes)).sum::<f64>(),
        Step::Run(kernel) => {
            let points: f64 = match &kernel.body {
                Body::Contract(_) => 2.0 * kernel.extents().into_iter().map(value).product::<f64>(),
                Body::Attention(a) => {
                    let size = |axes: &[crate::kernel::Axis]| axes.iter().map(|axis| value(&axis.extent)).product::<f64>();
                    2.0 * size(&a.batch) * size(&a.rows) * size(&a.keys) * (size(&a.depth) + size(&a.columns))
                }
                Body::Nest(nest) => {
                    let outer: f64 = nest.parallel.iter().map(|axis| value(&axis.extent)).product();
                    let inner = |stage: &Stage| match stage {
                        Stage::Reduce { axes, .. } | Stage::Sweep { axes, .. } => axes.iter().map(|axis| value(&axis.extent)).product(),
                        Stage::Running { axis, .. } => value(&axis.extent),
                    };
                    outer * nest.stages.iter().map(inner).sum::<f64>() * of_a_point(kernel)
                }
            };
            points.max(1.0)
        }
    }
}

fn of_a_point(kernel: &Kernel) -> f64 {
    let cost = |id: ExprId| match &kernel.exprs.get(id).kind {
        ExprKind::Unary(UnaryFn::Neg | UnaryFn::Abs | UnaryFn::Not | UnaryFn::BitNot, _) => 1.0,
        ExprKind::Unary(..) | ExprKind::Binary(BinaryFn::Pow, ..) => 10.0,
        _ => 1.0,
    };
    kernel.live_exprs().into_iter().map(cost).sum()
}
