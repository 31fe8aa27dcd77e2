//! From gradients to the states after a step.

use super::config::TrainingConfig;
use super::states::{LOSS_SCALE, LOSS_SCALE_UPDATES, States, average, gradient_sum, remembered};
use crate::frontend::model::Model;
use crate::optim::{Step, clip_by_norm, clip_by_value};
use kiln_ir::{Builder, DType, Value};
use std::collections::BTreeMap;

/// Updates without overflow after which the factor of the loss is doubled. *Source*: Micikevicius et al. 2018, §3.2; PyTorch GradScaler.
const LOSS_SCALE_PATIENCE: f64 = 2000.0;

/// What an update reads besides gradients.
pub struct Reads<'s> {
    /// States by name.
    pub before: &'s BTreeMap<String, Value>,
    /// Whether the loss is finite: where it is not, nothing changes, so that what brought it about can be looked for. `bool[]`.
    pub sound: Value,
    /// Size of the step: `f64[]`.
    pub learning_rate: Value,
    /// Number of the update: `i64[]`.
    pub count: Value,
    /// Whether this step ends with an update: `bool[]`.
    pub applies: Option<Value>,
}

/// Writes the states after a step, by name, except statistics. `gradients` are in the order of `states.trained`.
pub fn updates(
    b: &mut Builder,
    model: &Model,
    config: &TrainingConfig,
    states: &States,
    reads: &Reads,
    gradients: &[Value],
) -> BTreeMap<String, Value> {
    let mut after = BTreeMap::new();
    let mut gradients: Vec<Value> =
        states.trained.iter().zip(gradients).map(|(name, g)| b.cast(*g, model.parameters[name].ty.dtype)).collect();
    let mut sound = reads.sound;
    if let Some(scale) = reads.before.get(LOSS_SCALE) {
        for gradient in &mut gradients {
            let scale = b.cast(*scale, b.dtype(*gradient));
            *gradient = b.div(*gradient, scale);
            let axes: Vec<usize> = (0..b.shape(*gradient).len()).collect();
            let size = b.abs(*gradient);
            let largest = b.reduce_max(size, &axes, false);
            let finite = is_finite(b, largest);
            sound = b.and(sound, finite);
        }
        scale_loss(b, reads.before, sound, &mut after);
    }
    if reads.applies.is_some() {
        for (name, gradient) in states.trained.iter().zip(&mut gradients) {
            let share = b.scalar(b.dtype(*gradient), 1.0 / f64::from(config.schedule.accumulate));
            let share = b.mul(*gradient, share);
            *gradient = b.add(reads.before[&gradient_sum(name)], share);
        }
    }
    let sums = gradients.clone();
    if let Some(limit) = config.clip_value {
        gradients = clip_by_value(b, &gradients, limit);
    }
    if let Some(limit) = config.clip_norm {
        gradients = clip_by_norm(b, &gradients, limit).0;
    }
    let updates = reads.applies.map_or(sound, |applies| b.and(applies, sound));
    for ((name, gradient), sum) in states.trained.iter().zip(gradients).zip(sums) {
        for (state, new) in update(b, model, config, reads, name, gradient) {
            let value = b.select(updates, new, reads.before[&state]);
            after.insert(state, value);
        }
        if let Some(applies) = reads.applies {
            let zero = b.like(sum, 0.0);
            let kept = b.select(sound, sum, reads.before[&gradient_sum(name)]);
            after.insert(gradient_sum(name), b.select(applies, zero, kept));
        }
    }
    after
}

/// The update of one parameter: what becomes of it and of what is remembered of it.
fn update(b: &mut Builder, model: &Model, config: &TrainingConfig, reads: &Reads, name: &str, gradient: Value) -> Vec<(String, Value)> {
    let info = &model.parameters[name];
    let tensors: Vec<String> = config.optimiser.state().iter().map(|tensor| remembered(config, name, tensor.name)).collect();
    let state = tensors.iter().map(|tensor| reads.before[tensor]).collect();
    let step = Step { parameter: reads.before[name], gradient, state, learning_rate: reads.learning_rate, count: reads.count };
    let update = config.optimiser.update(b, &step);
    let mut value = update.parameter;
    if let Some(constraint) = info.care.constraint {
        value = constraint.apply(b, value, &info.incoming);
    }
    let mut changes: Vec<(String, Value)> = tensors.into_iter().zip(update.state).collect();
    changes.push((name.to_string(), value));
    if let Some(kept) = config.ema {
        let (kept, added) = (b.scalar(b.dtype(value), kept), b.scalar(b.dtype(value), 1.0 - kept));
        let (old, new) = (b.mul(reads.before[&average(name)], kept), b.mul(value, added));
        changes.push((average(name), b.add(old, new)));
    }
    changes
}

/// Halves the factor of the loss after an overflow, doubles it after many updates without one.
fn scale_loss(b: &mut Builder, before: &BTreeMap<String, Value>, sound: Value, after: &mut BTreeMap<String, Value>) {
    let (scale, updates) = (before[LOSS_SCALE], before[LOSS_SCALE_UPDATES]);
    let (one, zero, patience) = (b.scalar(DType::I64, 1.0), b.scalar(DType::I64, 0.0), b.scalar(DType::I64, LOSS_SCALE_PATIENCE));
    let (two, half, least) = (b.scalar(DType::F32, 2.0), b.scalar(DType::F32, 0.5), b.scalar(DType::F32, 1.0));
    let counted = b.add(updates, one);
    let enough = b.greater_equal(counted, patience);
    let (doubled, halved) = (b.mul(scale, two), b.mul(scale, half));
    let (raised, lowered) = (b.select(enough, doubled, scale), b.max(halved, least));
    after.insert(LOSS_SCALE.into(), b.select(sound, raised, lowered));
    let goes_on = b.select(enough, zero, counted);
    after.insert(LOSS_SCALE_UPDATES.into(), b.select(sound, goes_on, zero));
}

/// Whether a scalar is a finite number. A comparison tells NaN as well.
pub fn is_finite(b: &mut Builder, x: Value) -> Value {
    let largest = match b.dtype(x) {
        DType::F64 => f64::MAX,
        DType::F16 => 65504.0,
        // The largest of bf16 is smaller than that of f32 and larger than any number below it.
        DType::BF16 => f64::from(f32::from_bits(0x7f7f_0000)),
        _ => f64::from(f32::MAX),
    };
    let (size, largest) = (b.abs(x), b.scalar(b.dtype(x), largest));
    b.less_equal(size, largest)
}
