//! One operand on its way to shared memory in chunks of 16 bytes.
//!
//! The tile lies as memory does, `[row][depth]` or `[depth][row]`, columns in place of rows for a right operand, unless its reader wants
//! it one way. Lines are a power of two long, and their chunks are exchanged by the number of the line, so that neither stores nor loads
//! of neighbouring lines meet a bank twice. Where a chunk is one of memory it is copied in the background; any other expression is
//! evaluated and put there. Elements beyond the end are zeros.

use super::boxes::Boxes;
use super::staging::Operand;
use super::strides::{Moves, in_one_piece, is_multiple, moves};
use crate::kernel::{Access, Axis, Bound, ExprId, sum_dtype};
use crate::lower::context::{Base, Context, Value};
use crate::lower::contract::operand;
use crate::lower::ops::{lane_of, memory_of};
use crate::lower::stage::has_rest;
use crate::tile::{Builder, CooperativeStmt, Reg, Type};
use kiln_ir::{DType, Dim, Symbol};

/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: i64 = 16;

/// Bytes of a panel: a line of a matrix in shared memory that a warpgroup multiplies.
pub(super) const PANEL_BYTES: i64 = 128;

/// Elements that a thread keeps in registers until they are stored; more are stored one chunk after the other.
const MOST_KEPT: i64 = 32;

/// Elements of a chunk.
pub(super) fn chunk_elements(dtype: DType) -> i64 {
    CHUNK_BYTES / dtype.size_bytes() as i64
}

/// What the number of a chunk is exchanged by in a line of a panel of so many: lines of 64 bytes share a bank two by two.
fn exchange(panel: i64, line: &Dim) -> Dim {
    let shared = (8 / panel).max(1);
    line.floor_div(&Dim::from(shared)).modulo(&Dim::from(panel.min(8)))
}

/// Bytes from the beginning of panels, each of so many chunks a line and so many bytes, to a chunk of a line.
pub(super) fn chunk_address(cx: &mut Context, b: &mut Builder, [line, chunk]: [&Dim; 2], (panel, panel_bytes): (i64, i64)) -> Reg {
    let exchange = cx.index(b, &exchange(panel, line));
    let of_panel = Dim::from(panel);
    let inside = cx.index(b, &chunk.modulo(&of_panel));
    let inside = b.xor(inside, exchange);
    let skipped = b.mul_int(inside, CHUNK_BYTES);
    let begin = line * Dim::from(panel * CHUNK_BYTES) + chunk.floor_div(&of_panel) * Dim::from(panel_bytes);
    let begin = cx.index(b, &begin);
    b.add(begin, skipped)
}

/// An operand, and how threads share it.
pub(super) struct Chunks {
    expr: ExprId,
    axis: Axis,
    first: Dim,
    depth: Axis,
    /// Length along `axis` and depth.
    tile: (i64, i64),
    threads: i64,
    dtype: DType,
    /// Whether lines of the tile run along depth.
    pub along_depth: bool,
    /// Chunks that lie next to each other: a line, or a part of it, behind which the same part of the next line follows.
    panel: i64,
    /// Whether all elements of a chunk exist, or none, and lie next to each other.
    is_whole: bool,
    /// Whether every tile is full, whatever the step.
    is_exact: bool,
    /// Memory that chunks are copied from.
    copied: Option<Access>,
    fast: Symbol,
    slow: Symbol,
}

impl Chunks {
    /// How an operand goes to shared memory, `step` points of depth at a time; lines run along depth as `along_depth` says, or as memory
    /// does. Its steps are named `#step`.
    pub(super) fn new(cx: &Context, operand: Operand, depth: &Axis, step: i64, threads: i64, along_depth: Option<bool>) -> Chunks {
        let (by_axis, by_depth) = (moves(&cx.exprs, operand.expr, &operand.axis.index), moves(&cx.exprs, operand.expr, &depth.index));
        let along_depth = along_depth.unwrap_or(by_depth >= by_axis);
        let dtype = cx.exprs.get(operand.expr).dtype;
        let (extent, moves) = if along_depth { (&depth.extent, by_depth) } else { (&operand.axis.extent, by_axis) };
        let is_whole = moves == Moves::Straight && !has_rest(cx, extent, chunk_elements(dtype) as u32);
        let [fast, slow] = ["fast", "slow"].map(|which| Symbol::new(&format!("#{}_{which}", operand.name)));
        let mut chunks = Chunks {
            expr: operand.expr,
            axis: operand.axis.clone(),
            first: operand.first,
            depth: depth.clone(),
            tile: (operand.length, step),
            threads,
            dtype,
            along_depth,
            panel: 0,
            is_whole,
            is_exact: !has_rest(cx, &operand.axis.extent, operand.length as u32) && !has_rest(cx, &depth.extent, step as u32),
            copied: None,
            fast,
            slow,
        };
        chunks.panel = chunks.line();
        let (index, count) = (if along_depth { &depth.index } else { &operand.axis.index }, chunk_elements(dtype));
        if let Some(access) = in_one_piece(&cx.exprs, operand.expr, index, count)
            && !has_rest(cx, extent, count as u32)
        {
            // Whatever the task, thread and step, a chunk begins at a multiple of its length.
            let from = Dim::symbol("#step") * Dim::from(step);
            let begins = |place: &(Dim, Dim)| chunks.at(place, &from, &access.offset).simplify(&cx.ranges);
            let aligned = chunks.places().iter().all(|place| is_multiple(&begins(place), count));
            chunks.copied = aligned.then(|| access.clone());
        }
        chunks
    }

