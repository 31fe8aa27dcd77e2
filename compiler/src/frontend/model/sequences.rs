//! What is known of values that are texts, or made of texts: how long each one is, so that its padding counts nowhere.
//!
//! Padding stands behind a text, so one number for each sample says which elements count. Layers keep it for what they give as long as
//! that has the same samples and time steps.

use super::context::Context;
use kiln_ir::artifact::TextInput;
use kiln_ir::{DType, Dim, Value};
use std::collections::BTreeMap;

/// Texts and what was made of them so far.
#[derive(Default)]
pub struct Sequences {
    /// Tokens `[batch, time]` and how they come about.
    tokens: BTreeMap<Value, TextInput>,
    /// Values `[batch, time, ..]` and the lengths of their samples, `i64[batch]`.
    lengths: BTreeMap<Value, Value>,
}

impl Sequences {
    /// Notes that a value has the tokens of an input.
    pub fn add_tokens(&mut self, value: Value, text: TextInput) {
        self.tokens.insert(value, text);
    }

    /// Keeps what is known of `x` for `y`, which has the same samples and time steps.
    pub fn keep(&mut self, x: Value, y: Value) {
        if let Some(text) = self.tokens.get(&x).cloned() {
            self.tokens.insert(y, text);
        }
        if let Some(lengths) = self.lengths.get(&x).copied() {
            self.lengths.entry(y).or_insert(lengths);
        }
    }
}

impl Context<'_> {
    /// How tokens come about, if the value has some.
    pub fn text_of(&self, x: Value) -> Option<&TextInput> {
        self.sequences.as_deref()?.tokens.get(&x)
    }

    /// The lengths of the samples of a value, `i64[batch]`, if they are texts: up to their last token that is no padding.
    pub fn lengths(&mut self, x: Value) -> Option<Value> {
        // What writes is given no padding.
        if self.writes() {
            return None;
        }
        let sequences = self.sequences.as_deref()?;
        if let Some(lengths) = sequences.lengths.get(&x) {
            return Some(*lengths);
        }
        let padding = sequences.tokens.get(&x)?.padding;
        let [batch, time] = &self.graph.ty(x).shape[..] else { return None };
        let (batch, time) = (batch.clone(), time.clone());
        let mut b = self.b();
        let tokens = b.cast(x, DType::I64);
        let (padding, zero, one) = (b.like(tokens, padding as f64), b.like(tokens, 0.0), b.scalar(DType::I64, 1.0));
        let places = b.iota(DType::I64, &[Dim::ONE, time.clone()], 1);
        let places = b.add(places, one);
        let places = b.broadcast_to(places, &[batch, time]);
        let is_padding = b.equal(tokens, padding);
        let places = b.select(is_padding, zero, places);
        // The zero in front is the length of a text without tokens, of which there would be no largest.
        let padded = b.pad(places, &[Dim::ZERO, Dim::ZERO], &[Dim::ZERO, Dim::ONE], 0.0);
        let lengths = b.reduce_max(padded, &[1], false);
        self.sequences.as_deref_mut()?.lengths.insert(x, lengths);
        Some(lengths)
    }

    /// Lets a value have the samples and time steps of another one.
    pub fn keep_lengths(&mut self, x: Value, y: Value) {
        self.lengths(x);
        if let Some(sequences) = self.sequences.as_deref_mut()
            && let Some(lengths) = sequences.lengths.get(&x).copied()
        {
            sequences.lengths.insert(y, lengths);
        }
    }

    /// Which elements of samples `[batch, time, ..]` count, `bool[batch, time]`, if they are texts.
    pub fn counted(&mut self, x: Value) -> Option<Value> {
        let lengths = self.lengths(x)?;
        let shape = self.graph.ty(x).shape[..2].to_vec();
        let mut b = self.b();
        let places = b.iota(DType::I64, &shape, 1);
        let lengths = b.reshape(lengths, &[shape[0].clone(), Dim::ONE]);
        let lengths = b.broadcast_to(lengths, &shape);
        Some(b.less(places, lengths))
    }
}
