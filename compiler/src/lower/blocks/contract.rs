//! Contractions by blocks of threads: a tile of both operands in shared memory, a tile of sums in the registers of each thread.
//!
//! ```text
//! task (batch, tile of rows, tile of columns):   ask for the first step of depth, put it into shared memory;
//!   for each step:   ask for the next one;   sums ← sums + lhs · rhs, point of depth by point;   put the next one into the other half
//!   epilogue of each result
//! ```
//!
//! Any expression can be an operand, as it is evaluated before it goes to shared memory: an image with its margin (implicit GEMM), a cast.
//! Each result is one chain of multiply-adds per chunk of depth, so its bits are those of every other lowering.
//! *Source*: the tiling is that of NVIDIA's CUTLASS for its SIMT kernels.

use super::epilogue::Results;
use super::staging::{Operand, Staging};
use super::strides::NEIGHBOURS;
use super::tiles::{BlockTile, choose};
use crate::kernel::{Axis, Body, Contract, ExprId, Kernel, Program, Store, sum_dtype};
use crate::lower::context::{Base, Context};
use crate::lower::contract::flattened;
use crate::lower::dot::{multiply_add, neutral, zero};
use crate::lower::nest::Tasks;
use crate::lower::ops::{lane_of, memory_of};
use crate::lower::rewrite::merge_axes;
use crate::lower::stage::has_rest;
use crate::lower::tasks::{bind_all, for_each_task};
use crate::tile::{Builder, CooperativeStmt, Lane, Mem, Reg, Type};
use crate::tuning::Asking;
use kiln_ir::{DType, Dim, Proof, Ranges, Symbol};

/// A contraction whose results blocks compute in tiles.
pub(in crate::lower) struct BlockContract {
    batch: Vec<Axis>,
    row: Axis,
    column: Axis,
    depth: Axis,
    chunk: i64,
    lhs: ExprId,
    rhs: ExprId,
    stores: Vec<Store>,
    /// Type of the sums.
    dtype: DType,
    tile: BlockTile,
}

/// Brings a contraction into the form that blocks compute, if it gains from it. The kernel's expressions are then those to emit with.
pub(in crate::lower) fn form(kernel: &mut Kernel, program: &Program, sizes: &Ranges, asking: &mut Asking) -> Option<BlockContract> {
    let Body::Contract(contract) = &kernel.body else { return None };
    let dtype = sum_dtype(kernel.exprs.get(contract.lhs).dtype);
    if lane_of(dtype) == Lane::Mask {
        return None;
    }
    let tile = choose(contract, program, dtype, asking)?;
    *kernel = merge_axes(kernel.clone(), sizes);
    let row = flattened(kernel, |c| &mut c.rows, "#row", sizes);
    let column = flattened(kernel, |c| &mut c.columns, "#column", sizes);
    let depth = flattened(kernel, |c| &mut c.depth, "#depth", sizes);
    let Body::Contract(Contract { batch, chunk, lhs, rhs, stores, .. }) = kernel.body.clone() else { return None };
    Some(BlockContract { batch, row, column, depth, chunk, lhs, rhs, stores, dtype, tile })
}

/// A task: operands, and memory for them and for sums.
struct Task<'a> {
    left: &'a Staging,
    right: &'a Staging,
    /// Shared memory of both operands, twice.
    shared: Reg,
    thread: Reg,
    /// The thread's own sums, and those of chunks so far.
    sums: Reg,
}

impl BlockContract {
    /// Threads of a block.
    pub(in crate::lower) fn threads(&self) -> u32 {
        self.tile.threads() as u32
    }

    /// How both operands go to shared memory.
    fn staging(&self, cx: &mut Context) -> [Staging; 2] {
        let tile = self.tile;
        let first = |index: &str, length: i64| Dim::symbol(index) * Dim::from(length);
        let left = Operand {
            name: "left",
            expr: self.lhs,
            axis: &self.row,
            first: first("#row_tile", tile.rows),
            length: tile.rows,
            neutral: 0.0,
        };
        // −0 changes no sum, not even −0.
        let right = Operand {
            name: "right",
            expr: self.rhs,
            axis: &self.column,
            first: first("#column_tile", tile.columns),
            length: tile.columns,
            neutral: -0.0,
        };
        let exact_depth = self.steps_are_whole(cx);
        [left, right].map(|o| Staging::new(cx, o, &self.depth, tile.depth, tile.threads(), self.dtype, exact_depth))
    }

