//! The loop over tasks: a task number is split into indices once, then they count like an odometer.

use super::context::{Context, Leaves};
use crate::kernel::Axis;
use crate::tile::{Builder, Reg};

/// Runs `body` for each task of the function's, with every digit's index bound; the last digit counts fastest.
pub(super) fn for_each_task(cx: &mut Context, b: &mut Builder, digits: &[Axis], body: impl FnOnce(&mut Context, &mut Builder)) {
    let [_, _, begin, end] = b.params();
    for_each_number(cx, b, digits, begin, end, body);
}

/// Runs `body` for each number in `begin..end`, with every digit's index bound; the last digit counts fastest.
pub(super) fn for_each_number(
    cx: &mut Context,
    b: &mut Builder,
    digits: &[Axis],
    begin: Reg,
    end: Reg,
    body: impl FnOnce(&mut Context, &mut Builder),
) {
    for digit in digits {
        cx.ranges.set_index(digit.index.clone(), digit.extent.clone());
    }
    if cx.isa.is_thread() {
        // A thread, or a block of them, has one task, and comes back for the next.
        let indices = split(cx, b, digits, begin);
        cx.scoped(b, Leaves::Everything, |cx, b| bind_all(cx, digits, &indices, Box::new(|cx| body(cx, b))));
        return;
    }
    match digits {
        [] => b.for_each(begin, end, 1, |b, _| cx.scoped(b, Leaves::Everything, |cx, b| body(cx, b))),
        [only] => {
            cx.counted(b, &only.index, begin, end, 1, &[], |cx, b, _| {
                body(cx, b);
                vec![]
            });
        }
        _ => {
            let extents: Vec<Reg> = digits.iter().map(|d| cx.index(b, &d.extent)).collect();
            let first = split(cx, b, digits, begin);
            b.loop_carrying(begin, end, 1, &first, |b, _, indices| {
                cx.scoped(b, Leaves::Everything, |cx, b| {
                    bind_all(cx, digits, indices, Box::new(|cx| body(cx, b)));
                    next(b, indices, &extents)
                })
            });
        }
    }
}

/// The indices of a task.
fn split(cx: &mut Context, b: &mut Builder, digits: &[Axis], task: Reg) -> Vec<Reg> {
    let [_, later @ ..] = digits else { return vec![] };
    let mut indices: Vec<Reg> = Vec::new();
    let mut left = task;
    for digit in later.iter().rev() {
        if digit.extent.is(1) {
            indices.push(b.index(0));
            continue;
        }
        let extent = cx.index(b, &digit.extent);
        indices.push(b.rem_u(left, extent));
        left = b.div_u(left, extent);
    }
    indices.push(left);
    indices.reverse();
    indices
}

/// With each digit's index bound; the recursion needs one type for every depth.
pub(super) fn bind_all(cx: &mut Context, digits: &[Axis], indices: &[Reg], body: Box<dyn FnOnce(&mut Context) + '_>) {
    match (digits, indices) {
        ([digit, digits @ ..], [index, indices @ ..]) => cx.bound(&digit.index, *index, |cx| bind_all(cx, digits, indices, body)),
        _ => body(cx),
    }
}

/// The indices of the next task.
fn next(b: &mut Builder, indices: &[Reg], extents: &[Reg]) -> Vec<Reg> {
    let mut result = indices.to_vec();
    let mut carry: Option<Reg> = None;
    for place in (0..indices.len()).rev() {
        let more = b.add_int(indices[place], 1);
        let counted = match carry {
            None => more,
            Some(carry) => b.select(carry, more, indices[place]),
        };
        if place == 0 {
            result[0] = counted;
            break;
        }
        let wraps = b.eq(counted, extents[place]);
        let zero = b.index(0);
        result[place] = b.select(wraps, zero, counted);
        // Only a digit that counted can wrap: an index is below its extent otherwise.
        carry = Some(wraps);
    }
    result
}
