//! `kiln eval`: measures a trained network on data.

use super::args::{Backend, DataArgs, DataPart, EvalArgs};
use super::elsewhere::evaluation;
use super::engine::threads;
use super::failure::Failure;
use super::model::read_trainable;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::data::DataOptions;
use kiln_runtime::training::evaluate::{EvaluateOptions, evaluate};
use kiln_runtime::training::parts::PartName;
use kiln_runtime::training::stepper::compiled;
use std::io::Write;

/// Runs the command.
pub fn eval(args: &EvalArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let pool = ThreadPool::new(threads(args.threads));
    let trainable = read_trainable(&args.model)?;
    let plan = trainable.plan()?;
    let folder = tempfile::tempdir()?;
    let parameters = trainable.parameters(&args.model, folder.path())?;
    let config = args.rewrites.config();
    let predictor;
    let function = match args.backend {
        Backend::Cpu => {
            let target = CpuTarget::host(CpuLevel::Native)?;
            predictor = plan.compile_evaluation(&target, &trainable.facts, &config)?.predictor(&pool)?;
            compiled(predictor.model(), &pool)
        }
        Backend::Ptx | Backend::Reference => evaluation(&plan, &trainable, args.backend, &config)?,
    };
    let options = EvaluateOptions {
        data: args.data.options(),
        part: args.part.map(DataPart::name),
        parameters,
        batch: args.batch,
        seed: args.seed,
        report: args.report.clone(),
        json: args.json,
    };
    Ok(evaluate(plan.recipe, function, &options, &pool, out)?)
}

impl DataArgs {
    /// What the runtime is told of the data.
    pub fn options(&self) -> DataOptions {
        DataOptions { place: self.place.clone(), label: self.label.clone(), skip_bad: self.skip_bad }
    }
}

impl DataPart {
    /// What the runtime calls it.
    pub fn name(self) -> PartName {
        match self {
            DataPart::Train => PartName::Train,
            DataPart::Validation => PartName::Validation,
            DataPart::Test => PartName::Test,
            DataPart::All => PartName::All,
        }
    }
}
