//! Contractions of half floats, and on request of f32 as tf32, by four warps together on Hopper's matrix units, which read both operands in shared memory.
//!
//! Either all threads copy, two steps or more ahead of the products ([`together`]), or a warpgroup more has the tensor copy engine bring
//! them while the others multiply ([`pipelined`]), which takes operands that engine knows, and is taken where it was measured to be faster.
//! Of f32 the units read what they want in shared memory: the last 13 bits are dropped, not rounded. As with
//! [`matrices`](super::matrices) the order of each sum is the unit's own, the same whatever the grid.
//! *Source*: PTX ISA 9.0, §9.7.15 (wgmma).

mod pipelined;
mod together;

use super::chunks::{Chunks, PANEL_BYTES};
use super::epilogue::Results;
use super::joined::{JoinedContract, kind};
use super::members::{WARP, number};
use super::shared_matrix::SharedMatrix;
use super::staging::Operand;
use crate::kernel::{Axis, Kernel, Program};
use crate::lower::VectorIsa;
use crate::lower::context::Context;
use crate::lower::nest::Tasks;
use crate::lower::rewrite::ranges_of;
use crate::lower::stored;
use crate::tile::{Builder, CooperativeStmt, Mem, Reg, Type, fragments};
use crate::tuning::{Asking, HOPELESS, Subject};
use kiln_ir::{DType, Dim, Ranges, Symbol};
use std::collections::BTreeMap;
use std::ops::Range;

/// Products in depth of a step, which is a line of [`PANEL_BYTES`].
const PRODUCTS: i64 = PANEL_BYTES / (2 * fragments::SIDE_BYTES);
/// Threads of a warpgroup.
const WARPGROUP: i64 = 128;
/// Rows of a block. Each warpgroup has 64 of them.
const ROWS: i64 = 128;
/// Contractions of fewer columns do not fill warpgroups.
const LEAST_COLUMNS: i64 = 64;
/// Threads that multiply.
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
}

/// Bytes from one row of so many sums in shared memory to the next.
fn pitch(columns: i64) -> i64 {
    (columns + PADDING) * DType::F32.size_bytes() as i64
}

/// Who brings operands to shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Brought {
    /// The threads that multiply them.
    ByThreads,
    /// The tensor copy engine, for which another warpgroup asks. Blocks of a cluster, of so many, have the same columns, which come to all of
    /// them at once.
    ByEngine { cluster: i64 },
}

/// A contraction that warpgroups compute.
pub(in crate::lower) struct WarpgroupContract {
    contract: JoinedContract,
    shape: Shape,
    /// Tiles of rows that come one after the other.
    group: i64,
    brought: Brought,
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
    let mut found = WarpgroupContract { contract, shape, group, brought: Brought::ByThreads };
    let probe = Builder::new("probe", 4);
    let cx = Context::new(program, isa, changed.exprs.clone(), ranges_of(&changed, sizes), BTreeMap::new(), &stored(&changed), &probe);
    if !found.can_be_brought(&cx) {
        return None;
    }
    let worth_trying = || SHAPES.into_iter().filter(|other| cycles(other) < HOPELESS * cycles(&shape));
    let others = || {
        let all = [Brought::ByThreads, Brought::ByEngine { cluster: 1 }, Brought::ByEngine { cluster: 2 }];
        let of = |brought| [shape].into_iter().chain(worth_trying()).map(move |shape| (shape, brought));
        let mut ways: Vec<(Shape, Brought)> = all.into_iter().flat_map(of).collect();
        ways.retain(|(shape, brought)| found.with(*shape, *brought).can_be_brought(&cx));
        ways
    };
    let name = |(shape, brought): &(Shape, Brought)| match brought {
        Brought::ByThreads => format!("{ROWS}x{}", shape.columns),
        Brought::ByEngine { cluster: 1 } => format!("{ROWS}x{} by the copy engine", shape.columns),
        Brought::ByEngine { cluster } => format!("{ROWS}x{} by the copy engine for {cluster}", shape.columns),
    };
    let (shape, brought) = asking.choose(Subject::Tile, (shape, Brought::ByThreads), others, name);
    (found.shape, found.brought) = (shape, brought);
    *kernel = changed;
    Some(found)
}

impl WarpgroupContract {
    /// The same in tiles of another shape, brought by another.
    fn with(&self, shape: Shape, brought: Brought) -> WarpgroupContract {
        WarpgroupContract { contract: self.contract.clone(), shape, brought, group: self.group }
    }

    /// Whether both operands can be brought to shared memory that way.
    fn can_be_brought(&self, cx: &Context) -> bool {
        let chunks = self.chunks(cx);
        match self.brought {
            Brought::ByThreads => chunks.iter().all(Chunks::is_copied),
            Brought::ByEngine { cluster } => {
                self.group % cluster == 0 && chunks.iter().all(|chunks| chunks.boxes(cx, &self.contract.batch).is_some())
            }
        }
    }

