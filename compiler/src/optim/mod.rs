//! Optimisers as graphs: each writes the update of one parameter into the function of a training step.
//!
//! An update reads a parameter, its gradient, the optimiser's state for it, the learning rate and the number of the step, and gives
//! the new parameter and the new state. Nothing is hidden: what an optimiser remembers are tensors that the step takes and returns.
//! Factors that depend on the step alone are computed in f64 and rounded once, so that `1 − 0.999ᵗ` keeps its digits in f32.

mod adadelta;
mod adagrad;
mod adam;
mod adamw;
mod clip;
mod constraint;
mod lion;
mod rmsprop;
mod sgd;

pub use adadelta::Adadelta;
pub use adagrad::Adagrad;
pub use adam::Adam;
pub use adamw::AdamW;
pub use clip::{clip_by_norm, clip_by_value};
pub use constraint::Constraint;
pub use lion::Lion;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

use kiln_ir::{Builder, DType, Value};

/// What an update reads.
#[derive(Clone, Debug)]
pub struct Step {
    /// The parameter, floating, of any shape.
    pub parameter: Value,
    /// The gradient of the loss by it, of its type.
    pub gradient: Value,
    /// One tensor of its type for each of [`Optimiser::state`], in that order.
    pub state: Vec<Value>,
    /// Size of the step: `f64[]`.
    pub learning_rate: Value,
    /// How many steps there have been, this one included: `i64[]`, 1 at first.
    pub count: Value,
}

/// What an update gives.
#[derive(Clone, Debug)]
pub struct Update {
    /// The parameter from now on.
    pub parameter: Value,
    /// The state from now on.
    pub state: Vec<Value>,
}

/// A tensor that an optimiser remembers for each parameter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StateTensor {
    /// What it is called in checkpoints.
    pub name: &'static str,
    /// The value of all its elements before the first step.
    pub initial: f64,
}

impl StateTensor {
    const fn zero(name: &'static str) -> StateTensor {
        StateTensor { name, initial: 0.0 }
    }
}

/// A rule by which parameters follow their gradients.
pub trait Optimiser: std::fmt::Debug + Send + Sync {
    /// What it remembers for each parameter.
    fn state(&self) -> Vec<StateTensor>;
    /// Writes the update of one parameter.
    fn update(&self, b: &mut Builder, step: &Step) -> Update;
}

/// `x` with each element of a scalar in f64 rounded to its type and multiplied.
fn times_scalar(b: &mut Builder, x: Value, scalar: Value) -> Value {
    let factor = b.cast(scalar, b.dtype(x));
    b.mul(x, factor)
}

/// `x` with its elements multiplied by a number.
fn times(b: &mut Builder, x: Value, factor: f64) -> Value {
    let factor = b.scalar(b.dtype(x), factor);
    b.mul(x, factor)
}

/// `x` with a number added to its elements.
fn plus(b: &mut Builder, x: Value, term: f64) -> Value {
    let term = b.scalar(b.dtype(x), term);
    b.add(x, term)
}

/// √x + epsilon, or √(x + epsilon).
fn root_with(b: &mut Builder, x: Value, epsilon: f64, in_root: bool) -> Value {
    if in_root {
        let sum = plus(b, x, epsilon);
        return b.sqrt(sum);
    }
    let root = b.sqrt(x);
    plus(b, root, epsilon)
}

/// `decay · old + (1 − decay) · new`
fn running_mean(b: &mut Builder, old: Value, new: Value, decay: f64) -> Value {
    let (kept, added) = (times(b, old, decay), times(b, new, 1.0 - decay));
    b.add(kept, added)
}

/// The gradient with that of `weight_decay/2 · ‖parameter‖²` added: L2 regularisation.
fn with_decay(b: &mut Builder, step: &Step, weight_decay: f64) -> Value {
    if weight_decay == 0.0 {
        return step.gradient;
    }
    let pull = times(b, step.parameter, weight_decay);
    b.add(step.gradient, pull)
}

/// `parameter − learning_rate · direction`
fn descend(b: &mut Builder, step: &Step, direction: Value) -> Value {
    let change = times_scalar(b, direction, step.learning_rate);
    b.sub(step.parameter, change)
}

/// `1 − decayᵗ` as `f64[]`, t being the number of the step: what a running mean that began at 0 lacks.
fn bias_correction(b: &mut Builder, count: Value, decay: f64) -> Value {
    let (t, logarithm) = (b.cast(count, DType::F64), b.scalar(DType::F64, decay.ln()));
    let exponent = b.mul(t, logarithm);
    let less = b.expm1(exponent);
    b.neg(less)
}
