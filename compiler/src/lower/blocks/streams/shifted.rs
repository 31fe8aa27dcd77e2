//! Matrices whose rows begin anywhere, in chunks of 16 bytes that begin at multiples of that.

use super::{CHUNK_BYTES, StreamContract, plain};
use crate::kernel::{Access, ExprId};
use crate::lower::context::{Base, Context};
use crate::lower::contract::operand;
use crate::lower::dot::{multiply_add, zero};
use crate::lower::ops::{cast, lane_of, memory_of};
use crate::tile::{Builder, Reg, Type};
use kiln_ir::{DType, Dim, Symbol};

impl StreamContract {
    /// The sums across rows of the matrix that begin anywhere, of chunks that begin at multiples of 16 bytes.
    pub(super) fn shifted(&self, cx: &mut Context, b: &mut Builder, start: &[Reg]) -> Vec<Reg> {
        let (access, types) = plain_in(cx, self.matrix);
        let (down, rest) = self.strides(&access).unwrap_or_else(|| panic!("lower: a matrix whose rows cannot be shifted"));
        let buffer = cx.program.buffer(access.buffer);
        let (stored, elements) = (buffer.dtype, buffer.elements());
        let total = cx.index(b, &elements);
        let digits = b.index(i64::from(self.lanes.trailing_zeros()));
        // The last chunk of the buffer that is all there.
        let chunks = b.shr_u(total, digits);
        let none = b.index(0);
        let has_chunks = b.gt(chunks, none);
        let last = b.add_int(chunks, -1);
        let number = cx.index(b, &(Dim::symbol("#column_tile") * Dim::from(self.columns() / self.lanes) + Dim::symbol("#x")));
        let chunk_at = |cx: &mut Context, b: &mut Builder, place: &Dim| {
            let offset = cx.index(b, &(place * &down + &rest));
            let chunk = b.shr_u(offset, digits);
            b.add(chunk, number)
        };
        let base = cx.address(b, Base::Buffer(access.buffer), &Dim::ZERO, stored.size_bytes() as u32).reg;
        let ty = Type::scalar(lane_of(stored));
        let converted = |b: &mut Builder, mut value: Reg| {
            for pair in types.windows(2) {
                value = cast(b, pair[0], pair[1], value);
            }
            let last = types[types.len() - 1];
            if lane_of(last) == lane_of(self.dtype) { value } else { cast(b, last, self.dtype, value) }
        };
        let sums = cx.branch(
            b,
            has_chunks,
            false,
            |cx, b| {
                self.turns(cx, b, start, &|cx, b, place| {
                    let depth = self.inside(place);
                    let chunk = chunk_at(cx, b, &depth);
                    let is_there = b.le(chunk, last);
                    let exists = match self.exists(cx, b, place) {
                        Some(exists) => b.and(exists, is_there),
                        None => is_there,
                    };
                    let chunk = b.min_s(chunk, last);
                    let skipped = b.mul_int(chunk, CHUNK_BYTES);
                    let from = b.add(base, skipped);
                    let value = b.load(memory_of(stored), ty.times(self.lanes as u32), from, 0);
                    let value = converted(b, value);
                    (self.or_zero(b, value, Some(exists)), Some(exists))
                })
            },
            |_, _| start.to_vec(),
        );
        // What lies behind the last whole chunk of the buffer: of the last rows, as many as a chunk has elements at most.
        let (group, depth) = (cx.index(b, &Dim::symbol("#y")), cx.index(b, &self.depth.extent));
        let least = cx.index(b, &(&self.depth.extent - Dim::from(self.lanes)).maximum(&Dim::ZERO));
        let step = b.index(self.step());
        let beyond = b.rem_u(least, step);
        let first = b.sub(least, beyond);
        let first = b.add(first, group);
        let is_before = b.lt(first, least);
        let next = b.add(first, step);
        let from = b.select(is_before, next, first);
        let left = Symbol::new("#left");
        cx.ranges.set_index(left.clone(), self.depth.extent.clone());
        cx.counted(b, &left, from, depth, self.step(), &sums, |cx, b, sums| {
            let place = Dim::from(left.clone());
            let chunk = chunk_at(cx, b, &place);
            let is_last = b.eq(chunk, chunks);
            cx.branch(
                b,
                is_last,
                true,
                |cx, b| {
                    let zero_of = |b: &mut Builder, ty: Type| zero(b, ty);
                    let mut values = zero_of(b, ty.times(self.lanes as u32));
                    let skipped = b.mul_int(chunk, CHUNK_BYTES);
                    let address = b.add(base, skipped);
                    let first = b.mul_int(chunk, self.lanes);
                    for lane in 0..self.lanes {
                        let at = b.add_int(first, lane);
                        let is_there = b.lt(at, total);
                        let none = zero_of(b, ty);
                        let offset = (lane * stored.size_bytes() as i64) as i32;
                        let load = |_: &mut Context, b: &mut Builder| vec![b.load(memory_of(stored), ty, address, offset)];
                        let value = cx.branch(b, is_there, false, load, |_, _| vec![none])[0];
                        values = b.insert(values, lane as u32, value);
                    }
                    let values = converted(b, values);
                    let turn = sums.iter().enumerate().map(|(row, sum)| {
                        let row = self.number_of_row(cx, row as i64);
                        let held = cx.replaced(&self.row.index, row, |cx| {
                            cx.replaced(&self.depth.index, place.clone(), |cx| operand(cx, b, self.held, self.dtype))
                        });
                        let held = b.splat(held, self.lanes as u32);
                        multiply_add(b, held, values, *sum)
                    });
                    turn.collect()
                },
                |_, _| sums.to_vec(),
            )
        })
    }
}

/// As [`plain`], of a form that was chosen because there is one.
pub(super) fn plain_in(cx: &Context, id: ExprId) -> (Access, Vec<DType>) {
    plain(&cx.exprs, id).unwrap_or_else(|| panic!("lower: a matrix that is no plain load"))
}
