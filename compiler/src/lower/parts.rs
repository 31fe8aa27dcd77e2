//! Rows cut in parts, for threads to keep.
//!
//! ```text
//! tasks (batch, panel, rows)      →      tasks (part, batch, panel, rows of the part)
//! ```
//!
//! Threads take neighbouring tasks. Where panels come first, each panel is read by one thread, and each thread reads all rows, half of
//! which another has just written. Where weights are small beside what flows through, parts of rows come first: what a thread wrote in
//! one kernel it reads in the next, but for what lies at the borders.

use super::rewrite::split;
use crate::kernel::{Axis, Body, Kernel};
use kiln_ir::{Dim, Ranges, Symbol};

/// How many parts, by preference.
const PARTS: [i64; 3] = [8, 4, 2];
/// Rows of one part at least: each reads all panels again.
const LEAST_ROWS: i128 = 96;

/// Cuts the rows of a contraction whose panels are packed, if that is worth it; whether it did. Tiles run along `row`, not along
/// `outer`.
pub(super) fn cut(kernel: &mut Kernel, outer: &[Axis], row: &Axis, sizes: &Ranges) -> bool {
    let Some((axis, parts)) = choose(kernel, outer, row) else { return false };
    let part = Axis { index: Symbol::new("#part"), extent: Dim::from(parts) };
    split(kernel, &axis, &part, sizes);
    if let Body::Contract(contract) = &mut kernel.body {
        contract.batch.insert(0, part);
    }
    true
}

/// The index to cut and the number of parts.
fn choose(kernel: &Kernel, outer: &[Axis], row: &Axis) -> Option<(Axis, i64)> {
    let Body::Contract(contract) = &kernel.body else { return None };
    // Of sizes without bound.
    let known =
        |axes: &[Axis]| axes.iter().try_fold(1, |product: i128, axis| Some(product.saturating_mul(i128::from(axis.extent.as_const()?))));
    let rows = known(outer)?.saturating_mul(known(std::slice::from_ref(row))?);
    let (columns, points, channels) = (known(&contract.columns)?, known(&contract.depth)?, known(contract.depth.get(..1)?)?);
    // What a thread would read of others' is about half of what flows through; what it would read again are the weights.
    if rows.saturating_mul(channels.saturating_add(columns)) < points.saturating_mul(columns) {
        return None;
    }
    let axis = outer.iter().find(|axis| !axis.extent.is(1)).unwrap_or(row);
    let parts = even_parts(axis.extent.as_const()?, |parts| rows / i128::from(parts) >= LEAST_ROWS)?;
    Some((axis.clone(), parts))
}

/// The preferred number of parts of which all are alike and large enough.
pub(super) fn even_parts(extent: i64, are_large: impl Fn(i64) -> bool) -> Option<i64> {
    PARTS.into_iter().find(|parts| extent % parts == 0 && are_large(*parts))
}
