//! RMSProp: steps in units of the gradient's recent size.

use super::{Optimiser, StateTensor, Step, Update, descend, root_with, running_mean, times, with_decay};
use kiln_ir::Builder;
use schemars::JsonSchema;
use serde::Deserialize;

/// s ← decay·s + (1 − decay)·g², p ← p − lr·g / (√s + epsilon).
///
/// `epsilon_in_root` makes √(s + epsilon) of √s + epsilon; `centred` subtracts the square of the running mean of g from s; `momentum` applies m ← momentum·m + g/(√s + epsilon) instead.
/// *Shapes*: all tensors like the parameter. *State*: `square`, `mean` if centred, `velocity` unless `momentum` is 0.
/// *Source*: Hinton 2012, lecture 6e; centred: Graves 2013, equations 38–41; epsilon behind the root as in PyTorch, in it as in Keras.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RmsProp {
    /// Part of the running means that stays after each step, in 0..1.
    pub decay: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// Whether it is added under the root.
    pub epsilon_in_root: bool,
    /// Whether the mean gradient is subtracted.
    pub centred: bool,
    /// Part of the velocity that stays after each step, in 0..1.
    pub momentum: f64,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f64,
}

impl Default for RmsProp {
    fn default() -> RmsProp {
        RmsProp { decay: 0.99, epsilon: 1e-8, epsilon_in_root: false, centred: false, momentum: 0.0, weight_decay: 0.0 }
    }
}

impl Optimiser for RmsProp {
    fn state(&self) -> Vec<StateTensor> {
        let all = [("square", true), ("mean", self.centred), ("velocity", self.momentum != 0.0)];
        all.into_iter().filter(|(_, has)| *has).map(|(name, _)| StateTensor::zero(name)).collect()
    }

    fn update(&self, b: &mut Builder, step: &Step) -> Update {
        let gradient = with_decay(b, step, self.weight_decay);
        let mut old = step.state.iter().copied();
        let mut next = || old.next().expect("as many tensors as `state` says");
        let mut state = Vec::new();
        let square = b.mul(gradient, gradient);
        let mut size = running_mean(b, next(), square, self.decay);
        state.push(size);
        if self.centred {
            let mean = running_mean(b, next(), gradient, self.decay);
            state.push(mean);
            let square = b.mul(mean, mean);
            size = b.sub(size, square);
        }
        let divisor = root_with(b, size, self.epsilon, self.epsilon_in_root);
        let mut direction = b.div(gradient, divisor);
        if self.momentum != 0.0 {
            let kept = times(b, next(), self.momentum);
            direction = b.add(kept, direction);
            state.push(direction);
        }
        Update { parameter: descend(b, step, direction), state }
    }
}
