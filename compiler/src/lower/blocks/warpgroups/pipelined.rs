//! Contractions by warpgroups for which another one has operands brought by the tensor copy engine.
//!
//! ```text
//! block:   for each of its tasks (batch, group of rows, tile of columns, tile of rows), the next as many beyond as there are blocks:
//!   one thread:       for each step:   wait until its room is free;   ask for its boxes
//!   two warpgroups:   for each step:   wait until it is there;   begin its products;   wait for those of the step before, whose room is free
//!                     some columns of the sums to shared memory;   epilogue of neighbours;   the next columns
//! ```
//!
//! The ring of rooms goes round through all tasks of a block, so that the first steps of a task are brought while the one before it is
//! stored; blocks are as many as run at a time. Two blocks of a cluster take neighbouring tiles of rows and the same tile of columns, of which
//! each asks for half, for both: a room is free when both have used it. The thread that asks needs few registers, and its warpgroup leaves
//! most of its own to the others.
//! *Source*: the pipeline is that of CUTLASS's sm90_mma_tma_gmma_ss_warpspecialized, kernel sm90_gemm_tma_warpspecialized_cooperative.

use super::{NEIGHBOURS, THREADS, WARPGROUP, WarpgroupContract, pitch};
use crate::kernel::Axis;
use crate::lower::blocks::boxes::Boxes;
use crate::lower::blocks::chunks::{CHUNK_BYTES, PANEL_BYTES};
use crate::lower::blocks::epilogue::{Staged, SumPlace};
use crate::lower::blocks::joined::JoinedContract;
use crate::lower::blocks::members::{WARP, as_members};
use crate::lower::blocks::shared_matrix::{EIGHT_LINES, SharedMatrix};
use crate::lower::context::{Context, Leaves};
use crate::lower::tasks::for_each_number;
use crate::tile::{Builder, CooperativeStmt, Lane, PipelineStmt, Reg, Type, fragments};
use kiln_ir::{DType, Dim, Symbol};

/// Shared memory of a block, in bytes. *Source*: CUDA Programming Guide, compute capability 9.0, less what its alignment takes.
const SHARED_BYTES: i64 = (227 << 10) - EIGHT_LINES;
/// Steps that lie in shared memory at most.
const MOST_ROOMS: i64 = 8;
/// Bytes of a barrier.
const BARRIER_BYTES: i64 = 8;
/// Registers of a thread of the warpgroup that asks, and of one that multiplies: those of all three are no more than there are.
const REGISTERS: [u32; 2] = [40, 232];

/// Rooms of a block's ring, and their barriers.
struct Ring {
    /// Where the first room lies.
    rooms: Reg,
    /// Bytes of each.
    bytes: i64,
    count: i64,
    /// Of each room: it is full.
    full: Reg,
    /// Of each room: it is free.
    free: Reg,
    /// Steps of a task.
    steps: Reg,
    /// Blocks that bring to each other's, and the number of this one.
    cluster: i64,
    rank: Reg,
}

/// Where results lie before they are stored, of all warpgroups.
struct Areas {
    /// Sums, as floats.
    sums: Reg,
    /// Results, and the boxes by which the copy engine stores them, where it does.
    results: Option<(Reg, Boxes)>,
}

/// The room that comes next, and the parity of its phase.
#[derive(Clone, Copy)]
struct Turn {
    room: Reg,
    parity: Reg,
}

impl Ring {
    /// The room of the first step of the block's task of that number.
    fn first(&self, b: &mut Builder, task: Reg) -> Turn {
        let step = b.mul(task, self.steps);
        let (count, two) = (b.index(self.count), b.index(2));
        let room = b.rem_u(step, count);
        let round = b.div_u(step, count);
        let parity = b.rem_u(round, two);
        Turn { room, parity: b.wrap(parity, Lane::I32) }
    }

    fn next(&self, b: &mut Builder, turn: Turn) -> Turn {
        let (next, end, none) = (b.add_int(turn.room, 1), b.index(self.count), b.index(0));
        let wraps = b.eq(next, end);
        let other = opposite(b, turn.parity);
        Turn { room: b.select(wraps, none, next), parity: b.select(wraps, other, turn.parity) }
    }

    /// Tells all blocks that bring to it that a room has been used, where the thread is to.
    fn leave(&self, b: &mut Builder, barrier: Reg, when: Reg) {
        for rank in 0..self.cluster as u32 {
            b.pipeline(PipelineStmt::Arrive { barrier, when, rank: (self.cluster > 1).then_some(rank) });
        }
    }

