//! What is stored of the sums that lie in memory: one loop over a few of them at a time, so that an epilogue is not code for each, and
//! what it reads is asked for before the first of it is used.

use super::chunks::{CHUNK_BYTES, PANEL_BYTES, chunk_address};
use super::teams::store_all;
use crate::kernel::{Axis, ExprId, Store};
use crate::lower::access::along;
use crate::lower::context::{Context, Value};
use crate::lower::ops::{lane_of, memory_of};
use crate::lower::stage::has_rest;
use crate::tile::{Builder, Reg, Type};
use kiln_ir::{DType, Dim, Symbol};

/// Places that a thread stores at once, at most.
const AT_ONCE: i64 = 4;

/// A thread's sums, and where they belong.
pub(super) struct Results<'a> {
    pub row: &'a Axis,
    pub column: &'a Axis,
    pub stores: &'a [Store],
    /// Type of the sums.
    pub dtype: DType,
    /// Address of the sums.
    pub sums: Reg,
    /// How many of them the thread stores.
    pub count: i64,
    /// Where results of the only store are left, if not in its buffer.
    pub staged: Option<Staged>,
}

/// Where sums are that are stored at once.
pub(super) struct SumPlace {
    /// Bytes beyond the address of the sums.
    pub address: Dim,
    /// Their row.
    pub row: Dim,
    /// The first one's column.
    pub column: Dim,
    /// Bytes from the beginning of [`Results::staged`] to where they go, by line and chunk of panels, where there is such memory.
    pub chunk: Option<[Dim; 2]>,
}

/// Shared memory that results are left in, to be stored from there: panels.
#[derive(Clone, Copy)]
pub(super) struct Staged {
    /// Where the first one lies.
    pub at: Reg,
    /// Bytes of each.
    pub panel_bytes: i64,
}

/// Sums on their way, and the results that they are of.
struct Loaded {
    number: usize,
    row: Reg,
    column: Reg,
    /// Whether there are such results; where not, they are those of the last ones.
    exist: Reg,
    sums: Value,
}

