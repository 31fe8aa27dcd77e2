//! Memory operands: where an address points, and loads and stores through it.

use super::Machine;
use super::block::Block;
use super::warp::{Warp, lanes};
use crate::decode::{LOCAL_START, SHARED_START};
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instruction::{Address, Destination, Lanes, Order, Source, WARP};
use crate::memory::races::{Conflict, Touch};
use crate::memory::{LOCAL_WINDOW, PARAM_WINDOW, Region, SHARED_WINDOW, WINDOW_BYTES};
use crate::parse::Space;
use crate::types::{Type, mask, sign_extend};

/// A space and an address inside it, after generic addresses are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub space: Space,
    pub address: u64,
}

/// Tells what a generic address points at.
pub(crate) fn place(space: Space, address: u64) -> Place {
    let inside = |window: u64| (window..window + WINDOW_BYTES).contains(&address);
    match space {
        Space::Generic if inside(SHARED_WINDOW) => Place { space: Space::Shared, address: address - SHARED_WINDOW },
        Space::Generic if inside(LOCAL_WINDOW) => Place { space: Space::Local, address: address - LOCAL_WINDOW },
        Space::Generic if inside(PARAM_WINDOW) => Place { space: Space::Param, address: address - PARAM_WINDOW },
        Space::Generic | Space::Const => Place { space: Space::Global, address },
        // Addresses of shared and local memory have 32 bits.
        Space::Shared | Space::Local => {
            Place { space, address: if address >> 32 == u64::from(u32::MAX) { address & 0xffff_ffff } else { address } }
        }
        Space::Global | Space::Param => Place { space, address },
    }
}

impl<'m> Machine<'m> {
    /// The addresses of an operand in every lane.
    pub(crate) fn addresses(&self, block: &Block, w: usize, at: &Address, active: u32) -> Outcome<Lanes> {
        let mut out = self.values(block, w, &at.base, active)?;
        if at.offset != 0 {
            out.iter_mut().for_each(|a| *a = a.wrapping_add(at.offset as u64));
        }
        if self.kernel.cluster > 1 || at.space == Space::Shared {
            self.own_addresses(block, at.space, &mut out);
        }
        Ok(out)
    }

    fn outside(&self, place: Place, bytes: u64, size: u64) -> String {
        let Place { space, address } = place;
        let mut message = format!("{bytes} bytes at {address:#x} leave {space:?} memory ({size} bytes in use)");
        if space == Space::Shared {
            let nearest = self.kernel.shared.iter().filter(|(_, start, _)| *start <= address).max_by_key(|(_, start, _)| *start);
            match nearest {
                Some((name, start, size)) => message += &format!("; nearest: `{name}` ({size} bytes at {start:#x})"),
                None => message += &format!("; it begins at {SHARED_START:#x}"),
            }
            message += &format!("; dynamic shared memory: {} bytes at {:#x}", self.dynamic, self.kernel.shared_end);
        }
        message
    }