    /// Where the room lies, its barrier that says it is full, and the one that says it is free.
    fn places(&self, b: &mut Builder, room: Reg) -> [Reg; 3] {
        [(self.rooms, self.bytes), (self.full, BARRIER_BYTES), (self.free, BARRIER_BYTES)].map(|(first, bytes)| {
            let skipped = b.mul_int(room, bytes);
            b.add(first, skipped)
        })
    }
}

fn opposite(b: &mut Builder, parity: Reg) -> Reg {
    let one = b.int(Type::I32, 1);
    b.xor(parity, one)
}

impl WarpgroupContract {
    /// Columns of sums that lie in shared memory at a time.
    fn stored_columns(&self) -> i64 {
        if self.shape.columns % 64 == 0 { 64 } else { 32 }
    }

    /// Bytes for the sums of a warpgroup.
    fn sum_bytes(&self) -> i64 {
        fragments::WARPGROUP_ROWS * pitch(self.stored_columns())
    }

    /// Emits the kernel.
    pub(super) fn lower_pipelined(&self, cx: &mut Context, b: &mut Builder, digits: &[Axis], cluster: i64) {
        let [_, thread, begin, end] = b.params();
        b.set_persistent();
        b.set_cluster(cluster as u32);
        let chunks = self.chunks(cx);
        let matrices = chunks.each_ref().map(|chunks| SharedMatrix::of(chunks, chunks.along_depth));
        let [left, right] = chunks.each_ref().map(|chunks| chunks.boxes(cx, &self.contract.batch).expect("the form was chosen for it"));
        let boxes = [left, right.for_all(cluster)];
        let bytes = boxes.iter().map(Boxes::total).sum::<i64>();
        let stored = self.stored_boxes(cx);
        let warpgroups = THREADS / WARPGROUP;
        let [sum_bytes, stored_bytes] = [self.sum_bytes(), stored.as_ref().map_or(0, Boxes::total)].map(|bytes| warpgroups * bytes);
        let count = ((SHARED_BYTES - sum_bytes - stored_bytes) / (bytes + 2 * BARRIER_BYTES)).min(MOST_ROOMS);
        let rooms = b.shared((count * bytes) as u32, EIGHT_LINES as u32);
        let results = stored.map(|boxes| (b.shared(stored_bytes as u32, EIGHT_LINES as u32), boxes));
        let areas = Areas { sums: b.shared(sum_bytes as u32, 16), results };
        let [full, free] = [(); 2].map(|()| b.shared((count * BARRIER_BYTES) as u32, BARRIER_BYTES as u32));
        let rank = if cluster > 1 { b.cluster_rank() } else { b.index(0) };
        let ring = Ring { rooms, bytes, count, full, free, steps: cx.index(b, &self.steps()), cluster, rank };
        cx.ranges.set_index(Symbol::new("#step"), self.steps());
        let none = b.index(0);
        let is_first = b.eq(thread, none);
        b.if_then(is_first, |b| {
            for room in 0..count {
                let room = b.index(room);
                let [_, full, free] = ring.places(b, room);
                b.pipeline(PipelineStmt::Make { barrier: full, arrivals: 1 });
                b.pipeline(PipelineStmt::Make { barrier: free, arrivals: (cluster * THREADS / WARP) as u32 });
            }
        });
        b.pipeline(PipelineStmt::ShowBarriers);
        b.meet(cluster as u32);
        let blocks = b.blocks();
        let left = b.sub(end, begin);
        let last = b.add_int(blocks, -1);
        let left = b.add(left, last);
        let tasks = b.div_u(left, blocks);
        let each = |cx: &mut Context, b: &mut Builder, work: &dyn Fn(&mut Context, &mut Builder, Turn)| {
            b.loop_carrying(none, tasks, 1, &[], |b, task, _| {
                cx.scoped(b, Leaves::Everything, |cx, b| {
                    let skipped = b.mul(task, blocks);
                    let number = b.add(begin, skipped);
                    let turn = ring.first(b, task);
                    for_each_number(cx, b, digits, number, number, |cx, b| work(cx, b, turn));
                });
                vec![]
            });
        };
        let threads = b.index(THREADS);
        let asks = b.ge(thread, threads);
        let ask = |cx: &mut Context, b: &mut Builder| {
            b.pipeline(PipelineStmt::Registers { count: REGISTERS[0], more: false });
            let is_one = b.eq(thread, threads);
            let all = |cx: &mut Context, b: &mut Builder| {
                each(cx, b, &|cx, b, turn| self.bring(cx, b, &boxes, &ring, turn));
                vec![]
            };
            cx.branch(b, is_one, false, all, |_, _| vec![]);
            vec![]
        };
        let multiply = |cx: &mut Context, b: &mut Builder| {
            b.pipeline(PipelineStmt::Registers { count: REGISTERS[1], more: true });
            let [number, lane, warp, warpgroup] = WarpgroupContract::members();
            let own = ("#own", WARPGROUP, number.2.modulo(&Dim::from(WARPGROUP)));
            as_members(cx, b, (thread, THREADS), &[number, own, lane, warp, warpgroup], &[], |cx, b| {
                each(cx, b, &|cx, b, turn| {
                    let held = self.multiply_brought(cx, b, matrices, &ring, boxes[0].total(), turn);
                    self.store_sums(cx, b, held, &areas);
                });
            });
            if areas.results.is_some() {
                // Shared memory is there until all of it is stored.
                b.pipeline(PipelineStmt::WaitForStores { read: false });
            }
            vec![]
        };
        cx.branch(b, asks, false, ask, multiply);
        if cluster > 1 {
            // Others may still bring to this block, or tell it that they are done.
            b.meet(cluster as u32);
        }
    }

