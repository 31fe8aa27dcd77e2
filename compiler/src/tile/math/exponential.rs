//! exp and what is made of it: x = n·ln 2 + r with |r| ≤ ln 2 / 2, then exp(x) = 2ⁿ·exp(r).

use super::coefficients::{EXP_F32, EXP_F64, EXP2_F32, LN_2};
use super::{add_const, at_least, at_most, fma_const, mul_const, nearest_multiple, polynomial, through_f64, unless_tiny, with_sign_of};
use crate::tile::builder::Builder;
use crate::tile::float_bits::{integer_of, power_of_two};
use crate::tile::ir::Reg;
use crate::tile::types::Lane;
use std::f64::consts::LOG2_E;

/// exp(r) − 1, n, and what [`integer_of`] makes integer lanes of; `x` must lie within a few powers of two of the finite results.
fn reduced(b: &mut Builder, x: Reg) -> (Reg, Reg, Reg) {
    let lane = x.ty.lane;
    // ln 2 in two parts; n times the first is exact, with or without fused multiply-add.
    let (high, low, coefficients) = match lane {
        Lane::F32 => (0.693359375, -2.121_944_400_546_905_8e-4, &EXP_F32[..]),
        _ => (LN_2[0], LN_2[1], &EXP_F64[..]),
    };
    let (n, sum) = nearest_multiple(b, x, LOG2_E);
    let r = fma_const(b, n, -high, x);
    let r = fma_const(b, n, -low, r);
    let tail = polynomial(b, r, coefficients);
    let square = b.mul(r, r);
    (b.fma(square, tail, r), n, sum)
}

/// eˣ.
pub fn exp(b: &mut Builder, x: Reg) -> Reg {
    // Beyond, results are ∞ all the same.
    let x = at_most(b, x, if x.ty.lane == Lane::F32 { 90.0 } else { 711.0 });
    exp_to_zero(b, x)
}

/// eˣ of numbers that are not above 0.
pub fn exp_to_zero(b: &mut Builder, x: Reg) -> Reg {
    // Beyond, results are 0 all the same.
    let x = at_least(b, x, if x.ty.lane == Lane::F32 { -105.0 } else { -750.0 });
    let (less_one, n, _) = reduced(b, x);
    let value = add_const(b, less_one, 1.0);
    b.scale(value, n)
}

/// 2ˣ of F32 numbers that are not above 0.
pub fn exp2_to_zero(b: &mut Builder, x: Reg) -> Reg {
    // Beyond, results are 0 all the same.
    let x = at_least(b, x, -151.0);
    let (n, _) = nearest_multiple(b, x, 1.0);
    let r = b.sub(x, n);
    let tail = polynomial(b, r, &EXP2_F32);
    let one = b.float(x.ty, 1.0);
    let value = b.fma(tail, r, one);
    b.scale(value, n)
}

/// (eˣ − 1) / 2ᵏ, where 2^(n−k) must be normal.
fn expm1_scaled(b: &mut Builder, x: Reg, k: i32) -> Reg {
    let (less_one, _, sum) = reduced(b, x);
    let n = integer_of(b, sum);
    let n = b.add_int(n, i64::from(-k));
    let scale = power_of_two(b, n, x.ty.lane);
    let rest = add_const(b, scale, -(2f64.powi(-k)));
    b.fma(less_one, scale, rest)
}

/// eˣ − 1, accurate near zero.
pub fn expm1(b: &mut Builder, x: Reg) -> Reg {
    let (low, high, tiny) = match x.ty.lane {
        Lane::F32 => (-20.0, 89.0, 2f64.powi(-26)),
        _ => (-40.0, 709.9, 2f64.powi(-54)),
    };
    let near = at_most(b, x, high);
    let near = at_least(b, near, low);
    // Halved, so that 2ⁿ does not overflow before the result does.
    let half = expm1_scaled(b, near, 1);
    let value = b.add(half, half);
    unless_tiny(b, x, tiny, value)
}

/// 1 / (1 + e⁻ˣ), without losing small results: e^−|x| is never above 1.
pub fn sigmoid(b: &mut Builder, x: Reg) -> Reg {
    let magnitude = b.abs(x);
    let negative = b.neg(magnitude);
    let e = exp_to_zero(b, negative);
    let one = b.float(x.ty, 1.0);
    let zero = b.float(x.ty, 0.0);
    let below = b.lt(x, zero);
    let numerator = b.select(below, e, one);
    let denominator = b.add(one, e);
    b.div(numerator, denominator)
}

/// Hyperbolic tangent: t / (t + 2) with t = exp(2|x|) − 1.
pub fn tanh(b: &mut Builder, x: Reg) -> Reg {
    // From 10 (20) on the result rounds to 1.
    let (limit, tiny) = match x.ty.lane {
        Lane::F32 => (10.0, 2f64.powi(-13)),
        _ => (20.0, 2f64.powi(-27)),
    };
    let magnitude = b.abs(x);
    let magnitude = at_most(b, magnitude, limit);
    let twice = b.add(magnitude, magnitude);
    let t = expm1_scaled(b, twice, 0);
    let plus_two = add_const(b, t, 2.0);
    let value = b.div(t, plus_two);
    let value = with_sign_of(b, value, x);
    unless_tiny(b, x, tiny, value)
}

/// Hyperbolic sine: (t + t / (t + 1)) / 2 with t = exp|x| − 1, kept as t/4 so that it overflows no earlier than
/// the result.
pub fn sinh(b: &mut Builder, x: Reg) -> Reg {
    through_f64(b, x, |b, x| {
        let magnitude = b.abs(x);
        let near = at_most(b, magnitude, 710.6);
        let quarter = expm1_scaled(b, near, 2);
        let below = add_const(b, quarter, 0.25);
        let ratio = b.div(quarter, below);
        let ratio = mul_const(b, ratio, 0.5);
        let twice = b.add(quarter, quarter);
        let value = b.add(twice, ratio);
        let value = with_sign_of(b, value, x);
        unless_tiny(b, x, 2f64.powi(-28), value)
    })
}

/// Hyperbolic cosine: 2e + 1/(8e) with e = exp|x| / 4.
pub fn cosh(b: &mut Builder, x: Reg) -> Reg {
    through_f64(b, x, |b, x| {
        let magnitude = b.abs(x);
        let near = at_most(b, magnitude, 710.6);
        let (less_one, _, sum) = reduced(b, near);
        let value = add_const(b, less_one, 1.0);
        let n = integer_of(b, sum);
        let n = b.add_int(n, -2);
        let scale = power_of_two(b, n, Lane::F64);
        let quarter = b.mul(value, scale);
        let eighth = b.float(x.ty, 0.125);
        let small = b.div(eighth, quarter);
        let twice = b.add(quarter, quarter);
        b.add(twice, small)
    })
}
