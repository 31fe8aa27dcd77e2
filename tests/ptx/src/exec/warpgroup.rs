//! Execution of `wgmma`: four warps issue together, and nothing is multiplied before somebody waits for it.

use super::access::Place;
use super::block::{Block, PendingMultiply};
use super::{Flow, Machine};
use crate::descriptor::{Descriptor, WarpgroupMultiply};
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instruction::WARP;
use crate::matrix::{Accumulator, Element, Sums, fragment_a, fragment_c};
use crate::memory::races::Touch;
use crate::parse::Space;

impl<'m> Machine<'m> {
    pub(crate) fn warpgroup_multiply(
        &mut self,
        block: &mut Block<'m>,
        w: usize,
        active: u32,
        op: &'m WarpgroupMultiply,
        line: u32,
    ) -> Outcome<Flow> {
        let first = w / 4 * 4;
        if block.warps.len() < first + 4 {
            return Err(Trouble::new(FaultKind::Divergence, 0, "the last warpgroup of the block has fewer than four warps"));
        }
        if active != u32::MAX {
            return Err(Trouble::new(
                FaultKind::Divergence,
                active.trailing_zeros(),
                format!("wgmma by lanes {active:#010x}: all 32 are needed"),
            ));
        }
        let pc = block.warps[w].pc;
        block.warps[w].at_warpgroup = true;
        if !block.warps[first..first + 4].iter().all(|warp| warp.at_warpgroup && warp.pc == pc) {
            return Ok(Flow::Yield);
        }
        let mut agreed: Option<(u64, u64, bool)> = None;
        for member in first..first + 4 {
            let b = self.uniform(block, member, &op.b)?;
            let a = if op.from_registers { 0 } else { self.uniform(block, member, &op.a[0])? };
            let keep = self.predicate(&block.warps[member], op.keep, u32::MAX)?;
            let issued = (a, b, keep == u32::MAX);
            if !matches!(keep, 0 | u32::MAX) || *agreed.get_or_insert(issued) != issued {
                return Err(Trouble::new(FaultKind::Divergence, 0, "the lanes of the warpgroup name different descriptors or scales"));
            }
            if op.from_registers {
                for a in &op.a {
                    self.values(block, member, a, u32::MAX)?;
                }
            }
            let group = &mut block.groups[first / 4].warps[member - first];
            let warp = &mut block.warps[member];
            for d in &op.d {
                let flying = group.in_flight.iter().any(|(r, _)| r == d);
                if issued.2 && !flying {
                    warp.check_register(*d, u32::MAX, &self.kernel.register_names)?;
                }
                warp.written[*d as usize] = 0;
                group.in_flight.push((*d, None));
            }
            warp.at_warpgroup = false;
            warp.advance();
        }
        let Some((a, b, keep)) = agreed else { return Ok(Flow::Placed) };
        let pending = PendingMultiply { op, a, b, keep, group: None, line };
        // Factors must be there at issue as well as at the end; whoever waits for the end learns of the reads.
        self.factors(block, w, &pending)?;
        self.meet(block, first);
        block.groups[first / 4].pending.push(pending);
        Ok(Flow::Placed)
    }

    /// The four warps were in one place: what one of them releases from now on covers the reads of all.
    fn meet(&self, block: &mut Block<'m>, first: usize) {
        let mut all = crate::memory::races::Knowledge::default();
        block.warps[first..first + 4].iter().for_each(|warp| all.join(&warp.knowledge));
        for warp in &mut block.warps[first..first + 4] {
            warp.knowledge.join(&all);
            warp.tick();
        }
    }

    fn uniform(&self, block: &Block<'m>, w: usize, source: &crate::instruction::Source) -> Outcome<u64> {
        let values = self.values(block, w, source, u32::MAX)?;
        if values.iter().any(|v| *v != values[0]) {
            return Err(Trouble::new(FaultKind::Divergence, 0, "the lanes of the warp name different descriptors"));
        }
        Ok(values[0])
    }

    pub(crate) fn warpgroup_commit(&mut self, block: &mut Block<'m>, w: usize) {
        let group = &mut block.groups[w / 4];
        let member = &mut group.warps[w % 4];
        let number = member.committed;
        member.committed += 1;
        member.in_flight.iter_mut().filter(|(_, g)| g.is_none()).for_each(|(_, g)| *g = Some(number));
        group.pending.iter_mut().filter(|p| p.group.is_none()).for_each(|p| p.group = Some(number));
    }

