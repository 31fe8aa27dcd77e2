//! Loops that one kernel of a GPU takes, where measuring said that it is faster than launching its kernels turn by turn.
//!
//! ```text
//! loop t < time: a ; b      →      loop t < time by clusters of 8 that stay: a ; b
//! ```
//!
//! Only the kind of a loop changes; which loops can be taken so, and how, is `lower/blocks/persistent`'s business.
//! Skips: everything without `--tune`, as long as no GPU has shown when it pays; loops around loops.

use crate::kernel::{Program, Step};
use crate::lower::{PersistentLoop, VectorIsa};

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
        let (chosen, decisions) = PersistentLoop::choose(step, program, isa);
        program.decisions.extend(decisions);
        if let Step::Loop { kind, .. } = step {
            *kind = chosen;
        }
    }
}
