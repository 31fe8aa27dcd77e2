//! Movements that gradients are made of: the transposes of slices, gathers and windows.

use super::{ScatterNd, ScatterReduction, Slice, Transpose};
use crate::{Builder, Dim, Value};

/// Elements in reverse order along some axes.
pub(super) fn reversed(b: &mut Builder, x: Value, axes: &[usize]) -> Value {
    let sizes = b.shape(x);
    let start = |(axis, d): (usize, &Dim)| if axes.contains(&axis) { d - Dim::ONE } else { Dim::ZERO };
    let starts = sizes.iter().enumerate().map(start).collect();
    let steps = (0..sizes.len()).map(|axis| if axes.contains(&axis) { -1 } else { 1 }).collect();
    b.op(Slice { starts, sizes, steps }, &[x])
}

/// `step − 1` zeros after each element of an axis, whose size becomes `step` times as large.
pub(super) fn spread(b: &mut Builder, x: Value, axis: usize, step: usize) -> Value {
    if step == 1 {
        return x;
    }
    let mut shape = b.shape(x);
    let apart = b.unsqueeze(x, &[axis + 1]);
    let mut high = vec![Dim::ZERO; shape.len() + 1];
    high[axis + 1] = Dim::from(step - 1);
    let padded = b.pad(apart, &vec![Dim::ZERO; shape.len() + 1], &high, 0.0);
    shape[axis] = &shape[axis] * Dim::from(step);
    b.reshape(padded, &shape)
}

/// The slices of `updates` that a gather with `indices` read along `axis`, added where they came from; there were `n`.
/// `updates: [a.., i.., b..]`, `indices: [i..]` → `[a.., n, b..]`
pub(super) fn add_slices(b: &mut Builder, updates: Value, indices: Value, axis: usize, n: &Dim) -> Value {
    let (ty, k) = (b.ty(updates), b.ty(indices).rank());
    let rank = ty.rank() + 1 - k;
    // The indexed axis first: then each index names one row.
    let to_front: Vec<usize> = [axis].into_iter().chain((0..rank).filter(|a| *a != axis)).collect();
    let indices_to_front: Vec<usize> = (axis..axis + k).chain(0..axis).chain(axis + k..ty.rank()).collect();
    let updates = b.transpose(updates, &indices_to_front);
    let rest = b.shape(updates)[k..].to_vec();
    let zero = b.scalar(ty.dtype, 0.0);
    let zeros = b.broadcast_to(zero, &[std::slice::from_ref(n), &rest].concat());
    let rows = b.unsqueeze(indices, &[k]);
    let sum = b.op(ScatterNd { reduction: ScatterReduction::Add }, &[zeros, rows, updates]);
    b.transpose(sum, &Transpose::inverse(&to_front))
}
