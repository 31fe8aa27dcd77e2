//! Loops whose turns threads take whole.
//!
//! ```text
//! loop over blocks: patches, products, outputs      →      each thread: patches, products, outputs of its blocks
//! ```
//!
//! Where turns need nothing of each other, threads need not meet after every kernel, and what a kernel leaves stays in the cache of the
//! core that reads it next. Temporaries that only such loops touch are then each worker's own, and so are the kernels' arguments.

use super::launches::{LaunchStep, launches};
use crate::kernel::{BufferId, Step, buffers_touched};
use crate::lower::Arg;
use kiln_ir::Symbol;
use std::collections::BTreeSet;

/// Whether threads may take whole turns of a loop with that index and body, whose turns are independent: nothing in it can fail, loops,
/// is of another size in each turn, or uses scratch that is handed out by kernel.
pub(super) fn may_be_taken(index: &Symbol, body: &[LaunchStep]) -> bool {
    body.iter().all(|step| match step {
        LaunchStep::Run(launch) => {
            let is_alike = !launch.tasks.mentions(index) && !launch.work_per_task.mentions(index);
            is_alike && launch.args.iter().all(|arg| !matches!(arg, Arg::ErrorCell | Arg::WorkerScratch))
        }
        LaunchStep::Loop { .. } => false,
    })
}

/// Those of `temporaries` that only loops touch whose turns threads take.
pub(super) fn own_buffers(steps: &[Step], launched: &[LaunchStep], temporaries: &BTreeSet<BufferId>) -> BTreeSet<BufferId> {
    let (mut inside, mut outside) = (BTreeSet::new(), BTreeSet::new());
    collect(steps, launched, &mut inside, &mut outside);
    inside.into_iter().filter(|id| temporaries.contains(id) && !outside.contains(id)).collect()
}

fn collect(steps: &[Step], launched: &[LaunchStep], inside: &mut BTreeSet<BufferId>, outside: &mut BTreeSet<BufferId>) {
    for (step, launched) in steps.iter().zip(launched) {
        match (step, launched) {
            (Step::Loop { .. }, LaunchStep::Loop { by_turns: true, .. }) => inside.extend(buffers_touched(std::slice::from_ref(step))),
            (Step::Loop { body, .. }, LaunchStep::Loop { body: launched, .. }) => collect(body, launched, inside, outside),
            _ => outside.extend(buffers_touched(std::slice::from_ref(step))),
        }
    }
}

/// Bytes that a worker needs for the arguments of the kernels of any one of these loops: a multiple of 64.
pub(super) fn argument_bytes(steps: &[LaunchStep]) -> i64 {
    let of_step = |step: &LaunchStep| match step {
        LaunchStep::Run(_) => 0,
        LaunchStep::Loop { by_turns: true, body, .. } => {
            let words: usize = launches(body).iter().map(|launch| launch.args.len()).sum();
            (8 * words as i64 + 63) / 64 * 64
        }
        LaunchStep::Loop { body, .. } => argument_bytes(body),
    };
    steps.iter().map(of_step).max().unwrap_or(0)
}
