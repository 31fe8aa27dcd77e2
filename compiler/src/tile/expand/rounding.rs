//! Rounding to integral values by addition, for machines without a rounding instruction (SSE2).
//!
//! Below 2^(p−1) (p = 24 or 53 bits), |x| + 2^(p−1) has no bits behind the point, so the addition rounds |x|
//! to nearest-even; from there on every float is integral already.

use crate::tile::builder::Builder;
use crate::tile::ir::Reg;
use crate::tile::types::Lane;

/// |x| rounded to nearest-even; only right below [`first_integral`].
fn nearest_magnitude(b: &mut Builder, magnitude: Reg) -> Reg {
    let magic = b.float(magnitude.ty, first_integral(magnitude.ty.lane));
    let sum = b.add(magnitude, magic);
    b.sub(sum, magic)
}

/// From here on every value is an integer: 2^23 or 2^52.
fn first_integral(lane: Lane) -> f64 {
    match lane {
        Lane::F32 => (1u64 << 23) as f64,
        _ => (1u64 << 52) as f64,
    }
}

/// `rounded` with the sign of `x` where |x| is small, else `x` (large, infinite or NaN).
fn signed_if_small(b: &mut Builder, x: Reg, magnitude: Reg, rounded: Reg) -> Reg {
    let int = x.ty.lane.same_width_int();
    let x_bits = b.bitcast(x, int);
    let rounded_bits = b.bitcast(rounded, int);
    let sign = b.int(x_bits.ty, i64::MIN >> (64 - int.bits()));
    let sign = b.and(x_bits, sign);
    let signed = b.or(rounded_bits, sign);
    let signed = b.bitcast(signed, x.ty.lane);
    let limit = b.float(x.ty, first_integral(x.ty.lane));
    let small = b.lt(magnitude, limit);
    b.select(small, signed, x)
}

/// To nearest, ties to even.
pub(super) fn nearest(b: &mut Builder, x: Reg) -> Reg {
    let magnitude = b.abs(x);
    let rounded = nearest_magnitude(b, magnitude);
    signed_if_small(b, x, magnitude, rounded)
}

/// Towards zero: the nearest, less one where that went up.
pub(super) fn trunc(b: &mut Builder, x: Reg) -> Reg {
    let magnitude = b.abs(x);
    let rounded = nearest_magnitude(b, magnitude);
    let one = b.float(x.ty, 1.0);
    let less = b.sub(rounded, one);
    let above = b.gt(rounded, magnitude);
    let rounded = b.select(above, less, rounded);
    signed_if_small(b, x, magnitude, rounded)
}

/// Towards −∞: the nearest, less one where that is above `x`.
pub(super) fn floor(b: &mut Builder, x: Reg) -> Reg {
    let rounded = nearest(b, x);
    let one = b.float(x.ty, 1.0);
    let less = b.sub(rounded, one);
    let above = b.gt(rounded, x);
    b.select(above, less, rounded)
}

/// Towards +∞: −floor(−x), which also gives −0 for −1 < x < 0.
pub(super) fn ceil(b: &mut Builder, x: Reg) -> Reg {
    let x = b.neg(x);
    let rounded = floor(b, x);
    b.neg(rounded)
}
