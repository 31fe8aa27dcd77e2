//! `value · 2ⁿ` where 2ⁿ itself may overflow or be subnormal: by 2^⌊n/2⌋ twice, and only the last rounds.

use crate::tile::builder::Builder;
use crate::tile::float_bits::{integer_of, power_of_two, round_magic};
use crate::tile::ir::Reg;

/// For a value near 1 and integral n.
pub(super) fn scaled(b: &mut Builder, value: Reg, n: Reg) -> Reg {
    let magic = b.float(n.ty, round_magic(n.ty.lane));
    let sum = b.add(n, magic);
    let n = integer_of(b, sum);
    // A logical shift of a biased n: 64-bit lanes have no cheap arithmetic one.
    let biased = b.add_int(n, 4096);
    let one = b.int(n.ty, 1);
    let half = b.shr_u(biased, one);
    let half = b.add_int(half, -2048);
    let rest = b.sub(n, half);
    let (first, second) = (power_of_two(b, half, value.ty.lane), power_of_two(b, rest, value.ty.lane));
    let value = b.mul(value, first);
    b.mul(value, second)
}
