//! Decisions about a whole program that come before its kernels are lowered.
//!
//! [`schedule`] turns contractions around where that gives them columns, writes out the padding of convolutions, packs operands into
//! the layout that register tiles read, and widens images of half floats. Operands are packed once for all runs, in `prepare`, where
//! they only depend on parameters; before a loop that does not change them; before the kernel, where many tasks share them. It changes
//! no bit of any result.

mod matrices;
mod orient;
mod pack;
mod pad;
mod taps;
#[cfg(test)]
mod tests;
mod widen;

use crate::kernel::{Body, BufferId, Program, Step};
use crate::lower::VectorIsa;
use kiln_ir::Symbol;
pub use matrices::arrange_for_matrices;
use pack::Packer;
use std::collections::BTreeSet;

/// Schedules a program for a vector unit. Afterwards each kernel can be lowered on its own.
pub fn schedule(program: &mut Program, isa: &VectorIsa) {
    let steps = std::mem::take(&mut program.steps);
    let mut packer = Packer::new(program, isa, &steps);
    let steps = scheduled(steps, &mut packer, &mut Vec::new());
    program.steps = steps;
}

/// A loop around the kernel being scheduled.
struct Enclosing {
    index: Symbol,
    /// Buffers that its body stores to.
    stored: BTreeSet<BufferId>,
    /// What is done once before it.
    before: Vec<Step>,
}

fn scheduled(steps: Vec<Step>, packer: &mut Packer, loops: &mut Vec<Enclosing>) -> Vec<Step> {
    let mut result = Vec::new();
    for step in steps {
        match step {
            Step::Run(mut kernel) => {
                if matches!(kernel.body, Body::Contract(_)) {
                    let from_parameters = packer.packable_sides(&kernel);
                    orient::orient(&mut kernel, from_parameters);
                    result.extend(pad::pad(packer.program, &mut kernel, packer.isa));
                    if let Some((level, step)) = packer.replacing(&mut kernel, |packer, kernel| packer.pack(kernel, loops)) {
                        match loops.get_mut(level) {
                            Some(around) => around.before.push(step),
                            None => result.push(step),
                        }
                    }
                    result.extend(widen::widen(packer.program, &mut kernel, packer.isa));
                }
                result.push(Step::Run(kernel));
            }
            Step::Loop { index, extent, kind, body } => {
                let mut stored = BTreeSet::new();
                body.iter().for_each(|step| step.visit_kernels(&mut |kernel| stored.extend(kernel.stores().iter().map(|s| s.buffer))));
                loops.push(Enclosing { index: index.clone(), stored, before: vec![] });
                let body = scheduled(body, packer, loops);
                result.extend(loops.pop().into_iter().flat_map(|around| around.before));
                result.push(Step::Loop { index, extent, kind, body });
            }
        }
    }
    result
}
