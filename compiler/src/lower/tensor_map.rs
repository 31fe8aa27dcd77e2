//! Tensors as the tensor copy engine of a GPU sees them: which loads it can do, and where their boxes begin.

use crate::kernel::{Axis, BufferId, Program};
use kiln_ir::{DType, Dim, Symbol};

/// A part of a buffer whose elements lie equally far apart along each of its axes, innermost first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TensorMap {
    /// Where it lies.
    pub buffer: BufferId,
    /// Of its elements.
    pub dtype: DType,
    /// Elements of the buffer before the first.
    pub first: Dim,
    /// Elements along each axis.
    pub extents: Vec<Dim>,
    /// Elements from neighbour to neighbour along each axis but the innermost, where they are neighbours in memory.
    pub strides: Vec<Dim>,
    /// Elements of a box along each axis.
    pub boxes: Vec<i64>,
}

impl TensorMap {
    /// What an offset in a buffer names, with boxes of `boxes` elements along the first two of `axes`; along the others a box has one
    /// element, and those along which the offset does not move are left out. Gives the numbers of the axes that stay too.
    ///
    /// None where elements are not equally far apart, or where they lie depends on more than sizes and these axes.
    pub(super) fn of(
        program: &Program,
        (buffer, offset): (BufferId, &Dim),
        dtype: DType,
        axes: &[&Axis],
        boxes: [i64; 2],
    ) -> Option<(TensorMap, Vec<usize>)> {
        let is_size = |symbol: &Symbol| program.symbol_order.contains(symbol);
        let are_sizes = |dim: &Dim| dim.symbols().iter().all(is_size);
        let mut first = offset.clone();
        let (mut extents, mut strides, mut lengths, mut kept) = (vec![], vec![], vec![], vec![]);
        for (at, axis) in axes.iter().enumerate() {
            let (stride, rest) = first.linear_in(&axis.index)?;
            first = rest;
            if !are_sizes(&stride) || !are_sizes(&axis.extent) || (at == 0) != stride.is(1) || (at == 1 && stride.is(0)) {
                return None;
            }
            if at > 1 && stride.is(0) {
                continue;
            }
            let length = boxes.get(at).copied().unwrap_or(1);
            kept.push(at);
            extents.push(axis.extent.clone());
            lengths.push(length);
            if at > 0 {
                strides.push(stride);
            }
        }
        are_sizes(&first).then_some((TensorMap { buffer, dtype, first, extents, strides, boxes: lengths }, kept))
    }
}
