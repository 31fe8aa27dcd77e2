//! Execution of `mma.sync`, `ldmatrix` and `stmatrix`.

use super::Machine;
use super::access::place;
use super::block::Block;
use crate::fault::Outcome;
use crate::instruction::{Address, Lanes, Source, WARP};
use crate::matrix::MatrixShape;
use crate::memory::races::Touch;

impl<'m> Machine<'m> {
    pub(crate) fn multiply(&mut self, block: &mut Block, w: usize, shape: &MatrixShape, d: &[u32], factors: [&[Source]; 3]) -> Outcome {
        let warp = &block.warps[w];
        let mut scratch = [[0; WARP]; 20];
        let mut scratch = scratch.iter_mut();
        let mut borrowed: [Vec<&Lanes>; 3] = Default::default();
        for (list, sources) in borrowed.iter_mut().zip(factors) {
            for source in sources {
                let Some(slot) = scratch.next() else { continue };
                list.push(self.lanes(block.index, warp, source, u32::MAX, slot)?);
            }
        }
        let mut out = [[0; WARP]; 4];
        shape.multiply(&borrowed[0], &borrowed[1], &borrowed[2], &mut out);
        let warp = &mut block.warps[w];
        for (register, values) in d.iter().zip(&out) {
            warp.set(*register, u32::MAX, values);
        }
        Ok(())
    }

    /// Matrix `j` has its row addresses in lanes 8j to 8j + 7; every lane gets two neighbours of a row, or of a column when transposed.
    pub(crate) fn load_matrix(&mut self, block: &mut Block, w: usize, to: &[u32], at: &Address, transpose: bool) -> Outcome {
        let addresses = self.addresses(block, w, at, crate::types::mask(8 * to.len() as u32) as u32)?;
        for (j, register) in to.iter().enumerate() {
            let mut rows = [[0u16; 8]; 8];
            for (r, row) in rows.iter_mut().enumerate() {
                let lane = 8 * j + r;
                let (region, offset) = self.touch(block, w, lane as u32, place(at.space, addresses[lane]), 16, Touch::Read, None)?;
                let bytes = &region.data[offset as usize..offset as usize + 16];
                (0..8).for_each(|c| row[c] = u16::from_le_bytes([bytes[2 * c], bytes[2 * c + 1]]));
            }
            let out: Lanes = std::array::from_fn(|lane| {
                let (g, t) = (lane / 4, lane % 4 * 2);
                let pair = if transpose { [rows[t][g], rows[t + 1][g]] } else { [rows[g][t], rows[g][t + 1]] };
                u64::from(pair[0]) | u64::from(pair[1]) << 16
            });
            block.warps[w].set(*register, u32::MAX, &out);
        }
        Ok(())
    }

    pub(crate) fn store_matrix(&mut self, block: &mut Block, w: usize, from: &[Source], at: &Address, transpose: bool) -> Outcome {
        let addresses = self.addresses(block, w, at, crate::types::mask(8 * from.len() as u32) as u32)?;
        for (j, source) in from.iter().enumerate() {
            let values = self.values(block, w, source, u32::MAX)?;
            let mut rows = [[0u16; 8]; 8];
            for (lane, value) in values.iter().enumerate() {
                let (g, t) = (lane / 4, lane % 4 * 2);
                for (i, half) in [*value as u16, (*value >> 16) as u16].into_iter().enumerate() {
                    let (row, column) = if transpose { (t + i, g) } else { (g, t + i) };
                    rows[row][column] = half;
                }
            }
            for (r, row) in rows.iter().enumerate() {
                let mut bytes = [0u8; 16];
                row.iter().zip(bytes.chunks_exact_mut(2)).for_each(|(half, two)| two.copy_from_slice(&half.to_le_bytes()));
                let lane = 8 * j + r;
                let touch = Touch::Write { same: false };
                let (region, offset) = self.touch(block, w, lane as u32, place(at.space, addresses[lane]), 16, touch, Some(&bytes))?;
                region.write(offset, &bytes);
            }
        }
        Ok(())
    }
}
