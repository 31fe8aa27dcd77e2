//! What schedules and lowerings ask about the vector unit.

use crate::kernel::DEPTH_CHUNK;
use kiln_ir::DType;

/// The vector unit that tile programs are written for. Results do not depend on it: only lane counts and tile shapes do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VectorIsa {
    /// Bits of one vector register.
    pub vector_bits: u32,
    /// How many vector registers there are.
    pub registers: u32,
}

impl VectorIsa {
    /// 128-bit vectors in 16 registers: SSE and AVX without wide vectors; NEON has more registers.
    pub const V128: VectorIsa = VectorIsa { vector_bits: 128, registers: 16 };

    /// Lanes for a loop whose widest element that matters has so many bytes. 64-bit work takes two registers a value, so that
    /// index arithmetic beside 32-bit data does not halve the lanes. At most 16, the lanes of the canonical order of sums.
    pub fn lanes(&self, widest_bytes: u32) -> u32 {
        (self.vector_bits / 8 / widest_bytes.clamp(1, 4)).min(16)
    }

    /// Lanes of one register of a contraction's sums.
    pub fn sum_lanes(&self, dtype: DType) -> u32 {
        self.vector_bits / 8 / dtype.size_bytes() as u32
    }

    /// Columns of a contraction's register tile, which is the width of packed panels: four registers.
    pub fn panel_columns(&self, sum: DType) -> i64 {
        i64::from(4 * self.sum_lanes(sum))
    }

    /// Rows of the largest register tile: sums for `rows × 4` registers and the four of a panel row must fit.
    /// Measured for 16 registers at 128 bits: 2 rows of 16 columns beat every other shape.
    pub fn tile_rows(&self) -> i64 {
        match self.registers {
            ..=16 => 2,
            _ => 4,
        }
    }
}

/// Depth steps written out in one turn of a contraction's inner loop; divides [`DEPTH_CHUNK`].
pub(super) const DEPTH_UNROLL: i64 = 4;
const _: () = assert!(DEPTH_CHUNK % DEPTH_UNROLL == 0);
