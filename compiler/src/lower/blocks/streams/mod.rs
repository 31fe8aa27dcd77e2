//! Products of few rows, or few columns, with a matrix: the matrix is read once, as fast as memory gives it.
//!
//! ```text
//! across:   y[n] = Σₖ x[k] · w[k, n]     x threads take neighbouring columns, 16 bytes each; y groups of them take every y-th row of w
//! along:    y[n] = Σₖ x[k] · w[n, k]     groups of threads take a row of w each, 16 bytes a thread
//! both:     sums of groups meet in shared memory; the epilogue of each result
//! ```
//!
//! A thread asks for several pieces of the matrix before it uses the first. Across rows whose length is no multiple of 16 bytes, a group
//! begins each of its rows at the multiple before it: rows of one group are as many apart as make that shift the same for all of them.
//!
//! Sums are in an order of their own, which follows from the depth and from usual sizes: not for those who want the canonical one.

mod meet;
mod shifted;
mod sums;

use super::strides::{Moves, moves};
use super::tiles::usual;
use crate::kernel::{Access, Axis, Body, Contract, ExprId, ExprKind, Exprs, Kernel, Program, Store, sum_dtype};
use crate::lower::context::Context;
use crate::lower::contract::flattened;
use crate::lower::dot::zero;
use crate::lower::nest::Tasks;
use crate::lower::ops::{lane_of, memory_of};
use crate::lower::rewrite::merge_axes;
use crate::lower::tasks::{bind_all, for_each_task};
use crate::tile::{Builder, CooperativeStmt, EXCHANGE_LANES, Lane, Mem, Reg, Type};
use kiln_ir::{DType, Dim, Ranges, Symbol};

/// Bytes that a thread reads at once.
const CHUNK_BYTES: i64 = 16;
/// Rows that share what is read of the matrix.
const MOST_ROWS: i64 = 8;
/// As few columns are no matrix.
const LEAST_COLUMNS: i64 = 16;
/// Shorter sums are not worth sharing.
const LEAST_DEPTH: i64 = 32;
/// Elements that a thread takes of a row, at most.
const MOST_LANES: i64 = 8;
/// Blocks that share out evenly over a GPU's multiprocessors.
const MANY_BLOCKS: i64 = 512;
/// Multiprocessors of the GPU that choices are about.
const MULTIPROCESSORS: i64 = 132;
/// Threads of a block.
const MOST_THREADS: i64 = 512;
/// Pieces of the matrix that a thread asks for at once.
const AT_ONCE: i64 = 8;
/// Bytes that one block should read at most: more are split by depth.
const MOST_BLOCK_BYTES: i64 = 1 << 20;

/// How threads share the matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// So many threads along columns, groups of them along depth.
    Across {
        threads: i64,
        /// Rows of the matrix begin anywhere.
        shifted: bool,
    },
    /// So many threads along the depth of a column.
    Along { threads: i64 },
}

/// A product that streams a matrix.
pub(in crate::lower) struct StreamContract {
    batch: Vec<Axis>,
    /// The index of few results.
    row: Axis,
    /// The index of many.
    column: Axis,
    depth: Axis,
    /// The operand of the few.
    held: ExprId,
    /// The matrix.
    matrix: ExprId,
    stores: Vec<Store>,
    /// Type of the sums.
    dtype: DType,
    /// Rows of a block.
    rows: i64,
    threads: i64,
    /// Neighbours that a thread takes at once.
    lanes: i64,
    way: Way,
    at_once: i64,
}

/// Brings a contraction into this form, if a matrix is most of what it reads. The kernel's expressions are then those to emit with.
pub(in crate::lower) fn form(kernel: &mut Kernel, program: &Program, sizes: &Ranges) -> Option<StreamContract> {
    let Body::Contract(contract) = &kernel.body else { return None };
    let dtype = sum_dtype(kernel.exprs.get(contract.lhs).dtype);
    let size = |axes: &[Axis]| axes.iter().map(|axis| usual(&axis.extent, program)).fold(1, i64::saturating_mul);
    let (batch, rows, columns, depth) = (size(&contract.batch), size(&contract.rows), size(&contract.columns), size(&contract.depth));
    let by_rows = rows <= MOST_ROWS;
    let (few, many) = if by_rows { (rows, columns) } else { (columns, rows) };
    if lane_of(dtype) == Lane::Mask || few > MOST_ROWS || many < LEAST_COLUMNS || depth < LEAST_DEPTH {
        return None;
    }
    let mut formed = merge_axes(kernel.clone(), sizes);
    let row = flattened(&mut formed, |c| &mut c.rows, "#row", sizes);
    let column = flattened(&mut formed, |c| &mut c.columns, "#column", sizes);
    let depth_axis = flattened(&mut formed, |c| &mut c.depth, "#depth", sizes);
    let Body::Contract(Contract { batch: outer, lhs, rhs, stores, .. }) = formed.body.clone() else { return None };
    let (row, column, held, matrix) = if by_rows { (row, column, lhs, rhs) } else { (column, row, rhs, lhs) };
    let rows = row.extent.as_const().filter(|n| (1..=MOST_ROWS).contains(n)).unwrap_or(few.max(1));
    let blocks_of_rows = batch.saturating_mul((few + rows - 1) / rows);
    let mut stream = StreamContract {
        batch: outer,
        row,
        column,
        depth: depth_axis,
        held,
        matrix,
        stores,
        dtype,
        rows,
        threads: 0,
        lanes: 1,
        way: Way::Along { threads: 1 },
        at_once: 1,
    };
    stream.choose(&formed, program, (blocks_of_rows, many, depth))?;
    *kernel = formed;
    Some(stream)
}

