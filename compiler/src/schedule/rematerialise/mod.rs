//! Rematerialisation: what the backward pass needs is computed again where it is needed, until a step fits into a budget of memory.
//! ```text
//! a: h ← x · w        (h stays)                a: h ← x · w
//! b: y ← h · v                        →        b: y ← h · v
//! …                                            …
//! z: dv ← h · dy                               a: h' ← x · w
//!                                              z: dv ← h' · dy
//! ```
//! Decided on the scheduled kernels. Where most memory is alive, the buffers that wait there without being touched are candidates; the
//! one with the most bytes for each operation done again is dropped and made anew before its next use, with what that takes. This is
//! repeated until the plan of the arena fits. The same kernels run on the same values, so no bit changes, and random numbers are
//! functions of their place, so that a mask comes out the same.
//!
//! Needs: the order of steps final, updates in place.  Keeps: every bit of every output.  Skips: what an update in place has overwritten.
//!
//! *Source*: Chen, Xu, Zhang, Guestrin 2016, "Training Deep Nets with Sublinear Memory Cost"; the choice by bytes and work is that of
//! Kirisame et al. 2021, "Dynamic Tensor Rematerialization", §3, taken before the program runs.

mod candidate;
mod timeline;
mod work;

#[cfg(test)]
mod tests;

use super::memory::plan_arena;
use crate::kernel::{BufferId, BufferKind, Program, buffers_touched};
use kiln_ir::{Diagnostic, Symbol};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use timeline::Timeline;

/// How much memory the intermediate values of a step may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryBudget {
    /// Bytes of the arena at the usual sizes.
    pub bytes: i64,
    /// Threads that a step runs on: each has some scratch of its own.
    pub workers: usize,
}

/// What a budget cost.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Recomputed {
    /// Bytes of the arena's temporaries that would have been.
    pub bytes_before: i64,
    /// Bytes that there are.
    pub bytes_after: i64,
    /// Steps done again.
    pub steps: usize,
    /// Operations done again, as a part of those that are done anyway.
    pub work: f64,
}

impl Recomputed {
    /// So many bytes, as people say it.
    pub fn megabytes(bytes: i64) -> String {
        format!("{:.1} MB", bytes as f64 / 1e6)
    }
}

impl fmt::Display for Recomputed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (after, before) = (Self::megabytes(self.bytes_after), Self::megabytes(self.bytes_before));
        write!(
            f,
            "intermediate values take {after} in place of {before}: {} steps are done again, {:.1} % more work",
            self.steps,
            100.0 * self.work
        )
    }
}

/// Bytes of the arena's temporaries at the usual sizes.
///
/// Errors: `memory_open` when they depend on a size that has no usual value; `arena_too_large`.
pub fn temporary_bytes(program: &Program) -> Result<i64, Diagnostic> {
    let plan = plan_arena(program, &program.steps, &temporaries(program))?;
    evaluate(&plan.bytes, program)
}

/// Changes the program so that its temporaries take at most `bytes` at the usual sizes. Its last `states` inputs and outputs are the
/// same memory.
///
/// Errors: `memory_open`; `arena_too_large`; `memory_budget` with the least that was found, which is in `least`, when that is more.
pub fn rematerialise(program: &mut Program, states: usize, bytes: i64, least: &mut i64) -> Result<Recomputed, Diagnostic> {
    let bytes_before = temporary_bytes(program)?;
    let mut done = Recomputed { bytes_before, bytes_after: bytes_before, steps: 0, work: 0.0 };
    *least = bytes_before;
    let mut timeline = Timeline::new(program, states)?;
    let whole = timeline.work();
    // Best fit leaves gaps, so the live bytes are driven further down until the plan fits.
    let mut wanted = bytes;
    while done.bytes_after > bytes {
        let stuck = !timeline.reduce(wanted);
        let changed = timeline.program(program);
        let planned = temporary_bytes(&changed)?;
        if planned <= bytes || planned < *least {
            *least = planned;
        }
        if planned <= bytes {
            done.bytes_after = planned;
            done.steps = timeline.len().saturating_sub(program.steps.len());
            done.work = (timeline.work() - whole).max(0.0) / whole.max(1.0);
            *program = changed;
        } else if stuck {
            return Err(Diagnostic::new("memory_budget", format!("no plan of the step takes less than {least} bytes")));
        } else {
            wanted = (timeline.peak() - 1).min(wanted - (planned - bytes) / 2);
        }
    }
    Ok(done)
}

fn temporaries(program: &Program) -> BTreeSet<BufferId> {
    let is_temporary = |id: &BufferId| program.buffer(*id).kind == BufferKind::Temporary;
    buffers_touched(&program.steps).into_iter().filter(is_temporary).collect()
}

fn evaluate(size: &kiln_ir::Dim, program: &Program) -> Result<i64, Diagnostic> {
    let usual: &BTreeMap<Symbol, i64> = &program.usual_sizes;
    size.evaluate(&|symbol| usual.get(symbol).copied()).ok_or_else(|| {
        let open: Vec<String> = size.symbols().iter().filter(|s| !usual.contains_key(*s)).map(|s| s.name().to_string()).collect();
        let message = format!("how much memory a step takes depends on {}, which the network leaves open", open.join(", "));
        let example = open.first().map_or(String::new(), |name| format!(": --dim {name}=128"));
        Diagnostic::new("memory_open", message).help(format!("a budget needs sizes{example}"))
    })
}
