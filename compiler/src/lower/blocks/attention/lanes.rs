//! Attention on the units of single threads: true f32 and f64.
//!
//! Eight threads share a few rows of a block's tile: each computes the scores of every eighth key and every eighth chunk of features, and
//! they exchange the largest score by shuffles and exponentials through shared memory. Both products are chains of multiply-adds in
//! ascending order.

use super::merge::{Found, exchanged};
use super::shapes::{SHAPES, Shape, TEAM, Work};
use super::{FEW_ROWS, Flat, SHARED_BYTES, Usual, finite};
use crate::kernel::Axis;
use crate::lower::blocks::chunks::{CHUNK_BYTES, Chunks, chunk_elements};
use crate::lower::blocks::epilogue::Results;
use crate::lower::blocks::staging::Operand;
use crate::lower::context::Context;
use crate::lower::nest::Tasks;
use crate::lower::ops::{lane_of, memory_of};
use crate::lower::tasks::{bind_all, for_each_task};
use crate::tile::{Builder, CooperativeStmt, Mem, Reg, Type, math};
use kiln_ir::{Dim, Symbol};

/// The longest part of a row of results that a block computes.
const MOST_COLUMN_BYTES: i64 = 512;

/// An attention, and how it is computed.
pub(in crate::lower) struct Lanes {
    flat: Flat,
    shape: Shape,
    /// Columns of a line in shared memory, and how many chunks of them a thread has.
    columns: (i64, i64),
    /// Depth of a line in shared memory.
    depth: i64,
}

/// Where shared memory begins, of queries, keys, values and exponentials.
struct Areas {
    queries: Reg,
    keys: Reg,
    values: Reg,
    powers: Reg,
}

/// A task: what threads bring, and where it lies.
struct Task<'a> {
    queries: &'a Chunks,
    keys: &'a Chunks,
    values: &'a Chunks,
    areas: Areas,
}

/// The shortest line of a power of two chunks, at least `least`, that so many elements fit into.
fn line(elements: i64, chunk: i64, least: i64) -> i64 {
    (((elements + chunk - 1) / chunk).max(least) as u64).next_power_of_two() as i64 * chunk
}

