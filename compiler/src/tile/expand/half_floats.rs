//! binary16 and bfloat16 to F32 and back by integer steps. Branch-free, so that they vectorise.

use crate::tile::builder::Builder;
use crate::tile::ir::Reg;
use crate::tile::types::Lane;

/// I16 lanes that hold binary16 → F32, exactly; NaNs stay NaN.
pub(super) fn f16_to_f32(b: &mut Builder, half: Reg) -> Reg {
    let bits = b.extend_u(half, Lane::I32);
    let int = |b: &mut Builder, value: i64| b.int(bits.ty, value);
    let magnitude_mask = int(b, 0x7fff);
    let magnitude = b.and(bits, magnitude_mask);
    let sign = b.xor(bits, magnitude);
    let sixteen = int(b, 16);
    let sign = b.shl(sign, sixteen);
    // Normal values: shift the fraction up and rebias the exponent from 15 to 127.
    let thirteen = int(b, 13);
    let shifted = b.shl(magnitude, thirteen);
    let rebias = int(b, 112 << 23);
    let normal = b.add(shifted, rebias);
    // Infinities and NaNs: all exponent bits.
    let all_exponent = int(b, 0x7f80_0000);
    let special = b.or(shifted, all_exponent);
    let first_special = int(b, 0x7c00);
    let is_special = b.ge(magnitude, first_special);
    let value = b.select(is_special, special, normal);
    // Subnormals: the magnitude counts 2⁻²⁴, an exact product of an exact conversion.
    let count = b.int_to_float_s(magnitude, Lane::F32);
    let unit = b.float(count.ty, 2f64.powi(-24));
    let subnormal = b.mul(count, unit);
    let subnormal = b.bitcast(subnormal, Lane::I32);
    let first_normal = int(b, 0x0400);
    let is_subnormal = b.lt(magnitude, first_normal);
    let value = b.select(is_subnormal, subnormal, value);
    let value = b.or(value, sign);
    b.bitcast(value, Lane::F32)
}

/// F32 → I16 lanes that hold binary16, nearest-even; overflow to ±∞, NaN to a quiet NaN.
pub(super) fn f32_to_f16(b: &mut Builder, x: Reg) -> Reg {
    let bits = b.bitcast(x, Lane::I32);
    let int = |b: &mut Builder, value: i64| b.int(bits.ty, value);
    let magnitude_mask = int(b, 0x7fff_ffff);
    let magnitude = b.and(bits, magnitude_mask);
    let sign = b.xor(bits, magnitude);
    let sixteen = int(b, 16);
    let sign = b.shr_u(sign, sixteen);
    // Normal results: rebias, then round the 13 low bits away (half below, plus one when the result is odd).
    let thirteen = int(b, 13);
    let one = int(b, 1);
    let kept = b.shr_u(magnitude, thirteen);
    let odd = b.and(kept, one);
    let rebias_and_round = int(b, 0xfff - (112 << 23));
    let rounded = b.add(magnitude, rebias_and_round);
    let rounded = b.add(rounded, odd);
    let normal = b.shr_u(rounded, thirteen);
    // Results below 2⁻¹⁴: adding ½ leaves an ulp of 2⁻²⁴, so the float addition rounds for us.
    let half_bits = int(b, 0x3f00_0000);
    let half = b.bitcast(half_bits, Lane::F32);
    let magnitude_float = b.bitcast(magnitude, Lane::F32);
    let sum = b.add(magnitude_float, half);
    let sum = b.bitcast(sum, Lane::I32);
    let subnormal = b.sub(sum, half_bits);
    let first_normal = int(b, 113 << 23);
    let is_subnormal = b.lt(magnitude, first_normal);
    let value = b.select(is_subnormal, subnormal, normal);
    // From 2¹⁶ on, infinity; values just below round to it by themselves.
    let infinity = int(b, 0x7c00);
    let overflow = int(b, 143 << 23);
    let is_overflow = b.ge(magnitude, overflow);
    let value = b.select(is_overflow, infinity, value);
    let quiet = int(b, 0x7e00);
    let is_nan = b.ne(x, x);
    let value = b.select(is_nan, quiet, value);
    let value = b.or(value, sign);
    b.wrap(value, Lane::I16)
}

/// I16 lanes that hold bfloat16 → F32: the upper half of its bits.
pub(super) fn bf16_to_f32(b: &mut Builder, half: Reg) -> Reg {
    let bits = b.extend_u(half, Lane::I32);
    let sixteen = b.int(bits.ty, 16);
    let bits = b.shl(bits, sixteen);
    b.bitcast(bits, Lane::F32)
}

/// F32 → I16 lanes that hold bfloat16, nearest-even; NaN to a quiet NaN.
pub(super) fn f32_to_bf16(b: &mut Builder, x: Reg) -> Reg {
    let rounded = rounded_to_upper_half(b, x);
    let sixteen = b.int(rounded.ty, 16);
    let half = b.shr_u(rounded, sixteen);
    b.wrap(half, Lane::I16)
}

/// F32 → the nearest F32 that is a bfloat16, ties to even; NaN to a quiet NaN.
pub(super) fn round_to_bf16(b: &mut Builder, x: Reg) -> Reg {
    let rounded = rounded_to_upper_half(b, x);
    let upper = b.int(rounded.ty, 0xffff_0000);
    let upper = b.and(rounded, upper);
    b.bitcast(upper, Lane::F32)
}

/// Bits of F32 rounded so that the upper half of them is the nearest bfloat16; the lower half is left over.
fn rounded_to_upper_half(b: &mut Builder, x: Reg) -> Reg {
    let bits = b.bitcast(x, Lane::I32);
    let int = |b: &mut Builder, value: i64| b.int(bits.ty, value);
    let sixteen = int(b, 16);
    let one = int(b, 1);
    let below_half = int(b, 0x7fff);
    let kept = b.shr_u(bits, sixteen);
    let odd = b.and(kept, one);
    let rounded = b.add(bits, below_half);
    let rounded = b.add(rounded, odd);
    let quiet_bit = int(b, 0x40_0000);
    let quiet = b.or(bits, quiet_bit);
    let is_nan = b.ne(x, x);
    b.select(is_nan, quiet, rounded)
}
