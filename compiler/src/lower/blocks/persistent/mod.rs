//! Loops whose turns one kernel takes: recurrent layers, whose blocks stay and keep their part of the weights in shared memory.
//!
//! ```text
//! cluster of rows (a part of the batch), block of units:
//!     weights of the block's units → shared memory
//!     for each turn:   [meet]  state of the rows → shared memory ;  products ;  what follows of them, unit by unit   [meet]  …
//! ```
//!
//! Kernels of such a loop have results in *rows* and *columns*; the columns of all are one or several times as many as there are *units*
//! (a product that makes all gates of a cell has four times as many). A block has some units of all of them, and one thread of it
//! whatever a row has of a unit: what a kernel reads of the same row and unit that another kernel stored, the same thread has stored. Only
//! what other units have stored, as the state that products take, has to be waited for: there the blocks of a cluster meet.
//! Rows need nothing of each other, so clusters of different rows know nothing of each other.
//!
//! Products are summed in an order of their own, which follows from their depth and from how many blocks share them.
//!
//! *Source*: Diamos et al. 2016, "Persistent RNNs: Stashing Recurrent Weights On-Chip".

mod dependences;
mod product;

use super::tiles::usual;
use crate::kernel::{Axis, Body, BufferId, Exprs, Kernel, LoopKind, Nest, Program, Stage, Step, Store};
use crate::lower::context::{Context, Leaves};
use crate::lower::nest::{self, Work};
use crate::lower::rewrite::{canonical, drop_units, ranges_of};
use crate::lower::tasks::bind_all;
use crate::lower::{Arg, LoweredKernel, VectorIsa, digest, lower_as_usual, sizes_around};
use crate::tile::{Builder, CooperativeStmt, PipelineStmt, Reg};
use crate::tuning::{Asking, Decision, Subject};
use kiln_ir::{Dim, Symbol};
use product::Product;
use std::collections::{BTreeMap, BTreeSet};

/// Threads of a block.
const THREADS: i64 = 256;
/// Rows of a cluster at most: a thread has the sums of all of them.
const MOST_ROWS: i64 = 8;
/// Sizes of clusters that every GPU with clusters has.
const CLUSTERS: [u32; 4] = [8, 4, 2, 1];
/// Bytes of shared memory that a block of a GPU with clusters may have, and one of any other.
const SHARED_BYTES: [i64; 2] = [227 << 10, 99 << 10];
/// Units of a block are a multiple of it, so that as many are read at once.
const AT_ONCE: i64 = 4;

/// A kernel of the loop.
struct Phase {
    /// Its indices named by position, axes of one element dropped.
    kernel: Kernel,
    loop_indices: BTreeMap<Symbol, Symbol>,
    /// None where there is one row.
    row: Option<Axis>,
    /// None where a row has one value of no unit, which the thread of the first unit computes.
    column: Option<Axis>,
    /// How many times as many columns as there are units.
    times: i64,
    product: Option<Product>,
    /// Whether the blocks of a cluster meet before it.
    meets: bool,
}

/// A loop that one kernel can take.
pub(crate) struct PersistentLoop {
    index: Symbol,
    extent: Dim,
    phases: Vec<Phase>,
    /// Rows of all clusters.
    rows: Dim,
    /// Rows of a cluster.
    row_tile: i64,
    units: i64,
    /// What the loop writes.
    stored: BTreeSet<BufferId>,
    /// Blocks of a cluster.
    cluster: u32,
}

/// The rows and units of a block, by the names that dims have for its place.
struct Position {
    /// Which rows: the number of the cluster.
    cluster: Reg,
    /// Which units: the number of the block in its cluster.
    rank: Reg,
    thread: Reg,
}

const CLUSTER: &str = "#cluster";
const RANK: &str = "#rank";
const POINT: &str = "#point";

