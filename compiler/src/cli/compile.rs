//! `kiln compile`: artefacts and readable stages on the way to them.

use super::args::{CompileArgs, Emit, Function, Weights};
use super::engine::threads;
use super::failure::Failure;
use super::model::{self, Loaded, Stateful};
use indicatif::ProgressBar;
use kiln::artifact::describe::ModelFacts;
use kiln::artifact::output::write_file;
use kiln::artifact::write::{ArtifactKind, WeightsChoice};
use kiln::backend::cpu::emit::Listing;
use kiln::backend::cpu::target::CpuTarget;
use kiln::backend::ptx::assemble::Found;
use kiln::backend::ptx::costs;
use kiln::backend::ptx::generation::Generation;
use kiln::compile::{Compiled, compile as compile_module, compile_ptx};
use kiln::pipeline::{Config, run_passes_until};
use kiln_ir::text::{PrintOptions, print_module};
use kiln_runtime::arrays::Array;
use kiln_runtime::threads::ThreadPool;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

/// Runs the command.
pub fn compile(args: &CompileArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if args.after.is_some() && args.emit != Emit::Graph {
        return Err(Failure::Usage("--after PASS goes with --emit graph".to_string()));
    }
    if args.target.is_some() && !is_for_gpus(args.emit) {
        return Err(Failure::Usage("--target cuda goes with --emit ptx, cubin and ptx-costs: other kinds are for CPUs".to_string()));
    }
    if args.memory.memory.is_some() && args.emit != Emit::Trainer && args.function != Some(Function::TrainStep) {
        return Err(Failure::Usage("--memory is for steps of training: --emit trainer, or --function train-step".to_string()));
    }
    if args.rewrites.tune.is_some() && (args.emit == Emit::Graph || is_for_gpus(args.emit)) {
        return Err(Failure::Usage(
            "--tune measures kernels where they run: code for this CPU, or kiln run and bench --backend ptx".to_string(),
        ));
    }
    let mut config = args.memory.within(args.rewrites.config(), threads(None));
    config.generation = generation(args).unwrap_or(config.generation);
    let progress = Progress::start();
    progress.say("reading the model");
    if args.emit == Emit::Trainer {
        return write_trainer(args, &config);
    }
    let (loaded, start) = load(args)?;
    let text = match args.emit {
        Emit::Graph => {
            let module = match &args.after {
                Some(pass) => run_passes_until(&loaded.module, &config, pass)?,
                None => loaded.module,
            };
            print_module(&module, PrintOptions { origins: true }).text
        }
        Emit::Ptx => compile_ptx(&loaded.module, &loaded.facts, &config)?.kernels.text,
        Emit::Cubin => {
            let Some(generation) = generation(args) else {
                return Err(Failure::Usage("a cubin is for one generation of GPUs: --target cuda:sm_90a, for example".to_string()));
            };
            if args.output == Path::new("-") {
                return Err(needs_a_file());
            }
            let found = Found::here()?;
            let assembler = found.assembler()?;
            let kernels = compile_ptx(&loaded.module, &loaded.facts, &config)?.kernels;
            progress.say("assembling");
            let bytes = assembler.cubin(&kernels.text, &generation.to_string())?;
            return Ok(write_file(&args.output, |file| file.write_all(&bytes))?);
        }
        Emit::PtxCosts => {
            let compiled = compile_ptx(&loaded.module, &loaded.facts, &config)?;
            costs::table(&costs::costs(&compiled, &loaded.facts.usual_sizes))
        }
        Emit::Exe | Emit::Trainer | Emit::Obj | Emit::Lib | Emit::Shared | Emit::Rust | Emit::Kernels | Emit::Clif | Emit::Asm => {
            progress.say("planning kernels and memory");
            let compiled = compile_module(&loaded.module, target(args)?, loaded.facts, &config)?;
            progress.say("generating code");
            match args.emit {
                Emit::Kernels => compiled.plan().program.to_string(),
                Emit::Clif => compiled.listing(Listing::Clif),
                Emit::Asm => compiled.listing(Listing::Assembly),
                Emit::Obj => return write(&compiled, ArtifactKind::Object, args),
                Emit::Lib => return write(&compiled, ArtifactKind::StaticLibrary, args),
                Emit::Shared => return write(&compiled, ArtifactKind::SharedLibrary, args),
                Emit::Rust => return write_rust(&compiled, start.as_ref(), args),
                Emit::Exe | Emit::Trainer | Emit::Graph | Emit::Ptx | Emit::Cubin | Emit::PtxCosts => {
                    return write(&compiled, ArtifactKind::Executable, args);
                }
            }
        }
    };
    drop(progress);
    if args.output == Path::new("-") {
        out.write_all(text.as_bytes())?;
    } else {
        write_file(&args.output, |file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// Whether something is made of kernels for NVIDIA GPUs.
fn is_for_gpus(emit: Emit) -> bool {
    matches!(emit, Emit::Ptx | Emit::Cubin | Emit::PtxCosts)
}

/// The one generation of GPUs that is asked for.
fn generation(args: &CompileArgs) -> Option<Generation> {
    args.target.and_then(|target| target.0)
}

/// The CPU to compile for.
fn target(args: &CompileArgs) -> Result<CpuTarget, Failure> {
    Ok(CpuTarget::host(args.cpu.level())?)
}

fn only_other_kinds() -> Failure {
    Failure::Usage("a program predicts or writes (--emit exe) or trains (--emit trainer); other functions are for other kinds".into())
}

fn weights(args: &CompileArgs) -> WeightsChoice {
    match args.weights {
        Weights::Embed => WeightsChoice::Embed,
        Weights::External => WeightsChoice::External,
    }
}

fn needs_a_file() -> Failure {
    Failure::Usage("an artefact needs a file: -o FILE".to_string())
}

/// How many inputs of a step stay as they are, and first values of those and of its states.
type Start = (usize, Vec<Array>);

/// Reads the function that is asked for; with what a Rust module of a step begins with.
fn load(args: &CompileArgs) -> Result<(Loaded, Option<Start>), Failure> {
    let function = args.function.map_or_else(|| usual_function(args), Ok)?;
    match function {
        Function::Predict => return Ok((model::read(&args.model)?, None)),
        Function::Write => {
            let loaded = model::read_writer(&args.model)?;
            // Classes with names are labels of tokens, however many there are.
            let is_tagger = args.function.is_none() && loaded.facts.labels.is_some();
            return Ok((if is_tagger { model::read(&args.model)? } else { loaded }, None));
        }
        Function::Hear => return Ok((model::read_hearer(&args.model)?, None)),
        Function::TrainStep | Function::Evaluate if args.emit == Emit::Exe => return Err(only_other_kinds()),
        Function::TrainStep | Function::Evaluate => {}
    }
    if args.model.parameters.is_some() {
        return Err(Failure::Usage("parameters are inputs of that function: --parameters goes with --function predict".into()));
    }
    let trainable = model::read_trainable(&args.model)?;
    let plan = trainable.plan()?;
    let steps = function == Function::TrainStep;
    let start = match steps && args.emit == Emit::Rust {
        true => Some((plan.recipe.fixed.len(), plan.first_values(&trainable.model)?)),
        false => None,
    };
    // A budget is kept, and tiles of a GPU are chosen, at the size of batches that the file names.
    let has_size = args.memory.memory.is_some() || is_for_gpus(args.emit);
    let facts = if has_size { plan.with_usual_sizes(&trainable.facts) } else { trainable.facts };
    let (module, states) = if steps { (plan.step, plan.recipe.states.len()) } else { (plan.evaluation, 0) };
    let facts = ModelFacts { name: module.name.clone(), states, ..facts };
    Ok((Loaded { module, facts, losses: Vec::new() }, start))
}

/// The function of an artefact for which none is asked for: programs of networks that write or hear streams do, unless a size is fixed.
fn usual_function(args: &CompileArgs) -> Result<Function, Failure> {
    if args.emit != Emit::Exe || !args.model.dims.is_empty() {
        return Ok(Function::Predict);
    }
    let stateful = Stateful::of(&args.model)?;
    match stateful.writes {
        None if stateful.hears => Ok(Function::Hear),
        None => Ok(Function::Predict),
        Some(Ok(())) => Ok(Function::Write),
        Some(Err(why)) => {
            let note = "the program scores texts, but does not write them";
            // If nobody can read it, the program's help says it, too.
            let _ = writeln!(io::stderr(), "note: {note}: {}", why.message);
            Ok(Function::Predict)
        }
    }
}

/// Writes a program that trains.
fn write_trainer(args: &CompileArgs, config: &Config) -> Result<(), Failure> {
    if args.function.is_some_and(|function| function != Function::Predict) {
        return Err(only_other_kinds());
    }
    if args.output == Path::new("-") {
        return Err(needs_a_file());
    }
    let trainable = model::read_trainable(&args.model)?;
    let plan = trainable.plan()?;
    let compiled = plan.compile(&target(args)?, &trainable.facts, config)?;
    let folder = tempfile::tempdir()?;
    let start = trainable.start(&args.model, folder.path())?;
    Ok(compiled.write(&plan.recipe, start.as_deref(), weights(args), &args.output, &ThreadPool::new(threads(None)))?)
}

fn write_rust(compiled: &Compiled, start: Option<&Start>, args: &CompileArgs) -> Result<(), Failure> {
    if args.output == Path::new("-") {
        return Err(needs_a_file());
    }
    if args.weights == Weights::External {
        return Err(Failure::Usage("a Rust module has its weights in the library: --weights goes with other kinds".into()));
    }
    let start = start.map(|(frozen, values)| (*frozen, values.as_slice()));
    Ok(compiled.write_rust(&args.output, start, &ThreadPool::new(threads(None)))?)
}

fn write(compiled: &Compiled, kind: ArtifactKind, args: &CompileArgs) -> Result<(), Failure> {
    if args.output == Path::new("-") {
        return Err(needs_a_file());
    }
    compiled.write(kind, weights(args), &args.output, &ThreadPool::new(threads(None)))?;
    Ok(())
}

/// What the compiler is doing, on a terminal and only when it takes a while.
struct Progress(ProgressBar);

impl Progress {
    fn start() -> Progress {
        let bar = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        // The first tick comes late, so that quick compilations stay silent.
        bar.enable_steady_tick(Duration::from_millis(300));
        Progress(bar)
    }

    fn say(&self, what: &'static str) {
        self.0.set_message(what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
