//! Tokens to vectors, and what tells a sequence's elements where they stand.

use super::super::context::{Context, Weight};
use super::super::initialise::initialiser;
use super::super::tree::Mistake;
use super::Layer;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::{Add, Gather};
use kiln_ir::{DType, Dim, Tensor, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// `embedding`: integers `[batch, ..]` → `[batch, .., features]`.   `weight: [vocabulary, features]`
#[derive(Deserialize, JsonSchema)]
pub struct Embedding {
    vocabulary: u32,
    features: u32,
    #[serde(default = "narrow", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    initialiser: Initialiser,
}

impl Layer for Embedding {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let ty = c.graph.ty(x[0]);
        if !ty.dtype.is_int() {
            return Err(Mistake::new(format!("takes integers, but what comes in is {ty}")).help("give the input dtype = \"i64\""));
        }
        // A token's vector is what comes in for it.
        let table = Weight::matrix("weight", self.vocabulary as usize, self.features as usize, self.initialiser);
        let table = c.parameter(Weight { incoming: vec![1], ..table })?;
        c.op(Gather { axis: 0 }, &[table, x[0]])
    }
}

/// `sinusoidal_position`: adds sin(t/base^(2i/features)) to feature 2i and the cosine to feature 2i + 1 of element t.
/// *Source*: Vaswani et al. 2017, §3.5.
#[derive(Deserialize, JsonSchema)]
pub struct SinusoidalPosition {
    #[serde(default = "ten_thousand")]
    base: f64,
}

impl Layer for SinusoidalPosition {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        c.expect(x[0], &["batch", "time", "features"])?;
        let (features, time) = (c.size(x[0], 2, "features")?, c.graph.ty(x[0]).shape[1].clone());
        let rates = (0..features).map(|i| self.base.powf(-((i / 2 * 2) as f64) / features as f64));
        let dtype = c.graph.ty(x[0]).dtype;
        let rates = Tensor::from_floats(wide(dtype), vec![features], rates);
        let odd = Tensor::from_bools(vec![features], (0..features).map(|i| i % 2 == 1));
        let mut b = c.b();
        let (rates, odd) = (b.constant(rates), b.constant(odd));
        let places = b.iota(wide(dtype), &[time.clone(), Dim::ONE], 0);
        let angles = b.mul(places, rates);
        let (sines, cosines) = (b.sin(angles), b.cos(angles));
        let odd = b.broadcast_to(odd, &[time, Dim::from(features)]);
        let table = b.select(odd, cosines, sines);
        let table = b.cast(table, dtype);
        Ok(b.add(x[0], table))
    }
}

/// `learned_position`: adds a vector for each place, of which there are `length` at most.   `weight: [length, features]`
#[derive(Deserialize, JsonSchema)]
pub struct LearnedPosition {
    length: u32,
    #[serde(default = "narrow", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    initialiser: Initialiser,
}

impl Layer for LearnedPosition {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        c.expect(x[0], &["batch", "time", "features"])?;
        let (features, time) = (c.size(x[0], 2, "features")?, c.graph.ty(x[0]).shape[1].clone());
        let length = self.length as usize;
        if time.as_const().is_some_and(|t| t > length as i64) {
            return Err(Mistake::new(format!("sequences of {time} do not fit into `length` {length}")));
        }
        let table = Weight::matrix("weight", length, features, self.initialiser);
        let table = c.parameter(Weight { incoming: vec![1], ..table })?;
        // Longer sequences are refused when the network is called.
        let used = c.b().slice(table, &[Dim::ZERO, Dim::ZERO], &[time, Dim::from(features)]);
        c.broadcast_op(Add {}, &[x[0], used])
    }
}

/// The type that angles are computed in: places of hundreds have no 16 bits to spare.
pub(super) fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

fn narrow() -> Initialiser {
    Initialiser::Uniform(0.05)
}

fn ten_thousand() -> f64 {
    10_000.0
}
