//! Moves steps that depend on parameters and constants only into `prepare`, which runs once.
//!
//! ```text
//! pack %w ; dot %x, packed      →      prepare { pack %w } ; dot %x, packed
//! ```
//!
//! Skips: steps beyond a budget in bytes and work, so that compiling a small file stays small.

use crate::kernel::{BufferId, BufferKind, Kernel, PrepareBudget, Program, Step};
use std::collections::{BTreeMap, BTreeSet};

/// Splits the steps of a program.
pub fn split(program: &mut Program) {
    let steps = std::mem::take(&mut program.steps);
    let mut run_time: BTreeSet<BufferId> = BTreeSet::new();
    for (i, buffer) in program.buffers.iter().enumerate() {
        if matches!(buffer.kind, BufferKind::Input(_) | BufferKind::Output(_)) {
            run_time.insert(BufferId(i as u32));
        }
    }
    spread(&steps, &mut run_time);
    let mut budget = PrepareBudget::of(program);
    let all: Vec<Touched> = steps.iter().map(touched).collect();
    let last_reader: BTreeMap<BufferId, usize> = all.iter().enumerate().flat_map(|(i, t)| t.read.iter().map(move |b| (*b, i))).collect();
    let mut read_at_run_time: BTreeSet<BufferId> = BTreeSet::new();
    for (i, (step, touched)) in steps.iter().zip(&all).enumerate() {
        // What only prepared steps read is not kept beyond the last of them.
        let ends = |b: &&BufferId| last_reader[*b] == i && !read_at_run_time.contains(*b);
        let ending: Vec<BufferId> = touched.read.iter().filter(ends).copied().collect();
        let at_run_time = touched.read.iter().chain(&touched.written).any(|b| run_time.contains(b));
        if !at_run_time && budget.take(program, step, &ending) {
            ending.iter().for_each(|id| budget.release(*id, program.buffer(*id)));
        } else {
            run_time.extend(&touched.written);
            read_at_run_time.extend(&touched.read);
        }
    }
    program.prepare_budget = budget;
    spread(&steps, &mut run_time);
    for step in steps {
        let touched = touched(&step);
        if touched.written.iter().any(|b| run_time.contains(b)) {
            program.steps.push(step);
            continue;
        }
        for id in touched.written {
            program.buffers[id.0 as usize].kind = BufferKind::Prepared;
        }
        program.prepare.push(step);
    }
}

/// A buffer that any run-time step writes is a run-time buffer, also for the steps before.
fn spread(steps: &[Step], run_time: &mut BTreeSet<BufferId>) {
    loop {
        let before = run_time.len();
        for step in steps {
            let touched = touched(step);
            let symbolic = touched.symbolic;
            if symbolic || touched.read.iter().chain(&touched.written).any(|b| run_time.contains(b)) {
                run_time.extend(touched.written);
            }
        }
        if run_time.len() == before {
            return;
        }
    }
}

/// What a step reads and writes.
#[derive(Default)]
pub struct Touched {
    /// Buffers it loads from.
    pub read: BTreeSet<BufferId>,
    /// Buffers it stores to.
    pub written: BTreeSet<BufferId>,
    /// Whether sizes known only at run time take part.
    pub symbolic: bool,
}

/// What a step reads and writes.
pub fn touched(step: &Step) -> Touched {
    let mut found = Touched::default();
    visit(step, &mut found, &mut BTreeSet::new());
    found
}

fn visit(step: &Step, found: &mut Touched, loops: &mut BTreeSet<kiln_ir::Symbol>) {
    match step {
        Step::Loop { index, extent, body, .. } => {
            found.symbolic |= extent.symbols().iter().any(|s| !loops.contains(s));
            loops.insert(index.clone());
            for step in body {
                visit(step, found, loops);
            }
        }
        Step::Run(kernel) => {
            visit_kernel(kernel, found);
            found.symbolic |= extents(kernel).iter().any(|e| e.symbols().iter().any(|s| !loops.contains(s)));
        }
    }
}

fn visit_kernel(kernel: &Kernel, found: &mut Touched) {
    found.read.extend(kernel.loads());
    found.written.extend(kernel.stores().iter().map(|store| store.buffer));
}

/// The extents of a kernel's indices and every dim its expressions read sizes from.
fn extents(kernel: &Kernel) -> Vec<kiln_ir::Dim> {
    let axes = kernel.axes();
    let own: BTreeSet<&kiln_ir::Symbol> = axes.iter().map(|a| &a.index).collect();
    let mut dims: Vec<kiln_ir::Dim> = axes.iter().map(|a| a.extent.clone()).collect();
    let mut sizes_in = |dim: &kiln_ir::Dim| {
        dim.visit_symbols(&mut |s| {
            if !own.contains(s) && crate::kernel::ExprId::of_symbol(s).is_none() {
                dims.push(kiln_ir::Dim::from(s.clone()));
            }
        });
    };
    for (_, expr) in kernel.exprs.iter() {
        expr.kind.dims().into_iter().for_each(&mut sizes_in);
    }
    kernel.stores().iter().for_each(|s| sizes_in(&s.offset));
    dims
}
