//! Where the sums of threads meet, and what is stored of them.

use super::shifted::plain_in;
use super::{StreamContract, Thread, Way};
use crate::kernel::Stage;
use crate::lower::context::{Context, Value};
use crate::lower::nest::Work;
use crate::lower::stage;
use crate::tile::{Builder, CooperativeStmt, EXCHANGE_LANES, Reg};
use kiln_ir::{Dim, Symbol};

impl StreamContract {
    /// Sums of groups of threads added up in shared memory: as many of them as a thread has lanes, row by row.
    pub(super) fn meet(&self, cx: &mut Context, b: &mut Builder, thread: &Thread, meeting: Reg, sums: &[Reg]) {
        let Way::Across { shifted, .. } = self.way else { panic!("lower: columns have no groups") };
        let (mem, size) = (self.mem(), self.size());
        let bytes = |b: &mut Builder, at: Reg| b.mul_int(at, size);
        let index = Symbol::new("#thread");
        let of = |dim: Dim, cx: &mut Context, b: &mut Builder| cx.bound(&index, thread.number, |cx| cx.index(b, &dim));
        let (column, part) = (
            of(Dim::from(index.clone()).modulo(&Dim::from(self.width())), cx, b),
            of(Dim::from(index.clone()).floor_div(&Dim::from(self.width())), cx, b),
        );
        let own = b.mul_int(thread.number, self.lanes * size);
        let to = b.add(meeting, own);
        let first = b.mul_int(part, self.lanes * self.width() * size);
        let first = b.add(meeting, first);
        let places: Vec<Reg> = (0..self.lanes)
            .map(|group| {
                let mut at = column;
                if shifted {
                    // Groups as many apart as lanes are shifted alike.
                    let (access, _) = plain_in(cx, self.matrix);
                    let (down, rest) = self.strides(&access).unwrap_or_else(|| panic!("lower: a matrix whose rows cannot be shifted"));
                    let offset = cx.index(b, &(Dim::from(group) * down + rest));
                    let rest = b.index(self.lanes - 1);
                    let shift = b.and(offset, rest);
                    at = b.add(at, shift);
                    let last = b.index(self.width() - 1);
                    at = b.min_s(at, last);
                }
                let skipped = bytes(b, at);
                b.add(first, skipped)
            })
            .collect();
        for (row, sum) in sums.iter().enumerate() {
            if row > 0 {
                b.together(CooperativeStmt::Barrier);
            }
            b.store(mem, *sum, to, 0);
            b.together(CooperativeStmt::Barrier);
            let mut total: Option<Reg> = None;
            for (group, place) in places.iter().enumerate() {
                let value = b.load(mem, self.sum_type(), *place, (group as i64 * self.width() * size) as i32);
                total = Some(total.map_or(value, |total| b.add(total, value)));
            }
            let total = total.unwrap_or_else(|| panic!("lower: no thread has no lane"));
            let skipped = bytes(b, thread.number);
            let at = b.add(thread.totals, skipped);
            b.store(mem, total, at, (row as i64 * self.threads * size) as i32);
        }
    }

    /// Sums of a column's threads added up, those of half a warp by exchange.
    pub(super) fn exchange(&self, cx: &mut Context, b: &mut Builder, thread: &Thread, sums: &[Reg]) {
        let Way::Along { threads } = self.way else { panic!("lower: columns have groups") };
        let shared = threads.min(i64::from(EXCHANGE_LANES));
        let totals: Vec<Reg> = sums
            .iter()
            .map(|sum| {
                let mut total = b.reduce_lanes(*sum, |b, x, y| b.add(x, y));
                let mut flip = shared as u32 / 2;
                while flip > 0 {
                    let other = b.from_lane(total, flip);
                    total = b.add(total, other);
                    flip /= 2;
                }
                total
            })
            .collect();
        let (x, y) = (Dim::symbol("#x"), Dim::symbol("#y"));
        let (lane, none) = (cx.index(b, &x.modulo(&Dim::from(shared))), b.index(0));
        let is_first = b.eq(lane, none);
        let place = (x.floor_div(&Dim::from(shared)) * Dim::from(self.width()) + y) * Dim::from(self.size());
        let place = cx.index(b, &place);
        cx.branch(
            b,
            is_first,
            false,
            |_, b| {
                let at = b.add(thread.totals, place);
                let apart = self.parts() * self.width() * self.size();
                (0..).zip(&totals).for_each(|(row, total)| b.store(self.mem(), *total, at, (row * apart) as i32));
                vec![]
            },
            |_, _| vec![],
        );
    }

    /// What is stored of each result, of which threads take neighbours.
    pub(super) fn epilogue(&self, cx: &mut Context, b: &mut Builder, thread: &Thread) {
        let result = Symbol::new("#result");
        let (count, columns, parts) = (self.rows * self.columns(), self.columns(), self.parts());
        cx.ranges.set_index(result.clone(), Dim::from(count));
        let end = b.index(count);
        cx.counted(b, &result, thread.number, end, self.threads, &[], |cx, b, _| {
            let number = Dim::from(result.clone());
            let (row, column) = (number.floor_div(&Dim::from(columns)), number.modulo(&Dim::from(columns)));
            let place = (&row * Dim::from(parts * self.width()) + &column) * Dim::from(self.size());
            let place = cx.index(b, &place);
            let row = cx.index(b, &(Dim::symbol("#row_tile") * Dim::from(self.rows) + row));
            let column = cx.index(b, &(Dim::symbol("#column_tile") * Dim::from(columns) + column));
            let (rows, all) = (cx.index(b, &self.row.extent), cx.index(b, &self.column.extent));
            let (row_exists, column_exists) = (b.lt(row, rows), b.lt(column, all));
            let exists = b.and(row_exists, column_exists);
            let work = Work::Stage(Stage::Sweep { axes: vec![], stores: self.stores.clone() });
            cx.branch(
                b,
                exists,
                false,
                |cx, b| {
                    let from = b.add(thread.totals, place);
                    let mut total: Option<Reg> = None;
                    for part in 0..parts {
                        let value = b.load(self.mem(), self.sum_type(), from, (part * self.width() * self.size()) as i32);
                        total = Some(total.map_or(value, |total| b.add(total, value)));
                    }
                    let reg = total.unwrap_or_else(|| panic!("lower: a sum has parts"));
                    let level = cx.top();
                    let before = std::mem::replace(&mut cx.accumulators, vec![Value { reg, level }]);
                    cx.bound(&self.row.index, row, |cx| {
                        cx.bound(&self.column.index, column, |cx| stage::emit(cx, b, &work, None));
                    });
                    cx.accumulators = before;
                    vec![]
                },
                |_, _| vec![],
            );
            vec![]
        });
    }
}
