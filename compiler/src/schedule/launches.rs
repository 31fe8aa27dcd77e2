//! What a function of a program runs, and where everything lies, before code is emitted: every backend reads it.

use crate::kernel::{BufferId, Kernel, Step};
use crate::lower::Arg;
use crate::tuning::Decision;
use kiln_ir::{Dim, Symbol};
use std::collections::BTreeMap;

/// Bytes at the start of the arena for the cell that failed index checks write to.
pub const ERROR_CELL_BYTES: i64 = 64;

/// A function of a program, ready to be emitted: kernels are chosen, memory is planned.
#[derive(Clone, PartialEq, Debug)]
pub struct EntryPlan {
    /// `predict` or `prepare`.
    pub name: String,
    /// Where each buffer lies.
    pub places: BTreeMap<BufferId, Place>,
    /// What runs, in order.
    pub steps: Vec<LaunchStep>,
    /// Bytes of the arena for kernel arguments.
    pub argument_bytes: i64,
    /// Bytes of the arena for temporaries: a multiple of 64 for all sizes.
    pub temporary_bytes: Dim,
    /// Bytes of memory per worker, for scratch and for what its turns of loops need: a multiple of 64 for all sizes.
    pub worker_bytes: Dim,
    /// Whether any buffer lies in the weights.
    pub needs_weights: bool,
}

/// Where a buffer lies.
#[derive(Clone, PartialEq, Debug)]
pub enum Place {
    /// The n-th pointer of `Call::inputs`.
    Input(usize),
    /// The n-th pointer of `Call::outputs`.
    Output(usize),
    /// At this byte of the weights.
    Weights(u64),
    /// At this byte of the temporaries.
    Temporary(Dim),
    /// At this byte of the memory of the worker that takes a turn.
    Worker(Dim),
}

/// One step of an [`EntryPlan`].
#[derive(Clone, PartialEq, Debug)]
pub enum LaunchStep {
    /// Run a kernel.
    Run(Launch),
    /// Repeat.
    Loop {
        /// The loop index.
        index: Symbol,
        /// How often.
        extent: Dim,
        /// Whether threads may take whole turns.
        by_turns: bool,
        /// What is repeated.
        body: Vec<LaunchStep>,
    },
}

/// One kernel run.
#[derive(Clone, PartialEq, Debug)]
pub struct Launch {
    /// Which of the unit's kernel functions.
    pub function: usize,
    /// What it is passed.
    pub args: Vec<Arg>,
    /// Where its arguments lie in the arena's argument area.
    pub args_offset: i64,
    /// How many tasks.
    pub tasks: Dim,
    /// Rough scalar operations of one task.
    pub work_per_task: Dim,
    /// Threads of the block that computes a task together; none where one thread does.
    pub block_threads: Option<u32>,
    /// What was asked while its function was made.
    pub decisions: Vec<Decision>,
}

impl EntryPlan {
    /// Byte of the arena where temporaries start.
    pub fn temporaries_at(&self) -> i64 {
        ERROR_CELL_BYTES + (self.argument_bytes + 63) / 64 * 64
    }

    /// [`Launch::args_offset`] of every launch, in order, those inside loops included.
    pub fn launch_places(&self) -> Vec<i64> {
        launches(&self.steps).into_iter().map(|launch| launch.args_offset).collect()
    }

    /// Byte of the arena where the workers' scratch starts.
    pub fn scratch_at(&self) -> Dim {
        &self.temporary_bytes + Dim::from(self.temporaries_at())
    }

    /// Size of the arena for that many workers.
    pub fn arena_bytes(&self, workers: i64) -> Dim {
        self.scratch_at() + &self.worker_bytes * Dim::from(workers)
    }

    /// Size of the arena for that many workers, when it depends on no symbol.
    pub fn fixed_arena_bytes(&self, workers: i64) -> Option<i64> {
        self.arena_bytes(workers).as_const()
    }
}

/// All launches of these steps, those inside loops included, with the kernels that each computes: several where it takes a whole loop.
pub fn launched_kernels<'a>(steps: &'a [Step], launches: &'a [LaunchStep]) -> Vec<(&'a Launch, Vec<&'a Kernel>)> {
    let mut found = Vec::new();
    for (step, launched) in steps.iter().zip(launches) {
        match (step, launched) {
            (_, LaunchStep::Run(launch)) => {
                let mut kernels = Vec::new();
                step.visit_kernels(&mut |kernel| kernels.push(kernel));
                found.push((launch, kernels));
            }
            (Step::Loop { body, .. }, LaunchStep::Loop { body: launches, .. }) => found.extend(launched_kernels(body, launches)),
            (Step::Run(_), LaunchStep::Loop { .. }) => panic!("plan: launches are not those of the program"),
        }
    }
    found
}

/// All kernel runs, those inside loops included.
pub fn launches(steps: &[LaunchStep]) -> Vec<&Launch> {
    let mut found = Vec::new();
    for step in steps {
        match step {
            LaunchStep::Run(launch) => found.push(launch),
            LaunchStep::Loop { body, .. } => found.extend(launches(body)),
        }
    }
    found
}
