//! Execution: one instruction of one warp at a time.

mod access;
pub(crate) use access::unravel;
pub(crate) use barrier::places;
mod asynchronous;
mod atomic;
mod barrier;
pub(crate) mod block;
pub(crate) mod cluster;
mod collective;
mod matrix;
mod mbarrier;
pub(crate) mod warp;
mod warpgroup;

use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instruction::{Instruction, Lanes, Op, PredicateSource, Source, Special, WARP};
use crate::memory::GlobalMemory;
use crate::memory::races::Knowledge;
use crate::module::Kernel;
use crate::schedule::Random;
use block::Block;
use std::collections::HashMap;
use warp::{Warp, lanes};

/// What a launch has in common for all its blocks.
pub(crate) struct Machine<'m> {
    pub kernel: &'m Kernel,
    pub memory: &'m mut GlobalMemory,
    /// Addresses of the module's variables.
    pub symbols: Vec<u64>,
    pub grid: [u32; 3],
    pub dims: [u32; 3],
    pub params: crate::memory::Region,
    pub dynamic: u64,
    pub random: Random,
    pub steps: u64,
    pub lane_steps: u64,
    /// What atomics on global locations have published.
    pub published: HashMap<u64, Knowledge>,
    /// What is under way between blocks of a cluster, and the barriers of clusters by their number.
    pub messages: Vec<cluster::Message>,
    pub clusters: HashMap<u64, cluster::ClusterBarrier>,
    /// Whether a lane has executed an instruction of the kernel.
    pub executed: Vec<bool>,
}

/// Whether the warp goes on after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    /// The instruction has placed the lanes itself.
    Placed,
    /// The warp waits, or another should have its turn.
    Yield,
}

impl<'m> Machine<'m> {
    /// Runs up to `quantum` instructions of a warp.
    pub(crate) fn run(&mut self, block: &mut Block<'m>, w: usize, quantum: u32) -> Result<(), (Box<Trouble>, u32)> {
        let code: &'m [Instruction] = &self.kernel.code;
        for _ in 0..quantum {
            let warp = &mut block.warps[w];
            if warp.mask == 0 {
                if !warp.runnable() {
                    return Ok(());
                }
                warp.choose();
            }
            let instruction = &code[warp.pc as usize];
            let mut active = warp.mask;
            if let Some((p, negated)) = instruction.guard {
                self.check_predicate(warp, p, active).map_err(|t| (t, instruction.line))?;
                let bits = warp.predicates[p as usize];
                active &= if negated { !bits } else { bits };
            }
            self.steps += 1;
            warp.steps += 1;
            self.lane_steps += u64::from(active.count_ones());
            if active == 0 {
                warp.advance();
                continue;
            }
            self.executed[warp.pc as usize] = true;
            match self.execute(block, w, active, instruction).map_err(|t| (t, instruction.line))? {
                Flow::Next => block.warps[w].advance(),
                Flow::Placed => {}
                Flow::Yield => return Ok(()),
            }
        }
        // Lanes that spin for others of their warp would starve them for ever: let the others run now and then.
        let warp = &mut block.warps[w];
        if warp.mask != 0 && warp.mask != warp.live && warp.steps > 1 << 14 && self.random.below(16) == 0 {
            warp.choose_other(self.random.below(1 << 20));
        }
        Ok(())
    }

    fn check_predicate(&self, warp: &Warp, p: u32, mask: u32) -> Outcome {
        let missing = mask & !warp.predicates_written[p as usize];
        if missing == 0 {
            return Ok(());
        }
        let name = &self.kernel.predicate_names[p as usize];
        Err(Trouble::new(FaultKind::UnwrittenRegister, missing.trailing_zeros(), format!("predicate {name} is read and was never written")))
    }