impl PersistentLoop {
    /// What is known of a loop, where one kernel can take it; it has one block until [`PersistentLoop::by_clusters`] says how many.
    pub(crate) fn of(step: &Step, program: &Program) -> Option<PersistentLoop> {
        let Step::Loop { index, extent, body, .. } = step else { return None };
        let kernels = body.iter().map(|step| if let Step::Run(kernel) = step { Some(kernel) } else { None });
        let mut phases = kernels.map(|kernel| Phase::of(kernel?, program)).collect::<Option<Vec<Phase>>>()?;
        let rows = phases.iter().find_map(|phase| phase.row.as_ref()).map_or(Dim::ONE, |row| row.extent.clone());
        for phase in phases.iter_mut().filter(|phase| phase.row.is_none() && !rows.is(1)) {
            phase.row = phase.column.take();
        }
        let columns = |phase: &Phase| phase.column.as_ref().map(|column| column.extent.as_const());
        let units = phases.iter().filter_map(columns).collect::<Option<Vec<i64>>>()?.into_iter().min().filter(|units| *units > 0)?;
        for phase in &mut phases {
            let columns = columns(phase).flatten().unwrap_or(units);
            if columns % units != 0 || phase.row.as_ref().map_or(&Dim::ONE, |row| &row.extent) != &rows {
                return None;
            }
            phase.times = columns / units;
        }
        let stored = phases.iter().flat_map(|phase| phase.kernel.stores()).map(|store| store.buffer).collect();
        let row_tile = rows.as_const().unwrap_or_else(|| usual(&rows, program)).clamp(1, MOST_ROWS);
        let mut found = PersistentLoop { index: index.clone(), extent: extent.clone(), phases, rows, row_tile, units, stored, cluster: 1 };
        found.find_meetings(program)?;
        Some(found)
    }

    /// The same by clusters of so many blocks, if what these keep fits into their memory and there is work for each.
    pub(crate) fn by_clusters(mut self, blocks: u32) -> Option<PersistentLoop> {
        self.cluster = blocks;
        let most = SHARED_BYTES[usize::from(blocks == 1)];
        (self.shared_bytes() <= most && (i64::from(blocks) - 1) * self.block_units() < self.units).then_some(self)
    }

    /// How a GPU takes a loop: `usual`, kernel after kernel, or by one kernel, where measuring it said so.
    pub(crate) fn choose(step: &Step, program: &Program, isa: &VectorIsa) -> (LoopKind, Vec<Decision>) {
        let Step::Loop { kind, body, .. } = step else { panic!("lower: no loop") };
        let fits = |blocks: &u32| PersistentLoop::of(step, program).and_then(|found| found.by_clusters(*blocks)).is_some();
        let ways: Vec<u32> = CLUSTERS.into_iter().filter(|blocks| (*blocks == 1 || isa.warpgroups) && fits(blocks)).collect();
        if ways.is_empty() {
            return (*kind, vec![]);
        }
        let (mut code, mut origins) = (Vec::new(), Vec::new());
        for step in body {
            step.visit_kernels(&mut |kernel| {
                code.push(lower_as_usual(kernel, program, isa));
                origins.extend(kernel.origins.iter().cloned());
            });
        }
        let mut asking = Asking::about(&program.tuning, digest(&code));
        let others = || ways.into_iter().map(|blocks| LoopKind::Persistent { blocks }).collect();
        let kind = asking.choose(Subject::Loop, *kind, others, |kind| match kind {
            LoopKind::Persistent { blocks } => format!("by one kernel, clusters of {blocks}"),
            LoopKind::Sequential | LoopKind::Independent => "kernel after kernel".to_string(),
        });
        let decisions = asking.decisions.into_iter().map(|decision| Decision { origins: origins.clone(), ..decision });
        (kind, decisions.collect())
    }

    /// The layer it is named after.
    pub(crate) fn name(&self) -> &str {
        self.phases.first().map_or("loop", |phase| &phase.kernel.name)
    }

    /// Units of a block.
    fn block_units(&self) -> i64 {
        let each = (self.units + i64::from(self.cluster) - 1) / i64::from(self.cluster);
        (each + AT_ONCE - 1) / AT_ONCE * AT_ONCE
    }

    fn products(&self) -> impl Iterator<Item = (&Phase, &Product)> {
        self.phases.iter().filter_map(|phase| Some((phase, phase.product.as_ref()?)))
    }

    fn shared_bytes(&self) -> i64 {
        let weights: i64 = self.products().map(|(phase, product)| product.weight_bytes(self, phase)).sum();
        weights + self.area_bytes().iter().sum::<i64>()
    }

    /// Bytes of the state that a product takes, and of sums, of the largest product.
    fn area_bytes(&self) -> [i64; 2] {
        let largest = |bytes: &dyn Fn(&Phase, &Product) -> i64| self.products().map(|(phase, product)| bytes(phase, product)).max();
        [largest(&|_, product| product.state_bytes(self)), largest(&|phase, product| product.sum_bytes(self, phase))]
            .map(Option::unwrap_or_default)
    }

