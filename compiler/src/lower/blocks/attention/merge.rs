//! What streams found of the same rows, merged in the threads of the first: through shared memory, one stream after the other.

use super::finite;
use crate::lower::context::Context;
use crate::lower::ops::memory_of;
use crate::tile::{Builder, CooperativeStmt, Reg, math};
use kiln_ir::{DType, Dim, Symbol};

/// Bytes of what a thread stores at a time.
const VECTOR_BYTES: i64 = 16;

/// What a thread knows: of each of its rows the largest score and the sum of exponentials, then vectors of means.
pub(super) struct Found {
    /// Streams of a block.
    pub streams: i64,
    /// Threads of a stream.
    pub threads: i64,
    /// Rows of a thread.
    pub rows: i64,
    /// Vectors of means, as many for each row, or each pair of rows.
    pub vectors: i64,
    /// Whether the halves of a vector are of two rows.
    pub pairs: bool,
    /// Type of all of it.
    pub dtype: DType,
    /// Lanes of a vector.
    pub lanes: i64,
}

/// The values of threads whose numbers differ in these bits, combined.
pub(super) fn exchanged(b: &mut Builder, mut value: Reg, flips: &[u32], combine: fn(&mut Builder, Reg, Reg) -> Reg) -> Reg {
    for flip in flips {
        let other = b.from_lane(value, *flip);
        value = combine(b, value, other);
    }
    value
}

impl Found {
    /// Bytes of what all streams but the first leave for it.
    pub(super) fn bytes(&self) -> i64 {
        (self.streams - 1) * self.threads * (self.rows + self.vectors) * VECTOR_BYTES
    }

    /// Whether the thread is of the first stream.
    pub(super) fn is_first(&self, cx: &mut Context, b: &mut Builder) -> Reg {
        let (stream, none) = (cx.index(b, &Dim::symbol("#stream")), b.index(0));
        b.eq(stream, none)
    }

    /// What the threads of the first stream know of all keys; `thread` counts within a stream. `shared` is free before and after.
    pub(super) fn merged(&self, cx: &mut Context, b: &mut Builder, shared: Reg, thread: Reg, state: Vec<Reg>) -> Vec<Reg> {
        if self.streams == 1 {
            return state;
        }
        let own = b.mul_int(thread, VECTOR_BYTES);
        let place = b.add(shared, own);
        let stream_bytes = Dim::from(self.bytes() / (self.streams - 1));
        let is_first = self.is_first(cx, b);
        let store = |cx: &mut Context, b: &mut Builder| {
            let skipped = cx.index(b, &((Dim::symbol("#stream") - Dim::ONE) * &stream_bytes));
            let to = b.add(place, skipped);
            for (number, value) in state.iter().enumerate() {
                b.store(memory_of(self.dtype), *value, to, self.offset(number));
            }
            vec![]
        };
        cx.branch(b, is_first, false, |_, _| vec![], store);
        b.together(CooperativeStmt::Barrier);
        let merge = |cx: &mut Context, b: &mut Builder| {
            let (start, end) = (b.index(0), b.index(self.streams - 1));
            let other = Symbol::new("#other");
            cx.ranges.set_index(other.clone(), Dim::from(self.streams - 1));
            cx.counted(b, &other, start, end, 1, &state, |cx, b, mine| {
                let skipped = cx.index(b, &(Dim::from(other.clone()) * &stream_bytes));
                let from = b.add(place, skipped);
                let load = |b: &mut Builder, number: usize| b.load(memory_of(self.dtype), mine[number].ty, from, self.offset(number));
                let theirs: Vec<Reg> = (0..mine.len()).map(|number| load(b, number)).collect();
                self.sum(b, mine, &theirs)
            })
        };
        let merged = cx.branch(b, is_first, false, merge, |_, _| state.clone());
        b.together(CooperativeStmt::Barrier);
        merged
    }

    /// Where a value lies beyond the thread's first: vectors of threads lie next to each other, a row's two numbers share one.
    fn offset(&self, number: usize) -> i32 {
        let (number, rows) = (number as i64, self.rows);
        let (vector, half) = match number {
            n if n < rows => (n, 0),
            n if n < 2 * rows => (n - rows, 1),
            n => (n - rows, 0),
        };
        (vector * self.threads * VECTOR_BYTES + half * self.dtype.size_bytes() as i64) as i32
    }

    /// What two streams know, together.
    fn sum(&self, b: &mut Builder, mine: &[Reg], theirs: &[Reg]) -> Vec<Reg> {
        let rows = self.rows as usize;
        let (mut result, mut factors) = (mine.to_vec(), Vec::new());
        for row in 0..rows {
            let largest = b.maximum(mine[row], theirs[row]);
            let taken = finite(b, largest);
            let both = [mine[row], theirs[row]].map(|largest| {
                let before = b.sub(largest, taken);
                math::exp_to_zero(b, before)
            });
            let own = b.mul(mine[rows + row], both[0]);
            result[rows + row] = b.fma(theirs[rows + row], both[1], own);
            result[row] = largest;
            factors.push(both);
        }
        for vector in 0..self.vectors as usize {
            let at = 2 * rows + vector;
            let factor = |b: &mut Builder, side: usize| {
                let of_rows: Vec<Reg> = factors.iter().map(|both| both[side]).collect();
                self.of_vector(b, vector, &of_rows)
            };
            let (own, other) = (factor(b, 0), factor(b, 1));
            let own = b.mul(mine[at], own);
            result[at] = b.fma(theirs[at], other, own);
        }
        result
    }

    /// The means: what is summed by the sum of exponentials, 0 where no key is seen.
    pub(super) fn means(&self, b: &mut Builder, state: &[Reg]) -> Vec<Reg> {
        let rows = self.rows as usize;
        let inverse: Vec<Reg> = (0..rows)
            .map(|row| {
                let (never, zero, one) = (f64::NEG_INFINITY, 0.0, 1.0);
                let [never, zero, one] = [never, zero, one].map(|value| b.float(state[row].ty, value));
                let blind = b.eq(state[row], never);
                let inverse = b.div(one, state[rows + row]);
                b.select(blind, zero, inverse)
            })
            .collect();
        let mean = |vector: usize| {
            let factor = self.of_vector(b, vector, &inverse);
            b.mul(state[2 * rows + vector], factor)
        };
        (0..self.vectors as usize).map(mean).collect()
    }

    /// What a vector of means is multiplied by, of factors of rows.
    pub(super) fn of_vector(&self, b: &mut Builder, vector: usize, factors: &[Reg]) -> Reg {
        let (rows, vectors) = (self.rows as usize, self.vectors as usize);
        if !self.pairs {
            return b.splat(factors[vector * rows / vectors], self.lanes as u32);
        }
        let first = vector * (rows / 2) / vectors * 2;
        let halves = [factors[first], factors[first + 1]].map(|factor| b.splat(factor, self.lanes as u32 / 2));
        b.concat(halves[0], halves[1])
    }
}
