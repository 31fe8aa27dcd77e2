//! Contractions of half floats with each list of indices joined: what matrix units of all kinds take.

use super::tiles::usual_sizes;
use crate::kernel::{Axis, Body, Contract, ExprId, Kernel, Program, Store};
use crate::lower::contract::flattened;
use crate::lower::rewrite::merge_axes;
use crate::tile::HalfFloat;
use kiln_ir::{DType, Ranges};

/// A contraction of half floats.
pub(super) struct HalfContract {
    pub batch: Vec<Axis>,
    pub row: Axis,
    pub column: Axis,
    pub depth: Axis,
    pub lhs: ExprId,
    pub rhs: ExprId,
    pub stores: Vec<Store>,
    pub half: HalfFloat,
}

/// The type of a contraction's elements, where that is one half float, and its usual sizes: batch, rows, columns, depth.
pub(super) fn kind(kernel: &Kernel, program: &Program) -> Option<(HalfFloat, [i64; 4])> {
    let Body::Contract(contract) = &kernel.body else { return None };
    let half = match (kernel.exprs.get(contract.lhs).dtype, kernel.exprs.get(contract.rhs).dtype) {
        (DType::F16, DType::F16) => HalfFloat::F16,
        (DType::BF16, DType::BF16) => HalfFloat::BF16,
        _ => return None,
    };
    Some((half, usual_sizes(contract, program)))
}

impl HalfContract {
    /// The contraction, and the kernel with its indices joined.
    pub(super) fn of(kernel: &Kernel, half: HalfFloat, sizes: &Ranges) -> Option<(HalfContract, Kernel)> {
        let mut kernel = merge_axes(kernel.clone(), sizes);
        let row = flattened(&mut kernel, |c| &mut c.rows, "#row", sizes);
        let column = flattened(&mut kernel, |c| &mut c.columns, "#column", sizes);
        let depth = flattened(&mut kernel, |c| &mut c.depth, "#depth", sizes);
        let Body::Contract(Contract { batch, lhs, rhs, stores, .. }) = kernel.body.clone() else { return None };
        Some((HalfContract { batch, row, column, depth, lhs, rhs, stores, half }, kernel))
    }
}
