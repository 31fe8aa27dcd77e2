//! Row-major positions of several axes.

use super::Axis;
use kiln_ir::{Dim, Symbol};
use std::collections::BTreeMap;

/// The row-major position of the axes' indices.
pub fn row_major(axes: &[Axis]) -> Dim {
    axes.iter().fold(Dim::ZERO, |position, axis| position * &axis.extent + Dim::from(axis.index.clone()))
}

/// Each axis's index as quotient and remainder of a row-major position within the axes' extent.
pub fn unravelled(position: &Dim, axes: &[Axis]) -> BTreeMap<Symbol, Dim> {
    let mut left = position.clone();
    let mut parts = BTreeMap::new();
    for (place, axis) in axes.iter().enumerate().rev() {
        // The outermost quotient needs no remainder: positions lie within the extent.
        let part = if place == 0 { left.clone() } else { left.modulo(&axis.extent) };
        left = left.floor_div(&axis.extent);
        parts.insert(axis.index.clone(), part);
    }
    parts
}
