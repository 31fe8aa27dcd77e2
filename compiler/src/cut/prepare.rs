//! Moves steps that depend on parameters and constants only into `prepare`, which runs once.
//!
//! ```text
//! pack %w ; dot %x, packed      →      prepare { pack %w } ; dot %x, packed
//! ```
//!
//! Skips: steps beyond a budget in bytes and work, so that compiling a small file stays small.

use crate::kernel::{Body, BufferId, BufferKind, ExprKind, Kernel, Program, Stage, Step, Store};
use std::collections::BTreeSet;

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
    let mut budget = Budget::of(program);
    for step in &steps {
        let touched = touched(step);
        let at_run_time = touched.read.iter().chain(&touched.written).any(|b| run_time.contains(b));
        if !at_run_time && !budget.take(program, step, &touched.written) {
            run_time.extend(touched.written);
        }
    }
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

/// What preparing may cost while a model is compiled. A file of a few bytes can ask for any size (a filled or tiled constant);
/// what exceeds the budget stays a step of the run, where memory is asked for by whoever runs it.
struct Budget {
    bytes: i64,
    /// Iterations of kernels.
    work: i64,
}

impl Budget {
    /// In proportion to parameters and constants: layouts pad them, and small sums over them are taken once.
    fn of(program: &Program) -> Budget {
        let sources = program.buffers.iter().filter(|b| matches!(b.kind, BufferKind::Constant(_) | BufferKind::Parameter(_)));
        let sources = sources.map(bytes).fold(0, i64::saturating_add);
        Budget { bytes: sources.saturating_mul(4).saturating_add(16 << 20), work: sources.saturating_mul(64).saturating_add(1 << 26) }
    }

    /// Pays for a step that writes these buffers; false, and nothing paid, if it is too much.
    fn take(&mut self, program: &Program, step: &Step, written: &BTreeSet<BufferId>) -> bool {
        let bytes = written.iter().map(|id| bytes(program.buffer(*id))).fold(0, i64::saturating_add);
        let work = work(step);
        let fits = bytes <= self.bytes && work <= self.work;
        if fits {
            self.bytes -= bytes;
            self.work -= work;
        }
        fits
    }
}

fn bytes(buffer: &crate::kernel::Buffer) -> i64 {
    let sizes = buffer.shape.iter().map(|d| d.as_const().unwrap_or(i64::MAX));
    sizes.fold(buffer.dtype.size_bytes() as i64, i64::saturating_mul)
}

/// An upper bound of a step's iterations.
fn work(step: &Step) -> i64 {
    match step {
        Step::Run(kernel) => extents(kernel).iter().filter_map(kiln_ir::Dim::as_const).fold(1, i64::saturating_mul),
        Step::Loop { extent, body, .. } => {
            let once = body.iter().map(work).fold(0, i64::saturating_add);
            once.saturating_mul(extent.as_const().unwrap_or(1))
        }
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
        Step::Loop { index, extent, body } => {
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
    for (_, expr) in kernel.exprs.iter() {
        if let ExprKind::Load(access) = &expr.kind {
            found.read.insert(access.buffer);
        }
    }
    for store in stores(kernel) {
        found.written.insert(store.buffer);
        if store.combine.is_some() {
            found.read.insert(store.buffer);
        }
    }
}

/// The extents of a kernel's indices and every dim its expressions read sizes from.
fn extents(kernel: &Kernel) -> Vec<kiln_ir::Dim> {
    let axes: Vec<&crate::kernel::Axis> = match &kernel.body {
        Body::Nest(nest) => {
            let inner = nest.stages.iter().flat_map(|s| match s {
                Stage::Reduce { axes, .. } | Stage::Sweep { axes, .. } => axes.iter().collect::<Vec<_>>(),
                Stage::Running { axis, .. } => vec![axis],
            });
            nest.parallel.iter().chain(inner).collect()
        }
        Body::Contract(c) => [&c.batch, &c.rows, &c.columns, &c.depth].into_iter().flatten().collect(),
    };
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
        match &expr.kind {
            ExprKind::Index(d) => sizes_in(d),
            ExprKind::Load(access) => {
                sizes_in(&access.offset);
                access.bounds.iter().for_each(|b| {
                    sizes_in(&b.index);
                    sizes_in(&b.extent);
                });
            }
            ExprKind::CheckedIndex { extent, .. } => sizes_in(extent),
            ExprKind::Constant(_)
            | ExprKind::Unary(..)
            | ExprKind::Binary(..)
            | ExprKind::Compare(..)
            | ExprKind::Select(..)
            | ExprKind::Cast(_)
            | ExprKind::Accumulator(_) => {}
        }
    }
    stores(kernel).iter().for_each(|s| sizes_in(&s.offset));
    dims
}

/// The stores of a kernel.
pub fn stores(kernel: &Kernel) -> Vec<&Store> {
    match &kernel.body {
        Body::Contract(c) => c.stores.iter().collect(),
        Body::Nest(nest) => nest
            .stages
            .iter()
            .flat_map(|s| match s {
                Stage::Reduce { .. } => Vec::new(),
                Stage::Sweep { stores, .. } => stores.iter().collect(),
                Stage::Running { store, .. } => vec![store],
            })
            .collect(),
    }
}