    /// Emits the kernel.
    pub(in crate::lower) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let [_, thread, _, _] = b.params();
        let tile = self.tile;
        let (of_rows, of_columns) = (Symbol::new("#row_tile"), Symbol::new("#column_tile"));
        let digit =
            |index: &Symbol, axis: &Axis, length: i64| Axis { index: index.clone(), extent: axis.extent.ceil_div(&Dim::from(length)) };
        let mut digits = self.batch.clone();
        digits.push(digit(&of_rows, &self.row, tile.rows));
        digits.push(digit(&of_columns, &self.column, tile.columns));
        let [left, right] = self.staging(cx);
        let shared = b.shared((2 * (left.bytes() + right.bytes())) as u32, 16);
        let sums = b.scratch((tile.thread_rows * tile.thread_columns) as u32 * self.dtype.size_bytes() as u32, 16);
        let down = tile.columns / tile.thread_columns;
        for_each_task(cx, b, &digits, |cx, b| {
            let index = Symbol::new("#thread");
            cx.ranges.set_index(index.clone(), Dim::from(tile.threads()));
            let of = |dim: Dim, cx: &mut Context, b: &mut Builder| cx.bound(&index, thread, |cx| cx.index(b, &dim));
            let number = Dim::from(index.clone());
            let y = of(number.floor_div(&Dim::from(down)), cx, b);
            let x = of(number.modulo(&Dim::from(down)), cx, b);
            let axis = |name: &str, extent: i64| Axis { index: Symbol::new(name), extent: Dim::from(extent) };
            let mut indices = vec![(axis("#y", tile.rows / tile.thread_rows), y), (axis("#x", down), x)];
            indices.extend(left.indices(cx, b, thread));
            indices.extend(right.indices(cx, b, thread));
            let (axes, regs): (Vec<Axis>, Vec<Reg>) = indices.into_iter().unzip();
            axes.iter().for_each(|axis| cx.ranges.set_index(axis.index.clone(), axis.extent.clone()));
            let task = Task { left: &left, right: &right, shared, thread, sums };
            bind_all(cx, &axes, &regs, Box::new(|cx| self.task(cx, b, &task)));
        });
        let work = Dim::from(tile.rows * tile.columns) * self.depth.extent.maximum(&Dim::ONE);
        Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work }
    }

    /// Whether depth is known to fit into one chunk.
    fn is_one_chunk(&self) -> bool {
        self.depth.extent.as_const().is_some_and(|n| n <= self.chunk)
    }

    /// Whether no step reaches beyond depth or a chunk of it.
    fn steps_are_whole(&self, cx: &Context) -> bool {
        let step = self.tile.depth;
        !has_rest(cx, &self.depth.extent, step as u32) && (self.is_one_chunk() || self.chunk % step == 0)
    }

    /// Steps of one chunk.
    fn steps_of_chunk(&self) -> i64 {
        (self.chunk + self.tile.depth - 1) / self.tile.depth
    }

    /// Steps of all depth.
    fn steps(&self) -> Dim {
        let (step, chunk) = (Dim::from(self.tile.depth), Dim::from(self.chunk));
        if self.is_one_chunk() || self.chunk % self.tile.depth == 0 {
            return self.depth.extent.ceil_div(&step);
        }
        let rest = self.depth.extent.modulo(&chunk).ceil_div(&step);
        self.depth.extent.floor_div(&chunk) * Dim::from(self.steps_of_chunk()) + rest
    }

    /// Where a step begins, and where the chunk that it is of ends.
    fn bounds_of(&self, step: &Dim) -> (Dim, Dim) {
        let length = Dim::from(self.tile.depth);
        if self.is_one_chunk() {
            return (step * length, self.depth.extent.clone());
        }
        let steps = Dim::from(self.steps_of_chunk());
        let chunk = step.floor_div(&steps) * Dim::from(self.chunk);
        let end = (&chunk + Dim::from(self.chunk)).minimum(&self.depth.extent);
        let whole = self.chunk % self.tile.depth == 0;
        (if whole { step * length } else { chunk + step.modulo(&steps) * length }, end)
    }

    fn sum_type(&self) -> Type {
        Type::scalar(lane_of(self.dtype))
    }

    fn task(&self, cx: &mut Context, b: &mut Builder, task: &Task) {
        let mem = memory_of(self.dtype);
        let size = self.dtype.size_bytes() as i32;
        let count = (self.tile.thread_rows * self.tile.thread_columns) as usize;
        let start = zero(b, self.sum_type());
        if !self.is_one_chunk() {
            let none = neutral(b, self.sum_type());
            (0..count as i32).for_each(|at| b.store(mem, none, task.sums, at * size));
        }
        let sums = cx.when_nonempty(b, &self.depth.extent, &vec![start; count], |cx, b| self.sums(cx, b, task, start));
        for (at, sum) in sums.into_iter().enumerate() {
            let offset = at as i32 * size;
            let total = match self.is_one_chunk() {
                true => sum,
                false => {
                    let before = b.load(mem, self.sum_type(), task.sums, offset);
                    b.add(before, sum)
                }
            };
            b.store(mem, total, task.sums, offset);
        }
        self.epilogue(cx, b, task);
    }

    /// The thread's sums of the last chunk; those of chunks before it are added up in the thread's own memory.
    fn sums(&self, cx: &mut Context, b: &mut Builder, task: &Task, start: Reg) -> Vec<Reg> {
        let mem = memory_of(self.dtype);
        let (left, right) = (task.left, task.right);
        let half = left.bytes() + right.bytes();
        let halves = |b: &mut Builder, at: Reg| {
            let skipped = crate::lower::offsets::times(b, at, half);
            let left_at = b.add(task.shared, skipped);
            [left_at, b.add_int(left_at, left.bytes())]
        };
        let limit = |cx: &mut Context, b: &mut Builder, end: &Dim| (!self.steps_are_whole(cx)).then(|| cx.index(b, end));
        let steps = cx.index(b, &self.steps());
        let (none, one) = (b.index(0), b.index(1));
        // The first step, which mostly is a whole one.
        let (from, end) = self.bounds_of(&Dim::ZERO);
        let is_whole = cx.ranges.at_most(&Dim::from(self.tile.depth), &end) == Proof::Yes;
        let end = if is_whole { None } else { limit(cx, b, &end) };
        let values = [left.load(cx, b, &from, end), right.load(cx, b, &from, end)];
        left.store(cx, b, task.shared, task.thread, &values[0]);
        let place = b.add_int(task.shared, left.bytes());
        right.store(cx, b, place, task.thread, &values[1]);
        b.together(CooperativeStmt::Barrier);
        let step = Symbol::new("#step");
        cx.ranges.set_index(step.clone(), self.steps());
        let init = vec![start; (self.tile.thread_rows * self.tile.thread_columns) as usize];
        cx.counted(b, &step, none, steps, 1, &init, |cx, b, sums| {
            let now = cx.index(b, &Dim::from(step.clone()));
            let odd = b.and(now, one);
            let other = b.xor(odd, one);
            let mut later = b.add(now, one);
            let (mut all, mut extent) = (self.steps() + Dim::ONE, &self.depth.extent + Dim::from(self.tile.depth));
            // The last step asks for one more, which nobody uses: for itself where nothing else keeps loads inside.
            if self.steps_are_whole(cx) {
                let last = cx.index(b, &(self.steps() - Dim::ONE));
                later = b.min_s(later, last);
                (all, extent) = (self.steps(), self.depth.extent.clone());
            }
            let next = Symbol::new("#next");
            cx.ranges.set_index(next.clone(), all);
            let (from, end) = self.bounds_of(&Dim::from(next.clone()));
            let values = cx.bound(&next, later, |cx| {
                let from_symbol = Symbol::new("#from");
                cx.ranges.set_index(from_symbol.clone(), extent);
                let from = cx.index(b, &from);
                let end = limit(cx, b, &end);
                cx.bound(&from_symbol, from, |cx| {
                    let from = Dim::from(from_symbol.clone());
                    [left.load(cx, b, &from, end), right.load(cx, b, &from, end)]
                })
            });
            let places = halves(b, odd);
            let sums = self.multiply(cx, b, task, places, sums);
            let places = halves(b, other);
            left.store(cx, b, places[0], task.thread, &values[0]);
            right.store(cx, b, places[1], task.thread, &values[1]);
            b.together(CooperativeStmt::Barrier);
            if self.is_one_chunk() { sums } else { self.end_of_chunk(cx, b, task, mem, (now, steps), sums) }
        })
    }

    /// Sums of a whole chunk, but for the last one, go to those before; the next begins at zero.
    fn end_of_chunk(&self, cx: &mut Context, b: &mut Builder, task: &Task, mem: Mem, (now, steps): (Reg, Reg), sums: Vec<Reg>) -> Vec<Reg> {
        let later = b.add_int(now, 1);
        let length = b.index(self.steps_of_chunk());
        let place = b.rem_u(later, length);
        let none = b.index(0);
        let ends = b.eq(place, none);
        let more = b.lt(later, steps);
        let ends = b.and(ends, more);
        let start = zero(b, self.sum_type());
        let size = self.dtype.size_bytes() as i32;
        cx.branch(
            b,
            ends,
            false,
            |_, b| {
                for (at, sum) in sums.iter().enumerate() {
                    let before = b.load(mem, self.sum_type(), task.sums, at as i32 * size);
                    let total = b.add(before, *sum);
                    b.store(mem, total, task.sums, at as i32 * size);
                }
                vec![start; sums.len()]
            },
            |_, _| sums.clone(),
        )
    }

    /// The products of one step, in the order of depth.
    fn multiply(&self, cx: &mut Context, b: &mut Builder, task: &Task, places: [Reg; 2], sums: &[Reg]) -> Vec<Reg> {
        let tile = self.tile;
        let size = self.dtype.size_bytes() as u32;
        let [at_rows, at_columns] =
            [("#y", tile.thread_rows, places[0]), ("#x", tile.thread_columns, places[1])].map(|(index, own, place)| {
                let first = Dim::symbol(index) * Dim::from(own.min(NEIGHBOURS));
                let at = cx.address(b, Base::Own(place, cx.top()), &first, size);
                if at.offset == 0 { at.reg } else { b.add_int(at.reg, i64::from(at.offset)) }
            });
        let read = |b: &mut Builder, side: &Staging, at: Reg, (own, all): (i64, i64), depth: i64| -> Vec<Reg> {
            let count = own.min(NEIGHBOURS);
            let apart = all / own * count;
            (0..own / count).flat_map(|group| side.read(b, at, (group * apart, depth), count)).collect()
        };
        let mut sums = sums.to_vec();
        for depth in 0..tile.depth {
            let rows = read(b, task.left, at_rows, (tile.thread_rows, tile.rows), depth);
            let columns = read(b, task.right, at_columns, (tile.thread_columns, tile.columns), depth);
            for (r, row) in rows.iter().enumerate() {
                for (c, column) in columns.iter().enumerate() {
                    let at = r * columns.len() + c;
                    sums[at] = multiply_add(b, *row, *column, sums[at]);
                }
            }
        }
        sums
    }

    /// What is stored of the thread's sums: row by row, a few neighbouring columns at a time where memory runs along them.
    fn epilogue(&self, cx: &mut Context, b: &mut Builder, task: &Task) {
        let tile = self.tile;
        let results = Results {
            row: &self.row,
            column: &self.column,
            stores: &self.stores,
            dtype: self.dtype,
            sums: task.sums,
            count: tile.thread_rows * tile.thread_columns,
            staged: None,
        };
        let lanes = if tile.thread_columns >= NEIGHBOURS { results.lanes(cx, NEIGHBOURS) } else { 1 };
        // The n-th of a thread's rows or columns, which come in groups of neighbours.
        let place = |own: i64, all: i64, index: &str, n: &Dim| {
            let count = Dim::from(own.min(NEIGHBOURS));
            let apart = Dim::from(all / own) * &count;
            n.floor_div(&count) * apart + Dim::symbol(index) * &count + n.modulo(&count)
        };
        results.store(cx, b, lanes, |number| {
            let across = Dim::from(tile.thread_columns);
            let row = place(tile.thread_rows, tile.rows, "#y", &number.floor_div(&across));
            let column = place(tile.thread_columns, tile.columns, "#x", &number.modulo(&across));
            (Dim::symbol("#row_tile") * Dim::from(tile.rows) + row, Dim::symbol("#column_tile") * Dim::from(tile.columns) + column)
        });
    }
}
