//! Happens-before between threads, and the last accesses of every granule of memory.
//!
//! Every warp has a clock that ticks when it releases (arrives at a barrier, fences, publishes by an atomic). An access is ordered before a
//! later one when the later thread has, through such releases, learnt of a later clock. The last write and the last two readers are kept;
//! a race with an older reader shows under other seeds.

use std::collections::HashMap;
use std::rc::Rc;

/// What a warp knows of the clocks of other warps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    /// Number of the block's first warp in the grid.
    pub first: u32,
    /// Clocks of the warps of the own block.
    pub own: Vec<u32>,
    /// Clocks of warps of other blocks.
    pub foreign: Option<Rc<HashMap<u32, u32>>>,
}

impl Knowledge {
    pub(crate) fn new(first: u32, warps: usize) -> Knowledge {
        Knowledge { first, own: vec![0; warps], foreign: None }
    }

    /// Learns what `other` knows.
    pub(crate) fn join(&mut self, other: &Knowledge) {
        if other.own.is_empty() {
            return;
        }
        if self.own.is_empty() {
            *self = other.clone();
            return;
        }
        if self.first == other.first {
            for (mine, theirs) in self.own.iter_mut().zip(&other.own) {
                *mine = (*mine).max(*theirs);
            }
            match (&mut self.foreign, &other.foreign) {
                (_, None) => {}
                (Some(mine), Some(theirs)) if Rc::ptr_eq(mine, theirs) => {}
                (_, Some(theirs)) => {
                    let theirs = theirs.clone();
                    theirs.iter().for_each(|(warp, clock)| self.learn(*warp, *clock));
                }
            }
            return;
        }
        for (i, clock) in other.own.iter().enumerate() {
            self.learn(other.first + i as u32, *clock);
        }
        if let Some(theirs) = other.foreign.clone() {
            theirs.iter().for_each(|(warp, clock)| self.learn(*warp, *clock));
        }
    }

    fn learn(&mut self, warp: u32, clock: u32) {
        let inside = warp.wrapping_sub(self.first) as usize;
        if let Some(mine) = self.own.get_mut(inside) {
            *mine = (*mine).max(clock);
        } else if clock > 0 {
            let map = Rc::make_mut(self.foreign.get_or_insert_default());
            let mine = map.entry(warp).or_insert(0);
            *mine = (*mine).max(clock);
        }
    }

    fn clock_of(&self, warp: u32) -> u32 {
        match self.own.get(warp.wrapping_sub(self.first) as usize) {
            Some(clock) => *clock,
            None => self.foreign.as_ref().and_then(|f| f.get(&warp)).copied().unwrap_or(0),
        }
    }
}

/// Who accesses memory, at which time.
#[derive(Clone, Copy)]
pub(crate) struct Observer<'a> {
    /// Number of the warp in the grid.
    pub warp: u32,
    pub lane: u32,
    pub clock: u32,
    /// Accesses of the own warp before this clock are ordered before all its lanes.
    pub together: u32,
    pub knowledge: &'a Knowledge,
}

/// A stamp: thread + 1 in the upper half, clock in the lower.
type Stamp = u64;
/// Several lanes of the warp at once.
const MANY: u64 = 1 << 63;
/// By an atomic or another strong access.
const STRONG: u64 = 1 << 31;

impl Observer<'_> {
    fn stamp(&self, strong: bool) -> Stamp {
        u64::from(self.warp * 32 + self.lane + 1) << 32 | u64::from(self.clock) | if strong { STRONG } else { 0 }
    }

    fn comes_after(&self, stamp: Stamp) -> bool {
        if stamp == 0 {
            return true;
        }
        let thread = (stamp >> 32 & 0x7fff_ffff) as u32 - 1;
        let clock = (stamp & 0x7fff_ffff) as u32;
        let warp = thread / 32;
        if warp == self.warp {
            return clock < self.together || thread % 32 == self.lane && stamp & MANY == 0;
        }
        self.knowledge.clock_of(warp) >= clock
    }
}

#[derive(Clone, Copy, Default)]
struct Cell {
    write: Stamp,
    reads: [Stamp; 2],
}

/// A race that was found: the earlier access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// Number of the other thread in the grid, warps counted as 32.
    pub thread: u32,
    /// It wrote.
    pub wrote: bool,
}

/// How an access touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    Read,
    /// A write; `same`: of the value that is there already.
    Write {
        same: bool,
    },
    /// Relaxed or stronger: does not race with its like.
    Strong {
        writes: bool,
    },
}

/// The last accesses to a region.
#[derive(Default)]
pub(crate) struct Shadow {
    /// log2 of the bytes that share a cell; refined when smaller accesses come.
    shift: u32,
    cells: Vec<Cell>,
}