    /// The region and offset of a place, checked for alignment and bounds.
    pub(crate) fn region<'a>(
        &'a mut self,
        block: &'a mut Block,
        w: usize,
        lane: u32,
        place: Place,
        bytes: u64,
        write: bool,
    ) -> Outcome<(&'a mut Region, u64)> {
        let Place { space, address } = place;
        if address & (bytes - 1) != 0 {
            return Err(Trouble::new(
                FaultKind::Misaligned,
                lane,
                format!("{bytes} bytes at {address:#x} in {space:?} memory are not aligned"),
            ));
        }
        let found = match space {
            Space::Shared => block.shared.holds(address, bytes),
            Space::Param => self.params.holds(address, bytes),
            Space::Local => {
                (LOCAL_START..=self.kernel.local_bytes.saturating_sub(bytes)).contains(&address) && bytes <= self.kernel.local_bytes
            }
            _ => true,
        };
        if !found {
            let size = match space {
                Space::Shared => block.shared.size(),
                Space::Param => self.params.size(),
                _ => self.kernel.local_bytes - LOCAL_START,
            };
            return Err(Trouble::new(FaultKind::OutOfBounds, lane, self.outside(place, bytes, size)));
        }
        match space {
            Space::Shared => Ok((&mut block.shared, address - SHARED_START)),
            Space::Param if write => Err(Trouble::new(FaultKind::ReadOnly, lane, "parameters are not written")),
            Space::Param => Ok((&mut self.params, address)),
            Space::Local => {
                let bytes = self.kernel.local_bytes;
                let slot = &mut block.local[w * WARP + lane as usize];
                Ok((slot.get_or_insert_with(|| Region::new(0, bytes)), address))
            }
            _ => {
                let found = self.memory.find(address, bytes).map_err(|(kind, message)| Trouble::new(kind, lane, message))?;
                if write && found.constant {
                    return Err(Trouble::new(
                        FaultKind::ReadOnly,
                        lane,
                        format!("{} is constant and {address:#x} in it is written", found.name),
                    ));
                }
                let offset = address - found.region.base;
                Ok((&mut found.region, offset))
            }
        }
    }

    /// Checks and records an access; gives the region and offset. Local memory and parameters have no races.
    #[allow(clippy::too_many_arguments, reason = "the parts of an access")]
    #[inline]
    pub(crate) fn touch<'a>(
        &'a mut self,
        block: &'a mut Block,
        w: usize,
        lane: u32,
        place: Place,
        bytes: u64,
        touch: Touch,
        value: Option<&[u8]>,
    ) -> Outcome<(&'a mut Region, u64)> {
        let write = !matches!(touch, Touch::Read | Touch::Strong { writes: false });
        let grid = self.grid;
        let dims = self.dims;
        let aligned = place.address & (bytes - 1) == 0;
        if write && place.space == Space::Shared && !block.bulk_reads.is_empty() {
            let meets = |(address, length): &(u64, u64)| *address < place.address + bytes && place.address < address + length;
            if let Some(read) = block.bulk_reads.iter().find(|read| read.pieces.iter().any(meets)) {
                let message =
                    format!("{:#x} of shared memory is written, which the bulk copy of line {} may still read", place.address, read.line);
                return Err(Trouble::new(FaultKind::Race, lane, message));
            }
        }
        if place.space == Space::Shared && aligned && block.shared.holds(place.address, bytes) {
            let Block { shared, warps, .. } = block;
            let offset = place.address - SHARED_START;
            check(shared, offset, &warps[w], lane, bytes, touch, value, (grid, dims), place)?;
            return Ok((shared, offset));
        }
        if place.space != Space::Global || !aligned {
            // Local memory and parameters, and the errors of all spaces.
            let (region, offset) = self.region(block, w, lane, place, bytes, write)?;
            return match region.unwritten(offset, bytes) {
                Some(missing) if !write => Err(unwritten(place, missing - offset, lane)),
                _ => Ok((region, offset)),
            };
        }
        if self.kernel.begins_early && block.warps[w].waited >> lane & 1 == 0 {
            let message = "global memory before `griddepcontrol.wait`: the grid before this one may not be done with it";
            return Err(Trouble::new(FaultKind::Race, lane, message));
        }
        let found = self.memory.find(place.address, bytes).map_err(|(kind, message)| Trouble::new(kind, lane, message))?;
        if write && found.constant {
            return Err(Trouble::new(
                FaultKind::ReadOnly,
                lane,
                format!("{} is constant and {:#x} in it is written", found.name, place.address),
            ));
        }
        let offset = place.address - found.region.base;
        if found.constant {
            return Ok((&mut found.region, offset));
        }
        check(&mut found.region, offset, &block.warps[w], lane, bytes, touch, value, (grid, dims), place).map_err(|mut t| {
            t.message = format!("{} (in {}, byte {offset})", t.message, found.name);
            t
        })?;
        Ok((&mut found.region, offset))
    }

    pub(crate) fn load(
        &mut self,
        block: &mut Block,
        w: usize,
        active: u32,
        (ty, to): (Type, &[Destination]),
        at: &Address,
        order: Order,
    ) -> Outcome {
        let addresses = self.addresses(block, w, at, active)?;
        let (element, count) = (ty.bytes() as usize, to.len());
        let bytes = (element * count) as u64;
        let touch = if order.strong { Touch::Strong { writes: false } } else { Touch::Read };
        let mut out = [[0u64; WARP]; 8];
        for lane in lanes(active) {
            let place = place(at.space, addresses[lane]);
            let (region, offset) = self.touch(block, w, lane as u32, place, bytes, touch, None)?;
            let offset = offset as usize;
            for (i, values) in out[..count].iter_mut().enumerate() {
                values[lane] = read(&region.data, offset + i * element, element);
            }
            if order.strong {
                self.hear(block, w, place, order.acquire);
            }
        }
        let warp = &mut block.warps[w];
        for (values, destination) in out.iter_mut().zip(to) {
            if let Some((register, width)) = destination {
                if ty.is_signed() && *width > ty.width() {
                    values.iter_mut().for_each(|v| *v = sign_extend(*v, ty.width()) as u64 & mask(*width));
                }
                warp.set(*register, active, values);
            }
        }
        Ok(())
    }

    pub(crate) fn store(
        &mut self,
        block: &mut Block,
        w: usize,
        active: u32,
        (ty, from): (Type, &[Source]),
        at: &Address,
        order: Order,
    ) -> Outcome {
        let addresses = self.addresses(block, w, at, active)?;
        let mut values = [[0u64; WARP]; 8];
        for (slot, source) in values.iter_mut().zip(from) {
            *slot = self.values(block, w, source, active)?;
        }
        let element = ty.bytes() as usize;
        let bytes = element * from.len();
        let touch = if order.strong { Touch::Strong { writes: true } } else { Touch::Write { same: false } };
        for lane in lanes(active) {
            let mut buffer = [0u8; 32];
            for (i, slot) in values[..from.len()].iter().enumerate() {
                buffer[i * element..(i + 1) * element].copy_from_slice(&slot[lane].to_le_bytes()[..element]);
            }
            let place = place(at.space, addresses[lane]);
            let (region, offset) = self.touch(block, w, lane as u32, place, bytes as u64, touch, Some(&buffer[..bytes]))?;
            region.write(offset, &buffer[..bytes]);
            if order.strong {
                self.publish(block, w, place, order.release);
            }
        }
        if order.strong {
            block.warps[w].tick();
        }
        Ok(())
    }
}

