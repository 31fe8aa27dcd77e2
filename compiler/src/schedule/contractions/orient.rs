//! Swaps the operands of a contraction so that its columns run along the memory of what it stores, and are not too few.
//!
//! ```text
//! rows 512, columns 1: w · x                              →      rows 1, columns 512: x · w      (not: few columns of parameters)
//! rows = channels, columns = pixels, channels last         →      rows = pixels, columns = channels
//! columns = pixels of short rows, no multiple of vectors   →      rows = pixels, columns = channels
//! batch = channels in, rows = taps: one gradient of a weight per channel      →      rows = taps and channels in
//! ```
//!
//! Keeps: every bit, since a product does not depend on the order of its factors.  Skips: sizes that are not known.

use crate::kernel::{Axis, Body, Contract, ExprId, ExprKind, Exprs, Kernel};
use crate::lower::LEAST_ROWS;
use kiln_ir::Dim;

/// Fewer columns than this leave most of a panel empty.
const FEW_COLUMNS: i64 = 8;

/// Lanes of the widest vectors: rows that are multiples of it never end within one.
const MOST_LANES: i64 = 16;

/// Turns a contraction around if that helps. `from_parameters` says which operands, left and right, are packed beforehand.
pub(super) fn orient(kernel: &mut Kernel, from_parameters: [bool; 2]) {
    let Kernel { body: Body::Contract(contract), exprs, .. } = kernel else { return };
    turn(contract, exprs, from_parameters);
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

fn turn(contract: &mut Contract, exprs: &Exprs, from_parameters: [bool; 2]) {
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
    // Deep enough sums pay for results that are stored one by one.
    let pays = |results: &[Axis]| match (extent(&contract.depth), extent(results)) {
        (Some(depth), Some(results)) => results > 1 && depth >= results,
        _ => false,
    };
    let columns_break = breaks_vectors(exprs, contract.rhs, &contract.columns) && pays(&contract.rows);
    let rows_break = breaks_vectors(exprs, contract.lhs, &contract.rows) && pays(&contract.columns);
    let by_memory = if columns_break == rows_break { stored_by_rows && !few(&contract.rows) } else { columns_break };
    let too_few = few(&contract.columns) && more_rows;
    // Few columns that are packed beforehand, their panel mostly empty, are better than many that each run takes together one by one.
    if too_few && from_parameters == [false, true] && !lie_side_by_side(exprs, contract.lhs, &contract.rows) {
        return;
    }
    if too_few || by_memory {
        std::mem::swap(&mut contract.rows, &mut contract.columns);
        std::mem::swap(&mut contract.lhs, &mut contract.rhs);
    }
}

/// Whether neighbours along the last of these axes lie side by side in what is read.
fn lie_side_by_side(exprs: &Exprs, operand: ExprId, axes: &[Axis]) -> bool {
    let ExprKind::Load(access) = &exprs.get(operand).kind else { return false };
    let last = axes.iter().rfind(|axis| !axis.extent.is(1));
    last.is_some_and(|axis| access.offset.linear_in(&axis.index).is_some_and(|(step, _)| step.is(1)))
}

/// Whether neighbours along these axes often lie apart in what is read: runs along the last of them end within a vector. Packing them
/// into panels would take them one by one, for few sums each.
fn breaks_vectors(exprs: &Exprs, operand: ExprId, axes: &[Axis]) -> bool {
    let ExprKind::Load(access) = &exprs.get(operand).kind else { return false };
    let step = |axis: &Axis| access.offset.linear_in(&axis.index).and_then(|(step, _)| step.as_const());
    let long: Vec<&Axis> = axes.iter().filter(|axis| !axis.extent.is(1)).collect();
    let [.., above, last] = long[..] else { return false };
    let (Some(far), Some(near), Some(run)) = (step(above), step(last), last.extent.as_const()) else { return false };
    // What is read beyond an image will be written around it.
    (far != near * run || !access.bounds.is_empty()) && run % MOST_LANES != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Access, BufferId, DEPTH_CHUNK, Store};
    use kiln_ir::{DType, Symbol};

    /// Whether a convolution of an image of 9 channels and one row and column more than its result is turned around: its columns are
    /// `width` pixels in each of 20 lines, its rows `channels`.
    fn is_turned(width: i64, channels: i64) -> bool {
        let axis = |name: &str, extent: i64| Axis { index: Symbol::new(name), extent: Dim::from(extent) };
        let (row, depth, columns) = (axis("r", channels), axis("k", 9), [axis("y", 20), axis("x", width)]);
        let at = |axis: &Axis| Dim::from(axis.index.clone());
        let pixel = |width: i64| at(&columns[0]) * Dim::from(width) + at(&columns[1]);
        let mut exprs = Exprs::default();
        let mut load = |buffer: u32, offset: Dim| {
            exprs.add(DType::F32, ExprKind::Load(Access { buffer: BufferId(buffer), offset, bounds: vec![], otherwise: None }))
        };
        let lhs = load(0, at(&row) * Dim::from(9) + at(&depth));
        let rhs = load(1, at(&depth) * Dim::from(21 * (width + 1)) + pixel(width + 1));
        let value = exprs.add(DType::F32, ExprKind::Accumulator(0));
        let stores = vec![Store { buffer: BufferId(2), offset: at(&row) * Dim::from(20 * width) + pixel(width), value, combine: None }];
        let contract = Contract {
            batch: vec![],
            rows: vec![row],
            columns: columns.to_vec(),
            depth: vec![depth],
            chunk: DEPTH_CHUNK,
            lhs,
            rhs,
            stores,
        };
        let mut kernel = Kernel { name: "conv".into(), origins: vec![], exprs, body: Body::Contract(contract) };
        orient(&mut kernel, [true, false]);
        let Body::Contract(contract) = kernel.body else { panic!("it stays a contraction") };
        contract.rows.len() == 2
    }

    #[test]
    fn pixels_are_columns_where_their_lines_are_whole_vectors_or_results_are_many() {
        assert!(is_turned(17, 8));
        assert!(is_turned(17, 3));
        // A single result, such as that of each channel of a depthwise convolution, has no columns to become.
        assert!(!is_turned(17, 1));
        assert!(!is_turned(16, 8));
        // More results for each pixel, stored one by one, than terms of a sum.
        assert!(!is_turned(17, 10));
    }

    /// Whether x · w of 128 rows and 5 columns is turned around, x being read `step` elements apart from row to row.
    fn is_narrow_product_turned(step: i64, from_parameters: [bool; 2]) -> bool {
        let axis = |name: &str, extent: i64| Axis { index: Symbol::new(name), extent: Dim::from(extent) };
        let (row, column, depth) = (axis("r", 128), axis("c", 5), axis("k", 64));
        let at = |axis: &Axis, step: i64| Dim::from(axis.index.clone()) * Dim::from(step);
        let mut exprs = Exprs::default();
        let mut load = |buffer: u32, offset: Dim| {
            exprs.add(DType::F32, ExprKind::Load(Access { buffer: BufferId(buffer), offset, bounds: vec![], otherwise: None }))
        };
        let lhs = load(0, at(&row, step) + at(&depth, if step == 1 { 128 } else { 1 }));
        let rhs = load(1, at(&depth, 5) + at(&column, 1));
        let value = exprs.add(DType::F32, ExprKind::Accumulator(0));
        let stores = vec![Store { buffer: BufferId(2), offset: at(&row, 5) + at(&column, 1), value, combine: None }];
        let (rows, columns) = (vec![row], vec![column]);
        let contract = Contract { batch: vec![], rows, columns, depth: vec![depth], chunk: DEPTH_CHUNK, lhs, rhs, stores };
        let mut kernel = Kernel { name: "dot".into(), origins: vec![], exprs, body: Body::Contract(contract) };
        orient(&mut kernel, from_parameters);
        let Body::Contract(contract) = kernel.body else { panic!("it stays a contraction") };
        contract.columns[0].extent.is(128)
    }

    #[test]
    fn few_columns_that_are_packed_beforehand_stay_columns() {
        assert!(!is_narrow_product_turned(64, [false, true]));
        assert!(is_narrow_product_turned(64, [false, false]));
        assert!(is_narrow_product_turned(64, [true, true]));
        // Rows side by side are vectors as they lie.
        assert!(is_narrow_product_turned(1, [false, true]));
    }
}
