//! Layers that change the shape of what they get, and dropout, which changes nothing outside training.

use super::super::context::Context;
use super::super::tree::Mistake;
use super::Layer;
use kiln_ir::ops;
use kiln_ir::{DType, Dim, Proof, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// `flatten`: `[batch, ..]` → `[batch, features]`.
#[derive(Deserialize, JsonSchema)]
pub struct Flatten {}

impl Layer for Flatten {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let shape = c.graph.ty(x[0]).shape.clone();
        let Some((batch, rest)) = shape.split_first() else { return Err(Mistake::new("a single number has no batch")) };
        c.op(ops::Reshape { shape: vec![batch.clone(), Dim::product(rest)] }, x)
    }
}

/// `reshape`: `[batch, ..]` → `[batch, shape..]`; one size may be −1, which takes what is left.
#[derive(Deserialize, JsonSchema)]
pub struct Reshape {
    #[schemars(with = "Vec<i64>")]
    shape: Vec<Dim>,
}

impl Layer for Reshape {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let from = c.graph.ty(x[0]).shape.clone();
        let Some((batch, rest)) = from.split_first() else { return Err(Mistake::new("a single number has no batch")) };
        let open: Vec<usize> = (0..self.shape.len()).filter(|i| self.shape[*i].is(-1)).collect();
        let mut shape = self.shape.clone();
        match open[..] {
            [] => {}
            [axis] => {
                let known = Dim::product(shape.iter().filter(|d| !d.is(-1)));
                if known.is(0) {
                    return Err(Mistake::new("nothing says how large the axis of size -1 is: another one is 0"));
                }
                shape[axis] = Dim::product(rest).floor_div(&known);
            }
            _ => return Err(Mistake::new("only one size may be -1")),
        }
        // An empty batch would fit any shape, so the rest is compared without it.
        let (had, has) = (Dim::product(rest), Dim::product(&shape));
        if c.graph.symbols.provably_equal(&had, &has) == Proof::No {
            return Err(Mistake::new(format!("{had} elements of each sample do not make {has}")));
        }
        shape.insert(0, batch.clone());
        let y = c.op(ops::Reshape { shape }, x)?;
        c.expect_same_time(x[0], y)?;
        Ok(y)
    }
}

/// `permute`: the axes in another order; `order` lists them, 1 being the first behind the first, which stays if 0 is not listed.
#[derive(Deserialize, JsonSchema)]
pub struct Permute {
    order: Vec<u32>,
}

impl Layer for Permute {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let first = (!self.order.contains(&0)).then_some(0);
        let perm: Vec<usize> = first.into_iter().chain(self.order.iter().map(|&axis| axis as usize)).collect();
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        let ty = c.graph.ty(x[0]);
        if !sorted.into_iter().eq(0..ty.rank()) {
            return Err(Mistake::new(format!("`order` lists each of the axes 1 to {} of {ty} once", ty.rank().saturating_sub(1))));
        }
        c.op(ops::Transpose { perm }, x)
    }
}

/// `dropout`: during training each element is 0 with probability `rate`, and what stays is larger by 1 / (1 − rate); a predictor
/// passes everything on. *Source*: Srivastava et al. 2014, in the inverted form.
#[derive(Deserialize, JsonSchema)]
pub struct Dropout {
    rate: f64,
}

impl Layer for Dropout {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        dropout(c, x[0], self.rate, "rate")
    }
}

/// Dropout as part of a layer whose setting for it is called `setting`. Errors: the rate is no probability below 1.
pub(crate) fn dropout(c: &mut Context, x: Value, rate: f64, setting: &str) -> Result<Value, Mistake> {
    if !(0.0..1.0).contains(&rate) {
        return Err(Mistake::new(format!("`{setting}` is {rate}, but a probability below 1 is wanted")));
    }
    if rate == 0.0 {
        return Ok(x);
    }
    c.expect_floats(x)?;
    let Some(drawn) = c.random_like(x) else { return Ok(x) };
    let mut b = c.b();
    let dtype = b.dtype(x);
    let (rate, factor, zero) = (b.scalar(DType::F32, rate), b.scalar(dtype, 1.0 / (1.0 - rate)), b.scalar(dtype, 0.0));
    let stays = b.greater_equal(drawn, rate);
    let larger = b.mul(x, factor);
    Ok(b.select(stays, larger, zero))
}