impl Shadow {
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.cells = Vec::new();
    }

    /// Records an access to `[offset, offset + bytes)` of a region of `size` bytes.
    #[inline]
    pub(crate) fn access(&mut self, offset: u64, bytes: u64, size: u64, touch: Touch, who: &Observer) -> Result<(), Conflict> {
        if self.cells.is_empty() {
            self.shift = 4;
            self.cells = vec![Cell::default(); size.div_ceil(16) as usize];
        }
        while (offset | bytes) & ((1 << self.shift) - 1) != 0 {
            self.refine();
        }
        let (first, last) = ((offset >> self.shift) as usize, ((offset + bytes) >> self.shift) as usize);
        for cell in &mut self.cells[first..last] {
            cell.access(touch, who)?;
        }
        Ok(())
    }

    fn refine(&mut self) {
        self.shift -= 1;
        self.cells = self.cells.iter().flat_map(|c| [*c, *c]).collect();
    }
}

impl Cell {
    #[inline]
    fn access(&mut self, touch: Touch, who: &Observer) -> Result<(), Conflict> {
        let conflict = |stamp: Stamp, wrote| Err(Conflict { thread: (stamp >> 32 & 0x7fff_ffff) as u32 - 1, wrote });
        let strong = matches!(touch, Touch::Strong { .. });
        let tolerated = matches!(touch, Touch::Write { same: true }) || strong && self.write & STRONG != 0;
        if !tolerated && !who.comes_after(self.write) {
            return conflict(self.write, true);
        }
        match touch {
            Touch::Strong { writes: false } => {}
            Touch::Read => {
                let stamp = who.stamp(false);
                let last = self.reads[0];
                let alone = last == 0 || last >> 32 == stamp >> 32;
                if !alone && !same_warp(last, stamp) {
                    self.reads[1] = last;
                    self.reads[0] = stamp;
                } else {
                    // Other lanes of the warp that nothing has ordered since stay part of the record.
                    self.reads[0] = if alone || who.comes_after(last) { stamp } else { stamp | MANY };
                }
            }
            Touch::Write { .. } | Touch::Strong { writes: true } => {
                for read in self.reads {
                    if !who.comes_after(read) {
                        return conflict(read, false);
                    }
                }
                *self = Cell { write: who.stamp(strong), reads: [0, 0] };
            }
        }
        Ok(())
    }
}

fn same_warp(a: Stamp, b: Stamp) -> bool {
    let warp = |s: Stamp| ((s >> 32 & 0x7fff_ffff) as u32).wrapping_sub(1) / 32;
    warp(a) == warp(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look<'a>(knowledge: &'a Knowledge, warp: u32, lane: u32, clock: u32) -> Observer<'a> {
        Observer { warp, lane, clock, together: 0, knowledge }
    }

    #[test]
    fn a_write_and_a_read_race_until_something_orders_them() {
        let mut shadow = Shadow::default();
        let mut knowledge = Knowledge::new(0, 2);
        shadow.access(0, 4, 64, Touch::Write { same: false }, &look(&knowledge, 0, 3, 1)).unwrap();
        let found = shadow.access(0, 4, 64, Touch::Read, &look(&knowledge, 1, 0, 1)).unwrap_err();
        assert_eq!(found, Conflict { thread: 3, wrote: true });
        knowledge.own[0] = 1;
        shadow.access(0, 4, 64, Touch::Read, &look(&knowledge, 1, 0, 1)).unwrap();
        let stranger = Knowledge::new(0, 2);
        assert!(!shadow.access(0, 4, 64, Touch::Write { same: false }, &look(&stranger, 0, 3, 2)).unwrap_err().wrote);
    }

    #[test]
    fn neighbours_are_told_apart_after_refining() {
        let mut shadow = Shadow::default();
        let nothing = Knowledge::new(0, 2);
        for lane in 0..16 {
            shadow.access(u64::from(lane), 1, 16, Touch::Write { same: false }, &look(&nothing, 0, lane, 1)).unwrap();
        }
        assert!(shadow.access(3, 1, 16, Touch::Write { same: false }, &look(&nothing, 0, 4, 1)).is_err());
        assert!(shadow.access(3, 1, 16, Touch::Write { same: true }, &look(&nothing, 0, 4, 1)).is_ok());
    }

    #[test]
    fn many_lanes_that_read_race_with_any_lane_that_writes() {
        let mut shadow = Shadow::default();
        let nothing = Knowledge::new(0, 1);
        for lane in 0..32 {
            shadow.access(0, 4, 16, Touch::Read, &look(&nothing, 0, lane, 1)).unwrap();
        }
        assert!(shadow.access(0, 4, 16, Touch::Write { same: false }, &look(&nothing, 0, 31, 1)).is_err());
    }
}