/// A chain of casts of a load that has no bounds and takes no index from memory: the access, and the types it becomes.
fn plain(exprs: &Exprs, id: ExprId) -> Option<(Access, Vec<DType>)> {
    let expr = exprs.get(id);
    match &expr.kind {
        ExprKind::Cast(inner) => {
            let (access, mut types) = plain(exprs, *inner)?;
            types.push(expr.dtype);
            Some((access, types))
        }
        ExprKind::Load(access) => {
            let takes_index = access.offset.symbols().iter().any(|s| ExprId::of_symbol(s).is_some());
            (access.bounds.is_empty() && !takes_index).then(|| (access.clone(), vec![expr.dtype]))
        }
        _ => None,
    }
}

/// The thread's place, and what it needs of the block.
struct Thread {
    number: Reg,
    /// Results of parts: `[row][part][column]`.
    totals: Reg,
}

impl StreamContract {
    /// How the matrix is shared, of sizes `(blocks of rows, columns, depth)`; none where other kernels do as well.
    fn choose(&mut self, kernel: &Kernel, program: &Program, (outer, many, depth): (i64, i64, i64)) -> Option<()> {
        let exprs = &kernel.exprs;
        let by_column = moves(exprs, self.matrix, &self.column.index);
        let by_depth = moves(exprs, self.matrix, &self.depth.index);
        let loaded = exprs.reached([self.matrix]).into_iter().filter_map(|id| match &exprs.get(id).kind {
            ExprKind::Load(access) => Some(program.buffer(access.buffer).dtype.size_bytes() as i64),
            _ => None,
        });
        let chunk = (CHUNK_BYTES / loaded.max()?).clamp(1, MOST_LANES);
        let is_whole = |extent: &Dim| extent.terms().iter().all(|term| term.coefficient % chunk == 0);
        let bytes = |columns: i64| columns.saturating_mul(depth).saturating_mul(CHUNK_BYTES / chunk);
        if by_column >= Moves::Near {
            let shifted = !(by_column == Moves::Straight && is_whole(&self.column.extent));
            let lanes = if shifted && !self.can_shift(kernel) { 1 } else { chunk };
            let shifted = shifted && lanes > 1;
            let columns = |threads: i64| (if shifted { threads - 1 } else { threads }) * lanes;
            let blocks = |threads: i64| outer.saturating_mul((many + columns(threads) - 1) / columns(threads));
            let fewest = if lanes == 1 { 32 } else { 2 };
            let across = [32, 16, 8, 4, 2].into_iter().find(|across| blocks(*across) >= MANY_BLOCKS || *across == fewest)?;
            let most = if blocks(across) >= 2 * MULTIPROCESSORS || self.rows > 4 { MOST_THREADS / 2 } else { MOST_THREADS };
            let least = (across * lanes).max(64);
            let mut threads = most;
            while threads > least && depth * across / threads < 4 {
                threads /= 2;
            }
            if blocks(across) < MULTIPROCESSORS && bytes(columns(across)) > MOST_BLOCK_BYTES {
                return None;
            }
            (self.lanes, self.threads, self.way) = (lanes, threads, Way::Across { threads: across, shifted });
        } else if by_depth >= Moves::Near {
            let lanes = if by_depth == Moves::Straight && is_whole(&self.depth.extent) { chunk } else { 1 };
            let chunks = (depth / lanes).max(1);
            let blocks = |along: i64| outer.saturating_mul(many * along / (MOST_THREADS / 2));
            let mut along = 16.min(1 << chunks.ilog2());
            let most = if lanes == 1 { 2 * AT_ONCE } else { AT_ONCE };
            while along < MOST_THREADS / 2 && (chunks / along > most || (blocks(along) < MULTIPROCESSORS && chunks / along > 2)) {
                along *= 2;
            }
            if blocks(along) < MULTIPROCESSORS && bytes(MOST_THREADS / 2 / along) > MOST_BLOCK_BYTES {
                return None;
            }
            (self.lanes, self.threads, self.way) = (lanes, MOST_THREADS / 2, Way::Along { threads: along });
        } else {
            return None;
        }
        let most = if self.rows > 2 { AT_ONCE / 2 } else { AT_ONCE };
        self.at_once = match self.depth.extent.as_const() {
            // Turns alike.
            Some(depth) => {
                let pieces = (depth + self.step() - 1) / self.step();
                let turns = (pieces + most - 1) / most;
                (pieces + turns - 1) / turns.max(1)
            }
            None => most,
        }
        .max(1);
        Some(())
    }

