//! Nests that read along one axis and store along another: blocks are transposed in registers.
//!
//! ```text
//! y[j, i] = f(x[i, j]):      for n × n points:   n rows of n lanes along j   →   transpose   →   n rows of n lanes along i
//! ```
//!
//! Vectors along i alone would be put together from n places in memory each.

use super::context::{Base, Context};
use super::nest::{Tasks, Work};
use super::ops::lane_of;
use super::stage::{along_axis, has_rest, whole_vectors};
use super::tasks::for_each_task;
use crate::kernel::{Access, Axis, ExprId, ExprKind, Stage, Store};
use crate::tile::{Builder, Lane, Reg, Shuffle};
use kiln_ir::{Dim, Symbol};

/// Elements along the axis of reading that one task takes, where there are more: a multiple of every lane count.
const TASK_ELEMENTS: i64 = 64;

/// A nest of one store.
pub(super) struct Transposed<'a> {
    store: &'a Store,
    /// The axis along which it reads.
    reads: Axis,
    /// The axis along which it stores.
    stores: Axis,
    others: Vec<Axis>,
    lanes: u32,
}

impl<'a> Transposed<'a> {
    /// What these works are over the parallel axes, if they are that.
    pub(super) fn of(cx: &Context, parallel: &[Axis], works: &'a [Work], lanes: u32) -> Option<Transposed<'a>> {
        let [Work::Stage(Stage::Sweep { axes, stores })] = works else { return None };
        let ([], [store]) = (axes.as_slice(), stores.as_slice()) else { return None };
        let dtype = cx.program.buffer(store.buffer).dtype;
        let fits = dtype.size_bytes() == 4 && matches!(lane_of(dtype), Lane::F32 | Lane::I32) && lanes >= 4;
        let needs = cx.needs(store.value);
        if !fits || store.combine.is_some() || needs.volatile || !cx.stays_inside(store) {
            return None;
        }
        let loads = loads(cx, works);
        let is_long = |axis: &&Axis| axis.extent.as_const().is_none_or(|n| n >= i64::from(lanes));
        let along = parallel.iter().filter(is_long).find(|axis| step(&store.offset, &axis.index).is_some_and(|step| step.is(1)))?;
        let is_read_along = |axis: &&Axis| {
            let moves_by = |access: &Access, by: i64| step(&access.offset, &axis.index).is_some_and(|step| step.is(by));
            let is_free = |access: &Access| !access.bounds.iter().any(|bound| bound.index.mentions(&axis.index));
            let far =
                |access: &Access| moves_by(access, 1) && step(&access.offset, &along.index).is_some_and(|step| !step.is(0) && !step.is(1));
            loads.iter().all(|access| is_free(access) && (moves_by(access, 0) || moves_by(access, 1)))
                && loads.iter().any(far)
                && step(&store.offset, &axis.index).is_some()
        };
        let reads = parallel.iter().filter(is_long).filter(|axis| axis.index != along.index).find(is_read_along)?;
        let others = parallel.iter().filter(|axis| axis.index != along.index && axis.index != reads.index).cloned().collect();
        Some(Transposed { store, reads: reads.clone(), stores: along.clone(), others, lanes })
    }

    /// Emits the nest; `work` is what one point takes.
    pub(super) fn lower(&self, cx: &mut Context, b: &mut Builder, work: &Dim) -> Tasks {
        let size = Dim::from(TASK_ELEMENTS);
        let block = Axis { index: Symbol::new("#block"), extent: self.reads.extent.ceil_div(&size) };
        let first = Dim::from(block.index.clone()) * &size;
        let end = (&first + &size).minimum(&self.reads.extent);
        let digits = [self.others.clone(), vec![block]].concat();
        for_each_task(cx, b, &digits, |cx, b| {
            cx.when_nonempty(b, &self.stores.extent, &[], |cx, b| {
                self.part(cx, b, &first, &end);
                vec![]
            });
        });
        let row = size.minimum(&self.reads.extent) * &self.stores.extent;
        Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work: work * row }
    }

