//! What schedules and lowerings ask about the vector unit.

use crate::kernel::DEPTH_CHUNK;
use kiln_ir::DType;

/// The vector unit that tile programs are written for. Results do not depend on it: only lane counts, tile shapes and
/// what is asked for do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VectorIsa {
    /// Bits of one vector register.
    pub vector_bits: u32,
    /// How many vector registers there are.
    pub registers: u32,
    /// Whether it multiplies small matrices of half floats, summed in an order of its own.
    pub matrices: bool,
    /// Whether it also multiplies matrices of f32, whose last 13 bits are lost.
    pub tf32: bool,
    /// Whether four warps multiply matrices in shared memory together.
    pub warpgroups: bool,
    /// Whether lines come late when they are asked for into the second-level cache, so that all are asked for into the first.
    pub asks_first_level: bool,
}

impl VectorIsa {
    /// 128-bit vectors in 16 registers: SSE and AVX without wide vectors; NEON has more registers.
    pub const V128: VectorIsa =
        VectorIsa { vector_bits: 128, registers: 16, matrices: false, tf32: false, warpgroups: false, asks_first_level: false };
    /// 256-bit vectors in 16 registers.
    pub const AVX2: VectorIsa = VectorIsa { vector_bits: 256, ..VectorIsa::V128 };
    /// 512-bit vectors in 32 registers.
    pub const AVX512: VectorIsa = VectorIsa { vector_bits: 512, registers: 32, ..VectorIsa::V128 };

    /// No vectors: a thread for each element or row, as on a GPU.
    pub const THREAD: VectorIsa = VectorIsa { vector_bits: 0, registers: 0, ..VectorIsa::V128 };

    /// Whether each point is a task, for a thread of its own.
    pub fn is_thread(&self) -> bool {
        self.vector_bits == 0
    }

    /// Lanes for a loop whose widest element that matters has so many bytes. 64-bit work takes two registers a value, so that
    /// index arithmetic beside 32-bit data does not halve the lanes. At most 16, the lanes of the canonical order of sums.
    pub fn lanes(&self, widest_bytes: u32) -> u32 {
        (self.vector_bits / 8 / widest_bytes.clamp(1, 4)).clamp(1, 16)
    }

    /// Lanes of one register of a contraction's sums.
    pub fn sum_lanes(&self, dtype: DType) -> u32 {
        // Wide vectors hold narrower integers in lanes of 32 bits.
        let least = if self.vector_bits > 128 { 4 } else { 1 };
        self.vector_bits / 8 / (dtype.size_bytes() as u32).max(least)
    }

    /// Whether a vector of half floats is widened while it is loaded, so that they may stay in memory as they are.
    pub fn loads_half_floats(&self) -> bool {
        self.vector_bits > 128
    }

    /// Whether elements of so many bytes are loaded and stored where a mask holds.
    pub fn masks(&self, bytes: usize) -> bool {
        match self.vector_bits {
            ..=128 => false,
            256 => bytes >= 4,
            _ => true,
        }
    }

    /// Registers of sums beside each other in a contraction's register tile.
    fn tile_vectors(&self) -> u32 {
        if self.vector_bits == 128 { 4 } else { 2 }
    }

    /// Columns of a contraction's register tile, which is the width of packed panels.
    pub fn panel_columns(&self, sum: DType) -> i64 {
        i64::from(self.tile_vectors() * self.sum_lanes(sum))
    }

    /// Panels that a tile of so many rows takes beside each other: fewer sums would wait for each other's latency.
    pub fn panels_beside(&self, rows: i64) -> i64 {
        (SUMS_IN_FLIGHT / i64::from(self.tile_vectors()) / rows.max(1)).max(1)
    }

    /// Rows of the largest register tile: its sums, one row of the panel and one element of the left operand must fit.
    /// Measured: for 16 registers of 128 bits, 2 rows of 16 columns beat every other shape under Cranelift; 6 × 16 at 256 bits.
    pub fn tile_rows(&self) -> i64 {
        match (self.vector_bits, self.registers) {
            (128, ..=16) => 2,
            (128, _) => 4,
            (_, ..=16) => 6,
            _ => 12,
        }
    }

    /// Rows of register tiles that a known number of rows is cut into, of which the last tile has what is left: tiles of few rows wait
    /// for their own sums, so what counts is how little is left to such a one, and how many tiles there are.
    pub fn tile_rows_of(&self, rows: i64) -> i64 {
        let most = self.most_tile_rows().min(rows.max(1));
        let cost = |height: &i64| (rows / height).saturating_mul(self.tile_cost(*height)).saturating_add(self.tile_cost(rows % height));
        ((most + 1) * 2 / 3..=most).rev().min_by_key(cost).unwrap_or(most)
    }

    /// What tiles of so many rows cost; whether panels come from beyond the first-level cache for each of them.
    pub fn rows_cost(&self, rows: i64, is_far: bool) -> i64 {
        let height = self.tile_rows_of(rows);
        let tile = |rows: i64| self.tile_cost(rows) + if is_far && rows > 0 { 100 * 8 * FAR_ROWS } else { 0 };
        (rows / height).saturating_mul(tile(height)).saturating_add(tile(rows % height))
    }

    /// Measured, in 1/800 of the time of a row: a tile takes a third of a row to begin and to end, and more where it leaves no register.
    fn tile_cost(&self, height: i64) -> i64 {
        let crowded = if height > self.tile_rows() { 103 } else { 100 };
        if height == 0 { 0 } else { crowded * (8 * height.max(FEWEST_ROWS.min(self.tile_rows())) + 3) }
    }

    /// Every register tile of so many rows, or of any number of them, that registers hold: rows, and panels beside each other.
    pub fn tiles_of(&self, rows: Option<i64>) -> impl Iterator<Item = (i64, i64)> {
        let most = self.most_tile_rows();
        let most = rows.map_or(most, |rows| most.min(rows.max(1)));
        let fits = move |height: i64, beside: i64| height * beside <= self.most_tile_rows();
        (1..=most).rev().flat_map(move |height| [1, 2, 4].into_iter().filter(move |beside| fits(height, *beside)).map(move |b| (height, b)))
    }

    /// Rows of a register tile where other numbers of rows share them out better: as many as fit.
    fn most_tile_rows(&self) -> i64 {
        match (self.vector_bits, self.registers) {
            (128, _) | (_, ..=16) => self.tile_rows(),
            _ => 14,
        }
    }
}

/// Multiply-adds that a core works on at a time: two begin each cycle and take four.
const SUMS_IN_FLIGHT: i64 = 8;

/// Rows that are computed in the time that a panel from the second-level cache holds a tile up.
const FAR_ROWS: i64 = 2;

/// Rows from which on multiply-adds need not wait for those before them.
const FEWEST_ROWS: i64 = 4;

/// Depth steps written out in one turn of a contraction's inner loop; divides [`DEPTH_CHUNK`].
pub(super) const DEPTH_UNROLL: i64 = 4;
const _: () = assert!(DEPTH_CHUNK % DEPTH_UNROLL == 0);