impl Results<'_> {
    /// How many of `neighbours` neighbouring columns are stored at once: all of them where memory runs along columns, or one.
    pub(super) fn lanes(&self, cx: &Context, neighbours: i64) -> i64 {
        let index = &self.column.index;
        let varies = |s: &Symbol| s == index || ExprId::of_symbol(s).is_some_and(|id| cx.needs(id).symbols.contains(index));
        let straight = |store: &Store| {
            along(&store.offset, index, &varies).is_some_and(|moves| moves.step.is(1) && moves.splits.is_empty()) && store.combine.is_none()
        };
        let whole = !has_rest(cx, &self.column.extent, neighbours as u32);
        if whole && self.stores.iter().all(straight) { neighbours } else { 1 }
    }

    /// Stores the thread's own sums, `lanes` neighbouring columns at a time; `place` says row and column of those from the given number on.
    pub(super) fn store(&self, cx: &mut Context, b: &mut Builder, lanes: i64, place: impl Fn(&Dim) -> (Dim, Dim)) {
        self.store_from(cx, b, lanes, |number| {
            let (row, column) = place(number);
            SumPlace { address: number * Dim::from(self.dtype.size_bytes() as i64), row, column, chunk: None }
        });
    }

    /// Stores sums, `lanes` neighbouring columns at a time, of which `place` says where the thread finds those from its given number on.
    pub(super) fn store_from(&self, cx: &mut Context, b: &mut Builder, lanes: i64, place: impl Fn(&Dim) -> SumPlace) {
        let all = self.count / lanes;
        let at_once = (1..=AT_ONCE).rev().find(|count| all % count == 0).unwrap_or(1);
        let at = Symbol::new("#at");
        cx.ranges.set_index(at.clone(), Dim::from(all / at_once));
        let first = if all == at_once { Dim::ZERO } else { Dim::from(at.clone()) * Dim::from(at_once * lanes) };
        let places: Vec<SumPlace> = (0..at_once).map(|number| place(&(&first + Dim::from(number * lanes)))).collect();
        if all == at_once {
            return self.store_places(cx, b, lanes, &places);
        }
        let (start, end) = (b.index(0), b.index(all / at_once));
        cx.counted(b, &at, start, end, 1, &[], |cx, b, _| {
            self.store_places(cx, b, lanes, &places);
            vec![]
        });
    }

    fn store_places(&self, cx: &mut Context, b: &mut Builder, lanes: i64, places: &[SumPlace]) {
        let loaded: Vec<Loaded> = places.iter().enumerate().map(|place| self.load(cx, b, lanes, place)).collect();
        for sums in &loaded {
            self.at(cx, lanes, sums, |cx| {
                self.stores.iter().for_each(|store| {
                    cx.eval(b, store.value);
                });
            });
        }
        if let (Some(staged), [store]) = (self.staged, self.stores) {
            let memory = memory_of(cx.program.buffer(store.buffer).dtype);
            for (sums, place) in loaded.iter().zip(places) {
                let [line, chunk] = place.chunk.as_ref().expect("results that are staged have a place");
                let skipped = chunk_address(cx, b, [line, chunk], (PANEL_BYTES / CHUNK_BYTES, staged.panel_bytes));
                let to = b.add(staged.at, skipped);
                self.at(cx, lanes, sums, |cx| {
                    let value = cx.eval(b, store.value);
                    let value = cx.widened(b, value, lanes as u32);
                    b.store(memory, value, to, 0);
                });
            }
            return;
        }
        for sums in &loaded {
            self.at(cx, lanes, sums, |cx| {
                let store = |cx: &mut Context, b: &mut Builder| {
                    store_all(cx, b, self.stores);
                    vec![]
                };
                cx.branch(b, sums.exist, false, store, |_, _| vec![]);
            });
        }
    }

    fn load(&self, cx: &mut Context, b: &mut Builder, lanes: i64, (number, place): (usize, &SumPlace)) -> Loaded {
        let [row, column, rows, columns] = [&place.row, &place.column, &self.row.extent, &self.column.extent].map(|dim| cx.index(b, dim));
        let (row_exists, column_exists) = (b.lt(row, rows), b.lt(column, columns));
        let exist = b.and(row_exists, column_exists);
        let (last_row, last_column) = (b.add_int(rows, -1), b.add_int(columns, -lanes));
        let (row, column) = (b.min_s(row, last_row), b.min_s(column, last_column));
        let skipped = cx.index(b, &place.address);
        let from = b.add(self.sums, skipped);
        let ty = Type::scalar(lane_of(self.dtype)).times(lanes as u32);
        let sums = Value { reg: b.load(memory_of(self.dtype), ty, from, 0), level: cx.top() };
        Loaded { number, row, column, exist, sums }
    }

    /// With sums as the accumulator, at the results that they are of.
    fn at(&self, cx: &mut Context, lanes: i64, sums: &Loaded, inside: impl FnOnce(&mut Context)) {
        let before = std::mem::replace(&mut cx.accumulators, vec![sums.sums]);
        // Names of their own, as what is known of some results is not true of others.
        let [row, column] = ["row", "column"].map(|which| Symbol::new(&format!("#stored_{which}{}", sums.number)));
        cx.ranges.set_index(row.clone(), self.row.extent.clone());
        cx.ranges.set_index(column.clone(), self.column.extent.clone());
        cx.bound(&row, sums.row, |cx| {
            cx.bound(&column, sums.column, |cx| {
                cx.replaced(&self.row.index, Dim::from(row.clone()), |cx| match lanes {
                    1 => cx.replaced(&self.column.index, Dim::from(column.clone()), inside),
                    _ => cx.vectored(&self.column.index, Dim::from(column.clone()), lanes as u32, inside),
                });
            });
        });
        cx.accumulators = before;
    }
}
