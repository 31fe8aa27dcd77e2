//! Attention that stores no scores: its indices joined, and which keys its rows see. Blocks of threads compute it in tiles of their own
//! ([`super::blocks::attention`]); one thread by panels of queries ([`panels`]).

pub(super) mod panels;

use super::context::{Context, Value};
use super::nest::Work;
use super::rewrite::flatten;
use super::stage;
use crate::kernel::{Attention, Axis, Body, ExprId, Kernel, Stage, Store, sum_dtype};
use crate::tile::{Builder, Reg, math};
use kiln_ir::{DType, Dim, Ranges, Symbol};

/// An attention with each list of indices joined.
pub(super) struct Flat {
    pub(super) batch: Vec<Axis>,
    pub(super) row: Axis,
    pub(super) column: Axis,
    pub(super) keys: Axis,
    pub(super) depth: Axis,
    pub(super) query: ExprId,
    pub(super) key: ExprId,
    pub(super) score: ExprId,
    pub(super) value: ExprId,
    /// The keys that a row sees, by its index.
    pub(super) seen: [Dim; 2],
    /// The first key that any row sees, the first of the last row, the end of the first row, and the end of all: where rows are a tile of
    /// one index, by the indices `#lowest` and `#highest`.
    pub(super) tile_seen: [Dim; 4],
    pub(super) stores: Vec<Store>,
    pub(super) row_stores: Vec<Store>,
    /// Type of scores and sums.
    pub(super) dtype: DType,
}

/// The attention of a kernel so; the kernel's expressions are then those to emit with.
pub(super) fn flat(kernel: &mut Kernel, sizes: &Ranges) -> Option<Flat> {
    let Body::Attention(attention) = &kernel.body else { return None };
    let (rows, first, end) = (attention.rows.clone(), attention.first.clone(), attention.end.clone());
    let bound = |dim: &Dim, last: bool| {
        dim.substitute(&|s| {
            let axis = rows.iter().find(|axis| axis.index == *s)?;
            Some(match rows.len() {
                1 => Dim::symbol(if last { "#highest" } else { "#lowest" }),
                _ if last => &axis.extent - Dim::ONE,
                _ => Dim::ZERO,
            })
        })
    };
    let bounds = [bound(&first, false), bound(&first, true), bound(&end, false), bound(&end, true)];
    let mut joined = |list: fn(&mut Attention) -> &mut Vec<Axis>, name: &str| {
        let Body::Attention(attention) = &mut kernel.body else { return None };
        let axes = list(attention).clone();
        let axis = flatten(kernel, &axes, &Symbol::new(name), sizes);
        Some(axis)
    };
    let row = joined(|a| &mut a.rows, "#row")?;
    let column = joined(|a| &mut a.columns, "#column")?;
    let keys = joined(|a| &mut a.keys, "#key")?;
    let depth = joined(|a| &mut a.depth, "#depth")?;
    let Body::Attention(Attention { batch, query, key, score, value, first, end, stores, row_stores, .. }) = kernel.body.clone() else {
        return None;
    };
    let dtype = sum_dtype(kernel.exprs.get(query).dtype);
    Some(Flat {
        batch,
        row,
        column,
        keys,
        depth,
        query,
        key,
        score,
        value,
        seen: [first, end],
        tile_seen: bounds,
        stores,
        row_stores,
        dtype,
    })
}

/// The keys that rows of a task's tile see.
pub(super) struct Sight {
    /// The first tile of keys, and one more than the last.
    pub(super) tiles: [Reg; 2],
    /// The first key that any of them sees, and one more than the last.
    pub(super) seen: [Reg; 2],
    /// All rows see the keys between these.
    pub(super) common: [Reg; 2],
}

