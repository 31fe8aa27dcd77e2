//! A trainer as machine code.

use super::plan::TrainingPlan;
use crate::artifact::describe::ModelFacts;
use crate::artifact::names::symbol_name;
use crate::artifact::write::{TrainerParts, WeightsChoice, start_of, write_trainer};
use crate::backend::cpu::jit::Predictor;
use crate::backend::cpu::target::CpuTarget;
use crate::compile::{Compiled, compile};
use crate::pipeline::Config;
use kiln_ir::{Diagnostic, Module, Symbol};
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::recipe::Recipe;
use std::path::Path;

/// The functions of a trainer, lowered.
pub struct CompiledTrainer {
    /// One step.
    pub step: Compiled,
    /// One evaluation.
    pub evaluation: Compiled,
    /// Where numbers stop being finite.
    pub trace: Compiled,
}

impl TrainingPlan {
    /// Takes the functions through passes, kernels and memory planning. `facts` are those of the network.
    ///
    /// Errors: as [`compile`].
    pub fn compile(&self, target: &CpuTarget, facts: &ModelFacts, config: &Config) -> Result<CompiledTrainer, Vec<Diagnostic>> {
        let facts = self.with_usual_sizes(facts);
        let step = compile_function(&self.step, self.recipe.states.len(), target, &facts, config)?;
        // Without a backward pass there is nothing to compute again, and the step is what takes the time.
        let config = Config { memory: None, tune: None, ..config.clone() };
        let of = |module: &Module| compile_function(module, 0, target, &facts, &config);
        Ok(CompiledTrainer { step, evaluation: of(&self.evaluation)?, trace: of(&self.trace)? })
    }

    /// The same of the evaluation alone.
    ///
    /// Errors: as [`compile`].
    pub fn compile_evaluation(&self, target: &CpuTarget, facts: &ModelFacts, config: &Config) -> Result<Compiled, Vec<Diagnostic>> {
        compile_function(&self.evaluation, 0, target, &self.with_usual_sizes(facts), config)
    }

    /// The facts, where nothing else is said with batches of the recipe's size.
    pub fn with_usual_sizes(&self, facts: &ModelFacts) -> ModelFacts {
        let mut facts = facts.clone();
        facts.usual_sizes.entry(Symbol::new("batch")).or_insert(i64::from(self.recipe.schedule.batch.max(1)));
        facts
    }
}

fn compile_function(
    module: &Module,
    states: usize,
    target: &CpuTarget,
    facts: &ModelFacts,
    config: &Config,
) -> Result<Compiled, Vec<Diagnostic>> {
    let facts = ModelFacts { name: module.name.clone(), states, ..facts.clone() };
    compile(module, target.clone(), facts, config)
}

impl CompiledTrainer {
    /// Writes a program that trains, with the recipe inside; it begins with the parameters in the file `start`, if there is one, which go
    /// where `weights` says. Errors: `memory`, `file`, `linker`.
    pub fn write(
        &self,
        recipe: &Recipe,
        start: Option<&Path>,
        weights: WeightsChoice,
        out: &Path,
        pool: &ThreadPool,
    ) -> Result<(), Diagnostic> {
        let start_of = |file: &Path| start_of(file, &symbol_name(&recipe.name), weights, out);
        let recipe = &Recipe { start: start.map(start_of).transpose()?, ..recipe.clone() };
        let recipe = serde_json::to_string(recipe).unwrap_or_else(|error| panic!("recipe: {error}"));
        let functions = [&self.step, &self.evaluation, &self.trace];
        let images = [functions[0].weights(pool)?, functions[1].weights(pool)?, functions[2].weights(pool)?];
        let [step, evaluation, trace] = [0, 1, 2].map(|at| functions[at].artifact_parts(&images[at]));
        let tail = start.filter(|_| weights == WeightsChoice::Embed);
        write_trainer(&TrainerParts { step, evaluation, trace, recipe: &recipe, tail }, out)
    }

    /// The functions in the memory of this process: step, evaluation, trace. Errors: `cpu_host`, `memory`.
    pub fn load(&self, pool: &ThreadPool) -> Result<[Predictor; 3], Diagnostic> {
        Ok([self.step.predictor(pool)?, self.evaluation.predictor(pool)?, self.trace.predictor(pool)?])
    }
}
