//! Loops that one kernel of a GPU takes, where measuring said that it is faster than launching its kernels turn by turn.
//!
//! ```text
//! loop t < time: a ; b      →      loop t < time by clusters of 8 that stay: a ; b
//! ```
//!
//! Only the kind of a loop changes; which loops can be taken so, and how, is `lower/blocks/persistent`'s business.
//! Skips: everything without `--tune`, as long as no GPU has shown when it pays; loops around loops.

use crate::kernel::{Kernel, LoopKind, Program, Step};
use crate::lower::{PersistentLoop, VectorIsa, about};
use crate::tuning::{Asking, Decision, Subject};

/// Decides about every loop.
pub fn persist_loops(program: &mut Program, isa: &VectorIsa) {
    if program.tuning.is_off() {
        return;
    }
    let mut steps = std::mem::take(&mut program.steps);
    // Kernels are lowered while the program is looked at, which knows extents of loops.
    program.steps.clone_from(&steps);
    visit(&mut steps, program, isa);
    program.steps = steps;
}

fn visit(steps: &mut [Step], program: &mut Program, isa: &VectorIsa) {
    for step in steps {
        let Step::Loop { body, .. } = step else { continue };
        if body.iter().any(|step| matches!(step, Step::Loop { .. })) {
            visit(body, program, isa);
            continue;
        }
        let clusters = PersistentLoop::clusters(step, program, isa);
        let Step::Loop { kind, body, .. } = step else { continue };
        if !clusters.is_empty() {
            *kind = choose(*kind, body, clusters, program, isa);
        }
    }
}

/// How a loop that clusters of so many blocks can take is taken.
fn choose(usual: LoopKind, body: &[Step], clusters: Vec<u32>, program: &mut Program, isa: &VectorIsa) -> LoopKind {
    let mut kernels: Vec<&Kernel> = Vec::new();
    body.iter().for_each(|step| step.visit_kernels(&mut |kernel| kernels.push(kernel)));
    let mut asking = Asking::about(&program.tuning, about(kernels.iter().copied(), program, isa));
    let others = || clusters.into_iter().map(|blocks| LoopKind::Persistent { blocks }).collect();
    let chosen = asking.choose(Subject::Loop, usual, others, |kind| match kind {
        LoopKind::Persistent { blocks } => format!("by one kernel, clusters of {blocks}"),
        LoopKind::Sequential | LoopKind::Independent => "kernel after kernel".to_string(),
    });
    let origins: Vec<_> = kernels.iter().flat_map(|kernel| kernel.origins.iter().cloned()).collect();
    let decisions = asking.decisions.into_iter().map(|decision| Decision { origins: origins.clone(), ..decision });
    program.decisions.extend(decisions);
    chosen
}
