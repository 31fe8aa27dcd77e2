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

/// Layers whose output for a token depends on it, and on tokens before it through states alone.
const LAYERS: &[&str] = &[
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
    states: Vec<State>,
}

struct State {
    name: String,
    after: Value,
}

impl Generation {
    /// The name of sizes of new tokens.
    pub const NEW: &str = "new";
    /// The name of sizes of states of attention along time.
    pub const ROOM: &str = Signature::ROOM;

    /// Nothing is remembered yet; `start` is how many tokens were seen, of at most `length`.
    pub fn new(start: Value, length: Option<u32>) -> Generation {
        Generation { start, length, has_places: false, states: Vec::new() }
    }

    /// Errors: layers of that type need more of other tokens than states.
    pub fn check(word: &str) -> Result<(), Mistake> {
        match LAYERS.contains(&word) {
            true => Ok(()),
            false => {
                let mistake = Mistake::new(format!("a `{word}` does not write token by token"));
                Err(mistake.help(format!("these do: {}", LAYERS.join(", "))))
            }
        }
    }

    /// Tokens that the network sees at once at most. Recurrent layers alone go on for ever.
    pub fn window(&self) -> Option<u32> {
        self.length.filter(|_| self.has_places)
    }

    /// States by name, as they are after the tokens.
    pub fn results(self) -> Vec<(String, Value)> {
        self.states.into_iter().map(|state| (state.name, state.after)).collect()
    }
}

impl Context<'_> {
    /// Whether this is the function that writes.
    pub fn writes(&self) -> bool {
        self.generation.is_some()
    }

    /// Where time steps stand: from 0 on, or behind what was seen. `[time]`
    pub fn places(&mut self, dtype: DType, time: &Dim) -> Value {
        let start = self.generation.as_deref_mut().map(|generation| {
            generation.has_places = true;
            generation.start
        });
        let mut b = self.b();
        let places = b.iota(if start.is_some() { DType::I64 } else { dtype }, std::slice::from_ref(time), 0);
        let Some(start) = start else { return places };
        let start = b.broadcast_to(start, std::slice::from_ref(time));
        let places = b.add(places, start);
        b.cast(places, dtype)
    }

    /// Says that so many places are known at most.
    pub fn bound_places(&mut self, most: u32) {
        if let Some(generation) = self.generation.as_deref_mut() {
            generation.length = Some(generation.length.map_or(most, |length| length.min(most)));
        }
    }

    /// A state of this layer, as it is before; its place for [`Context::keep_state`].
    pub fn state(&mut self, part: &str, ty: TensorType) -> Option<(usize, Value)> {
        let generation = self.generation.as_deref_mut()?;
        // A layer that shares parameters remembers for itself.
        let like = |state: &&State| state.name.split('#').next() == Some(&format!("write/{}.{part}", self.path));
        let name = match generation.states.iter().filter(like).count() {
            0 => format!("write/{}.{part}", self.path),
            used => format!("write/{}.{part}#{used}", self.path),
        };
        let before = self.graph.add_input(&name, ty);
        generation.states.push(State { name, after: before });
        Some((generation.states.len() - 1, before))
    }

    /// What a state is after the tokens.
    pub fn keep_state(&mut self, at: usize, after: Value) {
        if let Some(generation) = self.generation.as_deref_mut() {
            generation.states[at].after = after;
        }
    }

    /// Keys and values `[batch, heads, new, features]` behind those that are remembered, and how many they are together, `i64[batch]`.
    pub fn remembered(&mut self, keys: Value, values: Value) -> Result<Option<[Value; 3]>, Mistake> {
        let Some(generation) = self.generation.as_deref_mut() else { return Ok(None) };
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
