//! Named barriers of a block.

use super::block::{Barrier, Block, Waiting};
use super::warp::lanes;
use super::{Flow, Machine};
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instruction::{BarrierKind, Logic, PredicateSource, Source, WARP};
use crate::memory::races::Knowledge;

impl<'m> Machine<'m> {
    #[allow(clippy::too_many_arguments, reason = "the operands of one instruction")]
    pub(crate) fn barrier(
        &mut self,
        block: &mut Block<'m>,
        w: usize,
        active: u32,
        (id, count): (&Source, Option<&Source>),
        kind: BarrierKind,
        aligned: bool,
        vote: PredicateSource,
    ) -> Outcome<Flow> {
        let lane = active.trailing_zeros();
        if aligned && !self.converge(block, w, active, block.warps[w].live)? {
            return Ok(Flow::Placed);
        }
        let mask = if aligned { block.warps[w].mask } else { active };
        if !aligned {
            block.warps[w].split(active, true);
        }
        let uniform = |values: &[u64; WARP]| lanes(mask).all(|l| values[l] == values[lane as usize]).then_some(values[lane as usize]);
        let Some(number) = uniform(&self.values(block, w, id, mask)?).filter(|n| *n < 16) else {
            return Err(Trouble::new(FaultKind::BadOperand, lane, "the number of the barrier differs between lanes or is above 15"));
        };
        let expected = match count {
            None => None,
            Some(count) => match uniform(&self.values(block, w, count, mask)?) {
                Some(n) if n > 0 && n % 32 == 0 && n <= 1024 => Some(n as u32),
                other => {
                    let message = format!("{other:?} threads at a barrier: a multiple of 32, the same in all lanes, is expected");
                    return Err(Trouble::new(FaultKind::BadOperand, lane, message));
                }
            },
        };
        let votes = self.predicate(&block.warps[w], vote, mask)? & mask;
        let Block { warps, barriers, .. } = block;
        let (warp, barrier) = (&mut warps[w], &mut barriers[number as usize]);
        if barrier.arrived > 0 && barrier.expected != expected {
            let show = |n: Option<u32>| n.map_or("all".to_string(), |n| n.to_string());
            let message = format!("barrier {number} is for {} threads, and others arrived for {}", show(expected), show(barrier.expected));
            return Err(Trouble::new(FaultKind::BadOperand, lane, message));
        }
        barrier.expected = expected;
        barrier.arrived += if mask == warp.live { 32 } else { mask.count_ones() };
        barrier.arrived_live += mask.count_ones();
        barrier.arrivals.push((w, mask));
        barrier.knowledge.join(&warp.knowledge);
        barrier.votes += votes.count_ones();
        barrier.all &= votes == mask;
        barrier.any |= votes != 0;
        warp.tick();
        if let Some(expected) = expected
            && barrier.arrived > expected
        {
            let message = format!("barrier {number} is for {expected} threads and {} arrived: {:?}", barrier.arrived, barrier.arrivals);
            return Err(Trouble::new(FaultKind::Divergence, lane, message));
        }
        if kind == BarrierKind::Arrive {
            warp.advance();
            self.check_barriers(block)?;
            return Ok(Flow::Placed);
        }
        barrier.waiting.push(Waiting { warp: w, mask, kind });
        warp.store_group();
        warp.at_barrier |= mask;
        lanes(mask).for_each(|l| warp.waits_at[l] = number);
        warp.mask = 0;
        warp.choose();
        self.check_barriers(block)?;
        Ok(Flow::Yield)
    }

    /// Opens every barrier that is complete; also after a warp has exited, which makes barriers of all threads smaller.
    pub(crate) fn check_barriers(&mut self, block: &mut Block<'m>) -> Outcome {
        let live: u32 = block.warps.iter().map(|w| w.live.count_ones()).sum();
        let Block { warps, barriers, .. } = block;
        for barrier in barriers.iter_mut().filter(|b| b.arrived > 0) {
            let complete = match barrier.expected {
                Some(expected) => barrier.arrived >= expected,
                None => barrier.arrived_live >= live,
            };
            if !complete {
                continue;
            }
            let done = std::mem::replace(barrier, Barrier { all: true, ..Barrier::default() });
            for Waiting { warp, mask, kind } in done.waiting {
                let warp = &mut warps[warp];
                warp.at_barrier &= !mask;
                warp.knowledge.join(&done.knowledge);
                warp.fenced = Knowledge::default();
                warp.come_together();
                match kind {
                    BarrierKind::Count(d) => warp.set(d, mask, &[u64::from(done.votes); WARP]),
                    BarrierKind::Vote(Logic::And, p) => warp.set_predicate(p, mask, if done.all { u32::MAX } else { 0 }),
                    BarrierKind::Vote(_, p) => warp.set_predicate(p, mask, if done.any { u32::MAX } else { 0 }),
                    BarrierKind::Sync | BarrierKind::Arrive => {}
                }
                warp.store_group();
                lanes(mask).for_each(|l| warp.pcs[l] += 1);
                warp.mask = 0;
                warp.choose();
            }
        }
        Ok(())
    }

    /// Waits until all lanes of `needed` are at this instruction. True: they are, and form the running group. False: the lanes that are
    /// here wait, and others of the warp run.
    pub(crate) fn converge(&mut self, block: &mut Block, w: usize, active: u32, needed: u32) -> Outcome<bool> {
        let warp = &mut block.warps[w];
        if active != warp.mask {
            warp.split(active, true);
        }
        if needed & !warp.live != 0 {
            let message = format!("lanes {:#010x} are waited for and have exited", needed & !warp.live);
            return Err(Trouble::new(FaultKind::Divergence, active.trailing_zeros(), message));
        }
        let pc = warp.pc;
        let here = lanes(warp.converging).filter(|l| warp.pcs[*l] == pc).fold(active, |m, l| m | 1 << l);
        if needed & !here == 0 {
            warp.converging &= !needed;
            warp.mask = needed;
            return Ok(true);
        }
        warp.store_group();
        warp.converging |= active;
        warp.mask = 0;
        warp.choose();
        if warp.is_stuck() {
            let places: Vec<(u32, u32)> = places(warp.converging, &warp.pcs);
            let lines: Vec<String> =
                places.iter().map(|(pc, lanes)| format!("lanes {lanes:#010x} at line {}", self.kernel.code[*pc as usize].line)).collect();
            let message =
                format!("divergent code: the lanes of the warp wait for each other at different instructions: {}", lines.join(", "));
            return Err(Trouble::new(FaultKind::Divergence, active.trailing_zeros(), message));
        }
        Ok(false)
    }
}

/// Lanes by their place.
pub(crate) fn places(mask: u32, pcs: &[u32; WARP]) -> Vec<(u32, u32)> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for lane in lanes(mask) {
        match found.iter_mut().find(|(pc, _)| *pc == pcs[lane]) {
            Some((_, lanes)) => *lanes |= 1 << lane,
            None => found.push((pcs[lane], 1 << lane)),
        }
    }
    found
}
