//! The library's front door: a module in, a compiled model out.
//!
//! ```no_run
//! # fn main() -> Result<(), Vec<kiln_ir::Diagnostic>> {
//! # let module = kiln_ir::Module::default();
//! use kiln::artifact::write::{ArtifactKind, WeightsChoice};
//! use kiln::artifact::describe::ModelFacts;
//! use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
//! use kiln::compile::compile;
//! use kiln::pipeline::Config;
//! use kiln_runtime::threads::{ThreadPool, default_workers};
//!
//! let target = CpuTarget::host(CpuLevel::Native).map_err(|error| vec![error])?;
//! let facts = ModelFacts { name: "digits".into(), ..ModelFacts::default() };
//! let compiled = compile(&module, target, facts, &Config::default())?;
//! let pool = ThreadPool::new(default_workers());
//! compiled.write(ArtifactKind::Executable, WeightsChoice::Embed, "digits".as_ref(), &pool).map_err(|error| vec![error])?;
//! # Ok(())
//! # }
//! ```

mod budget;

use crate::artifact::describe::{ModelFacts, describe};
use crate::artifact::output::{is_stream, write_file};
use crate::artifact::rust_module::{Start, rust_module};
use crate::artifact::write::{ArtifactKind, ArtifactParts, WeightsChoice, Written, write_artifact};
use crate::backend::cpu::emit::{self, Isas, Listing};
use crate::backend::cpu::jit::Predictor;
use crate::backend::cpu::target::{CpuTarget, Placement};
use crate::backend::cpu::weights::fill_weights;
use crate::backend::ptx;
use crate::cut::{Choices, Layouts, cut};
use crate::kernel::Program;
use crate::lower::VectorIsa;
use crate::pipeline::{Config, Passed, Timing, run_passes};
use crate::schedule::choices::choices;
use crate::schedule::contractions::{arrange_for_matrices, schedule};
use crate::schedule::in_place::update_in_place;
use crate::schedule::layout::channels_last;
use crate::schedule::persistent::persist_loops;
use crate::schedule::plan::{ProgramPlan, plan_program};
use crate::schedule::rematerialise::Recomputed;
use crate::schedule::split_depth::split_depth;
use crate::schedule::split_keys::split_keys;
use crate::schedule::split_sums::split_sums;
use crate::tuning;
use kiln_ir::artifact::{Signature, WeightsDecl, WeightsLocation};
use kiln_ir::graph::Parameter;
use kiln_ir::{Diagnostic, Module};
use kiln_runtime::arrays::Array;
use kiln_runtime::memory::AlignedBytes;
use kiln_runtime::threads::ThreadPool;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Takes a module through passes, kernels and memory planning.
///
/// Errors: what the verifier finds; `no_function`; operators that kernels cannot express; `arena_too_large`;
/// with a budget of memory `memory_budget` and `memory_open`; where ways are to be measured those of [`tuned`](tuning::cpu::tuned).
pub fn compile(module: &Module, target: CpuTarget, facts: ModelFacts, config: &Config) -> Result<Compiled, Vec<Diagnostic>> {
    if let Some(tune) = &config.tune {
        let tuning = tuning::cpu::tuned(module, &target, &facts, config, tune)?;
        return compile(module, target, facts, &Config { tune: None, tuning, ..config.clone() });
    }
    let Passed { module, mut timings, decisions } = run_passes(module, &for_cpu(config, &facts))?;
    let nodes = timings.last().map_or(0, |last| last.nodes);
    let cutting = Instant::now();
    let choices = module.predict().map(|graph| choices(graph, config.winograd, &facts.usual_sizes, &config.tuning)).unwrap_or_default();
    let mut program = cut(&module, "predict", &choices).map_err(|error| vec![error])?;
    program.usual_sizes.clone_from(&facts.usual_sizes);
    program.tuning = config.tuning.clone();
    program.decisions.extend(decisions);
    timings.push(Timing { pass: "cut", time: cutting.elapsed(), nodes });
    let lowering = Instant::now();
    schedule(&mut program, &target.vector_isa());
    update_in_place(&mut program, facts.states);
    let compiled = match config.memory {
        Some(budget) => budget::within(program, module.parameters, target, facts, budget),
        None => Compiled::from_program(program, module.parameters, target, facts),
    };
    let mut compiled = compiled.map_err(|error| vec![error])?;
    timings.push(Timing { pass: "lower", time: lowering.elapsed(), nodes });
    compiled.timings = timings;
    Ok(compiled)
}

