//! What preparing may cost while a model is compiled.
//!
//! A file of a few bytes can ask for any size (a filled or tiled constant, a packing of one). What exceeds the budget stays a step
//! of the run, where memory is asked for by whoever runs it.

use super::{Buffer, BufferId, BufferKind, Program, Step};
use kiln_ir::Dim;
use std::collections::BTreeSet;

/// What is left to spend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrepareBudget {
    /// Of what is kept; what one step leaves to the next is free again after that.
    bytes: i64,
    /// Iterations of kernels.
    work: i64,
    /// Buffers whose bytes are paid for: several steps may store to one, each a part.
    paid: BTreeSet<BufferId>,
}

impl Default for PrepareBudget {
    /// What a program without parameters may spend.
    fn default() -> PrepareBudget {
        PrepareBudget { bytes: 16 << 20, work: 1 << 26, paid: BTreeSet::new() }
    }
}

impl PrepareBudget {
    /// In proportion to parameters and constants: layouts pad them, and small sums over them are taken once.
    pub fn of(program: &Program) -> PrepareBudget {
        let sources = program.buffers.iter().filter(|b| matches!(b.kind, BufferKind::Constant(_) | BufferKind::Parameter(_)));
        PrepareBudget::for_sources(sources.map(bytes).fold(0, i64::saturating_add))
    }

    /// The same for so many bytes of parameters and constants.
    fn for_sources(sources: i64) -> PrepareBudget {
        let free = PrepareBudget::default();
        PrepareBudget {
            bytes: sources.saturating_mul(4).saturating_add(free.bytes),
            work: sources.saturating_mul(64).saturating_add(free.work),
            paid: free.paid,
        }
    }

    /// Whether so many iterations over so many bytes would be too much even if nothing else were prepared.
    pub fn allows(sources: i64, work: i64) -> bool {
        work <= PrepareBudget::for_sources(sources).work
    }

    /// Pays for a step and the buffers it stores to; false, and nothing paid, if it is too much. What is paid for the buffers
    /// `released` next may be spent.
    pub fn take(&mut self, program: &Program, step: &Step, released: &[BufferId]) -> bool {
        let mut written = BTreeSet::new();
        step.visit_kernels(&mut |kernel| written.extend(kernel.stores().iter().map(|store| store.buffer)));
        written.retain(|id| !self.paid.contains(id));
        let bytes = written.iter().map(|id| bytes(program.buffer(*id))).fold(0, i64::saturating_add);
        let work = work(step);
        let soon_free = released.iter().filter(|id| self.paid.contains(id)).map(|id| self::bytes(program.buffer(*id)));
        let fits = bytes <= soon_free.fold(self.bytes, i64::saturating_add) && work <= self.work;
        if fits {
            self.bytes -= bytes;
            self.work -= work;
            self.paid.extend(written);
        }
        fits
    }

    /// Takes back what was paid for the bytes of a buffer that nothing reads from here on: it is not kept.
    pub fn release(&mut self, id: BufferId, buffer: &Buffer) {
        if self.paid.remove(&id) {
            self.bytes += bytes(buffer);
        }
    }
}

fn bytes(buffer: &Buffer) -> i64 {
    let sizes = buffer.shape.iter().map(|d| d.as_const().unwrap_or(i64::MAX));
    sizes.fold(buffer.dtype.size_bytes() as i64, i64::saturating_mul)
}

/// An upper bound of a step's iterations.
fn work(step: &Step) -> i64 {
    match step {
        Step::Run(kernel) => kernel.extents().into_iter().filter_map(Dim::as_const).fold(1, i64::saturating_mul),
        Step::Loop { extent, body, .. } => {
            let once = body.iter().map(work).fold(0, i64::saturating_add);
            once.saturating_mul(extent.as_const().unwrap_or(1))
        }
    }
}
