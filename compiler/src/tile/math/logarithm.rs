//! log and what is made of it: x = 2ᵏ·m with √½ ≤ m < √2, then log x = k·ln 2 + log m.

use super::coefficients::{LN_2, LOG_F32, LOG_F64};
use super::{add_const, fma_const, mul_const, polynomial, through_f64, unless_tiny, with_sign_of};
use crate::tile::builder::Builder;
use crate::tile::float_bits::{exponent_bias, fraction_bits};
use crate::tile::ir::Reg;
use crate::tile::types::Lane;

/// log(x) + `small` + `extra_k` · ln 2 for positive normal finite `x`; `small` is far below log(x)'s last place
/// unless that is near zero.
fn log_of_normal(b: &mut Builder, x: Reg, extra_k: Option<Reg>, small: Option<Reg>) -> Reg {
    let lane = x.ty.lane;
    let int = lane.same_width_int();
    let (root_half, one) = match lane {
        Lane::F32 => (0x3f35_04f3, 0x3f80_0000),
        _ => (0x3fe6_a09e_667f_3bcd, 1.0f64.to_bits() as i64),
    };
    // Shifted so that the exponent field steps at √½ instead of 1.
    let bits = b.bitcast(x, int);
    let bits = b.add_int(bits, one - root_half);
    let shift = b.int(bits.ty, fraction_bits(lane));
    let biased = b.shr_u(bits, shift);
    // A small integer placed in the fraction of 2^(p−1) is that power plus the integer.
    let power = 2f64.powi(fraction_bits(lane) as i32);
    let power_bits = match lane {
        Lane::F32 => i64::from((power as f32).to_bits()),
        _ => power.to_bits() as i64,
    };
    let power_bits = b.int(bits.ty, power_bits);
    let k = b.or(biased, power_bits);
    let k = b.bitcast(k, lane);
    let mut k = add_const(b, k, -(power + exponent_bias(lane) as f64));
    if let Some(extra) = extra_k {
        k = b.add(k, extra);
    }
    let fraction = b.int(bits.ty, (1 << fraction_bits(lane)) - 1);
    let fraction = b.and(bits, fraction);
    let m = b.add_int(fraction, root_half);
    let m = b.bitcast(m, lane);
    let f = add_const(b, m, -1.0);

    let square = b.mul(f, f);
    let half_square = mul_const(b, square, 0.5);
    if lane == Lane::F32 {
        let tail = polynomial(b, f, &LOG_F32);
        let cube = b.mul(square, f);
        let mut y = b.mul(cube, tail);
        y = fma_const(b, k, -2.121_944_400_546_905_8e-4, y);
        if let Some(small) = small {
            y = b.add(y, small);
        }
        y = b.sub(y, half_square);
        y = b.add(f, y);
        return fma_const(b, k, 0.693359375, y);
    }
    // log(1+f) = 2s + s·R with s = f/(2+f), arranged as in Sun's fdlibm (e_log.c) so that f stays exact.
    let plus_two = add_const(b, f, 2.0);
    let s = b.div(f, plus_two);
    let z = b.mul(s, s);
    let tail = polynomial(b, z, &LOG_F64);
    let r = b.fma(z, tail, half_square);
    let mut y = b.mul(s, r);
    let mut low = mul_const(b, k, LN_2[1]);
    if let Some(small) = small {
        low = b.add(low, small);
    }
    y = b.add(y, low);
    y = b.sub(half_square, y);
    y = b.sub(y, f);
    let high = mul_const(b, k, LN_2[0]);
    b.sub(high, y)
}

/// `value` for finite positive `x`, −∞ for 0, ∞ for ∞, NaN for the rest.
fn with_log_limits(b: &mut Builder, x: Reg, value: Reg) -> Reg {
    let zero = b.float(x.ty, 0.0);
    let infinity = b.float(x.ty, f64::INFINITY);
    let minus_infinity = b.float(x.ty, f64::NEG_INFINITY);
    let nan = b.float(x.ty, f64::NAN);
    let is_infinite = b.eq(x, infinity);
    let value = b.select(is_infinite, infinity, value);
    let is_zero = b.eq(x, zero);
    let value = b.select(is_zero, minus_infinity, value);
    let is_valid = b.ge(x, zero);
    b.select(is_valid, value, nan)
}

