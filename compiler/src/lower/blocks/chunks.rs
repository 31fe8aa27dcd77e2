//! One operand of a product of half floats on its way to shared memory, in chunks of 16 bytes.
//!
//! The tile lies as memory does, `[row][depth]` or `[depth][row]`, columns in place of rows for the right operand. Chunks of each line are
//! exchanged by its number, so that neither stores nor loads of matrices meet a bank twice. Where a chunk is one of memory it is
//! copied in the background; any other expression is evaluated and put there. Elements beyond the end are zeros.

use super::staging::Operand;
use super::strides::{Moves, moves};
use crate::kernel::{Access, Axis, ExprId, ExprKind};
use crate::lower::context::{Base, Context, Value};
use crate::lower::contract::operand;
use crate::lower::ops::memory_of;
use crate::lower::stage::has_rest;
use crate::tile::{Builder, CooperativeStmt, Lane, Reg, Type};
use kiln_ir::{DType, Dim, Symbol};

/// Elements of a chunk.
pub(super) const CHUNK: i64 = 8;
/// Bytes of a chunk.
const CHUNK_BYTES: i64 = 16;

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
    /// Whether all elements of a chunk exist, or none, and lie next to each other.
    is_whole: bool,
    /// Memory that chunks are copied from.
    copied: Option<Access>,
    fast: Symbol,
    slow: Symbol,
}

impl Chunks {
    /// How an operand goes to shared memory, `step` points of depth at a time.
    pub(super) fn new(cx: &Context, operand: Operand, depth: &Axis, step: i64, threads: i64) -> Chunks {
        let (by_axis, by_depth) = (moves(&cx.exprs, operand.expr, &operand.axis.index), moves(&cx.exprs, operand.expr, &depth.index));
        let along_depth = by_depth >= by_axis;
        let extent = if along_depth { &depth.extent } else { &operand.axis.extent };
        let is_whole = by_axis.max(by_depth) == Moves::Straight && !has_rest(cx, extent, CHUNK as u32);
        let [fast, slow] = ["fast", "slow"].map(|which| Symbol::new(&format!("#{}_{which}", operand.name)));
        let mut chunks = Chunks {
            expr: operand.expr,
            axis: operand.axis.clone(),
            first: operand.first,
            depth: depth.clone(),
            tile: (operand.length, step),
            threads,
            dtype: cx.exprs.get(operand.expr).dtype,
            along_depth,
            is_whole,
            copied: None,
            fast,
            slow,
        };
        if let ExprKind::Load(access) = &cx.exprs.get(operand.expr).kind
            && is_whole
            && access.bounds.is_empty()
            && !access.offset.symbols().iter().any(|s| ExprId::of_symbol(s).is_some())
        {
            // Whatever the task, thread and step, a chunk begins at a multiple of its length.
            let from = Dim::symbol("#step") * Dim::from(step);
            let aligned = chunks.places().iter().all(|place| {
                let offset = chunks.at(place, &from, &access.offset).simplify(&cx.ranges);
                offset.terms().iter().all(|term| term.coefficient % CHUNK == 0)
            });
            chunks.copied = aligned.then(|| access.clone());
        }
        chunks
    }

    /// Bytes of a step.
    pub(super) fn bytes(&self) -> i64 {
        self.tile.0 * self.tile.1 * self.dtype.size_bytes() as i64
    }

    /// Bytes from one line to the next.
    pub(super) fn pitch(&self) -> i64 {
        (if self.along_depth { self.tile.1 } else { self.tile.0 }) * self.dtype.size_bytes() as i64
    }

    /// Chunks of a line.
    fn line(&self) -> i64 {
        self.pitch() / CHUNK_BYTES
    }

    /// What the number of a chunk is exchanged by in a line: lines of 64 bytes share a bank two by two.
    fn exchange(&self, line: &Dim) -> Dim {
        let shared = (8 / self.line()).max(1);
        line.floor_div(&Dim::from(shared)).modulo(&Dim::from(self.line().min(8)))
    }

    /// Bytes from the beginning of the tile to a chunk of a line.
    pub(super) fn address(&self, cx: &mut Context, b: &mut Builder, line: &Dim, chunk: &Dim) -> Reg {
        let (exchange, chunk) = (cx.index(b, &self.exchange(line)), cx.index(b, chunk));
        let chunk = b.xor(chunk, exchange);
        let skipped = b.mul_int(chunk, CHUNK_BYTES);
        let line = cx.index(b, &(line * Dim::from(self.pitch())));
        b.add(line, skipped)
    }