/// Takes a module through passes and memory planning to PTX: the plan of an NVIDIA GPU, and the functions that it runs.
///
/// Errors: as [`compile`].
pub fn compile_ptx(module: &Module, facts: &ModelFacts, config: &Config) -> Result<ptx::Compiled, Vec<Diagnostic>> {
    let mut config = at_usual_sizes(config, facts);
    if let (Some(optimisation), Ok(graph)) = (&mut config.optimise, module.predict()) {
        optimisation.machine = ptx::roofline::machine(graph);
    }
    if config.matrices {
        config.keep.insert("attention");
        config.least_queries = 0;
    }
    let Passed { module, decisions, .. } = run_passes(module, &config)?;
    // Matrix units alone want neighbours of depth; rows apart and transformed convolutions are for a CPU's caches.
    let layouts =
        if config.matrices { module.predict().map(|graph| channels_last(graph, config.tf32)).unwrap_or_default() } else { Layouts::new() };
    let choices = Choices { layouts, rows_in_registers: config.matrices, widens_freely: config.matrices, ..Choices::default() };
    let mut program = cut(&module, "predict", &choices).map_err(|error| vec![error])?;
    program.usual_sizes.clone_from(&facts.usual_sizes);
    program.tuning = config.tuning.clone();
    program.decisions.extend(decisions);
    let warpgroups = config.matrices && config.generation.has_warpgroup_products();
    let isa = VectorIsa { matrices: config.matrices, tf32: config.matrices && config.tf32, warpgroups, ..VectorIsa::THREAD };
    if config.matrices {
        arrange_for_matrices(&mut program, config.tf32);
        persist_loops(&mut program, &isa);
    }
    split_depth(&mut program, !config.matrices);
    if config.matrices {
        split_sums(&mut program);
    }
    split_keys(&mut program);
    update_in_place(&mut program, facts.states);
    let plan = plan_program(program, &isa).map_err(|error| vec![error])?;
    let kernels = ptx::module(&plan, config.generation);
    Ok(ptx::Compiled { plan, kernels, module })
}

/// The configuration that a CPU's passes run with.
pub fn for_cpu(config: &Config, facts: &ModelFacts) -> Config {
    let mut config = at_usual_sizes(config, facts);
    if config.matrices {
        config.keep.insert("attention");
    }
    config
}

/// The configuration for a model whose symbols usually have these sizes.
fn at_usual_sizes(config: &Config, facts: &ModelFacts) -> Config {
    let mut config = config.clone();
    if let Some(optimisation) = &mut config.optimise {
        optimisation.usual_sizes.clone_from(&facts.usual_sizes);
    }
    config
}

