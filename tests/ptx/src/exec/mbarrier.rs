//! `mbarrier` objects: arrivals, expected bytes, phases.

use super::access::{Place, place};
use super::block::{Block, MbarrierState};
use super::warp::lanes;
use super::{Flow, Machine};
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instruction::{Address, Mbarrier, WARP};
use crate::memory::races::{Knowledge, Touch};
use crate::parse::Space;

/// Most threads or arrivals that an object counts.
const MOST: u64 = (1 << 20) - 1;

impl<'m> Machine<'m> {
    /// The shared address of an initialised object.
    pub(crate) fn mbarrier_at(&mut self, block: &mut Block<'m>, w: usize, lane: u32, at: Place) -> Outcome<u64> {
        if at.space != Space::Shared {
            return Err(Trouble::new(FaultKind::BadOperand, lane, format!("an mbarrier in {:?} memory", at.space)));
        }
        if !block.mbarriers.contains_key(&at.address) {
            return Err(Trouble::new(
                FaultKind::BadOperand,
                lane,
                format!("no mbarrier was initialised at shared address {:#x}", at.address),
            ));
        }
        self.touch(block, w, lane, at, 8, Touch::Strong { writes: false }, None)?;
        Ok(at.address)
    }

    pub(crate) fn mbarrier(&mut self, block: &mut Block<'m>, w: usize, active: u32, op: &Mbarrier, at: &Address) -> Outcome<Flow> {
        let addresses = self.addresses(block, w, at, active)?;
        let places: [Place; WARP] = std::array::from_fn(|l| place(at.space, addresses[l]));
        match op {
            Mbarrier::Init { count } => {
                let counts = self.values(block, w, count, active)?;
                for lane in lanes(active) {
                    if !(1..=MOST).contains(&counts[lane]) || places[lane].space != Space::Shared {
                        return Err(Trouble::new(
                            FaultKind::BadOperand,
                            lane as u32,
                            format!("an mbarrier for {} arrivals in {:?} memory", counts[lane], places[lane].space),
                        ));
                    }
                    let bytes = counts[lane].to_le_bytes();
                    let touch = Touch::Write { same: false };
                    let (region, offset) = self.touch(block, w, lane as u32, places[lane], 8, touch, Some(&bytes))?;
                    region.write(offset, &bytes);
                    let n = counts[lane] as u32;
                    block.mbarriers.insert(places[lane].address, MbarrierState { expected: n, pending: n, ..MbarrierState::default() });
                }
            }
            Mbarrier::Invalidate => {
                for lane in lanes(active) {
                    let address = self.mbarrier_at(block, w, lane as u32, places[lane])?;
                    block.mbarriers.remove(&address);
                }
            }
            Mbarrier::Expect { bytes } => {
                let bytes = self.values(block, w, bytes, active)?;
                for lane in lanes(active) {
                    let address = self.mbarrier_at(block, w, lane as u32, places[lane])?;
                    self.expect(block, address, bytes[lane]);
                }
            }
            Mbarrier::Arrive { count, expect, state, release, drop } => {
                let counts = self.values(block, w, count, active)?;
                let bytes = match expect {
                    Some(bytes) => Some(self.values(block, w, bytes, active)?),
                    None => None,
                };
                let mut out = [0; WARP];
                for lane in lanes(active) {
                    if bytes.is_none()
                        && state.is_none()
                        && !*drop
                        && self.arrives_elsewhere(block, w, lane as u32, places[lane].address, counts[lane], *release)?
                    {
                        continue;
                    }
                    let address = self.mbarrier_at(block, w, lane as u32, places[lane])?;
                    if let Some(bytes) = &bytes {
                        self.expect(block, address, bytes[lane]);
                    }
                    if let Some(state) = block.mbarriers.get_mut(&address) {
                        out[lane] = state.phase;
                        state.expected = state.expected.saturating_sub(u32::from(*drop));
                    }
                    let knowledge = block.warps[w].published(*release).clone();
                    self.arrive(block, lane as u32, address, counts[lane], &knowledge)?;
                }
                let warp = &mut block.warps[w];
                warp.tick();
                if let Some(d) = state {
                    warp.set(*d, active, &out);
                }
            }
            Mbarrier::AsyncArrive { increment } => {
                self.finish_copies(block, w, active, None)?;
                for lane in lanes(active) {
                    let address = self.mbarrier_at(block, w, lane as u32, places[lane])?;
                    if *increment && let Some(state) = block.mbarriers.get_mut(&address) {
                        state.pending += 1;
                    }
                    let knowledge = block.warps[w].published(true).clone();
                    self.arrive(block, lane as u32, address, 1, &knowledge)?;
                }
                block.warps[w].tick();
            }
            Mbarrier::Wait { token, parity, result, block: blocking } => {
                let tokens = self.values(block, w, token, active)?;
                let mut done = 0u32;
                for lane in lanes(active) {
                    let address = self.mbarrier_at(block, w, lane as u32, places[lane])?;
                    let state = &block.mbarriers[&address];
                    if *parity && tokens[lane] > 1 {
                        return Err(Trouble::new(
                            FaultKind::BadOperand,
                            lane as u32,
                            format!("parity {}: 0 or 1 is expected", tokens[lane]),
                        ));
                    }
                    let over = if *parity { state.phase & 1 != tokens[lane] } else { state.phase > tokens[lane] };
                    if over {
                        done |= 1 << lane;
                        let told = state.released.clone();
                        let warp = &mut block.warps[w];
                        warp.knowledge.join(&told);
                        // What other lanes of the own warp did before they arrived, copies that they issued included.
                        let own = told.own.get(warp.number).map_or(0, |clock| clock + 1);
                        warp.met[lane] = warp.met[lane].max(own);
                    }
                }
                // A blocking wait may return false at once, as hardware may, and does so the first time, which finds waits outside loops;
                // tried again, it mostly sleeps until something happens.
                let warp = &mut block.warps[w];
                let again = lanes(active).all(|l| warp.tried[l] == places[l].address);
                let sleep = *blocking && done == 0 && again && self.random.below(4) != 0;
                lanes(active).for_each(|l| warp.tried[l] = if done >> l & 1 == 1 { 0 } else { places[l].address });
                if !sleep {
                    warp.set_predicate(*result, active, done);
                    warp.advance();
                    return Ok(if done == 0 { Flow::Yield } else { Flow::Placed });
                }
                warp.split(active, true);
                warp.store_group();
                warp.at_mbarrier |= active;
                lanes(active).for_each(|l| warp.waits_at[l] = places[l].address);
                warp.mask = 0;
                warp.choose();
                return Ok(Flow::Yield);
            }
        }
        Ok(Flow::Next)
    }

