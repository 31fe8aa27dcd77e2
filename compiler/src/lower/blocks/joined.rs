//! Contractions with each list of indices joined, of elements that matrix units multiply: what units of all kinds take.

use super::tiles::usual_sizes;
use crate::kernel::{Axis, Body, Contract, ExprId, Kernel, Program, Store};
use crate::lower::contract::flattened;
use crate::lower::rewrite::merge_axes;
use crate::tile::MatrixElement;
use kiln_ir::{DType, Ranges};

/// A contraction of such elements.
#[derive(Clone)]
pub(super) struct JoinedContract {
    pub batch: Vec<Axis>,
    pub row: Axis,
    pub column: Axis,
    pub depth: Axis,
    pub lhs: ExprId,
    pub rhs: ExprId,
    pub stores: Vec<Store>,
    pub element: MatrixElement,
}

/// As what units multiply a contraction's elements, and its usual sizes: batch, rows, columns, depth. `tf32` says that f32 may lose bits.
pub(super) fn kind(kernel: &Kernel, program: &Program, tf32: bool) -> Option<(MatrixElement, [i64; 4])> {
    let Body::Contract(contract) = &kernel.body else { return None };
    let element = match (kernel.exprs.get(contract.lhs).dtype, kernel.exprs.get(contract.rhs).dtype) {
        (DType::F16, DType::F16) => MatrixElement::F16,
        (DType::BF16, DType::BF16) => MatrixElement::BF16,
        (DType::F32, DType::F32) if tf32 => MatrixElement::Tf32,
        _ => return None,
    };
    Some((element, usual_sizes(contract, program)))
}

impl JoinedContract {
    /// The contraction, and the kernel with its indices joined.
    pub(super) fn of(kernel: &Kernel, element: MatrixElement, sizes: &Ranges) -> Option<(JoinedContract, Kernel)> {
        let mut kernel = merge_axes(kernel.clone(), sizes);
        let row = flattened(&mut kernel, |c| &mut c.rows, "#row", sizes);
        let column = flattened(&mut kernel, |c| &mut c.columns, "#column", sizes);
        let depth = flattened(&mut kernel, |c| &mut c.depth, "#depth", sizes);
        let Body::Contract(Contract { batch, lhs, rhs, stores, .. }) = kernel.body.clone() else { return None };
        Some((JoinedContract { batch, row, column, depth, lhs, rhs, stores, element }, kernel))
    }
}
