//! Structured kernels to tile programs.
//!
//! [`lower`] writes one function per kernel. What it computes is fixed by the kernel; how, by memory access: the vectorised index,
//! tiles and panels are chosen here and never change a bit of the results.
//!
//! Read in this order: [`context`] (scopes and hoisting), [`offsets`] (index arithmetic), [`expr`] and [`access`] (values and
//! memory), [`nest`] with [`plan`], [`stage`], [`reduce`], [`fold`], [`columns`], [`shared_loads`], [`transposed`] (nests), [`contract`] with [`operands`] and [`tile`] (contractions), [`attention`], [`blocks`] (threads of a GPU that work together).

mod access;
mod ahead;
mod attention;
mod blocks;
mod columns;
mod context;
mod contract;
mod dot;
mod expr;
mod fold;
mod isa;
mod nest;
mod offsets;
mod operands;
mod ops;
mod parts;
mod plan;
mod reduce;
mod remainder;
mod rewrite;
mod shared_loads;
mod stage;
mod tasks;
mod tensor_map;
#[cfg(test)]
mod tests;
mod tile;
mod transposed;

pub(crate) use access::along;
pub(crate) use blocks::{PersistentLoop, in_one_piece, usual};
pub use contract::{PACKED_ROW_BLOCK, is_stream};
pub use isa::VectorIsa;
pub use operands::LEAST_ROWS;
pub use tensor_map::TensorMap;

use crate::kernel::{Body, BufferId, Kernel, Program, Stage, Step};
use crate::tile::{Builder, TileProgram};
use crate::tuning::{Asking, Decision, Tuning};
use attention::panels::QueryPanels;
use context::Context;
use kiln_ir::{Dim, Ranges, Symbol};
use kiln_runtime::weights::hexadecimal;
use nest::Work;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// A kernel as a function `fn(args: *const i64, worker, begin, end)` that computes tasks `begin..end`.
///
/// `args[i]` is the value of `self.args[i]`. How the tasks are split among calls does not change results. Equal programs with
/// different `args` are one function: names of indices, buffers and kernels are not part of the program.
#[derive(Clone, PartialEq, Debug)]
pub struct LoweredKernel {
    /// The function, named `kernel`.
    pub program: TileProgram,
    /// What the function is passed, in order.
    pub args: Vec<Arg>,
    /// How many tasks there are.
    pub tasks: Dim,
    /// Rough scalar operations of one task: how many tasks are worth a thread's while.
    pub work_per_task: Dim,
    /// Scratch of each worker, in bytes; 0 when the function takes no [`Arg::WorkerScratch`].
    pub worker_scratch_bytes: Dim,
    /// Whether Cranelift's mid-end pays: not for unrolled tiles, which it spreads over too many registers.
    pub optimise: bool,
    /// Threads of the block that computes a task together; none where one thread does.
    pub block_threads: Option<u32>,
    /// What was asked on the way.
    pub decisions: Vec<Decision>,
}

/// One argument of a kernel's function, as an i64 or as the address of what is said.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Arg {
    /// Address of a buffer's first element.
    Buffer(BufferId),
    /// Value of a size symbol or of the index of an enclosing [`Step::Loop`].
    Symbol(Symbol),
    /// Address of the i64 that a failed [`CheckedIndex`](crate::kernel::ExprKind::CheckedIndex) sets to its node + 1.
    ErrorCell,
    /// A tensor whose boxes the tensor copy engine of a GPU brings.
    TensorMap(TensorMap),
    /// Address of all workers' scratch, 64-byte aligned; each worker's part is `worker_scratch_bytes` rounded up to 64.
    WorkerScratch,
}

/// Lowers one kernel of `program`, whose tuning answers what is asked. Kernels whose code is the same by the model are one question.
pub fn lower(kernel: &Kernel, program: &Program, isa: &VectorIsa) -> LoweredKernel {
    let usual = lower_as_usual(kernel, program, isa);
    if program.tuning.is_off() {
        return usual;
    }
    lower_asking(kernel, program, isa, Asking::about(&program.tuning, digest([usual])))
}

/// What a question about several kernels together is about.
pub(crate) fn about<'a>(kernels: impl IntoIterator<Item = &'a Kernel>, program: &Program, isa: &VectorIsa) -> String {
    digest(kernels.into_iter().map(|kernel| lower_as_usual(kernel, program, isa)))
}

/// Lowers one kernel as the model of costs prefers.
fn lower_as_usual(kernel: &Kernel, program: &Program, isa: &VectorIsa) -> LoweredKernel {
    lower_asking(kernel, program, isa, Asking::about(&Tuning::default(), String::new()))
}

/// What a question about kernels is known by: the code that the model gives them.
fn digest(usual: impl IntoIterator<Item = LoweredKernel>) -> String {
    let mut digest = Sha256::new();
    for LoweredKernel { tasks, worker_scratch_bytes, program, .. } in usual {
        digest.update(format!("{tasks} {worker_scratch_bytes} {program}"));
    }
    hexadecimal(&digest.finalize())
}

