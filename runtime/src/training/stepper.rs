//! The compiled functions of a trainer with the memory they work on.

use super::recipe::{Initial, Recipe, Slot};
use crate::arrays::Array;
use crate::model::{Model, Session};
use crate::threads::ThreadPool;
use kiln_ir::random::Stream;
use kiln_ir::{DType, Diagnostic};
use std::collections::BTreeMap;

/// Arrays of the sizes that slots name, with the values that the seed gives.
///
/// Errors: `memory`.
pub fn initial_values(slots: &[Slot], seed: u64) -> Result<Vec<Array>, Diagnostic> {
    let mut arrays: Vec<Array> = Vec::with_capacity(slots.len());
    for slot in slots {
        let array = match slot.initial {
            Initial::Drawn { initialiser, fans } => {
                let values = initialiser
                    .values(seed, &slot.name, &slot.shape, fans)
                    .ok_or_else(|| Diagnostic::new("memory", format!("no memory for `{}`: {}{:?}", slot.name, slot.dtype, slot.shape)))?;
                let mut array = Array::zeroed(slot.dtype, slot.shape.clone())?;
                values.into_iter().enumerate().for_each(|(i, value)| array.set_f64(i, value));
                array
            }
            Initial::Of(other) => Array::from_bytes(slot.dtype, slot.shape.clone(), arrays[other].bytes())?,
        };
        arrays.push(array);
    }
    Ok(arrays)
}

/// Sessions of one model, by sizes: batches come in a few.
struct Sessions<'m> {
    model: &'m Model,
    pool: &'m ThreadPool,
    by_dims: BTreeMap<Vec<i64>, Session<'m>>,
}

/// Sizes whose memory is kept; data with more of them (sentences of any length) make it anew.
const MOST_SESSIONS: usize = 8;

impl<'m> Sessions<'m> {
    fn new(model: &'m Model, pool: &'m ThreadPool) -> Sessions<'m> {
        Sessions { model, pool, by_dims: BTreeMap::new() }
    }

    fn of(&mut self, dims: Vec<i64>) -> Result<&mut Session<'m>, Diagnostic> {
        if !self.by_dims.contains_key(&dims) {
            if self.by_dims.len() == MOST_SESSIONS {
                self.by_dims.clear();
            }
            let session = self.model.session(&dims, self.pool)?;
            self.by_dims.insert(dims.clone(), session);
        }
        Ok(self.by_dims.get_mut(&dims).expect("it was just made"))
    }
}

/// The compiled functions of a trainer: see [`Recipe`].
#[derive(Clone, Copy)]
pub struct Functions<'m> {
    /// One step.
    pub step: &'m Model,
    /// One evaluation.
    pub evaluation: &'m Model,
    /// Which layers give finite numbers.
    pub trace: &'m Model,
}

/// Parameters, what the optimiser remembers, and the functions that change and evaluate them.
pub struct Stepper<'m> {
    step: Sessions<'m>,
    evaluation: Sessions<'m>,
    trace: Sessions<'m>,
    /// Key of random numbers, learning rate, number of the update, whether it is applied.
    controls: Vec<Array>,
    fixed: Vec<Array>,
    states: Vec<Array>,
    /// For each parameter the state that is used to evaluate: itself, or its running mean.
    evaluated: Vec<usize>,
    keys: Stream,
    accumulate: u64,
    /// Steps so far.
    steps: u64,
}

