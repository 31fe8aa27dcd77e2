//! The library's front door: a program in, a compiled model out.

use crate::artifact::describe::{ModelFacts, describe};
use crate::artifact::write::{ArtifactKind, ArtifactParts, WeightsChoice, Written, write_artifact};
use crate::backend::cpu::emit::{self, Isas, Listing};
use crate::backend::cpu::jit::Predictor;
use crate::backend::cpu::lower::VectorIsa;
use crate::backend::cpu::plan::{ProgramPlan, plan_program};
use crate::backend::cpu::target::{CpuTarget, Placement};
use crate::backend::cpu::weights::fill_weights;
use crate::cut::cut;
use crate::kernel::Program;
use crate::pipeline::{Config, run_passes};
use kiln_ir::artifact::{WeightsDecl, WeightsLocation};
use kiln_ir::graph::Parameter;
use kiln_ir::{Diagnostic, Module};
use kiln_runtime::threads::ThreadPool;
use std::collections::BTreeMap;
use std::path::Path;

/// Takes a module through passes, kernels and memory planning.
///
/// Errors: what the verifier finds; an operator that kernels cannot express; `arena_too_large`.
pub fn compile(module: &Module, target: CpuTarget, facts: ModelFacts, config: &Config) -> Result<Compiled, Vec<Diagnostic>> {
    let (module, _) = run_passes(module, config)?;
    let program = cut(&module, "predict").map_err(|error| vec![error])?;
    Compiled::from_program(program, module.parameters, target, facts).map_err(|error| vec![error])
}

/// A model whose kernels are lowered and whose memory is planned: ready to become code.
pub struct Compiled {
    plan: ProgramPlan,
    parameters: BTreeMap<String, Parameter>,
    target: CpuTarget,
    facts: ModelFacts,
}

impl Compiled {
    /// Plans a program that was cut from a graph.
    ///
    /// Errors: `arena_too_large`.
    pub fn from_program(
        program: Program,
        parameters: BTreeMap<String, Parameter>,
        target: CpuTarget,
        facts: ModelFacts,
    ) -> Result<Compiled, Diagnostic> {
        let plan = plan_program(program, &VectorIsa::V128)?;
        Ok(Compiled { plan, parameters, target, facts })
    }

    /// What will be emitted.
    pub fn plan(&self) -> &ProgramPlan {
        &self.plan
    }

    /// The model in the memory of this process. `pool` computes its weights.
    ///
    /// Errors: `cpu_host`, `parameter`, `memory`.
    pub fn predictor(&self, pool: &ThreadPool) -> Result<Predictor, Diagnostic> {
        let weights = fill_weights(&self.plan, &self.parameters, &self.target, pool)?;
        let decl = WeightsDecl { bytes: self.plan.weights.bytes, sha256: String::new(), location: WeightsLocation::Embedded };
        let signature = describe(&self.plan.program, &self.facts, self.target.features(), decl);
        Predictor::new(&self.plan, &self.target, &signature, weights)
    }

    /// Writes the model. `pool` computes its weights.
    ///
    /// Errors: `parameter`, `memory`, and those of [`write_artifact`].
    pub fn write(&self, kind: ArtifactKind, weights: WeightsChoice, out: &Path, pool: &ThreadPool) -> Result<Written, Diagnostic> {
        let image = fill_weights(&self.plan, &self.parameters, &self.target, pool)?;
        let bytes = &image.as_slice()[..self.plan.weights.bytes as usize];
        let parts = ArtifactParts { plan: &self.plan, target: &self.target, facts: &self.facts, weights: bytes };
        write_artifact(&parts, kind, weights, out)
    }

    /// The kernels as Cranelift's intermediate form or as instructions.
    pub fn listing(&self, listing: Listing) -> String {
        emit::listing(&self.plan, &Isas::new(&self.target, Placement::Object), listing)
    }
}

#[cfg(test)]
mod tests;
