//! Normalisations.   `scale` and `bias` (and `mean`, `variance` of `batch_norm`, which no gradient changes): one number a feature.

use super::super::context::{Context, Weight};
use super::super::tree::Mistake;
use super::Layer;
use super::dense::ZEROS;
use kiln_ir::attr::Real;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::{BatchNorm, GroupNorm, LayerNorm, Mean, RmsNorm};
use kiln_ir::{DType, Dim, Value};
use schemars::JsonSchema;
use serde::Deserialize;

const ONES: Initialiser = Initialiser::Constant(1.0);

/// `batch_norm`: channels (axis 1, or the only features), during training by the statistics of the batch, else by running ones, of
/// which each step keeps the part `momentum`. *Source*: Ioffe & Szegedy 2015; running variances are unbiased, as PyTorch's.
#[derive(Deserialize, JsonSchema)]
pub struct BatchNormalisation {
    #[serde(default = "epsilon")]
    epsilon: f64,
    #[serde(default = "momentum")]
    momentum: f64,
}

impl Layer for BatchNormalisation {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        c.expect_floats(x[0])?;
        let channels = c.size(x[0], 1, "channels")?;
        let scale = c.parameter(Weight::vector("scale", channels, ONES))?;
        let bias = c.parameter(Weight::vector("bias", channels, ZEROS))?;
        let mean = c.parameter(Weight { trainable: false, ..Weight::vector("mean", channels, ZEROS) })?;
        let variance = c.parameter(Weight { trainable: false, ..Weight::vector("variance", channels, ONES) })?;
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Mistake::new(format!("`momentum` is {}, but a part from 0 to 1 is wanted", self.momentum)));
        }
        if c.training.is_none() {
            return c.op(BatchNorm { epsilon: Real(self.epsilon) }, &[x[0], scale, bias, mean, variance]);
        }
        let [batch_mean, batch_variance, unbiased] = batch_statistics(c, x[0]);
        for (name, old, new) in [("mean", mean, batch_mean), ("variance", variance, unbiased)] {
            c.update_statistic(name, old, new, self.momentum);
        }
        c.op(BatchNorm { epsilon: Real(self.epsilon) }, &[x[0], scale, bias, batch_mean, batch_variance])
    }
}

/// Mean and variance of each channel over all other axes, and the variance as one of a sample: by one element less.
pub(crate) fn batch_statistics(c: &mut Context, x: Value) -> [Value; 3] {
    let shape = c.graph.ty(x).shape.clone();
    let axes: Vec<usize> = (0..shape.len()).filter(|axis| *axis != 1).collect();
    let count = Dim::product(axes.iter().map(|axis| &shape[*axis]));
    let mut b = c.b();
    let mean = b.op(Mean { axes: axes.clone(), keep: true }, &[x]);
    let centred = b.sub(x, mean);
    let squares = b.mul(centred, centred);
    let variance = b.op(Mean { axes, keep: false }, &[squares]);
    let mean = b.reshape(mean, &shape[1..2]);
    let sizes = b.dims(&[count.clone(), (count - Dim::ONE).maximum(&Dim::ONE)]);
    let sizes = b.cast(sizes, DType::F64);
    let [all, less] = [0, 1].map(|i| {
        let one = b.slice_axis(sizes, 0, &Dim::from(i), &Dim::ONE);
        b.reshape(one, &[])
    });
    let ratio = b.div(all, less);
    let ratio = b.cast(ratio, b.dtype(variance));
    let unbiased = b.mul(variance, ratio);
    [mean, variance, unbiased]
}

/// `layer_norm`: over the last axis.
#[derive(Deserialize, JsonSchema)]
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
#[derive(Deserialize, JsonSchema)]
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
#[derive(Deserialize, JsonSchema)]
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

fn momentum() -> f64 {
    0.9
}

/// What a variance is before anything is known.
pub(super) fn ones() -> Initialiser {
    ONES
}

fn small_epsilon() -> f64 {
    1e-6
}
