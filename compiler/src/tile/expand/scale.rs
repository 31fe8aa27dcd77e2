//! `value · 2ⁿ` where 2ⁿ itself may overflow or be subnormal: by 2^⌊n/2⌋ twice, and only the last rounds.

use crate::tile::builder::Builder;
use crate::tile::float_bits::{integer_of, power_of_two, round_magic};
use crate::tile::ir::Reg;
use crate::tile::types::Lane;

/// For a value near 1 and integral n.
pub(super) fn scaled(b: &mut Builder, value: Reg, n: Reg) -> Reg {
    let magic = b.float(n.ty, round_magic(n.ty.lane));
    let sum = b.add(n, magic);
    let n = integer_of(b, sum);
    let one = b.int(n.ty, 1);
    let half = match n.ty.lane {
        Lane::I32 => b.shr_s(n, one),
        // A logical shift of a biased n: lanes of 64 bits have no cheap arithmetic one.
        _ => {
            let biased = b.add_int(n, 4096);
            let half = b.shr_u(biased, one);
            b.add_int(half, -2048)
        }
    };
    let rest = b.sub(n, half);
    let (first, second) = (power_of_two(b, half, value.ty.lane), power_of_two(b, rest, value.ty.lane));
    let value = b.mul(value, first);
    b.mul(value, second)
}
