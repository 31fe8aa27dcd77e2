//! Normalisations.   `scale` and `bias` (and `mean`, `variance` of `batch_norm`, which no gradient changes): one number a feature.

use super::super::context::{Context, Weight};
use super::super::initialise::Initialiser;
use super::super::tree::Mistake;
use super::Layer;
use super::dense::ZEROS;
use kiln_ir::Value;
use kiln_ir::attr::Real;
use kiln_ir::ops::{BatchNorm, GroupNorm, LayerNorm, RmsNorm};
use serde::Deserialize;

const ONES: Initialiser = Initialiser::Constant(1.0);

/// `batch_norm`: channels (axis 1, or the only features) by their running statistics.
#[derive(Deserialize)]
pub struct BatchNormalisation {
    #[serde(default = "epsilon")]
    epsilon: f64,
}

impl Layer for BatchNormalisation {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        c.expect_floats(x[0])?;
        let channels = c.size(x[0], 1, "channels")?;
        let scale = c.parameter(Weight::vector("scale", channels, ONES))?;
        let bias = c.parameter(Weight::vector("bias", channels, ZEROS))?;
        let mean = c.parameter(Weight { trainable: false, ..Weight::vector("mean", channels, ZEROS) })?;
        let variance = c.parameter(Weight { trainable: false, ..Weight::vector("variance", channels, ONES) })?;
        c.op(BatchNorm { epsilon: Real(self.epsilon) }, &[x[0], scale, bias, mean, variance])
    }
}

/// `layer_norm`: over the last axis.
#[derive(Deserialize)]
pub struct LayerNormalisation {
    #[serde(default = "epsilon")]
    epsilon: f64,
}

impl Layer for LayerNormalisation {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        layer_norm(c, x[0], self.epsilon)
    }
}

/// A layer norm over the last axis, with the parameters `scale` and `bias`.
pub(super) fn layer_norm(c: &mut Context, x: Value, epsilon: f64) -> Result<Value, Mistake> {
    let (last, features) = last_features(c, x)?;
    let scale = c.parameter(Weight::vector("scale", features, ONES))?;
    let bias = c.parameter(Weight::vector("bias", features, ZEROS))?;
    c.op(LayerNorm { axes_from: last, epsilon: Real(epsilon) }, &[x, scale, bias])
}

/// `group_norm`: groups of channels of `[batch, channels, ..]`.
#[derive(Deserialize)]
pub struct GroupNormalisation {
    groups: u32,
    #[serde(default = "epsilon")]
    epsilon: f64,
}

impl Layer for GroupNormalisation {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        c.expect_floats(x[0])?;
        let channels = c.size(x[0], 1, "channels")?;
        let scale = c.parameter(Weight::vector("scale", channels, ONES))?;
        let bias = c.parameter(Weight::vector("bias", channels, ZEROS))?;
        c.op(GroupNorm { groups: self.groups as usize, epsilon: Real(self.epsilon) }, &[x[0], scale, bias])
    }
}

/// `rms_norm`: by the root of the mean square over the last axis.
#[derive(Deserialize)]
pub struct RmsNormalisation {
    #[serde(default = "small_epsilon")]
    epsilon: f64,
}

impl Layer for RmsNormalisation {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let (last, features) = last_features(c, x[0])?;
        let scale = c.parameter(Weight::vector("scale", features, ONES))?;
        c.op(RmsNorm { axes_from: last, epsilon: Real(self.epsilon) }, &[x[0], scale])
    }
}

fn last_features(c: &Context, x: Value) -> Result<(usize, usize), Mistake> {
    c.expect_floats(x)?;
    let last = c.graph.ty(x).rank().checked_sub(1).ok_or_else(|| Mistake::new("a single number has no features"))?;
    Ok((last, c.size(x, last, "features")?))
}

/// What PyTorch adds.
pub(super) fn epsilon() -> f64 {
    1e-5
}

fn small_epsilon() -> f64 {
    1e-6
}
