//! What is done with features of sound, `[batch, time, features]`: normalisation, deltas and SpecAugment.

use super::super::super::context::{Context, Weight};
use super::super::super::tree::Mistake;
use super::super::Layer;
use super::super::dense::ZEROS;
use super::super::embedding::wide;
use super::super::normalisation::{batch_statistics, epsilon, ones};
use kiln_ir::ops::{Mean, Pad, PadMode};
use kiln_ir::{DType, Dim, Value};
use schemars::JsonSchema;
use serde::Deserialize;

const AXES: [&str; 3] = ["batch", "time", "features"];

/// What mean and variance are taken over.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// The time of each sample.
    #[default]
    Utterance,
    /// All that is trained on, as running means.
    Global,
}

/// `normalise`: each feature brought to mean 0 and variance 1. A second value, `[batch]`, says which part of the time of each sample
/// counts, from 0 to 1; the rest becomes 0. Over everything, the numbers of a batch serve while training, and running ones elsewhere, `mean` and `variance`,
/// of which each step keeps the part `momentum`.
#[derive(Deserialize, JsonSchema)]
pub struct Normalise {
    #[serde(default)]
    over: Over,
    #[serde(default = "epsilon")]
    epsilon: f64,
    #[serde(default = "momentum")]
    momentum: f64,
}

impl Layer for Normalise {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        c.expect(x[0], &AXES)?;
        let dtype = c.graph.ty(x[0]).dtype;
        let wider = c.b().cast(x[0], wide(dtype));
        if self.over == Over::Utterance && c.hearing().is_some() {
            let mistake = Mistake::new("the mean over a stream is not known before its end");
            return Err(mistake.help("`over = \"global\"` takes that of all sounds that were trained on"));
        }
        let counts = x.get(1).map(|part| counted(c, wider, *part)).transpose()?;
        let [mean, variance] = match self.over {
            Over::Utterance => moments(c, wider, counts, &[1]),
            Over::Global => self.running(c, wider, counts)?,
        };
        let mut b = c.b();
        let epsilon = b.like(variance, self.epsilon);
        let variance = b.add(variance, epsilon);
        let deviation = b.sqrt(variance);
        let centred = b.sub(wider, mean);
        let mut y = b.div(centred, deviation);
        if let Some(counts) = counts {
            // How loud the sound is would say what silence behind it is: it becomes the mean.
            y = b.mul(y, counts);
        }
        Ok(b.cast(y, dtype))
    }
}

impl Normalise {
    fn running(&self, c: &mut Context, x: Value, counts: Option<Value>) -> Result<[Value; 2], Mistake> {
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Mistake::new(format!("`momentum` is {}, but a part from 0 to 1 is wanted", self.momentum)));
        }
        let features = c.size(x, 2, "features")?;
        let mean = c.parameter(Weight { trainable: false, ..Weight::vector("mean", features, ZEROS) })?;
        let variance = c.parameter(Weight { trainable: false, ..Weight::vector("variance", features, ones()) })?;
        if c.training.is_none() {
            let mut b = c.b();
            let dtype = b.dtype(x);
            return Ok([b.cast(mean, dtype), b.cast(variance, dtype)]);
        }
        let [batch_mean, batch_variance, unbiased] = match counts {
            // Features as channels: `[batch, features, time]`.
            None => {
                let turned = c.b().transpose(x, &[0, 2, 1]);
                batch_statistics(c, turned)
            }
            Some(_) => {
                let [mean, variance] = moments(c, x, counts, &[0, 1]);
                let mut b = c.b();
                let flat = [Dim::from(features)];
                let [mean, variance] = [mean, variance].map(|v| b.reshape(v, &flat));
                [mean, variance, variance]
            }
        };
        for (name, old, new) in [("mean", mean, batch_mean), ("variance", variance, unbiased)] {
            let new = c.b().reshape(new, &[Dim::from(features)]);
            c.update_statistic(name, old, new, self.momentum);
        }
        let mut b = c.b();
        let shape = [Dim::ONE, Dim::ONE, Dim::from(features)];
        Ok([batch_mean, batch_variance].map(|v| b.reshape(v, &shape)))
    }
}

