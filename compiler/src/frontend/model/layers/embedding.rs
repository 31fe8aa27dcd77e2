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

/// `embedding`: integers `[batch, ..]` → `[batch, .., features]`.   `weight: [vocabulary, features]`; of texts, `vocabulary` is theirs
/// unless given.
#[derive(Deserialize, JsonSchema)]
pub struct Embedding {
    vocabulary: Option<u32>,
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
        let size = match (self.vocabulary, c.text_of(x[0]).map(|text| text.size)) {
            (Some(own), Some(size)) if own < size => {
                let message = format!("`vocabulary` is {own}, and the text that comes in has {size} different tokens");
                return Err(Mistake::new(message).help("leave it out here: it is that of the text"));
            }
            (own, size) => own.or(size).ok_or_else(|| {
                Mistake::new("`vocabulary` is missing: below which number all integers are").help("only of a text it is known")
            })?,
        };
        // A token's vector is what comes in for it.
        let table = Weight::matrix("weight", size as usize, self.features as usize, self.initialiser);
        let table = c.parameter(Weight { incoming: vec![1], ..table })?;
        let y = c.op(Gather { axis: 0 }, &[table, x[0]])?;
        c.keep_lengths(x[0], y);
        Ok(y)
    }
}

/// `word_dropout`: during training each token of a text is the one for unknown words with probability `rate`; a predictor passes all on.
/// *Source*: Iyyer et al. 2015, §4.1, with unknown words in the place of none.
#[derive(Deserialize, JsonSchema)]
pub struct WordDropout {
    rate: f64,
}

impl Layer for WordDropout {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        if !(0.0..1.0).contains(&self.rate) {
            return Err(Mistake::new(format!("`rate` is {}, but a probability below 1 is wanted", self.rate)));
        }
        let Some((padding, unknown)) = c.text_of(x[0]).map(|text| (text.padding, text.unknown)) else {
            let mistake = Mistake::new("takes the tokens of a text");
            return Err(mistake.help("it stands behind an input with a `text` table, before the embedding"));
        };
        let unknown = unknown.ok_or_else(|| Mistake::new("the tokeniser has no token for unknown words"))?;
        if self.rate == 0.0 {
            return Ok(x[0]);
        }
        let Some(drawn) = c.random_like(x[0]) else { return Ok(x[0]) };
        let mut b = c.b();
        let rate = b.scalar(DType::F32, self.rate);
        let (unknown, padding) = (b.like(x[0], unknown as f64), b.like(x[0], padding as f64));
        let (stays, is_padding) = (b.greater_equal(drawn, rate), b.equal(x[0], padding));
        let stays = b.or(stays, is_padding);
        Ok(b.select(stays, x[0], unknown))
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
        let places = c.places(wide(dtype), &time);
        let mut b = c.b();
        let (rates, odd) = (b.constant(rates), b.constant(odd));
        let places = b.reshape(places, &[time.clone(), Dim::ONE]);
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
        if c.writes() {
            c.bound_places(self.length);
            let places = c.places(DType::I64, &time);
            let used = c.op(Gather { axis: 0 }, &[table, places])?;
            return c.broadcast_op(Add {}, &[x[0], used]);
        }
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
