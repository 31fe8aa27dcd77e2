//! Swaps the operands of a contraction that has many rows but hardly any columns.
//!
//! ```text
//! rows 512, columns 1: w · x      →      rows 1, columns 512: x · w
//! ```
//!
//! Keeps: every bit, since a product does not depend on the order of its factors.  Skips: sizes that are not known.

use crate::kernel::Contract;
use kiln_ir::Dim;

/// Fewer columns than this leave most of a panel empty.
const FEW_COLUMNS: i64 = 8;

/// Turns the contraction around if that helps.
pub(super) fn orient(contract: &mut Contract) {
    let rows = Dim::product(contract.rows.iter().map(|a| &a.extent)).as_const();
    let columns = Dim::product(contract.columns.iter().map(|a| &a.extent)).as_const();
    if let (Some(rows), Some(columns)) = (rows, columns)
        && columns < FEW_COLUMNS
        && rows > columns
    {
        std::mem::swap(&mut contract.rows, &mut contract.columns);
        std::mem::swap(&mut contract.lhs, &mut contract.rhs);
    }
}