    fn expect(&mut self, block: &mut Block<'m>, address: u64, bytes: u64) {
        if let Some(state) = block.mbarriers.get_mut(&address) {
            state.bytes += bytes as i64;
        }
    }

    /// Counts arrivals of who knows this.
    pub(crate) fn arrive(&mut self, block: &mut Block<'m>, lane: u32, address: u64, count: u64, knowledge: &Knowledge) -> Outcome {
        let Some(state) = block.mbarriers.get_mut(&address) else { return Ok(()) };
        if count == 0 || count > u64::from(state.pending) {
            let message =
                format!("{count} arrivals at the mbarrier at {address:#x}, which waits for {} in phase {}", state.pending, state.phase);
            return Err(Trouble::new(FaultKind::BadOperand, lane, message));
        }
        state.pending -= count as u32;
        state.gathering.join(knowledge);
        self.check_phase(block, address);
        Ok(())
    }

    /// Ends the phase when every arrival and every byte is there, and wakes who waits for it.
    pub(crate) fn check_phase(&mut self, block: &mut Block<'m>, address: u64) {
        let Block { mbarriers, warps, .. } = block;
        let Some(state) = mbarriers.get_mut(&address) else { return };
        if state.pending > 0 || state.bytes != 0 {
            return;
        }
        state.phase += 1;
        state.pending = state.expected;
        let gathered: Knowledge = std::mem::take(&mut state.gathering);
        state.released.join(&gathered);
        for warp in warps {
            let woken = lanes(warp.at_mbarrier).filter(|l| warp.waits_at[*l] == address).fold(0, |m, l| m | 1 << l);
            if woken != 0 {
                warp.at_mbarrier &= !woken;
                if warp.mask != 0 {
                    warp.store_group();
                }
                warp.choose();
            }
        }
    }
}