/// Reads up to 8 bytes.
#[inline]
pub(crate) fn read(data: &[u8], offset: usize, bytes: usize) -> u64 {
    match bytes {
        4 => data[offset..offset + 4].try_into().map_or(0, |b| u64::from(u32::from_le_bytes(b))),
        8 => data[offset..offset + 8].try_into().map_or(0, u64::from_le_bytes),
        _ => data[offset..offset + bytes].iter().rev().fold(0, |v, b| v << 8 | u64::from(*b)),
    }
}

fn unwritten(place: Place, at: u64, lane: u32) -> Box<Trouble> {
    let Place { space, address } = place;
    let message = format!(
        "{space:?} memory at {:#x} is read and was never written, or an asynchronous copy into it was not waited for",
        address + at
    );
    Trouble::new(FaultKind::UnwrittenMemory, lane, message)
}

#[allow(clippy::too_many_arguments, reason = "the parts of a machine, borrowed apart")]
#[inline]
fn check(
    region: &mut Region,
    offset: u64,
    warp: &Warp,
    lane: u32,
    bytes: u64,
    touch: Touch,
    value: Option<&[u8]>,
    (grid, dims): ([u32; 3], [u32; 3]),
    place: Place,
) -> Outcome {
    let reads = matches!(touch, Touch::Read | Touch::Strong { writes: false });
    if reads && let Some(missing) = region.unwritten(offset, bytes) {
        return Err(unwritten(place, missing - offset, lane));
    }
    let touch = match touch {
        Touch::Write { .. } => {
            let old = &region.data[offset as usize..(offset + bytes) as usize];
            Touch::Write { same: value == Some(old) && region.unwritten(offset, bytes).is_none() }
        }
        other => other,
    };
    let size = region.size();
    region
        .shadow
        .access(offset, bytes, size, touch, &warp.observer(lane))
        .map_err(|conflict| race(conflict, place, reads, lane, grid, dims))
}

fn race(conflict: Conflict, place: Place, reads: bool, lane: u32, grid: [u32; 3], dims: [u32; 3]) -> Box<Trouble> {
    let Place { space, address } = place;
    let warps = dims.iter().product::<u32>().div_ceil(32);
    let (block, inside) = (conflict.thread / (warps * 32), conflict.thread % (warps * 32));
    let other = crate::fault::ThreadId { block: unravel(block, grid), thread: unravel(inside, dims) };
    let (verb, earlier) = (if reads { "reads" } else { "writes" }, if conflict.wrote { "wrote" } else { "read" });
    let message =
        format!("race: this thread {verb} {space:?} memory at {address:#x}, which {other} {earlier}, and no barrier orders the two");
    Trouble::new(FaultKind::Race, lane, message)
}

/// The coordinates of number `n` in a box of `extents`, x fastest.
pub(crate) fn unravel(n: u32, extents: [u32; 3]) -> [u32; 3] {
    let [x, y, _] = extents.map(|e| e.max(1));
    [n % x, n / x % y, n / x / y]
}
