//! `kiln generate`: what a network writes, by the code that compiled programs have.

use super::args::Backend;
use super::engine::{Answering, compile_here, threads};
use super::failure::Failure;
use super::generate_args::GenerateArgs;
use super::model;
use kiln_runtime::program::network::Compiled;
use kiln_runtime::program::write::{Choices, write};
use kiln_runtime::text::choice::Choice;
use kiln_runtime::threads::ThreadPool;
use std::io::{self, Write};

/// Runs the command.
pub fn generate(args: &GenerateArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let temperature = if args.greedy { 0.0 } else { args.temperature };
    let choices = Choices {
        prompts: args.prompts.iter().chain(&args.prompt).cloned().collect(),
        tokens: args.tokens,
        choice: Choice { temperature, top_k: args.top_k, top_p: args.top_p },
        beams: args.beams,
        seed: args.seed,
        stop: args.stop.clone(),
        is_uncached: args.no_cache,
        timing: args.timing,
        json: args.json,
    };
    choices.check().map_err(Failure::Usage)?;
    let loaded = model::read_writer(&args.model)?;
    let mut err = io::stderr();
    match args.backend {
        Backend::Reference | Backend::Ptx => {
            let mut network = Answering::new(&loaded, args.backend, &args.rewrites.config())?;
            write(&choices, &mut network, out, &mut err)?;
        }
        Backend::Cpu => {
            let pool = ThreadPool::new(threads(args.threads));
            let predictor = compile_here(&loaded, &args.rewrites.config_on(pool.workers()))?.predictor(&pool)?;
            write(&choices, &mut Compiled::new(predictor.model(), &pool), out, &mut err)?;
        }
    }
    Ok(())
}
