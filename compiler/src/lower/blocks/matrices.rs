//! Contractions of half floats, and on request of f32 rounded to tf32, on the matrix units of a GPU, summed in f32.
//!
//! ```text
//! task (batch, tile of rows, tile of columns):   begin two steps of depth;
//!   for each step:   wait for it;   begin the one two steps later;   each warp: sums ← sums + lhs · rhs, 32 bytes of depth at a time
//!   epilogue of each result
//! ```
//!
//! A unit adds its products and a sum in an order, and with a rounding, of its own, so results are not those of the canonical order: as
//! close to the exact sum, and the same for every batch, tile and grid, as depth is met in ascending groups. The units take f32
//! only with lines along depth; what lies in memory otherwise is turned on its way.
//! *Source*: the pipeline is that of NVIDIA's CUTLASS 2 for Ampere.

use super::chunks::Chunks;
use super::epilogue::Results;
use super::joined::{JoinedContract, kind};
use super::members::{WARP, as_members, number};
use super::staging::Operand;
use crate::kernel::{Axis, Kernel, Program};
use crate::lower::context::Context;
use crate::lower::nest::Tasks;
use crate::lower::tasks::for_each_task;
use crate::tile::{Builder, CooperativeStmt, Lane, MatrixElement, Mem, Reg, Type, fragments};
use crate::tuning::{Asking, Subject};
use kiln_ir::{DType, Dim, Ranges, Symbol};

/// Steps of depth that lie in shared memory: one is used, two are on their way.
const STAGES: i64 = 3;
/// Bytes of depth of a step.
const STEP_BYTES: i64 = 64;
/// Bytes of depth of a product.
const GROUP_BYTES: i64 = 2 * fragments::SIDE_BYTES;
/// Blocks that keep a GPU busy.
const ENOUGH_BLOCKS: i64 = 132;

/// A block's results, and a warp's.
#[derive(Clone, Copy)]
struct Shape {
    rows: i64,
    columns: i64,
    warp_rows: i64,
    warp_columns: i64,
}

const LARGE: Shape = Shape { rows: 128, columns: 128, warp_rows: 64, warp_columns: 32 };
const SMALL: Shape = Shape { rows: 64, columns: 64, warp_rows: 32, warp_columns: 32 };

impl Shape {
    fn threads(&self) -> i64 {
        self.rows / self.warp_rows * (self.columns / self.warp_columns) * WARP
    }

    /// Products of a warp, down and across.
    fn products(&self) -> (i64, i64) {
        (self.warp_rows / fragments::ROWS, self.warp_columns / fragments::COLUMNS)
    }
}

/// A contraction that matrix units compute.
pub(in crate::lower) struct MatrixContract {
    contract: JoinedContract,
    shape: Shape,
}

/// Brings a contraction into the form that matrix units compute, if its elements are theirs and its sizes fill them.
pub(in crate::lower) fn form(
    kernel: &mut Kernel,
    program: &Program,
    tf32: bool,
    sizes: &Ranges,
    asking: &mut Asking,
) -> Option<MatrixContract> {
    let (element, [batch, rows, columns, depth]) = kind(kernel, program, tf32)?;
    if rows < fragments::ROWS || columns < fragments::COLUMNS || depth < element.depth() {
        return None;
    }
    let blocks =
        |shape: Shape| batch * (rows as u64).div_ceil(shape.rows as u64) as i64 * (columns as u64).div_ceil(shape.columns as u64) as i64;
    let usual = if blocks(LARGE) >= ENOUGH_BLOCKS { LARGE } else { SMALL };
    let (contract, joined) = JoinedContract::of(kernel, element, sizes)?;
    *kernel = joined;
    let shape = asking.choose(Subject::Tile, usual, || vec![LARGE, SMALL], |shape| format!("{}x{}", shape.rows, shape.columns));
    Some(MatrixContract { contract, shape })
}

/// Where a warp finds its matrices of an operand: bytes beyond the beginning of the step, for each product and each depth of one in a step.
struct Places {
    at: Vec<Vec<Reg>>,
    transposed: bool,
}

impl MatrixContract {
    /// Threads of a block.
    pub(in crate::lower) fn threads(&self) -> u32 {
        self.shape.threads() as u32
    }

    /// Depth of a step.
    fn step(&self) -> i64 {
        STEP_BYTES / self.contract.element.size_bytes()
    }

    /// How both operands go to shared memory.
    fn chunks(&self, cx: &Context) -> [Chunks; 2] {
        let shape = self.shape;
        let side = |name, expr, axis, tile: &str, length: i64| Operand {
            name,
            expr,
            axis,
            first: Dim::symbol(tile) * Dim::from(length),
            length,
            neutral: 0.0,
        };
        let left = side("left", self.contract.lhs, &self.contract.row, "#row_tile", shape.rows);
        let right = side("right", self.contract.rhs, &self.contract.column, "#column_tile", shape.columns);
        [left, right].map(|operand| {
            Chunks::new(cx, operand, &self.contract.depth, self.step(), shape.threads(), self.contract.element.wants_depth())
        })
    }