    /// All elements along the axis of storing, `first..end` of the other.
    fn part(&self, cx: &mut Context, b: &mut Builder, first: &Dim, end: &Dim) {
        let (row, column) = (Symbol::new("#row"), Symbol::new("#column"));
        cx.ranges.set_index(row.clone(), self.stores.extent.clone());
        cx.ranges.set_index(column.clone(), self.reads.extent.clone());
        let step = i64::from(self.lanes);
        let [start, from, to] = [&Dim::ZERO, first, end].map(|dim| cx.index(b, dim));
        let (whole_rows, whole) = (whole_vectors(cx, b, &self.stores.extent, self.lanes), whole_vectors(cx, b, end, self.lanes));
        cx.counted(b, &row, start, whole_rows, step, &[], |cx, b, _| {
            cx.counted(b, &column, from, whole, step, &[], |cx, b, _| {
                self.block(cx, b, &row, &column);
                vec![]
            });
            vec![]
        });
        if has_rest(cx, &self.stores.extent, self.lanes) {
            let last = cx.index(b, &self.stores.extent);
            cx.counted(b, &self.stores.index, whole_rows, last, 1, &[], |cx, b, _| {
                cx.counted(b, &self.reads.index, from, whole, 1, &[], |cx, b, _| {
                    cx.store(b, self.store);
                    vec![]
                });
                vec![]
            });
        }
        if has_rest(cx, &self.reads.extent, self.lanes) {
            cx.counted(b, &self.reads.index, whole, to, 1, &[], |cx, b, _| {
                along_axis(cx, b, &self.stores, (&Dim::ZERO, &self.stores.extent), (self.lanes, false), &mut |cx, b| {
                    cx.store(b, self.store)
                });
                vec![]
            });
        }
    }

    /// One block of as many rows as lanes.
    fn block(&self, cx: &mut Context, b: &mut Builder, row: &Symbol, column: &Symbol) {
        let at = |index: &Symbol, ahead: u32| Dim::from(index.clone()) + Dim::from(i64::from(ahead));
        let rows = (0..self.lanes).map(|ahead| {
            cx.replaced(&self.stores.index, at(row, ahead), |cx| {
                cx.vectored(&self.reads.index, at(column, 0), self.lanes, |cx| {
                    let value = cx.eval(b, self.store.value);
                    cx.widened(b, value, self.lanes)
                })
            })
        });
        let rows: Vec<Reg> = rows.collect();
        let dtype = cx.program.buffer(self.store.buffer).dtype;
        for (ahead, value) in transpose(b, rows).into_iter().enumerate() {
            cx.replaced(&self.reads.index, at(column, ahead as u32), |cx| {
                cx.vectored(&self.stores.index, at(row, 0), self.lanes, |cx| {
                    cx.store_vector(b, Base::Buffer(self.store.buffer), dtype, &self.store.offset, &Dim::ONE, value);
                });
            });
        }
    }
}

/// What one step along an index moves an offset by, if it is the same everywhere.
fn step(offset: &Dim, index: &Symbol) -> Option<Dim> {
    let gathers = offset.symbols().iter().any(|s| ExprId::of_symbol(s).is_some());
    offset.linear_in(index).map(|(step, _)| step).filter(|_| !gathers)
}

/// Everything that is loaded.
fn loads(cx: &Context, works: &[Work]) -> Vec<Access> {
    let load = |id| match &cx.exprs.get(id).kind {
        ExprKind::Load(access) => Some(access.clone()),
        _ => None,
    };
    cx.exprs.reached(works.iter().flat_map(Work::roots)).into_iter().filter_map(load).collect()
}

/// Lane j of row i becomes lane i of row j, for as many rows as lanes: 4, 8 or 16.
pub(super) fn transpose(b: &mut Builder, rows: Vec<Reg>) -> Vec<Reg> {
    // Of each four rows: register c holds in its s-th four lanes column 4s + c of them.
    let mut groups: Vec<Vec<Reg>> = Vec::new();
    for four in rows.chunks(4) {
        let [w, x, y, z] = four else { panic!("lower: {} rows are no block", rows.len()) };
        let low = [b.shuffle(Shuffle::UnpackLow, *w, *x), b.shuffle(Shuffle::UnpackLow, *y, *z)];
        let high = [b.shuffle(Shuffle::UnpackHigh, *w, *x), b.shuffle(Shuffle::UnpackHigh, *y, *z)];
        let mut group = Vec::new();
        for [first, second] in [low, high] {
            group.push(b.shuffle(Shuffle::UnpackLowPairs, first, second));
            group.push(b.shuffle(Shuffle::UnpackHighPairs, first, second));
        }
        groups.push(group);
    }
    // Each turn halves the groups: the even fours of two groups side by side, then the odd ones, which are columns further on.
    while groups.len() > 1 {
        let merged = groups.chunks(2).map(|pair| {
            let mut columns = Vec::new();
            for op in [Shuffle::EvenFours, Shuffle::OddFours] {
                columns.extend(pair[0].iter().zip(&pair[1]).map(|(x, y)| b.shuffle(op, *x, *y)));
            }
            columns
        });
        groups = merged.collect();
    }
    groups.remove(0)
}
