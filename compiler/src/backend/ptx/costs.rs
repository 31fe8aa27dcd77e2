//! What the kernels of a planned program do at given sizes: grids, operations and bytes, from which the least time on a GPU follows.
//!
//! Operations are those of the kernel as it is written, without what tiles compute beyond the edges; each buffer is moved once,
//! as far as a kernel looks at it. So a time made of them is one that no kernel can beat.

use super::{BLOCK_THREADS, Compiled};
use crate::kernel::{Axis, Body, BufferId, Kernel, Program, Stage, Step, cost};
use crate::schedule::launches::{Launch, LaunchStep};
use kiln_ir::{Dim, Symbol};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// One kernel of a program.
#[derive(Clone, PartialEq, Debug)]
pub struct KernelCost {
    /// Its entry in the module.
    pub entry: String,
    /// The layer it computes.
    pub layer: String,
    /// How often it runs: in loops, more than once.
    pub runs: i64,
    /// Blocks of a run.
    pub blocks: i64,
    /// Threads of a block.
    pub threads: u32,
    /// Operations of a run; a multiply-add is two.
    pub operations: i64,
    /// Bytes of the device's memory that a run reads and writes.
    pub bytes: i64,
}

/// The kernels of the function in the order in which they run. Sizes that `sizes` does not give are 1.
pub fn costs(compiled: &Compiled, sizes: &BTreeMap<Symbol, i64>) -> Vec<KernelCost> {
    let mut found = Vec::new();
    let plan = &compiled.plan;
    let walk = Walk { compiled, sizes };
    walk.steps(&plan.program.steps, &plan.main.steps, 1, &mut found);
    found
}

/// The kernels as a table of tab-separated values with a head.
pub fn table(costs: &[KernelCost]) -> String {
    let mut text = String::from("entry\tlayer\truns\tblocks\tthreads\toperations\tbytes\n");
    for KernelCost { entry, layer, runs, blocks, threads, operations, bytes } in costs {
        let layer = layer.escape_debug();
        writeln!(text, "{entry}\t{layer}\t{runs}\t{blocks}\t{threads}\t{operations}\t{bytes}").expect("a string takes anything");
    }
    text
}

struct Walk<'a> {
    compiled: &'a Compiled,
    sizes: &'a BTreeMap<Symbol, i64>,
}