    /// Has all steps of a task brought.
    fn bring(&self, cx: &mut Context, b: &mut Builder, boxes: &[Boxes; 2], ring: &Ring, turn: Turn) {
        let none = b.index(0);
        cx.counted(b, &Symbol::new("#step"), none, ring.steps, 1, &[turn.room, turn.parity], |cx, b, carried| {
            let turn = Turn { room: carried[0], parity: carried[1] };
            let [room, full, free] = ring.places(b, turn.room);
            // Nobody has used a room in the first round: the phase before the first counts as over.
            let parity = opposite(b, turn.parity);
            b.pipeline(PipelineStmt::Wait { barrier: free, parity });
            b.pipeline(PipelineStmt::ArriveExpecting { barrier: full, bytes: ring.bytes as u32 });
            let other = b.add_int(room, boxes[0].total());
            boxes.iter().zip([room, other]).for_each(|(boxes, to)| boxes.ask(cx, b, (to, full), ring.rank));
            let next = ring.next(b, turn);
            vec![next.room, next.parity]
        });
    }

    /// The thread's sums of a task, whose rooms are all free then.
    fn multiply_brought(
        &self,
        cx: &mut Context,
        b: &mut Builder,
        matrices: [SharedMatrix; 2],
        ring: &Ring,
        left_bytes: i64,
        turn: Turn,
    ) -> Reg {
        let none = b.index(0);
        let zero = self.no_sums(b);
        let lane = cx.index(b, &Dim::symbol("#lane"));
        let own_rows = self.own_rows(cx, b, matrices);
        let tells = b.eq(lane, none);
        let init = [turn.room, turn.parity, ring.free, zero];
        let results = cx.counted(b, &Symbol::new("#step"), none, ring.steps, 1, &init, |cx, b, carried| {
            let [room, parity, before, sums] = *carried else { unreachable!("as many as at first") };
            let turn = Turn { room, parity };
            let [tile, full, free] = ring.places(b, room);
            b.pipeline(PipelineStmt::Wait { barrier: full, parity });
            let described = self.described(b, matrices, (tile, own_rows), left_bytes);
            let sums = self.products(b, matrices, described, sums);
            b.together(CooperativeStmt::WaitForProducts(1));
            let step = cx.index(b, &Dim::symbol("#step"));
            let is_later = b.gt(step, none);
            let when = b.and(tells, is_later);
            ring.leave(b, before, when);
            let next = ring.next(b, turn);
            vec![next.room, next.parity, free, sums]
        });
        b.together(CooperativeStmt::WaitForProducts(0));
        let is_any = b.gt(ring.steps, none);
        let when = b.and(tells, is_any);
        ring.leave(b, results[2], when);
        results[3]
    }

