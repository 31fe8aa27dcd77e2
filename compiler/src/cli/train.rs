//! `kiln train`: compiles the step of a network and runs it over data.

use super::args::{Backend, TrainArgs};
use super::elsewhere::functions;
use super::engine::threads;
use super::failure::Failure;
use super::model::read_trainable;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::run::{TrainOptions, Trainer};
use kiln_runtime::training::stepper::Functions;
use std::io::Write;

/// Runs the command.
pub fn train(args: &TrainArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let pool = ThreadPool::new(threads(args.threads));
    let mut trainable = read_trainable(&args.model)?;
    trainable.model.seed = args.seed.unwrap_or(trainable.model.seed);
    let adapts = !trainable.model.adapters.is_empty();
    // Checkpoints of adapters are without what they are for.
    if args.resume && args.model.parameters.is_some() && !adapts {
        return Err(Failure::Usage("--resume goes on with what is there: without --parameters".into()));
    }
    let mut plan = trainable.plan()?;
    plan.recipe.schedule.batch = args.batch.unwrap_or(plan.recipe.schedule.batch);
    let folder = tempfile::tempdir()?;
    let start = if args.resume && !adapts { None } else { trainable.start(&args.model, folder.path())? };
    let config = args.memory.within(args.rewrites.config_on(pool.workers()), pool.workers());
    let (loaded, recomputed);
    let functions = match args.backend {
        Backend::Cpu => {
            let compiled = plan.compile(&CpuTarget::host(CpuLevel::Native)?, &trainable.facts, &config)?;
            recomputed = compiled.step.recomputed();
            loaded = compiled.load(&pool)?;
            Functions::compiled(loaded.each_ref().map(|function| function.model()), &pool)
        }
        Backend::Ptx | Backend::Reference => {
            recomputed = None;
            functions(&plan, &trainable, args.backend, &config)?.0
        }
    };
    if !args.json {
        for what in &trainable.left_out {
            writeln!(out, "left out: {what}")?;
        }
        if let Some(recomputed) = recomputed {
            writeln!(out, "{recomputed}")?;
        }
    }
    let options = TrainOptions {
        data: args.data.options(),
        out: args.out.clone(),
        epochs: args.epochs,
        batch: args.batch,
        seed: args.seed,
        learning_rate: args.learning_rate,
        parameters: start,
        resume: args.resume,
        overwrite: args.overwrite,
        checkpoint_seconds: Some(args.checkpoint_seconds),
        signals: true,
        json: args.json,
    };
    let trainer = Trainer { recipe: plan.recipe, functions, start: None };
    kiln_runtime::training::run::train(trainer, &options, &pool, out)?;
    if !args.json {
        let (model, parameters) = (args.model.model.display(), args.out.join("model.safetensors"));
        let config = args.model.config.as_ref().filter(|_| trainable.is_changed);
        let config = config.map_or(String::new(), |config| format!(" --config {}", config.display()));
        writeln!(out, "compile it: kiln compile {model}{config} --parameters {} -o {}", parameters.display(), trainable.facts.name)?;
    }
    Ok(())
}
