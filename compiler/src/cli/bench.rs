//! `kiln bench`: how fast a compiled model runs here.

use super::args::{Backend, BenchArgs};
use super::engine::{compile_here, threads};
use super::failure::Failure;
use super::model;
use super::run::input_options;
use kiln::artifact::write::{ArtifactKind, WeightsChoice};
use kiln::backend::cpu::breakdown::{KernelTime, kernel_times, observe};
use kiln::calibration::Calibration;
use kiln::compile::Compiled;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{Extent, Signature};
use kiln_ir::dim::parse_dim;
use kiln_runtime::arrays::Array;
use kiln_runtime::bench::{Limits, Measurement, measure};
use kiln_runtime::files::file_error;
use kiln_runtime::program::inputs;
use kiln_runtime::threads::ThreadPool;
use serde::Serialize;
use std::io::Write;
use std::time::Instant;

/// What is printed with `--json`. Everything is measured, except `gflop`, which is counted.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    measured: Measurement,
    threads: usize,
    /// From the model file to code that runs, in milliseconds.
    compile_ms: f64,
    /// Memory for intermediate values of one run.
    arena_bytes: i64,
    weight_bytes: u64,
    /// Size of the object file and its weights, as `compile --emit obj --weights external` writes them.
    artifact_bytes: u64,
    /// Billions of floating-point operations of one run, when known.
    gflop: Option<f64>,
    gflops: Option<f64>,
    /// Each kernel, in the order they run, with `--breakdown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kernels: Option<Vec<KernelTime>>,
}

/// Runs over which the times of kernels are taken.
const BREAKDOWN_RUNS: u64 = 30;

/// Runs the command.
pub fn bench(args: &BenchArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if args.train_step {
        return super::bench_step::bench_step(args, out);
    }
    if args.backend != Backend::Cpu {
        return super::bench_elsewhere::bench(args, out);
    }
    if args.memory.memory.is_some() {
        return Err(Failure::Usage("--memory is for steps of training: with --train-step".to_string()));
    }
    let options = input_options(&args.inputs);
    let pool = ThreadPool::new(threads(args.threads));
    let begin = Instant::now();
    let loaded = model::read(&args.model)?;
    let compiled = compile_here(&loaded, &args.rewrites.config_on(pool.workers()))?;
    let predictor = compiled.predictor(&pool)?;
    let compile_ms = begin.elapsed().as_secs_f64() * 1e3;

    let model = predictor.model();
    let signature = model.signature();
    let arrays = if inputs::are_given(&options) { inputs::read(&options, signature)? } else { inputs::make_up(&options, signature)? };
    let mut session = model.session(&model.solve_symbols(&arrays)?, &pool)?;
    let measured = measure(Limits { runs: args.runs, seconds: args.seconds }, || session.run(&arrays))?;
    let kernels = match args.breakdown {
        true => Some(breakdown(&compiled, &pool, &arrays, args.runs.min(BREAKDOWN_RUNS))?),
        false => None,
    };
    let gflop = flops(signature, session.dims()).map(|flops| flops as f64 / 1e9);
    let answer = Answer {
        measured,
        threads: pool.workers(),
        compile_ms,
        arena_bytes: session.arena_bytes(),
        weight_bytes: signature.weights.bytes,
        artifact_bytes: artifact_bytes(&compiled, &pool)?,
        gflop,
        gflops: gflop.map(|gflop| gflop / measured.median_us * 1e6),
        kernels,
    };
    if args.json {
        let text = serde_json::to_string(&answer).unwrap_or_else(|error| panic!("bench report: {error}"));
        writeln!(out, "{text}")?;
        return Ok(());
    }
    let Measurement { median_us, min_us, max_us, runs } = measured;
    write!(out, "median {median_us:.1} µs, min {min_us:.1} µs, max {max_us:.1} µs over {runs} runs, {} threads", answer.threads)?;
    if let Some(gflops) = answer.gflops {
        write!(out, ", {gflops:.1} GFLOP/s")?;
    }
    writeln!(out, "\ncompiled in {compile_ms:.0} ms; arena {} bytes, weights {} bytes", answer.arena_bytes, answer.weight_bytes)?;
    if let Some(kernels) = &answer.kernels {
        print_breakdown(kernels, out)?;
    }
    Ok(())
}

/// Times of all kernels, in code of its own: being observed costs some nanoseconds a kernel.
fn breakdown(compiled: &Compiled, pool: &ThreadPool, arrays: &[Array], runs: u64) -> Result<Vec<KernelTime>, Diagnostic> {
    let predictor = compiled.observed_predictor(pool, observe)?;
    let model = predictor.model();
    let dims = model.solve_symbols(arrays)?;
    let mut session = model.session(&dims, pool)?;
    session.run(arrays)?;
    let sizes = compiled.plan().program.symbol_order.iter().cloned().zip(session.dims().iter().copied()).collect();
    kernel_times(compiled.plan(), &sizes, &Calibration::here(pool), runs, || session.run(arrays).map(drop))
}

pub(super) fn print_breakdown(kernels: &[KernelTime], out: &mut dyn Write) -> Result<(), Failure> {
    let total: f64 = kernels.iter().map(|kernel| kernel.time_us).sum();
    let mut order: Vec<&KernelTime> = kernels.iter().collect();
    order.sort_by(|a, b| b.time_us.total_cmp(&a.time_us));
    writeln!(out, "\n{:>10}  {:>5}  {:>8}  {:>7}  {:>8}  kernel", "µs", "%", "GFLOP/s", "GB/s", "roofline")?;
    for kernel in order {
        let share = 100.0 * kernel.time_us / total.max(f64::MIN_POSITIVE);
        let gflops = if kernel.gflop > 0.0 { format!("{:.1}", kernel.gflops) } else { "-".to_string() };
        writeln!(
            out,
            "{:>10.1}  {share:>5.1}  {gflops:>8}  {:>7.1}  {:>7.0}%  {}",
            kernel.time_us,
            kernel.gbytes_per_second,
            100.0 * kernel.roofline,
            kernel.name
        )?;
    }
    Ok(())
}

/// Size of the object and of its weights beside it.
fn artifact_bytes(compiled: &Compiled, pool: &ThreadPool) -> Result<u64, Diagnostic> {
    let failed = |error: std::io::Error| file_error("write to", &std::env::temp_dir(), &error);
    let directory = tempfile::tempdir().map_err(failed)?;
    let written = compiled.write(ArtifactKind::Object, WeightsChoice::External, &directory.path().join("model.o"), pool)?;
    let files = [Some(written.artifact), written.weights];
    let sizes = files.into_iter().flatten().map(|path| std::fs::metadata(path).map(|found| found.len()));
    sizes.sum::<Result<u64, _>>().map_err(failed)
}

/// Floating-point operations of one run at these sizes, if known.
pub fn flops(signature: &Signature, dims: &[i64]) -> Option<i64> {
    match signature.flops.as_ref()? {
        Extent::Fixed(flops) => Some(*flops),
        Extent::Expression(text) => {
            let size = |symbol: &kiln_ir::Symbol| {
                let position = signature.symbols.iter().position(|declared| declared.name == symbol.name())?;
                dims.get(position).copied()
            };
            parse_dim(text).ok()?.evaluate(&size)
        }
    }
}