    /// The boxes that the columns from `part` on of a warpgroup's results are stored by, where the copy engine can store them.
    fn stored_boxes(&self, cx: &Context) -> Option<Boxes> {
        let JoinedContract { batch, row, column, stores, .. } = &self.contract;
        let [store] = &stores[..] else { return None };
        let dtype = cx.program.buffer(store.buffer).dtype;
        let length = PANEL_BYTES / dtype.size_bytes() as i64;
        let is_known = matches!(dtype, DType::F16 | DType::BF16 | DType::F32);
        if !is_known || store.combine.is_some() || self.stored_columns() % length != 0 || !cx.stays_inside(store) {
            return None;
        }
        let lines = fragments::WARPGROUP_ROWS;
        let own_row = self.first_row() + Dim::symbol("#warpgroup") * Dim::from(lines);
        let axes = [(column, self.first_column()), (row, own_row)];
        Boxes::new(cx, (store.buffer, &store.offset), dtype, axes, batch, (lines, self.stored_columns() / length))
    }

    /// Stores what is wanted of the sums, some columns after the other: neighbouring threads of a warpgroup take neighbouring columns, and
    /// store them, or leave them in shared memory for the copy engine, which one of them asks.
    fn store_sums(&self, cx: &mut Context, b: &mut Builder, held: Reg, areas: &Areas) {
        let (columns, warpgroup) = (self.stored_columns(), Dim::symbol("#warpgroup"));
        let pitch = pitch(columns);
        let own_warps = Dim::from(WARPGROUP / WARP);
        let number = cx.index(b, &(&warpgroup + Dim::ONE));
        let number = b.wrap(number, Lane::I32);
        let own = |cx: &mut Context, b: &mut Builder, (first, bytes): (Reg, i64)| {
            let skipped = cx.index(b, &(&warpgroup * Dim::from(bytes)));
            b.add(first, skipped)
        };
        let sums = own(cx, b, (areas.sums, self.sum_bytes()));
        let staged = areas.results.as_ref().map(|(first, boxes)| (own(cx, b, (*first, boxes.total())), boxes));
        let count = columns * fragments::WARPGROUP_ROWS / WARPGROUP;
        let mut results = self.results(sums, count);
        results.staged = staged.as_ref().map(|(at, boxes)| Staged { at: *at, panel_bytes: boxes.bytes });
        let lanes = match &staged {
            Some((_, boxes)) => CHUNK_BYTES / boxes.map.dtype.size_bytes() as i64,
            None => results.lanes(cx, NEIGHBOURS),
        };
        let across = Dim::from(columns / lanes);
        let (own_thread, none) = (cx.index(b, &Dim::symbol("#own")), b.index(0));
        let asks = b.eq(own_thread, none);
        for part in 0..self.shape.columns / columns {
            match staged {
                // All have left the sums before; who asks comes to the next barrier when the engine has read the results before.
                Some(_) => b.if_then(asks, |b| b.pipeline(PipelineStmt::WaitForStores { read: true })),
                // All have read the sums before.
                None => b.pipeline(PipelineStmt::WarpgroupBarrier { number }),
            }
            let warp = Dim::symbol("#warp").modulo(&own_warps);
            self.leave(cx, b, held, part * count..(part + 1) * count, (sums, pitch), &warp);
            b.pipeline(PipelineStmt::WarpgroupBarrier { number });
            let place = |number: &Dim| {
                let place = number.floor_div(&Dim::from(lanes)) * Dim::from(WARPGROUP) + Dim::symbol("#own");
                let (row, chunk) = (place.floor_div(&across), place.modulo(&across));
                let column = &chunk * Dim::from(lanes);
                let address = &row * Dim::from(pitch) + &column * Dim::from(DType::F32.size_bytes() as i64);
                let result_row = self.first_row() + &warpgroup * Dim::from(fragments::WARPGROUP_ROWS) + &row;
                let column = self.first_column() + Dim::from(part * columns) + column;
                SumPlace { address, row: result_row, column, chunk: Some([row, chunk]) }
            };
            // What is known of results of this part is not true of the next.
            cx.scoped(b, Leaves::Everything, |cx, b| results.store_from(cx, b, lanes, place));
            if let Some((at, boxes)) = &staged {
                b.together(CooperativeStmt::ShareWithProducts);
                b.pipeline(PipelineStmt::WarpgroupBarrier { number });
                let mut boxes = (*boxes).clone();
                boxes.first[0] = &boxes.first[0] + Dim::from(part * columns);
                let store = |cx: &mut Context, b: &mut Builder| {
                    boxes.store(cx, b, *at);
                    vec![]
                };
                cx.branch(b, asks, false, store, |_, _| vec![]);
            }
        }
    }
}
