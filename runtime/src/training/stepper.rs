//! The functions of a trainer with the memory they work on.

use super::recipe::{Initial, Recipe, Slot};
use crate::arrays::Array;
use crate::model::{Model, Session};
use crate::threads::ThreadPool;
use kiln_ir::artifact::Signature;
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

/// A function of a trainer: compiled code here, or what computes it elsewhere.
pub trait Function {
    /// What it takes and gives.
    fn signature(&self) -> &Signature;
    /// Computes once; gives the outputs.
    ///
    /// Errors: inputs that do not fit; what fails while computing.
    fn run(&mut self, inputs: &[&Array]) -> Result<&[Array], Diagnostic>;
    /// Computes once on inputs and states, whose next values take their place; gives the other outputs. A function that keeps its states
    /// elsewhere looks at these after [`Function::place`] alone.
    ///
    /// Errors: as [`Function::run`].
    fn update(&mut self, inputs: &[&Array], states: &mut [Array]) -> Result<&[Array], Diagnostic>;
    /// Says that the states of the next update are other ones.
    fn place(&mut self) {}
    /// Brings states to where they are given, from where updates left them.
    ///
    /// Errors: what fails on the way.
    fn fetch(&mut self, _states: &mut [Array]) -> Result<(), Diagnostic> {
        Ok(())
    }
    /// Memory of intermediate values at the sizes met so far.
    fn arena_bytes(&self) -> i64;
}

/// Compiled code, with sessions by sizes: batches come in a few.
struct Sessions<'m> {
    model: &'m Model,
    pool: &'m ThreadPool,
    by_dims: BTreeMap<Vec<i64>, Session<'m>>,
}

/// Sizes whose memory is kept; data with more of them (sentences of any length) make it anew.
const MOST_SESSIONS: usize = 8;

impl<'m> Sessions<'m> {
    fn of<'i>(&mut self, inputs: impl IntoIterator<Item = &'i Array, IntoIter: Clone>) -> Result<&mut Session<'m>, Diagnostic> {
        let dims = self.model.solve_symbols(inputs)?;
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

impl Function for Sessions<'_> {
    fn signature(&self) -> &Signature {
        self.model.signature()
    }

    fn run(&mut self, inputs: &[&Array]) -> Result<&[Array], Diagnostic> {
        let session = self.of(inputs.iter().copied())?;
        session.run(inputs.iter().copied())?;
        Ok(session.outputs())
    }

    fn update(&mut self, inputs: &[&Array], states: &mut [Array]) -> Result<&[Array], Diagnostic> {
        let session = self.of(inputs.iter().copied().chain(states.iter()))?;
        session.update(inputs.iter().copied(), states)?;
        Ok(session.outputs())
    }

    fn arena_bytes(&self) -> i64 {
        self.by_dims.values().map(Session::arena_bytes).max().unwrap_or(0)
    }
}

/// Compiled code as a function of a trainer.
pub fn compiled<'m>(model: &'m Model, pool: &'m ThreadPool) -> Box<dyn Function + 'm> {
    Box::new(Sessions { model, pool, by_dims: BTreeMap::new() })
}

/// The functions of a trainer: see [`Recipe`].
pub struct Functions<'m> {
    /// One step.
    pub step: Box<dyn Function + 'm>,
    /// One evaluation.
    pub evaluation: Box<dyn Function + 'm>,
    /// Which layers give finite numbers.
    pub trace: Box<dyn Function + 'm>,
}

impl<'m> Functions<'m> {
    /// Compiled code: of the step, the evaluation, and the trace.
    pub fn compiled(models: [&'m Model; 3], pool: &'m ThreadPool) -> Functions<'m> {
        let [step, evaluation, trace] = models.map(|model| compiled(model, pool));
        Functions { step, evaluation, trace }
    }
}

/// Parameters, what the optimiser remembers, and the functions that change and evaluate them.
pub struct Stepper<'m> {
    functions: Functions<'m>,
    /// Key of random numbers, learning rate, number of the update, whether it is applied.
    controls: Vec<Array>,
    fixed: Vec<Array>,
    states: Vec<Array>,
    /// The function of the step has newer states.
    are_away: bool,
    /// For each parameter the state that is used to evaluate: itself, or its running mean.
    evaluated: Vec<usize>,
    keys: Stream,
    accumulate: u64,
    /// Steps so far.
    steps: u64,
}