    pub(crate) fn warpgroup_wait(&mut self, block: &mut Block<'m>, w: usize, pending: u32) -> Outcome {
        let limit = block.groups[w / 4].warps[w % 4].committed.saturating_sub(pending);
        while block.groups[w / 4].pending.first().is_some_and(|p| p.group.is_some_and(|g| g < limit)) {
            let multiply = block.groups[w / 4].pending.remove(0);
            self.finish_multiply(block, w, &multiply)?;
            let number = multiply.group.unwrap_or(0);
            block.groups[w / 4].ended.push((number, block.warps[w].knowledge.clone()));
            block.warps[w].tick();
        }
        let group = &mut block.groups[w / 4];
        group.warps[w % 4].waited = limit;
        group.ended.iter().filter(|(g, _)| *g < limit).for_each(|(_, k)| block.warps[w].knowledge.join(k));
        let all = group.warps.iter().map(|m| m.waited).min().unwrap_or(0);
        group.ended.retain(|(g, _)| *g >= all);
        let member = &mut block.groups[w / 4].warps[w % 4];
        let (done, left): (Vec<_>, Vec<_>) = member.in_flight.iter().partition(|(_, g)| g.is_some_and(|g| g < limit));
        let warp = &mut block.warps[w];
        done.iter().filter(|(r, _)| !left.iter().any(|(l, _)| l == r)).for_each(|(r, _)| warp.written[*r as usize] = u32::MAX);
        member.in_flight = left;
        Ok(())
    }

    /// A factor in shared memory as rows of `outer` by k.
    fn matrix(
        &mut self,
        block: &mut Block<'m>,
        w: usize,
        bits: u64,
        (outer, k): (u64, u64),
        element: Element,
        transposed: bool,
    ) -> Outcome<Vec<f64>> {
        let descriptor = Descriptor::new(bits);
        let bytes = u64::from(element.bits()) / 8;
        let per_chunk = 16 / bytes;
        let mut out = vec![0.0; (outer * k) as usize];
        let (slow, fast) = if transposed { (k, outer) } else { (outer, k) };
        for s in 0..slow {
            for f in (0..fast).step_by(per_chunk as usize) {
                let at = |e: u64| if transposed { (f + e, s) } else { (s, f + e) };
                let (o, i) = at(0);
                let place = Place { space: Space::Shared, address: descriptor.address(o, i, bytes, transposed) };
                let (region, offset) = self.touch(block, w, 0, place, 16, Touch::Read, None)?;
                for e in 0..per_chunk.min(fast - f) {
                    let (o, i) = at(e);
                    let value = super::access::read(&region.data, (offset + e * bytes) as usize, bytes as usize);
                    out[(o * k + i) as usize] = element.value(value);
                }
            }
        }
        Ok(out)
    }

    fn factors(&mut self, block: &mut Block<'m>, w: usize, pending: &PendingMultiply) -> Outcome<(Vec<f64>, Vec<f64>)> {
        let op = pending.op;
        let (n, k) = (u64::from(op.n), u64::from(op.k));
        let first = w / 4 * 4;
        let a = if op.from_registers {
            let packed = 32 / op.elements.0.bits() as usize;
            let mut a = vec![0.0; 64 * k as usize];
            for member in 0..4 {
                for (r, source) in op.a.iter().enumerate() {
                    let values = self.values(block, first + member, source, u32::MAX)?;
                    for (lane, bits) in values.iter().enumerate() {
                        for e in 0..packed {
                            let (row, column) = fragment_a(lane, r, e, packed, 16);
                            a[(16 * member + row) * k as usize + column] = op.elements.0.value(bits >> (op.elements.0.bits() as usize * e));
                        }
                    }
                }
            }
            a
        } else {
            self.matrix(block, w, pending.a, (64, k), op.elements.0, op.transpose_a)?
        };
        Ok((a, self.matrix(block, w, pending.b, (n, k), op.elements.1, op.transpose_b)?))
    }

    fn finish_multiply(&mut self, block: &mut Block<'m>, w: usize, pending: &PendingMultiply) -> Outcome {
        let op = pending.op;
        let issue = |mut t: Box<Trouble>| {
            t.message = format!("{} (by the wgmma of line {}, which ends at this wait)", t.message, pending.line);
            t
        };
        let (a, b) = self.factors(block, w, pending).map_err(issue)?;
        let (n, k) = (op.n as usize, op.k as usize);
        let first = w / 4 * 4;
        let a: Vec<f64> = if op.negate { a.iter().map(|v| -v).collect() } else { a };
        let narrow = op.elements.0.bits() == 8;
        let sums = Sums::new(op.elements, op.accumulator, narrow, &a, &b, k);
        for member in 0..4 {
            let warp = &mut block.warps[first + member];
            for lane in 0..WARP {
                for i in 0..n / 2 {
                    let (row, column) = fragment_c(lane, i);
                    let old = if pending.keep { op.accumulator.read(|r| warp.registers[op.d[r] as usize][lane], i) } else { 0.0 };
                    let bits = sums.element(16 * member + row, column, old, false);
                    if op.accumulator == Accumulator::F16 {
                        let slot = &mut warp.registers[op.d[i / 2] as usize][lane];
                        let shift = 16 * (i as u32 & 1);
                        *slot = *slot & !(0xffff << shift) & 0xffff_ffff | bits << shift;
                    } else {
                        warp.registers[op.d[i] as usize][lane] = bits;
                    }
                }
            }
        }
        Ok(())
    }
}
