//! Contractions of half floats, and on request of f32 as tf32, by four warps together on Hopper's matrix units, which read both operands in shared memory.
//!
//! ```text
//! task (batch, group of rows, tile of columns, tile of rows):   begin steps 0 and 1;
//!   for each step s:   wait until s is there;   barrier;   begin its products;   begin step s + 2;   wait for the products of s - 1
//!   sums to shared memory;   epilogue of neighbours
//! ```
//!
//! Products run in the background while the next step is copied, and while the warps wait for each other: they are never waited for before
//! the next ones are under way. Of f32 the units read what they want in shared memory: the last 13 bits are dropped, not rounded. As with [`matrices`](super::matrices) the order of each sum is the unit's own, the same whatever the grid.
//! *Source*: PTX ISA 9.0, §9.7.15 (wgmma); the pipeline is that of CUTLASS's sm90_mma_multistage_gmma_ss.

use super::chunks::{Chunks, PANEL_BYTES};
use super::epilogue::{Results, SumPlace};
use super::joined::{JoinedContract, kind};
use super::members::{WARP, as_members, number};
use super::shared_matrix::{EIGHT_LINES, SharedMatrix};
use super::staging::Operand;
use crate::kernel::{Axis, Kernel, Program};
use crate::lower::VectorIsa;
use crate::lower::context::Context;
use crate::lower::nest::Tasks;
use crate::lower::rewrite::ranges_of;
use crate::lower::stored;
use crate::lower::tasks::for_each_task;
use crate::tile::{Builder, CooperativeStmt, Mem, Reg, Type, fragments};
use crate::tuning::{Asking, HOPELESS, Subject};
use kiln_ir::{DType, Dim, Ranges, Symbol};
use std::collections::BTreeMap;

/// Products in depth of a step, which is a line of [`PANEL_BYTES`].
const PRODUCTS: i64 = PANEL_BYTES / (2 * fragments::SIDE_BYTES);
/// Threads of a warpgroup.
const WARPGROUP: i64 = 128;
/// Rows of a block. Each warpgroup has 64 of them.
const ROWS: i64 = 128;
/// Contractions of fewer columns do not fill warpgroups.
const LEAST_COLUMNS: i64 = 64;
/// Threads of a block.
const THREADS: i64 = ROWS / fragments::WARPGROUP_ROWS * WARPGROUP;
/// Floats between rows of sums in shared memory that no row has, so that eight rows meet no bank twice.
const PADDING: i64 = 8;
/// Neighbouring columns that are stored at once: 16 bytes of half floats.
const NEIGHBOURS: i64 = 8;
/// Multiprocessors of the GPU that shapes are chosen for.
const MULTIPROCESSORS: i64 = 132;
/// Tiles of rows that neighbouring blocks take with the same tile of columns: what they read of both is in the second-level cache.
const GROUPS: [i64; 3] = [8, 4, 2];

/// Cycles until a block's first products can begin.
const BEGIN_CYCLES: f64 = 1700.0;
/// Cycles of a step without its columns, most of which copies of rows take.
const STEP_CYCLES: f64 = 266.0;
/// Cycles of a column in a step.
const COLUMN_CYCLES: f64 = 4.16;
/// Cycles of storing a column.
const STORE_CYCLES: f64 = 12.5;

/// Results of a block.
#[derive(Clone, Copy, Debug)]
struct Shape {
    columns: i64,
    /// Steps that copies are ahead of products.
    ahead: i64,
}

const SHAPES: [Shape; 6] = [
    Shape { columns: 256, ahead: 2 },
    Shape { columns: 192, ahead: 3 },
    Shape { columns: 160, ahead: 3 },
    Shape { columns: 128, ahead: 4 },
    Shape { columns: 96, ahead: 4 },
    Shape { columns: LEAST_COLUMNS, ahead: 2 },
];

impl Shape {
    /// Steps in shared memory: those ahead, the one that is multiplied, and the one before, whose products may not be done.
    fn stages(self) -> i64 {
        self.ahead + 2
    }

    /// Sums of a thread.
    fn sums(self) -> i64 {
        ROWS * self.columns / THREADS
    }

    /// Cycles for so many independent products of these sizes, in steps of that depth: waves of blocks, one after the other.
    fn cycles(self, [batch, rows, columns, depth]: [i64; 4], step: i64) -> f64 {
        let tiles = |size: i64, tile: i64| (size as f64 / tile as f64).ceil();
        let blocks = batch as f64 * tiles(rows, ROWS) * tiles(columns, self.columns);
        let waves = (blocks / MULTIPROCESSORS as f64).ceil();
        let own = self.columns as f64;
        waves * (BEGIN_CYCLES + tiles(depth, step) * (STEP_CYCLES + own * COLUMN_CYCLES) + own * STORE_CYCLES)
    }