/// 1 for the frames that count and 0 for the others, `[batch, time, 1]`: frame t of T counts if t < part · T, and the first one always.
fn counted(c: &mut Context, x: Value, part: Value) -> Result<Value, Mistake> {
    c.expect(part, &["batch"])?;
    let shape = c.graph.ty(x).shape.clone();
    let mut b = c.b();
    let dtype = b.dtype(x);
    let time = b.dims(&shape[1..2]);
    let time = b.cast(time, dtype);
    let part = b.cast(part, dtype);
    let part = b.reshape(part, &[shape[0].clone(), Dim::ONE, Dim::ONE]);
    let end = b.mul(part, time);
    let tiny = b.scalar(dtype, f64::from(f32::MIN_POSITIVE));
    let end = b.max(end, tiny);
    let place = b.iota(dtype, &[shape[0].clone(), shape[1].clone(), Dim::ONE], 1);
    let counts = b.less(place, end);
    Ok(b.cast(counts, dtype))
}

/// Mean and variance along axes, which stay with size 1, of what counts.
fn moments(c: &mut Context, x: Value, counts: Option<Value>, axes: &[usize]) -> [Value; 2] {
    let mut b = c.b();
    let Some(counts) = counts else {
        let mean = b.op(Mean { axes: axes.to_vec(), keep: true }, &[x]);
        let centred = b.sub(x, mean);
        let squares = b.mul(centred, centred);
        return [mean, b.op(Mean { axes: axes.to_vec(), keep: true }, &[squares])];
    };
    let number = b.reduce_sum(counts, axes, true);
    let kept = b.mul(x, counts);
    let sum = b.reduce_sum(kept, axes, true);
    let mean = b.div(sum, number);
    let centred = b.sub(x, mean);
    let centred = b.mul(centred, counts);
    let squares = b.mul(centred, centred);
    let sum = b.reduce_sum(squares, axes, true);
    [mean, b.div(sum, number)]
}

/// `deltas`: the slopes of features over time by regression over `win_length` frames, those of slopes with `order` 2, and so on, put
/// behind the features. *Source*: The HTK Book, §5.9; torchaudio `compute_deltas`.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Deltas {
    win_length: u32,
    order: u32,
}

impl Default for Deltas {
    fn default() -> Deltas {
        Deltas { win_length: 5, order: 1 }
    }
}

impl Layer for Deltas {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        c.expect(x[0], &AXES)?;
        if self.win_length < 3 || self.win_length.is_multiple_of(2) || self.win_length > 99 {
            return Err(Mistake::new(format!("`win_length` is {}, but an odd number from 3 to 99 is wanted", self.win_length)));
        }
        if !(1..=4).contains(&self.order) {
            return Err(Mistake::new(format!("`order` is {}, but a number from 1 to 4 is wanted", self.order)));
        }
        let mut all = vec![x[0]];
        for _ in 0..self.order {
            let last = all[all.len() - 1];
            all.push(self.slopes(c, last)?);
        }
        Ok(c.b().concat(&all, 2))
    }
}

impl Deltas {
    /// Σ n·(x[t + n] − x[t − n]) / 2·Σ n², with the first and the last frame going on outside.
    fn slopes(&self, c: &mut Context, x: Value) -> Result<Value, Mistake> {
        let reach = i64::from(self.win_length / 2);
        let time = c.graph.ty(x).shape[1].clone();
        let zero = {
            let mut b = c.b();
            b.scalar(b.dtype(x), 0.0)
        };
        let amounts = vec![Dim::ZERO, Dim::from(reach), Dim::ZERO];
        let wider = c.op(Pad { low: amounts.clone(), high: amounts, mode: PadMode::Edge }, &[x, zero])?;
        let mut b = c.b();
        let mut sum = None;
        for n in 1..=reach {
            let (later, earlier) =
                (b.slice_axis(wider, 1, &Dim::from(reach + n), &time), b.slice_axis(wider, 1, &Dim::from(reach - n), &time));
            let difference = b.sub(later, earlier);
            let factor = b.like(difference, n as f64);
            let term = b.mul(difference, factor);
            sum = Some(sum.map_or(term, |sum| b.add(sum, term)));
        }
        let sum = sum.expect("a window reaches one frame at least");
        let divisor = b.like(sum, (2 * (1..=reach).map(|n| n * n).sum::<i64>()) as f64);
        Ok(b.div(sum, divisor))
    }
}

