//! Lion: steps of one size, in the direction of the sign of a momentum.

use super::{Optimiser, StateTensor, Step, Update, descend, running_mean, times};
use kiln_ir::Builder;
use schemars::JsonSchema;
use serde::Deserialize;

/// p ← p − lr·(sign(β₁·m + (1 − β₁)·g) + weight_decay·p), m ← β₂·m + (1 − β₂)·g.
///
/// *Shapes*: all tensors like the parameter. *State*: `mean` (m). *Units*: every element moves by lr; rates are 3–10 times smaller
/// than Adam's. *Source*: Chen et al. 2023, algorithm 2.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Lion {
    /// Weight of the momentum in the direction, in 0..1.
    pub beta1: f64,
    /// Part of the momentum that stays after each step, in 0..1.
    pub beta2: f64,
    /// Added to the direction, times the parameter.
    pub weight_decay: f64,
}

impl Default for Lion {
    fn default() -> Lion {
        Lion { beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

impl Optimiser for Lion {
    fn state(&self) -> Vec<StateTensor> {
        vec![StateTensor::zero("mean")]
    }

    fn update(&self, b: &mut Builder, step: &Step) -> Update {
        let blend = running_mean(b, step.state[0], step.gradient, self.beta1);
        let sign = b.sign(blend);
        let pull = times(b, step.parameter, self.weight_decay);
        let direction = b.add(sign, pull);
        let mean = running_mean(b, step.state[0], step.gradient, self.beta2);
        Update { parameter: descend(b, step, direction), state: vec![mean] }
    }
}
