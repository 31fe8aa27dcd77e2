//! Kernels that become two: what the ways to split work for a GPU have in common.

use crate::kernel::{Kernel, LoopKind, Program, Step};

/// What a kernel becomes, if it gains from that: two kernels, one after the other.
pub(super) type Split<'a> = dyn FnMut(&mut Program, &Kernel) -> Option<[Kernel; 2]> + 'a;

/// Splits every kernel of the program that gains from it, in loops too, but for those that one kernel takes as they are.
pub(super) fn in_two(program: &mut Program, split: &mut Split) {
    let steps = std::mem::take(&mut program.steps);
    program.steps = split_steps(program, steps, split);
}

fn split_steps(program: &mut Program, steps: Vec<Step>, split: &mut Split) -> Vec<Step> {
    let mut result = Vec::with_capacity(steps.len());
    for step in steps {
        match step {
            Step::Run(kernel) => match split(program, &kernel) {
                Some(kernels) => result.extend(kernels.map(Step::Run)),
                None => result.push(Step::Run(kernel)),
            },
            Step::Loop { kind: LoopKind::Persistent { .. }, .. } => result.push(step),
            Step::Loop { index, extent, kind, body } => {
                result.push(Step::Loop { index, extent, kind, body: split_steps(program, body, split) });
            }
        }
    }
    result
}