    /// Whether rows of the matrix can begin at the multiple of a chunk before them: a plain load, whose rows lie steps apart.
    fn can_shift(&self, kernel: &Kernel) -> bool {
        plain(&kernel.exprs, self.matrix).and_then(|(access, _)| self.strides(&access)).is_some()
    }

    /// What a step of depth adds to the offset of the matrix, and the offset without column and depth.
    fn strides(&self, access: &Access) -> Option<(Dim, Dim)> {
        let (across, rest) = access.offset.linear_in(&self.column.index)?;
        let (down, rest) = rest.linear_in(&self.depth.index)?;
        let depends = |dim: &Dim| dim.mentions(&self.column.index) || dim.mentions(&self.depth.index);
        (across.is(1) && !depends(&down) && !depends(&rest)).then_some((down, rest))
    }

    /// Points of depth that all threads take together, once.
    fn step(&self) -> i64 {
        match self.way {
            Way::Across { threads, .. } => self.threads / threads,
            Way::Along { threads } => threads * self.lanes,
        }
    }

    /// Columns of a block, as its threads take them; where rows are shifted, the last ones are not all of them.
    fn width(&self) -> i64 {
        match self.way {
            Way::Across { threads, .. } => threads * self.lanes,
            Way::Along { threads } => self.threads / threads,
        }
    }

    /// Columns of a block.
    fn columns(&self) -> i64 {
        match self.way {
            Way::Across { shifted: true, .. } => self.width() - self.lanes,
            _ => self.width(),
        }
    }

    /// Parts that the sums of one result are left in.
    fn parts(&self) -> i64 {
        match self.way {
            Way::Across { .. } => self.threads / self.width(),
            Way::Along { threads } => (threads / i64::from(EXCHANGE_LANES)).max(1),
        }
    }

    /// Threads of a block.
    pub(in crate::lower) fn threads(&self) -> u32 {
        self.threads as u32
    }

    fn sum_type(&self) -> Type {
        Type::scalar(lane_of(self.dtype))
    }

    fn mem(&self) -> Mem {
        memory_of(self.dtype)
    }

    fn size(&self) -> i64 {
        self.dtype.size_bytes() as i64
    }

    /// Emits the kernel.
    pub(in crate::lower) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let [_, thread, _, _] = b.params();
        let (of_rows, of_columns) = (Symbol::new("#row_tile"), Symbol::new("#column_tile"));
        let tiles =
            |index: &Symbol, axis: &Axis, length: i64| Axis { index: index.clone(), extent: axis.extent.ceil_div(&Dim::from(length)) };
        let mut digits = self.batch.clone();
        digits.push(tiles(&of_columns, &self.column, self.columns()));
        digits.push(tiles(&of_rows, &self.row, self.rows));
        let totals = b.shared((self.rows * self.parts() * self.width() * self.size()) as u32, 16);
        let meeting = match self.way {
            Way::Across { .. } => Some(b.shared((self.threads * self.lanes * self.size()) as u32, 16)),
            Way::Along { .. } => None,
        };
        let across = match self.way {
            Way::Across { threads, .. } | Way::Along { threads } => threads,
        };
        for_each_task(cx, b, &digits, |cx, b| {
            let index = Symbol::new("#thread");
            cx.ranges.set_index(index.clone(), Dim::from(self.threads));
            let number = Dim::from(index.clone());
            let of = |dim: Dim, cx: &mut Context, b: &mut Builder| cx.bound(&index, thread, |cx| cx.index(b, &dim));
            let x = of(number.modulo(&Dim::from(across)), cx, b);
            let y = of(number.floor_div(&Dim::from(across)), cx, b);
            let axes = [("#x", across), ("#y", self.threads / across)]
                .map(|(name, extent)| Axis { index: Symbol::new(name), extent: Dim::from(extent) });
            axes.iter().for_each(|axis| cx.ranges.set_index(axis.index.clone(), axis.extent.clone()));
            let own = Thread { number: thread, totals };
            bind_all(cx, &axes, &[x, y], Box::new(|cx| self.task(cx, b, &own, meeting)));
        });
        let work = Dim::from(self.rows * self.columns()) * self.depth.extent.maximum(&Dim::ONE);
        Tasks { count: Dim::product(digits.iter().map(|axis| &axis.extent)), work }
    }

    fn task(&self, cx: &mut Context, b: &mut Builder, thread: &Thread, meeting: Option<Reg>) {
        let start = zero(b, self.sum_type().times(self.lanes as u32));
        let start = vec![start; self.rows as usize];
        let sums = cx.when_nonempty(b, &self.depth.extent, &start, |cx, b| match self.way {
            Way::Across { shifted: true, .. } => self.shifted(cx, b, &start),
            Way::Across { .. } | Way::Along { .. } => self.turns(cx, b, &start, &|cx, b, from| self.piece(cx, b, from)),
        });
        match meeting {
            Some(meeting) => self.meet(cx, b, thread, meeting, &sums),
            None => self.exchange(cx, b, thread, &sums),
        }
        b.together(CooperativeStmt::Barrier);
        self.epilogue(cx, b, thread);
        // The memory is free for the next task's.
        b.together(CooperativeStmt::Barrier);
    }
}
