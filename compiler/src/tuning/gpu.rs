//! Measures ways to compute a network on a GPU.

use super::Tuning;
use super::network::{Tune, answered, asked, made_up, runs, unmeasured};
use super::search::Round;
use crate::arrays::to_tensor;
use crate::artifact::describe::{ModelFacts, describe};
use crate::backend::ptx::device::Device;
use crate::backend::ptx::run::Session;
use crate::backend::ptx::{self, Compiled};
use crate::compile::compile_ptx;
use crate::pipeline::Config;
use kiln_ir::artifact::{WeightsDecl, WeightsLocation};
use kiln_ir::{Diagnostic, Module, Tensor};
use std::time::Duration;

/// Answers to what a network asks on a device of that name, measured where they are not kept; `open` loads a module on it.
///
/// Errors: as [`compile_ptx`]; of the device, and what fails while it runs on made-up inputs.
pub fn tuned<D: Device>(
    module: &Module,
    facts: &ModelFacts,
    config: &Config,
    tune: &Tune,
    device: &str,
    mut open: impl FnMut(&ptx::Module) -> Result<D, Diagnostic>,
) -> Result<Tuning, Vec<Diagnostic>> {
    answered(device, tune, |tuning| {
        let compiled = compile_ptx(module, facts, &Config { tune: None, tuning: tuning.clone(), ..config.clone() })?;
        let device = open(&compiled.kernels).map_err(|error| vec![error])?;
        round(compiled, facts, device).map_err(unmeasured)
    })
}

fn round(compiled: Compiled, facts: &ModelFacts, device: impl Device) -> Result<Round, Diagnostic> {
    let weights = WeightsDecl { bytes: compiled.plan.weights.bytes, sha256: String::new(), location: WeightsLocation::Embedded };
    let signature = describe(&compiled.plan.program, facts, &[], weights);
    let given: Vec<Tensor> = made_up(&signature, facts)?.iter().map(to_tensor).collect();
    let mut session = Session::new(compiled, device)?;
    session.run(&given)?;
    let one: f64 = session.device_seconds(&given, 1)?.iter().sum();
    let seconds = session.launch_seconds(&given, runs(Duration::from_secs_f64(one)) as usize)?;
    Ok(asked(session.plan(), &seconds))
}