impl<'m> Stepper<'m> {
    /// The functions of a recipe, compiled, at the values that a seed gives.
    ///
    /// Errors: `memory`; `recipe` when functions and recipe do not belong together.
    pub fn new(recipe: &Recipe, functions: Functions<'m>, seed: u64, pool: &'m ThreadPool) -> Result<Self, Diagnostic> {
        let Functions { step, evaluation, trace } = functions;
        let accumulates = recipe.schedule.accumulate > 1;
        let controls = if accumulates { 4 } else { 3 };
        let inputs = recipe.data.len() + controls + recipe.fixed.len() + recipe.states.len();
        if step.signature().inputs.len() != inputs || step.signature().states != recipe.states.len() {
            return Err(Diagnostic::new("recipe", "the compiled step is not that of the recipe"));
        }
        let types = [DType::U64, DType::F64, DType::I64, DType::Bool];
        let controls = types[..controls].iter().map(|dtype| Array::zeroed(*dtype, Vec::new())).collect::<Result<_, _>>()?;
        let mut evaluated: Vec<usize> = (0..recipe.parameters).collect();
        for (at, slot) in recipe.states.iter().enumerate() {
            if let Initial::Of(parameter) = slot.initial {
                evaluated[parameter] = at;
            }
        }
        Ok(Stepper {
            step: Sessions::new(step, pool),
            evaluation: Sessions::new(evaluation, pool),
            trace: Sessions::new(trace, pool),
            controls,
            fixed: initial_values(&recipe.fixed, seed)?,
            states: initial_values(&recipe.states, seed)?,
            evaluated,
            keys: Stream::named(seed, "step"),
            accumulate: u64::from(recipe.schedule.accumulate.max(1)),
            steps: 0,
        })
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Parameters that stay.
    pub fn fixed(&self) -> &[Array] {
        &self.fixed
    }

    /// What changes, in the order of the recipe.
    pub fn states(&self) -> &[Array] {
        &self.states
    }

    /// The parameters that evaluation uses, in the order of the recipe.
    pub fn evaluated(&self) -> impl Iterator<Item = &Array> + Clone {
        self.evaluated.iter().map(|at| &self.states[*at])
    }

    /// Puts other values in the place of those that stay and those that change, after so many steps.
    pub fn restore(&mut self, fixed: Vec<Array>, states: Vec<Array>, steps: u64) {
        (self.fixed, self.states, self.steps) = (fixed, states, steps);
    }

    /// Puts other values in the place of those that stay.
    pub fn restore_fixed(&mut self, fixed: Vec<Array>) {
        self.fixed = fixed;
    }

    /// Puts other values in the place of those that change, after so many steps.
    pub fn restore_states(&mut self, states: Vec<Array>, steps: u64) {
        (self.states, self.steps) = (states, steps);
    }

    /// Sizes of a batch, in the order of the step's symbols.
    ///
    /// Errors: data that do not fit.
    pub fn step_dims(&self, data: &[Array]) -> Result<Vec<i64>, Diagnostic> {
        self.step.model.solve_symbols(data.iter().chain(&self.controls).chain(&self.fixed).chain(&self.states))
    }

    /// One step on a batch: the loss before it. `data` are in the order of the recipe.
    ///
    /// Errors: data that do not fit; what generated code reports.
    pub fn step(&mut self, data: &[Array], learning_rate: f64) -> Result<f64, Diagnostic> {
        let key = self.keys.bits(self.steps);
        self.controls[0].bytes_mut().copy_from_slice(&key.to_le_bytes());
        self.controls[1].set_f64(0, learning_rate);
        self.controls[2].bytes_mut().copy_from_slice(&(self.steps / self.accumulate + 1).to_le_bytes());
        if let Some(applies) = self.controls.get_mut(3) {
            applies.set_f64(0, f64::from((self.steps + 1).is_multiple_of(self.accumulate)));
        }
        let dims = self.step_dims(data)?;
        let inputs = data.iter().chain(&self.controls).chain(&self.fixed);
        let session = self.step.of(dims)?;
        session.update(inputs, &mut self.states)?;
        self.steps += 1;
        Ok(session.outputs()[0].get_f64(0))
    }

    /// After a step whose loss was not finite, and which therefore changed no parameter: which of the recipe's layers gave finite
    /// numbers.
    ///
    /// Errors: as [`Stepper::step`].
    pub fn trace(&mut self, data: &[Array], parameters: usize) -> Result<Vec<bool>, Diagnostic> {
        let inputs = data.iter().chain(&self.controls[..1]).chain(&self.fixed).chain(&self.states[..parameters]);
        let dims = self.trace.model.solve_symbols(inputs.clone())?;
        let session = self.trace.of(dims)?;
        session.run(inputs)?;
        Ok(session.outputs()[0].bytes().iter().map(|flag| *flag != 0).collect())
    }

    /// Memory of the step's intermediate values at the sizes met so far.
    pub fn arena_bytes(&self) -> i64 {
        self.step.by_dims.values().map(Session::arena_bytes).max().unwrap_or(0)
    }
}

/// What measures batches.
pub trait Evaluates {
    /// The loss of a batch and what the network gives for it. `data` are in the order of the recipe.
    ///
    /// Errors: as [`Stepper::step`].
    fn evaluate(&mut self, data: &[Array]) -> Result<(f64, &[Array]), Diagnostic>;
}

impl Evaluates for Stepper<'_> {
    fn evaluate(&mut self, data: &[Array]) -> Result<(f64, &[Array]), Diagnostic> {
        let states = &self.states;
        let parameters = self.fixed.iter().chain(self.evaluated.iter().map(|at| &states[*at]));
        evaluate(&mut self.evaluation, data.iter().chain(parameters))
    }
}

/// The evaluation of a network that is not trained any more.
pub struct Evaluator<'m> {
    evaluation: Sessions<'m>,
    parameters: Vec<Array>,
}

impl<'m> Evaluator<'m> {
    /// The compiled evaluation with these parameters: those that training does not change, then the others.
    pub fn new(evaluation: &'m Model, parameters: Vec<Array>, pool: &'m ThreadPool) -> Evaluator<'m> {
        Evaluator { evaluation: Sessions::new(evaluation, pool), parameters }
    }
}

impl Evaluates for Evaluator<'_> {
    fn evaluate(&mut self, data: &[Array]) -> Result<(f64, &[Array]), Diagnostic> {
        evaluate(&mut self.evaluation, data.iter().chain(&self.parameters))
    }
}

fn evaluate<'s, 'i>(
    evaluation: &'s mut Sessions,
    inputs: impl Iterator<Item = &'i Array> + Clone,
) -> Result<(f64, &'s [Array]), Diagnostic> {
    let session = evaluation.of(evaluation.model.solve_symbols(inputs.clone())?)?;
    session.run(inputs)?;
    let (loss, outputs) = session.outputs().split_at(1);
    Ok((loss[0].get_f64(0), outputs))
}
