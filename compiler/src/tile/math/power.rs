//! pow: 2^(y · log2|x|), with log2|x| and its product with y in two parts each.
//!
//! Source: the splitting is that of Sun's fdlibm (e_pow.c), here without branches and with our own polynomials.

use super::coefficients::{EXP_F64, LN_2_SHORT, LOG2_OF_3_HALVES, POW_LOG_F64, TWO_THIRDS_OF_LOG2_E};
use super::exponential::exp;
use super::logarithm::log;
use super::{add_const, at_least, at_most, mul_const, nearest_multiple, polynomial, upper_bits};
use crate::tile::builder::Builder;
use crate::tile::ir::Reg;
use crate::tile::types::Lane;
use std::f64::consts::LN_2;

/// x to the power y, with the special cases of IEEE 754 (pow): 1 for y = 0 and for x = 1 whatever the other,
/// NaN for negative finite x and non-integral y, signs of odd integers.
pub fn pow(b: &mut Builder, x: Reg, y: Reg) -> Reg {
    let ty = x.ty;
    let (zero, one) = (b.float(ty, 0.0), b.float(ty, 1.0));
    let infinity = b.float(ty, f64::INFINITY);
    let nan = b.float(ty, f64::NAN);
    let base = b.abs(x);
    // Powers beyond ±2⁷⁰ overflow, vanish or (of 1) stay, as infinite ones do.
    let exponent = at_most(b, y, 2f64.powi(70));
    let exponent = at_least(b, exponent, -(2f64.powi(70)));
    let magnitude = match ty.lane {
        Lane::F32 => {
            // F64 has bits enough for the plain way.
            let base = b.float_to_float(base, Lane::F64);
            let exponent = b.float_to_float(exponent, Lane::F64);
            let logarithm = log(b, base);
            let product = b.mul(exponent, logarithm);
            let power = exp(b, product);
            b.float_to_float(power, Lane::F32)
        }
        _ => positive_power(b, base, exponent),
    };
    // 0 and ∞ to a power other than 0: their own limits.
    let y_negative = b.lt(y, zero);
    let base_zero = b.eq(base, zero);
    let base_infinite = b.eq(base, infinity);
    let to_zero = b.select(y_negative, infinity, zero);
    let to_infinity = b.select(y_negative, zero, infinity);
    let magnitude = b.select(base_zero, to_zero, magnitude);
    let magnitude = b.select(base_infinite, to_infinity, magnitude);
    // Infinities count as even integers.
    let whole = b.trunc(y);
    let is_integer = b.eq(whole, y);
    let half = mul_const(b, y, 0.5);
    let half_whole = b.trunc(half);
    let half_differs = b.ne(half_whole, half);
    let is_odd = b.and(is_integer, half_differs);
    // −x has the sign of the result for odd y, −0 and −∞ included.
    let int = ty.lane.same_width_int();
    let bits = b.bitcast(x, int);
    let int_zero = b.int(bits.ty, 0);
    let is_minus = b.lt(bits, int_zero);
    let minus = b.neg(magnitude);
    let flips = b.and(is_minus, is_odd);
    let value = b.select(flips, minus, magnitude);
    let not_integer = b.not(is_integer);
    let below_zero = b.lt(x, zero);
    let finite = b.lt(base, infinity);
    let refused = b.and(below_zero, finite);
    let refused = b.and(refused, not_integer);
    let value = b.select(refused, nan, value);
    let (x_nan, y_nan) = (b.ne(x, x), b.ne(y, y));
    let is_nan = b.or(x_nan, y_nan);
    let value = b.select(is_nan, nan, value);
    let y_zero = b.eq(y, zero);
    let x_one = b.eq(x, one);
    let is_one = b.or(y_zero, x_one);
    b.select(is_one, one, value)
}

/// baseᵉˣᵖᵒⁿᵉⁿᵗ in F64 for positive finite base (others give something else) and |exponent| ≤ 2⁷⁰.
fn positive_power(b: &mut Builder, base: Reg, exponent: Reg) -> Reg {
    let (log_high, log_low) = log2_in_two_parts(b, base);
    // The product in two parts: upper bits times upper bits are exact.
    let upper = upper_bits(b, exponent);
    let lower = b.sub(exponent, upper);
    let cross = b.mul(lower, log_high);
    let low = b.mul(exponent, log_low);
    let low = b.add(cross, low);
    let high = b.mul(upper, log_high);
    // Beyond ±1100 everything is 0 or ∞; then the low part must not matter.
    let sum = b.add(high, low);
    let limit = b.float(base.ty, 1100.0);
    let size = b.abs(sum);
    let is_far = b.gt(size, limit);
    let near = at_most(b, sum, 1100.0);
    let near = at_least(b, near, -1100.0);
    let zero = b.float(base.ty, 0.0);
    let high = b.select(is_far, near, high);
    let low = b.select(is_far, zero, low);
    exp2_of_two_parts(b, high, low)
}

