//! Copies that take effect later: `cp.async` at its wait, bulk copies whenever the schedule likes.
//!
//! From its issue to its end the destination counts as unwritten, so that reading it too early is a fault.

use super::Machine;
use super::access::{Place, place};
use super::block::{Block, BulkRead, PendingBulk};
use super::warp::{PendingCopy, lanes};
use crate::decode::SHARED_START;
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instruction::{BulkCopy, Op, WARP};
use crate::memory::races::Touch;
use crate::parse::Space;
use crate::tensor_map::TensorMap;

/// The largest aligned pieces of at most 16 bytes that make up a range.
fn aligned_pieces(address: u64, bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut at = address;
    std::iter::from_fn(move || {
        let left = (address + bytes).saturating_sub(at);
        let mut size = 16;
        while size > 1 && (!at.is_multiple_of(size) || size > left) {
            size /= 2;
        }
        let piece = (left > 0).then_some((at, size));
        at += size;
        piece
    })
}

impl<'m> Machine<'m> {
    pub(crate) fn async_copy(&mut self, block: &mut Block<'m>, w: usize, active: u32, op: &Op) -> Outcome {
        match op {
            Op::AsyncCopy { to, from, size, source_size, ignore } => {
                let (to, from) = (self.addresses(block, w, to, active)?, self.addresses(block, w, from, active)?);
                let sizes = match source_size {
                    Some(source) => self.values(block, w, source, active)?,
                    None => [*size; WARP],
                };
                let ignored = match ignore {
                    Some(p) => self.predicate(&block.warps[w], *p, active)?,
                    None => 0,
                };
                for lane in lanes(active) {
                    let read = if ignored >> lane & 1 == 1 { 0 } else { sizes[lane] & 0xffff_ffff };
                    let l = lane as u32;
                    if read > *size {
                        return Err(Trouble::new(FaultKind::BadOperand, l, format!("source size {read} of a copy of {size} bytes")));
                    }
                    if !from[lane].is_multiple_of(*size) {
                        let message = format!("cp.async of {size} bytes from {:#x}, which is not aligned", from[lane]);
                        return Err(Trouble::new(FaultKind::Misaligned, l, message));
                    }
                    if read > 0 {
                        self.memory.find(from[lane], read).map_err(|(kind, message)| Trouble::new(kind, l, message))?;
                    }
                    let shared = Place { space: Space::Shared, ..place(Space::Shared, to[lane]) };
                    let (region, offset) = self.touch(block, w, l, shared, *size, Touch::Write { same: false }, None)?;
                    region.mark(offset, *size, false);
                    let warp = &mut block.warps[w];
                    let group = warp.copy_groups[lane];
                    warp.copies.push(PendingCopy { lane: l, group, to: shared.address, from: from[lane], size: *size, read });
                }
            }
            Op::AsyncCommit => lanes(active).for_each(|l| block.warps[w].copy_groups[l] += 1),
            Op::AsyncWait { pending } => self.finish_copies(block, w, active, *pending)?,
            _ => {}
        }
        Ok(())
    }