/// `spec_augment`: during training, stretches of time and of frequency are 0, by chance for each sample; a predictor passes everything
/// on. Each of `time_masks` is up to `time_width` frames long, and up to the part `time_part` of all; each of `frequency_masks` is up to
/// `frequency_width` features wide. *Source*: Park et al. 2019, without the bending of time; torchaudio `mask_along_axis_iid`.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct SpecAugment {
    time_masks: u32,
    time_width: u32,
    time_part: f64,
    frequency_masks: u32,
    frequency_width: u32,
}

impl Default for SpecAugment {
    fn default() -> SpecAugment {
        SpecAugment { time_masks: 2, time_width: 40, time_part: 0.2, frequency_masks: 2, frequency_width: 10 }
    }
}

impl Layer for SpecAugment {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        c.expect(x[0], &AXES)?;
        if !(0.0..=1.0).contains(&self.time_part) {
            return Err(Mistake::new(format!("`time_part` is {}, but a part from 0 to 1 is wanted", self.time_part)));
        }
        if self.time_masks > 100 || self.frequency_masks > 100 {
            return Err(Mistake::new("`time_masks` and `frequency_masks` are 100 at most"));
        }
        if c.training.is_none() {
            return Ok(x[0]);
        }
        let mut masked: Option<Value> = None;
        let axes = [(1, self.time_masks, self.time_width, self.time_part), (2, self.frequency_masks, self.frequency_width, 1.0)];
        for (axis, count, width, part) in axes {
            for _ in 0..count {
                let mask = stretch(c, x[0], axis, width, part);
                let mut b = c.b();
                masked = Some(masked.map_or(mask, |other| b.or(other, mask)));
            }
        }
        let Some(masked) = masked else { return Ok(x[0]) };
        let mut b = c.b();
        let zero = b.scalar(b.dtype(x[0]), 0.0);
        Ok(b.select(masked, zero, x[0]))
    }
}

/// Where an axis of a sample is within a stretch drawn for it: ⌊w⌋ long from ⌊s⌋ on, w evenly up to a bound, s evenly up to what is left.
fn stretch(c: &mut Context, x: Value, axis: usize, width: u32, part: f64) -> Value {
    let shape = c.graph.ty(x).shape.clone();
    let of_sample = [shape[0].clone(), Dim::ONE, Dim::ONE];
    let [length, place] = [0, 1].map(|_| c.random(&of_sample).expect("training draws"));
    let mut b = c.b();
    let size = b.dims(&shape[axis..=axis]);
    let size = b.cast(size, DType::F32);
    let (width, part) = (b.scalar(DType::F32, f64::from(width)), b.scalar(DType::F32, part));
    let bound = b.mul(size, part);
    let bound = b.min(bound, width);
    let length = b.mul(length, bound);
    let left = b.sub(size, length);
    let start = b.mul(place, left);
    let (start, length) = (b.floor(start), b.floor(length));
    let end = b.add(start, length);
    let mut row = vec![Dim::ONE; 3];
    row[axis] = shape[axis].clone();
    let at = b.iota(DType::F32, &row, axis);
    let (begun, over) = (b.greater_equal(at, start), b.less(at, end));
    b.and(begun, over)
}

fn momentum() -> f64 {
    0.9
}
