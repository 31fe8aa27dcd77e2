//! Maps that read along one index and write along another: transposes, and what is fused with them.
//!
//! ```text
//! y[j, i] = f(x[i, j], …)      →      a block of 32 × 32 points: x along its own rows to shared memory, then y along its own
//! ```
//!
//! Threads of a warp read and write neighbours both times. Bits do not depend on it.
//! Skips: small matrices, and what takes indices from memory.

use super::strides::{Moves, moves};
use super::tiles::usual;
use crate::kernel::{Axis, Body, ExprId, ExprKind, Exprs, Kernel, Nest, Program, Stage, Store};
use crate::lower::access::along;
use crate::lower::context::{Context, Value};
use crate::lower::nest::{Tasks, Work};
use crate::lower::ops::{lane_of, memory_of};
use crate::lower::rewrite::merge_axes;
use crate::lower::stage;
use crate::lower::tasks::{bind_all, for_each_task};
use crate::tile::{Builder, CooperativeStmt, Reg, Type};
use kiln_ir::{Dim, Ranges, Symbol};

/// Points of a block along both indices, and threads along one.
const SIDE: i64 = 32;
/// Threads along the other index.
const DOWN: i64 = 8;
/// Elements from row to row in shared memory, so that columns meet few banks twice.
const PITCH: i64 = SIDE + 1;
/// Shorter rows fill no block.
const LEAST_SIDE: i64 = 16;
/// Fewer points are not worth a barrier.
const LEAST_POINTS: i64 = 1 << 12;

/// A map in blocks that are turned.
pub(in crate::lower) struct Turned {
    others: Vec<Axis>,
    /// What is read runs along it.
    from: Axis,
    /// What is written runs along it.
    to: Axis,
    /// What is turned: the n-th accumulator of `stores`.
    loads: Vec<ExprId>,
    stores: Vec<Store>,
}

/// Brings a map into this form, if it turns what it reads. The kernel's expressions are then those to emit with.
pub(in crate::lower) fn form(kernel: &mut Kernel, program: &Program, sizes: &Ranges) -> Option<Turned> {
    let Body::Nest(Nest { stages, serial: false, .. }) = &kernel.body else { return None };
    if !matches!(&stages[..], [Stage::Sweep { axes, .. }] if axes.is_empty()) {
        return None;
    }
    let mut flat = merge_axes(kernel.clone(), sizes);
    let Body::Nest(Nest { parallel, stages, .. }) = &flat.body else { return None };
    let [Stage::Sweep { stores, .. }] = &stages[..] else { return None };
    let (to, others) = parallel.split_last()?;
    let takes_indices = |dim: &Dim| dim.symbols().iter().any(|s| ExprId::of_symbol(s).is_some());
    let straight = |store: &Store| {
        let moves = along(&store.offset, &to.index, &|s| *s == to.index);
        !takes_indices(&store.offset) && store.combine.is_none() && moves.is_some_and(|moves| moves.step.is(1))
    };
    let loaded = flat.loads();
    if !stores.iter().all(straight) || stores.iter().any(|store| loaded.contains(&store.buffer)) {
        return None;
    }
    let reached = flat.exprs.reached(stores.iter().map(|store| store.value));
    let loads: Vec<ExprId> = reached.iter().copied().filter(|id| matches!(flat.exprs.get(*id).kind, ExprKind::Load(_))).collect();
    if reached.iter().any(|id| flat.exprs.get(*id).kind.dims().into_iter().any(takes_indices)) {
        return None;
    }
    let is_apart = |id: &ExprId| flat.exprs.symbols(*id).contains(&to.index) && moves(&flat.exprs, *id, &to.index) < Moves::Near;
    let apart: Vec<ExprId> = loads.into_iter().filter(is_apart).collect();
    let runs = |axis: &&Axis| !apart.is_empty() && apart.iter().all(|id| moves(&flat.exprs, *id, &axis.index) >= Moves::Near);
    let place = others.iter().rposition(|axis| runs(&axis))?;
    let size = |axis: &Axis| usual(&axis.extent, program);
    let points = parallel.iter().map(size).fold(1, i64::saturating_mul);
    if size(&others[place]) < LEAST_SIDE || size(to) < LEAST_SIDE || points < LEAST_POINTS {
        return None;
    }
    let (mut others, to) = (others.to_vec(), to.clone());
    let from = others.remove(place);
    let (exprs, loads, ids) = with_accumulators(&flat.exprs, &apart);
    let stores = stores.iter().map(|store| Store { value: ids[store.value.0 as usize], ..store.clone() }).collect();
    flat.exprs = exprs;
    *kernel = flat;
    Some(Turned { others, from, to, loads, stores })
}

/// Expressions in which some loads are accumulators; those loads, and what became of each expression. No dim names one.
fn with_accumulators(exprs: &Exprs, turned: &[ExprId]) -> (Exprs, Vec<ExprId>, Vec<ExprId>) {
    let (mut result, mut loads, mut ids) = (Exprs::default(), vec![], Vec::<ExprId>::new());
    for (id, expr) in exprs.iter() {
        let kind = expr.kind.map(&mut |id| ids[id.0 as usize], &mut Dim::clone);
        let mut new = result.add(expr.dtype, kind);
        if let Some(number) = turned.iter().position(|load| *load == id) {
            loads.push(new);
            new = result.add(expr.dtype, ExprKind::Accumulator(number as u32));
        }
        ids.push(new);
    }
    (result, loads, ids)
}

