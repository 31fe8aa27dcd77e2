//! `kiln run`: one run, compiled in memory or interpreted, that prints like a compiled program.

use super::args::{Backend, InputArgs, RunArgs};
use super::engine::{Answering, compile_here, threads};
use super::failure::Failure;
use super::model;
use kiln_runtime::program::answer;
use kiln_runtime::program::network::Compiled;
use kiln_runtime::program::options::Options;
use kiln_runtime::program::{sounds::SOUNDS, text::TEXTS};
use kiln_runtime::threads::ThreadPool;
use std::io::Write;

/// Runs the command.
pub fn run(args: &RunArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let options = Options {
        pictures: args.pictures.clone(),
        output: args.output.clone(),
        labels: args.labels.clone(),
        top: args.top,
        json: args.json,
        ..input_options(&args.inputs)
    };
    let arrays = !options.npz.is_empty() || !options.inputs.is_empty();
    if !options.pictures.is_empty() && arrays {
        return Err(Failure::Usage("give either pictures or inputs, not both".to_string()));
    }
    let loaded = model::read(&args.model)?;
    let special = if loaded.module.metadata.contains_key("kiln.audio") { &SOUNDS } else { &TEXTS };
    match args.backend {
        Backend::Reference | Backend::Ptx => {
            let mut network = Answering::new(&loaded, args.backend, &args.rewrites.config())?;
            answer(&options, &mut network, Some(special), out)?;
        }
        Backend::Cpu => {
            let pool = ThreadPool::new(threads(args.threads));
            let predictor = compile_here(&loaded, &args.rewrites.config_on(pool.workers()))?.predictor(&pool)?;
            answer(&options, &mut Compiled::new(predictor.model(), &pool), Some(special), out)?;
        }
    }
    Ok(())
}

/// The options of a compiled program that name these inputs.
pub fn input_options(inputs: &InputArgs) -> Options {
    Options { npz: inputs.inputs.clone(), inputs: inputs.input.clone(), ..Options::default() }
}