impl Lanes {
    /// How an attention is computed of usually so many independent ones, rows and keys.
    pub(super) fn new(flat: Flat, usual: Usual) -> Lanes {
        let chunk = chunk_elements(flat.dtype);
        let depth = line(flat.depth.extent.as_const().unwrap_or(1), chunk, 1);
        let most = MOST_COLUMN_BYTES / flat.dtype.size_bytes() as i64;
        let all = flat.column.extent.as_const().unwrap_or(1).min(most);
        let group = TEAM * chunk;
        let mut lanes = Lanes { flat, shape: SHAPES[0], columns: (line(all, chunk, TEAM), (all + group - 1) / group), depth };
        let has_few = usual.rows < FEW_ROWS;
        let possible = SHAPES.into_iter().filter(|shape| (shape.streams > 1) == has_few && lanes.shared_bytes(*shape) <= SHARED_BYTES);
        let work = |shape: &Shape| Work { chunk, depth, columns: lanes.block_columns(), shared_bytes: lanes.shared_bytes(*shape) };
        let cost = |shape: &Shape| shape.cycles(&work(shape), usual);
        lanes.shape = possible.min_by(|a, b| cost(a).total_cmp(&cost(b))).expect("the least fits whatever depth there is");
        lanes
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> i64 {
        self.shape.threads()
    }

    fn chunk(&self) -> i64 {
        chunk_elements(self.flat.dtype)
    }

    /// Columns of a block.
    fn block_columns(&self) -> i64 {
        self.columns.1 * TEAM * self.chunk()
    }

    /// Bytes from one row of exponentials to the next: neighbouring rows begin in other banks.
    fn power_pitch(&self, shape: Shape) -> i64 {
        (shape.keys + self.chunk()) * self.flat.dtype.size_bytes() as i64
    }

    /// Bytes of queries, keys, values and exponentials.
    fn areas(&self, shape: Shape) -> [i64; 4] {
        let size = self.flat.dtype.size_bytes() as i64;
        let (depth, columns) = (self.depth * size, self.columns.0 * size);
        let powers = shape.streams * shape.block_rows() * self.power_pitch(shape);
        [shape.block_rows() * depth, shape.tile_keys() * depth, shape.tile_keys() * columns, powers]
    }

    fn shared_bytes(&self, shape: Shape) -> i64 {
        // Streams leave what they found where keys and values were.
        self.areas(shape).iter().sum::<i64>().max(self.found(shape).bytes())
    }

    fn sum_type(&self) -> Type {
        Type::scalar(lane_of(self.flat.dtype))
    }

    fn mem(&self) -> Mem {
        memory_of(self.flat.dtype)
    }

    fn vector(&self) -> Type {
        self.sum_type().times(self.chunk() as u32)
    }

    /// How queries, keys and values go to shared memory.
    fn chunks(&self, cx: &Context) -> [Chunks; 3] {
        let (flat, shape) = (&self.flat, self.shape);
        let first = |tile: &str, length: i64| Dim::symbol(tile) * Dim::from(length);
        let operand = |name, expr, axis, first, length| Operand { name, expr, axis, first, length, neutral: 0.0 };
        let queries = operand("query", flat.query, &flat.row, first("#row_tile", shape.block_rows()), shape.block_rows());
        let keys = operand("key", flat.key, &flat.depth, Dim::ZERO, self.depth);
        let values = operand("value", flat.value, &flat.column, first("#column_tile", self.block_columns()), self.columns.0);
        let threads = self.threads();
        [
            Chunks::new(cx, queries, &flat.depth, self.depth, threads, Some(true)),
            Chunks::new(cx, keys, &flat.keys, shape.tile_keys(), threads, Some(false)),
            Chunks::new(cx, values, &flat.keys, shape.tile_keys(), threads, Some(false)),
        ]
    }

    /// Emits the kernel.
    pub(super) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let [_, thread, _, _] = b.params();
        let (flat, shape) = (&self.flat, self.shape);
        let digit =
            |name: &str, axis: &Axis, length: i64| Axis { index: Symbol::new(name), extent: axis.extent.ceil_div(&Dim::from(length)) };
        let mut digits = flat.batch.clone();
        digits.push(digit("#row_tile", &flat.row, shape.block_rows()));
        digits.push(digit("#column_tile", &flat.column, self.block_columns()));
        let [queries, keys, values] = self.chunks(cx);
        let shared = b.shared(self.shared_bytes(shape) as u32, 128);
        let results = b.scratch((shape.rows * self.columns.1 * CHUNK_BYTES) as u32, 16);
        for_each_task(cx, b, &digits, |cx, b| {
            let index = Symbol::new("#thread");
            cx.ranges.set_index(index.clone(), Dim::from(self.threads()));
            let number = Dim::from(index.clone());
            let team = number.floor_div(&Dim::from(TEAM));
            let of = |cx: &mut Context, b: &mut Builder, dim: Dim| cx.bound(&index, thread, |cx| cx.index(b, &dim));
            let axis = |name: &str, extent: i64| Axis { index: Symbol::new(name), extent: Dim::from(extent) };
            let mut indices = vec![
                (axis("#x", TEAM), of(cx, b, number.modulo(&Dim::from(TEAM)))),
                (axis("#team", shape.teams), of(cx, b, team.modulo(&Dim::from(shape.teams)))),
                (axis("#stream", shape.streams), of(cx, b, team.floor_div(&Dim::from(shape.teams)))),
            ];
            for chunks in [&queries, &keys, &values] {
                indices.extend(chunks.indices(cx, b, thread));
            }
            let (axes, regs): (Vec<Axis>, Vec<Reg>) = indices.into_iter().unzip();
            axes.iter().for_each(|axis| cx.ranges.set_index(axis.index.clone(), axis.extent.clone()));
            let mut at = 0;
            let [queries_at, keys_at, values_at, powers_at] = self.areas(shape).map(|bytes| {
                let area = b.add_int(shared, at);
                at += bytes;
                area
            });
            let areas = Areas { queries: queries_at, keys: keys_at, values: values_at, powers: powers_at };
            let task = Task { queries: &queries, keys: &keys, values: &values, areas };
            bind_all(
                cx,
                &axes,
                &regs,
                Box::new(|cx| {
                    let mut state = self.attend(cx, b, &task);
                    let rows = shape.rows as usize;
                    for sum in &mut state[rows..2 * rows] {
                        *sum = exchanged(b, *sum, &[4, 2, 1], Builder::add);
                    }
                    let own = cx.index(b, &(Dim::symbol("#team") * Dim::from(TEAM) + Dim::symbol("#x")));
                    let state = self.found(shape).merged(cx, b, shared, own, state);
                    self.epilogue(cx, b, results, &state);
                }),
            );
        });
        let work = Dim::from(shape.block_rows() * (self.depth + self.block_columns())) * flat.keys.extent.maximum(&Dim::ONE);
        Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work }
    }

    /// Row `r` of the thread's, which may be beyond the last one.
    fn row(&self, r: i64) -> Dim {
        let first = Dim::symbol("#row_tile") * Dim::from(self.shape.block_rows());
        first + Dim::from(r * self.shape.teams) + Dim::symbol("#team")
    }

    /// All keys that the thread's stream sees, tile by tile: the largest scores, sums of exponentials of the thread's own keys, and means.
    fn attend(&self, cx: &mut Context, b: &mut Builder, task: &Task) -> Vec<Reg> {
        let (shape, tile_keys) = (self.shape, self.shape.tile_keys());
        let rows = shape.rows as usize;
        let first_row = Dim::symbol("#row_tile") * Dim::from(shape.block_rows());
        let sight = self.flat.sight(cx, b, &first_row, shape.block_rows(), tile_keys);
        let (never, zero, none) = (b.float(self.sum_type(), f64::NEG_INFINITY), b.float(self.sum_type(), 0.0), b.float(self.vector(), 0.0));
        let start = [vec![never; rows], vec![zero; rows], vec![none; rows * self.columns.1 as usize]].concat();
        let [begin, end] = sight.tiles;
        let some = b.lt(begin, end);
        let [step, next] = ["#step", "#next"].map(Symbol::new);
        for index in [&step, &next] {
            cx.ranges.set_index(index.clone(), self.flat.keys.extent.ceil_div(&Dim::from(tile_keys)));
        }
        let [from, from_next] = [&step, &next].map(|index| Dim::from(index.clone()) * Dim::from(tile_keys));
        let attend = |cx: &mut Context, b: &mut Builder| {
            let last = b.add_int(end, -1);
            let begun = task.queries.begin(cx, b, &Dim::ZERO, task.areas.queries);
            task.queries.finish(cx, b, task.areas.queries, &begun);
            let after = b.add_int(begin, 1);
            // A scope of its own for what depends on the step.
            cx.counted(b, &step, begin, after, 1, &[], |cx, b, _| {
                let begun = task.keys.begin(cx, b, &from, task.areas.keys);
                task.keys.finish(cx, b, task.areas.keys, &begun);
                vec![]
            });
            b.together(CooperativeStmt::EndCopies);
            let seen: Vec<[Reg; 2]> =
                (0..shape.rows).map(|r| cx.replaced(&self.flat.row.index, self.row(r), |cx| self.flat.seen(cx, b))).collect();
            let results = cx.counted(b, &step, begin, end, 1, &start, |cx, b, carried| {
                let now = cx.index(b, &Dim::from(step.clone()));
                b.together(CooperativeStmt::WaitForCopies(0));
                b.together(CooperativeStmt::Barrier);
                let begun = task.values.begin(cx, b, &from, task.areas.values);
                b.together(CooperativeStmt::EndCopies);
                let scores = self.scores(cx, b, task, &from, &seen, &sight);
                let mut state = carried.to_vec();
                self.weigh(cx, b, task, &mut state, &scores);
                task.values.finish(cx, b, task.areas.values, &begun);
                b.together(CooperativeStmt::WaitForCopies(0));
                b.together(CooperativeStmt::Barrier);
                // The last step asks for itself once more.
                let later = b.add_int(now, 1);
                let later = b.min_s(later, last);
                let begun = cx.bound(&next, later, |cx| task.keys.begin(cx, b, &from_next, task.areas.keys));
                b.together(CooperativeStmt::EndCopies);
                self.add_values(cx, b, task, &mut state[2 * rows..]);
                task.keys.finish(cx, b, task.areas.keys, &begun);
                state
            });
            // The next task's copies come to the same memory.
            b.together(CooperativeStmt::WaitForCopies(0));
            b.together(CooperativeStmt::Barrier);
            results
        };
        cx.branch(b, some, false, attend, |_, _| start.clone())
    }

    /// The thread's scores of a tile, row by row.
    fn scores(&self, cx: &mut Context, b: &mut Builder, task: &Task, from: &Dim, seen: &[[Reg; 2]], sight: &super::Sight) -> Vec<Vec<Reg>> {
        let (shape, size) = (self.shape, self.flat.dtype.size_bytes() as i64);
        let own = shape.keys / TEAM;
        let pitch = self.depth * size;
        // Lines of a team's rows are exchanged alike where teams are as many as lines are exchanged by.
        let alike = shape.teams % 8 == 0;
        let lines = if alike { 1 } else { shape.rows };
        let query_lines: Vec<Reg> =
            (0..lines).map(|r| task.queries.line_address(cx, b, &(Dim::from(r * shape.teams) + Dim::symbol("#team")))).collect();
        let first_key = Dim::symbol("#stream") * Dim::from(shape.keys) + Dim::symbol("#x");
        let key_line = task.keys.line_address(cx, b, &first_key);
        let at = |b: &mut Builder, area: Reg, line: Reg, chunk: i64| {
            let bits = b.index(chunk * CHUNK_BYTES);
            let skipped = b.xor(line, bits);
            b.add(area, skipped)
        };
        let zero = b.float(self.sum_type(), 0.0);
        let mut sums = vec![vec![zero; own as usize]; shape.rows as usize];
        let depth = self.flat.depth.extent.as_const().unwrap_or(self.depth);
        for chunk in 0..(depth + self.chunk() - 1) / self.chunk() {
            let addresses: Vec<Reg> = query_lines.iter().map(|line| at(b, task.areas.queries, *line, chunk)).collect();
            let queries: Vec<Reg> = (0..shape.rows)
                .map(|r| {
                    let skipped = if alike { r * shape.teams * pitch } else { 0 };
                    b.load(self.mem(), self.vector(), addresses[if alike { 0 } else { r as usize }], skipped as i32)
                })
                .collect();
            let address = at(b, task.areas.keys, key_line, chunk);
            for c in 0..own {
                let key = b.load(self.mem(), self.vector(), address, (c * TEAM * pitch) as i32);
                for (query, sums) in queries.iter().zip(&mut sums) {
                    for lane in 0..self.chunk() as u32 {
                        let (x, y) = (b.extract(*query, lane), b.extract(key, lane));
                        sums[c as usize] = b.fma(x, y, sums[c as usize]);
                    }
                }
            }
        }
        let keys: Vec<Dim> = (0..own).map(|c| from + &first_key + Dim::from(c * TEAM)).collect();
        let scored: Vec<Reg> = (0..shape.rows)
            .flat_map(|r| keys.iter().enumerate().map(move |(c, key)| (r, c, key)))
            .map(|(r, c, key)| self.flat.score(cx, b, (&self.row(r), key), sums[r as usize][c]))
            .collect();
        let masked = |cx: &mut Context, b: &mut Builder| {
            let never = b.float(self.sum_type(), f64::NEG_INFINITY);
            let places: Vec<Reg> = keys.iter().map(|key| cx.index(b, key)).collect();
            let mut result = Vec::new();
            for (r, [first, end]) in seen.iter().enumerate() {
                for (c, place) in places.iter().enumerate() {
                    let (above, below) = (b.ge(*place, *first), b.lt(*place, *end));
                    let sees = b.and(above, below);
                    result.push(b.select(sees, scored[r * own as usize + c], never));
                }
            }
            result
        };
        let (first, end) = (cx.index(b, from), cx.index(b, &(from + Dim::from(shape.tile_keys()))));
        let (above, below) = (b.ge(first, sight.common[0]), b.le(end, sight.common[1]));
        let whole = b.and(above, below);
        let scored = cx.branch(b, whole, false, |_, _| scored.clone(), masked);
        scored.chunks(own as usize).map(<[Reg]>::to_vec).collect()
    }

    /// Scores become exponentials, which go to shared memory; what is known so far is taken to the largest score now.
    fn weigh(&self, cx: &mut Context, b: &mut Builder, task: &Task, state: &mut [Reg], scores: &[Vec<Reg>]) {
        let (shape, rows) = (self.shape, self.shape.rows as usize);
        let size = self.flat.dtype.size_bytes() as i64;
        let to = self.powers(cx, b, task, &Dim::symbol("#x"));
        let mut factors = Vec::new();
        for (r, scores) in scores.iter().enumerate() {
            let largest = scores.iter().fold(state[r], |largest, score| b.maximum(largest, *score));
            let largest = exchanged(b, largest, &[4, 2, 1], Builder::maximum);
            let taken = finite(b, largest);
            let before = b.sub(state[r], taken);
            let factor = math::exp_to_zero(b, before);
            let mut sum = b.mul(state[rows + r], factor);
            for (c, score) in scores.iter().enumerate() {
                let difference = b.sub(*score, taken);
                let power = math::exp_to_zero(b, difference);
                sum = b.add(sum, power);
                let at = r as i64 * shape.teams * self.power_pitch(shape) + c as i64 * TEAM * size;
                b.store(self.mem(), power, to, at as i32);
            }
            (state[r], state[rows + r]) = (largest, sum);
            factors.push(factor);
        }
        let found = self.found(shape);
        for vector in 0..found.vectors as usize {
            let factor = found.of_vector(b, vector, &factors);
            state[2 * rows + vector] = b.mul(state[2 * rows + vector], factor);
        }
        // A team's exponentials are its own.
        b.together(CooperativeStmt::HalfWarpBarrier);
    }

    /// Where the exponentials of the thread's first row and of a key of its stream lie.
    fn powers(&self, cx: &mut Context, b: &mut Builder, task: &Task, key: &Dim) -> Reg {
        let (shape, size) = (self.shape, self.flat.dtype.size_bytes() as i64);
        let row = Dim::symbol("#stream") * Dim::from(shape.block_rows()) + Dim::symbol("#team");
        let skipped = cx.index(b, &(row * Dim::from(self.power_pitch(shape)) + key * Dim::from(size)));
        b.add(task.areas.powers, skipped)
    }

    /// The products of exponentials and values of a tile.
    fn add_values(&self, cx: &mut Context, b: &mut Builder, task: &Task, means: &mut [Reg]) {
        let (shape, size, chunk) = (self.shape, self.flat.dtype.size_bytes() as i64, self.chunk());
        let (groups, pitch) = (self.columns.1, self.columns.0 * size);
        let powers = self.powers(cx, b, task, &Dim::ZERO);
        // Lines of a stream begin at a multiple of what they are exchanged by.
        let stream = cx.index(b, &(Dim::symbol("#stream") * Dim::from(shape.keys * pitch)));
        let values = b.add(task.areas.values, stream);
        let own = cx.index(b, &(Dim::symbol("#x") * Dim::from(CHUNK_BYTES)));
        for first in (0..shape.keys).step_by(chunk as usize) {
            let rows: Vec<Reg> = (0..shape.rows)
                .map(|r| b.load(self.mem(), self.vector(), powers, (r * shape.teams * self.power_pitch(shape) + first * size) as i32))
                .collect();
            for lane in 0..chunk {
                let key = first + lane;
                let bits = b.index(key % 8 * CHUNK_BYTES);
                let exchanged = b.xor(own, bits);
                let address = b.add(values, exchanged);
                let factors: Vec<Reg> = rows
                    .iter()
                    .map(|row| {
                        let power = b.extract(*row, lane as u32);
                        b.splat(power, chunk as u32)
                    })
                    .collect();
                for group in 0..groups {
                    let value = b.load(self.mem(), self.vector(), address, (key * pitch + group * TEAM * CHUNK_BYTES) as i32);
                    for (r, factor) in factors.iter().enumerate() {
                        let mean = &mut means[r * groups as usize + group as usize];
                        *mean = b.fma(*factor, value, *mean);
                    }
                }
            }
        }
    }

    fn found(&self, shape: Shape) -> Found {
        let vectors = shape.rows * self.columns.1;
        let (streams, threads) = (shape.streams, shape.teams * TEAM);
        Found { streams, threads, rows: shape.rows, vectors, pairs: false, dtype: self.flat.dtype, lanes: self.chunk() }
    }

    /// Stores what the first stream's threads know.
    fn epilogue(&self, cx: &mut Context, b: &mut Builder, results: Reg, state: &[Reg]) {
        let found = self.found(self.shape);
        let is_first = found.is_first(cx, b);
        cx.branch(
            b,
            is_first,
            false,
            |cx, b| {
                for (at, mean) in found.means(b, state).into_iter().enumerate() {
                    b.store(self.mem(), mean, results, (at as i64 * CHUNK_BYTES) as i32);
                }
                self.store_means(cx, b, results);
                for r in 0..self.shape.rows {
                    let leads = Dim::symbol("#x") + Dim::symbol("#column_tile") * Dim::from(TEAM);
                    let (largest, sum) = (state[r as usize], state[(self.shape.rows + r) as usize]);
                    self.flat.store_row(cx, b, (&self.row(r), &leads), largest, sum);
                }
                vec![]
            },
            |_, _| vec![],
        );
    }

    fn store_means(&self, cx: &mut Context, b: &mut Builder, results: Reg) {
        let (shape, groups, chunk) = (self.shape, self.columns.1, self.chunk());
        let count = shape.rows * groups * chunk;
        let flat = &self.flat;
        let all =
            Results { row: &flat.row, column: &flat.column, stores: &flat.stores, dtype: flat.dtype, sums: results, count, staged: None };
        let lanes = all.lanes(cx, chunk);
        all.store(cx, b, lanes, |number| {
            let lane = number.modulo(&Dim::from(chunk));
            let group = number.floor_div(&Dim::from(chunk)).modulo(&Dim::from(groups));
            let r = number.floor_div(&Dim::from(chunk * groups));
            let row = Dim::symbol("#row_tile") * Dim::from(shape.block_rows()) + r * Dim::from(shape.teams) + Dim::symbol("#team");
            let column = Dim::symbol("#column_tile") * Dim::from(self.block_columns())
                + group * Dim::from(TEAM * chunk)
                + Dim::symbol("#x") * Dim::from(chunk)
                + lane;
            (row, column)
        });
    }
}
