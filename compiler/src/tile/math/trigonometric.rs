//! sin, cos and tan: x = n·π/2 + r with |r| ≤ π/4, then a polynomial of r chosen by n modulo 4.

use super::coefficients::{COS_F32, COS_F64, HALF_PI_THIRDS, SIN_F32, SIN_F64};
use super::huge_angle::huge_angles;
use super::{add_const, fma_const, mul_const, nearest_multiple, polynomial, through_f64, unless_tiny};
use crate::tile::builder::Builder;
use crate::tile::float_bits::integer_of;
use crate::tile::ir::Reg;
use crate::tile::types::Lane;
use std::f64::consts::FRAC_2_PI;

/// An angle as `high + low` within ±π/4 of a multiple of π/2, and that multiple (its low two bits count).
pub(super) struct Reduced {
    pub(super) high: Reg,
    pub(super) low: Reg,
    pub(super) quadrant: Reg,
}

/// Below this magnitude n has at most 20 bits, so that its products with 33-bit parts of π/2 are exact.
const HUGE: f64 = 1_000_000.0;

/// Reduces F64 angles. The fast path is straight-line; a branch serves vectors that hold a huge angle.
fn reduce(b: &mut Builder, x: Reg) -> Reduced {
    let fast = reduce_moderate(b, x);
    let magnitude = b.abs(x);
    let limit = b.float(x.ty, HUGE);
    let is_huge = b.ge(magnitude, limit);
    let (one, zero) = (b.float(x.ty, 1.0), b.float(x.ty, 0.0));
    let count = b.select(is_huge, one, zero);
    let any = b.reduce_lanes(count, |b, x, y| b.max_or_second(x, y));
    let zero = b.float(any.ty, 0.0);
    let any = b.gt(any, zero);
    let chosen = b.if_else(
        any,
        |b| {
            let slow = huge_angles(b, x);
            vec![
                b.select(is_huge, slow.high, fast.high),
                b.select(is_huge, slow.low, fast.low),
                b.select(is_huge, slow.quadrant, fast.quadrant),
            ]
        },
        |_| vec![fast.high, fast.low, fast.quadrant],
    );
    Reduced { high: chosen[0], low: chosen[1], quadrant: chosen[2] }
}

/// Cody and Waite: π/2 in three parts, keeping what each subtraction rounds away.
fn reduce_moderate(b: &mut Builder, x: Reg) -> Reduced {
    let (n, sum) = nearest_multiple(b, x, FRAC_2_PI);
    let quadrant = integer_of(b, sum);
    // Exact: the product has 53 bits, and the difference cancels.
    let first = fma_const(b, n, -HALF_PI_THIRDS[0], x);
    let product = mul_const(b, n, HALF_PI_THIRDS[1]);
    let difference = b.sub(first, product);
    // Knuth's two-sum of `first` and −`product`.
    let subtracted = b.sub(first, difference);
    let kept = b.add(difference, subtracted);
    let of_first = b.sub(first, kept);
    let of_product = b.sub(subtracted, product);
    let lost = b.add(of_first, of_product);
    let rest = fma_const(b, n, -HALF_PI_THIRDS[2], lost);
    let high = b.add(difference, rest);
    // And of `difference` and `rest`, either of which may be the larger.
    let added = b.sub(high, difference);
    let kept = b.sub(high, added);
    let of_difference = b.sub(difference, kept);
    let of_rest = b.sub(rest, added);
    let low = b.add(of_difference, of_rest);
    Reduced { high, low, quadrant }
}