    /// The same in panels of 128 bytes, as products of matrices in shared memory want them.
    pub(super) fn in_panels(mut self) -> Chunks {
        self.panel = PANEL_BYTES / CHUNK_BYTES;
        self
    }

    /// Whether chunks are copied in the background.
    pub(super) fn is_copied(&self) -> bool {
        self.copied.is_some()
    }

    /// The same as boxes, whose steps are named `#step` too, where the tensor copy engine can bring them; `batch` are the axes beside rows
    /// and depth.
    pub(super) fn boxes(&self, cx: &Context, batch: &[Axis]) -> Option<Boxes> {
        let access = self.copied.as_ref().filter(|access| access.bounds.is_empty())?;
        let (depth, own) = ((&self.depth, Dim::symbol("#step") * Dim::from(self.tile.1)), (&self.axis, self.first.clone()));
        let (axes, lines) = if self.along_depth { ([depth, own], self.tile.0) } else { ([own, depth], self.tile.1) };
        let count = self.bytes() / self.panel_bytes();
        Boxes::new(cx, (access.buffer, &access.offset), self.dtype, axes, batch, (lines, count))
    }

    /// Bytes from one panel to the next: all lines of it.
    pub(super) fn panel_bytes(&self) -> i64 {
        let lines = if self.along_depth { self.tile.0 } else { self.tile.1 };
        lines * self.panel * CHUNK_BYTES
    }

    /// Bytes of a step: whole panels, of which the last one may be used in part.
    pub(super) fn bytes(&self) -> i64 {
        (self.line() as u64).div_ceil(self.panel as u64) as i64 * self.panel_bytes()
    }

    /// Bytes from one line to the next.
    pub(super) fn pitch(&self) -> i64 {
        (if self.along_depth { self.tile.1 } else { self.tile.0 }) * self.dtype.size_bytes() as i64
    }

    /// Elements of a chunk.
    fn chunk(&self) -> i64 {
        chunk_elements(self.dtype)
    }

    /// Chunks of a line.
    fn line(&self) -> i64 {
        self.pitch() / CHUNK_BYTES
    }

    /// Bytes from the beginning of the tile to the first chunk of a line, of which those to chunk `n` differ in the bits of `16 n`.
    pub(super) fn line_address(&self, cx: &mut Context, b: &mut Builder, line: &Dim) -> Reg {
        let exchanged = exchange(self.panel, line) * Dim::from(CHUNK_BYTES);
        cx.index(b, &(line * Dim::from(self.pitch()) + exchanged))
    }

    /// Bytes from the beginning of the tile to a chunk of a line.
    pub(super) fn address(&self, cx: &mut Context, b: &mut Builder, line: &Dim, chunk: &Dim) -> Reg {
        chunk_address(cx, b, [line, chunk], (self.panel, self.panel_bytes()))
    }

    /// The thread's indices, which have to be bound around all else.
    pub(super) fn indices(&self, cx: &mut Context, b: &mut Builder, thread: Reg) -> [(Axis, Reg); 2] {
        let (across, down) = self.spread();
        let index = Symbol::new("#thread");
        cx.ranges.set_index(index.clone(), Dim::from(self.threads));
        let number = Dim::from(index.clone());
        let [fast, slow] = [number.modulo(&Dim::from(across)), number.floor_div(&Dim::from(across))];
        let [fast, slow] = [fast, slow].map(|dim| cx.bound(&index, thread, |cx| cx.index(b, &dim)));
        let axis = |index: &Symbol, extent: i64| Axis { index: index.clone(), extent: Dim::from(extent) };
        [(axis(&self.fast, across), fast), (axis(&self.slow, down), slow)]
    }