/// A model whose kernels are lowered and whose memory is planned: ready to become code.
pub struct Compiled {
    plan: ProgramPlan,
    parameters: BTreeMap<String, Parameter>,
    target: CpuTarget,
    facts: ModelFacts,
    timings: Vec<Timing>,
    recomputed: Option<Recomputed>,
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
        let plan = plan_program(program, &target.vector_isa())?;
        Ok(Compiled { plan, parameters, target, facts, timings: Vec::new(), recomputed: None })
    }

    /// What will be emitted. Its program prints as `--emit kernels` shows it.
    pub fn plan(&self) -> &ProgramPlan {
        &self.plan
    }

    /// How long each step took so far.
    pub fn timings(&self) -> &[Timing] {
        &self.timings
    }

    /// What is computed again to stay within a budget of memory; nothing where all of it fits.
    pub fn recomputed(&self) -> Option<Recomputed> {
        self.recomputed
    }

    /// What the model will say about itself; without the digest of its weights, which are not computed yet.
    pub fn signature(&self) -> Signature {
        let location = WeightsLocation::Embedded;
        let decl = WeightsDecl { bytes: self.plan.weights.bytes, sha256: String::new(), location };
        describe(&self.plan.program, &self.facts, self.target.features(), decl)
    }

    /// The model in the memory of this process. `pool` computes its weights.
    ///
    /// Errors: `cpu_host`, `parameter`, `memory`.
    pub fn predictor(&self, pool: &ThreadPool) -> Result<Predictor, Diagnostic> {
        let weights = fill_weights(&self.plan, &self.parameters, &self.target, pool)?;
        let signature = self.signature();
        Predictor::new(&self.plan, &self.target, &signature, weights)
    }

    /// As [`Compiled::predictor`], in code that tells `observer` where it is: see [`Predictor::with_observer`].
    ///
    /// Errors: as there.
    pub fn observed_predictor(&self, pool: &ThreadPool, observer: extern "C" fn(i64)) -> Result<Predictor, Diagnostic> {
        let weights = fill_weights(&self.plan, &self.parameters, &self.target, pool)?;
        Predictor::with_observer(&self.plan, &self.target, &self.signature(), weights, Some(observer))
    }

    /// Writes the model. `pool` computes its weights.
    ///
    /// Errors: `parameter`, `memory`, and those of [`write_artifact`].
    pub fn write(&self, kind: ArtifactKind, weights: WeightsChoice, out: &Path, pool: &ThreadPool) -> Result<Written, Diagnostic> {
        let image = self.weights(pool)?;
        write_artifact(&self.artifact_parts(&image), kind, weights, out)
    }

    /// Writes a typed Rust module of the model to `out`, and the static library that it calls beside it. Of a step of training, `start`
    /// has the values of its last inputs, of which the first so many are no states, in a further file.
    ///
    /// Errors: as [`Compiled::write`]; `rust_module` for states whose sizes are open.
    pub fn write_rust(&self, out: &Path, start: Option<(usize, &[Array])>, pool: &ThreadPool) -> Result<(), Diagnostic> {
        if is_stream(out) {
            let error = Diagnostic::new("file", format!("no library can lie beside {}, which is no file itself", out.display()));
            return Err(error.help("name a file: -o net.rs"));
        }
        let name = &self.facts.name;
        let file = start.map(|(frozen, _)| Start { frozen, file: format!("{name}.start") });
        let text = rust_module(&self.signature(), file.as_ref())?;
        self.write(ArtifactKind::StaticLibrary, WeightsChoice::Embed, &out.with_file_name(format!("lib{name}.a")), pool)?;
        if let (Some(file), Some((_, arrays))) = (file, start) {
            let write = |sink: &mut dyn Write| arrays.iter().try_for_each(|array| sink.write_all(array.bytes()));
            write_file(&out.with_file_name(file.file), write)?;
        }
        write_file(out, |sink| sink.write_all(text.as_bytes()))
    }

    /// The weights image. Errors: `parameter`, `memory`.
    pub fn weights(&self, pool: &ThreadPool) -> Result<AlignedBytes, Diagnostic> {
        fill_weights(&self.plan, &self.parameters, &self.target, pool)
    }

    /// What is written of it, `image` being its weights.
    pub fn artifact_parts<'a>(&'a self, image: &'a AlignedBytes) -> ArtifactParts<'a> {
        let weights = &image.as_slice()[..self.plan.weights.bytes as usize];
        ArtifactParts { plan: &self.plan, target: &self.target, facts: &self.facts, weights }
    }

    /// The kernels as Cranelift's intermediate form or as instructions.
    pub fn listing(&self, listing: Listing) -> String {
        emit::listing(&self.plan, &Isas::new(&self.target, Placement::Object), listing)
    }
}

#[cfg(test)]
mod tests;
