//! Gradient descent, with momentum and Nesterov's look ahead.

use super::{Optimiser, StateTensor, Step, Update, descend, times, with_decay};
use kiln_ir::Builder;
use schemars::JsonSchema;
use serde::Deserialize;

/// p ← p − lr·v, where v ← momentum·v + g; with `nesterov`, p ← p − lr·(g + momentum·v).
///
/// *Shapes*: all tensors like the parameter. *State*: `velocity`, unless `momentum` is 0.
/// *Source*: Sutskever et al. 2013, equations 1–4, in the form of PyTorch's `SGD` (v is scaled by lr when it is applied).
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sgd {
    /// Part of the velocity that stays after each step, in 0..1.
    pub momentum: f64,
    /// Whether the gradient is taken as if the velocity had been applied already.
    pub nesterov: bool,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f64,
}

impl Default for Sgd {
    fn default() -> Sgd {
        Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 }
    }
}

impl Optimiser for Sgd {
    fn state(&self) -> Vec<StateTensor> {
        if self.momentum == 0.0 { Vec::new() } else { vec![StateTensor::zero("velocity")] }
    }

    fn update(&self, b: &mut Builder, step: &Step) -> Update {
        let gradient = with_decay(b, step, self.weight_decay);
        let Some(velocity) = step.state.first() else {
            return Update { parameter: descend(b, step, gradient), state: Vec::new() };
        };
        let kept = times(b, *velocity, self.momentum);
        let velocity = b.add(kept, gradient);
        let direction = if self.nesterov {
            let ahead = times(b, velocity, self.momentum);
            b.add(gradient, ahead)
        } else {
            velocity
        };
        Update { parameter: descend(b, step, direction), state: vec![velocity] }
    }
}
