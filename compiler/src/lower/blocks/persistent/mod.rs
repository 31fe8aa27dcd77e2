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
use crate::kernel::{Access, Axis, Body, BufferId, Exprs, Kernel, Nest, Program, Stage, Step, Store};
use crate::lower::context::Context;
use crate::lower::nest::{self, Work};
use crate::lower::rewrite::{canonical, drop_units, ranges_of};
use crate::lower::stage;
use crate::lower::tasks::bind_all;
use crate::lower::{Arg, LoweredKernel, VectorIsa, sizes_around};
use crate::tile::{Builder, Reg};
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
    /// Whether the blocks of a cluster meet before what it does at rows and units.
    meets: bool,
    /// Whether it goes through rows and units anew, and not together with the phase before it.
    begins: bool,
    /// Loads of what the thread itself has stored.
    own_loads: Vec<OwnLoad>,
    /// Which of a unit's columns each store is of, where the thread may load it again.
    store_slots: Vec<Option<i64>>,
}

/// A load of what the thread itself stores: the first column of its unit, and later ones one further each.
struct OwnLoad {
    access: Access,
    slot: i64,
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
    /// What is only in registers: needed at once, by the thread that computes it.
    private: BTreeSet<BufferId>,
    /// Blocks of a cluster.
    cluster: u32,
}

/// The rows and units of a block.
struct Position {
    /// Which rows: the number of the cluster.
    cluster: Reg,
    /// Which units: the number of the block in its cluster.
    rank: Reg,
    thread: Reg,
    /// How many rows there are.
    rows: Reg,
}

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
        let mut found = PersistentLoop {
            index: index.clone(),
            extent: extent.clone(),
            phases,
            rows,
            row_tile,
            units,
            stored,
            private: BTreeSet::new(),
            cluster: 1,
        };
        found.find_dependences(step, program)?;
        Some(found)
    }

    /// The same by clusters of so many blocks, if what these keep fits into their memory and there is work for each.
    pub(crate) fn by_clusters(mut self, blocks: u32) -> Option<PersistentLoop> {
        self.cluster = blocks;
        let most = SHARED_BYTES[usize::from(blocks == 1)];
        (self.shared_bytes() <= most && (i64::from(blocks) - 1) * self.block_units() < self.units).then_some(self)
    }

    /// Blocks of clusters that can take a loop. GPUs whose warpgroups multiply have clusters.
    pub(crate) fn clusters(step: &Step, program: &Program, isa: &VectorIsa) -> Vec<u32> {
        let fits = |blocks: &u32| PersistentLoop::of(step, program).and_then(|found| found.by_clusters(*blocks)).is_some();
        CLUSTERS.into_iter().filter(|blocks| (*blocks == 1 || isa.warpgroups) && fits(blocks)).collect()
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
        let (cluster, rank) = (b.div_u(task, blocks), b.rem_u(task, blocks));
        let weights: Vec<Option<Reg>> =
            self.phases.iter().map(|phase| Some(b.shared(phase.product.as_ref()?.weight_bytes(self, phase) as u32, 16))).collect();
        let areas = self.products().next().map(|_| self.area_bytes().map(|bytes| b.shared(bytes as u32, 16)));
        let mut cx = Context::new(program, isa, Exprs::default(), program.symbols.clone(), BTreeMap::new(), &self.stored, &b);
        let (none, end, rows) = (b.index(0), cx.index(&mut b, &self.extent), cx.index(&mut b, &self.rows));
        let position = Position { cluster, rank, thread, rows };
        let mut parts = Parts { program, isa, args: cx.args, turn: None };
        for (phase, kept) in self.phases.iter().zip(&weights) {
            if let (Some(product), Some(kept)) = (&phase.product, kept) {
                self.with_context(phase, &mut parts, &mut b, |cx, b| product.keep_weights(self, phase, cx, b, &position, *kept));
            }
        }
        // The state that products take is brought anew in each turn: the barrier behind it is one for the weights too.
        b.loop_carrying(none, end, 1, &[], |b, turn, _| {
            parts.turn = Some(turn);
            let mut weights = &weights[..];
            for group in self.phases.chunk_by(|_, next| !next.begins) {
                let (first, kept) = (&group[0], weights[0]);
                weights = &weights[group.len()..];
                if let (Some(product), Some(kept), Some(areas)) = (&first.product, kept, areas) {
                    if product.meets {
                        b.meet(self.cluster);
                    }
                    self.with_context(first, &mut parts, b, |cx, b| product.multiply(self, first, cx, b, &position, kept, areas));
                } else if first.meets {
                    b.meet(self.cluster);
                }
                self.follow(group, &mut parts, b, &position, areas.map(|[_, sums]| sums));
            }
            vec![]
        });
        LoweredKernel {
            program: b.finish(),
            args: parts.args,
            tasks: self.rows.ceil_div(&Dim::from(self.row_tile)) * Dim::from(i64::from(self.cluster)),
            work_per_task: self.extent.clone(),
            worker_scratch_bytes: Dim::ZERO,
            optimise: true,
            block_threads: Some(THREADS as u32),
            decisions: vec![],
        }
    }

    /// Emits with a context of a phase, whose arguments are those of the kernel.
    fn with_context(&self, phase: &Phase, parts: &mut Parts, b: &mut Builder, emit: impl FnOnce(&mut Context, &mut Builder)) {
        let ranges = ranges_of(&phase.kernel, &sizes_around(parts.program, &phase.loop_indices));
        let (exprs, loops) = (phase.kernel.exprs.clone(), phase.loop_indices.clone());
        let mut cx = Context::new(parts.program, parts.isa, exprs, ranges, loops, &self.stored, b);
        cx.args = std::mem::take(&mut parts.args);
        let own = phase.loop_indices.iter().find(|(_, original)| **original == self.index);
        match own.zip(parts.turn) {
            Some(((own, _), turn)) => cx.bound(own, turn, |cx| emit(cx, b)),
            None => emit(&mut cx, b),
        }
        parts.args = cx.args;
    }

    /// What phases do at each row and unit of the block, one after the other: a thread has all columns of some units of a row, and keeps
    /// in registers what later phases need of them.
    fn follow(&self, group: &[Phase], parts: &mut Parts, b: &mut Builder, position: &Position, sums: Option<Reg>) {
        let points = b.index(self.row_tile * self.block_units());
        b.loop_carrying(position.thread, points, THREADS, &[], |b, point, _| {
            let units = b.index(self.block_units());
            let (row, unit) = (b.div_u(point, units), b.rem_u(point, units));
            let at = self.at(b, position, row, unit);
            let units = b.index(if group[0].column.is_some() { self.units } else { 1 });
            let (has_row, has_unit) = (b.lt(at.row, position.rows), b.lt(at.unit, units));
            let exists = b.and(has_row, has_unit);
            b.if_then(exists, |b| {
                let mut held = Held::new();
                for phase in group {
                    for time in 0..phase.times {
                        let column = b.add_int(at.unit, time * self.units);
                        let place = [(&phase.row, at.row), (&phase.column, column)];
                        let bound = place.into_iter().filter_map(|(axis, reg)| Some((axis.clone()?, reg)));
                        let (axes, indices): (Vec<Axis>, Vec<Reg>) = bound.unzip();
                        self.with_context(phase, parts, b, |cx, b| {
                            if let (Some(product), Some(sums)) = (&phase.product, sums) {
                                cx.accumulators = vec![product.total(self, phase, cx, b, [row, unit], time, sums)];
                            }
                            bind_all(cx, &axes, &indices, Box::new(|cx| self.point(phase, cx, b, time, &mut held)));
                        });
                    }
                }
            });
            vec![]
        });
    }

    /// What a phase does at a row and a column.
    fn point(&self, phase: &Phase, cx: &mut Context, b: &mut Builder, time: i64, held: &mut Held) {
        let Some(stores) = phase.simple_stores() else {
            let Body::Nest(Nest { stages, .. }) = &phase.kernel.body else { panic!("lower: a phase of another kind") };
            return nest::run(cx, b, &stages.iter().cloned().map(Work::Stage).collect::<Vec<Work>>(), None);
        };
        let registers =
            phase.own_loads.iter().filter_map(|own| Some((own.access.clone(), *held.get(&(own.access.buffer, own.slot + time))?)));
        cx.held = registers.collect();
        // Before anything is stored, which may overwrite what a value is made of.
        let values: Vec<Reg> = stores.iter().map(|store| cx.eval(b, store.value).reg).collect();
        for ((store, slot), value) in stores.iter().zip(&phase.store_slots).zip(values) {
            if let Some(slot) = slot {
                held.insert((store.buffer, slot + time), value);
            }
        }
        let stores = stores.iter().filter(|store| !self.private.contains(&store.buffer)).cloned().collect();
        stage::emit(cx, b, &Work::Stage(Stage::Sweep { axes: vec![], stores }), None);
    }

    /// Of all rows and units, those of these numbers in the cluster and the block.
    fn at(&self, b: &mut Builder, position: &Position, row: Reg, unit: Reg) -> At {
        let (first_row, first_unit) = (b.mul_int(position.cluster, self.row_tile), b.mul_int(position.rank, self.block_units()));
        At { row: b.add(first_row, row), unit: b.add(first_unit, unit) }
    }
}

