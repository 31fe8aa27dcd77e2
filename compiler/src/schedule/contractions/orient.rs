//! Swaps the operands of a contraction so that its columns run along the memory of what it stores, and are not too few.
//!
//! ```text
//! rows 512, columns 1: w · x                              →      rows 1, columns 512: x · w
//! rows = channels, columns = pixels, channels last         →      rows = pixels, columns = channels
//! batch = channels in, rows = taps: one gradient of a weight per channel      →      rows = taps and channels in
//! ```
//!
//! Keeps: every bit, since a product does not depend on the order of its factors.  Skips: sizes that are not known.

use crate::kernel::{Axis, Body, Contract, ExprKind, Kernel};
use crate::lower::LEAST_ROWS;
use kiln_ir::Dim;

/// Fewer columns than this leave most of a panel empty.
const FEW_COLUMNS: i64 = 8;

/// Turns a contraction around if that helps.
pub(super) fn orient(kernel: &mut Kernel) {
    let Body::Contract(contract) = &mut kernel.body else { return };
    turn(contract);
    let few = contract.rows.last().is_some_and(|row| row.extent.as_const().is_some_and(|n| n < LEAST_ROWS));
    if !few {
        return;
    }
    // Products that share the right factor are rows of one product.
    let ExprKind::Load(access) = &kernel.exprs.get(contract.lhs).kind else { return };
    let of_right = kernel.exprs.symbols(contract.rhs);
    let lies_along = |axis: &Axis| access.offset.linear_in(&axis.index).is_some_and(|(step, _)| step.as_const().is_some_and(|n| n != 0));
    let is_row = |axis: &Axis| {
        let enough = axis.extent.as_const().is_some_and(|n| n >= LEAST_ROWS);
        enough && !of_right.contains(&axis.index) && lies_along(axis)
    };
    if let Some(place) = contract.batch.iter().rposition(is_row) {
        let axis = contract.batch.remove(place);
        contract.rows.push(axis);
    }
}

fn turn(contract: &mut Contract) {
    let extent = |axes: &[Axis]| Dim::product(axes.iter().map(|a| &a.extent)).as_const();
    let few = |axes: &[Axis]| extent(axes).is_some_and(|n| n < FEW_COLUMNS);
    let more_rows = match (extent(&contract.rows), extent(&contract.columns)) {
        (Some(rows), Some(columns)) => rows > columns,
        (None, Some(_)) => true,
        (_, None) => false,
    };
    let runs_along = |axes: &[Axis]| {
        let Some(last) = axes.iter().rfind(|a| !a.extent.is(1)) else { return false };
        contract.stores.iter().all(|s| s.offset.linear_in(&last.index).is_some_and(|(step, _)| step.is(1)))
    };
    let stored_by_rows = runs_along(&contract.rows) && !runs_along(&contract.columns);
    if (few(&contract.columns) && more_rows) || (stored_by_rows && !few(&contract.rows)) {
        std::mem::swap(&mut contract.rows, &mut contract.columns);
        std::mem::swap(&mut contract.lhs, &mut contract.rhs);
    }
}