    /// How many threads share a line, or a part of it, and how many lines they take at a time.
    fn spread(&self) -> (i64, i64) {
        let line = self.line();
        let across = if self.threads % line == 0 { line } else { 1 << line.trailing_zeros().min(self.threads.trailing_zeros()) };
        (across, self.threads / across)
    }

    /// Chunks of the tile.
    fn total(&self) -> i64 {
        self.tile.0 * self.tile.1 / self.chunk()
    }

    /// How many chunks a thread takes.
    fn rounds(&self) -> i64 {
        (self.total() / self.threads).max(1)
    }

    /// Line and chunk that a thread takes in a round.
    fn place(&self, round: &Dim) -> (Dim, Dim) {
        let (across, down) = self.spread();
        let turns = Dim::from(self.line() / across);
        let (line, chunk) = (round.floor_div(&turns) * Dim::from(down), round.modulo(&turns) * Dim::from(across));
        (Dim::from(self.slow.clone()) + line, Dim::from(self.fast.clone()) + chunk)
    }

    /// Line and chunk that a thread takes, one after the other.
    fn places(&self) -> Vec<(Dim, Dim)> {
        (0..self.rounds()).map(|round| self.place(&Dim::from(round))).collect()
    }

    /// Whether there is a chunk for each thread; where not, only threads whose line exists take one.
    fn has_some(&self, cx: &mut Context, b: &mut Builder) -> Option<Reg> {
        if self.total() >= self.threads {
            return None;
        }
        let line = cx.index(b, &Dim::from(self.slow.clone()));
        let lines = b.index(self.total() / self.line());
        Some(b.lt(line, lines))
    }

    /// Index along `axis` and depth of a chunk's first element.
    fn point(&self, (line, chunk): &(Dim, Dim), from: &Dim) -> (Dim, Dim) {
        let along = chunk * Dim::from(self.chunk());
        let (row, depth) = if self.along_depth { (line.clone(), along) } else { (along, line.clone()) };
        (&self.first + row, from + depth)
    }

    /// A dim at a chunk's first element.
    fn at(&self, place: &(Dim, Dim), from: &Dim, dim: &Dim) -> Dim {
        let (row, depth) = self.point(place, from);
        dim.substitute(&|s| {
            if *s == self.axis.index { Some(row.clone()) } else { (*s == self.depth.index).then(|| depth.clone()) }
        })
    }

    /// Whether an element exists.
    fn exists(&self, cx: &mut Context, b: &mut Builder, (row, depth): (&Dim, &Dim)) -> Reg {
        let [row, depth, rows, all] = [row, depth, &self.axis.extent, &self.depth.extent].map(|dim| cx.index(b, dim));
        let (row, depth) = (b.lt(row, rows), b.lt(depth, all));
        b.and(row, depth)
    }

    /// Begins to bring the step that begins at depth `from` to `tile`, which nobody reads any more: what is neither copied in the
    /// background nor too much to keep is to be stored later.
    pub(super) fn begin(&self, cx: &mut Context, b: &mut Builder, from: &Dim, tile: Reg) -> Vec<Reg> {
        if self.copied.is_none() && self.rounds() * self.chunk() > MOST_KEPT {
            self.store_at_once(cx, b, from, tile);
            return vec![];
        }
        let Some(some) = self.has_some(cx, b) else { return self.begin_all(cx, b, from, tile) };
        let ty = Type::scalar(lane_of(self.dtype)).times(self.chunk() as u32);
        let none = if self.copied.is_some() { vec![] } else { vec![b.float(ty, 0.0)] };
        cx.branch(b, some, false, |cx, b| self.begin_all(cx, b, from, tile), |_, _| none)
    }

    fn store_at_once(&self, cx: &mut Context, b: &mut Builder, from: &Dim, tile: Reg) {
        let round = Symbol::new(&format!("{}_round", self.fast));
        cx.ranges.set_index(round.clone(), Dim::from(self.rounds()));
        let (start, end) = (b.index(0), b.index(self.rounds()));
        let place = self.place(&Dim::from(round.clone()));
        let (row, depth) = self.point(&place, from);
        cx.counted(b, &round, start, end, 1, &[], |cx, b, _| {
            let value = self.value(cx, b, (&row, &depth));
            let skipped = self.address(cx, b, &place.0, &place.1);
            let to = b.add(tile, skipped);
            b.store(memory_of(self.dtype), value, to, 0);
            vec![]
        });
    }