    /// Performs the copies of `active` lanes; of all their groups but the last `pending`, or of everything.
    pub(crate) fn finish_copies(&mut self, block: &mut Block<'m>, w: usize, active: u32, pending: Option<u32>) -> Outcome {
        let warp = &mut block.warps[w];
        let groups = warp.copy_groups;
        let due = |c: &PendingCopy| {
            let open = pending.is_none_or(|n| c.group + n < groups[c.lane as usize]);
            active >> c.lane & 1 == 1 && open
        };
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut warp.copies).into_iter().partition(due);
        warp.copies = later;
        for copy in now {
            let mut bytes = [0u8; 16];
            for (at, n) in aligned_pieces(copy.from, copy.read) {
                let global = Place { space: Space::Global, address: at };
                let (region, offset) = self.touch(block, w, copy.lane, global, n, Touch::Read, None)?;
                let start = (at - copy.from) as usize;
                bytes[start..start + n as usize].copy_from_slice(&region.data[offset as usize..(offset + n) as usize]);
            }
            let bytes = &bytes[..copy.size as usize];
            let shared = Place { space: Space::Shared, address: copy.to };
            let (region, offset) = self.touch(block, w, copy.lane, shared, copy.size, Touch::Write { same: false }, Some(bytes))?;
            region.write(offset, bytes);
        }
        Ok(())
    }

    pub(crate) fn bulk(&mut self, block: &mut Block<'m>, w: usize, active: u32, copy: &BulkCopy, line: u32) -> Outcome {
        let (to, from) = (self.addresses(block, w, &copy.destination, active)?, self.addresses(block, w, &copy.source, active)?);
        let barriers = match &copy.barrier {
            Some(at) => Some(self.addresses(block, w, at, active)?),
            None => None,
        };
        let mut coordinates = Vec::new();
        for source in &copy.coordinates {
            coordinates.push(self.values(block, w, source, active)?);
        }
        let blocks = match &copy.blocks {
            Some(source) => Some(self.values(block, w, source, active)?),
            None => None,
        };
        let sizes = match &copy.size {
            Some(source) => Some(self.values(block, w, source, active)?),
            None => None,
        };
        for lane in lanes(active) {
            let l = lane as u32;
            let (shared, global) = if copy.to_shared { (to[lane], from[lane]) } else { (from[lane], to[lane]) };
            let shared = place(Space::Shared, shared).address;
            let bad = |message: String| Trouble::new(FaultKind::BadOperand, l, message);
            let pieces = match &sizes {
                Some(sizes) => {
                    let size = sizes[lane] & 0xffff_ffff;
                    if [size, shared, global].iter().any(|v| !v.is_multiple_of(16)) {
                        return Err(bad(format!(
                            "a bulk copy of {size} bytes between {shared:#x} and {global:#x}: multiples of 16 are expected"
                        )));
                    }
                    (0..size / 16).map(|i| (shared + 16 * i, Some(global + 16 * i), 16)).collect()
                }
                None => {
                    let map = self.tensor_map(block, w, l, place(Space::Generic, global))?;
                    if map.dims.len() != coordinates.len() {
                        return Err(bad(format!("{} coordinates for a tensor of rank {}", coordinates.len(), map.dims.len())));
                    }
                    if !shared.is_multiple_of(128) {
                        return Err(Trouble::new(
                            FaultKind::Misaligned,
                            l,
                            format!("a tensor copy at shared address {shared:#x}: a multiple of 128 is expected"),
                        ));
                    }
                    let at: Vec<i64> = coordinates.iter().map(|c| i64::from(c[lane] as u32 as i32)).collect();
                    if let Some(message) = map.misplaced(&at, copy.to_shared) {
                        return Err(bad(message));
                    }
                    map.pieces(&at, shared, copy.to_shared)
                }
            };
            let warp = &block.warps[w];
            let pending = PendingBulk {
                pieces,
                to_shared: copy.to_shared,
                barrier: barriers.as_ref().map(|barriers| place(Space::Shared, barriers[lane]).address),
                warp: w,
                lane: l,
                group: warp.bulk_groups[lane],
                knowledge: warp.knowledge.clone(),
                line,
            };
            let here = match &blocks {
                Some(masks) => self.copies_elsewhere(block, w, l, masks[lane] & 0xffff, &pending)?,
                None => true,
            };
            for (s, g, n) in &pending.pieces {
                let (read, write) = (Touch::Read, Touch::Write { same: false });
                if let Some(address) = g {
                    let place = Place { space: Space::Global, address: *address };
                    let (region, offset) = self.touch(block, w, l, place, *n, if copy.to_shared { read } else { write }, None)?;
                    if !copy.to_shared {
                        region.mark(offset, *n, false);
                    }
                } else if !copy.to_shared {
                    continue;
                }
                if here {
                    let place = Place { space: Space::Shared, address: *s };
                    let (region, offset) = self.touch(block, w, l, place, *n, if copy.to_shared { write } else { read }, None)?;
                    if copy.to_shared {
                        region.mark(offset, *n, false);
                    }
                }
            }
            if here {
                if let Some(address) = pending.barrier {
                    self.mbarrier_at(block, w, l, Place { space: Space::Shared, address })?;
                }
                if !copy.to_shared {
                    let pieces = pending.pieces.iter().map(|(shared, _, bytes)| (*shared, *bytes)).collect();
                    block.bulk_reads.push(BulkRead { warp: w, lane: l, group: pending.group, pieces, line });
                }
                block.bulk.push(pending);
            }
            let warp = &mut block.warps[w];
            warp.tick();
        }
        Ok(())
    }

    fn tensor_map(&mut self, block: &mut Block<'m>, w: usize, lane: u32, at: Place) -> Outcome<TensorMap> {
        if !at.address.is_multiple_of(64) {
            return Err(Trouble::new(
                FaultKind::Misaligned,
                lane,
                format!("a tensor map at {:#x}: a multiple of 64 is expected", at.address),
            ));
        }
        let (region, offset) = match at.space {
            Space::Param => self.region(block, w, lane, at, 64, false)?,
            _ => {
                let found = self.memory.find(at.address, 128).map_err(|(kind, message)| Trouble::new(kind, lane, message))?;
                let offset = at.address - found.region.base;
                (&mut found.region, offset)
            }
        };
        let bytes = region.data.get(offset as usize..offset as usize + 128).unwrap_or(&[]);
        TensorMap::decode(bytes).ok_or_else(|| {
            Trouble::new(FaultKind::BadOperand, lane, format!("no tensor map lies at {:#x} of {:?} memory", at.address, at.space))
        })
    }

    /// Performs a bulk copy and tells its mbarrier.
    pub(crate) fn finish_bulk(&mut self, block: &mut Block<'m>, index: usize) -> Outcome {
        let copy = block.bulk.swap_remove(index);
        let mut total = 0;
        for (s, g, n) in &copy.pieces {
            let offset = s - SHARED_START;
            let range = offset as usize..(offset + n) as usize;
            total += *n as i64;
            if copy.to_shared {
                match g {
                    None => block.shared.write(offset, &[0; 16][..*n as usize]),
                    Some(address) => {
                        let found = self.memory.find(*address, *n).map_err(|(kind, message)| Trouble::new(kind, copy.lane, message))?;
                        let from = (*address - found.region.base) as usize;
                        block.shared.write(offset, &found.region.data[from..from + *n as usize]);
                    }
                }
            } else if let Some(address) = g {
                let found = self.memory.find(*address, *n).map_err(|(kind, message)| Trouble::new(kind, copy.lane, message))?;
                let to = *address - found.region.base;
                found.region.write(to, &block.shared.data[range]);
            }
        }
        if let Some(address) = copy.barrier {
            let Some(state) = block.mbarriers.get_mut(&address) else {
                return Err(Trouble::new(
                    FaultKind::BadOperand,
                    copy.lane,
                    format!("the mbarrier at {address:#x} is gone before the copy of line {} ends", copy.line),
                ));
            };
            state.bytes -= total;
            state.gathering.join(&copy.knowledge);
            self.check_phase(block, address);
        }
        Ok(())
    }

    pub(crate) fn bulk_wait(&mut self, block: &mut Block<'m>, w: usize, active: u32, pending: u32) -> Outcome {
        let groups = block.warps[w].bulk_groups;
        let due = |c: &PendingBulk| !c.to_shared && c.warp == w && active >> c.lane & 1 == 1 && c.group + pending < groups[c.lane as usize];
        while let Some(index) = block.bulk.iter().position(due) {
            self.finish_bulk(block, index)?;
        }
        let is_over = |r: &BulkRead| r.warp == w && active >> r.lane & 1 == 1 && r.group + pending < groups[r.lane as usize];
        let (over, reading) = std::mem::take(&mut block.bulk_reads).into_iter().partition(is_over);
        block.bulk_reads = reading;
        // They have been read until now: who writes there has to come after this wait.
        for read in over {
            for (address, bytes) in read.pieces {
                self.touch(block, w, read.lane, Place { space: Space::Shared, address }, bytes, Touch::Read, None)?;
            }
        }
        Ok(())
    }
}