    /// Emits the kernel.
    pub(crate) fn lower(&self, program: &Program, isa: &VectorIsa) -> LoweredKernel {
        let mut b = Builder::new("kernel", 4);
        b.set_cluster(self.cluster);
        let [_, thread, task, _] = b.params();
        let blocks = b.index(i64::from(self.cluster));
        let position = Position { cluster: b.div_u(task, blocks), rank: b.rem_u(task, blocks), thread };
        let weights: Vec<Option<Reg>> =
            (self.phases.iter()).map(|phase| Some(b.shared(phase.product.as_ref()?.weight_bytes(self, phase) as u32, 16))).collect();
        let areas = self.products().next().map(|_| self.area_bytes().map(|bytes| b.shared(bytes as u32, 16)));
        let mut args = Vec::new();
        for (phase, kept) in self.phases.iter().zip(&weights) {
            if let (Some(product), Some(kept)) = (&phase.product, kept) {
                self.with_context(phase, program, isa, &mut args, &mut b, &position, |cx, b| {
                    product.keep_weights(self, phase, cx, b, &position, *kept);
                });
            }
        }
        // The state that products take is brought anew in each turn: the barrier behind it is one for the weights too.
        let mut cx = Context::new(program, isa, Exprs::default(), program.symbols.clone(), BTreeMap::new(), &self.stored, &b);
        cx.args = std::mem::take(&mut args);
        let (none, end) = (b.index(0), cx.index(&mut b, &self.extent));
        args = cx.args;
        b.loop_carrying(none, end, 1, &[], |b, turn, _| {
            for (phase, kept) in self.phases.iter().zip(&weights) {
                if phase.meets {
                    b.together(match self.cluster {
                        1 => CooperativeStmt::Barrier,
                        _ => CooperativeStmt::Pipeline(PipelineStmt::MeetCluster),
                    });
                }
                self.with_context(phase, program, isa, &mut args, b, &position, |cx, b| {
                    let own: Vec<Symbol> =
                        phase.loop_indices.iter().filter(|(_, original)| **original == self.index).map(|(own, _)| own.clone()).collect();
                    match &own[..] {
                        [own] => cx.bound(own, turn, |cx| self.phase(phase, cx, b, &position, kept.zip(areas))),
                        _ => self.phase(phase, cx, b, &position, kept.zip(areas)),
                    }
                });
            }
            vec![]
        });
        LoweredKernel {
            program: b.finish(),
            args,
            tasks: self.rows.ceil_div(&Dim::from(self.row_tile)) * Dim::from(i64::from(self.cluster)),
            work_per_task: self.extent.clone(),
            worker_scratch_bytes: Dim::ZERO,
            optimise: true,
            block_threads: Some(THREADS as u32),
            decisions: vec![],
        }
    }

    /// Emits with a context of a phase, whose arguments are those of the kernel.
    #[allow(clippy::too_many_arguments)] // a context has this many parts
    fn with_context(
        &self,
        phase: &Phase,
        program: &Program,
        isa: &VectorIsa,
        args: &mut Vec<Arg>,
        b: &mut Builder,
        position: &Position,
        emit: impl FnOnce(&mut Context, &mut Builder),
    ) {
        let ranges = ranges_of(&phase.kernel, &sizes_around(program, &phase.loop_indices));
        let mut cx = Context::new(program, isa, phase.kernel.exprs.clone(), ranges, phase.loop_indices.clone(), &self.stored, b);
        cx.args = std::mem::take(args);
        cx.ranges.set_index(Symbol::new(CLUSTER), self.rows.ceil_div(&Dim::from(self.row_tile)));
        cx.ranges.set_index(Symbol::new(RANK), Dim::from(i64::from(self.cluster)));
        cx.bound(&Symbol::new(CLUSTER), position.cluster, |cx| cx.bound(&Symbol::new(RANK), position.rank, |cx| emit(cx, b)));
        *args = cx.args;
    }

    /// A phase of a turn; a product has its weights, and areas for the state and for sums.
    fn phase(&self, phase: &Phase, cx: &mut Context, b: &mut Builder, position: &Position, kept: Option<(Reg, [Reg; 2])>) {
        match (&phase.kernel.body, &phase.product, kept) {
            (Body::Nest(Nest { stages, .. }), ..) => {
                let works: Vec<Work> = stages.iter().cloned().map(Work::Stage).collect();
                self.each_point(phase, cx, b, position, &mut |cx, b, _| nest::run(cx, b, &works, None));
            }
            (Body::Contract(contract), Some(product), Some((weights, areas))) => {
                product.multiply(self, phase, cx, b, position, weights, areas);
                let works = [Work::Stage(Stage::Sweep { axes: vec![], stores: contract.stores.clone() })];
                self.each_point(phase, cx, b, position, &mut |cx, b, point| {
                    let total = product.total(self, phase, cx, b, point, areas[1]);
                    let before = std::mem::replace(&mut cx.accumulators, vec![total]);
                    works.iter().for_each(|work| crate::lower::stage::emit(cx, b, work, None));
                    cx.accumulators = before;
                });
            }
            _ => panic!("lower: a phase of another kind"),
        }
    }

