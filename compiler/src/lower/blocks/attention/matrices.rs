//! Attention of half floats on matrix units, with scores, exponentials and sums in f32.
//!
//! A warp has 16 or 32 rows. Its queries stay in registers; its scores lie where the next product wants its left factor, so exponentials
//! never leave registers. They are rounded to half floats there, and only there.

use super::merge::{Found, exchanged};
use super::{FEW_ROWS, Flat, SHARED_BYTES, Sight, Usual, finite};
use crate::kernel::Axis;
use crate::lower::blocks::chunks::{CHUNK_BYTES, Chunks};
use crate::lower::blocks::epilogue::Results;
use crate::lower::blocks::members::{WARP, as_members, number};
use crate::lower::blocks::shared_matrix::{EIGHT_LINES, SharedMatrix};
use crate::lower::blocks::staging::Operand;
use crate::lower::context::Context;
use crate::lower::nest::Tasks;
use crate::lower::tasks::for_each_task;
use crate::tile::{Builder, CooperativeStmt, Lane, MatrixElement, Mem, Reg, Type, fragments};
use crate::tuning::{Asking, Subject};
use kiln_ir::{DType, Dim, Symbol};
use std::f64::consts::LOG2_E;

/// Warps of a block, a warpgroup.
const WARPS: i64 = 4;
/// The longest part of a row of results that a block computes.
const MOST_COLUMNS: i64 = 128;
/// Rows of a warp that go with heads of at most so many features.
const SHORT_HEADS: i64 = 64;
/// Blocks that keep a GPU busy.
const ENOUGH_BLOCKS: i64 = 132;
/// Depths, and parts of rows of results, that a warpgroup computes: whole panels of shared memory.
const TOGETHER: [i64; 2] = [64, 128];
/// Keys of a tile that a warpgroup takes: with twice as many a few registers are spilled. Blocks of several warpgroups are slower, as all of
/// them compute exponentials at the same time.
const KEYS_TOGETHER: i64 = 64;
/// Bytes of an element.
const SIZE: i64 = 2;

/// An attention, and how it is computed.
pub(in crate::lower) struct Matrices {
    pub(super) flat: Flat,
    half: MatrixElement,
    /// Whether four warps multiply together, with keys and values where they lie in shared memory.
    together: bool,
    /// Whether they compute exponentials of one tile while the products of another are under way.
    pub(super) overlaps: bool,
    /// Warps with the same rows and keys of their own.
    streams: i64,
    /// Products of a warp, down its rows.
    down: i64,
    /// Keys of a stream's part of a tile.
    keys: i64,
    /// Depth of a line in shared memory.
    depth: i64,
    /// Columns of a line in shared memory, and of the sums.
    columns: (i64, i64),
}

/// Where a warp finds its matrices of a factor: bytes from the beginning of the tile to the row that the thread names of the first.
pub(super) struct Source {
    at: Reg,
    pitch: i64,
    /// Whether lines of the tile run across the depth of the product.
    turned: bool,
}

impl Source {
    /// Four matrices: the `across`th sixteen of rows or columns, and the `deep`th of depth.
    fn load(&self, b: &mut Builder, area: Reg, across: i64, deep: i64) -> Reg {
        let (line, chunk) = if self.turned { (deep, across) } else { (across, deep) };
        let bits = b.index(chunk * 2 * CHUNK_BYTES);
        let skipped = b.xor(self.at, bits);
        let address = b.add(area, skipped);
        b.load_matrices(address, (line * fragments::DEPTH * self.pitch) as i32, self.turned)
    }
}

/// A matrix in shared memory, and what describes it.
pub(super) type Described<'a> = (&'a SharedMatrix, Reg);

/// The thread's exponentials of a tile, or its scores: by products down and eights of keys, four.
pub(super) type Exponentials = Vec<Vec<[Reg; 4]>>;