    /// The value of a predicate operand in every lane.
    pub(crate) fn predicate(&self, warp: &Warp, p: PredicateSource, mask: u32) -> Outcome<u32> {
        match p {
            PredicateSource::Constant(true) => Ok(u32::MAX),
            PredicateSource::Constant(false) => Ok(0),
            PredicateSource::Register(p, negated) => {
                self.check_predicate(warp, p, mask)?;
                let bits = warp.predicates[p as usize];
                Ok(if negated { !bits } else { bits })
            }
        }
    }

    /// The lanes of an operand, borrowed where they lie; specials are written to `scratch`.
    #[inline]
    pub(crate) fn lanes<'a>(
        &self,
        block_index: [u32; 3],
        warp: &'a Warp,
        source: &'a Source,
        mask: u32,
        scratch: &'a mut Lanes,
    ) -> Outcome<&'a Lanes> {
        match source {
            Source::Register(r) => {
                warp.check_register(*r, mask, &self.kernel.register_names)?;
                Ok(&warp.registers[*r as usize])
            }
            Source::Immediate(values) => Ok(values),
            Source::Symbol(index, offset) => {
                *scratch = [self.symbols[*index as usize].wrapping_add(*offset as u64); WARP];
                Ok(scratch)
            }
            Source::Special(special) => {
                *scratch = match special {
                    Special::Thread(axis) => warp.thread[*axis],
                    Special::Lane => std::array::from_fn(|l| l as u64),
                    Special::LaneMask(f) => std::array::from_fn(|l| (0..32).fold(0, |m, i| m | u64::from(f(l as u32, i)) << i)),
                    Special::ThreadCount(axis) => [u64::from(self.dims[*axis]); WARP],
                    Special::Block(axis) => [u64::from(block_index[*axis]); WARP],
                    Special::BlockCount(axis) => [u64::from(self.grid[*axis]); WARP],
                    Special::Warp => [warp.number as u64; WARP],
                    Special::WarpCount => [u64::from(self.dims.iter().product::<u32>().div_ceil(32)); WARP],
                    Special::Cluster(0) => [u64::from(block_index[0] / self.kernel.cluster); WARP],
                    Special::ClusterCount(0) => [u64::from(self.grid[0] / self.kernel.cluster); WARP],
                    Special::Cluster(axis) => [u64::from(block_index[*axis]); WARP],
                    Special::ClusterCount(axis) => [u64::from(self.grid[*axis]); WARP],
                    Special::ClusterRank => [u64::from(block_index[0] % self.kernel.cluster); WARP],
                    Special::ClusterSize => [u64::from(self.kernel.cluster); WARP],
                    Special::Clock => [self.steps & 0xffff_ffff; WARP],
                    Special::DynamicShared => [self.dynamic; WARP],
                    Special::TotalShared => [self.kernel.shared_end - crate::decode::SHARED_START + self.dynamic; WARP],
                    Special::Constant(value) => [*value; WARP],
                };
                Ok(scratch)
            }
        }
    }

    /// A copy of the lanes of an operand.
    pub(crate) fn values(&self, block: &Block, w: usize, source: &Source, mask: u32) -> Outcome<Lanes> {
        let mut scratch = [0; WARP];
        self.lanes(block.index, &block.warps[w], source, mask, &mut scratch).copied()
    }

    fn execute(&mut self, block: &mut Block<'m>, w: usize, active: u32, instruction: &'m Instruction) -> Outcome<Flow> {
        let index = block.index;
        let warp = &mut block.warps[w];
        let mut out = [0; WARP];
        let (mut s, mut t, mut u) = ([0; WARP], [0; WARP], [0; WARP]);
        match &instruction.op {
            Op::Map1 { f, d, a } => {
                f(self.lanes(index, warp, a, active, &mut s)?, &mut out);
                warp.set(*d, active, &out);
            }
            Op::Map2 { f, d, a, b } => {
                f(self.lanes(index, warp, a, active, &mut s)?, self.lanes(index, warp, b, active, &mut t)?, &mut out);
                warp.set(*d, active, &out);
            }
            Op::Map3 { f, d, a, b, c } => {
                let a = self.lanes(index, warp, a, active, &mut s)?;
                f(a, self.lanes(index, warp, b, active, &mut t)?, self.lanes(index, warp, c, active, &mut u)?, &mut out);
                warp.set(*d, active, &out);
            }
            Op::Map4 { f, d, operands } => {
                let mut copies = [[0; WARP]; 4];
                for (copy, source) in copies.iter_mut().zip(operands.iter()) {
                    *copy = *self.lanes(index, warp, source, active, &mut s)?;
                }
                f(copies.each_ref(), &mut out);
                warp.set(*d, active, &out);
            }
            Op::Move { d, a } => {
                out = *self.lanes(index, warp, a, active, &mut s)?;
                warp.set(*d, active, &out);
            }
            Op::Pack { d, parts, bits } => {
                for (i, part) in parts.iter().enumerate() {
                    let part = self.lanes(index, warp, part, active, &mut s)?;
                    (0..WARP).for_each(|l| out[l] |= part[l] << (bits * i as u32));
                }
                warp.set(*d, active, &out);
            }
            Op::Unpack { parts, a, bits } => {
                let a = *self.lanes(index, warp, a, active, &mut s)?;
                for (i, part) in parts.iter().enumerate() {
                    if let Some(d) = part {
                        let one = std::array::from_fn(|l| a[l] >> (bits * i as u32) & crate::types::mask(*bits));
                        warp.set(*d, active, &one);
                    }
                }
            }
            Op::Compare { f, a, b, p, q, combine } => {
                let bits = f(self.lanes(index, warp, a, active, &mut s)?, self.lanes(index, warp, b, active, &mut t)?);
                let (yes, no) = match combine {
                    None => (bits, !bits),
                    Some((logic, c)) => {
                        let c = self.predicate(warp, *c, active)?;
                        (logic.of(bits, c), logic.of(!bits, c))
                    }
                };
                if let Some(p) = p {
                    warp.set_predicate(*p, active, yes);
                }
                if let Some(q) = q {
                    warp.set_predicate(*q, active, no);
                }
            }
            Op::CompareValue { f, a, b, d, yes, combine } => {
                let mut bits = f(self.lanes(index, warp, a, active, &mut s)?, self.lanes(index, warp, b, active, &mut t)?);
                if let Some((logic, c)) = combine {
                    bits = logic.of(bits, self.predicate(warp, *c, active)?);
                }
                (0..WARP).for_each(|l| out[l] = if bits >> l & 1 == 1 { *yes } else { 0 });
                warp.set(*d, active, &out);
            }
            Op::Test1 { f, a, p } => {
                let a = self.lanes(index, warp, a, active, &mut s)?;
                let bits = f(a, a);
                warp.set_predicate(*p, active, bits);
            }
            Op::Select { d, a, b, p } => {
                let p = self.predicate(warp, *p, active)?;
                let a = self.lanes(index, warp, a, active & p, &mut s)?;
                let b = self.lanes(index, warp, b, active & !p, &mut t)?;
                (0..WARP).for_each(|l| out[l] = if p >> l & 1 == 1 { a[l] } else { b[l] });
                warp.set(*d, active, &out);
            }
            Op::PredicateLogic { d, a, b, logic } => {
                let bits = logic.of(self.predicate(warp, *a, active)?, self.predicate(warp, *b, active)?);
                warp.set_predicate(*d, active, bits);
            }
            Op::Branch { target } => {
                if active == warp.mask && active == warp.live {
                    warp.pc = *target;
                } else {
                    let from = warp.pc + 1;
                    for lane in lanes(warp.mask) {
                        warp.pcs[lane] = if active >> lane & 1 == 1 { *target } else { from };
                    }
                    warp.choose();
                }
                return Ok(Flow::Placed);
            }
            Op::BranchTable { index: i, targets } => {
                let i = *self.lanes(index, warp, i, active, &mut s)?;
                warp.store_group();
                for lane in lanes(warp.mask) {
                    warp.pcs[lane] = match (active >> lane & 1 == 1, targets.get(i[lane] as usize)) {
                        (false, _) => warp.pc + 1,
                        (true, Some(target)) => *target,
                        (true, None) => {
                            let message = format!("index {} of a table of {} targets", i[lane], targets.len());
                            return Err(Trouble::new(FaultKind::BadOperand, lane as u32, message));
                        }
                    };
                }
                warp.choose();
                return Ok(Flow::Placed);
            }
            Op::Exit => return self.exit(block, w, active),
            Op::Trap => return Err(Trouble::new(FaultKind::Trap, active.trailing_zeros(), "the kernel trapped")),
            // Grids run one after the other here.
            Op::Nothing | Op::LaunchNextGrid => {}
            Op::WaitForGrids => warp.waited |= active,
            Op::Fence => {
                let heard = std::mem::take(&mut warp.heard);
                warp.knowledge.join(&heard);
                warp.fenced = warp.knowledge.clone();
                warp.tick();
            }
            Op::ActiveMask { d } => {
                out = [u64::from(active); WARP];
                warp.set(*d, active, &out);
            }
            Op::Load { ty, to, at, order } => self.load(block, w, active, (*ty, to), at, *order)?,
            Op::Store { ty, from, at, order } => self.store(block, w, active, (*ty, from), at, *order)?,
            Op::Atomic { bytes, f, in_global, d, at, a, b, order } => {
                self.atomic(block, w, active, (*bytes, f, in_global.as_ref(), *d), at, (a, b), *order)?
            }
            Op::AsyncCopy { .. } | Op::AsyncCommit | Op::AsyncWait { .. } => self.async_copy(block, w, active, &instruction.op)?,
            Op::Bulk(copy) => self.bulk(block, w, active, copy, instruction.line)?,
            Op::BulkCommit => lanes(active).for_each(|l| warp.bulk_groups[l] += 1),
            Op::BulkWait { pending } => self.bulk_wait(block, w, active, *pending)?,
            Op::Mbarrier { op, at } => return self.mbarrier(block, w, active, op, at),
            Op::Barrier { id, count, kind, aligned, vote } => {
                return self.barrier(block, w, active, (id, count.as_ref()), *kind, *aligned, *vote);
            }
            Op::ClusterArrive { aligned } => return self.cluster_arrive(block, w, active, *aligned),
            Op::ClusterWait { aligned } => return self.cluster_wait(block, w, active, *aligned),
            Op::WarpgroupFence => {}
            Op::WarpgroupCommit => self.warpgroup_commit(block, w),
            Op::WarpgroupWait { pending } => self.warpgroup_wait(block, w, *pending)?,
            Op::WarpgroupMultiply(op) => return self.warpgroup_multiply(block, w, active, op, instruction.line),
            _ => return self.collective(block, w, active, &instruction.op),
        }
        Ok(Flow::Next)
    }

    fn exit(&mut self, block: &mut Block<'m>, w: usize, active: u32) -> Outcome<Flow> {
        let warp = &mut block.warps[w];
        if warp.converging != 0 {
            let lane = warp.converging.trailing_zeros();
            return Err(Trouble::new(
                FaultKind::Divergence,
                lane,
                format!(
                    "lanes {:#010x} wait for their whole warp at line {}, which lanes {active:#010x} never reach: they exit",
                    warp.converging, self.kernel.code[warp.pcs[lane as usize] as usize].line
                ),
            ));
        }
        let stay = warp.mask & !active;
        for lane in lanes(stay) {
            warp.pcs[lane] = warp.pc + 1;
        }
        warp.live &= !active;
        warp.mask = 0;
        warp.choose();
        if warp.live == 0 {
            self.check_barriers(block)?;
            return Ok(Flow::Yield);
        }
        Ok(Flow::Placed)
    }
}
