//! Measures ways to compute a network on this CPU.

use super::Tuning;
use super::network::{Tune, answered, asked, made_up, runs, unmeasured};
use super::search::Round;
use crate::artifact::describe::ModelFacts;
use crate::backend::cpu::breakdown::{kernel_seconds, observe};
use crate::backend::cpu::target::CpuTarget;
use crate::calibration::cpu_name;
use crate::compile::{Compiled, compile};
use crate::pipeline::Config;
use kiln_ir::{Diagnostic, Module};
use kiln_runtime::threads::ThreadPool;
use std::time::Instant;

/// Answers to what a network asks on this CPU, measured where they are not kept.
///
/// Errors: as [`compile`]; `cpu_host` where this CPU cannot run it, and what fails while it runs on made-up inputs.
pub fn tuned(module: &Module, target: &CpuTarget, facts: &ModelFacts, config: &Config, tune: &Tune) -> Result<Tuning, Vec<Diagnostic>> {
    let pool = ThreadPool::new(tune.threads);
    let device = format!("{}, for {}, {} threads", cpu_name(), target.features().join(" "), pool.workers());
    answered(&device, tune, |tuning| {
        let config = Config { tune: None, tuning: tuning.clone(), ..config.clone() };
        let compiled = compile(module, target.clone(), facts.clone(), &config)?;
        round(&compiled, facts, &pool).map_err(unmeasured)
    })
}

fn round(compiled: &Compiled, facts: &ModelFacts, pool: &ThreadPool) -> Result<Round, Diagnostic> {
    let predictor = compiled.observed_predictor(pool, observe)?;
    let model = predictor.model();
    let arrays = made_up(model.signature(), facts)?;
    let mut session = model.session(&model.solve_symbols(&arrays)?, pool)?;
    session.run(&arrays)?;
    let begin = Instant::now();
    session.run(&arrays)?;
    let runs = runs(begin.elapsed());
    let seconds = kernel_seconds(compiled.plan(), runs, || session.run(&arrays).map(drop))?;
    Ok(asked(compiled.plan(), &seconds))
}
