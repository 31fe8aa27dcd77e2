//! The state of a block: warps, shared and local memory, barriers.

use super::warp::Warp;
use crate::decode::{LOCAL_START, SHARED_START};
use crate::descriptor::WarpgroupMultiply;
use crate::instruction::{BarrierKind, WARP};
use crate::memory::Region;
use crate::memory::races::Knowledge;
use crate::module::Kernel;
use std::collections::BTreeMap;

/// A warp that waits at a barrier.
pub(crate) struct Waiting {
    pub warp: usize,
    pub mask: u32,
    pub kind: BarrierKind,
}

/// A named barrier.
#[derive(Default)]
pub(crate) struct Barrier {
    /// Threads that take part; none: all of the block.
    pub expected: Option<u32>,
    /// Threads that have arrived, full warps counted as 32; and only live ones.
    pub arrived: u32,
    pub arrived_live: u32,
    pub waiting: Vec<Waiting>,
    pub knowledge: Knowledge,
    pub votes: u32,
    pub all: bool,
    pub any: bool,
    pub arrivals: Vec<(usize, u32)>,
}

/// An `mbarrier` object.
#[derive(Clone, Debug, Default)]
pub(crate) struct MbarrierState {
    pub expected: u32,
    pub pending: u32,
    /// Bytes still to come; may go below zero for a moment, when bytes arrive before they are expected.
    pub bytes: i64,
    /// Phases completed.
    pub phase: u64,
    /// What arrivals of this phase have published, and of the last one.
    pub gathering: Knowledge,
    pub released: Knowledge,
}

/// A bulk copy under way.
#[derive(Clone)]
pub(crate) struct PendingBulk {
    /// Pieces: shared address, global address (none: zero fill), bytes.
    pub pieces: Vec<(u64, Option<u64>, u64)>,
    pub to_shared: bool,
    pub barrier: Option<u64>,
    pub warp: usize,
    pub lane: u32,
    /// The issuing lane's bulk group (stores).
    pub group: u32,
    /// What the warp knew at issue.
    pub knowledge: Knowledge,
    pub line: u32,
}

/// Shared memory that a bulk copy to global memory reads until its issuing lane has waited for it.
pub(crate) struct BulkRead {
    pub warp: usize,
    pub lane: u32,
    pub group: u32,
    /// Shared address and bytes.
    pub pieces: Vec<(u64, u64)>,
    pub line: u32,
}

/// A `wgmma` under way: the operation, and per warp the descriptors.
pub(crate) struct PendingMultiply<'m> {
    pub op: &'m WarpgroupMultiply,
    pub a: u64,
    pub b: u64,
    pub keep: bool,
    /// Commit group, or none while open.
    pub group: Option<u32>,
    pub line: u32,
}

/// Four warps that multiply together.
#[derive(Default)]
pub(crate) struct Warpgroup<'m> {
    pub pending: Vec<PendingMultiply<'m>>,
    /// Groups that have ended, and what a warp that waits for one learns: who read the factors when.
    pub ended: Vec<(u32, Knowledge)>,
    /// Per warp: groups it has committed, and registers that it must wait for with the group that writes them.
    pub warps: [WarpgroupMember; 4],
}

/// A warp of a warpgroup.
#[derive(Default)]
pub(crate) struct WarpgroupMember {
    pub committed: u32,
    /// Groups before this one it has waited for.
    pub waited: u32,
    pub in_flight: Vec<(u32, Option<u32>)>,
}

/// A block.
pub(crate) struct Block<'m> {
    pub index: [u32; 3],
    /// In the grid.
    pub number: u64,
    pub warps: Vec<Warp>,
    pub shared: Region,
    pub local: Vec<Option<Region>>,
    pub barriers: Vec<Barrier>,
    pub mbarriers: BTreeMap<u64, MbarrierState>,
    pub bulk: Vec<PendingBulk>,
    pub bulk_reads: Vec<BulkRead>,
    pub groups: Vec<Warpgroup<'m>>,
    /// What atomics on shared locations have published.
    pub published: BTreeMap<u64, Knowledge>,
}

impl<'m> Block<'m> {
    pub(crate) fn new(index: [u32; 3], number: u64, dims: [u32; 3], kernel: &Kernel, dynamic: u64) -> Block<'m> {
        let threads = dims.iter().product::<u32>() as usize;
        let warps = threads.div_ceil(WARP);
        Block {
            index,
            number,
            warps: (0..warps).map(|w| Warp::new(w, number, warps, dims, kernel.registers, kernel.predicates)).collect(),
            shared: Region::new(SHARED_START, kernel.shared_end - SHARED_START + dynamic),
            local: (0..if kernel.local_bytes > LOCAL_START { threads } else { 0 }).map(|_| None).collect(),
            barriers: (0..16).map(|_| Barrier { all: true, ..Barrier::default() }).collect(),
            mbarriers: BTreeMap::new(),
            bulk: Vec::new(),
            bulk_reads: Vec::new(),
            groups: (0..warps.div_ceil(4)).map(|_| Warpgroup::default()).collect(),
            published: BTreeMap::new(),
        }
    }

    pub(crate) fn finished(&self) -> bool {
        self.warps.iter().all(|w| w.live == 0)
    }
}