/// Where warps find what they multiply.
pub(super) enum Factors {
    /// A warp by itself: queries, by product down and sixteen of depth, in registers.
    Warp { queries: Vec<Vec<Reg>>, keys: Source, values: Source },
    /// Four together: queries, keys and values, each with what describes it.
    Warpgroup([(SharedMatrix, Reg); 3]),
}

/// A task: what threads bring, where it lies, and where warps find it.
pub(super) struct Task<'a> {
    pub(super) keys: &'a Chunks,
    pub(super) values: &'a Chunks,
    pub(super) keys_at: Reg,
    pub(super) values_at: Reg,
    pub(super) factors: Factors,
    /// The keys that the thread's rows see.
    seen: Vec<[Reg; 2]>,
    sight: Sight,
}

/// All lanes of a power of two of registers.
pub(super) fn joined(b: &mut Builder, parts: &[Reg]) -> Reg {
    match parts {
        [one] => *one,
        _ => {
            let (low, high) = parts.split_at(parts.len() / 2);
            let (low, high) = (joined(b, low), joined(b, high));
            b.concat(low, high)
        }
    }
}

/// The lanes of a register four by four.
pub(super) fn fours(b: &mut Builder, all: Reg) -> Vec<Reg> {
    if all.ty.lanes == 4 {
        return vec![all];
    }
    let (low, high) = (b.low_half(all), b.high_half(all));
    [fours(b, low), fours(b, high)].concat()
}

/// A power of two that is no less.
fn power(number: i64) -> i64 {
    (number.max(1) as u64).next_power_of_two() as i64
}

/// A multiple of 16 that is no less.
fn sixteens(number: i64) -> i64 {
    (number + 15) / 16 * 16
}