/// log2 of a positive finite base: a part of 21 bits and the rest, good to about 70 bits together.
fn log2_in_two_parts(b: &mut Builder, base: Reg) -> (Reg, Reg) {
    let ty = base.ty;
    let (zero, one) = (b.float(ty, 0.0), b.float(ty, 1.0));
    let smallest_normal = b.float(ty, f64::MIN_POSITIVE);
    let is_subnormal = b.lt(base, smallest_normal);
    let lifted = mul_const(b, base, 2f64.powi(54));
    let base = b.select(is_subnormal, lifted, base);
    // base = 2ⁿ·m, 1 ≤ m < 2; then m is compared with 1 up to √1.5, with 1.5 up to √3, and halved above.
    let bits = b.bitcast(base, Lane::I64);
    let shift = b.int(bits.ty, 52);
    let biased = b.shr_u(bits, shift);
    let power = 2f64.powi(52);
    let power_bits = b.int(bits.ty, power.to_bits() as i64);
    let n = b.or(biased, power_bits);
    let n = b.bitcast(n, Lane::F64);
    let n = add_const(b, n, -(power + 1023.0));
    let lift = b.float(ty, -54.0);
    let lift = b.select(is_subnormal, lift, zero);
    let n = b.add(n, lift);
    let fraction_mask = b.int(bits.ty, (1 << 52) - 1);
    let fraction = b.and(bits, fraction_mask);
    let one_bits = b.int(bits.ty, 1.0f64.to_bits() as i64);
    let m = b.or(fraction, one_bits);
    let m = b.bitcast(m, Lane::F64);
    let (first_limit, second_limit) = (b.float(ty, 1.5f64.sqrt()), b.float(ty, 3f64.sqrt()));
    let is_first = b.lt(m, first_limit);
    let is_third = b.ge(m, second_limit);
    let halved = mul_const(b, m, 0.5);
    let m = b.select(is_third, halved, m);
    let next = add_const(b, n, 1.0);
    let n = b.select(is_third, next, n);
    let is_outer = b.or(is_first, is_third);
    let three_halves = b.float(ty, 1.5);
    let reference = b.select(is_outer, one, three_halves);
    let (reference_high, reference_low) = (b.float(ty, LOG2_OF_3_HALVES[0]), b.float(ty, LOG2_OF_3_HALVES[1]));
    let reference_high = b.select(is_outer, zero, reference_high);
    let reference_low = b.select(is_outer, zero, reference_low);

    // s = (m − reference) / (m + reference) in two parts.
    let difference = b.sub(m, reference);
    let sum = b.add(m, reference);
    let inverse = b.div(one, sum);
    let s = b.mul(difference, inverse);
    let s_high = upper_bits(b, s);
    let sum_high = upper_bits(b, sum);
    let sum_low = b.sub(sum_high, reference);
    let sum_low = b.sub(m, sum_low);
    let part = b.mul(s_high, sum_high);
    let rest = b.sub(difference, part);
    let part = b.mul(s_high, sum_low);
    let rest = b.sub(rest, part);
    let s_low = b.mul(inverse, rest);

    // log m / reference = 2/3 s (3 + s² + r): the bracket in two parts, then the product.
    let z = b.mul(s, s);
    let tail = polynomial(b, z, &POW_LOG_F64);
    let fourth = b.mul(z, z);
    let r = b.mul(fourth, tail);
    let both = b.add(s_high, s);
    let correction = b.mul(s_low, both);
    let r = b.add(r, correction);
    let z_high = b.mul(s_high, s_high);
    let bracket = add_const(b, z_high, 3.0);
    let bracket = b.add(bracket, r);
    let bracket_high = upper_bits(b, bracket);
    let bracket_low = add_const(b, bracket_high, -3.0);
    let bracket_low = b.sub(bracket_low, z_high);
    let bracket_low = b.sub(r, bracket_low);
    let main = b.mul(s_high, bracket_high);
    let first = b.mul(s_low, bracket_high);
    let second = b.mul(bracket_low, s);
    let rest = b.add(first, second);
    let product = b.add(main, rest);
    let product_high = upper_bits(b, product);
    let product_low = b.sub(product_high, main);
    let product_low = b.sub(rest, product_low);

    // Times 2/(3 ln 2), plus the logarithm of the reference, plus n.
    let factor = TWO_THIRDS_OF_LOG2_E[0] + TWO_THIRDS_OF_LOG2_E[1];
    let scaled_high = mul_const(b, product_high, TWO_THIRDS_OF_LOG2_E[0]);
    let first = mul_const(b, product_high, TWO_THIRDS_OF_LOG2_E[1]);
    let second = mul_const(b, product_low, factor);
    let scaled_low = b.add(first, second);
    let scaled_low = b.add(scaled_low, reference_low);
    let total = b.add(scaled_high, scaled_low);
    let total = b.add(total, reference_high);
    let total = b.add(total, n);
    let high = upper_bits(b, total);
    let low = b.sub(high, n);
    let low = b.sub(low, reference_high);
    let low = b.sub(low, scaled_high);
    (high, b.sub(scaled_low, low))
}

/// 2^(high + low) for |high| ≤ 1100.
fn exp2_of_two_parts(b: &mut Builder, high: Reg, low: Reg) -> Reg {
    let sum = b.add(high, low);
    let (n, _) = nearest_multiple(b, sum, 1.0);
    let high = b.sub(high, n);
    let sum = b.add(high, low);
    let t = upper_bits(b, sum);
    let rest = b.sub(t, high);
    let rest = b.sub(low, rest);
    let main = mul_const(b, t, LN_2_SHORT[0]);
    let first = mul_const(b, rest, LN_2);
    let second = mul_const(b, t, LN_2_SHORT[1]);
    let small = b.add(first, second);
    let r = b.add(main, small);
    let kept = b.sub(r, main);
    let lost = b.sub(small, kept);
    // exp(r + lost) = 1 + (r + (r²·tail + lost·(1 + r))).
    let tail = polynomial(b, r, &EXP_F64);
    let square = b.mul(r, r);
    let lost = b.fma(lost, r, lost);
    let rest = b.fma(square, tail, lost);
    let rest = b.add(r, rest);
    let value = add_const(b, rest, 1.0);
    b.scale(value, n)
}
