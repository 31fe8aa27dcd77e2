//! Which lane of a warp holds which element of the small matrices that it multiplies, written once.
//!
//! A product is 16 × 16 times 16 × 8. Registers of `a` and `b` hold two neighbouring halves along depth, or one wider element of half the
//! depth, and come from shared memory four matrices of 8 lines of 16 bytes at a time
//! ([`Cooperative::LoadMatrices`](super::Cooperative::LoadMatrices)), of which each lane names a row.
//! *Source*: PTX ISA 9.0, §9.7.14.5.8 (fragments of m16n8k16), §9.7.14.5.4 (those of m16n8k8, for tf32) and §9.7.14.5.15 (ldmatrix).

/// Rows of a product.
pub const ROWS: i64 = 16;
/// Columns of a product.
pub const COLUMNS: i64 = 8;
/// Depth of a product of half floats.
pub const DEPTH: i64 = 16;
/// Elements of a row of the 8 × 8 matrices of half floats, and rows of all.
pub const SIDE: i64 = 8;
/// Bytes of a row of these matrices.
pub const SIDE_BYTES: i64 = 16;

/// A place among the 8 × 8 matrices that one load brings: which of two matrices along each index, and the row inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MatrixRow {
    /// Which matrix along rows (of `a`) or columns (of `b`).
    pub across: i64,
    /// Which matrix along depth.
    pub depth: i64,
    /// Row of the matrix as it lies in memory.
    pub row: i64,
}

/// The row that a lane names of the four matrices of `a`: registers go down the rows first.
pub fn left_row(lane: i64) -> MatrixRow {
    MatrixRow { across: lane / 8 % 2, depth: lane / 16, row: lane % 8 }
}

/// The row that a lane names of the four matrices that are two neighbouring `b`: registers go down depth first.
pub fn right_row(lane: i64) -> MatrixRow {
    MatrixRow { across: lane / 16, depth: lane / 8 % 2, row: lane % 8 }
}

/// Row and column of element `at`, of four, of a product that a lane holds: neighbours are 0 and 1, and 2 and 3.
pub fn result(lane: i64, at: i64) -> (i64, i64) {
    (lane / 4 + 8 * (at / 2), 2 * (lane % 4) + at % 2)
}

/// Rows of a product by a warpgroup.
pub const WARPGROUP_ROWS: i64 = 64;

/// Row and column of element `at` of a product that a lane of one of four warps holds: neighbours are two by two.
/// *Source*: PTX ISA 9.0, §9.7.15.5.1.1 (fragments of wgmma's D).
pub fn warpgroup_result(warp: i64, lane: i64, at: i64) -> (i64, i64) {
    let (row, column) = result(lane, at % 4);
    (ROWS * warp + row, COLUMNS * (at / 4) + column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn lanes_hold_every_element_once() {
        let results: BTreeSet<(i64, i64)> = (0..32).flat_map(|lane| (0..4).map(move |at| result(lane, at))).collect();
        let all = (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column))).collect();
        assert_eq!(results, all);
        for of in [left_row, right_row] {
            let rows: BTreeSet<(i64, i64, i64)> = (0..32).map(of).map(|m| (m.across, m.depth, m.row)).collect();
            assert_eq!(rows.len(), 32);
        }
    }
}
