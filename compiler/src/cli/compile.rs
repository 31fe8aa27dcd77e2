//! `kiln compile`: artefacts and readable stages on the way to them.

use super::args::{CompileArgs, Cpu, Emit, Weights};
use super::engine::threads;
use super::failure::Failure;
use super::model;
use indicatif::ProgressBar;
use kiln::artifact::output::write_file;
use kiln::artifact::write::{ArtifactKind, WeightsChoice};
use kiln::backend::cpu::emit::Listing;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::{Compiled, compile as compile_module};
use kiln::pipeline::run_passes_until;
use kiln_ir::text::{PrintOptions, print_module};
use kiln_runtime::threads::ThreadPool;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

/// Runs the command.
pub fn compile(args: &CompileArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if args.after.is_some() && args.emit != Emit::Graph {
        return Err(Failure::Usage("--after PASS goes with --emit graph".to_string()));
    }
    let config = args.rewrites.config();
    let progress = Progress::start();
    progress.say("reading the model");
    let loaded = model::read(&args.model)?;
    let text = match args.emit {
        Emit::Graph => {
            let module = match &args.after {
                Some(pass) => run_passes_until(&loaded.module, &config, pass)?,
                None => loaded.module,
            };
            print_module(&module, PrintOptions { origins: true }).text
        }
        Emit::Exe | Emit::Obj | Emit::Lib | Emit::Shared | Emit::Kernels | Emit::Clif | Emit::Asm => {
            let level = match args.cpu {
                Cpu::Native => CpuLevel::Native,
                Cpu::Baseline => CpuLevel::Baseline,
                Cpu::X86V2 => CpuLevel::X86V2,
                Cpu::X86V3 => CpuLevel::X86V3,
            };
            progress.say("planning kernels and memory");
            let compiled = compile_module(&loaded.module, CpuTarget::host(level)?, loaded.facts, &config)?;
            progress.say("generating code");
            match args.emit {
                Emit::Kernels => compiled.plan().program.to_string(),
                Emit::Clif => compiled.listing(Listing::Clif),
                Emit::Asm => compiled.listing(Listing::Assembly),
                Emit::Obj => return write(&compiled, ArtifactKind::Object, args),
                Emit::Lib => return write(&compiled, ArtifactKind::StaticLibrary, args),
                Emit::Shared => return write(&compiled, ArtifactKind::SharedLibrary, args),
                Emit::Exe | Emit::Graph => return write(&compiled, ArtifactKind::Executable, args),
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

fn write(compiled: &Compiled, kind: ArtifactKind, args: &CompileArgs) -> Result<(), Failure> {
    if args.output == Path::new("-") {
        return Err(Failure::Usage("an artefact needs a file: -o FILE".to_string()));
    }
    let weights = match args.weights {
        Weights::Embed => WeightsChoice::Embed,
        Weights::External => WeightsChoice::External,
    };
    compiled.write(kind, weights, &args.output, &ThreadPool::new(threads(None)))?;
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
