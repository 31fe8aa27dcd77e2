//! From a program to everything that is emitted of it: kernels lowered and shared, memory planned, launches in order.

use super::launches::{EntryPlan, Launch, LaunchStep, Place};
use super::memory::plan_arena;
use super::turns;
use super::weights::{WeightsPlan, plan_weights, scratch_of, sources_of};
use crate::kernel::{BufferId, BufferKind, Kernel, LoopKind, Program, Step};
use crate::lower::{LoweredKernel, PersistentLoop, VectorIsa, lower};
use crate::parallel::map_in_parallel;
use crate::tile::TileProgram;
use kiln_ir::{Diagnostic, Dim, Ranges};
use std::collections::BTreeMap;

/// A program ready to be emitted.
pub struct ProgramPlan {
    /// The program.
    pub program: Program,
    /// Kernel functions, each once.
    pub functions: Vec<KernelFunction>,
    /// The main steps.
    pub main: EntryPlan,
    /// What computes prepared weights from parameters and constants, if anything does.
    pub prepare: Option<PreparePlan>,
    /// The weights image.
    pub weights: WeightsPlan,
}

/// The steps that run once, when parameters are known.
pub struct PreparePlan {
    /// Parameters and constants: `Call::inputs`, in this order.
    pub sources: Vec<BufferId>,
    /// Buffers of the weights image: `Call::outputs`, in this order.
    pub results: Vec<BufferId>,
    /// What runs.
    pub entry: EntryPlan,
}

/// A function that computes kernels.
pub struct KernelFunction {
    /// Its code.
    pub program: TileProgram,
    /// Whether Cranelift's mid-end pays.
    pub optimise: bool,
    /// Threads of the block that computes a task together; none where one thread does.
    pub block_threads: Option<u32>,
    /// The layer it is named after: the first that uses it.
    pub name: String,
}

/// Functions lowered before equal ones are found, so that a long chain of layers is not held as that many functions.
const LOWERED_AT_ONCE: usize = 64;

/// Lowers all kernels of a program and plans its memory.
///
/// Errors: `arena_too_large`.
pub fn plan_program(owned: Program, isa: &VectorIsa) -> Result<ProgramPlan, Diagnostic> {
    let program = &owned;
    let weights = plan_weights(program)?;
    let mut functions = Functions::default();
    let mut launches = Vec::new();
    for launched in launched_of(program).chunks(LOWERED_AT_ONCE) {
        let lowered = map_in_parallel(launched, |step| step.lower(program, isa));
        launches.extend(launched.iter().zip(lowered).map(|(step, lowered)| functions.launch(step.name(), lowered)));
    }
    let mut launches = launches.into_iter();

    let prepare = match program.prepare.is_empty() {
        true => None,
        false => {
            let steps = launch_steps(&program.prepare, isa, &mut launches);
            let sources = sources_of(program, &program.prepare);
            let results: Vec<BufferId> = (crate::kernel::buffers_touched(&program.prepare).into_iter())
                .filter(|id| program.buffer(*id).kind == BufferKind::Prepared && weights.offsets.contains_key(id))
                .collect();
            let mut places: BTreeMap<BufferId, Place> =
                sources.iter().enumerate().map(|(position, id)| (*id, Place::Input(position))).collect();
            places.extend(results.iter().enumerate().map(|(position, id)| (*id, Place::Output(position))));
            let entry = entry_plan(program, "prepare", &program.prepare, steps, places, &weights)?;
            Some(PreparePlan { sources, results, entry })
        }
    };
    let steps = launch_steps(&program.steps, isa, &mut launches);
    let mut places: BTreeMap<BufferId, Place> = weights.offsets.iter().map(|(id, offset)| (*id, Place::Weights(*offset))).collect();
    for (position, buffer) in program.buffers.iter().enumerate() {
        let place = match buffer.kind {
            BufferKind::Input(at) => Place::Input(at),
            BufferKind::Output(at) => Place::Output(at),
            BufferKind::Constant(_) | BufferKind::Parameter(_) | BufferKind::Prepared | BufferKind::Temporary => continue,
        };
        places.insert(BufferId(position as u32), place);
    }
    let main = entry_plan(program, &program.name, &program.steps, steps, places, &weights)?;
    Ok(ProgramPlan { program: owned, functions: functions.list, main, prepare, weights })
}

/// What becomes a function.
enum Launched<'a> {
    Kernel(&'a Kernel),
    /// A loop that one kernel takes.
    Loop(PersistentLoop),
}

impl Launched<'_> {
    fn lower(&self, program: &Program, isa: &VectorIsa) -> LoweredKernel {
        match self {
            Launched::Kernel(kernel) => lower(kernel, program, isa),
            Launched::Loop(persistent) => persistent.lower(program, isa),
        }
    }

    /// The layer that it is named after.
    fn name(&self) -> &str {
        match self {
            Launched::Kernel(kernel) => &kernel.name,
            Launched::Loop(persistent) => persistent.name(),
        }
    }
}

