//! Adagrad: steps that shrink with all the gradients there have been.

use super::{Optimiser, StateTensor, Step, Update, plus, root_with, times_scalar, with_decay};
use kiln_ir::{Builder, DType};
use schemars::JsonSchema;
use serde::Deserialize;

/// s ← s + g², p ← p − lr / (1 + (t − 1)·rate_decay) · g / (√s + epsilon), t being the number of the step;
/// `epsilon_in_root` makes √(s + epsilon) of √s + epsilon.
///
/// *Shapes*: all tensors like the parameter. *State*: `sum`, `initial` at first.
/// *Source*: Duchi et al. 2011, figure 1 (diagonal); the decay of the rate is PyTorch's `lr_decay`, epsilon in the root Keras's.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Adagrad {
    /// The sum of squares before the first step.
    pub initial: f64,
    /// How fast the learning rate falls with the number of steps.
    pub rate_decay: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// Whether it is added under the root.
    pub epsilon_in_root: bool,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f64,
}

impl Default for Adagrad {
    fn default() -> Adagrad {
        Adagrad { initial: 0.0, rate_decay: 0.0, epsilon: 1e-10, epsilon_in_root: false, weight_decay: 0.0 }
    }
}

impl Optimiser for Adagrad {
    fn state(&self) -> Vec<StateTensor> {
        vec![StateTensor { name: "sum", initial: self.initial }]
    }

    fn update(&self, b: &mut Builder, step: &Step) -> Update {
        let gradient = with_decay(b, step, self.weight_decay);
        let square = b.mul(gradient, gradient);
        let sum = b.add(step.state[0], square);
        let divisor = root_with(b, sum, self.epsilon, self.epsilon_in_root);
        let direction = b.div(gradient, divisor);
        let rate = if self.rate_decay == 0.0 {
            step.learning_rate
        } else {
            let before = b.cast(step.count, DType::F64);
            let before = plus(b, before, -1.0);
            let (decay, one) = (b.scalar(DType::F64, self.rate_decay), b.scalar(DType::F64, 1.0));
            let fallen = b.mul(before, decay);
            let divisor = b.add(fallen, one);
            b.div(step.learning_rate, divisor)
        };
        let change = times_scalar(b, direction, rate);
        Update { parameter: b.sub(step.parameter, change), state: vec![sum] }
    }
}
