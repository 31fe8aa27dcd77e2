//! Adadelta: steps in units of the recent steps.

use super::{Optimiser, StateTensor, Step, Update, descend, plus, running_mean, with_decay};
use kiln_ir::Builder;
use schemars::JsonSchema;
use serde::Deserialize;

/// s ← decay·s + (1 − decay)·g², δ = g·√(u + epsilon)/√(s + epsilon), u ← decay·u + (1 − decay)·δ², p ← p − lr·δ.
///
/// *Shapes*: all tensors like the parameter. *State*: `square` (s) and `change` (u). *Units*: lr is a plain factor, 1 in the paper.
/// *Source*: Zeiler 2012, algorithm 1.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Adadelta {
    /// Part of the running means that stays after each step, in 0..1.
    pub decay: f64,
    /// Added under both roots.
    pub epsilon: f64,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f64,
}

impl Default for Adadelta {
    fn default() -> Adadelta {
        Adadelta { decay: 0.9, epsilon: 1e-6, weight_decay: 0.0 }
    }
}

impl Optimiser for Adadelta {
    fn state(&self) -> Vec<StateTensor> {
        vec![StateTensor::zero("square"), StateTensor::zero("change")]
    }

    fn update(&self, b: &mut Builder, step: &Step) -> Update {
        let gradient = with_decay(b, step, self.weight_decay);
        let square = b.mul(gradient, gradient);
        let size = running_mean(b, step.state[0], square, self.decay);
        let root = |b: &mut Builder, mean| {
            let shifted = plus(b, mean, self.epsilon);
            b.sqrt(shifted)
        };
        let (changes, sizes) = (root(b, step.state[1]), root(b, size));
        let ratio = b.div(changes, sizes);
        let direction = b.mul(ratio, gradient);
        let square = b.mul(direction, direction);
        let change = running_mean(b, step.state[1], square, self.decay);
        Update { parameter: descend(b, step, direction), state: vec![size, change] }
    }
}
