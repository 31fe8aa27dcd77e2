//! Instructions in which lanes exchange values: shuffles, votes, matches, reductions, election.

use super::block::Block;
use super::warp::lanes;
use super::{Flow, Machine};
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instruction::{Op, Shuffle, Source, Vote, WARP};

impl<'m> Machine<'m> {
    pub(crate) fn collective(&mut self, block: &mut Block<'m>, w: usize, active: u32, op: &'m Op) -> Outcome<Flow> {
        let group = match op {
            Op::WarpBarrier { members }
            | Op::Shuffle { members, .. }
            | Op::Vote { members, .. }
            | Op::MatchAny { members, .. }
            | Op::MatchAll { members, .. }
            | Op::Reduce { members, .. }
            | Op::Elect { members, .. } => self.gather(block, w, active, members)?,
            _ => {
                let live = block.warps[w].live;
                if live != u32::MAX {
                    let message = format!("a matrix instruction needs all 32 lanes; {live:#010x} are left");
                    return Err(Trouble::new(FaultKind::Divergence, active.trailing_zeros(), message));
                }
                self.converge(block, w, active, live)?.then_some(live)
            }
        };
        let Some(group) = group else { return Ok(Flow::Placed) };
        match op {
            Op::WarpBarrier { .. } => block.warps[w].come_together(),
            Op::Shuffle { kind, d, p, a, b, c, .. } => self.shuffle(block, w, group, *kind, (*d, *p), [a, b, c])?,
            Op::Vote { kind, d, a, .. } => {
                let votes = self.predicate(&block.warps[w], *a, group)? & group;
                let warp = &mut block.warps[w];
                let holds = match kind {
                    Vote::Ballot => {
                        warp.set(*d, group, &[u64::from(votes); WARP]);
                        return Ok(self.onward(block, w));
                    }
                    Vote::All => votes == group,
                    Vote::Any => votes != 0,
                    Vote::Uniform => votes == group || votes == 0,
                };
                warp.set_predicate(*d, group, if holds { u32::MAX } else { 0 });
            }
            Op::MatchAny { d, a, .. } => {
                let a = self.values(block, w, a, group)?;
                let out = std::array::from_fn(|l| lanes(group).filter(|o| a[*o] == a[l]).fold(0, |m, o| m | 1 << o));
                block.warps[w].set(*d, group, &out);
            }
            Op::MatchAll { d, p, a, .. } => {
                let a = self.values(block, w, a, group)?;
                let first = a[group.trailing_zeros() as usize];
                let same = lanes(group).all(|l| a[l] == first);
                let warp = &mut block.warps[w];
                warp.set(*d, group, &[if same { u64::from(group) } else { 0 }; WARP]);
                if let Some(p) = p {
                    warp.set_predicate(*p, group, if same { u32::MAX } else { 0 });
                }
            }
            Op::Reduce { f, d, a, .. } => {
                let a = self.values(block, w, a, group)?;
                let total = lanes(group).map(|l| a[l]).reduce(|x, y| f(x, y, 0)).unwrap_or(0);
                block.warps[w].set(*d, group, &[total; WARP]);
            }
            Op::Elect { d, p, .. } => {
                let leader = group.trailing_zeros();
                let warp = &mut block.warps[w];
                if let Some(d) = d {
                    warp.set(*d, group, &[u64::from(leader); WARP]);
                }
                warp.set_predicate(*p, group, 1 << leader);
            }
            Op::Multiply { shape, d, a, b, c } => self.multiply(block, w, shape, d, [a, b, c])?,
            Op::LoadMatrix { to, at, transpose } => self.load_matrix(block, w, to, at, *transpose)?,
            Op::StoreMatrix { from, at, transpose } => self.store_matrix(block, w, from, at, *transpose)?,
            _ => return Err(Trouble::new(FaultKind::BadOperand, active.trailing_zeros(), "this instruction has no meaning here")),
        }
        Ok(self.onward(block, w))
    }

    fn onward(&self, block: &mut Block, w: usize) -> Flow {
        // The group may have been joined from waiting lanes: choose anew.
        let warp = &mut block.warps[w];
        warp.pc += 1;
        warp.regroup();
        Flow::Placed
    }

    /// Brings the lanes named by `members` together.
    fn gather(&mut self, block: &mut Block, w: usize, active: u32, members: &Source) -> Outcome<Option<u32>> {
        let values = self.values(block, w, members, active)?;
        let first = active.trailing_zeros();
        let wanted = values[first as usize] as u32;
        let alike = lanes(active).filter(|l| values[*l] as u32 == wanted).fold(0, |m, l| m | 1 << l);
        if alike & !wanted != 0 {
            let lane = (alike & !wanted).trailing_zeros();
            return Err(Trouble::new(
                FaultKind::Divergence,
                lane,
                format!("lane {lane} is not among the members {wanted:#010x} that it names"),
            ));
        }
        if alike != active {
            // Lanes with other members form groups of their own: they stay before the instruction.
            block.warps[w].split(active, true);
            block.warps[w].split(alike, false);
        }
        Ok(self.converge(block, w, alike, wanted)?.then_some(wanted))
    }

    fn shuffle(
        &mut self,
        block: &mut Block,
        w: usize,
        group: u32,
        kind: Shuffle,
        (d, p): (Option<u32>, Option<u32>),
        [a, b, c]: [&Source; 3],
    ) -> Outcome {
        let (b, c) = (self.values(block, w, b, group)?, self.values(block, w, c, group)?);
        let a = self.values(block, w, a, group)?;
        let (mut out, mut inside) = ([0; WARP], 0u32);
        for lane in lanes(group) {
            let distance = (b[lane] & 0x1f) as i64;
            let (limit, segment) = ((c[lane] & 0x1f) as i64, (c[lane] >> 8 & 0x1f) as i64);
            let own = lane as i64;
            let highest = own & segment | limit & !segment;
            let lowest = own & segment;
            let (from, valid) = match kind {
                Shuffle::Up => (own - distance, own - distance >= highest),
                Shuffle::Down => (own + distance, own + distance <= highest),
                Shuffle::Butterfly => (own ^ distance, own ^ distance <= highest),
                Shuffle::Index => {
                    let from = lowest | distance & !segment;
                    (from, from <= highest)
                }
            };
            let from = if valid { from as usize } else { lane };
            if group >> from & 1 == 0 {
                let message = format!("lane {lane} reads lane {from}, which is not among the members {group:#010x}");
                return Err(Trouble::new(FaultKind::Divergence, lane as u32, message));
            }
            out[lane] = a[from];
            inside |= u32::from(valid) << lane;
        }
        let warp = &mut block.warps[w];
        if let Some(d) = d {
            warp.set(d, group, &out);
        }
        if let Some(p) = p {
            warp.set_predicate(p, group, inside);
        }
        Ok(())
    }
}
