//! The function of a network that writes: it takes the tokens behind those that it has seen, and what it remembers of those.
//! ```text
//! write (tokens: i64[batch, new], %write/start: i64[], states..) { … return scores of what comes next: f32[batch, tokens], states.. }
//! ```
//! States are the keys and values of each attention, `[batch, heads, room, features]`, of which the first `start` are known before and
//! the first `start + new` after, and what recurrent layers go on from, `[batch, units]`. `room` is open, so memory grows with a text.
//! One function serves the first tokens of a text, all at once, and each one behind them. *Source*: Pope et al. 2022, §2.1.

use super::context::Context;
use super::tree::Mistake;
use kiln_ir::artifact::{Signature, TextInput};
use kiln_ir::ops::{ScatterElements, ScatterReduction};
use kiln_ir::{DType, Diagnostic, Dim, Graph, Module, TensorType, Value};

/// The function that writes.
#[derive(Clone, Debug)]
pub struct Writer {
    /// See the head of this file.
    pub graph: Graph,
    /// Tokens that it sees at most, `None` where nothing bounds them.
    pub length: Option<u32>,
}

impl Writer {
    /// Lets a module compute this function, and gives the number of its states. Errors: `metadata`.
    pub fn set_in(self, module: &mut Module) -> Result<usize, Diagnostic> {
        let states = self.graph.inputs().len() - 2;
        module.functions = [("predict".to_string(), self.graph)].into();
        if let Some(text) = module.metadata.get("kiln.text") {
            let unreadable = |error| Diagnostic::new("metadata", format!("metadata `kiln.text` is unreadable: {error}"));
            let text = TextInput { length: self.length, ..serde_json::from_str(text).map_err(unreadable)? };
            module.metadata.insert("kiln.text".to_string(), serde_json::json!(text).to_string());
        }
        Ok(states)
    }
}

/// What layers of such a function use and leave.
pub struct Generation {
    /// How many tokens were seen: `i64[]`.
    start: Value,
    /// Tokens that places are known for.
    length: Option<u32>,
    /// Whether a layer tells places apart.
    has_places: bool,
}

impl Generation {
    /// Layers whose output for a token depends on it, and on tokens before it through states alone.
    pub const LAYERS: &[&str] = &[
        "dense",
        "layer_norm",
        "rms_norm",
        "dropout",
        "embedding",
        "word_dropout",
        "sinusoidal_position",
        "learned_position",
        "multi_head_attention",
        "transformer_encoder",
        "rnn",
        "lstm",
        "gru",
        "add",
        "multiply",
        "activation",
        "leaky_relu",
        "elu",
        "softmax",
        "log_softmax",
        "sequence",
        "residual",
    ];
    /// The name of sizes of new tokens.
    pub const NEW: &str = "new";
    /// The name of sizes of states of attention along time.
    pub const ROOM: &str = Signature::ROOM;

    /// Nothing is remembered yet; `start` is how many tokens were seen, of at most `length`.
    pub fn new(start: Value, length: Option<u32>) -> Generation {
        Generation { start, length, has_places: false }
    }

    /// How many tokens were seen, for a layer that tells places apart.
    pub fn first_place(&mut self) -> Value {
        self.has_places = true;
        self.start
    }

    /// Tokens that the network sees at once at most. Recurrent layers alone go on for ever.
    pub fn window(&self) -> Option<u32> {
        self.length.filter(|_| self.has_places)
    }
}

impl Context<'_> {
    /// Whether this is the function that writes.
    pub fn writes(&mut self) -> bool {
        self.writing().is_some()
    }

    /// Says that so many places are known at most.
    pub fn bound_places(&mut self, most: u32) {
        if let Some(generation) = self.writing() {
            generation.length = Some(generation.length.map_or(most, |length| length.min(most)));
        }
    }

    /// Keys and values `[batch, heads, new, features]` behind those that are remembered, and how many they are together, `i64[batch]`.
    pub fn remembered(&mut self, keys: Value, values: Value) -> Result<Option<[Value; 3]>, Mistake> {
        let Some(generation) = self.writing() else { return Ok(None) };
        generation.has_places = true;
        let start = generation.start;
        let mut all = [keys, values];
        for (name, value) in ["key", "value"].into_iter().zip(&mut all) {
            let new = self.graph.ty(*value).clone();
            let shape = vec![new.shape[0].clone(), new.shape[1].clone(), Dim::symbol(Generation::ROOM), new.shape[3].clone()];
            let Some((at, before)) = self.state(name, TensorType::new(new.dtype, shape)) else { return Ok(None) };
            let mut b = self.b();
            let places = b.iota(DType::I64, &new.shape, 2);
            let start = b.broadcast_to(start, &new.shape);
            let places = b.add(places, start);
            let after = self.op(ScatterElements { axis: 2, reduction: ScatterReduction::None }, &[before, places, *value])?;
            self.keep_state(at, after);
            *value = after;
        }
        let shape = self.graph.ty(keys).shape.clone();
        let mut b = self.b();
        let count = b.dims(&[shape[2].clone()]);
        let count = b.reshape(count, &[]);
        let seen = b.add(start, count);
        let seen = b.broadcast_to(seen, &[shape[0].clone()]);
        Ok(Some([all[0], all[1], seen]))
    }
}

/// That a network has no function that writes.
pub fn writes_nothing(name: &str) -> Diagnostic {
    let error = Diagnostic::new("writes_nothing", format!("`{name}` does not score the next token of a text"));
    error.help("a network that writes takes one text and gives a score for each token of its vocabulary, `[batch, time, tokens]`")
}