impl Turned {
    /// Threads of a block.
    pub(in crate::lower) fn threads(&self) -> u32 {
        (SIDE * DOWN) as u32
    }

    /// Emits the kernel.
    pub(in crate::lower) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let [_, thread, _, _] = b.params();
        let tiles = |name: &str, axis: &Axis| Axis { index: Symbol::new(name), extent: axis.extent.ceil_div(&Dim::from(SIDE)) };
        let digits = [&self.others[..], &[tiles("#to_tile", &self.to), tiles("#from_tile", &self.from)]].concat();
        let shared: Vec<Reg> = (self.loads.iter())
            .map(|load| {
                let bytes = cx.exprs.get(*load).dtype.size_bytes() as i64;
                b.shared((SIDE * PITCH * bytes) as u32, 16)
            })
            .collect();
        for_each_task(cx, b, &digits, |cx, b| {
            let index = Symbol::new("#thread");
            cx.ranges.set_index(index.clone(), Dim::from(SIDE * DOWN));
            let number = Dim::from(index.clone());
            let of = |dim: Dim, cx: &mut Context, b: &mut Builder| cx.bound(&index, thread, |cx| cx.index(b, &dim));
            let (x, y) = (of(number.modulo(&Dim::from(SIDE)), cx, b), of(number.floor_div(&Dim::from(SIDE)), cx, b));
            let axes = [("#x", SIDE), ("#y", DOWN)].map(|(name, extent)| Axis { index: Symbol::new(name), extent: Dim::from(extent) });
            axes.iter().for_each(|axis| cx.ranges.set_index(axis.index.clone(), axis.extent.clone()));
            bind_all(cx, &axes, &[x, y], Box::new(|cx| self.task(cx, b, &shared)));
        });
        let count = Dim::product(digits.iter().map(|axis| &axis.extent));
        Tasks { count, work: Dim::from(SIDE * SIDE * self.stores.len() as i64) }
    }

    fn task(&self, cx: &mut Context, b: &mut Builder, shared: &[Reg]) {
        let (x, rows) = (Dim::symbol("#x"), (0..SIDE / DOWN).map(|turn| Dim::symbol("#y") + Dim::from(turn * DOWN)));
        let rows: Vec<Dim> = rows.collect();
        let (to_tile, from_tile) = (Dim::symbol("#to_tile") * Dim::from(SIDE), Dim::symbol("#from_tile") * Dim::from(SIDE));
        // Points beyond the edges are the last ones again, and are not stored.
        let inside = |place: Dim, axis: &Axis| place.minimum(&(&axis.extent - Dim::ONE).maximum(&Dim::ZERO));
        let place = |cx: &mut Context, b: &mut Builder, load: usize, row: &Dim, column: &Dim| {
            let bytes = cx.exprs.get(self.loads[load]).dtype.size_bytes() as i64;
            let skipped = cx.index(b, &((row * Dim::from(PITCH) + column) * Dim::from(bytes)));
            b.add(shared[load], skipped)
        };
        let mut values = Vec::new();
        for row in &rows {
            let (to, from) = (inside(&to_tile + row, &self.to), inside(&from_tile + &x, &self.from));
            cx.replaced(&self.to.index, to, |cx| {
                cx.replaced(&self.from.index, from, |cx| values.extend(self.loads.iter().map(|load| cx.eval(b, *load).reg)));
            });
        }
        for (row, values) in rows.iter().zip(values.chunks(self.loads.len())) {
            for (load, value) in values.iter().enumerate() {
                let mem = memory_of(cx.exprs.get(self.loads[load]).dtype);
                let at = place(cx, b, load, row, &x);
                b.store(mem, *value, at, 0);
            }
        }
        b.together(CooperativeStmt::Barrier);
        let work = Work::Stage(Stage::Sweep { axes: vec![], stores: self.stores.clone() });
        for row in &rows {
            let (to, from) = (&to_tile + &x, &from_tile + row);
            let exists = [(&to, &self.to), (&from, &self.from)].map(|(place, axis)| {
                let (place, end) = (cx.index(b, place), cx.index(b, &axis.extent));
                b.lt(place, end)
            });
            let exists = b.and(exists[0], exists[1]);
            cx.branch(
                b,
                exists,
                false,
                |cx, b| {
                    let level = cx.top();
                    let turned = (0..self.loads.len()).map(|load| {
                        let dtype = cx.exprs.get(self.loads[load]).dtype;
                        let at = place(cx, b, load, &x, row);
                        Value { reg: b.load(memory_of(dtype), Type::scalar(lane_of(dtype)), at, 0), level }
                    });
                    let turned = turned.collect();
                    let before = std::mem::replace(&mut cx.accumulators, turned);
                    cx.replaced(&self.to.index, to, |cx| cx.replaced(&self.from.index, from, |cx| stage::emit(cx, b, &work, None)));
                    cx.accumulators = before;
                    vec![]
                },
                |_, _| vec![],
            );
        }
        // Shared memory is free for the next block of points.
        b.together(CooperativeStmt::Barrier);
    }
}