impl<'m> Stepper<'m> {
    /// The functions of a recipe at the values that a seed gives.
    ///
    /// Errors: `memory`; `recipe` when functions and recipe do not belong together.
    pub fn new(recipe: &Recipe, functions: Functions<'m>, seed: u64) -> Result<Self, Diagnostic> {
        let signature = functions.step.signature();
        let accumulates = recipe.schedule.accumulate > 1;
        let controls = if accumulates { 4 } else { 3 };
        let inputs = recipe.data.len() + controls + recipe.fixed.len() + recipe.states.len();
        if signature.inputs.len() != inputs || signature.states != recipe.states.len() {
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
            functions,
            controls,
            fixed: initial_values(&recipe.fixed, seed)?,
            states: initial_values(&recipe.states, seed)?,
            are_away: false,
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

    /// Brings what changes here, if steps keep it elsewhere: before [`Stepper::states`] and [`Stepper::evaluated`].
    ///
    /// Errors: what fails on the way.
    pub fn settle(&mut self) -> Result<(), Diagnostic> {
        if self.are_away {
            self.functions.step.fetch(&mut self.states)?;
            self.are_away = false;
        }
        Ok(())
    }

    /// What changes, in the order of the recipe, as it was when it was last settled.
    pub fn states(&self) -> &[Array] {
        &self.states
    }

    /// The parameters that evaluation uses, in the order of the recipe, as [`Stepper::states`].
    pub fn evaluated(&self) -> impl Iterator<Item = &Array> + Clone {
        self.evaluated.iter().map(|at| &self.states[*at])
    }

    /// Puts other values in the place of those that stay and those that change, after so many steps.
    pub fn restore(&mut self, fixed: Vec<Array>, states: Vec<Array>, steps: u64) {
        self.restore_fixed(fixed);
        self.restore_states(states, steps);
    }

    /// Puts other values in the place of those that stay.
    pub fn restore_fixed(&mut self, fixed: Vec<Array>) {
        self.fixed = fixed;
    }

    /// Puts other values in the place of those that change, after so many steps.
    pub fn restore_states(&mut self, states: Vec<Array>, steps: u64) {
        (self.states, self.steps, self.are_away) = (states, steps, false);
        self.functions.step.place();
    }

    /// All that a step on a batch takes, in the order of its inputs.
    pub fn step_inputs<'s>(&'s self, data: &'s [Array]) -> impl Iterator<Item = &'s Array> + Clone {
        data.iter().chain(&self.controls).chain(&self.fixed).chain(&self.states)
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
        let inputs: Vec<&Array> = data.iter().chain(&self.controls).chain(&self.fixed).collect();
        let loss = self.functions.step.update(&inputs, &mut self.states)?[0].get_f64(0);
        self.steps += 1;
        self.are_away = true;
        Ok(loss)
    }

    /// After a step whose loss was not finite, and which therefore changed no parameter: which of the recipe's layers gave finite
    /// numbers.
    ///
    /// Errors: as [`Stepper::step`].
    pub fn trace(&mut self, data: &[Array], parameters: usize) -> Result<Vec<bool>, Diagnostic> {
        self.settle()?;
        let inputs: Vec<&Array> = data.iter().chain(&self.controls[..1]).chain(&self.fixed).chain(&self.states[..parameters]).collect();
        let outputs = self.functions.trace.run(&inputs)?;
        Ok(outputs[0].bytes().iter().map(|flag| *flag != 0).collect())
    }

    /// Memory of the step's intermediate values at the sizes met so far.
    pub fn arena_bytes(&self) -> i64 {
        self.functions.step.arena_bytes()
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
        self.settle()?;
        let parameters = self.fixed.iter().chain(self.evaluated.iter().map(|at| &self.states[*at]));
        evaluate(&mut *self.functions.evaluation, data.iter().chain(parameters))
    }
}

/// The evaluation of a network that is not trained any more.
pub struct Evaluator<'m> {
    evaluation: Box<dyn Function + 'm>,
    parameters: Vec<Array>,
}

impl<'m> Evaluator<'m> {
    /// The evaluation with these parameters: those that training does not change, then the others.
    pub fn new(evaluation: Box<dyn Function + 'm>, parameters: Vec<Array>) -> Evaluator<'m> {
        Evaluator { evaluation, parameters }
    }
}

impl Evaluates for Evaluator<'_> {
    fn evaluate(&mut self, data: &[Array]) -> Result<(f64, &[Array]), Diagnostic> {
        evaluate(&mut *self.evaluation, data.iter().chain(&self.parameters))
    }
}

fn evaluate<'f, 'i>(evaluation: &'f mut dyn Function, inputs: impl Iterator<Item = &'i Array>) -> Result<(f64, &'f [Array]), Diagnostic> {
    let inputs: Vec<&Array> = inputs.collect();
    let (loss, outputs) = evaluation.run(&inputs)?.split_at(1);
    Ok((loss[0].get_f64(0), outputs))
}
