//! How floats are made of bits, in tile code.

use super::builder::Builder;
use super::ir::Reg;
use super::types::Lane;

/// 1.5 · 2^(p−1): adding it to a small float leaves the nearest integer in the low bits of the sum.
pub(super) fn round_magic(lane: Lane) -> f64 {
    match lane {
        Lane::F32 => 12_582_912.0,
        _ => 6_755_399_441_055_744.0,
    }
}

/// Bits of the stored fraction.
pub(super) fn fraction_bits(lane: Lane) -> i64 {
    match lane {
        Lane::F32 => 23,
        _ => 52,
    }
}

/// The exponent that stands for 2⁰.
pub(super) fn exponent_bias(lane: Lane) -> i64 {
    match lane {
        Lane::F32 => 127,
        _ => 1023,
    }
}

/// The integer lanes of a sum with [`round_magic`].
pub(super) fn integer_of(b: &mut Builder, sum: Reg) -> Reg {
    let int = sum.ty.lane.same_width_int();
    let magic = b.float(sum.ty, round_magic(sum.ty.lane));
    let (bits, magic_bits) = (b.bitcast(sum, int), b.bitcast(magic, int));
    b.sub(bits, magic_bits)
}

/// 2ⁿ for integer lanes with n inside the normal exponents.
pub(super) fn power_of_two(b: &mut Builder, n: Reg, lane: Lane) -> Reg {
    let biased = b.add_int(n, exponent_bias(lane));
    let shift = b.int(n.ty, fraction_bits(lane));
    let bits = b.shl(biased, shift);
    b.bitcast(bits, lane)
}
