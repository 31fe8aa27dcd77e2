//! A trainer as machine code.

use super::plan::TrainingPlan;
use crate::artifact::describe::ModelFacts;
use crate::artifact::write::write_trainer;
use crate::backend::cpu::jit::Predictor;
use crate::backend::cpu::target::CpuTarget;
use crate::compile::{Compiled, compile};
use crate::pipeline::Config;
use kiln_ir::Diagnostic;
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::recipe::Recipe;
use std::path::Path;

/// Both functions of a trainer, lowered.
pub struct CompiledTrainer {
    /// One step.
    pub step: Compiled,
    /// One evaluation.
    pub evaluation: Compiled,
}

impl TrainingPlan {
    /// Takes both functions through passes, kernels and memory planning. `facts` are those of the network.
    ///
    /// Errors: as [`compile`].
    pub fn compile(&self, target: &CpuTarget, facts: &ModelFacts, config: &Config) -> Result<CompiledTrainer, Vec<Diagnostic>> {
        let of = |module: &kiln_ir::Module, states| {
            let facts = ModelFacts { name: module.name.clone(), states, ..facts.clone() };
            compile(module, target.clone(), facts, config)
        };
        Ok(CompiledTrainer { step: of(&self.step, self.recipe.states.len())?, evaluation: of(&self.evaluation, 0)? })
    }
}

impl CompiledTrainer {
    /// Writes a program that trains, with the recipe inside. Errors: `memory`, `file`, `linker`.
    pub fn write(&self, recipe: &Recipe, out: &Path, pool: &ThreadPool) -> Result<(), Diagnostic> {
        let recipe = serde_json::to_string(recipe).unwrap_or_else(|error| panic!("recipe: {error}"));
        let images = [self.step.weights(pool)?, self.evaluation.weights(pool)?];
        write_trainer(&self.step.artifact_parts(&images[0]), &self.evaluation.artifact_parts(&images[1]), &recipe, out)
    }

    /// Both functions in the memory of this process. Errors: `cpu_host`, `memory`.
    pub fn load(&self, pool: &ThreadPool) -> Result<[Predictor; 2], Diagnostic> {
        Ok([self.step.predictor(pool)?, self.evaluation.predictor(pool)?])
    }
}
