//! Which tile of a contraction a block of threads computes.
//!
//! A model of the time on an H100: blocks come in waves over the multiprocessors; a block is held up by its multiply-adds, or, where few
//! threads do many loads, by these.

use crate::kernel::{Axis, Contract, Program};
use crate::tuning::{Asking, HOPELESS, Subject};
use kiln_ir::{DType, Dim};

/// The part of a contraction's results that a block computes, how far it looks ahead, and how threads share it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockTile {
    /// Rows of the block.
    pub rows: i64,
    /// Columns of the block.
    pub columns: i64,
    /// Points of depth that lie in shared memory at a time.
    pub depth: i64,
    /// Rows of one thread.
    pub thread_rows: i64,
    /// Columns of one thread.
    pub thread_columns: i64,
}

/// All tiles there are. Sizes are powers of two; a thread's rows come in fours where there are as many, a load each.
const TILES: [BlockTile; 11] = [
    tile((128, 128, 16), (8, 8)),
    tile((128, 64, 16), (8, 4)),
    tile((64, 128, 16), (4, 8)),
    tile((64, 64, 16), (4, 4)),
    tile((32, 64, 16), (4, 4)),
    tile((64, 32, 16), (4, 4)),
    tile((32, 32, 32), (2, 2)),
    tile((4, 16, 64), (1, 1)),
    tile((16, 4, 64), (1, 1)),
    tile((4, 32, 32), (2, 1)),
    tile((32, 4, 32), (1, 2)),
];

const fn tile((rows, columns, depth): (i64, i64, i64), (thread_rows, thread_columns): (i64, i64)) -> BlockTile {
    BlockTile { rows, columns, depth, thread_rows, thread_columns }
}

/// Multiprocessors of the GPU that the model is about.
const MULTIPROCESSORS: f64 = 132.0;
/// Multiply-adds of a multiprocessor in a cycle.
const MULTIPLY_ADDS: f64 = 128.0;
/// Bytes that a multiprocessor gets from the second-level cache in a cycle, its share of them all.
const CACHE_BYTES: f64 = 24.0;
/// Cycles until what a step asked for is there.
const STEP_LATENCY: f64 = 600.0;
/// Threads of one multiprocessor.
const MOST_THREADS: f64 = 2048.0;
/// Static shared memory of a block.
const SHARED_BYTES: i64 = 48 << 10;

/// What a size counts as that is not known and not said.
const USUAL: i64 = 64;
/// Sums shorter than this gain nothing from shared memory.
const LEAST_DEPTH: i64 = 8;
/// Results fewer than this along both sides share nothing.
const LEAST_SHARED: i64 = 4;

impl BlockTile {
    /// Threads of the block.
    pub(super) fn threads(&self) -> i64 {
        self.rows / self.thread_rows * (self.columns / self.thread_columns)
    }

    /// Cycles for so many independent products of these sizes.
    fn cycles(&self, (batch, rows, columns, depth): (f64, f64, f64, f64), bytes: f64) -> f64 {
        let blocks = batch * (rows / self.rows as f64).ceil() * (columns / self.columns as f64).ceil();
        let threads = self.threads() as f64;
        // How many share a multiprocessor; registers allow no more.
        let sums = (self.thread_rows * self.thread_columns) as f64;
        let beside = (MOST_THREADS / threads).min(65536.0 / (threads * (40.0 + 2.0 * sums))).floor().max(1.0);
        let waves = (blocks / (MULTIPROCESSORS * beside)).ceil();
        let busy = (blocks / MULTIPROCESSORS).ceil().min(beside);
        // A warp multiplies as four of them share a multiprocessor, and waits for what it reads of shared memory: four neighbours of a
        // row are there at once, of columns, which are unlike in most threads, after two turns.
        let (own_rows, own_columns) = (self.thread_rows as f64, self.thread_columns as f64);
        let reads = (own_rows / 4.0).ceil() + (own_columns / 2.0).ceil();
        let multiply = threads / 32.0 * (sums * 32.0 / MULTIPLY_ADDS).max(reads);
        let fetch = (self.rows + self.columns) as f64 * bytes / CACHE_BYTES;
        let steps = (depth / self.depth as f64).ceil();
        // Both overlap, but never wholly.
        let step = (busy * self.depth as f64 * (multiply + fetch)).max(STEP_LATENCY);
        // Of equals, the one that does less beyond the edges.
        waves * steps * (step + 0.01 * self.depth as f64 * multiply)
    }
}

/// The tile of a contraction; none where a thread for each result does as well.
pub(super) fn choose(contract: &Contract, program: &Program, dtype: DType, asking: &mut Asking) -> Option<BlockTile> {
    let [batch, rows, columns, depth] = usual_sizes(contract, program);
    if depth < LEAST_DEPTH || (rows < LEAST_SHARED && columns < LEAST_SHARED) {
        return None;
    }
    let sizes = (batch as f64, rows as f64, columns as f64, depth as f64);
    let bytes = dtype.size_bytes() as i64;
    let fits = |tile: &&BlockTile| 2 * tile.depth * (tile.rows + tile.columns + 8) * bytes <= SHARED_BYTES;
    let cycles = |tile: &BlockTile| tile.cycles(sizes, bytes as f64);
    let usual = *TILES.iter().filter(fits).min_by(|a, b| cycles(a).total_cmp(&cycles(b)))?;
    let others = || TILES.iter().filter(fits).filter(|tile| cycles(tile) < HOPELESS * cycles(&usual)).copied().collect();
    let name = |t: &BlockTile| format!("{}x{}x{} by {}x{}", t.rows, t.columns, t.depth, t.thread_rows, t.thread_columns);
    Some(asking.choose(Subject::Tile, usual, others, name))
}

/// Usual sizes of a contraction: batch, rows, columns, depth.
pub(super) fn usual_sizes(contract: &Contract, program: &Program) -> [i64; 4] {
    let size = |axes: &[Axis]| axes.iter().map(|axis| usual(&axis.extent, program)).product::<i64>();
    [&contract.batch, &contract.rows, &contract.columns, &contract.depth].map(|axes| size(axes))
}

/// The value of a size, or what it usually is.
pub(crate) fn usual(extent: &Dim, program: &Program) -> i64 {
    extent.evaluate(&|symbol| Some(program.usual_sizes.get(symbol).copied().unwrap_or(USUAL))).unwrap_or(USUAL).max(1)
}
