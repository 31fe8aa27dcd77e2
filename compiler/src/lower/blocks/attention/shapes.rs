//! How the threads of a block share a tile of an attention on their own units, and what that takes, of which the fastest is chosen.

use super::Usual;
use crate::lower::blocks::chunks::CHUNK_BYTES;

/// Threads that share rows.
pub(super) const TEAM: i64 = 8;
/// Multiprocessors of the GPU that the model is about.
const MULTIPROCESSORS: f64 = 132.0;
/// Shared memory of a multiprocessor.
const MULTIPROCESSOR_SHARED: i64 = 227 << 10;
/// Multiply-adds of a multiprocessor in a cycle.
const MULTIPLY_ADDS: f64 = 128.0;
/// Bytes that a multiprocessor gets from the second-level cache in a cycle, its share of them all.
const CACHE_BYTES: f64 = 24.0;
/// Cycles until a tile of keys and one of values are there, one after the other.
const TILE_LATENCY: f64 = 1200.0;

/// How threads share a tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    /// Teams with rows of their own.
    pub teams: i64,
    /// Teams with the same rows and keys of their own.
    pub streams: i64,
    /// Rows of a team.
    pub rows: i64,
    /// Keys of a stream's part of a tile: a multiple of the threads of a team.
    pub keys: i64,
}

const fn shape(teams: i64, streams: i64, rows: i64, keys: i64) -> Shape {
    Shape { teams, streams, rows, keys }
}

/// All there are, of equals the better first; long depth leaves room for small ones only.
pub(super) const SHAPES: [Shape; 13] = [
    shape(16, 1, 4, 32),
    shape(16, 1, 4, 16),
    shape(16, 1, 2, 32),
    shape(16, 1, 2, 16),
    shape(16, 1, 1, 16),
    shape(16, 1, 1, 8),
    shape(8, 1, 1, 8),
    shape(1, 8, 4, 8),
    shape(1, 8, 1, 8),
    shape(1, 4, 4, 8),
    shape(1, 4, 1, 8),
    shape(1, 2, 4, 8),
    shape(1, 2, 1, 8),
];

/// What does not depend on the shape, and the shared memory that it takes.
pub(super) struct Work {
    /// Elements of a vector.
    pub chunk: i64,
    /// Depth of a line in shared memory.
    pub depth: i64,
    /// Columns of a block.
    pub columns: i64,
    /// Shared memory of a block.
    pub shared_bytes: i64,
}

impl Shape {
    /// Threads of a block.
    pub(super) fn threads(&self) -> i64 {
        self.teams * self.streams * TEAM
    }

    /// Rows of a block.
    pub(super) fn block_rows(&self) -> i64 {
        self.teams * self.rows
    }

    /// Keys of a tile.
    pub(super) fn tile_keys(&self) -> i64 {
        self.streams * self.keys
    }

    /// Cycles for so many independent attentions of so many rows and keys.
    pub(super) fn cycles(&self, work: &Work, Usual { batch, rows, keys }: Usual) -> f64 {
        let (depth, columns, chunk) = (work.depth as f64, work.columns as f64, work.chunk as f64);
        let size = CHUNK_BYTES as f64 / chunk;
        let blocks = batch as f64 * (rows as f64 / self.block_rows() as f64).ceil();
        let (own_rows, own_keys) = (self.rows as f64, (self.keys / TEAM) as f64);
        let warps = self.threads() as f64 / 32.0;
        // Of one key: multiply-adds, and vectors that warps read of shared memory.
        let multiply = self.block_rows() as f64 * (depth + columns) * size / 4.0 / MULTIPLY_ADDS;
        let scores = depth / chunk * (own_rows + own_keys) / (TEAM as f64 * own_keys);
        let read = warps * (scores + (own_rows / chunk + columns / chunk / TEAM as f64)) / self.streams as f64;
        let fetch = (depth + columns) * size / CACHE_BYTES;
        let tiles = (keys as f64 / self.tile_keys() as f64).ceil();
        let beside = (blocks / MULTIPROCESSORS).ceil().min((MULTIPROCESSOR_SHARED / (work.shared_bytes + 1024)) as f64).max(1.0);
        let waves = (blocks / (MULTIPROCESSORS * beside)).ceil();
        // What a tile waits for passes beside what other blocks compute.
        let tile = (self.tile_keys() as f64 * (multiply.max(read) + fetch) * beside).max(TILE_LATENCY);
        waves * tiles * tile
    }
}
