//! `kiln bench` on what is not this CPU's compiled code: an NVIDIA GPU, or the reference interpreter.

use super::args::{Backend, BenchArgs};
use super::elsewhere::functions;
use super::engine::{Engine, describe, on_gpu, threads};
use super::failure::Failure;
use super::model::{self, Trainable, predict};
use super::run::input_options;
use kiln::arrays::to_tensor;
use kiln::backend::ptx::image::Kind;
use kiln::backend::ptx::run::KernelTime;
use kiln::samples::median;
use kiln::training::TrainingPlan;
use kiln_ir::Tensor;
use kiln_runtime::arrays::Array;
use kiln_runtime::bench::{Limits, Measurement, measure};
use kiln_runtime::program::inputs;
use kiln_runtime::training::stepper::Stepper;
use serde::Serialize;
use std::io::Write;
use std::time::Instant;

/// Runs over which the times of kernels are taken, and those of runs by the device's clock: the median of each counts.
const DEVICE_RUNS: u64 = 30;

/// What is printed with `--json`. Everything is measured, copies to the device and back included, except operations and bytes.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    measured: Measurement,
    backend: &'static str,
    /// What the GPU's driver was given: machine code, or text that it assembled.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Kind>,
    /// The median time from the first kernel of a run to the end of the last one, by the device's clock, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_us: Option<f64>,
    /// From the model file to kernels that run, in milliseconds.
    compile_ms: f64,
    /// Memory for intermediate values, where it is known.
    arena_bytes: Option<i64>,
    /// The loss of the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernels: Option<Vec<KernelTime>>,
}

/// Times runs of a model.
pub fn bench(args: &BenchArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if args.breakdown && args.backend != Backend::Ptx {
        return Err(Failure::Usage("--breakdown times kernels, which the reference interpreter has none of".to_string()));
    }
    let options = input_options(&args.inputs);
    let begin = Instant::now();
    let loaded = model::read(&args.model)?;
    let signature = describe(predict(&loaded.module)?, &loaded.facts);
    let arrays = if inputs::are_given(&options) { inputs::read(&options, &signature)? } else { inputs::make_up(&options, &signature)? };
    let given: Vec<Tensor> = arrays.iter().map(to_tensor).collect();
    let limits = Limits { runs: args.runs, seconds: args.seconds };
    let config = args.rewrites.config();
    let answer = if args.backend == Backend::Ptx {
        let mut session = on_gpu(&loaded.module, &loaded.facts, &config)?;
        let compile_ms = begin.elapsed().as_secs_f64() * 1e3;
        let measured = measure(limits, || session.run(&given).map(drop))?;
        let device_us = Some(1e6 * median(session.device_seconds(&given, args.runs.clamp(1, DEVICE_RUNS) as usize)?));
        let kernels = if args.breakdown { Some(breakdown(args.runs, || session.profile(&given))?) } else { None };
        let arena_bytes = Some(session.arena_bytes() as i64);
        let image = Some(session.device().report().kind);
        Answer { measured, backend: "ptx", image, device_us, compile_ms, arena_bytes, loss: None, kernels }
    } else {
        let engine = Engine::new(&loaded, args.backend, &config, threads(args.threads))?;
        let compile_ms = begin.elapsed().as_secs_f64() * 1e3;
        let measured = measure(limits, || engine.run(&given).map(drop))?;
        let backend = args.backend.name();
        Answer { measured, backend, image: None, device_us: None, compile_ms, arena_bytes: None, loss: None, kernels: None }
    };
    answer.print(args.json, "runs", out)
}

/// Times steps of training on a batch. States stay on the device, as in training.
pub fn bench_step(
    args: &BenchArgs,
    plan: &TrainingPlan,
    trainable: &Trainable,
    batch: &[Array],
    begin: Instant,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if args.breakdown {
        return Err(Failure::Usage("--breakdown of steps is for the CPU; kernels of a step: kiln compile --emit ptx-costs".to_string()));
    }
    let config = args.memory.within(args.rewrites.config(), threads(args.threads));
    let (functions, image) = functions(plan, trainable, args.backend, &config)?;
    let compile_ms = begin.elapsed().as_secs_f64() * 1e3;
    let mut stepper = Stepper::new(&plan.recipe, functions, plan.recipe.seed)?;
    let rate = plan.recipe.schedule.learning_rate;
    let mut loss = f64::NAN;
    let measured = measure(Limits { runs: args.runs, seconds: args.seconds }, || {
        loss = stepper.step(batch, rate)?;
        Ok::<(), kiln_ir::Diagnostic>(())
    })?;
    let arena_bytes = Some(stepper.arena_bytes()).filter(|bytes| *bytes > 0);
    let backend = args.backend.name();
    Answer { measured, backend, image, device_us: None, compile_ms, arena_bytes, loss: Some(loss), kernels: None }
        .print(args.json, "steps", out)
}

/// The median time of each kernel over several runs.
fn breakdown<E>(runs: u64, mut profile: impl FnMut() -> Result<Vec<KernelTime>, E>) -> Result<Vec<KernelTime>, E> {
    let mut kernels = profile()?;
    let mut samples: Vec<Vec<f64>> = kernels.iter().map(|kernel| vec![kernel.seconds]).collect();
    for _ in 1..runs.min(DEVICE_RUNS) {
        samples.iter_mut().zip(profile()?).for_each(|(list, kernel)| list.push(kernel.seconds));
    }
    kernels.iter_mut().zip(samples).for_each(|(kernel, list)| kernel.seconds = median(list));
    Ok(kernels)
}

impl Answer {
    fn print(&self, json: bool, what: &str, out: &mut dyn Write) -> Result<(), Failure> {
        if json {
            let text = serde_json::to_string(self).unwrap_or_else(|error| panic!("bench report: {error}"));
            return Ok(writeln!(out, "{text}")?);
        }
        let Measurement { median_us, min_us, max_us, runs } = self.measured;
        writeln!(out, "median {median_us:.1} µs, min {min_us:.1} µs, max {max_us:.1} µs over {runs} {what}, backend {}", self.backend)?;
        if let Some(device_us) = self.device_us {
            writeln!(out, "on the device: median {device_us:.1} µs without copies to it and back")?;
        }
        let arena = self.arena_bytes.map_or(String::new(), |bytes| format!("; arena {bytes} bytes"));
        writeln!(out, "compiled in {:.0} ms{arena}", self.compile_ms)?;
        if let Some(loss) = self.loss {
            writeln!(out, "loss {loss:.4} at the last step")?;
        }
        let Some(kernels) = &self.kernels else { return Ok(()) };
        let total: f64 = kernels.iter().map(|kernel| kernel.seconds).sum();
        let mut order: Vec<&KernelTime> = kernels.iter().collect();
        order.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        writeln!(out, "\n{:>10}  {:>5}  {:>8}  {:>8}  {:>8}  kernel", "µs", "%", "launches", "GFLOP/s", "GB/s")?;
        for kernel in order {
            let share = 100.0 * kernel.seconds / total.max(f64::MIN_POSITIVE);
            let rate = |count: i64| count as f64 / kernel.seconds.max(f64::MIN_POSITIVE) / 1e9;
            let KernelTime { entry, launches, seconds, operations, bytes } = kernel;
            let (gflops, gbytes) = (rate(*operations), rate(*bytes));
            writeln!(out, "{:>10.1}  {share:>5.1}  {launches:>8}  {gflops:>8.1}  {gbytes:>8.1}  {entry}", seconds * 1e6)?;
        }
        Ok(())
    }
}
