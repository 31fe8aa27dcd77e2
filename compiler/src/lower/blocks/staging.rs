//! One operand of a contraction on its way to shared memory, a step of depth at a time: `[depth][row]`, or columns in place of rows.
//!
//! Threads run along whatever memory runs along, and take several neighbours at once where their address allows it. Rows and depth
//! beyond the end are the last ones again: such rows are never stored, and such depth is exchanged for what changes no sum.

use super::strides::{Moves, NEIGHBOURS, moves};
use crate::kernel::{Axis, ExprId};
use crate::lower::context::{Base, Context, Value};
use crate::lower::contract::operand;
use crate::lower::ops::{lane_of, memory_of};
use crate::lower::stage::has_rest;
use crate::tile::{Builder, Reg, Type};
use kiln_ir::{DType, Dim, Symbol};

/// Elements left unused behind each row of a tile that is turned, so that its stores meet few banks twice.
const PADDING: i64 = 4;

/// An operand, and how threads share it.
pub(super) struct Staging {
    expr: ExprId,
    /// Its index that is not summed over.
    axis: Axis,
    /// The tile's first.
    first: Dim,
    depth: Axis,
    /// Length along `axis` and depth.
    tile: (i64, i64),
    threads: i64,
    dtype: DType,
    /// What a product beyond the end is made of.
    neutral: f64,
    /// Whether neighbouring threads run along depth.
    along_depth: bool,
    lanes: i64,
    /// No row, or no depth, beyond the end.
    exact: (bool, bool),
    fast: Symbol,
    slow: Symbol,
}

/// What is staged: an expression over `axis` and depth.
pub(super) struct Operand<'a> {
    /// A name for its indices.
    pub name: &'a str,
    /// The expression.
    pub expr: ExprId,
    /// The index that is not summed over.
    pub axis: &'a Axis,
    /// The first of the tile.
    pub first: Dim,
    /// Length of the tile along that index.
    pub length: i64,
    /// What a product beyond the end is made of.
    pub neutral: f64,
}

impl Staging {
    /// How an operand goes to shared memory. `exact_depth` says that no step reaches beyond a chunk.
    pub(super) fn new(
        cx: &mut Context,
        operand: Operand,
        depth: &Axis,
        step: i64,
        threads: i64,
        dtype: DType,
        exact_depth: bool,
    ) -> Staging {
        let (by_axis, by_depth) = (moves(&cx.exprs, operand.expr, &operand.axis.index), moves(&cx.exprs, operand.expr, &depth.index));
        let along_depth = by_depth > by_axis;
        let (extent, length) = if along_depth { (&depth.extent, step) } else { (&operand.axis.extent, operand.length) };
        let total = operand.length * step;
        let whole = by_axis.max(by_depth) == Moves::Straight && !has_rest(cx, extent, NEIGHBOURS as u32);
        // No more than there is for each thread.
        let lanes = if whole && (exact_depth || !along_depth) { NEIGHBOURS.min(length).min((total / threads).max(1)) } else { 1 };
        let exact = !has_rest(cx, &operand.axis.extent, operand.length as u32);
        let [fast, slow] = ["fast", "slow"].map(|which| Symbol::new(&format!("#{}_{which}", operand.name)));
        Staging {
            expr: operand.expr,
            axis: operand.axis.clone(),
            first: operand.first,
            depth: depth.clone(),
            tile: (operand.length, step),
            threads,
            dtype,
            neutral: operand.neutral,
            along_depth,
            lanes,
            exact: (exact, exact_depth),
            fast,
            slow,
        }
    }

    /// Elements from one point of depth to the next.
    pub(super) fn pitch(&self) -> i64 {
        self.tile.0 + if self.along_depth { PADDING } else { 0 }
    }

    /// Bytes of a step.
    pub(super) fn bytes(&self) -> i64 {
        self.pitch() * self.tile.1 * self.dtype.size_bytes() as i64
    }

    /// How many groups of lanes there are along the index that threads run along, and along the other.
    fn groups(&self) -> (i64, i64) {
        if self.along_depth { (self.tile.1 / self.lanes, self.tile.0) } else { (self.tile.0 / self.lanes, self.tile.1) }
    }

    /// The thread's indices, which have to be bound around loads and stores.
    pub(super) fn indices(&self, cx: &mut Context, b: &mut Builder, thread: Reg) -> [(Axis, Reg); 2] {
        let (fast, slow) = self.groups();
        let index = Symbol::new("#thread");
        let (first, second) = match self.threads > fast {
            true => (Dim::from(index.clone()).modulo(&Dim::from(fast)), Dim::from(index.clone()).floor_div(&Dim::from(fast))),
            false => (Dim::from(index.clone()), Dim::ZERO),
        };
        // Threads that there is nothing for load what others do.
        let second = if self.threads > fast * slow { second.modulo(&Dim::from(slow)) } else { second };
        cx.ranges.set_index(index.clone(), Dim::from(self.threads));
        let [first, second] = [first, second].map(|dim| cx.bound(&index, thread, |cx| cx.index(b, &dim)));
        let axis = |index: &Symbol, extent: i64| Axis { index: index.clone(), extent: Dim::from(extent) };
        [(axis(&self.fast, fast.min(self.threads)), first), (axis(&self.slow, slow.min((self.threads / fast).max(1))), second)]
    }

