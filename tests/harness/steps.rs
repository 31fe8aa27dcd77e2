//! Steps of training as `kiln train` makes them: planned, compiled, driven by the runtime's stepper, on batches of a test's choice.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::frontend::model::Model;
use kiln::pipeline::Config;
use kiln::training::config::TrainingConfig;
use kiln::training::plan;
use kiln_runtime::arrays::Array;
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::recipe::{DataSlot, Initial, Slot};
use kiln_runtime::training::stepper::{Evaluates, Functions, Stepper, initial_values};
use std::collections::BTreeMap;

/// What steps leave.
pub struct Trained {
    /// The loss of each step, before it.
    pub losses: Vec<f64>,
    /// Parameters, and what is remembered of them, by name.
    pub states: BTreeMap<String, Vec<f64>>,
    /// What the network then predicts for the first batch, by output.
    pub predictions: Vec<Vec<f64>>,
}

/// Trains from the parameters `start`, those that it lacks beginning with values of a seed, on what `batch` gives for each slot and
/// step. Panics on errors.
pub fn train(
    model: &Model,
    config: &TrainingConfig,
    start: &BTreeMap<String, Vec<f64>>,
    steps: usize,
    batch: &mut dyn FnMut(&DataSlot, usize) -> Array,
) -> Trained {
    let plan = plan(model, config).unwrap_or_else(|errors| panic!("{errors:?}"));
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let compiled = plan.compile(&target, &ModelFacts::default(), &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let pool = ThreadPool::new(2);
    let [step, evaluation, trace] = compiled.load(&pool).expect("it loads");
    let functions = Functions::compiled([step.model(), evaluation.model(), trace.model()], &pool);
    let recipe = &plan.recipe;
    let mut stepper = Stepper::new(recipe, functions, 1).expect("it fits");
    let given = |slots: &[Slot]| {
        let mut arrays = initial_values(slots, 1).expect("small");
        for (at, slot) in slots.iter().enumerate() {
            // A running mean begins where its parameter does.
            let of = if let Initial::Of(parameter) = slot.initial { &slots[parameter].name } else { &slot.name };
            let values = start.get(of).into_iter().flatten().enumerate();
            values.for_each(|(i, value)| arrays[at].set_f64(i, *value));
        }
        arrays
    };
    stepper.restore(given(&recipe.fixed), given(&recipe.states), 0);
    let mut data = |step: usize| recipe.data.iter().map(|slot| batch(slot, step)).collect::<Vec<Array>>();
    let rate = config.schedule.learning_rate;
    let losses = (0..steps).map(|t| stepper.step(&data(t), rate).unwrap_or_else(|error| panic!("{error}"))).collect();
    let (_, predictions) = stepper.evaluate(&data(0)).unwrap_or_else(|error| panic!("{error}"));
    let predictions = predictions.iter().map(numbers).collect();
    let slots = recipe.fixed.iter().zip(stepper.fixed()).chain(recipe.states.iter().zip(stepper.states()));
    Trained { losses, states: slots.map(|(slot, array)| (slot.name.clone(), numbers(array))).collect(), predictions }
}

/// The elements of an array.
pub fn numbers(array: &Array) -> Vec<f64> {
    (0..array.len()).map(|i| array.get_f64(i)).collect()
}