impl Walk<'_> {
    fn steps(&self, steps: &[Step], launches: &[LaunchStep], runs: i64, found: &mut Vec<KernelCost>) {
        for pair in steps.iter().zip(launches) {
            match pair {
                (step, LaunchStep::Run(launch)) => found.push(self.launched(step, launch, runs)),
                (Step::Loop { extent, body, .. }, LaunchStep::Loop { body: launches, .. }) => {
                    self.steps(body, launches, runs.saturating_mul(self.value(extent)), found);
                }
                (Step::Run(_), LaunchStep::Loop { .. }) => panic!("ptx: launches are not those of the program"),
            }
        }
    }

    fn value(&self, dim: &Dim) -> i64 {
        // An index of a loop is taken where it starts.
        let is_size = |symbol: &Symbol| self.compiled.plan.program.symbol_order.contains(symbol);
        let size = |symbol: &Symbol| Some(self.sizes.get(symbol).copied().unwrap_or(i64::from(is_size(symbol))));
        dim.evaluate(&size).unwrap_or(1).max(0)
    }

    fn points(&self, axes: &[Axis]) -> i64 {
        axes.iter().map(|axis| self.value(&axis.extent)).fold(1, i64::saturating_mul)
    }

    /// A kernel, or a loop that one kernel takes.
    fn launched(&self, step: &Step, launch: &Launch, runs: i64) -> KernelCost {
        let program: &Program = &self.compiled.plan.program;
        let turns = if let Step::Loop { extent, .. } = step { self.value(extent) } else { 1 };
        let (mut operations, mut layer) = (0i64, None);
        // Each buffer once, also where turns read it again: as much of it as is looked at.
        let (mut loaded, mut stored) = (BTreeMap::<BufferId, i64>::new(), BTreeMap::<BufferId, i64>::new());
        step.visit_kernels(&mut |kernel| {
            layer.get_or_insert(&kernel.name);
            let (work, looks) = self.work(kernel);
            operations = operations.saturating_add(work.saturating_mul(turns));
            let look = |buffers: &mut BTreeMap<BufferId, i64>, id: BufferId| {
                let all = buffers.entry(id).or_default();
                *all = all.saturating_add(looks.saturating_mul(turns));
            };
            kernel.loads().into_iter().for_each(|id| look(&mut loaded, id));
            let ids: BTreeSet<BufferId> = kernel.stores().iter().map(|store| store.buffer).collect();
            ids.into_iter().for_each(|id| look(&mut stored, id));
        });
        let moved = |(buffer, looks): (&BufferId, &i64)| {
            let buffer = program.buffer(*buffer);
            self.value(&buffer.elements()).min(*looks).saturating_mul(buffer.dtype.size_bytes() as i64)
        };
        let bytes = loaded.iter().chain(&stored).map(moved).fold(0, i64::saturating_add);
        let tasks = self.value(&launch.tasks);
        let (blocks, threads) = match launch.block_threads {
            Some(threads) => (tasks, threads),
            None => ((tasks + i64::from(BLOCK_THREADS) - 1) / i64::from(BLOCK_THREADS), BLOCK_THREADS),
        };
        let entry = self.compiled.kernels.entries[&launch.function].clone();
        KernelCost { entry, layer: layer.cloned().unwrap_or_default(), runs, blocks, threads, operations, bytes }
    }

    /// Operations of a kernel, and how often it looks at an element of a buffer at most.
    fn work(&self, kernel: &Kernel) -> (i64, i64) {
        let of = |values: &[crate::kernel::ExprId]| cost(&kernel.exprs, values).max(1);
        match &kernel.body {
            Body::Contract(c) => {
                let [batch, rows, columns, depth] = [&c.batch, &c.rows, &c.columns, &c.depth].map(|axes| self.points(axes));
                let results = batch.saturating_mul(rows).saturating_mul(columns);
                let values: Vec<_> = c.stores.iter().map(|store| store.value).collect();
                let products = results.saturating_mul(depth).saturating_mul(2);
                (products.saturating_add(results.saturating_mul(of(&values) - 1)), results.saturating_mul(depth.max(1)))
            }
            Body::Attention(a) => {
                let [batch, rows, columns, keys, depth] = [&a.batch, &a.rows, &a.columns, &a.keys, &a.depth].map(|axes| self.points(axes));
                let scores = batch.saturating_mul(rows).saturating_mul(keys);
                let each = (depth + columns).saturating_mul(2).saturating_add(of(&[a.score]) + crate::kernel::UnaryFn::Exp.operations());
                (scores.saturating_mul(each), scores.saturating_mul(depth.max(columns).max(1)))
            }
            Body::Nest(nest) => {
                let parallel = self.points(&nest.parallel);
                let (mut operations, mut looks) = (0i64, 0i64);
                for stage in &nest.stages {
                    let (points, values) = match stage {
                        Stage::Reduce { axes, reductions } => (self.points(axes), reductions.iter().map(|r| r.value).collect::<Vec<_>>()),
                        Stage::Sweep { axes, stores } => (self.points(axes), stores.iter().map(|s| s.value).collect()),
                        Stage::Running { axis, reduction, store, .. } => (self.value(&axis.extent), vec![reduction.value, store.value]),
                    };
                    let all = parallel.saturating_mul(points);
                    operations = operations.saturating_add(all.saturating_mul(of(&values)));
                    looks = looks.max(all);
                }
                (operations, looks)
            }
        }
    }
}
