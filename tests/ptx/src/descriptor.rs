//! `wgmma` and the layouts of its factors in shared memory.

use crate::instruction::{PredicateSource, Source};
use crate::matrix::{Accumulator, Element};

/// A `wgmma.mma_async`.
pub(crate) struct WarpgroupMultiply {
    pub n: u32,
    pub k: u32,
    pub elements: (Element, Element),
    pub accumulator: Accumulator,
    pub d: Vec<u32>,
    /// Four registers, or one with a descriptor.
    pub a: Vec<Source>,
    pub from_registers: bool,
    pub b: Source,
    /// False: the old accumulator is ignored.
    pub keep: PredicateSource,
    /// The product is subtracted.
    pub negate: bool,
    pub transpose_a: bool,
    pub transpose_b: bool,
}

/// A shared-memory matrix descriptor of `wgmma` (PTX ISA, "Matrix-descriptor format").
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub start: u64,
    pub leading: u64,
    pub stride: u64,
    /// Bytes of a swizzled row: 128, 64 or 32; 16 without swizzle.
    pub row: u64,
}

impl Descriptor {
    pub(crate) fn new(bits: u64) -> Descriptor {
        let field = |at: u32| (bits >> at & 0x3fff) << 4;
        let row = match bits >> 62 {
            0 => 16,
            1 => 128,
            2 => 64,
            _ => 32,
        };
        Descriptor { start: field(0), leading: field(16), stride: field(32), row }
    }

    /// Address of the element at `outer` (m or n) and `inner` (k), `bytes` each; `transposed`: the outer index is contiguous.
    pub(crate) fn address(&self, outer: u64, inner: u64, bytes: u64, transposed: bool) -> u64 {
        let per_row = self.row / bytes;
        let linear = match (transposed, self.row) {
            (false, 16) => outer / 8 * self.stride + outer % 8 * 16 + inner / per_row * self.leading + inner % per_row * bytes,
            (false, row) => outer / 8 * self.stride + outer % 8 * row + inner * bytes,
            (true, 16) => outer / per_row * self.stride + outer % per_row * bytes + inner / 8 * self.leading + inner % 8 * 16,
            (true, row) => outer / per_row * self.leading + outer % per_row * bytes + inner / 8 * self.stride + inner % 8 * row,
        };
        swizzle(self.start + linear, self.row)
    }
}

/// Exchanges 16-byte chunks inside rows of `row` bytes, by the number of the 128-byte line.
pub(crate) fn swizzle(address: u64, row: u64) -> u64 {
    let bits = match row {
        128 => 7,
        64 => 3,
        32 => 1,
        _ => 0,
    };
    address ^ (address >> 7 & bits) << 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swizzled_rows_are_permutations() {
        for row in [16, 32, 64, 128] {
            let mut seen: Vec<u64> = (0..1024 / 16).map(|chunk| swizzle(chunk * 16, row)).collect();
            seen.sort_unstable();
            assert!(seen.iter().enumerate().all(|(i, a)| *a == i as u64 * 16));
        }
        assert_eq!(swizzle(0x80, 128), 0x90);
    }
}
