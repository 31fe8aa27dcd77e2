//! Clusters: blocks that run at the same time, and reach into each other's shared memory by arrivals at `mbarrier` objects and by copies that
//! come to several of them. What goes from block to block takes its time: it arrives whenever the schedule likes.
//!
//! Addresses of another block's shared memory are those of the own, moved by its rank: they are made by `mapa`. Loads and stores through
//! them are not supported, and leave shared memory.

use super::block::{Block, PendingBulk};
use super::warp::lanes;
use super::{Flow, Machine};
use crate::decode::SHARED_START;
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instruction::{Lanes, WARP};
use crate::memory::SHARED_WINDOW;
use crate::memory::races::{Knowledge, Observer, Touch};
use crate::parse::Space;
use crate::schedule::Stop;

/// Bytes from the shared memory of a block to that of the next one, in addresses of a cluster.
const APART: u64 = 1 << 20;
/// Blocks of a cluster at most.
pub(crate) const MOST_BLOCKS: u32 = 16;

/// The address of the same place in the block of a rank.
pub(crate) fn mapped(address: u64, rank: u64) -> u64 {
    address + (rank + 1) * APART
}

/// Rank and own address that an address of a cluster names.
fn unmapped(address: u64) -> Option<(u64, u64)> {
    (APART..(u64::from(MOST_BLOCKS) + 1) * APART).contains(&address).then(|| (address / APART - 1, address % APART))
}

/// What goes to another block.
pub(crate) struct Message {
    /// Number of the block in the grid.
    to: u64,
    /// Who sent it.
    from: Sender,
    what: Sent,
}

enum Sent {
    Arrival { address: u64, count: u64 },
    Copy(PendingBulk),
}

/// A thread at some time.
struct Sender {
    block: [u32; 3],
    warp: usize,
    global: u32,
    lane: u32,
    clock: u32,
    knowledge: Knowledge,
    line: u32,
}

/// The barrier of a cluster.
#[derive(Default)]
pub(crate) struct ClusterBarrier {
    arrived: u32,
    phase: u64,
    gathering: Knowledge,
    released: Knowledge,
}

impl<'m> Machine<'m> {
    /// A block's rank in its cluster.
    pub(crate) fn rank(&self, block: &Block) -> u64 {
        block.number % u64::from(self.kernel.cluster)
    }

    /// Addresses of the own block's shared memory, where those of a cluster name it.
    pub(crate) fn own_addresses(&self, block: &Block, space: Space, addresses: &mut Lanes) {
        let base = match space {
            Space::Shared => 0,
            Space::Generic => SHARED_WINDOW,
            _ => return,
        };
        for address in addresses {
            if let Some((rank, own)) = address.checked_sub(base).and_then(unmapped)
                && rank == self.rank(block)
            {
                *address = base + own;
            }
        }
    }

    fn sender(&self, block: &Block, w: usize, lane: u32, knowledge: Knowledge) -> Sender {
        let warp = &block.warps[w];
        let line = self.kernel.code[warp.pc as usize].line;
        Sender { block: block.index, warp: w, global: warp.global, lane, clock: warp.clock(), knowledge, line }
    }

    fn peer(&self, block: &Block, rank: u64, lane: u32) -> Outcome<u64> {
        let size = u64::from(self.kernel.cluster);
        if rank >= size {
            return Err(Trouble::new(FaultKind::BadOperand, lane, format!("rank {rank} in a cluster of {size} blocks")));
        }
        Ok(block.number - self.rank(block) + rank)
    }

    /// Sends an arrival to the block that an address names; false: it is the own one's.
    pub(crate) fn arrives_elsewhere(
        &mut self,
        block: &Block,
        w: usize,
        lane: u32,
        address: u64,
        count: u64,
        release: bool,
    ) -> Outcome<bool> {
        let Some((rank, address)) = unmapped(address) else { return Ok(false) };
        let to = self.peer(block, rank, lane)?;
        let knowledge = block.warps[w].published(release).clone();
        let from = self.sender(block, w, lane, knowledge);
        self.messages.push(Message { to, from, what: Sent::Arrival { address, count } });
        Ok(true)
    }

    /// Sends a copy to the blocks of a mask that are not the own; true: that is in it as well.
    pub(crate) fn copies_elsewhere(&mut self, block: &Block, w: usize, lane: u32, mask: u64, copy: &PendingBulk) -> Outcome<bool> {
        let own = self.rank(block);
        for rank in (0..64).filter(|rank| mask >> rank & 1 == 1 && *rank != own) {
            let to = self.peer(block, rank, lane)?;
            let from = self.sender(block, w, lane, copy.knowledge.clone());
            self.messages.push(Message { to, from, what: Sent::Copy(copy.clone()) });
        }
        Ok(mask >> own & 1 == 1)
    }

