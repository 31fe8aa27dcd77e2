//! What a compiled trainer does: its command line, and training.

use super::evaluate::{EvaluateOptions, evaluate};
use super::parts::PartName;
use super::recipe::Recipe;
use super::run::{TrainOptions, Trainer, train};
use super::stepper::{Functions, compiled};
use crate::model::Model;
use crate::program::{Failure, arguments, finish, occupy_standard_streams};
use crate::threads::{ThreadPool, default_workers};
use crate::weights::Weights;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::TrainerDescriptor;
use lexopt::{Arg, Parser, ValueExt};
use std::ffi::{OsString, c_char, c_int};
use std::io::{self, Write};
use std::path::PathBuf;
use std::slice;

/// What the user asked for.
#[derive(Default)]
struct Command {
    options: TrainOptions,
    /// Measure what was trained instead of training.
    evaluate: bool,
    part: Option<PartName>,
    report: Option<PathBuf>,
    threads: Option<usize>,
    help: bool,
    version: bool,
}

/// `main` of every compiled trainer.
///
/// # Safety
/// `argv` holds `argc` C strings; `trainer` is a descriptor that Kiln compiled, with code and data that are never freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_trainer_main(argc: c_int, argv: *const *const c_char, trainer: *const TrainerDescriptor) -> c_int {
    occupy_standard_streams();
    // SAFETY: the caller's promise.
    let mut arguments = unsafe { arguments(argc, argv) }.into_iter();
    let program = arguments.next().unwrap_or_else(|| OsString::from("trainer")).to_string_lossy().into_owned();
    // Not locked: training writes to the other stream between its lines.
    let mut out = io::stdout();
    let command = parse(arguments).map_err(|error| Failure::Usage(error.to_string()));
    // SAFETY: the caller's promise.
    let outcome = command.and_then(|command| unsafe { execute(&program, command, &*trainer, &mut out) });
    finish(&program, outcome, &mut out, &mut io::stderr())
}

/// `main` of trainers of networks whose texts a `tokenizer.json` cuts.
///
/// # Safety
/// As [`kiln_trainer_main`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_tokenizer_trainer_main(argc: c_int, argv: *const *const c_char, trainer: *const TrainerDescriptor) -> c_int {
    crate::text::foreign::install();
    // SAFETY: the caller's promise.
    unsafe { kiln_trainer_main(argc, argv, trainer) }
}

/// `main` of trainers of networks that take sounds.
///
/// # Safety
/// As [`kiln_trainer_main`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_listener_trainer_main(argc: c_int, argv: *const *const c_char, trainer: *const TrainerDescriptor) -> c_int {
    crate::audio::compressed::install();
    // SAFETY: the caller's promise.
    unsafe { kiln_trainer_main(argc, argv, trainer) }
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = Parser::from_args(arguments);
    let mut command = Command { options: TrainOptions { signals: true, ..TrainOptions::default() }, ..Command::default() };
    let options = &mut command.options;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("data") => options.data.place = parser.value()?.into(),
            Arg::Long("label") => options.data.label = Some(parser.value()?.string()?),
            Arg::Long("skip-bad") => options.data.skip_bad = parser.value()?.parse()?,
            Arg::Long("out") => options.out = parser.value()?.into(),
            Arg::Long("epochs") => options.epochs = Some(at_least_one(parser.value()?.parse()?, "--epochs")?),
            Arg::Long("batch") => options.batch = Some(at_least_one(parser.value()?.parse()?, "--batch")?),
            Arg::Long("seed") => options.seed = Some(parser.value()?.parse()?),
            Arg::Long("learning-rate") => {
                let rate: f64 = parser.value()?.parse()?;
                if !(rate.is_finite() && rate > 0.0) {
                    return Err(format!("--learning-rate wants a number above 0, got {rate}").into());
                }
                options.learning_rate = Some(rate);
            }
            Arg::Long("report") => command.report = Some(parser.value()?.into()),
            Arg::Long("parameters") => options.parameters = Some(parser.value()?.into()),
            Arg::Long("threads") | Arg::Short('t') => command.threads = Some(parser.value()?.parse()?),
            Arg::Long("checkpoint-seconds") => {
                let seconds: f64 = parser.value()?.parse()?;
                if seconds.is_nan() || seconds < 0.0 {
                    return Err(format!("--checkpoint-seconds wants a number of seconds, got {seconds}").into());
                }
                options.checkpoint_seconds = Some(seconds);
            }
            Arg::Long("evaluate") => command.evaluate = true,
            Arg::Long("part") => command.part = Some(parser.value()?.parse()?),
            Arg::Long("resume") => options.resume = true,
            Arg::Long("overwrite") => options.overwrite = true,
            Arg::Long("json") => options.json = true,
            Arg::Long("help") | Arg::Short('h') => command.help = true,
            Arg::Long("version") | Arg::Short('V') => command.version = true,
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(command)
}

fn at_least_one(number: u32, what: &str) -> Result<u32, lexopt::Error> {
    if number == 0 { Err(format!("{what} is at least 1").into()) } else { Ok(number) }
}