    /// The places in the tile that a thread takes, first along `axis`, then along depth.
    fn places(&self) -> Vec<(Dim, Dim)> {
        let (fast, slow) = self.groups();
        let rounds = (fast * slow / self.threads).max(1);
        let turns = (fast / self.threads).max(1);
        let below = (self.threads / fast).max(1);
        (0..rounds)
            .map(|round| {
                let (skipped, lower) = (round % turns * self.threads, round / turns * below);
                let first = (Dim::from(self.fast.clone()) + Dim::from(skipped)) * Dim::from(self.lanes);
                let second = if self.threads > fast { Dim::from(self.slow.clone()) } else { Dim::ZERO } + Dim::from(lower);
                if self.along_depth { (second, first) } else { (first, second) }
            })
            .collect()
    }

    /// The thread's elements of the step that begins at depth `from`; what lies at depth `limit` or beyond is neutral.
    pub(super) fn load(&self, cx: &mut Context, b: &mut Builder, from: &Dim, limit: Option<Reg>) -> Vec<Reg> {
        let lanes = self.lanes as u32;
        // A task has something of each axis, which makes the last place 0 or more.
        let last = |axis: &Axis, wide: bool| (&axis.extent - Dim::from(if wide { self.lanes } else { 1 })).maximum(&Dim::ZERO);
        let mut values = Vec::new();
        for (row, depth) in self.places() {
            let (row, depth) = (&self.first + row, from + depth);
            let bounded =
                |dim: &Dim, exact: bool, axis: &Axis, wide: bool| if exact { dim.clone() } else { dim.minimum(&last(axis, wide)) };
            let row = bounded(&row, self.exact.0, &self.axis, !self.along_depth);
            let place = bounded(&depth, self.exact.1, &self.depth, self.along_depth);
            let (run, run_at, other, other_at) = match self.along_depth {
                true => (&self.depth.index, place, &self.axis.index, row),
                false => (&self.axis.index, row, &self.depth.index, place),
            };
            let mut value = cx.replaced(other, other_at, |cx| match lanes {
                1 => cx.replaced(run, run_at, |cx| operand(cx, b, self.expr, self.dtype)),
                _ => cx.vectored(run, run_at, lanes, |cx| {
                    let reg = operand(cx, b, self.expr, self.dtype);
                    let level = cx.top();
                    cx.widened(b, Value { reg, level }, lanes)
                }),
            });
            if let Some(limit) = limit {
                let at = cx.index(b, &depth);
                let inside = b.lt(at, limit);
                let neutral = match value.ty.lane.is_float() {
                    true => b.float(value.ty, self.neutral),
                    false => b.int(value.ty, 0),
                };
                let inside = if lanes == 1 { inside } else { b.splat(inside, lanes) };
                value = b.select(inside, value, neutral);
            }
            values.push(value);
        }
        values
    }

    /// Puts them where the tile begins.
    pub(super) fn store(&self, cx: &mut Context, b: &mut Builder, tile: Reg, thread: Reg, values: &[Reg]) {
        let (fast, slow) = self.groups();
        if fast * slow >= self.threads {
            return self.store_all(cx, b, tile, values);
        }
        let threads = b.index(fast * slow);
        let has_some = b.lt(thread, threads);
        cx.branch(
            b,
            has_some,
            false,
            |cx, b| {
                self.store_all(cx, b, tile, values);
                vec![]
            },
            |_, _| vec![],
        );
    }

    fn store_all(&self, cx: &mut Context, b: &mut Builder, tile: Reg, values: &[Reg]) {
        let (size, mem) = (self.dtype.size_bytes() as u32, memory_of(self.dtype));
        let base = Base::Own(tile, cx.top());
        for ((row, depth), value) in self.places().into_iter().zip(values) {
            let to = depth * Dim::from(self.pitch()) + row;
            let at = cx.address(b, base, &to, size);
            if !self.along_depth || self.lanes == 1 {
                b.store(mem, *value, at.reg, at.offset);
                continue;
            }
            for lane in 0..self.lanes {
                let scalar = b.extract(*value, lane as u32);
                b.store(mem, scalar, at.reg, at.offset + (lane * self.pitch()) as i32 * size as i32);
            }
        }
    }

    /// `count` neighbours of the tile at `depth`, from `row` elements beyond the address on.
    pub(super) fn read(&self, b: &mut Builder, address: Reg, (row, depth): (i64, i64), count: i64) -> Vec<Reg> {
        let ty = Type::scalar(lane_of(self.dtype)).times(count as u32);
        let offset = (depth * self.pitch() + row) * self.dtype.size_bytes() as i64;
        let vector = b.load(memory_of(self.dtype), ty, address, offset as i32);
        if count == 1 { vec![vector] } else { (0..count).map(|lane| b.extract(vector, lane as u32)).collect() }
    }
}
