//! asin, acos and atan in F64.

use super::coefficients::{ASIN_F64, ATAN_F64, HALF_PI};
use super::{add_const, fma_const, mul_const, polynomial, through_f64, with_sign_of};
use crate::tile::builder::Builder;
use crate::tile::ir::Reg;
use std::f64::consts::SQRT_2;

/// asin|x| from one polynomial: of |x| below ½, and of √((1−|x|)/2) above, where asin|x| = π/2 − 2 asin √….
struct Arc {
    is_small: Reg,
    /// The polynomial's argument s and asin(s) − s.
    s: Reg,
    tail: Reg,
}

fn arc(b: &mut Builder, x: Reg) -> Arc {
    let magnitude = b.abs(x);
    let half = b.float(x.ty, 0.5);
    let is_small = b.lt(magnitude, half);
    let square = b.mul(x, x);
    let minus_half = b.float(x.ty, -0.5);
    let complement = b.fma(magnitude, minus_half, half);
    let z = b.select(is_small, square, complement);
    let root = b.sqrt(complement);
    let s = b.select(is_small, magnitude, root);
    let tail = polynomial(b, z, &ASIN_F64);
    let tail = b.mul(z, tail);
    let tail = b.mul(s, tail);
    Arc { is_small, s, tail }
}

/// Inverse sine; NaN outside [−1, 1].
pub fn asin(b: &mut Builder, x: Reg) -> Reg {
    through_f64(b, x, |b, x| {
        let arc = arc(b, x);
        let small = b.add(arc.s, arc.tail);
        // π/2 − 2s − 2·tail, smallest parts first.
        let two_tail = b.add(arc.tail, arc.tail);
        let rest = add_const(b, two_tail, -HALF_PI[1]);
        let two_s = b.add(arc.s, arc.s);
        let rest = b.add(two_s, rest);
        let half_pi = b.float(x.ty, HALF_PI[0]);
        let large = b.sub(half_pi, rest);
        let value = b.select(arc.is_small, small, large);
        with_sign_of(b, value, x)
    })
}

/// Inverse cosine; NaN outside [−1, 1].
pub fn acos(b: &mut Builder, x: Reg) -> Reg {
    through_f64(b, x, |b, x| {
        let arc = arc(b, x);
        let half_pi = b.float(x.ty, HALF_PI[0]);
        // Small: π/2 − (s + tail) with the sign of x.
        let tail = with_sign_of(b, arc.tail, x);
        let rest = add_const(b, tail, -HALF_PI[1]);
        let rest = b.add(x, rest);
        let small = b.sub(half_pi, rest);
        // Large: 2(s + tail), or π less that.
        let sum = b.add(arc.s, arc.tail);
        let positive = b.add(sum, sum);
        let rest = add_const(b, arc.tail, -HALF_PI[1]);
        let rest = b.add(arc.s, rest);
        let negative = b.sub(half_pi, rest);
        let negative = b.add(negative, negative);
        let zero = b.float(x.ty, 0.0);
        let is_negative = b.lt(x, zero);
        let large = b.select(is_negative, negative, positive);
        b.select(arc.is_small, small, large)
    })
}

/// Inverse tangent: |x| up to √2 − 1 as it is, up to √2 + 1 as π/4 + atan((|x|−1)/(|x|+1)), else
/// π/2 − atan(1/|x|); one division serves all.
pub fn atan(b: &mut Builder, x: Reg) -> Reg {
    through_f64(b, x, |b, x| {
        let magnitude = b.abs(x);
        let (one, zero) = (b.float(x.ty, 1.0), b.float(x.ty, 0.0));
        let minus_one = b.float(x.ty, -1.0);
        let (low, high) = (b.float(x.ty, SQRT_2 - 1.0), b.float(x.ty, SQRT_2 + 1.0));
        let is_low = b.lt(magnitude, low);
        let is_high = b.gt(magnitude, high);
        let (less, more) = (add_const(b, magnitude, -1.0), add_const(b, magnitude, 1.0));
        let pick = |b: &mut Builder, of_low: Reg, of_middle: Reg, of_high: Reg| {
            let value = b.select(is_low, of_low, of_middle);
            b.select(is_high, of_high, value)
        };
        let above = pick(b, magnitude, less, minus_one);
        let below = pick(b, one, more, magnitude);
        let t = b.div(above, below);
        // Multiples of π/4 that the reduction took away.
        let (half, whole) = (b.float(x.ty, 0.5), one);
        let quarters = pick(b, zero, half, whole);
        let z = b.mul(t, t);
        let tail = polynomial(b, z, &ATAN_F64);
        let tail = b.mul(z, tail);
        let rest = mul_const(b, quarters, HALF_PI[1]);
        let rest = b.fma(t, tail, rest);
        let value = b.add(t, rest);
        let value = fma_const(b, quarters, HALF_PI[0], value);
        with_sign_of(b, value, x)
    })
}
