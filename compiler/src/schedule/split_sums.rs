//! Sums over very many elements for few results are split by their first indices, so that there is work for a whole GPU.
//!
//! ```text
//! y[c] = f(Σ_{b, i} x[b, c, i])      →      p[c, b] = Σ_i x[b, c, i] ;   y[c] = f(Σ_b p[c, b])
//! ```
//!
//! Reductions share an element among 16 virtual lanes at most, which is little where elements are a hundred thousand: gradients of biases.
//! Which indices are split off follows from usual sizes, so results do not depend on the sizes of a run. Sums are in another order than
//! the canonical one, within its rounding: not for those who want its bits.
//! Skips: sums with results enough, of few elements, of half floats, and those of several stages.

use super::split::in_two;
use crate::kernel::{
    Access, Axis, Body, Buffer, BufferKind, Combine, ExprKind, Keep, Kernel, Nest, Program, Reduction, Stage, Store, row_major,
};
use kiln_ir::{DType, Symbol};

/// Results that keep a GPU busy, 16 threads each.
const ENOUGH_RESULTS: i64 = 4096;
/// Elements that are worth a kernel of their own.
const MANY_ELEMENTS: i64 = 2048;
/// Elements of a part, at least: four of each virtual lane.
const LEAST_PART: i64 = 64;

/// Splits what gains from it.
pub fn split_sums(program: &mut Program) {
    in_two(program, &mut split);
}

fn split(program: &mut Program, kernel: &Kernel) -> Option<[Kernel; 2]> {
    let Body::Nest(Nest { parallel, stages, serial: false }) = &kernel.body else { return None };
    let [Stage::Reduce { axes, reductions }, end @ Stage::Sweep { axes: inner, .. }] = &stages[..] else { return None };
    let [Reduction { combine: Combine::Sum, keep: Keep::Value, value }] = reductions[..] else { return None };
    let dtype = kernel.exprs.get(value).dtype;
    if !inner.is_empty() || !matches!(dtype, DType::F32 | DType::F64) {
        return None;
    }
    let usual = |symbol: &Symbol| Some(program.usual_sizes.get(symbol).copied().unwrap_or(1));
    let size = |axes: &[Axis]| axes.iter().map(|axis| axis.extent.evaluate(&usual).unwrap_or(1).max(1)).fold(1, i64::saturating_mul);
    if size(axes) < MANY_ELEMENTS {
        return None;
    }
    // As few of the first indices as make results enough.
    let has_left = |count: &usize| size(&axes[*count..]) >= LEAST_PART;
    let possible = (1..axes.len()).take_while(has_left);
    let results = |count: usize| size(parallel).saturating_mul(size(&axes[..count]));
    let count = possible.clone().find(|count| results(*count) >= ENOUGH_RESULTS).or_else(|| possible.last())?;
    if size(parallel) >= ENOUGH_RESULTS || results(count) == size(parallel) {
        return None;
    }
    let (split, left) = axes.split_at(count);
    let points = [&parallel[..], split].concat();
    let name = format!("{}, parts of its sum", kernel.name);
    let shape = points.iter().map(|axis| axis.extent.clone()).collect();
    let partial = program.add_buffer(Buffer { name: name.clone(), dtype, shape, kind: BufferKind::Temporary });
    let mut exprs = kernel.exprs.clone();
    let total = exprs.add(dtype, ExprKind::Accumulator(0));
    let store = Store { buffer: partial, offset: row_major(&points), value: total, combine: None };
    let reduce = |axes: &[Axis], value| Stage::Reduce {
        axes: axes.to_vec(),
        reductions: vec![Reduction { combine: Combine::Sum, keep: Keep::Value, value }],
    };
    let stages = vec![reduce(left, value), Stage::Sweep { axes: vec![], stores: vec![store] }];
    let parts = Kernel { name, exprs, body: Body::Nest(Nest { parallel: points.clone(), stages, serial: false }), ..kernel.clone() };
    let mut exprs = kernel.exprs.clone();
    let access = Access { buffer: partial, offset: row_major(&points), bounds: vec![], otherwise: None };
    let value = exprs.add(dtype, ExprKind::Load(access));
    let stages = vec![reduce(split, value), end.clone()];
    let whole = Kernel { exprs, body: Body::Nest(Nest { parallel: parallel.clone(), stages, serial: false }), ..kernel.clone() };
    Some([parts, whole])
}
