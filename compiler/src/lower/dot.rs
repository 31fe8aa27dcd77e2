//! The canonical sum of products at one point (or one point per lane), straight from expressions.
//!
//! For contractions without reuse, such as depthwise convolutions: no panel is packed. Bits equal those of register tiles.

use super::context::{Context, Value};
use super::ops::lane_of;
use super::reduce::at_point;
use super::stage::over;
use crate::kernel::{Axis, ExprId, sum_dtype};
use crate::tile::{Builder, Reg, Type};
use kiln_ir::{Dim, Symbol};

/// Sums over at most so many points are written out.
const UNROLLED_POINTS: i64 = 32;

/// `sum + lhs · rhs`, rounded once on floats.
pub(super) fn multiply_add(b: &mut Builder, lhs: Reg, rhs: Reg, sum: Reg) -> Reg {
    if sum.ty.lane.is_float() {
        return b.fma(lhs, rhs, sum);
    }
    let product = b.mul(lhs, rhs);
    b.add(sum, product)
}

/// A chain's start.
pub(super) fn zero(b: &mut Builder, ty: Type) -> Reg {
    if ty.lane.is_float() { b.float(ty, 0.0) } else { b.int(ty, 0) }
}

/// What chunk sums are added to: −0 changes no float, not even −0.
pub(super) fn neutral(b: &mut Builder, ty: Type) -> Reg {
    if ty.lane.is_float() { b.float(ty, -0.0) } else { b.int(ty, 0) }
}

/// Whether a sum over these indices is written out, point by point.
pub(super) fn is_written_out(axes: &[Axis], chunk_length: i64) -> bool {
    Dim::product(axes.iter().map(|a| &a.extent)).as_const().is_some_and(|n| n <= UNROLLED_POINTS.min(chunk_length))
}

/// Emits the sum; it becomes the next accumulator. Depth beyond one chunk must be a single axis.
pub(super) fn dot(cx: &mut Context, b: &mut Builder, axes: &[Axis], chunk_length: i64, lhs: ExprId, rhs: ExprId) {
    let lanes = cx.lanes.as_ref().map_or(1, |l| l.1);
    let ty = Type::scalar(lane_of(sum_dtype(cx.exprs.get(lhs).dtype))).times(lanes);
    let add = |cx: &mut Context, b: &mut Builder, sum: Reg| {
        let (x, y) = (cx.eval(b, lhs), cx.eval(b, rhs));
        let (x, y) = (cx.widened(b, x, lanes), cx.widened(b, y, lanes));
        multiply_add(b, x, y, sum)
    };
    let points = Dim::product(axes.iter().map(|a| &a.extent));
    let start = zero(b, ty);
    let sum = match points.as_const() {
        _ if is_written_out(axes, chunk_length) => {
            let shape: Vec<usize> = axes.iter().map(|a| a.extent.as_const().unwrap_or(0) as usize).collect();
            let mut sum = start;
            for point in kiln_ir::tensor::indices(&shape) {
                let point: Vec<(Symbol, Dim)> = axes.iter().zip(&point).map(|(a, i)| (a.index.clone(), Dim::from(*i))).collect();
                at_point(cx, &point, &mut |cx| sum = add(cx, b, sum));
            }
            sum
        }
        Some(n) if n <= chunk_length => over(cx, b, axes, &[start], &mut |cx, b, sum| vec![add(cx, b, sum[0])])[0],
        _ => {
            let [axis] = axes else { panic!("lower: a deep sum over several axes was not flattened") };
            let none = neutral(b, ty);
            let first = cx.index(b, &Dim::ZERO);
            let end = cx.index(b, &axis.extent.maximum(&Dim::ONE));
            let chunk = Symbol::new("#chunk");
            cx.ranges.set_index(chunk.clone(), axis.extent.maximum(&Dim::ONE));
            cx.counted(b, &chunk, first, end, chunk_length, &[none], |cx, b, total| {
                let from = cx.index(b, &Dim::from(chunk.clone()));
                let to = cx.index(b, &(Dim::from(chunk.clone()) + Dim::from(chunk_length)).minimum(&axis.extent));
                let start = zero(b, ty);
                // No load leaves for a chunk that might be empty.
                let sum = cx.when_nonempty(b, &axis.extent, &[start], |cx, b| {
                    cx.counted(b, &axis.index, from, to, 1, &[start], |cx, b, sum| vec![add(cx, b, sum[0])])
                })[0];
                vec![b.add(total[0], sum)]
            })[0]
        }
    };
    let level = cx.top();
    cx.accumulators.push(Value { reg: sum, level });
}
