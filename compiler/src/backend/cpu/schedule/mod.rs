//! Decisions about a whole program that come before its kernels are lowered.
//!
//! [`schedule`] turns contractions around where that gives them columns, and packs operands that only depend on parameters into
//! the layout that register tiles read, as steps of `prepare`. It changes no bit of any result.

mod orient;
mod pack;
#[cfg(test)]
mod tests;

use super::lower::VectorIsa;
use crate::kernel::{Body, Program, Step};

/// Schedules a program for a vector unit. Afterwards each kernel can be lowered on its own.
pub fn schedule(program: &mut Program, isa: &VectorIsa) {
    let mut steps = std::mem::take(&mut program.steps);
    let mut packer = pack::Packer::new(program, isa);
    visit(&mut steps, &mut |step| {
        if let Step::Run(kernel) = step
            && let Body::Contract(contract) = &mut kernel.body
        {
            orient::orient(contract);
            packer.pack(kernel);
        }
    });
    program.steps = steps;
}

fn visit(steps: &mut [Step], f: &mut dyn FnMut(&mut Step)) {
    for step in steps {
        f(step);
        if let Step::Loop { body, .. } = step {
            visit(body, f);
        }
    }
}
