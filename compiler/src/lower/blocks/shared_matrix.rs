//! Matrices in shared memory that a warpgroup multiplies: how they are described, and where the next sixteen of depth lie.

use super::chunks::{CHUNK_BYTES, Chunks, PANEL_BYTES};
use crate::tile::{Builder, Reg, fragments};

/// Bytes of eight lines.
pub(super) const EIGHT_LINES: i64 = 8 * PANEL_BYTES;

/// A matrix in panels of 128 bytes.
#[derive(Clone, Copy)]
pub(super) struct SharedMatrix {
    /// Whether lines run along the depth of the product.
    pub along_depth: bool,
    panel_bytes: i64,
}

impl SharedMatrix {
    /// The matrix of an operand, whose lines run along the depth of the product as said.
    pub(super) fn of(chunks: &Chunks, along_depth: bool) -> SharedMatrix {
        SharedMatrix { along_depth, panel_bytes: chunks.panel_bytes() }
    }

    /// Bytes from the matrix's beginning to a warpgroup's 64 rows: as many lines, or a panel.
    pub(super) fn rows_of_warpgroup(&self) -> i64 {
        if self.along_depth { fragments::WARPGROUP_ROWS * PANEL_BYTES } else { self.panel_bytes }
    }

    /// What describes it at an address.
    pub(super) fn described(&self, b: &mut Builder, address: Reg) -> Reg {
        b.describe_matrix(address, EIGHT_LINES, self.panel_bytes)
    }

    /// The `number`th sixteen of depth, or eight of elements of 32 bits, whose lines run along it, where `described` is the first.
    pub(super) fn sixteen(&self, b: &mut Builder, described: Reg, number: i64) -> Reg {
        let bytes = if self.along_depth {
            let of_panel = PANEL_BYTES / 2 / fragments::DEPTH;
            number / of_panel * self.panel_bytes + number % of_panel * fragments::DEPTH * 2
        } else {
            number * fragments::DEPTH * PANEL_BYTES
        };
        // Descriptors count in sixteens of bytes.
        b.add_int(described, bytes / CHUNK_BYTES)
    }
}
