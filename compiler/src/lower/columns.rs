//! Sums down many columns: the gradients of biases.
//!
//! ```text
//! sums[c] ← Σₖ value(k, c):     for each block of columns;   for 16 rows at a time;   for each vector of the block
//! ```
//!
//! One vector of columns at a time would read a line of each row and come back to the row much later. A block reads neighbouring
//! lines of each row; its virtual lanes wait in scratch, which stays in the first-level cache.

use super::ahead::ask_for_rows;
use super::context::{Context, Value};
use super::fold::{Fold, ORDER_LANES};
use super::nest::Work;
use super::reduce::Slots;
use super::stage::{has_rest, whole_vectors};
use crate::kernel::{Axis, Reduction, Stage};
use crate::tile::Builder;
use kiln_ir::{Dim, Symbol};

/// Vectors of one block.
const VECTORS: i64 = 4;
/// Columns that one task takes, where there are more.
const TASK_COLUMNS: i64 = 128;
/// Rows between those that are summed and those that are asked for: memory answers meanwhile.
const ROWS_AHEAD: i64 = 64;
/// Fewer rows are summed in registers.
const FEW_ROWS: i64 = 64;

/// An ordered sum down an axis, then stores.
pub(super) struct Columns<'a> {
    column: &'a Axis,
    row: &'a Axis,
    reduction: &'a Reduction,
    fold: Fold,
    stores: &'a Work,
    lanes: u32,
}

impl<'a> Columns<'a> {
    /// What these stages are, if they are that along the parallel axis `column`.
    pub(super) fn of(cx: &Context, column: &'a Axis, works: &'a [Work], lanes: u32) -> Option<Columns<'a>> {
        let [Work::Stage(Stage::Reduce { axes, reductions }), stores @ Work::Stage(Stage::Sweep { axes: inner, .. })] = works else {
            return None;
        };
        let ([row], [reduction], []) = (axes.as_slice(), reductions.as_slice(), inner.as_slice()) else { return None };
        let fold = Fold::new(reduction, cx.exprs.get(reduction.value).dtype);
        let is_long = row.extent.as_const().is_none_or(|n| n >= FEW_ROWS);
        let is_wide = column.extent.as_const().is_some_and(|n| n % (VECTORS * i64::from(lanes)) == 0);
        (fold.is_ordered() && is_long && is_wide).then_some(Columns { column, row, reduction, fold, stores, lanes })
    }

    /// Columns of one task.
    pub(super) fn task_columns(&self) -> i64 {
        self.column.extent.as_const().map_or(TASK_COLUMNS, |n| if n % TASK_COLUMNS == 0 { TASK_COLUMNS } else { n })
    }

    /// Emits the columns from `first` on that are one task's.
    pub(super) fn lower(&self, cx: &mut Context, b: &mut Builder, first: &Dim) {
        let (start, end) = (cx.index(b, first), cx.index(b, &(first + Dim::from(self.task_columns()))));
        let slots: Vec<Slots> = (0..VECTORS).map(|_| Slots::new(b, self.fold, self.lanes)).collect();
        let block = Symbol::new("#columns");
        cx.ranges.set_index(block.clone(), self.column.extent.clone());
        cx.counted(b, &block, start, end, VECTORS * i64::from(self.lanes), &[], |cx, b, _| {
            slots.iter().for_each(|slots| slots.clear(b, self.fold));
            self.rows(cx, b, &block, &slots);
            for (which, slots) in slots.iter().enumerate() {
                self.along(cx, &block, which, |cx| {
                    let all = slots.all(b, self.fold);
                    let total = self.fold.merge_all(b, all);
                    let reg = self.fold.finish(b, &total);
                    let level = cx.top();
                    let before = std::mem::replace(&mut cx.accumulators, vec![Value { reg, level }]);
                    cx.next_stage();
                    super::stage::emit(cx, b, self.stores, None);
                    cx.accumulators = before;
                });
            }
            vec![]
        });
    }

    /// Adds all rows to the virtual lanes of the block.
    fn rows(&self, cx: &mut Context, b: &mut Builder, block: &Symbol, slots: &[Slots]) {
        let whole = whole_vectors(cx, b, &self.row.extent, ORDER_LANES);
        let start = cx.index(b, &Dim::ZERO);
        let group = Symbol::new(&format!("{}g", self.row.index));
        cx.ranges.set_index(group.clone(), self.row.extent.clone());
        cx.when_nonempty(b, &self.row.extent, &[], |cx, b| {
            cx.counted(b, &group, start, whole, i64::from(ORDER_LANES), &[], |cx, b, _| {
                self.ask_ahead(cx, b, block, &group);
                for (which, slots) in slots.iter().enumerate() {
                    self.along(cx, block, which, |cx| {
                        for lane in 0..ORDER_LANES {
                            cx.replaced(&self.row.index, Dim::from(group.clone()) + Dim::from(i64::from(lane)), |cx| {
                                let value = cx.eval(b, self.reduction.value);
                                let value = cx.widened(b, value, self.lanes);
                                slots.add_to_lane(b, self.fold, lane, value);
                            });
                        }
                    });
                }
                vec![]
            });
            if has_rest(cx, &self.row.extent, ORDER_LANES) {
                let end = cx.index(b, &self.row.extent);
                cx.counted(b, &self.row.index, whole, end, 1, &[], |cx, b, _| {
                    for (which, slots) in slots.iter().enumerate() {
                        self.along(cx, block, which, |cx| {
                            let value = cx.eval(b, self.reduction.value);
                            let value = cx.widened(b, value, self.lanes);
                            let position = cx.index(b, &Dim::from(self.row.index.clone()));
                            slots.add(b, self.fold, position, value);
                        });
                    }
                    vec![]
                });
            }
            vec![]
        });
    }

    /// Asks for what a group of rows soon after this one needs.
    fn ask_ahead(&self, cx: &mut Context, b: &mut Builder, block: &Symbol, group: &Symbol) {
        let rows: Vec<Dim> = (0..i64::from(ORDER_LANES)).map(|lane| Dim::from(group.clone()) + Dim::from(ROWS_AHEAD + lane)).collect();
        cx.replaced(&self.column.index, Dim::from(block.clone()), |cx| {
            let columns = VECTORS * i64::from(self.lanes);
            ask_for_rows(cx, b, self.reduction.value, (&self.row.index, &rows), (&self.column.index, columns));
        });
    }

    /// With lanes along the columns of one vector of the block.
    fn along(&self, cx: &mut Context, block: &Symbol, which: usize, inside: impl FnOnce(&mut Context)) {
        let first = Dim::from(block.clone()) + Dim::from(which as i64 * i64::from(self.lanes));
        cx.vectored(&self.column.index, first, self.lanes, inside);
    }
}
