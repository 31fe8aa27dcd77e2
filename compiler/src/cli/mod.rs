//! The command line: arguments, one file per command, and the one place that renders diagnostics.
//!
//! Read in this order: [`args`] (what can be asked), [`failure`] and [`render`] (how it ends when it fails), [`engine`] (a model that
//! runs on either backend), then the commands.

mod args;
mod attribute;
mod attribute_args;
mod attribute_samples;
mod bench;
mod bench_elsewhere;
mod bench_step;
mod calibrate;
mod check;
mod compile;
mod devices;
mod elsewhere;
mod engine;
mod eval;
mod expected_failures;
mod explain;
mod explain_json;
mod export;
mod failure;
mod generate;
mod generate_args;
mod inspect;
mod model;
mod panics;
mod predict;
mod render;
mod rewrite_args;
mod run;
mod test_cases;
mod train;
mod tuning;

use args::{Args, Command};
use clap::Parser;
use failure::Failure;
use kiln::frontend::model::schema::{schema, tuning_schema};
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// Parses the arguments, does what they ask and says how it went: 0 success, 1 failure, 2 wrong usage.
pub fn main() -> ExitCode {
    panics::install();
    let mut out = io::stdout().lock();
    let code = perform(std::env::args_os(), &mut out);
    ExitCode::from(code)
}

fn perform(arguments: impl Iterator<Item = OsString>, out: &mut dyn Write) -> u8 {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // Help and version come this way too, with exit code 0. If nobody can read the text, the exit code must do.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let outcome = dispatch(args.command, out).and_then(|()| Ok(out.flush()?));
    match outcome {
        Ok(()) => 0,
        Err(failure) => render::failure(&failure),
    }
}

fn dispatch(command: Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Compile(args) => compile::compile(&args, out),
        Command::Run(args) => run::run(&args, out),
        Command::Generate(args) => generate::generate(&args, out),
        Command::Train(args) => train::train(&args, out),
        Command::Eval(args) => eval::eval(&args, out),
        Command::Attribute(args) => attribute::attribute(&args, out),
        Command::Predict(args) => predict::predict(&args, out),
        Command::Export(args) => export::export(&args, out),
        Command::Bench(args) => bench::bench(&args, out),
        Command::Inspect(args) => inspect::inspect(&args, out),
        Command::Explain(args) => explain::explain(&args, out),
        Command::Check(args) => check::check(&args, out),
        Command::Schema(args) => Ok(writeln!(out, "{}", if args.tuning { tuning_schema() } else { schema() })?),
        Command::Calibrate(args) => calibrate::calibrate(&args, out),
        Command::Devices(args) => devices::devices(&args, out),
        Command::Test(args) => test_cases::test(&args, out),
    }
}
