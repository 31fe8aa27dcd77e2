//! Who runs when: blocks in random order, some of them at a time, and warps in random turns of random length.

use crate::exec::Machine;
use crate::exec::block::Block;
use crate::fault::{FaultKind, Trouble};
use crate::instruction::Op;

/// A small generator (SplitMix64): the same seed gives the same schedule.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u32
    }
}

/// A trouble with the block, warp and line where it came up.
pub(crate) struct Stop {
    pub trouble: Box<Trouble>,
    pub line: Option<u32>,
    pub block: [u32; 3],
    pub warp: usize,
}

impl<'m> Machine<'m> {
    /// Runs every block, `resident` of them at a time, and those of a cluster together.
    pub(crate) fn run_grid(&mut self, resident: usize, limit: u64) -> Result<(), Stop> {
        let total: u64 = self.grid.iter().map(|g| u64::from(*g)).product();
        let cluster = self.kernel.cluster;
        let resident = resident.max(cluster as usize);
        let mut order: Vec<u32> = (0..total as u32 / cluster).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.random.below(i as u32 + 1) as usize);
        }
        let mut waiting = order.into_iter();
        let mut blocks: Vec<Block<'m>> = Vec::new();
        loop {
            while blocks.len() + cluster as usize <= resident {
                let Some(first) = waiting.next() else { break };
                for number in first * cluster..(first + 1) * cluster {
                    let index = crate::exec::unravel(number, self.grid);
                    blocks.push(Block::new(index, u64::from(number), self.dims, self.kernel, self.dynamic));
                }
            }
            if blocks.is_empty() {
                // What is still under way comes to nobody.
                return if self.messages.is_empty() { Ok(()) } else { self.deliver(&mut blocks) };
            }
            let chosen = self.random.below(blocks.len() as u32) as usize;
            let went_on = self.turn(&mut blocks[chosen])? || self.any_turn(&mut blocks)?;
            if !self.messages.is_empty() && (!went_on || self.random.below(2) == 0) {
                self.deliver(&mut blocks)?;
            } else if !went_on {
                return Err(self.deadlock(&blocks));
            }
            if self.steps > limit {
                return Err(self.out_of_steps(&blocks, limit));
            }
            blocks.retain(|b| !b.finished() || !b.bulk.is_empty());
        }
    }

    /// One turn of any block that can go on.
    fn any_turn(&mut self, blocks: &mut [Block<'m>]) -> Result<bool, Stop> {
        for block in blocks {
            if self.turn(block)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One turn of a warp, or the end of a bulk copy. False: nothing of the block can go on.
    fn turn(&mut self, block: &mut Block<'m>) -> Result<bool, Stop> {
        let ready = block.warps.iter().filter(|w| w.runnable()).count() as u32;
        let copies = block.bulk.len() as u32;
        if copies > 0 && (ready == 0 || self.random.below(3) == 0) {
            let which = self.random.below(copies) as usize;
            let (warp, line) = (block.bulk[which].warp, block.bulk[which].line);
            return match self.finish_bulk(block, which) {
                Ok(()) => Ok(true),
                Err(trouble) => Err(Stop { trouble, line: Some(line), block: block.index, warp }),
            };
        }
        if ready == 0 {
            return Ok(false);
        }
        let pick = self.random.below(ready) as usize;
        let Some(warp) = block.warps.iter().enumerate().filter(|(_, w)| w.runnable()).nth(pick).map(|(i, _)| i) else { return Ok(false) };
        // Mostly short turns, sometimes long ones: one warp may run far ahead of the others.
        let quantum = if self.random.below(8) == 0 { 1 + self.random.below(512) } else { 1 + self.random.below(64) };
        match self.run(block, warp, quantum) {
            Ok(()) => Ok(true),
            Err((trouble, line)) => Err(Stop { trouble, line: Some(line), block: block.index, warp }),
        }
    }

    fn deadlock(&self, blocks: &[Block<'m>]) -> Stop {
        let message = format!("deadlock: nothing can go on\n{}", self.states(blocks));
        self.stop(FaultKind::Deadlock, blocks, message)
    }

    fn out_of_steps(&self, blocks: &[Block<'m>], limit: u64) -> Stop {
        let message =
            format!("more than {limit} instructions of warps: an endless loop, or waiting for what never comes\n{}", self.states(blocks));
        self.stop(FaultKind::StepLimit, blocks, message)
    }

    fn stop(&self, kind: FaultKind, blocks: &[Block<'m>], message: String) -> Stop {
        let (block, warp) = blocks
            .iter()
            .find_map(|b| b.warps.iter().find(|w| w.live != 0).map(|w| (b.index, w)))
            .map_or(([0; 3], None), |(index, w)| (index, Some(w)));
        let lane = warp.map_or(0, |w| w.live.trailing_zeros());
        let line = warp.map(|w| {
            let pc = if w.mask != 0 { w.pc } else { w.pcs[lane as usize] };
            self.kernel.code[pc.min(self.kernel.code.len() as u32 - 1) as usize].line
        });
        Stop { trouble: Trouble::new(kind, lane, message), line, block, warp: warp.map_or(0, |w| w.number) }
    }

    /// What every live warp waits for, and the barriers it could wait at.
    fn states(&self, blocks: &[Block<'m>]) -> String {
        let mut lines = Vec::new();
        for block in blocks.iter().filter(|b| !b.finished()).take(4) {
            lines.push(format!("  block {:?}:", block.index));
            for warp in block.warps.iter().filter(|w| w.live != 0) {
                let mut pcs = warp.pcs;
                crate::exec::warp::lanes(warp.mask).for_each(|l| pcs[l] = warp.pc);
                for (pc, lanes) in crate::exec::places(warp.live, &pcs) {
                    let first = lanes.trailing_zeros() as usize;
                    let what = if warp.at_warpgroup {
                        "waits for its warpgroup".into()
                    } else if warp.at_mbarrier & lanes != 0 {
                        format!("waits at the mbarrier at {:#x}", warp.waits_at[first])
                    } else if warp.at_barrier & lanes != 0 {
                        format!("waits at barrier {}", warp.waits_at[first])
                    } else if warp.converging & lanes != 0 {
                        "wait for lanes of their warp".into()
                    } else {
                        "can run".to_string()
                    };
                    let instruction = &self.kernel.code[pc as usize];
                    let kind = if matches!(instruction.op, Op::Exit) { " (exit)" } else { "" };
                    lines.push(format!("    warp {} lanes {lanes:#010x} at line {}{kind}: {what}", warp.number, instruction.line));
                }
            }
            for (i, barrier) in block.barriers.iter().enumerate().filter(|(_, b)| b.arrived > 0) {
                let expected = barrier.expected.map_or("all".into(), |n| n.to_string());
                lines.push(format!("    barrier {i}: {} of {expected} threads arrived", barrier.arrived));
            }
            for (address, m) in &block.mbarriers {
                lines.push(format!(
                    "    mbarrier {address:#x}: phase {}, {} of {} arrivals and {} bytes to come",
                    m.phase, m.pending, m.expected, m.bytes
                ));
            }
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| (0..100).map(|_| 0).scan(Random::new(seed), |r, _| Some(r.below(7))).collect::<Vec<_>>();
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        assert!((0..7).all(|n| draw(3).contains(&n)) && draw(3).iter().all(|n| *n < 7));
    }
}