impl Matrices {
    /// How an attention of half floats is computed.
    pub(super) fn new(flat: Flat, half: MatrixElement, usual: Usual, has_warpgroups: bool, asking: &mut Asking) -> Matrices {
        let known = |axis: &Axis| axis.extent.as_const().unwrap_or(1);
        let depth = power(sixteens(known(&flat.depth)));
        let all = sixteens(known(&flat.column).min(MOST_COLUMNS));
        let columns = (power(all), all);
        let has_few = usual.rows < FEW_ROWS;
        let blocks = usual.batch * ((usual.rows + 2 * WARPS * fragments::ROWS - 1) / (2 * WARPS * fragments::ROWS));
        let tall = !has_few && known(&flat.depth).max(all) <= SHORT_HEADS && blocks >= ENOUGH_BLOCKS;
        let (streams, down) = if has_few { (WARPS, 1) } else { (1, if tall { 2 } else { 1 }) };
        // Two products down leave registers for the scores of fewer keys, and parts of keys are multiples of 64.
        let keys = if has_few { 64 / streams } else { 64 / down };
        let fits = |size: i64| TOGETHER.contains(&size);
        if has_warpgroups && !has_few && fits(depth) && fits(columns.0) && columns.0 == columns.1 {
            let name = |overlaps: &bool| if *overlaps { "overlapped" } else { "one after the other" }.to_string();
            let overlaps = asking.choose(Subject::Tile, false, || vec![true], name);
            return Matrices { flat, half, together: true, overlaps, streams: 1, down: 1, keys: KEYS_TOGETHER, depth, columns };
        }
        let mut matrices = Matrices { flat, half, together: false, overlaps: false, streams, down, keys, depth, columns };
        while matrices.shared_bytes() > SHARED_BYTES && matrices.keys > 16 {
            matrices.keys /= 2;
        }
        matrices
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> i64 {
        WARPS * WARP
    }

    /// Rows of a block.
    fn rows(&self) -> i64 {
        WARPS / self.streams * self.down * fragments::ROWS
    }

    /// Keys of a tile.
    pub(super) fn tile_keys(&self) -> i64 {
        self.streams * self.keys
    }

    /// Products of a warp across its columns.
    pub(super) fn across(&self) -> i64 {
        self.columns.1 / fragments::COLUMNS
    }

    /// Bytes of keys, of values, and of queries, which lie in the place of values where they go to registers before these come.
    pub(super) fn areas(&self) -> [i64; 3] {
        let (keys, values) = (self.tile_keys() * self.depth * SIZE, self.tile_keys() * self.columns.0 * SIZE);
        let queries = self.rows() * self.depth * SIZE;
        if self.together { [keys, values, queries] } else { [keys, values.max(queries), 0] }
    }

    fn found(&self) -> Found {
        let blocks = self.down * self.across();
        Found { streams: self.streams, threads: WARP, rows: 2 * self.down, vectors: blocks, pairs: true, dtype: DType::F32, lanes: 4 }
    }

    /// Where queries lie behind keys and values, of which two tiles each are there at a time where products overlap.
    fn queries_behind(&self) -> i64 {
        let [keys, values, _] = self.areas();
        match (self.together, self.overlaps) {
            (true, true) => 2 * (keys + values),
            (true, false) => keys + values,
            (false, _) => keys,
        }
    }

    fn shared_bytes(&self) -> i64 {
        let [keys, values, queries] = self.areas();
        let all = if self.together { self.queries_behind() + queries } else { keys + values };
        all.max(self.found().bytes())
    }

    /// How queries, keys and values go to shared memory.
    fn chunks(&self, cx: &Context) -> [Chunks; 3] {
        let flat = &self.flat;
        let first = |tile: &str, length: i64| Dim::symbol(tile) * Dim::from(length);
        let operand = |name, expr, axis, first, length| Operand { name, expr, axis, first, length, neutral: 0.0 };
        let queries = operand("query", flat.query, &flat.row, first("#row_tile", self.rows()), self.rows());
        let keys = operand("key", flat.key, &flat.depth, Dim::ZERO, self.depth);
        let values = operand("value", flat.value, &flat.column, first("#column_tile", self.columns.1), self.columns.0);
        let chunks = [
            Chunks::new(cx, queries, &flat.depth, self.depth, self.threads(), None),
            Chunks::new(cx, keys, &flat.keys, self.tile_keys(), self.threads(), None),
            Chunks::new(cx, values, &flat.keys, self.tile_keys(), self.threads(), None),
        ];
        if self.together { chunks.map(Chunks::in_panels) } else { chunks }
    }

    /// Emits the kernel.
    pub(super) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let [_, thread, _, _] = b.params();
        let flat = &self.flat;
        let digit =
            |name: &str, axis: &Axis, length: i64| Axis { index: Symbol::new(name), extent: axis.extent.ceil_div(&Dim::from(length)) };
        let mut digits = flat.batch.clone();
        digits.push(digit("#row_tile", &flat.row, self.rows()));
        digits.push(digit("#column_tile", &flat.column, self.columns.1));
        let [queries, keys, values] = self.chunks(cx);
        let shared = b.shared(self.shared_bytes() as u32, EIGHT_LINES as u32);
        let results = b.scratch((self.down * self.across() * 16) as u32, 16);
        for_each_task(cx, b, &digits, |cx, b| {
            let (number, warp) = (number(), number().floor_div(&Dim::from(WARP)));
            let indices = [
                ("#lane", WARP, number.modulo(&Dim::from(WARP))),
                ("#warp_row", WARPS / self.streams, warp.floor_div(&Dim::from(self.streams))),
                ("#stream", self.streams, warp.modulo(&Dim::from(self.streams))),
            ];
            as_members(cx, b, (thread, self.threads()), &indices, &[&queries, &keys, &values], |cx, b| {
                let mut state = self.attend(cx, b, [&queries, &keys, &values], shared);
                let rows = 2 * self.down as usize;
                for sum in &mut state[rows..2 * rows] {
                    *sum = exchanged(b, *sum, &[1, 2], Builder::add);
                }
                let own = cx.index(b, &Dim::symbol("#lane"));
                let state = self.found().merged(cx, b, shared, own, state);
                self.epilogue(cx, b, results, &state);
            });
        });
        let work = Dim::from(self.rows() * (self.depth + self.columns.1)) * flat.keys.extent.maximum(&Dim::ONE);
        Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work }
    }

    /// Where the warp's matrices of a factor lie, from line or chunk `first` of those across on; `map` says which row a lane names.
    fn source(
        &self,
        cx: &mut Context,
        b: &mut Builder,
        chunks: &Chunks,
        turned: bool,
        map: fn(i64) -> fragments::MatrixRow,
        first: [Dim; 2],
    ) -> Source {
        let lane = Dim::symbol("#lane");
        // The maps of fragments are linear in the bits of the lane: what each bit adds says all.
        let bit = |at: i64| lane.floor_div(&Dim::from(1 << at)).modulo(&Dim::from(2));
        let of = |field: fn(fragments::MatrixRow) -> i64| {
            Dim::sum(&(0..5).map(|at| bit(at) * Dim::from(field(map(1 << at)))).collect::<Vec<_>>())
        };
        let (beside, deep, inside) = (of(|m| m.across), of(|m| m.depth), of(|m| m.row));
        let side = Dim::from(fragments::SIDE);
        let [across, depth] = first;
        let (line, chunk) = match turned {
            false => (across + beside * &side + inside, depth.floor_div(&side) + deep),
            true => (depth + deep * &side + inside, across.floor_div(&side) + beside),
        };
        let line = chunks.line_address(cx, b, &line);
        let chunk = cx.index(b, &(chunk * Dim::from(CHUNK_BYTES)));
        Source { at: b.xor(line, chunk), pitch: chunks.pitch(), turned }
    }

    /// Row of the thread's: `at` counts two for each product, the second eight rows below the first.
    fn row(&self, at: i64) -> Dim {
        let warp = Dim::symbol("#row_tile") * Dim::from(self.rows()) + Dim::symbol("#warp_row") * Dim::from(self.down * fragments::ROWS);
        let own = Dim::symbol("#lane").floor_div(&Dim::from(4));
        warp + Dim::from(at / 2 * fragments::ROWS + at % 2 * 8) + own
    }

    /// All keys that the warp's stream sees, tile by tile: the largest scores, sums of exponentials of the thread's own keys, and means.
    fn attend(&self, cx: &mut Context, b: &mut Builder, [queries, keys, values]: [&Chunks; 3], shared: Reg) -> Vec<Reg> {
        let (rows, ty) = (2 * self.down as usize, Type::scalar(Lane::F32).times(4));
        let first_row = Dim::symbol("#row_tile") * Dim::from(self.rows());
        let sight = self.flat.sight(cx, b, &first_row, self.rows(), self.tile_keys());
        let (never, zero, none) = (b.float(Type::F32, f64::NEG_INFINITY), b.float(Type::F32, 0.0), b.float(ty, 0.0));
        let start = [vec![never; rows], vec![zero; rows], vec![none; (self.down * self.across()) as usize]].concat();
        let [begin, end] = sight.tiles;
        let some = b.lt(begin, end);
        let step = Symbol::new("#step");
        cx.ranges.set_index(step.clone(), self.flat.keys.extent.ceil_div(&Dim::from(self.tile_keys())));
        let from = Dim::from(step.clone()) * Dim::from(self.tile_keys());
        let attend = |cx: &mut Context, b: &mut Builder| {
            let last = b.add_int(end, -1);
            let tiles = if self.overlaps { 2 } else { 1 };
            let (keys_at, values_at) = (shared, b.add_int(shared, tiles * self.areas()[0]));
            let queries_at = b.add_int(shared, self.queries_behind());
            let begun = queries.begin(cx, b, &Dim::ZERO, queries_at);
            queries.finish(cx, b, queries_at, &begun);
            let after = b.add_int(begin, 1);
            // A scope of its own for what depends on the step.
            cx.counted(b, &step, begin, after, 1, &[], |cx, b, _| {
                let begun = keys.begin(cx, b, &from, keys_at);
                keys.finish(cx, b, keys_at, &begun);
                vec![]
            });
            b.together(CooperativeStmt::EndCopies);
            self.meet(b);
            let factors = self.factors(cx, b, [(queries, queries_at), (keys, keys_at), (values, values_at)]);
            let seen = (0..rows as i64).map(|at| cx.replaced(&self.flat.row.index, self.row(at), |cx| self.flat.seen(cx, b))).collect();
            let task = Task { keys, values, keys_at, values_at, factors, seen, sight };
            let results = match self.overlaps {
                true => self.overlapped(cx, b, &task, [begin, last], &start),
                false => cx.counted(b, &step, begin, end, 1, &start, |cx, b, carried| self.tile(cx, b, &task, (&step, last), carried)),
            };
            // The next task's copies come to the same memory.
            b.together(CooperativeStmt::WaitForCopies(0));
            b.together(CooperativeStmt::Barrier);
            results
        };
        cx.branch(b, some, false, attend, |_, _| start.clone())
    }

    /// The thread's copies are done, and so are all others'.
    pub(super) fn meet(&self, b: &mut Builder) {
        b.together(CooperativeStmt::WaitForCopies(0));
        if self.together {
            b.together(CooperativeStmt::ShareWithProducts);
        }
        b.together(CooperativeStmt::Barrier);
    }

    /// Where warps find queries, keys and values, which lie at these addresses.
    fn factors(&self, cx: &mut Context, b: &mut Builder, [queries, keys, values]: [(&Chunks, Reg); 3]) -> Factors {
        // Keys and values are brought along keys, which are the depth of the second product only.
        if self.together {
            let along = [queries.0.along_depth, !keys.0.along_depth, values.0.along_depth];
            let matrices = [0, 1, 2].map(|at| SharedMatrix::of([queries.0, keys.0, values.0][at], along[at]));
            let addresses = [queries.1, keys.1, values.1];
            return Factors::Warpgroup([0, 1, 2].map(|at| (matrices[at], matrices[at].described(b, addresses[at]))));
        }
        let held = self.queries(cx, b, queries.0, queries.1);
        let stream = Dim::symbol("#stream") * Dim::from(self.keys);
        let keys = self.source(cx, b, keys.0, keys.0.along_depth, fragments::right_row, [stream.clone(), Dim::ZERO]);
        let values = self.source(cx, b, values.0, !values.0.along_depth, fragments::right_row, [Dim::ZERO, stream]);
        Factors::Warp { queries: held, keys, values }
    }

    /// The warp's queries.
    fn queries(&self, cx: &mut Context, b: &mut Builder, chunks: &Chunks, area: Reg) -> Vec<Vec<Reg>> {
        let first = Dim::symbol("#warp_row") * Dim::from(self.down * fragments::ROWS);
        let source = self.source(cx, b, chunks, !chunks.along_depth, fragments::left_row, [first, Dim::ZERO]);
        (0..self.down).map(|down| (0..self.deep()).map(|deep| source.load(b, area, down, deep)).collect()).collect()
    }

    /// Sixteens of depth.
    fn deep(&self) -> i64 {
        sixteens(self.flat.depth.extent.as_const().unwrap_or(1)) / fragments::DEPTH
    }

    /// One tile of keys.
    fn tile(&self, cx: &mut Context, b: &mut Builder, task: &Task, (step, last): (&Symbol, Reg), carried: &[Reg]) -> Vec<Reg> {
        let rows = 2 * self.down as usize;
        let next = Symbol::new("#next");
        cx.ranges.set_index(next.clone(), self.flat.keys.extent.ceil_div(&Dim::from(self.tile_keys())));
        let [from, from_next] = [step, &next].map(|index| Dim::from(index.clone()) * Dim::from(self.tile_keys()));
        let now = cx.index(b, &Dim::from(step.clone()));
        self.meet(b);
        let begun = task.values.begin(cx, b, &from, task.values_at);
        b.together(CooperativeStmt::EndCopies);
        let sums = self.products(b, task);
        let scores = self.scores(cx, b, task, &from, &sums);
        let mut state = carried.to_vec();
        let (powers, factors) = self.weigh(b, &mut state, &scores, rows);
        self.rescale(b, &mut state, &factors, rows);
        let powers = self.packed(b, &powers);
        task.values.finish(cx, b, task.values_at, &begun);
        self.meet(b);
        // The last step asks for itself once more.
        let later = b.add_int(now, 1);
        let later = b.min_s(later, last);
        let begun = cx.bound(&next, later, |cx| task.keys.begin(cx, b, &from_next, task.keys_at));
        b.together(CooperativeStmt::EndCopies);
        self.add_values(b, task, &powers, &mut state[2 * rows..]);
        task.keys.finish(cx, b, task.keys_at, &begun);
        state
    }

    /// Adds values by weight to the sums, of each product down those across.
    fn add_values(&self, b: &mut Builder, task: &Task, powers: &[Vec<Reg>], sums: &mut [Reg]) {
        match &task.factors {
            Factors::Warpgroup([_, _, (values, described)]) => {
                let all = joined(b, sums);
                b.together(CooperativeStmt::BeginProducts);
                let all = self.begin_values(b, (values, *described), powers, all);
                b.together(CooperativeStmt::WaitForProducts(0));
                sums.copy_from_slice(&fours(b, all));
            }
            Factors::Warp { values, .. } => {
                for (deep, powers) in powers.iter().enumerate() {
                    for pair in 0..self.across() / 2 {
                        let both = values.load(b, task.values_at, pair, deep as i64);
                        for (side, right) in [b.low_half(both), b.high_half(both)].into_iter().enumerate() {
                            for (down, left) in powers.iter().enumerate() {
                                let at = down * self.across() as usize + 2 * pair as usize + side;
                                sums[at] = b.multiply_add_matrices(self.half, *left, right, sums[at]);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Begins to add a warpgroup's values by weight to all of its sums.
    pub(super) fn begin_values(&self, b: &mut Builder, (values, described): Described, powers: &[Vec<Reg>], sums: Reg) -> Reg {
        let mut sums = sums;
        for (deep, powers) in powers.iter().enumerate() {
            let right = values.sixteen(b, described, deep as i64);
            sums = b.multiply_add_shared(self.half, [powers[0], right], sums, [true, values.along_depth]);
        }
        b.together(CooperativeStmt::EndProducts);
        sums
    }

    /// Begins a warpgroup's products of queries and keys of a tile.
    pub(super) fn begin_products(&self, b: &mut Builder, (queries, rows): Described, (keys, columns): Described) -> Reg {
        let mut sums = b.float(Type::F32.times(4 * (self.keys / fragments::COLUMNS) as u32), 0.0);
        for deep in 0..self.deep() {
            let factors = [queries.sixteen(b, rows, deep), keys.sixteen(b, columns, deep)];
            sums = b.multiply_add_shared(self.half, factors, sums, [queries.along_depth, keys.along_depth]);
        }
        b.together(CooperativeStmt::EndProducts);
        sums
    }

    /// Queries times keys of a tile: of each product down, by eights of keys.
    fn products(&self, b: &mut Builder, task: &Task) -> Vec<Vec<Reg>> {
        let eights = (self.keys / fragments::COLUMNS) as usize;
        match &task.factors {
            Factors::Warpgroup([(queries, rows), (keys, columns), _]) => {
                b.together(CooperativeStmt::BeginProducts);
                let all = self.begin_products(b, (queries, *rows), (keys, *columns));
                b.together(CooperativeStmt::WaitForProducts(0));
                vec![fours(b, all)]
            }
            Factors::Warp { queries, keys, .. } => {
                let zero = b.float(Type::scalar(Lane::F32).times(4), 0.0);
                let mut sums = vec![vec![zero; eights]; self.down as usize];
                for deep in 0..self.deep() {
                    for pair in 0..eights / 2 {
                        let both = keys.load(b, task.keys_at, pair as i64, deep);
                        for (side, right) in [b.low_half(both), b.high_half(both)].into_iter().enumerate() {
                            for (sums, queries) in sums.iter_mut().zip(queries) {
                                let sum = &mut sums[2 * pair + side];
                                *sum = b.multiply_add_matrices(self.half, queries[deep as usize], right, *sum);
                            }
                        }
                    }
                }
                sums
            }
        }
    }

    /// The thread's scores of a tile whose products these are.
    pub(super) fn scores(&self, cx: &mut Context, b: &mut Builder, task: &Task, from: &Dim, sums: &[Vec<Reg>]) -> Exponentials {
        let eights = (self.keys / fragments::COLUMNS) as usize;
        let first = from + Dim::symbol("#stream") * Dim::from(self.keys) + Dim::symbol("#lane").modulo(&Dim::from(4)) * Dim::from(2);
        let keys: Vec<Dim> = (0..eights as i64 * 2).map(|at| &first + Dim::from(at / 2 * fragments::COLUMNS + at % 2)).collect();
        let mut scored = Vec::new();
        for (down, sums) in sums.iter().enumerate() {
            for (eight, sum) in sums.iter().enumerate() {
                for at in 0..4 {
                    let sum = b.extract(*sum, at as u32);
                    let row = self.row(2 * down as i64 + at / 2);
                    scored.push(self.flat.score(cx, b, (&row, &keys[2 * eight + at as usize % 2]), sum));
                }
            }
        }
        let masked = |cx: &mut Context, b: &mut Builder| {
            let never = b.float(Type::F32, f64::NEG_INFINITY);
            let places: Vec<Reg> = keys.iter().map(|key| cx.index(b, key)).collect();
            let mut one = |number: usize, score: &Reg| {
                let (down, eight, at) = (number / 4 / eights, number / 4 % eights, number % 4);
                let (place, [first, end]) = (places[2 * eight + at % 2], task.seen[2 * down + at / 2]);
                let (above, below) = (b.ge(place, first), b.lt(place, end));
                let sees = b.and(above, below);
                b.select(sees, *score, never)
            };
            scored.iter().enumerate().map(|(number, score)| one(number, score)).collect()
        };
        let (first, end) = (cx.index(b, from), cx.index(b, &(from + Dim::from(self.tile_keys()))));
        let (above, below) = (b.ge(first, task.sight.common[0]), b.le(end, task.sight.common[1]));
        let whole = b.and(above, below);
        let scored = cx.branch(b, whole, false, |_, _| scored.clone(), masked);
        let fours: Vec<[Reg; 4]> = scored.chunks(4).map(|four| [four[0], four[1], four[2], four[3]]).collect();
        fours.chunks(eights).map(<[[Reg; 4]]>::to_vec).collect()
    }

    /// Exponentials of scores, by products down and eights of keys. Largest scores and sums of exponentials are those with the tile then;
    /// means are to be taken to the largest score now by the factors, which are given as well.
    pub(super) fn weigh(&self, b: &mut Builder, state: &mut [Reg], scores: &[Vec<[Reg; 4]>], rows: usize) -> (Exponentials, Vec<Reg>) {
        let log2 = b.float(Type::F32, LOG2_E);
        let power = |b: &mut Builder, score: Reg, taken: Reg| {
            let difference = b.sub(score, taken);
            let scaled = b.mul(difference, log2);
            b.power_of_two(scaled)
        };
        let (mut powers, mut all) = (scores.to_vec(), Vec::new());
        for (down, scores) in scores.iter().enumerate() {
            let mut factors = Vec::new();
            for below in 0..2 {
                let row = 2 * down + below;
                let own = || scores.iter().flat_map(|four| [four[2 * below], four[2 * below + 1]]);
                let largest = own().fold(state[row], |largest, score| b.maximum(largest, score));
                let largest = exchanged(b, largest, &[1, 2], Builder::maximum);
                let taken = finite(b, largest);
                let factor = power(b, state[row], taken);
                let mut sum = b.mul(state[rows + row], factor);
                for (eight, four) in scores.iter().enumerate() {
                    for at in [2 * below, 2 * below + 1] {
                        let power = power(b, four[at], taken);
                        sum = b.add(sum, power);
                        powers[down][eight][at] = power;
                    }
                }
                (state[row], state[rows + row]) = (largest, sum);
                factors.push(factor);
            }
            all.extend(factors);
        }
        (powers, all)
    }

    /// Exponentials as left factors, by sixteens of keys and products down.
    pub(super) fn packed(&self, b: &mut Builder, powers: &Exponentials) -> Vec<Vec<Reg>> {
        let eights = (self.keys / fragments::COLUMNS) as usize;
        let left = |b: &mut Builder, powers: &[[Reg; 4]]| {
            let [early, late] = [powers[0], powers[1]].map(|four| {
                let (upper, lower) = (b.pack(self.half, four[0], four[1]), b.pack(self.half, four[2], four[3]));
                b.concat(upper, lower)
            });
            b.concat(early, late)
        };
        (0..eights / 2).map(|deep| powers.iter().map(|powers| left(b, &powers[2 * deep..2 * deep + 2])).collect()).collect()
    }

    /// Takes means so far to the largest score now.
    pub(super) fn rescale(&self, b: &mut Builder, state: &mut [Reg], factors: &[Reg], rows: usize) {
        let found = self.found();
        for vector in 0..found.vectors as usize {
            let factor = found.of_vector(b, vector, factors);
            state[2 * rows + vector] = b.mul(state[2 * rows + vector], factor);
        }
    }

    /// Stores what the first stream's warps know, whose sums are of all keys now.
    fn epilogue(&self, cx: &mut Context, b: &mut Builder, results: Reg, state: &[Reg]) {
        let rows = 2 * self.down as usize;
        let is_first = self.found().is_first(cx, b);
        cx.branch(
            b,
            is_first,
            false,
            |cx, b| {
                let means = self.found().means(b, state);
                for (at, mean) in means.into_iter().enumerate() {
                    b.store(Mem::F32, mean, results, 16 * at as i32);
                }
                self.store_means(cx, b, results);
                for at in 0..rows {
                    let leads = Dim::symbol("#lane").modulo(&Dim::from(4)) + Dim::symbol("#column_tile") * Dim::from(4);
                    self.flat.store_row(cx, b, (&self.row(at as i64), &leads), state[at], state[rows + at]);
                }
                vec![]
            },
            |_, _| vec![],
        );
    }

    fn store_means(&self, cx: &mut Context, b: &mut Builder, results: Reg) {
        let flat = &self.flat;
        let count = 4 * self.down * self.across();
        let all =
            Results { row: &flat.row, column: &flat.column, stores: &flat.stores, dtype: DType::F32, sums: results, count, staged: None };
        // Neighbours are two by two.
        let lanes = all.lanes(cx, 2);
        all.store(cx, b, lanes, |number| {
            let across = Dim::from(self.across());
            let (product, at) = (number.floor_div(&Dim::from(4)), number.modulo(&Dim::from(4)));
            let below = at.floor_div(&Dim::from(2)) * Dim::from(8) + product.floor_div(&across) * Dim::from(fragments::ROWS);
            let column = product.modulo(&across) * Dim::from(fragments::COLUMNS)
                + Dim::symbol("#lane").modulo(&Dim::from(4)) * Dim::from(2)
                + at.modulo(&Dim::from(2));
            (self.row(0) + below, Dim::symbol("#column_tile") * Dim::from(self.columns.1) + column)
        });
    }
}