/// What registers hold of buffers: a column of the thread's unit, by its number among those that are as many units apart as there are.
type Held = BTreeMap<(BufferId, i64), Reg>;

/// What contexts of phases share.
struct Parts<'a> {
    program: &'a Program,
    isa: &'a VectorIsa,
    args: Vec<Arg>,
    turn: Option<Reg>,
}

/// A row and a unit, of all.
struct At {
    row: Reg,
    unit: Reg,
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
        axes.is_empty().then_some(Phase {
            kernel,
            loop_indices: named.loop_indices,
            row,
            column,
            times: 1,
            product,
            meets: false,
            begins: true,
            own_loads: vec![],
            store_slots: vec![],
        })
    }

    /// The dim with the names that loops have in the program.
    fn by_program(&self, dim: &Dim) -> Dim {
        dim.substitute(&|symbol| self.loop_indices.get(symbol).map(|original| Dim::from(original.clone())))
    }

    /// What it stores at a row and a column, where that is all it does there.
    fn simple_stores(&self) -> Option<&[Store]> {
        match &self.kernel.body {
            Body::Contract(contract) => Some(&contract.stores),
            Body::Nest(Nest { stages, .. }) => match &stages[..] {
                [Stage::Sweep { axes, stores }] if axes.is_empty() => Some(stores),
                _ => None,
            },
            Body::Attention(_) => None,
        }
    }
}
