//! Unsigned integers of 32 and 64 bits to floats and back by the signed conversions of 64 bits. Scalars only.

use crate::tile::builder::Builder;
use crate::tile::ir::Reg;
use crate::tile::types::Lane;

/// An unsigned integer to the nearest float, ties to even.
pub(super) fn unsigned_to_float(b: &mut Builder, x: Reg, to: Lane) -> Reg {
    if x.ty.lane == Lane::I32 {
        let wide = b.extend_u(x, Lane::I64);
        return b.int_to_float_s(wide, to);
    }
    // From 2⁶³ on, half of it, of which the lowest bit says whether anything was lost: that rounds as the whole would.
    let (zero, one) = (b.int(x.ty, 0), b.int(x.ty, 1));
    let is_large = b.lt(x, zero);
    let (halved, lowest) = (b.shr_u(x, one), b.and(x, one));
    let halved = b.or(halved, lowest);
    let signed = b.select(is_large, halved, x);
    let float = b.int_to_float_s(signed, to);
    let twice = b.add(float, float);
    b.select(is_large, twice, float)
}

/// A float to an unsigned integer, towards zero; saturates, and NaN gives 0.
pub(super) fn float_to_unsigned(b: &mut Builder, x: Reg, to: Lane) -> Reg {
    if to == Lane::I32 {
        let wide = b.float_to_int_s(x, Lane::I64);
        let (zero, most) = (b.int(wide.ty, 0), b.int(wide.ty, i64::from(u32::MAX)));
        let clamped = b.max_s(wide, zero);
        let clamped = b.min_s(clamped, most);
        return b.wrap(clamped, to);
    }
    // What lies from 2⁶³ on is converted less 2⁶³, exactly; what is too large even then saturates by itself.
    let limit = b.float(x.ty, 2f64.powi(63));
    let is_large = b.ge(x, limit);
    let less = b.sub(x, limit);
    let within = b.select(is_large, less, x);
    let signed = b.float_to_int_s(within, to);
    let zero = b.int(signed.ty, 0);
    let signed = b.max_s(signed, zero);
    let top = b.int(signed.ty, i64::MIN);
    let large = b.xor(signed, top);
    b.select(is_large, large, signed)
}
