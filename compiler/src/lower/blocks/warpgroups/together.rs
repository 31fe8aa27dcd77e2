//! Contractions by warpgroups whose threads copy operands themselves.
//!
//! ```text
//! task (batch, group of rows, tile of columns, tile of rows):   begin steps 0 and 1;
//!   for each step s:   wait until s is there;   barrier;   begin its products;   begin step s + 2;   wait for the products of s - 1
//!   sums to shared memory;   epilogue of neighbours
//! ```
//!
//! Products run in the background while the next step is copied, and while the warps wait for each other: they are never waited for before
//! the next ones are under way.
//! *Source*: the pipeline is that of CUTLASS's sm90_mma_multistage_gmma_ss.

use super::{NEIGHBOURS, ROWS, THREADS, WarpgroupContract, pitch};
use crate::kernel::Axis;
use crate::lower::blocks::chunks::Chunks;
use crate::lower::blocks::epilogue::SumPlace;
use crate::lower::blocks::members::as_members;
use crate::lower::blocks::shared_matrix::{EIGHT_LINES, SharedMatrix};
use crate::lower::context::Context;
use crate::lower::tasks::for_each_task;
use crate::tile::{Builder, CooperativeStmt, Reg};
use kiln_ir::{DType, Dim, Symbol};

impl WarpgroupContract {
    /// Emits the kernel.
    pub(super) fn lower_together(&self, cx: &mut Context, b: &mut Builder, digits: &[Axis]) {
        let [_, thread, _, _] = b.params();
        let shape = self.shape;
        let [left, right] = self.chunks(cx);
        let bytes = (shape.stages() * (left.bytes() + right.bytes())).max(ROWS * pitch(shape.columns));
        let shared = b.shared(bytes as u32, EIGHT_LINES as u32);
        for_each_task(cx, b, digits, |cx, b| {
            as_members(cx, b, (thread, THREADS), &WarpgroupContract::members(), &[&left, &right], |cx, b| {
                let sums = self.multiply(cx, b, [&left, &right], shared);
                self.leave(cx, b, sums, 0..shape.sums(), (shared, pitch(shape.columns)), &Dim::symbol("#warp"));
                b.together(CooperativeStmt::Barrier);
                self.epilogue(cx, b, shared);
                // The next task's copies come to the same memory.
                b.together(CooperativeStmt::Barrier);
            });
        });
    }

    /// The thread's sums. All of the block's products are done then.
    fn multiply(&self, cx: &mut Context, b: &mut Builder, [left, right]: [&Chunks; 2], shared: Reg) -> Reg {
        let stage = left.bytes() + right.bytes();
        let steps = cx.index(b, &self.steps());
        let (none, one) = (b.index(0), b.index(1));
        let last = b.sub(steps, one);
        let zero = self.no_sums(b);
        let matrices = [left, right].map(|chunks| SharedMatrix::of(chunks, chunks.along_depth));
        let own_rows = self.own_rows(cx, b, matrices);
        let [step, turn] = ["#step", "#turn"].map(Symbol::new);
        for index in [&step, &turn] {
            cx.ranges.set_index(index.clone(), self.steps());
        }
        let from = Dim::from(step.clone()) * Dim::from(self.step());
        let copy = |cx: &mut Context, b: &mut Builder, tile: Reg| {
            let other = b.add_int(tile, left.bytes());
            for (chunks, tile) in [(left, tile), (right, other)] {
                let values = chunks.begin(cx, b, &from, tile);
                assert!(values.is_empty(), "lower: operands of warpgroups are copied");
            }
            b.together(CooperativeStmt::EndCopies);
        };
        let results = cx.when_nonempty(b, &self.contract.depth.extent, &[zero], |cx, b| {
            for first in 0..self.shape.ahead {
                let number = b.index(first);
                let number = b.min_s(number, last);
                let tile = b.add_int(shared, first * stage);
                // A scope of its own for what depends on the step.
                let end = b.add(number, one);
                cx.counted(b, &step, number, end, 1, &[], |cx, b, _| {
                    copy(cx, b, tile);
                    vec![]
                });
            }
            let ahead = b.index(self.shape.ahead * stage);
            let results = cx.counted(b, &turn, none, steps, 1, &[none, ahead, zero], |cx, b, carried| {
                let [now, ahead, sums] = *carried else { unreachable!("as many as at first") };
                b.together(CooperativeStmt::WaitForCopies(self.shape.ahead as u32 - 1));
                b.together(CooperativeStmt::ShareWithProducts);
                b.together(CooperativeStmt::Barrier);
                let tile = b.add(shared, now);
                let described = self.described(b, matrices, (tile, own_rows), left.bytes());
                let sums = self.products(b, matrices, described, sums);
                let later = cx.index(b, &Dim::from(turn.clone()));
                let later = b.add_int(later, self.shape.ahead);
                let later = b.min_s(later, last);
                let tile = b.add(shared, ahead);
                cx.bound(&step, later, |cx| copy(cx, b, tile));
                b.together(CooperativeStmt::WaitForProducts(1));
                let [now, ahead] = [now, ahead].map(|at| {
                    let after = b.add_int(at, stage);
                    let end = b.index(self.shape.stages() * stage);
                    let wraps = b.eq(after, end);
                    b.select(wraps, none, after)
                });
                vec![now, ahead, sums]
            });
            b.together(CooperativeStmt::WaitForProducts(0));
            b.together(CooperativeStmt::WaitForCopies(0));
            b.together(CooperativeStmt::Barrier);
            vec![results[2]]
        });
        results[0]
    }

    /// Stores what is wanted of the sums: neighbouring threads take neighbouring columns.
    fn epilogue(&self, cx: &mut Context, b: &mut Builder, shared: Reg) {
        let shape = self.shape;
        let results = self.results(shared, shape.sums());
        let lanes = results.lanes(cx, NEIGHBOURS);
        let across = Dim::from(shape.columns / lanes);
        results.store_from(cx, b, lanes, |number| {
            let place = number.floor_div(&Dim::from(lanes)) * Dim::from(THREADS) + Dim::symbol("#number");
            let (row, column) = (place.floor_div(&across), place.modulo(&across) * Dim::from(lanes));
            let address = &row * Dim::from(pitch(shape.columns)) + &column * Dim::from(DType::F32.size_bytes() as i64);
            SumPlace { address, row: self.first_row() + row, column: self.first_column() + column, chunk: None }
        });
    }
}
