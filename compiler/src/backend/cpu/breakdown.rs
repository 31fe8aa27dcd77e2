//! Where the time of a run goes: each kernel's time, work and traffic.

use crate::artifact::describe::flops;
use crate::calibration::Calibration;
use crate::kernel::{BufferId, Kernel, Step};
use crate::samples::median;
use crate::schedule::memory::buffer_bytes;
use crate::schedule::plan::ProgramPlan;
use kiln_ir::Symbol;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

thread_local! {
    /// What the observer was told on this thread, and when.
    static EVENTS: RefCell<Vec<(i64, Instant)>> = const { RefCell::new(Vec::new()) };
}

/// Notes that a kernel ran. Runs and their observers are on the caller's thread.
pub extern "C" fn observe(place: i64) {
    EVENTS.with_borrow_mut(|events| events.push((place, Instant::now())));
}

/// One kernel of a run. Times are medians over the runs; a kernel inside a loop counts all its turns.
#[derive(Clone, Debug, Serialize)]
pub struct KernelTime {
    /// The layer it is named after.
    pub name: String,
    /// Microseconds of one run.
    pub time_us: f64,
    /// Floating-point operations of contractions, in billions.
    pub gflop: f64,
    /// Billions of them a second.
    pub gflops: f64,
    /// Bytes of all buffers that it reads or writes, each once, per turn and second, in billions.
    pub gbytes_per_second: f64,
    /// Part of its time that the work of contractions, or moving its buffers once, takes at least on this machine.
    pub roofline: f64,
}

/// Whether a buffer comes from memory in every run: a weight, if all of them do not fit the last-level cache, or what does not by itself.
fn is_far(plan: &ProgramPlan, id: BufferId, bytes: f64, machine: &Calibration) -> bool {
    let together = if plan.weights.offsets.contains_key(&id) { plan.weights.bytes as f64 } else { bytes };
    together > machine.cache_bytes as f64
}

/// Times of all kernels over `runs` calls of `run`, in the order they run. `sizes` are the values of the program's symbols.
pub fn kernel_times<E>(
    plan: &ProgramPlan,
    sizes: &BTreeMap<Symbol, i64>,
    machine: &Calibration,
    runs: u64,
    run: impl FnMut() -> Result<(), E>,
) -> Result<Vec<KernelTime>, E> {
    let mut kernels: Vec<&Kernel> = vec![];
    for step in &plan.program.steps {
        step.visit_kernels(&mut |kernel| kernels.push(kernel));
    }
    let (seconds, turns) = observed(plan, runs, run)?;
    let value = |dim: &kiln_ir::Dim| dim.evaluate(&|s| sizes.get(s).copied()).unwrap_or(0) as f64;
    Ok(kernels
        .iter()
        .zip(seconds)
        .zip(turns)
        .map(|((kernel, seconds), turns)| {
            let time_us = seconds * 1e6;
            let gflop = value(&flops(&[Step::Run((*kernel).clone())])) * turns as f64 / 1e9;
            let touched = crate::kernel::buffers_touched(&[Step::Run((*kernel).clone())]);
            let sized = touched.iter().filter_map(|id| Some((*id, value(&buffer_bytes(&plan.program, *id).ok()?))));
            let (far, close): (Vec<_>, Vec<_>) = sized.partition(|(id, bytes)| is_far(plan, *id, *bytes, machine));
            let [far, close] = [far, close].map(|list| list.iter().map(|(_, bytes)| bytes).sum::<f64>() * turns as f64);
            let per_second = |amount: f64| if time_us > 0.0 { amount / time_us * 1e6 } else { 0.0 };
            KernelTime {
                name: kernel.name.clone(),
                time_us,
                gflop,
                gflops: per_second(gflop),
                gbytes_per_second: per_second((far + close) / 1e9),
                roofline: per_second(machine.least_seconds(gflop * 1e9, close, far)),
            }
        })
        .collect())
}

/// Seconds of each kernel, in the order they run, over `runs` calls of `run`: medians; a kernel inside a loop counts all its turns.
pub fn kernel_seconds<E>(plan: &ProgramPlan, runs: u64, run: impl FnMut() -> Result<(), E>) -> Result<Vec<f64>, E> {
    Ok(observed(plan, runs, run)?.0)
}

/// The same, and how often each ran in the last call.
fn observed<E>(plan: &ProgramPlan, runs: u64, mut run: impl FnMut() -> Result<(), E>) -> Result<(Vec<f64>, Vec<usize>), E> {
    let places = plan.main.launch_places();
    let position: BTreeMap<i64, usize> = places.iter().enumerate().map(|(at, place)| (*place, at)).collect();
    let mut samples: Vec<Vec<f64>> = vec![vec![]; places.len()];
    let mut turns = vec![0usize; places.len()];
    for _ in 0..runs {
        EVENTS.with_borrow_mut(Vec::clear);
        run()?;
        let mut sums = vec![0f64; places.len()];
        turns.fill(0);
        EVENTS.with_borrow(|events| {
            for pair in events.windows(2) {
                if let Some(at) = position.get(&pair[1].0) {
                    sums[*at] += (pair[1].1 - pair[0].1).as_secs_f64();
                    turns[*at] += 1;
                }
            }
        });
        samples.iter_mut().zip(sums).for_each(|(list, sum)| list.push(sum));
    }
    Ok((samples.into_iter().map(median).collect(), turns))
}