/// Sine and cosine of the reduced angle (lanes of `lane`), and the quadrant as integers of the same width.
fn of_reduced(b: &mut Builder, angle: &Reduced, lane: Lane) -> (Reg, Reg, Reg) {
    if lane == Lane::F32 {
        let r = b.float_to_float(angle.high, Lane::F32);
        let z = b.mul(r, r);
        let tail = polynomial(b, z, &SIN_F32);
        let cube = b.mul(z, r);
        let sine = b.fma(cube, tail, r);
        let tail = polynomial(b, z, &COS_F32);
        let fourth = b.mul(z, z);
        let rest = b.mul(fourth, tail);
        let rest = fma_const(b, z, -0.5, rest);
        let cosine = add_const(b, rest, 1.0);
        let quadrant = b.wrap(angle.quadrant, Lane::I32);
        return (sine, cosine, quadrant);
    }
    // Arranged as in Sun's fdlibm (k_sin.c, k_cos.c): the low part enters to first order.
    let (r, low) = (angle.high, angle.low);
    let z = b.mul(r, r);
    let tail = polynomial(b, z, &SIN_F64);
    let cube = b.mul(z, r);
    let half_low = mul_const(b, low, -0.5);
    let first_order = b.fma(z, half_low, low);
    let rest = b.fma(cube, tail, first_order);
    let sine = b.add(r, rest);

    let tail = polynomial(b, z, &COS_F64);
    let half_z = mul_const(b, z, 0.5);
    let one = b.float(r.ty, 1.0);
    let main = b.sub(one, half_z);
    let rounded = b.sub(one, main);
    let rounded = b.sub(rounded, half_z);
    let cross = b.mul(r, low);
    let fourth = b.mul(z, z);
    let rest = b.mul(fourth, tail);
    let rest = b.sub(rest, cross);
    let rest = b.add(rounded, rest);
    (sine, b.add(main, rest), angle.quadrant)
}

/// sin or cos of F32 or F64 lanes: the angle is reduced in F64, F32's polynomials are evaluated in F32.
fn wave(b: &mut Builder, x: Reg, quadrants_ahead: i64) -> Reg {
    let lane = x.ty.lane;
    let wide = match lane {
        Lane::F32 => b.float_to_float(x, Lane::F64),
        _ => x,
    };
    let angle = reduce(b, wide);
    let (sine, cosine, quadrant) = of_reduced(b, &angle, lane);
    let quadrant = b.add_int(quadrant, quadrants_ahead);
    let (odd, _) = odd_quadrant(b, quadrant);
    let value = b.select(odd, cosine, sine);
    // Quadrants 2 and 3 change the sign.
    let two = b.int(quadrant.ty, 2);
    let sign = b.and(quadrant, two);
    let up = b.int(quadrant.ty, i64::from(quadrant.ty.lane.bits()) - 2);
    let sign = b.shl(sign, up);
    let bits = b.bitcast(value, quadrant.ty.lane);
    let bits = b.xor(bits, sign);
    b.bitcast(bits, lane)
}

fn odd_quadrant(b: &mut Builder, quadrant: Reg) -> (Reg, Reg) {
    let one = b.int(quadrant.ty, 1);
    let low_bit = b.and(quadrant, one);
    (b.eq(low_bit, one), low_bit)
}

/// Sine.
pub fn sin(b: &mut Builder, x: Reg) -> Reg {
    let value = wave(b, x, 0);
    unless_tiny(b, x, tiny(x.ty.lane), value)
}

/// Cosine.
pub fn cos(b: &mut Builder, x: Reg) -> Reg {
    wave(b, x, 1)
}

/// Tangent: sin/cos, or −cos/sin in odd quadrants.
pub fn tan(b: &mut Builder, x: Reg) -> Reg {
    let value = through_f64(b, x, |b, x| {
        let angle = reduce(b, x);
        let (sine, cosine, quadrant) = of_reduced(b, &angle, Lane::F64);
        let (odd, low_bit) = odd_quadrant(b, quadrant);
        let above = b.select(odd, cosine, sine);
        let below = b.select(odd, sine, cosine);
        let value = b.div(above, below);
        let up = b.int(low_bit.ty, 63);
        let sign = b.shl(low_bit, up);
        let bits = b.bitcast(value, Lane::I64);
        let bits = b.xor(bits, sign);
        b.bitcast(bits, Lane::F64)
    });
    unless_tiny(b, x, tiny(x.ty.lane), value)
}

/// Below it sin x and tan x round to x.
fn tiny(lane: Lane) -> f64 {
    match lane {
        Lane::F32 => 2f64.powi(-13),
        _ => 2f64.powi(-27),
    }
}
