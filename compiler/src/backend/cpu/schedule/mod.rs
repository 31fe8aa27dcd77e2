//! Decisions about a whole program that come before its kernels are lowered.
//!
//! [`schedule`] turns contractions around where that gives them columns, writes out the padding of convolutions, and packs operands
//! into the layout that register tiles read: once for all runs, in `prepare`, where they only depend on parameters; before the
//! kernel, where many tasks share them. It changes no bit of any result.

mod orient;
mod pack;
mod pad;
#[cfg(test)]
mod tests;

use super::lower::VectorIsa;
use crate::kernel::{Body, Program, Step};
use pack::Packer;

/// Schedules a program for a vector unit. Afterwards each kernel can be lowered on its own.
pub fn schedule(program: &mut Program, isa: &VectorIsa) {
    let steps = std::mem::take(&mut program.steps);
    let mut packer = Packer::new(program, isa);
    let steps = scheduled(steps, &mut packer);
    program.steps = steps;
}

fn scheduled(steps: Vec<Step>, packer: &mut Packer) -> Vec<Step> {
    let mut result = Vec::new();
    for step in steps {
        match step {
            Step::Run(mut kernel) => {
                if let Body::Contract(contract) = &mut kernel.body {
                    orient::orient(contract);
                    result.extend(pad::pad(packer.program, &mut kernel));
                    result.extend(packer.pack(&mut kernel));
                }
                result.push(Step::Run(kernel));
            }
            Step::Loop { index, extent, body } => result.push(Step::Loop { index, extent, body: scheduled(body, packer) }),
        }
    }
    result
}