impl Flat {
    /// The keys that `rows` rows from `first` on see, `length` keys a tile.
    pub(super) fn sight(&self, cx: &mut Context, b: &mut Builder, first: &Dim, rows: i64, length: i64) -> Sight {
        let last = (first + Dim::from(rows - 1)).minimum(&(&self.row.extent - Dim::ONE));
        let [lowest, highest] = [first, &last].map(|dim| cx.index(b, dim));
        let [names_lowest, names_highest] = ["#lowest", "#highest"].map(Symbol::new);
        for name in [&names_lowest, &names_highest] {
            cx.ranges.set_index(name.clone(), self.row.extent.clone());
        }
        let [first, first_of_last, end_of_first, end] = self
            .tile_seen
            .clone()
            .map(|dim| cx.bound(&names_lowest, lowest, |cx| cx.bound(&names_highest, highest, |cx| cx.index(b, &dim))));
        let (none, keys) = (b.index(0), cx.index(b, &self.keys.extent));
        let (from, to) = (b.max_s(first, none), b.min_s(end, keys));
        let length = b.index(length);
        let begin = b.div_u(from, length);
        let above = b.add(to, length);
        let above = b.add_int(above, -1);
        // An end below 0 is that of no tile.
        let above = b.max_s(above, none);
        let end = b.div_u(above, length);
        Sight { tiles: [begin, end], seen: [from, to], common: [first_of_last, end_of_first] }
    }

    /// The first key that a row sees and one more than the last, at this point.
    pub(super) fn seen(&self, cx: &mut Context, b: &mut Builder) -> [Reg; 2] {
        let keys = cx.index(b, &self.keys.extent);
        let [first, end] = self.seen.clone().map(|dim| cx.index(b, &dim));
        [first, b.min_s(end, keys)]
    }

    /// The score of a sum of products at a row and a key, which may be beyond the last ones.
    pub(super) fn score(&self, cx: &mut Context, b: &mut Builder, (row, key): (&Dim, &Dim), sum: Reg) -> Reg {
        let level = cx.top();
        let before = std::mem::replace(&mut cx.accumulators, vec![Value { reg: sum, level }]);
        let within = |place: &Dim, axis: &Axis| place.minimum(&(&axis.extent - Dim::ONE));
        let (row, key) = (within(row, &self.row), within(key, &self.keys));
        let score = cx.replaced(&self.row.index, row, |cx| cx.replaced(&self.keys.index, key, |cx| cx.eval(b, self.score).reg));
        cx.accumulators = before;
        score
    }
}

impl Flat {
    /// Stores what there is once a row, where `leads` is 0.
    pub(super) fn store_row(&self, cx: &mut Context, b: &mut Builder, (row, leads): (&Dim, &Dim), largest: Reg, sum: Reg) {
        if self.row_stores.is_empty() {
            return;
        }
        let (at, rows, leads, none) = (cx.index(b, row), cx.index(b, &self.row.extent), cx.index(b, leads), b.index(0));
        let (exists, is_first) = (b.lt(at, rows), b.eq(leads, none));
        let stores_it = b.and(exists, is_first);
        let store = |cx: &mut Context, b: &mut Builder| {
            // Where nothing was seen, both are -inf.
            let log = math::log(b, sum);
            let (reg, level) = (b.add(largest, log), cx.top());
            let before = std::mem::replace(&mut cx.accumulators, vec![Value { reg, level }]);
            let work = Work::Stage(Stage::Sweep { axes: vec![], stores: self.row_stores.clone() });
            cx.replaced(&self.row.index, row.clone(), |cx| stage::emit(cx, b, &work, None));
            cx.accumulators = before;
            vec![]
        };
        cx.branch(b, stores_it, false, store, |_, _| vec![]);
    }
}

/// What scores are taken from before their exponentials: their largest, or 0 where nothing is seen.
pub(super) fn finite(b: &mut Builder, largest: Reg) -> Reg {
    let never = b.float(largest.ty, f64::NEG_INFINITY);
    let blind = b.eq(largest, never);
    let zero = b.float(largest.ty, 0.0);
    b.select(blind, zero, largest)
}
