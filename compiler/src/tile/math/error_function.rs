//! erf: x·P(x²) near zero; elsewhere 1 − erfc|x|, where an error of erfc counts little.

use super::coefficients::{ERF_LARGE_F32, ERF_LARGE_F64, ERF_SMALL_F32, ERF_SMALL_F64, ERFC_EXPONENT_F32, ERFC_POWER_F32};
use super::exponential::{exp, exp2_to_zero};
use super::{add_const, at_least, at_most, mul_const, polynomial, with_sign_of};
use crate::tile::builder::Builder;
use crate::tile::ir::Reg;
use crate::tile::types::Lane;
use std::f64::consts::FRAC_2_SQRT_PI;

/// About [`erf`] of F32 lanes, wrong by up to 2⁻¹⁵ of itself, for results that are rounded to half floats: `1 − 2^(t·p(t))`, `t = |x|`.
pub fn erf_nearly(b: &mut Builder, x: Reg) -> Reg {
    let magnitude = b.abs(x);
    // Beyond 4 the result rounds to 1; close to 0 the difference would cancel.
    let t = at_most(b, magnitude, 4.0);
    let slope = polynomial(b, t, &ERFC_POWER_F32);
    let power = b.mul(slope, t);
    let complement = b.power_of_two(power);
    let one = b.float(x.ty, 1.0);
    let large = b.sub(one, complement);
    let large = with_sign_of(b, large, x);
    let small = mul_const(b, x, FRAC_2_SQRT_PI);
    let split = b.float(x.ty, 1.0 / 128.0);
    let is_small = b.lt(magnitude, split);
    b.select(is_small, small, large)
}

/// `1 + erf(x)` of F32 lanes, which is `2^(t·p(t))`, `t = |x|`, for x below 0 and what that leaves of 2 above: fewer steps than [`erf`]
/// takes, which has to be exact near 0, and right where a sum would lose all digits of a small result. What gelu is made of.
pub fn one_plus_erf(b: &mut Builder, x: Reg) -> Reg {
    let t = b.abs(x);
    let slope = polynomial(b, t, &ERFC_EXPONENT_F32);
    let power = b.mul(slope, t);
    let complement = exp2_to_zero(b, power);
    let two = b.float(x.ty, 2.0);
    let large = b.sub(two, complement);
    let zero = b.float(x.ty, 0.0);
    let is_below = b.lt(x, zero);
    b.select(is_below, complement, large)
}

/// 2/√π · ∫₀ˣ exp(−t²) dt.
pub fn erf(b: &mut Builder, x: Reg) -> Reg {
    let lane = x.ty.lane;
    let magnitude = b.abs(x);
    let square = b.mul(x, x);
    // From 4 (6) on the result rounds to 1.
    let (small, split, complement) = match lane {
        Lane::F32 => {
            let small = polynomial(b, square, &ERF_SMALL_F32);
            let t = at_most(b, magnitude, 4.0);
            let exponent = polynomial(b, t, &ERF_LARGE_F32);
            (small, 0.96, exp(b, exponent))
        }
        _ => {
            let small = polynomial(b, square, &ERF_SMALL_F64);
            let t = at_most(b, magnitude, 6.0);
            let t = at_least(b, t, 1.0);
            let (above, below) = (add_const(b, t, -2.0), add_const(b, t, 2.0));
            let u = b.div(above, below);
            let scaled = polynomial(b, u, &ERF_LARGE_F64);
            let t_square = b.mul(t, t);
            let t_square = b.neg(t_square);
            let e = exp(b, t_square);
            (small, 1.0, b.mul(e, scaled))
        }
    };
    let small = b.fma(x, small, x);
    let one = b.float(x.ty, 1.0);
    let large = b.sub(one, complement);
    let large = with_sign_of(b, large, x);
    let split = b.float(x.ty, split);
    let is_small = b.lt(magnitude, split);
    b.select(is_small, small, large)
}
