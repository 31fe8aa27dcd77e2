//! Adam: momentum in units of the gradient's recent size, both corrected for their start at zero.

use super::{Optimiser, StateTensor, Step, Update, bias_correction, plus, running_mean, times_scalar, with_decay};
use kiln_ir::{Builder, DType, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// m ← β₁·m + (1 − β₁)·g, v ← β₂·v + (1 − β₂)·g², p ← p − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + epsilon).
///
/// `epsilon_hat` divides by (√v + epsilon)/√(1 − β₂ᵗ) instead, `amsgrad` by the largest v there has been. *Shapes*: all tensors like the parameter.
/// *State*: `mean` (m), `square` (v) and `largest` with `amsgrad`. *Units*: `count` is t, 1 at first.
/// *Source*: Kingma & Ba 2015, algorithm 1, and the end of §2 for `epsilon_hat`, which Keras has; Reddi et al. 2018, algorithm 2, with PyTorch's bias corrections.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Adam {
    /// Part of the mean gradient that stays after each step, in 0..1.
    pub beta1: f64,
    /// Part of the mean square that stays after each step, in 0..1.
    pub beta2: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// Whether it is added before the root is corrected for its start.
    pub epsilon_hat: bool,
    /// Whether the divisor never falls.
    pub amsgrad: bool,
    /// Added to the gradient, times the parameter. AdamW subtracts it from the parameter instead.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Adam {
        Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, epsilon_hat: false, amsgrad: false, weight_decay: 0.0 }
    }
}

impl Adam {
    /// The step for a gradient, to be subtracted from the parameter, and the new state.
    pub(super) fn change(&self, b: &mut Builder, step: &Step, gradient: Value) -> (Value, Vec<Value>) {
        let mean = running_mean(b, step.state[0], gradient, self.beta1);
        let square = b.mul(gradient, gradient);
        let square = running_mean(b, step.state[1], square, self.beta2);
        let mut state = vec![mean, square];
        if self.amsgrad {
            state.push(b.max(step.state[2], square));
        }
        let size = state[state.len() - 1];
        let (lacking_mean, lacking_square) = (bias_correction(b, step.count, self.beta1), bias_correction(b, step.count, self.beta2));
        let rate = b.div(step.learning_rate, lacking_mean);
        let (root, one) = (b.sqrt(lacking_square), b.scalar(DType::F64, 1.0));
        let factor = b.div(one, root);
        let root = b.sqrt(size);
        let divisor = if self.epsilon_hat {
            let sum = plus(b, root, self.epsilon);
            times_scalar(b, sum, factor)
        } else {
            let corrected = times_scalar(b, root, factor);
            plus(b, corrected, self.epsilon)
        };
        let direction = b.div(mean, divisor);
        (times_scalar(b, direction, rate), state)
    }
}

impl Optimiser for Adam {
    fn state(&self) -> Vec<StateTensor> {
        let names: &[&str] = if self.amsgrad { &["mean", "square", "largest"] } else { &["mean", "square"] };
        names.iter().map(|name| StateTensor::zero(name)).collect()
    }

    fn update(&self, b: &mut Builder, step: &Step) -> Update {
        let gradient = with_decay(b, step, self.weight_decay);
        let (change, state) = self.change(b, step, gradient);
        Update { parameter: b.sub(step.parameter, change), state }
    }
}