    /// Runs `each` for every row and column of the block's, with both indices bound: a thread has all columns of some units of a row.
    fn each_point(
        &self,
        phase: &Phase,
        cx: &mut Context,
        b: &mut Builder,
        position: &Position,
        each: &mut dyn FnMut(&mut Context, &mut Builder, Point),
    ) {
        let (units, points) = (self.block_units(), self.row_tile * self.block_units());
        let index = Symbol::new(POINT);
        cx.ranges.set_index(index.clone(), Dim::from(points));
        let end = b.index(points);
        cx.counted(b, &index, position.thread, end, THREADS, &[], |cx, b, _| {
            let point = Dim::from(index.clone());
            let (row, unit) = (point.floor_div(&Dim::from(units)), point.modulo(&Dim::from(units)));
            self.when_there(phase, cx, b, &row, &unit, |cx, b, at| {
                for time in 0..phase.times {
                    cx.scoped(b, Leaves::Arithmetic, |cx, b| {
                        let column = b.add_int(at.unit, time * self.units);
                        let place = Point { row: &row, unit: &unit, time };
                        let own = [(&phase.row, at.row), (&phase.column, column)];
                        let bound = own.into_iter().filter_map(|(axis, reg)| Some((axis.clone()?, reg)));
                        let (axes, indices): (Vec<Axis>, Vec<Reg>) = bound.unzip();
                        bind_all(cx, &axes, &indices, Box::new(|cx| each(cx, b, place)));
                    });
                }
            });
            vec![]
        });
    }

    /// Runs `inside` where the cluster's row and the block's unit of those numbers exist in a phase.
    fn when_there(
        &self,
        phase: &Phase,
        cx: &mut Context,
        b: &mut Builder,
        row: &Dim,
        unit: &Dim,
        inside: impl FnOnce(&mut Context, &mut Builder, &At),
    ) {
        let at = self.at(cx, b, row, unit);
        let units = if phase.column.is_some() { self.units } else { 1 };
        let (rows, units) = (cx.index(b, &self.rows), b.index(units));
        let (has_row, has_unit) = (b.lt(at.row, rows), b.lt(at.unit, units));
        let exists = b.and(has_row, has_unit);
        cx.branch(
            b,
            exists,
            false,
            |cx, b| {
                inside(cx, b, &at);
                vec![]
            },
            |_, _| vec![],
        );
    }

    /// Of all rows and units, those of these numbers in the cluster and the block.
    fn at(&self, cx: &mut Context, b: &mut Builder, row: &Dim, unit: &Dim) -> At {
        let row = cx.index(b, &(Dim::symbol(CLUSTER) * Dim::from(self.row_tile) + row));
        let unit = cx.index(b, &(Dim::symbol(RANK) * Dim::from(self.block_units()) + unit));
        At { row, unit }
    }
}

/// A row and a unit, of all.
struct At {
    row: Reg,
    unit: Reg,
}

/// Rows and units in the block, and which of a unit's columns.
#[derive(Clone, Copy)]
struct Point<'a> {
    row: &'a Dim,
    unit: &'a Dim,
    time: i64,
}

impl Phase {
    fn of(kernel: &Kernel, program: &Program) -> Option<Phase> {
        let named = canonical(kernel, &program.symbol_order);
        let kernel = drop_units(named.kernel);
        let (mut axes, product) = match &kernel.body {
            Body::Nest(Nest { parallel, serial: false, .. }) => (parallel.clone(), None),
            Body::Contract(contract) if contract.batch.is_empty() && contract.rows.len() <= 1 && contract.columns.len() == 1 => {
                let axes = contract.rows.iter().chain(&contract.columns).cloned().collect();
                (axes, Some(Product::of(contract, &kernel)?))
            }
            Body::Nest(_) | Body::Contract(_) | Body::Attention(_) => return None,
        };
        let (column, row) = (axes.pop(), axes.pop());
        axes.is_empty().then_some(Phase { kernel, loop_indices: named.loop_indices, row, column, times: 1, product, meets: false })
    }

    /// The dim with the names that loops have in the program.
    fn by_program(&self, dim: &Dim) -> Dim {
        dim.substitute(&|symbol| self.loop_indices.get(symbol).map(|original| Dim::from(original.clone())))
    }

    fn stores(&self) -> Vec<&Store> {
        self.kernel.stores()
    }
}
