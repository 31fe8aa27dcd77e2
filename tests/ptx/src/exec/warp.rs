//! The state of a warp: registers, places of its lanes in the code, what it waits for.

use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instruction::{Lanes, WARP};
use crate::memory::races::{Knowledge, Observer};

/// A `cp.async` that was issued and not waited for.
pub(crate) struct PendingCopy {
    pub lane: u32,
    /// Number of the lane's group.
    pub group: u32,
    pub to: u64,
    pub from: u64,
    pub size: u64,
    /// Bytes that are read; the rest is zero.
    pub read: u64,
}

/// A warp.
pub(crate) struct Warp {
    /// Number in the block, and in the grid.
    pub number: usize,
    pub global: u32,
    pub registers: Vec<Lanes>,
    pub written: Vec<u32>,
    pub predicates: Vec<u32>,
    pub predicates_written: Vec<u32>,
    /// Where each lane is that does not belong to the running group.
    pub pcs: [u32; WARP],
    /// The running group: its lanes and their place.
    pub mask: u32,
    pub pc: u32,
    /// The lowest place of the other runnable lanes.
    next_other: u32,
    pub live: u32,
    /// Lanes that wait for others of the warp, at a named barrier, at an mbarrier.
    pub converging: u32,
    pub at_barrier: u32,
    pub at_mbarrier: u32,
    /// Number of the barrier, or address of the mbarrier, that each lane waits at.
    pub waits_at: [u64; WARP],
    /// Address of the mbarrier that each lane last tried in vain, or 0.
    pub tried: [u64; WARP],
    /// Lanes that have waited for the grids before this one.
    pub waited: u32,
    /// Waits for the other warps of its warpgroup at a `wgmma`.
    pub at_warpgroup: bool,
    pub knowledge: Knowledge,
    /// Accesses of any lane before this clock are ordered before all lanes.
    pub together: u32,
    /// The same for single lanes, which waited at an mbarrier for others of the warp.
    pub met: [u32; WARP],
    /// Knowledge at the last fence, which relaxed operations publish.
    pub fenced: Knowledge,
    /// Knowledge that relaxed operations have read, taken on at the next fence.
    pub heard: Knowledge,
    pub copies: Vec<PendingCopy>,
    pub copy_groups: [u32; WARP],
    pub bulk_groups: [u32; WARP],
    /// How often each lane has arrived at the barrier of its cluster.
    pub cluster_arrivals: [u64; WARP],
    pub steps: u64,
    pub thread: [Lanes; 3],
}

impl Warp {
    pub(crate) fn new(number: usize, block: u64, warps: usize, dims: [u32; 3], registers: u32, predicates: u32) -> Warp {
        let threads = dims.iter().product::<u32>() as usize;
        let live = threads.saturating_sub(number * WARP).min(WARP) as u32;
        let live = if live == 32 { u32::MAX } else { (1 << live) - 1 };
        let first = (block * warps as u64) as u32;
        let mut knowledge = Knowledge::new(first, warps);
        knowledge.own[number] = 1;
        let thread =
            std::array::from_fn(|axis| std::array::from_fn(|lane| u64::from(super::unravel((number * WARP + lane) as u32, dims)[axis])));
        Warp {
            number,
            global: first + number as u32,
            registers: vec![[0xdead_beef_dead_beef; WARP]; registers as usize],
            written: vec![0; registers as usize],
            predicates: vec![0; predicates as usize],
            predicates_written: vec![0; predicates as usize],
            pcs: [0; WARP],
            mask: live,
            pc: 0,
            next_other: u32::MAX,
            live,
            converging: 0,
            at_barrier: 0,
            at_mbarrier: 0,
            waits_at: [0; WARP],
            tried: [0; WARP],
            waited: 0,
            at_warpgroup: false,
            knowledge,
            together: 0,
            met: [0; WARP],
            fenced: Knowledge::default(),
            heard: Knowledge::default(),
            copies: Vec::new(),
            copy_groups: [0; WARP],
            bulk_groups: [0; WARP],
            cluster_arrivals: [0; WARP],
            steps: 0,
            thread,
        }
    }

    pub(crate) fn parked(&self) -> u32 {
        self.converging | self.at_barrier | self.at_mbarrier
    }

    pub(crate) fn runnable(&self) -> bool {
        !self.at_warpgroup && self.live & !self.parked() != 0
    }