/// What is launched of a program, in order.
fn launched_of(program: &Program) -> Vec<Launched<'_>> {
    fn visit<'a>(steps: &'a [Step], program: &Program, found: &mut Vec<Launched<'a>>) {
        for step in steps {
            match step {
                Step::Run(kernel) => found.push(Launched::Kernel(kernel)),
                Step::Loop { kind: LoopKind::Persistent { blocks }, .. } => {
                    let persistent = PersistentLoop::of(step, program).and_then(|persistent| persistent.by_clusters(*blocks));
                    found.push(Launched::Loop(persistent.unwrap_or_else(|| panic!("plan: no kernel takes this loop"))));
                }
                Step::Loop { body, .. } => visit(body, program, found),
            }
        }
    }
    let mut found = Vec::new();
    visit(&program.prepare, program, &mut found);
    visit(&program.steps, program, &mut found);
    found
}

/// A launch with what it needs of its workers.
struct LoweredLaunch {
    launch: Launch,
    worker_bytes: Dim,
}

/// Kernel functions found so far.
#[derive(Default)]
struct Functions {
    list: Vec<KernelFunction>,
    /// Those with as many registers and statements: candidates for equality.
    by_size: BTreeMap<(u32, usize, usize), Vec<usize>>,
}

impl Functions {
    fn launch(&mut self, name: &str, lowered: LoweredKernel) -> LoweredLaunch {
        let LoweredKernel { program, args, tasks, work_per_task, worker_scratch_bytes, optimise, block_threads, decisions } = lowered;
        let function = self.find_or_add(KernelFunction { program, optimise, block_threads, name: name.to_string() });
        LoweredLaunch {
            launch: Launch { function, args, args_offset: 0, tasks, work_per_task, block_threads, decisions },
            worker_bytes: (worker_scratch_bytes + Dim::from(63)).floor_div(&Dim::from(64)) * Dim::from(64),
        }
    }

    fn find_or_add(&mut self, function: KernelFunction) -> usize {
        let key = (function.program.registers, function.program.body.len(), function.program.scratch.len());
        let candidates = self.by_size.entry(key).or_default();
        let what = |f: &KernelFunction| (f.optimise, f.block_threads);
        let same = |at: &&usize| what(&self.list[**at]) == what(&function) && self.list[**at].program == function.program;
        if let Some(known) = candidates.iter().find(same) {
            return *known;
        }
        candidates.push(self.list.len());
        self.list.push(function);
        self.list.len() - 1
    }
}

/// Steps like the program's, with the next launches in place of kernels.
fn launch_steps(steps: &[Step], isa: &VectorIsa, launches: &mut dyn Iterator<Item = LoweredLaunch>) -> Vec<(LaunchStep, Dim)> {
    steps
        .iter()
        .map(|step| match step {
            Step::Run(_) | Step::Loop { kind: LoopKind::Persistent { .. }, .. } => {
                let LoweredLaunch { launch, worker_bytes } = launches.next().expect("one launch for each of them");
                (LaunchStep::Run(launch), worker_bytes)
            }
            Step::Loop { index, extent, kind, body } => {
                let (body, bytes): (Vec<_>, Vec<_>) = launch_steps(body, isa, launches).into_iter().unzip();
                let by_turns = *kind == LoopKind::Independent && !isa.is_thread() && turns::may_be_taken(index, &body);
                let step = LaunchStep::Loop { index: index.clone(), extent: extent.clone(), by_turns, body };
                (step, bytes.into_iter().fold(Dim::ZERO, |a, b| a.maximum(&b)))
            }
        })
        .collect()
}

fn entry_plan(
    program: &Program,
    name: &str,
    steps: &[Step],
    launches: Vec<(LaunchStep, Dim)>,
    mut places: BTreeMap<BufferId, Place>,
    weights: &WeightsPlan,
) -> Result<EntryPlan, Diagnostic> {
    let (mut launches, worker_bytes): (Vec<LaunchStep>, Vec<Dim>) = launches.into_iter().unzip();
    let temporaries = scratch_of(program, steps, weights);
    let own = turns::own_buffers(steps, &launches, &temporaries);
    let arena = plan_arena(program, steps, &temporaries.difference(&own).copied().collect())?;
    places.extend(arena.offsets.into_iter().map(|(id, offset)| (id, Place::Temporary(offset))));
    // A worker's memory begins with the arguments of its kernels.
    let (own, begin) = (plan_arena(program, steps, &own)?, Dim::from(turns::argument_bytes(&launches)));
    places.extend(own.offsets.into_iter().map(|(id, offset)| (id, Place::Worker(&begin + offset))));
    let worker_bytes = worker_bytes.into_iter().chain([begin + own.bytes]);
    let mut argument_bytes = 0;
    place_arguments(&mut launches, &mut argument_bytes);
    Ok(EntryPlan {
        name: name.to_string(),
        needs_weights: places.values().any(|place| matches!(place, Place::Weights(_))),
        places,
        steps: launches,
        argument_bytes,
        temporary_bytes: arena.bytes,
        worker_bytes: worker_bytes.fold(Dim::ZERO, |a, b| largest(&a, &b, &program.symbols)),
    })
}

fn largest(a: &Dim, b: &Dim, ranges: &Ranges) -> Dim {
    a.maximum(b).simplify(ranges)
}

/// Gives each launch its own arguments, 16 bytes aligned.
fn place_arguments(steps: &mut [LaunchStep], bytes: &mut i64) {
    for step in steps {
        match step {
            LaunchStep::Run(launch) => {
                launch.args_offset = *bytes;
                *bytes += (8 * launch.args.len() as i64 + 15) / 16 * 16;
            }
            LaunchStep::Loop { body, .. } => place_arguments(body, bytes),
        }
    }
}
