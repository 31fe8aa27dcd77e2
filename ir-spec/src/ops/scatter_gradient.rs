//! Gradients that both scatters share; `gather` reads where the scatter writes.

use super::{Gradient, Op, ScatterReduction};
use crate::{Builder, DType, Value};

/// The gradient of a scatter that replaces, whose reads are `gather`: elements that were replaced get none, nor do updates that
/// a later one replaced in turn.
pub(super) fn replacement_gradient(b: &mut Builder, scatter: Op, gather: Op, x: &[Value], dy: Value) -> Gradient {
    let (shape, indices, updates) = (b.shape(x[0]), x[1], b.ty(x[2]));
    let zeros = b.like(x[2], 0.0);
    let by_element = b.op(scatter.clone(), &[dy, indices, zeros]);
    // Numbered updates, scattered and read again, show which of them stayed.
    let count = b.iota(DType::I64, &[updates.elements()], 0);
    let numbers = b.reshape(count, &updates.shape);
    let zero = b.scalar(DType::I64, 0.0);
    let nothing = b.broadcast_to(zero, &shape);
    let written = b.op(scatter, &[nothing, indices, numbers]);
    let read = b.op(gather.clone(), &[written, indices]);
    let stayed = b.equal(read, numbers);
    let at_update = b.op(gather, &[dy, indices]);
    Gradient::Operands(vec![Some(by_element), None, Some(b.select(stayed, at_update, zeros))])
}

/// The gradient of a scatter that keeps an extreme: operands that attain it share what it gets, as in `reduce`.
pub(super) fn extreme_gradient(b: &mut Builder, add: Op, gather: Op, x: &[Value], y: Value, dy: Value) -> Gradient {
    let (by, indices, updates) = (x[0], x[1], x[2]);
    let mark = |b: &mut Builder, operand: Value, extreme: Value| {
        let (one, zero) = (b.like(operand, 1.0), b.like(operand, 0.0));
        let attained = b.equal(operand, extreme);
        (attained, b.select(attained, one, zero), zero)
    };
    let read = b.op(gather.clone(), &[y, indices]);
    let (attained, marks, zeros) = mark(b, by, y);
    let (update_attained, update_marks, update_zeros) = mark(b, updates, read);
    let count = b.op(add, &[marks, indices, update_marks]);
    let share = b.div(dy, count);
    let update_share = b.op(gather, &[share, indices]);
    let by_element = b.select(attained, share, zeros);
    Gradient::Operands(vec![Some(by_element), None, Some(b.select(update_attained, update_share, update_zeros))])
}

/// The gradient of a scatter that multiplies: for each factor the product of the others. With zeros left out the product of all
/// can be divided by the factor; it counts where no other factor is zero.
pub(super) fn product_gradient(b: &mut Builder, scatter: &dyn Fn(ScatterReduction) -> Op, gather: Op, x: &[Value], dy: Value) -> Gradient {
    let indices = x[1];
    let mark = |b: &mut Builder, operand: Value| {
        let (one, zero) = (b.like(operand, 1.0), b.like(operand, 0.0));
        let is_zero = b.equal(operand, zero);
        (b.select(is_zero, one, zero), b.select(is_zero, one, operand))
    };
    let (marks, factors) = mark(b, x[0]);
    let (update_marks, update_factors) = mark(b, x[2]);
    let zeros = b.op(scatter(ScatterReduction::Add), &[marks, indices, update_marks]);
    let product = b.op(scatter(ScatterReduction::Mul), &[factors, indices, update_factors]);
    let weighted = b.mul(product, dy);
    let by_factor = |b: &mut Builder, zeros: Value, marks: Value, weighted: Value, factor: Value| {
        let others = b.equal(zeros, marks);
        let (quotient, nothing) = (b.div(weighted, factor), b.like(factor, 0.0));
        b.select(others, quotient, nothing)
    };
    let by_element = by_factor(b, zeros, marks, weighted, factors);
    let (zeros_there, weighted_there) = (b.op(gather.clone(), &[zeros, indices]), b.op(gather, &[weighted, indices]));
    Gradient::Operands(vec![Some(by_element), None, Some(by_factor(b, zeros_there, update_marks, weighted_there, update_factors))])
}