    /// Bytes from one row of sums in shared memory to the next.
    fn pitch(self) -> i64 {
        (self.columns + PADDING) * DType::F32.size_bytes() as i64
    }
}

/// A contraction that warpgroups compute.
pub(in crate::lower) struct WarpgroupContract {
    contract: JoinedContract,
    shape: Shape,
    /// Tiles of rows that come one after the other.
    group: i64,
}

/// Brings a contraction into the form that warpgroups compute, if its elements are theirs, its sizes fill them, and its operands can be
/// copied in the background.
pub(in crate::lower) fn form(
    kernel: &mut Kernel,
    program: &Program,
    isa: &VectorIsa,
    sizes: &Ranges,
    asking: &mut Asking,
) -> Option<WarpgroupContract> {
    let (element, sizes_of) = kind(kernel, program, isa.tf32)?;
    let step = PRODUCTS * element.depth();
    let [_, rows, columns, depth] = sizes_of;
    if rows < fragments::WARPGROUP_ROWS || columns < LEAST_COLUMNS || depth < step {
        return None;
    }
    let cycles = |shape: &Shape| shape.cycles(sizes_of, step);
    let shape = SHAPES.into_iter().min_by(|a, b| cycles(a).total_cmp(&cycles(b)))?;
    let (contract, changed) = JoinedContract::of(kernel, element, sizes)?;
    let tiles = contract.row.extent.ceil_div(&Dim::from(ROWS)).as_const();
    let group = GROUPS.into_iter().find(|group| tiles.is_some_and(|tiles| tiles % group == 0)).unwrap_or(1);
    let mut found = WarpgroupContract { contract, shape, group };
    let probe = Builder::new("probe", 4);
    let cx = Context::new(program, isa, changed.exprs.clone(), ranges_of(&changed, sizes), BTreeMap::new(), &stored(&changed), &probe);
    let is_copied = |found: &WarpgroupContract| found.chunks(&cx).iter().all(Chunks::is_copied);
    if !is_copied(&found) {
        return None;
    }
    let others = || SHAPES.into_iter().filter(|other| cycles(other) < HOPELESS * cycles(&shape)).collect();
    found.shape = asking.choose(Subject::Tile, shape, others, |shape| format!("{ROWS}x{}", shape.columns));
    if !is_copied(&found) {
        found.shape = shape;
    }
    *kernel = changed;
    Some(found)
}

impl WarpgroupContract {
    /// Threads of a block.
    pub(in crate::lower) fn threads(&self) -> u32 {
        THREADS as u32
    }

    /// Depth of a step.
    fn step(&self) -> i64 {
        PRODUCTS * self.contract.element.depth()
    }

    /// The first of the task's rows.
    fn first_row(&self) -> Dim {
        (Dim::symbol("#row_group") * Dim::from(self.group) + Dim::symbol("#row_tile")) * Dim::from(ROWS)
    }

    /// The first of the task's columns.
    fn first_column(&self) -> Dim {
        Dim::symbol("#column_tile") * Dim::from(self.shape.columns)
    }

    /// How both operands go to shared memory.
    fn chunks(&self, cx: &Context) -> [Chunks; 2] {
        let side = |name, expr, axis, first, length| Operand { name, expr, axis, first, length, neutral: 0.0 };
        let left = side("left", self.contract.lhs, &self.contract.row, self.first_row(), ROWS);
        let right = side("right", self.contract.rhs, &self.contract.column, self.first_column(), self.shape.columns);
        [left, right].map(|operand| {
            Chunks::new(cx, operand, &self.contract.depth, self.step(), THREADS, self.contract.element.wants_depth()).in_panels()
        })
    }