unsafe fn execute(program: &str, command: Command, descriptor: &TrainerDescriptor, out: &mut dyn Write) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let text = unsafe { slice::from_raw_parts(descriptor.recipe, descriptor.recipe_bytes as usize) };
    let recipe: Recipe =
        serde_json::from_slice(text).map_err(|error| Diagnostic::new("recipe", format!("the trainer's recipe is unreadable: {error}")))?;
    // SAFETY: as above.
    let [step, evaluation, trace] = unsafe {
        [Model::load(&*descriptor.step, None)?, Model::load(&*descriptor.evaluation, None)?, Model::load(&*descriptor.trace, None)?]
    };
    if command.help {
        return Ok(out.write_all(help(program, &recipe).as_bytes())?);
    }
    if command.version {
        let signature = step.signature();
        let text = format!("{}, compiled by {} from a model with SHA-256 {}\n", recipe.name, signature.compiler, signature.model_sha256);
        return Ok(out.write_all(text.as_bytes())?);
    }
    let Command { options, evaluate: measures, part, .. } = command;
    let needed: &[_] = match measures {
        true => &[(options.parameters.is_none(), "--parameters: what training left")],
        false => &[(options.out.as_os_str().is_empty(), "--out: the directory for what comes out")],
    };
    for (missing, what) in [(options.data.place.as_os_str().is_empty(), "--data: where the data are")].iter().chain(needed) {
        if *missing {
            return Err(Failure::Usage(format!("it needs {what}")));
        }
    }
    if options.resume && options.overwrite {
        return Err(Failure::Usage("--resume goes on with what is there, --overwrite begins anew: one of them".to_owned()));
    }
    if options.parameters.is_some() && !measures && !recipe.adapters.is_empty() && recipe.start.is_some() {
        let message = "this trainer has the values that its adapters are for: compile it with others, `kiln compile --parameters FILE`";
        return Err(Failure::Usage(message.to_owned()));
    }
    // Checkpoints of adapters are without what they are for.
    if options.resume && options.parameters.is_some() && recipe.adapters.is_empty() {
        return Err(Failure::Usage("--resume goes on with what is there: without --parameters".to_owned()));
    }
    if part.is_some() && !measures {
        return Err(Failure::Usage("--part names what to --evaluate on".to_owned()));
    }
    if command.report.is_some() && !measures {
        return Err(Failure::Usage("--report goes with --evaluate; training writes report.html into --out".to_owned()));
    }
    let pool = ThreadPool::new(command.threads.unwrap_or(usize::MAX).clamp(1, default_workers()));
    if measures {
        let TrainOptions { data, batch, seed, json, parameters, .. } = options;
        let options = EvaluateOptions { data, part, parameters: parameters.unwrap_or_default(), batch, seed, report: command.report, json };
        return evaluate(recipe, compiled(&evaluation, &pool), &options, &pool, out);
    }
    let begins = options.parameters.is_none() && (!options.resume || !recipe.adapters.is_empty());
    let start = match &recipe.start {
        Some(declared) if begins => Some(Weights::outside(declared, "--parameters FILE")?),
        _ => None,
    };
    let functions = Functions::compiled([&step, &evaluation, &trace], &pool);
    train(Trainer { recipe, functions, start: start.as_ref().map(Weights::bytes) }, &options, &pool, out)
}

fn help(program: &str, recipe: &Recipe) -> String {
    let schedule = &recipe.schedule;
    format!(
        "Trains the network `{name}`.

Usage: {program} --data PLACE --out DIR [OPTIONS]
       {program} --evaluate --data PLACE --parameters FILE [OPTIONS]

  --data PLACE              train.npz, train.csv or .tsv (and validation, test beside it), or one such file;
                            train.conll (words with labels), train.txt (running text), of texts;
                            train/x.npy and train/y.npy; the files of MNIST and its like
                            (train-images-idx3-ubyte …, .gz too); pictures and sounds in train/CLASS/,
                            or named in train/list.csv (file,label; file,text of what is said in them)
  --label COLUMN            the column of a table or a list that has the labels [the last one, `label`]
  --skip-bad N              leave at most N rows or files out that cannot be used, each told
  --out DIR                 gets model.safetensors, report.html, history.csv and .jsonl, checkpoint.safetensors, and
                            an event file: tensorboard --logdir DIR
  --epochs N                passes over the data [{epochs}]
  --batch N                 samples in a step [{batch}]
  --learning-rate RATE      size of the steps [{rate}]
  --seed N                  what first values, order and dropout depend on [{seed}]
  --parameters FILE         begin with these parameters [{start}]
  --resume                  go on from the checkpoint in DIR
  --overwrite               begin anew although DIR holds a checkpoint
  --checkpoint-seconds S    seconds between checkpoints within an epoch [60]
  --evaluate                measure --parameters instead: loss and metrics on data for tests, or for validation
  --part PART               on this part: train, validation, test, or all samples of data without parts
  --report FILE.html        and write a page about it: confusion of classes, the worst examples
  -t, --threads N           threads at most [all]
  --json                    tell each epoch as a line of JSON
  -h, --help                this text
  -V, --version             what was compiled, and by what

Ctrl-C and SIGTERM end it after the present step, with a checkpoint; a second one ends it at once.
Exit status: 0 success, 1 failure, 2 wrong usage, 130 or 143 interrupted.
",
        name = recipe.name,
        epochs = schedule.epochs,
        batch = schedule.batch,
        rate = schedule.learning_rate,
        seed = recipe.seed,
        start = if recipe.start.is_some() { "those that it was compiled with" } else { "those of the seed" },
    )
}
