//! Fitting a step of training into a budget of memory.

use super::Compiled;
use crate::artifact::describe::ModelFacts;
use crate::backend::cpu::target::CpuTarget;
use crate::kernel::Program;
use crate::schedule::rematerialise::{MemoryBudget, Recomputed, rematerialise, temporary_bytes};
use kiln_ir::graph::Parameter;
use kiln_ir::{Diagnostic, Dim};
use std::collections::BTreeMap;

/// Plans a program such that its arena takes no more than the budget at the usual sizes, arguments of kernels and scratch included;
/// values that do not fit are computed again.
///
/// Errors: `memory_budget` with the least that is possible; `memory_open`; `arena_too_large`.
pub fn within(
    program: Program,
    parameters: BTreeMap<String, Parameter>,
    target: CpuTarget,
    facts: ModelFacts,
    budget: MemoryBudget,
) -> Result<Compiled, Diagnostic> {
    temporary_bytes(&program)?;
    let states = facts.states;
    let mut compiled = Compiled::from_program(program.clone(), parameters.clone(), target.clone(), facts.clone())?;
    let mut done = None;
    let mut around = 0;
    // Steps that are done again have arguments, too: once they are known, the rest is.
    while let Some(excess) = excess(&compiled, budget) {
        around = around.max(excess.around) + if done.is_some() { 64 } else { 0 };
        let (mut changed, mut least) = (program.clone(), 0);
        let outcome = rematerialise(&mut changed, states, budget.bytes - around, &mut least);
        done = Some(outcome.map_err(|error| refused(error, budget, least + around))?);
        compiled = Compiled::from_program(changed, parameters.clone(), target.clone(), facts.clone())?;
    }
    compiled.recomputed = done;
    Ok(compiled)
}

/// An arena beyond its budget.
struct Excess {
    /// Bytes of it that are no temporaries.
    around: i64,
}

fn excess(compiled: &Compiled, budget: MemoryBudget) -> Option<Excess> {
    let usual = &compiled.plan.program.usual_sizes;
    let value = |dim: &Dim| dim.evaluate(&|symbol| usual.get(symbol).copied());
    let main = &compiled.plan.main;
    let total = value(&main.arena_bytes(budget.workers as i64)).unwrap_or(i64::MAX);
    let temporaries = value(&main.temporary_bytes).unwrap_or(0);
    (total > budget.bytes).then_some(Excess { around: total - temporaries })
}

fn refused(error: Diagnostic, budget: MemoryBudget, least: i64) -> Diagnostic {
    if error.code != "memory_budget" {
        return error;
    }
    let message = format!(
        "a step cannot be computed in {}: with all that can be computed again it takes {least} bytes, {}",
        Recomputed::megabytes(budget.bytes),
        Recomputed::megabytes(least)
    );
    let help = format!("--memory {}MB, or smaller batches", (least + 999_999) / 1_000_000);
    Diagnostic::new("memory_budget", message).help(help)
}