    /// Brings one of the messages under way to its block.
    pub(crate) fn deliver(&mut self, blocks: &mut [Block<'m>]) -> Result<(), Stop> {
        let which = self.random.below(self.messages.len() as u32) as usize;
        let Message { to, from, what } = self.messages.swap_remove(which);
        let (sent_by, warp, line) = (from.block, from.warp, from.line);
        let stop = |trouble| Stop { trouble, line: Some(line), block: sent_by, warp };
        let Some(block) = blocks.iter_mut().find(|block| block.number == to) else {
            let message = "what it sends to another block of its cluster comes after that has exited";
            return Err(stop(Trouble::new(FaultKind::BadOperand, from.lane, message)));
        };
        match what {
            Sent::Arrival { address, count } => {
                if !block.mbarriers.contains_key(&address) {
                    let message = format!("no mbarrier was initialised at shared address {address:#x} of block {:?}", block.index);
                    return Err(stop(Trouble::new(FaultKind::BadOperand, from.lane, message)));
                }
                self.arrive(block, from.lane, address, count, &from.knowledge).map_err(stop)
            }
            Sent::Copy(copy) => self.copy_from_elsewhere(block, &from, copy).map_err(stop),
        }
    }

    fn copy_from_elsewhere(&mut self, block: &mut Block<'m>, from: &Sender, copy: PendingBulk) -> Outcome {
        let bad = |message: String| Trouble::new(FaultKind::BadOperand, from.lane, message);
        if let Some(barrier) = copy.barrier
            && !block.mbarriers.contains_key(&barrier)
        {
            return Err(bad(format!("no mbarrier was initialised at shared address {barrier:#x} of block {:?}", block.index)));
        }
        let who = Observer { warp: from.global, lane: from.lane, clock: from.clock, together: from.clock, knowledge: &from.knowledge };
        for (address, _, bytes) in &copy.pieces {
            if !block.shared.holds(*address, *bytes) {
                return Err(bad(format!("{bytes} bytes at {address:#x} leave the shared memory of block {:?}", block.index)));
            }
            let (offset, size) = (address - SHARED_START, block.shared.size());
            if block.shared.shadow.access(offset, *bytes, size, Touch::Write { same: false }, &who).is_err() {
                let message =
                    format!("a copy to {address:#x} of block {:?}, which its threads may still use: nothing orders the two", block.index);
                return Err(Trouble::new(FaultKind::Race, from.lane, message));
            }
            block.shared.mark(offset, *bytes, false);
        }
        block.bulk.push(copy);
        Ok(())
    }

    /// Threads arrive at the barrier of their cluster.
    pub(crate) fn cluster_arrive(&mut self, block: &mut Block<'m>, w: usize, active: u32, aligned: bool) -> Outcome<Flow> {
        if aligned && !self.converge(block, w, active, block.warps[w].live)? {
            return Ok(Flow::Placed);
        }
        let threads = self.dims.iter().product::<u32>() * self.kernel.cluster;
        let warp = &mut block.warps[w];
        let barrier = self.clusters.entry(block.number / u64::from(self.kernel.cluster)).or_default();
        barrier.arrived += active.count_ones();
        barrier.gathering.join(&warp.knowledge);
        lanes(active).for_each(|lane| warp.cluster_arrivals[lane] += 1);
        warp.tick();
        if barrier.arrived >= threads {
            barrier.arrived = 0;
            barrier.phase += 1;
            let gathered = std::mem::take(&mut barrier.gathering);
            barrier.released.join(&gathered);
        }
        Ok(Flow::Next)
    }

    /// Threads wait until all of their cluster have arrived as often as they have.
    pub(crate) fn cluster_wait(&mut self, block: &mut Block<'m>, w: usize, active: u32, aligned: bool) -> Outcome<Flow> {
        if aligned && !self.converge(block, w, active, block.warps[w].live)? {
            return Ok(Flow::Placed);
        }
        let size = u64::from(self.kernel.cluster);
        // Arrivals before the barrier are there after it; copies have barriers of their own.
        let comes = |m: &Message| matches!(m.what, Sent::Arrival { .. }) && m.to / size == block.number / size;
        let is_quiet = !self.messages.iter().any(comes);
        let warp = &mut block.warps[w];
        let barrier = self.clusters.entry(block.number / size).or_default();
        if let Some(lane) = lanes(active).find(|lane| warp.cluster_arrivals[*lane] == 0) {
            return Err(Trouble::new(
                FaultKind::BadOperand,
                lane as u32,
                "a thread waits at the barrier of its cluster and has not arrived",
            ));
        }
        if !is_quiet || lanes(active).any(|lane| warp.cluster_arrivals[lane] > barrier.phase) {
            // Lanes of the same warp may have to arrive yet.
            if active != warp.live {
                warp.choose_other(self.random.below(WARP as u32));
            }
            return Ok(Flow::Yield);
        }
        let told = barrier.released.clone();
        warp.knowledge.join(&told);
        warp.come_together();
        Ok(Flow::Next)
    }
}
