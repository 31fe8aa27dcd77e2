//! Atomics, and what strong accesses tell other threads.

use super::Machine;
use super::access::{Place, place, read};
use super::block::Block;
use super::warp::lanes;
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instruction::{Address, Order, Source, Update, WARP};
use crate::memory::races::Touch;
use crate::parse::Space;

impl<'m> Machine<'m> {
    #[allow(clippy::too_many_arguments, reason = "the operands of one instruction")]
    pub(crate) fn atomic(
        &mut self,
        block: &mut Block,
        w: usize,
        active: u32,
        (bytes, f, in_global, d): (u64, &Update, Option<&Update>, Option<u32>),
        at: &Address,
        (a, b): (&Source, &Source),
        order: Order,
    ) -> Outcome {
        let addresses = self.addresses(block, w, at, active)?;
        let (a, b) = (self.values(block, w, a, active)?, self.values(block, w, b, active)?);
        let mut out = [0; WARP];
        // Lanes come in an order that nobody may rely on.
        let start = self.random.below(32) as usize;
        for lane in lanes(active.rotate_right(start as u32)).map(|l| (l + start) % WARP) {
            let place = place(at.space, addresses[lane]);
            if !matches!(place.space, Space::Shared | Space::Global) {
                return Err(Trouble::new(FaultKind::BadOperand, lane as u32, format!("atomics do not work in {:?} memory", place.space)));
            }
            let (region, offset) = self.touch(block, w, lane as u32, place, bytes, Touch::Strong { writes: true }, None)?;
            if let Some(missing) = region.unwritten(offset, bytes) {
                let message =
                    format!("an atomic reads {:?} memory at {:#x}, which was never written", place.space, place.address + missing - offset);
                return Err(Trouble::new(FaultKind::UnwrittenMemory, lane as u32, message));
            }
            let old = read(&region.data, offset as usize, bytes as usize);
            let f = in_global.filter(|_| place.space == Space::Global).unwrap_or(f);
            region.write(offset, &f(old, a[lane], b[lane]).to_le_bytes()[..bytes as usize]);
            out[lane] = old;
            self.hear(block, w, place, order.acquire);
            self.publish(block, w, place, order.release);
        }
        let warp = &mut block.warps[w];
        warp.tick();
        if let Some(d) = d {
            warp.set(d, active, &out);
        }
        Ok(())
    }

    /// A strong write tells readers of the location what the warp knew: all of it (`release`) or what it knew at its last fence.
    pub(crate) fn publish(&mut self, block: &mut Block, w: usize, place: Place, release: bool) {
        let warp = &block.warps[w];
        let knowledge = if release { &warp.knowledge } else { &warp.fenced };
        if knowledge.own.is_empty() {
            return;
        }
        match place.space {
            Space::Shared => block.published.entry(place.address).or_default().join(knowledge),
            _ => self.published.entry(place.address).or_default().join(knowledge),
        }
    }

    /// A strong read learns it: at once (`acquire`) or at the next fence.
    pub(crate) fn hear(&mut self, block: &mut Block, w: usize, place: Place, acquire: bool) {
        let Block { published, warps, .. } = block;
        let told = if place.space == Space::Shared { published.get(&place.address) } else { self.published.get(&place.address) };
        if let Some(told) = told {
            let warp = &mut warps[w];
            if acquire {
                warp.knowledge.join(told);
            } else {
                if warp.heard.own.is_empty() {
                    warp.heard = crate::memory::races::Knowledge::new(warp.knowledge.first, warp.knowledge.own.len());
                }
                warp.heard.join(told);
            }
        }
    }
}