    /// Emits the kernel.
    pub(in crate::lower) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let [_, thread, _, _] = b.params();
        let shape = self.shape;
        let digit = |name: &str, extent: Dim| Axis { index: Symbol::new(name), extent };
        let mut digits = self.contract.batch.clone();
        digits.push(digit("#row_group", self.contract.row.extent.ceil_div(&Dim::from(ROWS * self.group))));
        digits.push(digit("#column_tile", self.contract.column.extent.ceil_div(&Dim::from(shape.columns))));
        digits.push(digit("#row_tile", Dim::from(self.group)));
        cx.approximates = cx.stores_halves;
        let [left, right] = self.chunks(cx);
        let bytes = (shape.stages() * (left.bytes() + right.bytes())).max(ROWS * shape.pitch());
        let shared = b.shared(bytes as u32, EIGHT_LINES as u32);
        for_each_task(cx, b, &digits, |cx, b| {
            let number = number();
            let indices = [
                ("#number", THREADS, number.clone()),
                ("#lane", WARP, number.modulo(&Dim::from(WARP))),
                ("#warp", THREADS / WARP, number.floor_div(&Dim::from(WARP))),
                ("#warpgroup", THREADS / WARPGROUP, number.floor_div(&Dim::from(WARPGROUP))),
            ];
            as_members(cx, b, (thread, THREADS), &indices, &[&left, &right], |cx, b| {
                let sums = self.multiply(cx, b, [&left, &right], shared);
                self.spread(cx, b, sums, shared);
                self.epilogue(cx, b, shared);
                // The next task's copies come to the same memory.
                b.together(CooperativeStmt::Barrier);
            });
        });
        let work = Dim::from(ROWS * shape.columns) * self.contract.depth.extent.maximum(&Dim::ONE);
        Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work }
    }

    /// The thread's sums. All of the block's products are done then.
    fn multiply(&self, cx: &mut Context, b: &mut Builder, [left, right]: [&Chunks; 2], shared: Reg) -> Reg {
        let stage = left.bytes() + right.bytes();
        let steps = cx.index(b, &self.contract.depth.extent.ceil_div(&Dim::from(self.step())));
        let (none, one) = (b.index(0), b.index(1));
        let last = b.sub(steps, one);
        let zero = b.float(Type::F32.times(self.shape.sums() as u32), 0.0);
        let matrices = [left, right].map(|chunks| SharedMatrix::of(chunks, chunks.along_depth));
        let own_rows = cx.index(b, &(Dim::symbol("#warpgroup") * Dim::from(matrices[0].rows_of_warpgroup())));
        let [step, turn] = ["#step", "#turn"].map(Symbol::new);
        for index in [&step, &turn] {
            cx.ranges.set_index(index.clone(), self.contract.depth.extent.ceil_div(&Dim::from(self.step())));
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
                let own = b.add(tile, own_rows);
                let other = b.add_int(tile, left.bytes());
                let described = [matrices[0].described(b, own), matrices[1].described(b, other)];
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

    /// One step of the warpgroup's products, in the background.
    fn products(&self, b: &mut Builder, matrices: [SharedMatrix; 2], described: [Reg; 2], sums: Reg) -> Reg {
        b.together(CooperativeStmt::BeginProducts);
        let mut sums = sums;
        for number in 0..PRODUCTS {
            let factors = [0, 1].map(|side| matrices[side].sixteen(b, described[side], number));
            sums = b.multiply_add_shared(self.contract.element, factors, sums, matrices.map(|matrix| matrix.along_depth));
        }
        b.together(CooperativeStmt::EndProducts);
        sums
    }

    /// Leaves all sums in shared memory, row after row.
    fn spread(&self, cx: &mut Context, b: &mut Builder, sums: Reg, shared: Reg) {
        let pitch = self.shape.pitch();
        let size = DType::F32.size_bytes() as i64;
        let offset = |(row, column): (i64, i64)| row * pitch + column * size;
        let (lane, warp) = (Dim::symbol("#lane"), Dim::symbol("#warp"));
        // The map of fragments is linear in the bits of the lane and of the warp: what each bit adds says all.
        let bit = |dim: &Dim, at: i64| dim.floor_div(&Dim::from(1 << at)).modulo(&Dim::from(2));
        let of_lane = (0..5).map(|at| bit(&lane, at) * Dim::from(offset(fragments::warpgroup_result(0, 1 << at, 0))));
        let of_warp = warp * Dim::from(offset(fragments::warpgroup_result(1, 0, 0)));
        let begin = Dim::sum(&of_lane.chain([of_warp]).collect::<Vec<_>>());
        let begin = cx.index(b, &begin);
        let begin = b.add(shared, begin);
        for at in (0..self.shape.sums()).step_by(2) {
            let [low, high] = [at, at + 1].map(|at| b.extract(sums, at as u32));
            let two = b.concat(low, high);
            b.store(Mem::F32, two, begin, offset(fragments::warpgroup_result(0, 0, at)) as i32);
        }
        b.together(CooperativeStmt::Barrier);
    }

    /// Stores what is wanted of the sums: neighbouring threads take neighbouring columns.
    fn epilogue(&self, cx: &mut Context, b: &mut Builder, shared: Reg) {
        let shape = self.shape;
        let results = Results {
            row: &self.contract.row,
            column: &self.contract.column,
            stores: &self.contract.stores,
            dtype: DType::F32,
            sums: shared,
            count: shape.sums(),
        };
        let lanes = results.lanes(cx, NEIGHBOURS);
        let across = Dim::from(shape.columns / lanes);
        results.store_from(cx, b, lanes, |number| {
            let place = number.floor_div(&Dim::from(lanes)) * Dim::from(THREADS) + Dim::symbol("#number");
            let (row, column) = (place.floor_div(&across), place.modulo(&across) * Dim::from(lanes));
            let address = &row * Dim::from(shape.pitch()) + &column * Dim::from(DType::F32.size_bytes() as i64);
            SumPlace { address, row: self.first_row() + row, column: self.first_column() + column }
        });
    }
}
