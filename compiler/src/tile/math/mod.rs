//! Vector mathematics as tile code: straight-line, so that it vectorises, for F32 and F64 lanes of any count.
//!
//! Largest errors that the tests allow, in units in the last place (the smallest subnormal for subnormal
//! results), with fused multiply-add and without; F32 against the C library in F64, F64 against the C library
//! (itself within one unit), `erf` against 60-digit values:
//!
//! | function | F32 | F64 |
//! |---|---|---|
//! | `exp` | 1.1 | 1 |
//! | `log`, `log1p` | 1 | 1 |
//! | `erf` | 1.2 | 2 |
//! | `expm1` | 2 | 2 |
//! | `sigmoid`, `tanh` | 2.5 | 2, `tanh` 3 |
//! | `sin`, `cos` (any angle) | 1.6 | 1 |
//! | `tan`, `asin`, `acos`, `atan`, `sinh`, `cosh`, `asinh`, `acosh`, `atanh`, `pow` | 0.51 | 2 |
//!
//! Every function takes every input: NaN gives NaN (but `pow(1, y)` and `pow(x, 0)` are 1), infinities and
//! zeros give their limits with IEEE 754 signs, subnormals are kept, overflow and underflow are gradual.
//! Rarely used functions compute F32 in F64, which is simplest and nearly correctly rounded.

mod coefficients;
mod error_function;
mod exponential;
mod huge_angle;
mod inverse_trigonometric;
mod logarithm;
mod power;
#[cfg(test)]
mod tests;
mod trigonometric;

pub use error_function::{erf, erf_nearly, one_plus_erf};
pub use exponential::{cosh, exp, exp_to_zero, expm1, sigmoid, sinh, tanh};
pub use inverse_trigonometric::{acos, asin, atan};
pub use logarithm::{acosh, asinh, atanh, log, log1p};
pub use power::pow;
pub use trigonometric::{cos, sin, tan};

use super::builder::Builder;
use super::float_bits::round_magic;
use super::ir::Reg;
use super::types::Lane;

/// The polynomial with these coefficients, lowest power first, by Horner's rule.
fn polynomial(b: &mut Builder, x: Reg, coefficients: &[f64]) -> Reg {
    let (last, others) = coefficients.split_last().expect("a polynomial has coefficients");
    let mut sum = b.float(x.ty, *last);
    for coefficient in others.iter().rev() {
        let coefficient = b.float(x.ty, *coefficient);
        sum = b.fma(sum, x, coefficient);
    }
    sum
}

/// `a · b + c` with a constant `b`.
fn fma_const(b: &mut Builder, x: Reg, factor: f64, plus: Reg) -> Reg {
    let factor = b.float(x.ty, factor);
    b.fma(x, factor, plus)
}

/// `x + constant`.
fn add_const(b: &mut Builder, x: Reg, constant: f64) -> Reg {
    let constant = b.float(x.ty, constant);
    b.add(x, constant)
}

/// `x · constant`.
fn mul_const(b: &mut Builder, x: Reg, constant: f64) -> Reg {
    let constant = b.float(x.ty, constant);
    b.mul(x, constant)
}

/// `x`, at most `limit`; NaN stays.
fn at_most(b: &mut Builder, x: Reg, limit: f64) -> Reg {
    let limit = b.float(x.ty, limit);
    b.min_or_second(limit, x)
}

/// `x`, at least `limit`; NaN stays.
fn at_least(b: &mut Builder, x: Reg, limit: f64) -> Reg {
    let limit = b.float(x.ty, limit);
    b.max_or_second(limit, x)
}

/// `value` where `|x| ≥ limit` or NaN, else `x` itself: keeps signed zeros and subnormals of odd functions.
fn unless_tiny(b: &mut Builder, x: Reg, limit: f64, value: Reg) -> Reg {
    let magnitude = b.abs(x);
    let limit = b.float(x.ty, limit);
    let tiny = b.lt(magnitude, limit);
    b.select(tiny, x, value)
}

/// The magnitude of one, which is not negative, with the sign of the other.
fn with_sign_of(b: &mut Builder, magnitude: Reg, sign: Reg) -> Reg {
    let int = magnitude.ty.lane.same_width_int();
    let (bits, sign) = (b.bitcast(magnitude, int), b.bitcast(sign, int));
    let sign_bit = b.int(bits.ty, i64::MIN >> (64 - int.bits()));
    let sign = b.and(sign, sign_bit);
    let bits = b.or(bits, sign);
    b.bitcast(bits, magnitude.ty.lane)
}

/// `x` with the low 32 bits of its F64 lanes cleared.
fn upper_bits(b: &mut Builder, x: Reg) -> Reg {
    let bits = b.bitcast(x, Lane::I64);
    let mask = b.int(bits.ty, !0xffff_ffff);
    let bits = b.and(bits, mask);
    b.bitcast(bits, Lane::F64)
}

/// F32 lanes computed in F64; F64 lanes as they are.
fn through_f64(b: &mut Builder, x: Reg, f: impl Fn(&mut Builder, Reg) -> Reg) -> Reg {
    if x.ty.lane == Lane::F64 {
        return f(b, x);
    }
    let wide = b.float_to_float(x, Lane::F64);
    let value = f(b, wide);
    b.float_to_float(value, Lane::F32)
}

/// The nearest integer to `x · factor` as a float, and what [`integer_of`] makes integer lanes of; |x · factor| below 2^(p−2).
fn nearest_multiple(b: &mut Builder, x: Reg, factor: f64) -> (Reg, Reg) {
    let magic = b.float(x.ty, round_magic(x.ty.lane));
    let sum = fma_const(b, x, factor, magic);
    (b.sub(sum, magic), sum)
}
