//! `dense`: y = activation(x·weight + bias) over the last axis.   `weight: [features, units]`, `bias: [units]`

use super::super::context::{Context, Weight};
use super::super::initialise::initialiser;
use super::super::tree::Mistake;
use super::Layer;
use super::activation::Activation;
use kiln_ir::Value;
use kiln_ir::initialiser::{Initialiser, Scale, Shape};
use kiln_ir::ops::Dot;
use schemars::JsonSchema;
use serde::Deserialize;

/// How weights of matrices are drawn unless a file says otherwise.
pub(super) const GLOROT: Initialiser = Initialiser::Scaled(Scale::Glorot, Shape::Uniform);
/// How biases are.
pub(super) const ZEROS: Initialiser = Initialiser::Constant(0.0);

/// See the head of this file.
#[derive(Deserialize, JsonSchema)]
pub struct Dense {
    units: u32,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "linear")]
    activation: Activation,
    #[serde(default = "glorot", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    initialiser: Initialiser,
    #[serde(default = "zeros", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    bias_initialiser: Initialiser,
}

impl Layer for Dense {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let bias = self.bias.then_some(self.bias_initialiser);
        let y = affine(c, x[0], self.units as usize, self.initialiser, bias)?;
        self.activation.apply(c, y)
    }
}

/// x·weight + bias over the last axis, with the parameters `weight` and `bias`.
pub(super) fn affine(
    c: &mut Context,
    x: Value,
    units: usize,
    initialiser: Initialiser,
    bias: Option<Initialiser>,
) -> Result<Value, Mistake> {
    c.expect_floats(x)?;
    let rank = c.graph.ty(x).rank();
    let last = rank.checked_sub(1).ok_or_else(|| Mistake::new("a single number has no features"))?;
    let features = c.size(x, last, "features")?;
    let weight = c.parameter(Weight::matrix("weight", features, units, initialiser))?;
    let product = Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![last], b_contract: vec![0] };
    let y = c.op(product, &[x, weight])?;
    match bias {
        Some(initialiser) => {
            let bias = c.parameter(Weight::vector("bias", units, initialiser))?;
            Ok(c.b().add(y, bias))
        }
        None => Ok(y),
    }
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn linear() -> Activation {
    Activation::Linear
}

pub(super) fn glorot() -> Initialiser {
    GLOROT
}

pub(super) fn zeros() -> Initialiser {
    ZEROS
}
