//! `kiln predict`: writes what a model says of each sample of data.

use super::args::{Backend, DataPart, ModelArgs, PredictArgs};
use super::engine::{Answering, compile_here, threads};
use super::failure::Failure;
use super::model::{self, Loaded};
use kiln_runtime::program::network::Compiled;
use kiln_runtime::program::read_labels;
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::predict::{PredictOptions, predict as run};
use std::io::Write;
use std::path::Path;

/// Runs the command.
pub fn predict(args: &PredictArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let loaded = model::read(&args.model)?;
    let options = PredictOptions {
        data: args.data.options(),
        part: args.part.map(DataPart::name),
        out: args.out.clone(),
        batch: args.batch,
        meanings: loaded.meanings()?,
        labels: labels(args.labels.as_deref(), &args.model, &loaded)?,
        json: args.json,
    };
    match args.backend {
        Backend::Reference | Backend::Ptx => {
            let mut network = Answering::new(&loaded, args.backend, &args.rewrites.config())?;
            run(&options, &mut network, false, out)?;
        }
        Backend::Cpu => {
            let pool = ThreadPool::new(threads(args.threads));
            let predictor = compile_here(&loaded, &args.rewrites.config_on(pool.workers()))?.predictor(&pool)?;
            run(&options, &mut Compiled::new(predictor.model(), &pool), pool.workers() > 1, out)?;
        }
    }
    Ok(())
}

/// What the classes are called: as asked for, else as the network says, else as training wrote down beside the parameters.
pub fn labels(asked: Option<&Path>, model: &ModelArgs, loaded: &Loaded) -> Result<Option<Vec<String>>, Failure> {
    if let Some(path) = asked {
        return Ok(Some(read_labels(path)?));
    }
    let beside = model.parameters.as_ref().map(|path| path.with_file_name("labels.txt")).filter(|path| path.is_file());
    match (&loaded.facts.labels, beside) {
        (None, Some(path)) => Ok(Some(read_labels(&path)?)),
        (own, _) => Ok(own.clone()),
    }
}