    /// The thread's indices, which have to be bound around all else.
    pub(super) fn indices(&self, cx: &mut Context, b: &mut Builder, thread: Reg) -> [(Axis, Reg); 2] {
        let line = self.line();
        assert!(self.threads % line == 0, "lower: threads do not share lines of {line} chunks");
        let index = Symbol::new("#thread");
        cx.ranges.set_index(index.clone(), Dim::from(self.threads));
        let number = Dim::from(index.clone());
        let [fast, slow] = [number.modulo(&Dim::from(line)), number.floor_div(&Dim::from(line))];
        let [fast, slow] = [fast, slow].map(|dim| cx.bound(&index, thread, |cx| cx.index(b, &dim)));
        let axis = |index: &Symbol, extent: i64| Axis { index: index.clone(), extent: Dim::from(extent) };
        [(axis(&self.fast, line), fast), (axis(&self.slow, self.threads / line), slow)]
    }

    /// Line and chunk that a thread takes, one after the other.
    fn places(&self) -> Vec<(Dim, Dim)> {
        let lines = self.threads / self.line();
        let rounds = self.tile.0 * self.tile.1 / CHUNK / self.threads;
        (0..rounds).map(|round| (Dim::from(self.slow.clone()) + Dim::from(round * lines), Dim::from(self.fast.clone()))).collect()
    }

    /// Index along `axis` and depth of a chunk's first element.
    fn point(&self, (line, chunk): &(Dim, Dim), from: &Dim) -> (Dim, Dim) {
        let along = chunk * Dim::from(CHUNK);
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

    /// Begins to bring the step that begins at depth `from` to `tile`: what is not copied in the background is to be stored later.
    pub(super) fn begin(&self, cx: &mut Context, b: &mut Builder, from: &Dim, tile: Reg) -> Vec<Reg> {
        let mut values = Vec::new();
        for place in self.places() {
            let (row, depth) = self.point(&place, from);
            let Some(access) = &self.copied else {
                values.push(self.value(cx, b, (&row, &depth)));
                continue;
            };
            let when = Some(self.exists(cx, b, (&row, &depth)));
            let offset = cx.resolve(&self.at(&place, from, &access.offset));
            let from = cx.address(b, Base::Buffer(access.buffer), &offset, self.dtype.size_bytes() as u32);
            let skipped = self.address(cx, b, &place.0, &place.1);
            let to = b.add(tile, skipped);
            b.together(CooperativeStmt::Copy { to, to_offset: 0, from: from.reg, from_offset: from.offset, when });
        }
        values
    }

    /// Stores what [`Chunks::begin`] gave.
    pub(super) fn finish(&self, cx: &mut Context, b: &mut Builder, tile: Reg, values: &[Reg]) {
        for (place, value) in self.places().into_iter().zip(values) {
            let skipped = self.address(cx, b, &place.0, &place.1);
            let to = b.add(tile, skipped);
            b.store(memory_of(self.dtype), *value, to, 0);
        }
    }

    /// The elements of a chunk, zeros where there are none.
    fn value(&self, cx: &mut Context, b: &mut Builder, (row, depth): (&Dim, &Dim)) -> Reg {
        let ty = Type::scalar(Lane::F32).times(CHUNK as u32);
        let last = |axis: &Axis, count: i64| (&axis.extent - Dim::from(count)).maximum(&Dim::ZERO);
        if self.is_whole {
            let inside = self.exists(cx, b, (row, depth));
            let count = |is_run: bool| if is_run { CHUNK } else { 1 };
            let row = row.minimum(&last(&self.axis, count(!self.along_depth)));
            let depth = depth.minimum(&last(&self.depth, count(self.along_depth)));
            let (run, other) = ((&self.depth.index, depth), (&self.axis.index, row));
            let (run, other) = if self.along_depth { (run, other) } else { (other, run) };
            let value = cx.replaced(other.0, other.1, |cx| {
                cx.vectored(run.0, run.1, CHUNK as u32, |cx| {
                    let reg = operand(cx, b, self.expr, DType::F32);
                    let level = cx.top();
                    cx.widened(b, Value { reg, level }, CHUNK as u32)
                })
            });
            let zero = b.float(ty, 0.0);
            let inside = b.splat(inside, CHUNK as u32);
            return b.select(inside, value, zero);
        }
        let zero = b.float(Type::F32, 0.0);
        let mut vector = b.splat(zero, CHUNK as u32);
        for lane in 0..CHUNK {
            let moved = |dim: &Dim, moves: bool| if moves { dim + Dim::from(lane) } else { dim.clone() };
            let (row, depth) = (moved(row, !self.along_depth), moved(depth, self.along_depth));
            let inside = self.exists(cx, b, (&row, &depth));
            let (row, depth) = (row.minimum(&last(&self.axis, 1)), depth.minimum(&last(&self.depth, 1)));
            let value =
                cx.replaced(&self.axis.index, row, |cx| cx.replaced(&self.depth.index, depth, |cx| operand(cx, b, self.expr, DType::F32)));
            let value = b.select(inside, value, zero);
            vector = b.insert(vector, lane as u32, value);
        }
        vector
    }
}