    fn begin_all(&self, cx: &mut Context, b: &mut Builder, from: &Dim, tile: Reg) -> Vec<Reg> {
        let mut values = Vec::new();
        for place in self.places() {
            let (row, depth) = self.point(&place, from);
            let Some(access) = &self.copied else {
                values.push(self.value(cx, b, (&row, &depth)));
                continue;
            };
            let moved = |bound: &Bound| Bound { index: self.at(&place, from, &bound.index), extent: self.at(&place, from, &bound.extent) };
            let mut when = if self.is_exact { None } else { Some(self.exists(cx, b, (&row, &depth))) };
            let bounds: Vec<Bound> = access.bounds.iter().map(moved).filter(|bound| !cx.is_proved(bound)).collect();
            if !bounds.is_empty() {
                let inside = cx.all_inside(b, &bounds);
                when = Some(when.map_or(inside, |exists| b.and(exists, inside)));
            }
            let offset = cx.resolve(&self.at(&place, from, &access.offset));
            let from = cx.address(b, Base::Buffer(access.buffer), &offset, self.dtype.size_bytes() as u32);
            let skipped = self.address(cx, b, &place.0, &place.1);
            let to = b.add(tile, skipped);
            let bytes = when.map(|when| {
                let [all, none] = [CHUNK_BYTES, 0].map(|bytes| b.int(Type::I32, bytes));
                b.select(when, all, none)
            });
            b.together(CooperativeStmt::Copy { to, to_offset: 0, from: from.reg, from_offset: from.offset, bytes });
        }
        values
    }

    /// Stores what [`Chunks::begin`] gave.
    pub(super) fn finish(&self, cx: &mut Context, b: &mut Builder, tile: Reg, values: &[Reg]) {
        if values.is_empty() {
            return;
        }
        let store = |cx: &mut Context, b: &mut Builder| {
            for (place, value) in self.places().into_iter().zip(values) {
                let skipped = self.address(cx, b, &place.0, &place.1);
                let to = b.add(tile, skipped);
                b.store(memory_of(self.dtype), *value, to, 0);
            }
            vec![]
        };
        match self.has_some(cx, b) {
            None => drop(store(cx, b)),
            Some(some) => drop(cx.branch(b, some, false, store, |_, _| vec![])),
        }
    }

    /// The elements of a chunk, zeros where there are none.
    fn value(&self, cx: &mut Context, b: &mut Builder, (row, depth): (&Dim, &Dim)) -> Reg {
        let (sum, chunk) = (sum_dtype(self.dtype), self.chunk());
        let ty = Type::scalar(lane_of(sum)).times(chunk as u32);
        let last = |axis: &Axis, count: i64| (&axis.extent - Dim::from(count)).maximum(&Dim::ZERO);
        if self.is_whole {
            let inside = self.exists(cx, b, (row, depth));
            let count = |is_run: bool| if is_run { chunk } else { 1 };
            let row = row.minimum(&last(&self.axis, count(!self.along_depth)));
            let depth = depth.minimum(&last(&self.depth, count(self.along_depth)));
            let (run, other) = ((&self.depth.index, depth), (&self.axis.index, row));
            let (run, other) = if self.along_depth { (run, other) } else { (other, run) };
            let value = cx.replaced(other.0, other.1, |cx| {
                cx.vectored(run.0, run.1, chunk as u32, |cx| {
                    let reg = operand(cx, b, self.expr, sum);
                    let level = cx.top();
                    cx.widened(b, Value { reg, level }, chunk as u32)
                })
            });
            let zero = b.float(ty, 0.0);
            let inside = b.splat(inside, chunk as u32);
            return b.select(inside, value, zero);
        }
        let zero = b.float(ty.element(), 0.0);
        let mut vector = b.splat(zero, chunk as u32);
        for lane in 0..chunk {
            let moved = |dim: &Dim, moves: bool| if moves { dim + Dim::from(lane) } else { dim.clone() };
            let (row, depth) = (moved(row, !self.along_depth), moved(depth, self.along_depth));
            let inside = self.exists(cx, b, (&row, &depth));
            let (row, depth) = (row.minimum(&last(&self.axis, 1)), depth.minimum(&last(&self.depth, 1)));
            let value = cx.replaced(&self.axis.index, row, |cx| cx.replaced(&self.depth.index, depth, |cx| operand(cx, b, self.expr, sum)));
            let value = b.select(inside, value, zero);
            vector = b.insert(vector, lane as u32, value);
        }
        vector
    }
}
