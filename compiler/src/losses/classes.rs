//! Losses of probabilities: cross-entropies over the last axis or of each element alone, and the divergence of distributions.

use super::{LossReduction, number, reduce, size, widen};
use kiln_ir::ops::{GatherElements, LogSoftmax, Mean};
use kiln_ir::{Builder, DType, Dim, Value};

/// Probabilities below this, or above one less this, count as this far from 0 and 1, so that logarithms stay finite.
/// *Source*: Keras `backend.epsilon()`.
const LEAST: f64 = 1e-7;

/// What a network gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scores {
    /// Any numbers; softmax or sigmoid makes probabilities of them.
    Logits,
    /// Numbers in 0..=1.
    Probabilities,
}

/// A cross-entropy's choices.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CrossEntropy {
    /// What the network gives.
    pub scores: Scores,
    /// Part of the target that is spread over all classes evenly, in 0..1. *Source*: Szegedy et al. 2016, §7.
    pub label_smoothing: f64,
    /// What becomes of the losses of the samples.
    pub reduction: LossReduction,
}

/// −t·log p − (1 − t)·log(1 − p) for each element; smoothing makes t·(1 − s) + s/2 of t.
///
/// *Shapes*: `scores: [..]`, `targets` in 0..=1 broadcastable to it.
pub fn binary_cross_entropy(b: &mut Builder, scores: Value, targets: Value, choices: CrossEntropy) -> Value {
    let (scores, targets) = (widen(b, scores), widen(b, targets));
    let targets = smoothed(b, targets, choices.label_smoothing, &Dim::from(2));
    let losses = match choices.scores {
        // max(x, 0) − x·t + log(1 + e^−|x|): nothing overflows and nothing cancels.
        Scores::Logits => {
            let zero = number(b, scores, 0.0);
            let (positive, size) = (b.max(scores, zero), b.abs(scores));
            let negative = b.neg(size);
            let power = b.exp(negative);
            let rest = b.log1p(power);
            let product = b.mul(scores, targets);
            let difference = b.sub(positive, product);
            b.add(difference, rest)
        }
        Scores::Probabilities => {
            let inside = bounded(b, scores);
            let one = number(b, scores, 1.0);
            let (other, other_target) = (b.sub(one, inside), b.sub(one, targets));
            let (log, other_log) = (b.log(inside), b.log(other));
            let (first, second) = (b.mul(targets, log), b.mul(other_target, other_log));
            let sum = b.add(first, second);
            b.neg(sum)
        }
    };
    reduce(b, losses, choices.reduction)
}

/// −log p[label] for each label; smoothing mixes in the mean of −log p over the classes.
///
/// *Shapes*: `scores: [.., classes]`, `labels: [..]` of integers. Labels outside the classes are an error when the step runs.
pub fn sparse_cross_entropy(b: &mut Builder, scores: Value, labels: Value, choices: CrossEntropy) -> Value {
    let logs = log_probabilities(b, scores, choices.scores);
    let last = b.ty(logs).rank() - 1;
    let labels = refused_below_zero(b, labels, &b.shape(logs)[last].clone());
    let places = b.unsqueeze(labels, &[last]);
    let chosen = b.op(GatherElements { axis: last }, &[logs, places]);
    let shape = b.shape(labels);
    let chosen = b.reshape(chosen, &shape);
    let mut losses = b.neg(chosen);
    if choices.label_smoothing != 0.0 {
        let mean = b.op(Mean { axes: vec![last], keep: false }, &[logs]);
        let (kept, spread) = (number(b, logs, 1.0 - choices.label_smoothing), number(b, logs, choices.label_smoothing));
        let (kept, spread) = (b.mul(losses, kept), b.mul(mean, spread));
        losses = b.sub(kept, spread);
    }
    reduce(b, losses, choices.reduction)
}

/// −Σ t·log p over the classes, for each sample; smoothing makes t·(1 − s) + s/classes of t.
///
/// *Shapes*: `scores: [.., classes]`, `targets` like it, each row adding up to 1.
pub fn dense_cross_entropy(b: &mut Builder, scores: Value, targets: Value, choices: CrossEntropy) -> Value {
    let logs = log_probabilities(b, scores, choices.scores);
    let last = b.ty(logs).rank() - 1;
    let targets = widen(b, targets);
    let classes = b.shape(logs)[last].clone();
    let targets = smoothed(b, targets, choices.label_smoothing, &classes);
    let products = b.mul(targets, logs);
    let sums = b.reduce_sum(products, &[last], false);
    let losses = b.neg(sums);
    reduce(b, losses, choices.reduction)
}

/// Σ t·(log t − log p) over the last axis, for each sample; a t of 0 adds 0.
///
/// *Shapes*: `log_predictions: [.., n]`, the logarithms of probabilities, `targets` like it.
/// *Source*: Kullback & Leibler 1951; PyTorch `KLDivLoss` with `batchmean` is this with `Mean` over one axis of samples.
pub fn kl_divergence(b: &mut Builder, log_predictions: Value, targets: Value, reduction: LossReduction) -> Value {
    let (logs, targets) = (widen(b, log_predictions), widen(b, targets));
    let (zero, one) = (number(b, targets, 0.0), number(b, targets, 1.0));
    let positive = b.greater(targets, zero);
    let inside = b.select(positive, targets, one);
    let target_logs = b.log(inside);
    let difference = b.sub(target_logs, logs);
    let products = b.mul(targets, difference);
    let terms = b.select(positive, products, zero);
    let last = b.ty(terms).rank() - 1;
    let losses = b.reduce_sum(terms, &[last], false);
    reduce(b, losses, reduction)
}

/// Labels below 0 as one that is too large, lest they count from the end.
pub fn refused_below_zero(b: &mut Builder, labels: Value, classes: &Dim) -> Value {
    let labels = b.cast(labels, DType::I64);
    let (zero, classes) = (b.scalar(DType::I64, 0.0), size(b, classes, DType::I64));
    let below = b.less(labels, zero);
    b.select(below, classes, labels)
}

fn log_probabilities(b: &mut Builder, scores: Value, kind: Scores) -> Value {
    let scores = widen(b, scores);
    match kind {
        Scores::Logits => {
            let axis = b.ty(scores).rank() - 1;
            b.op(LogSoftmax { axis }, &[scores])
        }
        Scores::Probabilities => {
            let inside = bounded(b, scores);
            b.log(inside)
        }
    }
}

fn bounded(b: &mut Builder, probabilities: Value) -> Value {
    let (least, most) = (number(b, probabilities, LEAST), number(b, probabilities, 1.0 - LEAST));
    let above = b.max(probabilities, least);
    b.min(above, most)
}

fn smoothed(b: &mut Builder, targets: Value, smoothing: f64, classes: &Dim) -> Value {
    if smoothing == 0.0 {
        return targets;
    }
    let (kept, spread) = (number(b, targets, 1.0 - smoothing), number(b, targets, smoothing));
    let classes = size(b, classes, b.dtype(targets));
    let (kept, share) = (b.mul(targets, kept), b.div(spread, classes));
    b.add(kept, share)
}
