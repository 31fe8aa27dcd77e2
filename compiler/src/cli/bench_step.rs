//! `kiln bench --train-step`: how fast whole steps of training are here.

use super::args::{Backend, BenchArgs};
use super::bench::print_breakdown;
use super::engine::{describe, threads};
use super::failure::Failure;
use super::model::{predict, read_trainable};
use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::breakdown::{KernelTime, kernel_times, observe};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::calibration::Calibration;
use kiln::schedule::launches::Place;
use kiln::schedule::memory::live_bytes;
use kiln::schedule::rematerialise::Recomputed;
use kiln_ir::{Diagnostic, Graph, Symbol};
use kiln_runtime::arrays::Array;
use kiln_runtime::bench::{Limits, Measurement, measure};
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::data::{DataOptions, Wanted, open};
use kiln_runtime::training::stepper::{Functions, Stepper};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

/// Steps whose losses are told; they warm up, too.
const TOLD: usize = 10;

/// Steps over which the times of kernels are taken.
const BREAKDOWN_STEPS: u64 = 20;

/// What is printed with `--json`. Everything is measured.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    measured: Measurement,
    threads: usize,
    /// From the model file to code that runs, in milliseconds.
    compile_ms: f64,
    /// Memory for intermediate values of one step.
    arena_bytes: i64,
    /// The least that any arrangement of the intermediate values takes.
    live_bytes: Option<i64>,
    /// What is computed again to stay within --memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    recomputed: Option<Recomputed>,
    /// Memory of parameters and of what the optimiser remembers.
    state_bytes: usize,
    /// The loss of the first steps.
    losses: Vec<f64>,
    /// Each kernel, in the order they run, with `--breakdown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kernels: Option<Vec<KernelTime>>,
}

/// The sizes that symbols have in these arrays, the first inputs of the graph.
fn sizes_of(graph: &Graph, batch: &[Array]) -> BTreeMap<Symbol, i64> {
    let dims = graph.inputs().iter().zip(batch).flat_map(|((_, input), array)| graph.ty(*input).shape.iter().zip(array.shape()));
    dims.filter_map(|(dim, size)| Some((dim.as_symbol()?.clone(), *size as i64))).collect()
}

/// Runs the command.
pub fn bench_step(args: &BenchArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let pool = ThreadPool::new(threads(args.threads));
    let begin = Instant::now();
    let trainable = read_trainable(&args.model)?;
    let plan = trainable.plan()?;
    let imported = begin.elapsed();
    let [path] = &args.inputs.inputs[..] else { return Err(Failure::Usage("--train-step takes one --inputs FILE.npz: a batch".into())) };
    let graph = predict(&plan.step)?;
    let data = DataOptions { place: path.clone(), ..DataOptions::default() };
    let batch = open(&Wanted::new(&plan.recipe.data, &describe(graph, &trainable.facts), &data))?.train;
    let batch = batch.batch(&(0..batch.len()).collect::<Vec<_>>(), vec![], None)?;
    if args.backend != Backend::Cpu {
        return super::bench_elsewhere::bench_step(args, &plan, &trainable, &batch, begin, out);
    }
    let target = CpuTarget::host(CpuLevel::Native)?;
    let facts = ModelFacts { usual_sizes: sizes_of(graph, &batch), ..trainable.facts.clone() };
    let compiling = Instant::now();
    let config = args.memory.within(args.rewrites.config_on(pool.workers()), pool.workers());
    let compiled = plan.compile(&target, &facts, &config)?;
    let [step, evaluation, trace] = compiled.load(&pool)?;
    let compile_ms = (imported + compiling.elapsed()).as_secs_f64() * 1e3;

    let rate = plan.recipe.schedule.learning_rate;
    let functions = Functions::compiled([step.model(), evaluation.model(), trace.model()], &pool);
    let mut timed = Stepper::new(&plan.recipe, functions, plan.recipe.seed)?;
    let losses = (0..TOLD).map(|_| timed.step(&batch, rate)).collect::<Result<Vec<f64>, Diagnostic>>()?;
    let measured = measure(Limits { runs: args.runs, seconds: args.seconds }, || timed.step(&batch, rate).map(drop))?;
    let lowered = compiled.step.plan();
    let dims = step.model().solve_symbols(timed.step_inputs(&batch))?;
    let sizes: BTreeMap<Symbol, i64> = lowered.program.symbol_order.iter().cloned().zip(dims).collect();
    let temporaries = lowered.main.places.iter().filter(|(_, place)| matches!(place, Place::Temporary(_))).map(|(id, _)| *id).collect();
    let live_bytes = live_bytes(&lowered.program, &lowered.program.steps, &temporaries, &|symbol| sizes.get(symbol).copied());
    let kernels = if args.breakdown {
        let observed = compiled.step.observed_predictor(&pool, observe)?;
        let functions = Functions::compiled([observed.model(), evaluation.model(), trace.model()], &pool);
        let mut watched = Stepper::new(&plan.recipe, functions, plan.recipe.seed)?;
        watched.step(&batch, rate)?;
        Some(kernel_times(lowered, &sizes, &Calibration::here(&pool), args.runs.min(BREAKDOWN_STEPS), || {
            watched.step(&batch, rate).map(drop)
        })?)
    } else {
        None
    };
    let answer = Answer {
        measured,
        threads: pool.workers(),
        compile_ms,
        arena_bytes: timed.arena_bytes(),
        live_bytes,
        recomputed: compiled.step.recomputed(),
        state_bytes: timed.fixed().iter().chain(timed.states()).map(|array: &Array| array.bytes().len()).sum(),
        losses,
        kernels,
    };
    if args.json {
        let text = serde_json::to_string(&answer).unwrap_or_else(|error| panic!("bench report: {error}"));
        writeln!(out, "{text}")?;
        return Ok(());
    }
    let Measurement { median_us, min_us, max_us, runs } = measured;
    let threads = answer.threads;
    writeln!(out, "median {median_us:.1} µs, min {min_us:.1} µs, max {max_us:.1} µs over {runs} steps, {threads} threads")?;
    writeln!(out, "compiled in {compile_ms:.0} ms; arena {} bytes, states {} bytes", answer.arena_bytes, answer.state_bytes)?;
    if let Some(least) = answer.live_bytes {
        writeln!(out, "no arrangement of the intermediate values takes less than {least} bytes")?;
    }
    if let Some(recomputed) = answer.recomputed {
        writeln!(out, "{recomputed}")?;
    }
    let (first, last) = (answer.losses[0], answer.losses[TOLD - 1]);
    writeln!(out, "loss {first:.4} at first, {last:.4} at step {TOLD}")?;
    if let Some(kernels) = &answer.kernels {
        print_breakdown(kernels, out)?;
    }
    Ok(())
}
