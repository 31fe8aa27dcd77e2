//! What measuring a network needs on every device: inputs, the kernels that a question is about, and answers that are kept.

use super::search::{Progress, Round, search};
use super::{Tuning, kept};
use crate::artifact::describe::ModelFacts;
use crate::kernel::Kernel;
use crate::schedule::launches::launched_kernels;
use crate::schedule::plan::ProgramPlan;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::Signature;
use kiln_runtime::arrays::Array;
use kiln_runtime::program::options::Options;
use kiln_runtime::program::{Failure, inputs};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How much is measured.
#[derive(Clone)]
pub struct Tune {
    /// When to stop.
    pub limit: Duration,
    /// Threads that runs on a CPU have.
    pub threads: usize,
    /// The file that answers are kept in, if they are.
    pub kept: Option<PathBuf>,
    /// Told what is done.
    pub report: Arc<dyn Fn(Progress) + Send + Sync>,
}

impl fmt::Debug for Tune {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Tune { limit, threads, kept, report: _ } = self;
        f.debug_struct("Tune").field("limit", limit).field("threads", threads).field("kept", kept).finish_non_exhaustive()
    }
}

/// Time that runs of one round take together, and how many they are at least and at most.
const ROUND: Duration = Duration::from_millis(250);
const RUNS: (u64, u64) = (3, 101);

/// Runs in a round, where one takes so long.
pub(super) fn runs(one: Duration) -> u64 {
    (ROUND.div_duration_f64(one.max(Duration::from_nanos(1))) as u64).clamp(RUNS.0, RUNS.1)
}

/// Answers to what a network asks on a device: those that are kept, and for others what is measured, which is kept then.
///
/// Errors: those of `measure`.
pub(super) fn answered<E>(device: &str, tune: &Tune, measure: impl FnMut(&Tuning) -> Result<Round, E>) -> Result<Tuning, E> {
    let mut answers = tune.kept.as_ref().map(|path| kept::load(path, device)).unwrap_or_default();
    search(&mut answers, tune.limit, measure, |progress| (tune.report)(progress))?;
    if let Some(path) = &tune.kept {
        // What cannot be kept is measured again the next time.
        let _ = kept::save(path, device, &answers);
    }
    Ok(Tuning::known(answers))
}

/// Inputs of usual sizes. Errors: `memory`, `tune`.
pub(super) fn made_up(signature: &Signature, facts: &ModelFacts) -> Result<Vec<Array>, Diagnostic> {
    let declared = |name: &str| signature.symbols.iter().any(|symbol| symbol.name == name);
    let sizes = facts.usual_sizes.iter().map(|(symbol, size)| (symbol.name().to_string(), *size));
    let options = Options { dims: sizes.filter(|(name, _)| declared(name)).collect(), ..Options::default() };
    inputs::make_up(&options, signature).map_err(|failure| match failure {
        Failure::Error(error) | Failure::Interrupted(_, error) => error,
        Failure::Usage(message) => Diagnostic::new("tune", message),
    })
}

/// A failure of a run on inputs that are made up.
pub(super) fn unmeasured(error: Diagnostic) -> Vec<Diagnostic> {
    vec![error.help(
        "ways are measured on inputs that are made up, of the sizes that --dim gives: leave --tune out where there are none that fit",
    )]
}

/// What was asked for a program, with the seconds of the kernels that it is about; `seconds` has those of each launch.
pub(super) fn asked(plan: &ProgramPlan, seconds: &[f64]) -> Round {
    let launched = launched_kernels(&plan.program.steps, &plan.main.steps);
    let mut asked = Vec::new();
    for decision in &plan.program.decisions {
        let of_nodes = |kernel: &&Kernel| kernel.origins.iter().any(|origin| decision.origins.contains(origin));
        let is_part = |kernels: &[&Kernel]| decision.origins.is_empty() || kernels.iter().any(of_nodes);
        let of = launched.iter().zip(seconds).filter(|((_, kernels), _)| is_part(kernels));
        asked.push((decision.clone(), of.map(|(_, seconds)| seconds).sum()));
    }
    for ((launch, _), seconds) in launched.iter().zip(seconds) {
        asked.extend(launch.decisions.iter().map(|decision| (decision.clone(), *seconds)));
    }
    Round { seconds: seconds.iter().sum(), asked }
}

#[cfg(test)]
mod tests {
    use super::super::{Decision, Subject};
    use super::*;
    use crate::cut::{Choices, cut};
    use crate::lower::VectorIsa;
    use crate::pipeline::{Config, run_passes};
    use crate::schedule::plan::plan_program;
    use kiln_ir::graph::Origin;
    use kiln_ir::text::{ConstantTable, parse_module};

    #[test]
    fn seconds_are_those_of_the_nodes_that_are_named_or_of_the_whole_program() {
        let text = "module m {
          fn predict(%x: f32[8, 8]) {
            %s = softmax %x {axis = 1} from \"first\"
            %y = dot %s, %x {a_batch = [], b_batch = [], a_contract = [0], b_contract = [0]} from \"second\"
            return %y
          }
        }";
        let module = parse_module("", text, &ConstantTable::new()).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let module = run_passes(&module, &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}")).module;
        let mut program = cut(&module, "predict", &Choices::default()).unwrap_or_else(|error| panic!("{error}"));
        let decision = |origins: &[&str]| Decision {
            subject: Subject::Graph,
            question: String::new(),
            answers: 2,
            taken: String::new(),
            origins: origins.iter().map(|text| Arc::new(Origin::new(*text))).collect(),
        };
        program.decisions = vec![decision(&[]), decision(&["first"]), decision(&["second"]), decision(&["neither"])];
        let plan = plan_program(program, &VectorIsa::V128).unwrap_or_else(|error| panic!("{error}"));
        let seconds = [1.0, 10.0];
        assert_eq!(launched_kernels(&plan.program.steps, &plan.main.steps).len(), seconds.len());
        let round = asked(&plan, &seconds);
        let of: Vec<f64> = round.asked.iter().take(4).map(|(_, seconds)| *seconds).collect();
        assert_eq!((of, round.seconds), (vec![11.0, 1.0, 10.0, 0.0], 11.0));
    }
}
