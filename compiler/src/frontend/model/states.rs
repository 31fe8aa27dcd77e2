//! What a function remembers from one call to the next: its last inputs are states, and its last outputs are what becomes of them.

use super::context::Context;
use super::generation::Generation;
use super::hearing::Hearing;
use super::tree::Mistake;
use kiln_ir::artifact::Signature;
use kiln_ir::{DType, Dim, TensorType, Value};

/// The states of a function, and what it remembers them for.
pub struct States {
    /// What it is for.
    pub purpose: Purpose,
    list: Vec<State>,
}

/// What a function with states is for.
pub enum Purpose {
    /// It takes the tokens of a text.
    Writing(Generation),
    /// It takes the samples of a stream.
    Hearing(Hearing),
}

struct State {
    name: String,
    after: Value,
}

impl States {
    /// Nothing is remembered yet.
    pub fn new(purpose: Purpose) -> States {
        States { purpose, list: Vec::new() }
    }

    /// Errors: layers of that type need more of other time steps than states.
    pub fn check(&self, word: &str) -> Result<(), Mistake> {
        let (layers, what) = match &self.purpose {
            Purpose::Writing(_) => (Generation::LAYERS, "does not write token by token"),
            Purpose::Hearing(_) => (Hearing::LAYERS, "does not hear a stream piece by piece"),
        };
        match layers.contains(&word) {
            true => Ok(()),
            false => Err(Mistake::new(format!("a `{word}` {what}")).help(format!("these do: {}", layers.join(", ")))),
        }
    }

    /// States by name, as they are afterwards, and what they were for.
    pub fn finish(self) -> (Purpose, Vec<(String, Value)>) {
        (self.purpose, self.list.into_iter().map(|state| (state.name, state.after)).collect())
    }

    /// What states of a layer are called.
    fn name(&self, path: &str, part: &str) -> String {
        let purpose = match self.purpose {
            Purpose::Writing(_) => "write/",
            Purpose::Hearing(_) => Signature::HEARD,
        };
        let name = format!("{purpose}{path}.{part}");
        // A layer that shares parameters remembers for itself.
        match self.list.iter().filter(|state| state.name.split('#').next() == Some(&name)).count() {
            0 => name,
            used => format!("{name}#{used}"),
        }
    }
}

impl Context<'_> {
    /// What is remembered of a text, in the function that writes.
    pub fn writing(&mut self) -> Option<&mut Generation> {
        match &mut self.states.as_deref_mut()?.purpose {
            Purpose::Writing(generation) => Some(generation),
            Purpose::Hearing(_) => None,
        }
    }

    /// What is remembered of a stream, in the function that hears.
    pub fn hearing(&mut self) -> Option<&mut Hearing> {
        match &mut self.states.as_deref_mut()?.purpose {
            Purpose::Hearing(hearing) => Some(hearing),
            Purpose::Writing(_) => None,
        }
    }

    /// Adds a state of this layer, where the function has some: its place for [`Context::keep_state`], and what it is before.
    pub fn state(&mut self, part: &str, ty: TensorType) -> Option<(usize, Value)> {
        let states = self.states.as_deref_mut()?;
        let name = states.name(&self.path, part);
        let before = self.graph.add_input(&name, ty);
        states.list.push(State { name, after: before });
        Some((states.list.len() - 1, before))
    }

    /// What a state is afterwards.
    pub fn keep_state(&mut self, at: usize, after: Value) {
        if let Some(states) = self.states.as_deref_mut() {
            states.list[at].after = after;
        }
    }

    /// Where time steps stand: from 0 on, or behind what was before. `[time]`
    pub fn places(&mut self, dtype: DType, time: &Dim) -> Value {
        let start = match self.states.as_deref_mut().map(|states| &mut states.purpose) {
            None => None,
            Some(Purpose::Writing(generation)) => Some(generation.first_place()),
            Some(Purpose::Hearing(_)) => self.steps_before(time),
        };
        let mut b = self.b();
        let places = b.iota(if start.is_some() { DType::I64 } else { dtype }, std::slice::from_ref(time), 0);
        let Some(start) = start else { return places };
        let start = b.broadcast_to(start, std::slice::from_ref(time));
        let places = b.add(places, start);
        b.cast(places, dtype)
    }
}