    /// Threads of a block.
    pub(in crate::lower) fn threads(&self) -> u32 {
        let more = if self.brought == Brought::ByThreads { 0 } else { WARPGROUP };
        (THREADS + more) as u32
    }

    /// Emits the kernel.
    pub(in crate::lower) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let digit = |name: &str, extent: Dim| Axis { index: Symbol::new(name), extent };
        let mut digits = self.contract.batch.clone();
        digits.push(digit("#row_group", self.contract.row.extent.ceil_div(&Dim::from(ROWS * self.group))));
        digits.push(digit("#column_tile", self.contract.column.extent.ceil_div(&Dim::from(self.shape.columns))));
        digits.push(digit("#row_tile", Dim::from(self.group)));
        cx.approximates = cx.stores_halves;
        match self.brought {
            Brought::ByThreads => self.lower_together(cx, b, &digits),
            Brought::ByEngine { cluster } => self.lower_pipelined(cx, b, &digits, cluster),
        }
        let work = Dim::from(ROWS * self.shape.columns) * self.contract.depth.extent.maximum(&Dim::ONE);
        Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work }
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

    /// Steps of the whole depth.
    fn steps(&self) -> Dim {
        self.contract.depth.extent.ceil_div(&Dim::from(self.step()))
    }

    /// What each of the threads that multiply is called by, over its number.
    fn members() -> [(&'static str, i64, Dim); 4] {
        let number = number();
        [
            ("#number", THREADS, number.clone()),
            ("#lane", WARP, number.modulo(&Dim::from(WARP))),
            ("#warp", THREADS / WARP, number.floor_div(&Dim::from(WARP))),
            ("#warpgroup", THREADS / WARPGROUP, number.floor_div(&Dim::from(WARPGROUP))),
        ]
    }

    /// No sums yet.
    fn no_sums(&self, b: &mut Builder) -> Reg {
        b.float(Type::F32.times(self.shape.sums() as u32), 0.0)
    }

    /// Bytes from the beginning of the left operand to the warpgroup's part.
    fn own_rows(&self, cx: &mut Context, b: &mut Builder, matrices: [SharedMatrix; 2]) -> Reg {
        cx.index(b, &(Dim::symbol("#warpgroup") * Dim::from(matrices[0].rows_of_warpgroup())))
    }

    /// What describes the warpgroup's part of the left operand, and the right one, of a step that lies at `tile`.
    fn described(&self, b: &mut Builder, matrices: [SharedMatrix; 2], (tile, own_rows): (Reg, Reg), left_bytes: i64) -> [Reg; 2] {
        let own = b.add(tile, own_rows);
        let other = b.add_int(tile, left_bytes);
        [matrices[0].described(b, own), matrices[1].described(b, other)]
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

    /// Leaves some of a warpgroup's sums in shared memory, row after row so many bytes apart; `warp` is the number of the first row's sixteen.
    fn leave(&self, cx: &mut Context, b: &mut Builder, sums: Reg, numbers: Range<i64>, (to, pitch): (Reg, i64), warp: &Dim) {
        let size = DType::F32.size_bytes() as i64;
        let offset = |(row, column): (i64, i64)| row * pitch + column * size;
        let lane = Dim::symbol("#lane");
        // The map of fragments is linear in the bits of the lane and of the warp: what each bit adds says all.
        let bit = |dim: &Dim, at: i64| dim.floor_div(&Dim::from(1 << at)).modulo(&Dim::from(2));
        let of_lane = (0..5).map(|at| bit(&lane, at) * Dim::from(offset(fragments::warpgroup_result(0, 1 << at, 0))));
        let of_warp = warp * Dim::from(offset(fragments::warpgroup_result(1, 0, 0)));
        let begin = Dim::sum(&of_lane.chain([of_warp]).collect::<Vec<_>>());
        let begin = cx.index(b, &begin);
        let begin = b.add(to, begin);
        let (_, first_column) = fragments::warpgroup_result(0, 0, numbers.start);
        for at in numbers.step_by(2) {
            let [low, high] = [at, at + 1].map(|at| b.extract(sums, at as u32));
            let two = b.concat(low, high);
            let (row, column) = fragments::warpgroup_result(0, 0, at);
            b.store(Mem::F32, two, begin, offset((row, column - first_column)) as i32);
        }
    }

    /// So many sums of the thread in shared memory.
    fn results(&self, sums: Reg, count: i64) -> Results<'_> {
        let JoinedContract { row, column, stores, .. } = &self.contract;
        Results { row, column, stores, dtype: DType::F32, sums, count, staged: None }
    }
}