    /// Emits the kernel.
    pub(in crate::lower) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let [_, thread, _, _] = b.params();
        let shape = self.shape;
        let digit =
            |name: &str, axis: &Axis, length: i64| Axis { index: Symbol::new(name), extent: axis.extent.ceil_div(&Dim::from(length)) };
        let mut digits = self.contract.batch.clone();
        digits.push(digit("#row_tile", &self.contract.row, shape.rows));
        digits.push(digit("#column_tile", &self.contract.column, shape.columns));
        cx.approximates = cx.stores_halves;
        let [left, right] = self.chunks(cx);
        let stage = left.bytes() + right.bytes();
        let shared = b.shared((STAGES * stage) as u32, 128);
        let (down, across) = shape.products();
        let sums = b.scratch((down * across * 4 * 4) as u32, 16);
        for_each_task(cx, b, &digits, |cx, b| {
            let (number, warp) = (number(), number().floor_div(&Dim::from(WARP)));
            let wide = Dim::from(shape.columns / shape.warp_columns);
            let indices = [
                ("#lane", WARP, number.modulo(&Dim::from(WARP))),
                ("#warp_row", shape.rows / shape.warp_rows, warp.floor_div(&wide)),
                ("#warp_column", shape.columns / shape.warp_columns, warp.modulo(&wide)),
            ];
            as_members(cx, b, (thread, shape.threads()), &indices, &[&left, &right], |cx, b| {
                self.multiply(cx, b, [&left, &right], shared, sums);
                self.epilogue(cx, b, sums);
            });
        });
        let work = Dim::from(shape.rows * shape.columns) * self.contract.depth.extent.maximum(&Dim::ONE);
        Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work }
    }

    /// Where the warp's matrices of an operand lie in each step; `is_left` says of which.
    fn places(&self, cx: &mut Context, b: &mut Builder, chunks: &Chunks, is_left: bool) -> Places {
        let lane = Dim::symbol("#lane");
        // The maps of fragments are linear in the bits of the lane: what each bit adds says all.
        let map = if is_left { fragments::left_row } else { fragments::right_row };
        let bit = |at: i64| lane.floor_div(&Dim::from(1 << at)).modulo(&Dim::from(2));
        let of = |field: fn(fragments::MatrixRow) -> i64| {
            Dim::sum(&(0..5).map(|at| bit(at) * Dim::from(field(map(1 << at)))).collect::<Vec<_>>())
        };
        let (beside, deep, inside) = (of(|m| m.across), of(|m| m.depth), of(|m| m.row));
        let (warp, own, length) = match is_left {
            true => ("#warp_row", self.shape.warp_rows, fragments::ROWS),
            false => ("#warp_column", self.shape.warp_columns, 2 * fragments::COLUMNS),
        };
        let side = Dim::from(fragments::SIDE);
        let at = (0..own / length).map(|product| {
            let first = Dim::symbol(warp) * Dim::from(own) + Dim::from(product * length) + beside.clone() * &side;
            let groups = (0..STEP_BYTES / GROUP_BYTES).map(|group| {
                // A row of a matrix is a chunk of a line.
                let (line, chunk) = match chunks.along_depth {
                    true => (&first + &inside, Dim::from(2 * group) + &deep),
                    false => (Dim::from(group * fragments::DEPTH) + deep.clone() * &side + &inside, first.floor_div(&side)),
                };
                chunks.address(cx, b, &line, &chunk)
            });
            groups.collect()
        });
        Places { at: at.collect(), transposed: !chunks.along_depth }
    }

    /// Leaves the warp's sums in the threads' own memory.
    fn multiply(&self, cx: &mut Context, b: &mut Builder, [left, right]: [&Chunks; 2], shared: Reg, sums: Reg) {
        let (down, across) = self.shape.products();
        let stage = left.bytes() + right.bytes();
        let steps = cx.index(b, &self.contract.depth.extent.ceil_div(&Dim::from(self.step())));
        let (none, one) = (b.index(0), b.index(1));
        let last = b.sub(steps, one);
        let ty = Type::scalar(Lane::F32).times(4);
        let zero = b.float(ty, 0.0);
        let left_places = self.places(cx, b, left, true);
        let right_places = self.places(cx, b, right, false);
        let step = Symbol::new("#step");
        cx.ranges.set_index(step.clone(), self.contract.depth.extent.ceil_div(&Dim::from(self.step())));
        let from = Dim::from(step.clone()) * Dim::from(self.step());
        let init = vec![zero; (down * across) as usize];
        let results = cx.when_nonempty(b, &self.contract.depth.extent, &init, |cx, b| {
            for first in 0..STAGES - 1 {
                let number = b.index(first);
                let number = b.min_s(number, last);
                let tile = b.add_int(shared, first * stage);
                let other = b.add_int(tile, left.bytes());
                // A scope of its own for what depends on the step.
                let end = b.add(number, one);
                cx.counted(b, &step, number, end, 1, &[], |cx, b, _| {
                    for (chunks, tile) in [(left, tile), (right, other)] {
                        let values = chunks.begin(cx, b, &from, tile);
                        chunks.finish(cx, b, tile, &values);
                    }
                    vec![]
                });
                b.together(CooperativeStmt::EndCopies);
            }
            let turn = Symbol::new("#turn");
            cx.ranges.set_index(turn.clone(), self.contract.depth.extent.ceil_div(&Dim::from(self.step())));
            let ahead = b.index((STAGES - 1) * stage);
            let init = [&[none, ahead], &init[..]].concat();
            let results = cx.counted(b, &turn, none, steps, 1, &init, |cx, b, carried| {
                b.together(CooperativeStmt::WaitForCopies((STAGES - 2) as u32));
                b.together(CooperativeStmt::Barrier);
                let [now, ahead] = [carried[0], carried[1]];
                let later = cx.index(b, &Dim::from(turn.clone()));
                let later = b.add_int(later, STAGES - 1);
                let later = b.min_s(later, last);
                let tile = b.add(shared, ahead);
                let other = b.add_int(tile, left.bytes());
                let begun =
                    cx.bound(&step, later, |cx| [(left, tile), (right, other)].map(|(chunks, tile)| chunks.begin(cx, b, &from, tile)));
                b.together(CooperativeStmt::EndCopies);
                let tile_now = b.add(shared, now);
                let next = self.products(b, tile_now, left.bytes(), [&left_places, &right_places], &carried[2..]);
                for ((chunks, tile), values) in [(left, tile), (right, other)].into_iter().zip(&begun) {
                    chunks.finish(cx, b, tile, values);
                }
                let [now, ahead] = [now, ahead].map(|at| {
                    let after = b.add_int(at, stage);
                    let end = b.index(STAGES * stage);
                    let wraps = b.eq(after, end);
                    b.select(wraps, none, after)
                });
                [&[now, ahead], &next[..]].concat()
            });
            // The next task's copies come to the same memory.
            b.together(CooperativeStmt::WaitForCopies(0));
            b.together(CooperativeStmt::Barrier);
            results[2..].to_vec()
        });
        for (at, result) in results.into_iter().enumerate() {
            b.store(Mem::F32, result, sums, 16 * at as i32);
        }
    }

    /// One step of the warp's products.
    fn products(&self, b: &mut Builder, tile: Reg, right_at: i64, [left, right]: [&Places; 2], sums: &[Reg]) -> Vec<Reg> {
        let (_, across) = self.shape.products();
        let mut sums = sums.to_vec();
        for group in 0..(STEP_BYTES / GROUP_BYTES) as usize {
            let load = |b: &mut Builder, places: &Places, skipped: i64| -> Vec<Reg> {
                let each = places.at.iter().map(|at| {
                    let address = b.add(tile, at[group]);
                    let held = b.load_matrices(address, skipped as i32, places.transposed);
                    if self.contract.element == MatrixElement::Tf32 { b.round_to_tf32(held) } else { held }
                });
                each.collect()
            };
            let rows = load(b, left, 0);
            let columns: Vec<Reg> = load(b, right, right_at).into_iter().flat_map(|two| [b.low_half(two), b.high_half(two)]).collect();
            for (r, row) in rows.iter().enumerate() {
                for (c, column) in columns.iter().enumerate() {
                    let at = r * across as usize + c;
                    sums[at] = b.multiply_add_matrices(self.contract.element, *row, *column, sums[at]);
                }
            }
        }
        sums
    }

    fn epilogue(&self, cx: &mut Context, b: &mut Builder, sums: Reg) {
        let shape = self.shape;
        let (down, across) = shape.products();
        let count = 4 * down * across;
        let results = Results {
            row: &self.contract.row,
            column: &self.contract.column,
            stores: &self.contract.stores,
            dtype: DType::F32,
            sums,
            count,
            staged: None,
        };
        // Neighbours are two by two.
        let lanes = results.lanes(cx, 2);
        results.store(cx, b, lanes, |number| {
            let lane = Dim::symbol("#lane");
            let product = number.floor_div(&Dim::from(4));
            let bit = |dim: &Dim, at: i64| dim.floor_div(&Dim::from(1 << at)).modulo(&Dim::from(2));
            let bits = |dim: &Dim, count: i64, of: &dyn Fn(i64) -> i64| {
                Dim::sum(&(0..count).map(|at| bit(dim, at) * Dim::from(of(1 << at))).collect::<Vec<_>>())
            };
            let row_inside = bits(&lane, 5, &|l| fragments::result(l, 0).0) + bits(number, 2, &|at| fragments::result(0, at).0);
            let column_inside = bits(&lane, 5, &|l| fragments::result(l, 0).1) + bits(number, 2, &|at| fragments::result(0, at).1);
            let across = Dim::from(across);
            let row = Dim::symbol("#row_tile") * Dim::from(shape.rows)
                + Dim::symbol("#warp_row") * Dim::from(shape.warp_rows)
                + product.floor_div(&across) * Dim::from(fragments::ROWS)
                + row_inside;
            let column = Dim::symbol("#column_tile") * Dim::from(shape.columns)
                + Dim::symbol("#warp_column") * Dim::from(shape.warp_columns)
                + product.modulo(&across) * Dim::from(fragments::COLUMNS)
                + column_inside;
            (row, column)
        });
    }
}