fn lower_asking(kernel: &Kernel, program: &Program, isa: &VectorIsa, mut asking: Asking) -> LoweredKernel {
    let canonical = rewrite::canonical(kernel, &program.symbol_order);
    let sizes = sizes_around(program, &canonical.loop_indices);
    let mut kernel = rewrite::merge_axes(canonical.kernel, &sizes);
    let stored = stored(&kernel);
    let form = matches!(kernel.body, Body::Contract(_)).then(|| contract::form(&mut kernel, program, isa, &sizes, &mut asking));
    let rows = if isa.matrices { blocks::rows::form(&mut kernel, program, &sizes) } else { None };
    let teams = if isa.is_thread() && rows.is_none() { blocks::teams::form(&mut kernel, program, &sizes) } else { None };
    let turned = if isa.is_thread() { blocks::turned::form(&mut kernel, program, &sizes) } else { None };
    let block_attention = if isa.is_thread() { blocks::attention::form(&mut kernel, program, isa, &sizes, &mut asking) } else { None };
    let attention = if isa.is_thread() { None } else { attention::flat(&mut kernel, &sizes).map(|flat| QueryPanels::new(flat, isa)) };
    let ranges = rewrite::ranges_of(&kernel, &sizes);
    let mut b = Builder::new("kernel", 4);
    let mut cx = Context::new(program, isa, kernel.exprs.clone(), ranges, canonical.loop_indices, &stored, &b);
    let mut block_threads = None;
    let (tasks, optimise, worker_scratch_bytes) = match (&form, &kernel.body) {
        (None, _) if let Some(turned) = &turned => {
            block_threads = Some(turned.threads());
            (turned.lower(&mut cx, &mut b), true, Dim::ZERO)
        }
        (None, _) if let Some(rows) = &rows => {
            block_threads = Some(rows.threads());
            (rows.lower(&mut cx, &mut b), true, Dim::ZERO)
        }
        (None, _) if let Some(teams) = &teams => {
            block_threads = Some(teams.threads());
            (teams.lower(&mut cx, &mut b), true, Dim::ZERO)
        }
        (Some(form), _) => {
            let tasks = contract::lower_contract(form, &mut cx, &mut b, &mut asking);
            match form {
                contract::Form::Nest { .. } => (tasks, true, Dim::ZERO),
                contract::Form::Tiles(tiles) => (tasks, false, tiles.scratch_bytes()),
                contract::Form::Matrices(matrices) => {
                    block_threads = Some(matrices.threads());
                    (tasks, true, Dim::ZERO)
                }
                contract::Form::Warpgroups(warpgroups) => {
                    block_threads = Some(warpgroups.threads());
                    (tasks, true, Dim::ZERO)
                }
                contract::Form::Stream(stream) => {
                    block_threads = Some(stream.threads());
                    (tasks, true, Dim::ZERO)
                }
                contract::Form::Blocks(blocks) => {
                    block_threads = Some(blocks.threads());
                    (tasks, true, Dim::ZERO)
                }
            }
        }
        (None, Body::Nest(nest)) => {
            let works: Vec<Work> = nest.stages.iter().cloned().map(Work::Stage).collect();
            (nest::lower_nest(&mut cx, &mut b, &nest.parallel, &works, nest.serial, &mut asking), true, Dim::ZERO)
        }
        (None, Body::Contract(_)) => panic!("lower: a contraction without a form"),
        (None, Body::Attention(_)) => match (&block_attention, &attention) {
            (Some(blocks), _) => {
                block_threads = Some(blocks.threads());
                (blocks.lower(&mut cx, &mut b), true, Dim::ZERO)
            }
            (_, Some(panels)) => (panels.lower(&mut cx, &mut b), false, panels.scratch_bytes()),
            _ => panic!("lower: an attention without a form"),
        },
    };
    let args = cx.args;
    LoweredKernel {
        program: b.finish(),
        args,
        tasks: tasks.count,
        work_per_task: tasks.work,
        worker_scratch_bytes,
        optimise,
        block_threads,
        decisions: asking.decisions,
    }
}

/// What is known of sizes, and of the indices of loops around a kernel, by its names for them.
fn sizes_around(program: &Program, loop_indices: &BTreeMap<Symbol, Symbol>) -> Ranges {
    let mut sizes = program.symbols.clone();
    let loops = enclosing_loops(program);
    for (name, original) in loop_indices {
        if let Some((_, extent)) = loops.iter().find(|(index, _)| index == original) {
            sizes.set_index(name.clone(), extent.clone());
        }
    }
    sizes
}

/// Every loop index of the program with its extent.
fn enclosing_loops(program: &Program) -> Vec<(Symbol, Dim)> {
    fn visit(steps: &[Step], found: &mut Vec<(Symbol, Dim)>) {
        for step in steps {
            if let Step::Loop { index, extent, body, .. } = step {
                found.push((index.clone(), extent.clone()));
                visit(body, found);
            }
        }
    }
    let mut found = Vec::new();
    visit(&program.prepare, &mut found);
    visit(&program.steps, &mut found);
    found
}

/// The buffers that a kernel writes.
fn stored(kernel: &Kernel) -> BTreeSet<BufferId> {
    match &kernel.body {
        Body::Nest(nest) => nest
            .stages
            .iter()
            .flat_map(|stage| match stage {
                Stage::Reduce { .. } => vec![],
                Stage::Sweep { stores, .. } => stores.iter().map(|s| s.buffer).collect(),
                Stage::Running { store, .. } => vec![store.buffer],
            })
            .collect(),
        Body::Contract(_) | Body::Attention(_) => kernel.stores().iter().map(|s| s.buffer).collect(),
    }
}
