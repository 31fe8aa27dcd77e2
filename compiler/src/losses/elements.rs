//! Losses of numbers against numbers, element by element.

use super::{LossReduction, number, reduce, widen};
use kiln_ir::{Builder, Value};

/// (p − t)² for each element. *Shapes*: `predictions: [..]`, `targets` broadcastable to it.
pub fn mean_squared_error(b: &mut Builder, predictions: Value, targets: Value, reduction: LossReduction) -> Value {
    let difference = difference(b, predictions, targets);
    let squares = b.mul(difference, difference);
    reduce(b, squares, reduction)
}

/// |p − t| for each element. *Shapes*: `predictions: [..]`, `targets` broadcastable to it.
pub fn mean_absolute_error(b: &mut Builder, predictions: Value, targets: Value, reduction: LossReduction) -> Value {
    let difference = difference(b, predictions, targets);
    let sizes = b.abs(difference);
    reduce(b, sizes, reduction)
}

/// ½·d² where |d| ≤ delta, else delta·(|d| − ½·delta), with d = p − t.
///
/// *Shapes*: `predictions: [..]`, `targets` broadcastable to it. *Units*: `delta` is in those of the predictions, positive.
/// *Source*: Huber 1964, equation 3.
pub fn huber(b: &mut Builder, predictions: Value, targets: Value, delta: f64, reduction: LossReduction) -> Value {
    let size = {
        let difference = difference(b, predictions, targets);
        b.abs(difference)
    };
    // With c = min(|d|, delta) both cases are c·(|d| − ½·c).
    let (limit, half) = (number(b, size, delta), number(b, size, 0.5));
    let capped = b.min(size, limit);
    let halved = b.mul(capped, half);
    let rest = b.sub(size, halved);
    let losses = b.mul(capped, rest);
    reduce(b, losses, reduction)
}

/// ½·d²/beta where |d| < beta, else |d| − ½·beta, with d = p − t: [`huber`] divided by its delta.
///
/// *Shapes*: `predictions: [..]`, `targets` broadcastable to it. *Units*: `beta` is in those of the predictions, positive.
/// *Source*: Girshick 2015, equation 3, with PyTorch's `beta`.
pub fn smooth_l1(b: &mut Builder, predictions: Value, targets: Value, beta: f64, reduction: LossReduction) -> Value {
    let losses = huber(b, predictions, targets, beta, LossReduction::None);
    let factor = number(b, losses, 1.0 / beta);
    let losses = b.mul(losses, factor);
    reduce(b, losses, reduction)
}

/// max(0, 1 − t·p) for each element. *Shapes*: `scores: [..]`, `targets` of −1 and 1 broadcastable to it.
/// *Source*: Cortes & Vapnik 1995; Keras `Hinge`.
pub fn hinge(b: &mut Builder, scores: Value, targets: Value, reduction: LossReduction) -> Value {
    let (scores, targets) = (widen(b, scores), widen(b, targets));
    let margin = b.mul(scores, targets);
    let (one, zero) = (number(b, margin, 1.0), number(b, margin, 0.0));
    let lacking = b.sub(one, margin);
    let losses = b.max(lacking, zero);
    reduce(b, losses, reduction)
}

fn difference(b: &mut Builder, predictions: Value, targets: Value) -> Value {
    let (predictions, targets) = (widen(b, predictions), widen(b, targets));
    b.sub(predictions, targets)
}