/// Natural logarithm.
pub fn log(b: &mut Builder, x: Reg) -> Reg {
    let (smallest_normal, lift) = match x.ty.lane {
        Lane::F32 => (f64::from(f32::MIN_POSITIVE), 24),
        _ => (f64::MIN_POSITIVE, 54),
    };
    let smallest_normal = b.float(x.ty, smallest_normal);
    let is_subnormal = b.lt(x, smallest_normal);
    let lifted = mul_const(b, x, 2f64.powi(lift));
    let normal = b.select(is_subnormal, lifted, x);
    let zero = b.float(x.ty, 0.0);
    let minus_lift = b.float(x.ty, -f64::from(lift));
    let extra_k = b.select(is_subnormal, minus_lift, zero);
    let value = log_of_normal(b, normal, Some(extra_k), None);
    with_log_limits(b, x, value)
}

/// log(1 + x), accurate near zero.
pub fn log1p(b: &mut Builder, x: Reg) -> Reg {
    let one = b.float(x.ty, 1.0);
    let u = b.add(x, one);
    // What the sum lost, exactly: the smaller summand less what became of it.
    let larger = b.max_or_second(x, one);
    let smaller = b.min_or_second(x, one);
    let kept = b.sub(u, larger);
    let lost = b.sub(smaller, kept);
    let lost = b.div(lost, u);
    let value = log_of_normal(b, u, None, Some(lost));
    let value = with_log_limits(b, u, value);
    let tiny = match x.ty.lane {
        Lane::F32 => 2f64.powi(-25),
        _ => 2f64.powi(-54),
    };
    unless_tiny(b, x, tiny, value)
}

/// Inverse hyperbolic sine: log1p(a + a²/(1 + √(a²+1))), or log(a) + ln 2 for large a = |x|.
pub fn asinh(b: &mut Builder, x: Reg) -> Reg {
    through_f64(b, x, |b, x| {
        let a = b.abs(x);
        let square = b.mul(a, a);
        let root = add_const(b, square, 1.0);
        let root = b.sqrt(root);
        let below = add_const(b, root, 1.0);
        let quotient = b.div(square, below);
        let moderate = b.add(a, quotient);
        let value = log1p_or_large(b, a, moderate);
        let value = with_sign_of(b, value, x);
        unless_tiny(b, x, 2f64.powi(-28), value)
    })
}

/// Inverse hyperbolic cosine: log1p(t + √(2t + t²)) with t = x − 1, or log(x) + ln 2 for large x.
pub fn acosh(b: &mut Builder, x: Reg) -> Reg {
    through_f64(b, x, |b, x| {
        let t = add_const(b, x, -1.0);
        let twice = b.add(t, t);
        let under = b.fma(t, t, twice);
        let root = b.sqrt(under);
        let moderate = b.add(t, root);
        let value = log1p_or_large(b, x, moderate);
        let one = b.float(x.ty, 1.0);
        let nan = b.float(x.ty, f64::NAN);
        let is_valid = b.ge(x, one);
        b.select(is_valid, value, nan)
    })
}

/// log1p(moderate) for `size` up to 2²⁸, else log(size) + ln 2 (with log1p of one less).
fn log1p_or_large(b: &mut Builder, size: Reg, moderate: Reg) -> Reg {
    let limit = b.float(size.ty, 2f64.powi(28));
    let is_large = b.gt(size, limit);
    let large = add_const(b, size, -1.0);
    let argument = b.select(is_large, large, moderate);
    let ln_2 = b.float(size.ty, std::f64::consts::LN_2);
    let zero = b.float(size.ty, 0.0);
    let extra = b.select(is_large, ln_2, zero);
    let value = log1p(b, argument);
    b.add(value, extra)
}

/// Inverse hyperbolic tangent: log1p(2a / (1 − a)) / 2 with a = |x|; ±∞ at ±1, NaN beyond.
pub fn atanh(b: &mut Builder, x: Reg) -> Reg {
    through_f64(b, x, |b, x| {
        let a = b.abs(x);
        let one = b.float(x.ty, 1.0);
        let below = b.sub(one, a);
        let twice = b.add(a, a);
        let argument = b.div(twice, below);
        let value = log1p(b, argument);
        let value = mul_const(b, value, 0.5);
        let value = with_sign_of(b, value, x);
        unless_tiny(b, x, 2f64.powi(-28), value)
    })
}
