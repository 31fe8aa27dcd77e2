//! Layers that do something in training alone; a predictor passes everything on.

use super::super::super::model::layers::shape;
use super::super::super::model::tree::Mistake;
use super::super::call::Call;
use super::super::layer::Layer;
use kiln_ir::ops::{self, Slice};
use kiln_ir::{Dim, Value};
use std::f64::consts::TAU;

/// `Dropout`: in training each element is 0 with probability `rate`, and what stays is larger by 1 / (1 − rate).
pub fn dropout(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, rate) = (call.value()?, l.settings.number_or("rate", 0.0)?);
    if l.settings.get("noise_shape").is_some() {
        l.leave_out("the noise shape");
    }
    shape::dropout(&mut l.context(), x, rate, "rate")
}

/// `SpatialDropout1D` … `SpatialDropout3D`: whole channels of a sample together.
pub fn spatial_dropout(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, rate, last) = (call.value()?, l.settings.number_or("rate", 0.0)?, l.settings.channels_last()?);
    let rank = l.rank(x);
    if l.import.training.is_none() || rate == 0.0 || rank < 3 {
        return Ok(x);
    }
    // One number for each channel: ones of that shape, dropped out, times x.
    let spatial = if last { 1..rank - 1 } else { 2..rank };
    let mut sizes = l.shape(x);
    sizes[spatial].iter_mut().for_each(|size| *size = Dim::ONE);
    let first = l.op(Slice { starts: vec![Dim::ZERO; rank], sizes, steps: vec![1; rank] }, &[x])?;
    let ones = l.b().like(first, 1.0);
    let factors = shape::dropout(&mut l.context(), ones, rate, "rate")?;
    l.broadcast_op(ops::Mul {}, &[x, factors])
}

/// `GaussianDropout`: times normal numbers of mean 1 and variance rate / (1 − rate).
pub fn gaussian_dropout(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, rate) = (call.value()?, l.settings.number_or("rate", 0.0)?);
    let rate = probability(rate)?;
    let Some(normal) = normal_like(l, x, (rate / (1.0 - rate)).sqrt())? else { return Ok(x) };
    let mut b = l.b();
    let one = b.like(x, 1.0);
    let factors = b.add(normal, one);
    Ok(b.mul(x, factors))
}

/// `GaussianNoise`: plus normal numbers of deviation `stddev`.
pub fn gaussian_noise(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, deviation) = (call.value()?, l.settings.number_or("stddev", 0.0)?);
    let Some(normal) = normal_like(l, x, deviation)? else { return Ok(x) };
    Ok(l.b().add(x, normal))
}

/// `AlphaDropout`: dropout to the lower limit of a SELU, scaled so that mean and variance stay. *Source*: Klambauer et al. 2017, §3.
pub fn alpha_dropout(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, rate) = (call.value()?, l.settings.number_or("rate", 0.0)?);
    if l.settings.get("noise_shape").is_some() {
        l.leave_out("the noise shape");
    }
    let rate = probability(rate)?;
    l.context().expect_floats(x)?;
    if rate == 0.0 {
        return Ok(x);
    }
    let Some(drawn) = l.context().random_like(x) else { return Ok(x) };
    let least = -1.6732632423543772 * 1.0507009873554805;
    let scale = ((1.0 - rate) * (1.0 + rate * least * least)).powf(-0.5);
    let mut b = l.b();
    let (bound, low) = (b.like(drawn, rate), b.like(x, least));
    let stays = b.greater_equal(drawn, bound);
    let kept = b.select(stays, x, low);
    let (scale, shift) = (b.like(x, scale), b.like(x, -scale * rate * least));
    let scaled = b.mul(kept, scale);
    Ok(b.add(scaled, shift))
}

/// `ActivityRegularization`: what comes in; its part of the loss is left out.
pub fn activity_regularization(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    l.settings.ignore(&["l1", "l2"]);
    l.leave_out("the penalty");
    call.value()
}

fn probability(rate: f64) -> Result<f64, Mistake> {
    if (0.0..1.0).contains(&rate) { Ok(rate) } else { Err(Mistake::new(format!("`rate` is {rate}, but a probability below 1 is wanted"))) }
}

/// In training, normal numbers of that deviation in the shape of `x`. *Source*: Box & Muller 1958. Errors: `x` holds no floats.
fn normal_like(l: &mut Layer, x: Value, deviation: f64) -> Result<Option<Value>, Mistake> {
    let mut context = l.context();
    context.expect_floats(x)?;
    let (Some(radius), Some(angle)) = (context.random_like(x), context.random_like(x)) else { return Ok(None) };
    let dtype = l.ty(x).dtype;
    let mut b = l.b();
    // Numbers from 0 up to but without 1: the logarithm takes one minus them.
    let (factor, turn) = (b.like(radius, -2.0), b.like(angle, TAU));
    let negative = b.neg(radius);
    let logarithm = b.log1p(negative);
    let square = b.mul(factor, logarithm);
    let length = b.sqrt(square);
    let angle = b.mul(angle, turn);
    let cosine = b.cos(angle);
    let normal = b.mul(length, cosine);
    let deviation = b.like(normal, deviation);
    let scaled = b.mul(normal, deviation);
    Ok(Some(b.cast(scaled, dtype)))
}