    /// Whether every live lane only waits for lanes of its own warp: none can come any more.
    pub(crate) fn is_stuck(&self) -> bool {
        self.live != 0 && self.converging & self.live != 0 && self.live & !self.parked() == 0 && self.at_barrier | self.at_mbarrier == 0
    }

    /// The running group goes on behind its instruction.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.pc += 1;
        if self.pc >= self.next_other || self.mask == 0 {
            self.regroup();
        }
    }

    /// Writes the place of the running group back to its lanes.
    pub(crate) fn store_group(&mut self) {
        for lane in lanes(self.mask) {
            self.pcs[lane] = self.pc;
        }
    }

    /// Chooses the runnable lanes with the lowest place as the running group.
    pub(crate) fn regroup(&mut self) {
        self.store_group();
        self.choose();
    }

    /// As [`Warp::regroup`], when `pcs` are right already.
    pub(crate) fn choose(&mut self) {
        let ready = self.live & !self.parked();
        let lowest = lanes(ready).map(|l| self.pcs[l]).min().unwrap_or(u32::MAX);
        self.take_group(ready, lowest);
    }

    /// Lets lanes run whose turn lowest-first would never come: for spinning lanes that wait for others of their warp.
    pub(crate) fn choose_other(&mut self, pick: u32) {
        self.store_group();
        let ready = self.live & !self.parked();
        let n = ready.count_ones();
        if n == 0 {
            return;
        }
        let lane = lanes(ready).nth((pick % n) as usize).unwrap_or(0);
        self.take_group(ready, self.pcs[lane]);
    }

    fn take_group(&mut self, ready: u32, place: u32) {
        self.mask = 0;
        self.next_other = u32::MAX;
        self.pc = place;
        for lane in lanes(ready) {
            match self.pcs[lane] {
                p if p == place => self.mask |= 1 << lane,
                // Lanes behind are left behind only by `choose_other`.
                p if p > place => self.next_other = self.next_other.min(p),
                _ => {}
            }
        }
    }

    /// `active` lanes of the group execute; the others of it skip the instruction (`skip`) or stay before it.
    pub(crate) fn split(&mut self, active: u32, skip: bool) {
        for lane in lanes(self.mask & !active) {
            self.pcs[lane] = self.pc + u32::from(skip);
            self.next_other = self.next_other.min(self.pcs[lane]);
        }
        self.mask &= active;
    }

    /// The values of a register in the running group; reading what was not written is a fault.
    #[inline]
    pub(crate) fn check_register(&self, register: u32, mask: u32, names: &[String]) -> Outcome {
        let missing = mask & !self.written[register as usize];
        if missing == 0 {
            return Ok(());
        }
        Err(Trouble::new(
            FaultKind::UnwrittenRegister,
            missing.trailing_zeros(),
            format!("register {} is read and was never written (or its asynchronous result was not waited for)", names[register as usize]),
        ))
    }

    /// Writes lanes of a register.
    #[inline]
    pub(crate) fn set(&mut self, register: u32, mask: u32, values: &Lanes) {
        let slot = &mut self.registers[register as usize];
        if mask == u32::MAX {
            *slot = *values;
        } else {
            for lane in lanes(mask) {
                slot[lane] = values[lane];
            }
        }
        self.written[register as usize] |= mask;
    }

    /// Writes lanes of a predicate.
    #[inline]
    pub(crate) fn set_predicate(&mut self, predicate: u32, mask: u32, bits: u32) {
        let slot = &mut self.predicates[predicate as usize];
        *slot = *slot & !mask | bits & mask;
        self.predicates_written[predicate as usize] |= mask;
    }

    pub(crate) fn clock(&self) -> u32 {
        self.knowledge.own[self.number]
    }

    /// Later accesses are no longer covered by what was released so far.
    pub(crate) fn tick(&mut self) {
        self.knowledge.own[self.number] += 1;
    }

    /// What an operation tells others: all that the warp knows where it releases, else what it knew at its last fence.
    pub(crate) fn published(&self, release: bool) -> &Knowledge {
        if release { &self.knowledge } else { &self.fenced }
    }

    /// Orders the lanes of the warp among themselves.
    pub(crate) fn come_together(&mut self) {
        self.tick();
        self.together = self.clock();
    }

    #[inline]
    pub(crate) fn observer(&self, lane: u32) -> Observer<'_> {
        let together = self.together.max(self.met[lane as usize]);
        Observer { warp: self.global, lane, clock: self.clock(), together, knowledge: &self.knowledge }
    }
}

/// Numbers of the set bits.
#[inline]
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let lane = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        Some(lane)
    })
}
