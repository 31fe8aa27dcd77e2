//! `multi_head_attention`: softmax(q·kᵀ/√d)·v in several heads, with projections.   `query`, `key`, `value` and `output` are affine.
//!
//! Padding of texts is not attended to. The first value asks, `[batch, queries, features]`; the second, if there is one, answers: `[batch, keys, features]`.

use super::super::context::Context;
use super::super::tree::Mistake;
use super::Layer;
use super::dense::{GLOROT, ZEROS, affine, yes};
use super::embedding::wide;
use kiln_ir::ops::{Attention, RotaryEmbedding};
use kiln_ir::{Dim, Tensor, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// See the head of this file.
#[derive(Deserialize, JsonSchema)]
pub struct MultiHeadAttention {
    heads: u32,
    /// Features of a head; those of the input divided among the heads unless given.
    head_features: Option<u32>,
    /// Whether an element sees no later one.
    #[serde(default)]
    causal: bool,
    /// How many elements before it an element of causal attention sees at most; all if left out. *Source*: Beltagy et al. 2020, §3.1.
    window: Option<u32>,
    /// Whether queries and keys are turned by their place. *Source*: Su et al. 2021.
    #[serde(default)]
    rotary: bool,
    #[serde(default = "yes")]
    bias: bool,
}

impl Layer for MultiHeadAttention {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let memory = x.get(1).copied().unwrap_or(x[0]);
        let heads = Heads {
            count: self.heads as usize,
            features: self.head_features.map(|n| n as usize),
            causal: self.causal,
            window: self.window,
            rotary: self.rotary,
            bias: self.bias,
        };
        heads.build(c, x[0], memory)
    }
}

/// What attention is told by the layers that have one.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub count: usize,
    pub features: Option<usize>,
    pub causal: bool,
    pub window: Option<u32>,
    pub rotary: bool,
    pub bias: bool,
}

impl Heads {
    pub(super) fn build(self, c: &mut Context, asks: Value, answers: Value) -> Result<Value, Mistake> {
        c.expect(asks, &["batch", "queries", "features"])?;
        c.expect(answers, &["batch", "keys", "features"])?;
        let features = c.size(asks, 2, "features")?;
        let size = match self.features {
            Some(size) => size,
            None if self.count > 0 && features % self.count == 0 => features / self.count,
            None => return Err(Mistake::new(format!("{} heads do not divide {features} features", self.count))),
        };
        if self.count == 0 || size == 0 {
            return Err(Mistake::new("a head needs features, and attention a head"));
        }
        if self.rotary && size % 2 == 1 {
            return Err(Mistake::new(format!("`rotary` turns pairs of features, a head has {size}")));
        }
        if self.window.is_some() && !self.causal {
            return Err(Mistake::new("`window` is for attention that sees no later element").help("causal = true"));
        }
        let window = self.window.map(|window| window as usize);
        let bias = self.bias.then_some(ZEROS);
        let mut parts = Vec::new();
        for (name, from) in [("query", asks), ("key", answers), ("value", answers)] {
            let projected = c.within(name, |c| affine(c, from, self.count * size, GLOROT, bias))?;
            let shape = c.graph.ty(projected).shape.clone();
            let mut b = c.b();
            let split = b.reshape(projected, &[shape[0].clone(), shape[1].clone(), Dim::from(self.count), Dim::from(size)]);
            let split = b.transpose(split, &[0, 2, 1, 3]);
            parts.push(if self.rotary && name != "value" { turned(c, split, size)? } else { split });
        }
        if c.writes() {
            if !self.causal || asks != answers {
                let mistake = Mistake::new("an attention that sees later elements does not write token by token");
                return Err(mistake.help("`causal = true` lets each see those before it alone"));
            }
            if let Some([keys, values, seen]) = c.remembered(parts[1], parts[2])? {
                parts = vec![parts[0], keys, values, seen];
            }
        }
        let mut past = Dim::ZERO;
        if c.hearing().is_some() {
            if !self.causal || asks != answers {
                let mistake = Mistake::new("an attention that sees later elements does not hear a stream piece by piece");
                return Err(mistake.help("`causal = true` lets each see those before it alone"));
            }
            let mut heard = [parts[1], parts[2]];
            past = c.heard(&mut heard, window)?.unwrap_or(past);
            parts = vec![parts[0], heard[0], heard[1]];
        }
        // Padding stands behind a text, so none of its elements sees any where none sees a later one.
        let lengths = if self.causal { None } else { c.lengths(answers) };
        parts.extend(lengths);
        let has_lengths = parts.len() > 3;
        let attention = Attention { causal: self.causal, past, left_window: window, has_lengths, ..Attention::plain() };
        let mixed = c.op(attention, &parts)?;
        let shape = c.graph.ty(asks).shape.clone();
        let mut b = c.b();
        let together = b.transpose(mixed, &[0, 2, 1, 3]);
        let together = b.reshape(together, &[shape[0].clone(), shape[1].clone(), Dim::from(self.count * size)]);
        c.within("output", |c| affine(c, together, features, GLOROT, bias))
    }
}

/// Queries or keys `[batch, heads, time, size]` turned by angles t/10000^(2i/size).
fn turned(c: &mut Context, x: Value, size: usize) -> Result<Value, Mistake> {
    let ty = c.graph.ty(x).clone();
    let rates = (0..size / 2).map(|i| 10_000f64.powf(-((2 * i) as f64) / size as f64));
    let rates = Tensor::from_floats(wide(ty.dtype), vec![1, 1, size / 2], rates);
    let places = c.places(wide(ty.dtype), &ty.shape[2]);
    let mut b = c.b();
    let rates = b.constant(rates);
    let places = b.reshape(places, &[Dim::ONE, ty.shape[2].clone(), Dim::ONE]);
    let angles = b.mul(places, rates);
    let (cosines, sines) = (b.cos(angles), b.sin(angles));
    let (cosines, sines) = (b.cast(cosines, ty.dtype), b.cast(sines, ty.dtype));
    c.op(RotaryEmbedding { interleaved: false }, &[x, cosines, sines])
}
