//! What is stored of the sums that lie in a thread's own memory: one loop, so that an epilogue is code once.

use crate::kernel::{Axis, ExprId, Stage, Store};
use crate::lower::access::along;
use crate::lower::context::{Context, Value};
use crate::lower::nest::Work;
use crate::lower::ops::{lane_of, memory_of};
use crate::lower::stage::{self, has_rest};
use crate::tile::{Builder, Reg, Type};
use kiln_ir::{DType, Dim, Symbol};

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
}

/// Where sums are that are stored at once.
pub(super) struct SumPlace {
    /// Bytes beyond the address of the sums.
    pub address: Dim,
    /// Their row.
    pub row: Dim,
    /// The first one's column.
    pub column: Dim,
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
    pub(super) fn store(&self, cx: &mut Context, b: &mut Builder, lanes: i64, place: impl FnOnce(&Dim) -> (Dim, Dim)) {
        self.store_from(cx, b, lanes, |number| {
            let (row, column) = place(number);
            SumPlace { address: number * Dim::from(self.dtype.size_bytes() as i64), row, column }
        });
    }

    /// Stores sums, `lanes` neighbouring columns at a time, of which `place` says where the thread finds those from its given number on.
    pub(super) fn store_from(&self, cx: &mut Context, b: &mut Builder, lanes: i64, place: impl FnOnce(&Dim) -> SumPlace) {
        let ty = Type::scalar(lane_of(self.dtype)).times(lanes as u32);
        let at = Symbol::new("#at");
        cx.ranges.set_index(at.clone(), Dim::from(self.count / lanes));
        let is_one = self.count == lanes;
        let number = if is_one { Dim::ZERO } else { Dim::from(at.clone()) * Dim::from(lanes) };
        let SumPlace { address, row, column } = place(&number);
        let store = |cx: &mut Context, b: &mut Builder| {
            let (row, column) = (cx.index(b, &row), cx.index(b, &column));
            let (rows, columns) = (cx.index(b, &self.row.extent), cx.index(b, &self.column.extent));
            let (row_exists, column_exists) = (b.lt(row, rows), b.lt(column, columns));
            let exists = b.and(row_exists, column_exists);
            let work = Work::Stage(Stage::Sweep { axes: vec![], stores: self.stores.to_vec() });
            cx.branch(
                b,
                exists,
                false,
                |cx, b| {
                    let skipped = cx.index(b, &address);
                    let from = b.add(self.sums, skipped);
                    let reg = b.load(memory_of(self.dtype), ty, from, 0);
                    let level = cx.top();
                    let before = std::mem::replace(&mut cx.accumulators, vec![Value { reg, level }]);
                    let first = Symbol::new("#first_column");
                    cx.ranges.set_index(first.clone(), self.column.extent.clone());
                    let here = Dim::from(first.clone());
                    cx.bound(&self.row.index, row, |cx| {
                        cx.bound(&first, column, |cx| match lanes {
                            1 => cx.replaced(&self.column.index, here, |cx| stage::emit(cx, b, &work, None)),
                            _ => cx.vectored(&self.column.index, here, lanes as u32, |cx| stage::emit(cx, b, &work, None)),
                        });
                    });
                    cx.accumulators = before;
                    vec![]
                },
                |_, _| vec![],
            );
        };
        if is_one {
            return store(cx, b);
        }
        let (start, end) = (b.index(0), b.index(self.count / lanes));
        cx.counted(b, &at, start, end, 1, &[], |cx, b, _| {
            store(cx, b);
            vec![]
        });
    }
}
