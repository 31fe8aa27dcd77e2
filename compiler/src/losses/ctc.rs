//! Connectionist temporal classification: the loss of labels whose places in time nobody knows.

use super::{LossReduction, number, reduce, size, widen};
use kiln_ir::ops::{GatherElements, LogSoftmax, Scan};
use kiln_ir::{Builder, DType, Dim, Graph, TensorType, Value};
use std::sync::Arc;

/// The logarithm of probability 0, far below every other one yet finite, so that no difference of two is NaN.
const IMPOSSIBLE: f64 = -1e30;

/// −log of the probability of all ways in which the classes of the time steps, repetitions merged and blanks dropped, spell the labels.
///
/// *Shapes*: `logits: [batch, time, classes]`, `labels: [batch, n]` of integers, padded with −1 behind, `lengths: [batch]` integers: how
/// many of the time steps count, all if there are none. The losses `[batch]` are divided by the numbers of labels before they are
/// averaged, as PyTorch does. Labels that so few time steps cannot spell cost +∞, or 0, without slope, if `drop_impossible`.
/// *Source*: Graves et al. 2006, equations 6 to 8; PyTorch `ctc_loss`.
pub fn ctc_loss(b: &mut Builder, logits: Value, labels: Value, lengths: Option<Value>, choices: Ctc) -> Value {
    let logits = widen(b, logits);
    let (shape, dtype) = (b.shape(logits), b.dtype(logits));
    let (batch, time) = (shape[0].clone(), shape[1].clone());
    let labels = b.cast(labels, DType::I64);
    let count = b.shape(labels)[1].clone();
    let states = &count * Dim::from(2) + Dim::ONE;
    let row = [batch.clone(), states.clone()];

    // The labels with a blank before, between and behind: state 2i + 1 is label i, the others are blanks.
    let state = b.iota(DType::I64, std::slice::from_ref(&states), 0);
    let (one, two, zero) = (b.scalar(DType::I64, 1.0), b.scalar(DType::I64, 2.0), b.scalar(DType::I64, 0.0));
    let blank = b.scalar(DType::I64, choices.blank as f64);
    let half = b.div(state, two);
    let whole = b.mul(half, two);
    let odd = b.not_equal(whole, state);
    let is_label = b.greater_equal(labels, zero);
    let labels = b.select(is_label, labels, blank);
    // One more, so that the last blank has a place to look at, too.
    let padded = b.pad(labels, &[Dim::ZERO, Dim::ZERO], &[Dim::ZERO, Dim::ONE], choices.blank as f64);
    let places = b.broadcast_to(half, &row);
    let spelled = b.op(GatherElements { axis: 1 }, &[padded, places]);
    let odd = b.broadcast_to(odd, &row);
    let spelled = b.select(odd, spelled, blank);
    // From a label to another label the blank between may be left out.
    let before = shifted(b, spelled, 2, choices.blank as f64);
    let differs = b.not_equal(spelled, before);
    let skips = b.and(odd, differs);

    let logs = b.op(LogSoftmax { axis: 2 }, &[logits]);
    let logs = b.transpose(logs, &[1, 0, 2]);
    let classes_of = b.broadcast_to(spelled, &[time.clone(), batch.clone(), states.clone()]);
    let emitted = b.op(GatherElements { axis: 2 }, &[logs, classes_of]);
    let grid = [time, batch.clone()];
    let step = b.iota(DType::I64, &grid, 0);
    let active = match lengths {
        Some(lengths) => {
            let lengths = b.cast(lengths, DType::I64);
            b.less(step, lengths)
        }
        None => b.greater_equal(step, zero),
    };

    let (start, never) = (b.scalar(dtype, 0.0), b.scalar(dtype, IMPOSSIBLE));
    let first = b.equal(state, zero);
    let start = b.select(first, start, never);
    let start = b.broadcast_to(start, &row);
    let mut body = Graph::new();
    write_step(b, &mut body, dtype, &row);
    let scan = Scan { body: Arc::new(body), carried: 1, scanned: 2, reverse: false };
    let last = b.ops(scan, &[start, emitted, active, skips])[0];

    // The last label or the blank behind it.
    let counts = b.cast(is_label, DType::I64);
    let counts = b.reduce_sum(counts, &[1], true);
    let end = b.mul(counts, two);
    let before_end = b.sub(end, one);
    let (at_end, at_label) = (b.equal(state, end), b.equal(state, before_end));
    let ends = b.or(at_end, at_label);
    let ended = b.select(ends, last, never);
    let logs = b.op(kiln_ir::ops::LogSumExp { axes: vec![1], keep: false }, &[ended]);
    let losses = b.neg(logs);
    let (most, infinite) =
        (number(b, losses, -IMPOSSIBLE / 2.0), number(b, losses, if choices.drop_impossible { 0.0 } else { f64::INFINITY }));
    let impossible = b.greater(losses, most);
    let losses = b.select(impossible, infinite, losses);
    if choices.reduction != LossReduction::Mean {
        return reduce(b, losses, choices.reduction);
    }
    let counts = b.reshape(counts, std::slice::from_ref(&batch));
    let counts = b.max(counts, one);
    let counts = b.cast(counts, dtype);
    let each = b.div(losses, counts);
    let sum = b.reduce_sum(each, &[0], false);
    let samples = size(b, &batch, dtype);
    b.div(sum, samples)
}

/// The choices of [`ctc_loss`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ctc {
    /// The class that stands for nothing.
    pub blank: usize,
    /// Whether labels that cannot be spelled cost nothing rather than +∞.
    pub drop_impossible: bool,
    /// What becomes of the losses of the samples.
    pub reduction: LossReduction,
}

/// One time step: the logarithms of the probabilities to be in each state. Inputs: those before, the logarithms of the classes of the
/// states, whether the step counts for a sample, where a blank may be skipped.
fn write_step(outside: &Builder, body: &mut Graph, dtype: DType, row: &[Dim]) {
    let old = body.add_input("old", TensorType::new(dtype, row.to_vec()));
    let emitted = body.add_input("emitted", TensorType::new(dtype, row.to_vec()));
    let active = body.add_input("active", TensorType::new(DType::Bool, row[..1].to_vec()));
    let skips = body.add_input("skips", TensorType::new(DType::Bool, row.to_vec()));
    let b = &mut outside.region(body);
    let before = shifted(b, old, 1, IMPOSSIBLE);
    let skipped = shifted(b, old, 2, IMPOSSIBLE);
    let never = b.scalar(dtype, IMPOSSIBLE);
    let skipped = b.select(skips, skipped, never);
    let largest = b.max(old, before);
    let largest = b.max(largest, skipped);
    let powers = [old, before, skipped].map(|log| {
        let difference = b.sub(log, largest);
        b.exp(difference)
    });
    let sum = b.add(powers[0], powers[1]);
    let sum = b.add(sum, powers[2]);
    let log = b.log(sum);
    let reached = b.add(largest, log);
    let new = b.add(reached, emitted);
    let new = b.max(new, never);
    let active = b.unsqueeze(active, &[1]);
    let next = b.select(active, new, old);
    body.add_output("next", next);
}

/// Each row moved `by` places to the right, `value` in front.
fn shifted(b: &mut Builder, x: Value, by: i64, value: f64) -> Value {
    let shape = b.shape(x);
    let padded = b.pad(x, &[Dim::ZERO, Dim::from(by)], &[Dim::ZERO, Dim::ZERO], value);
    b.slice_axis(padded, 1, &Dim::ZERO, &shape[1])
}
