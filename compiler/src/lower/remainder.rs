//! Floating remainder with the sign of the dividend, exact: C `fmod`.

use crate::tile::{Builder, Lane, Reg, Type};

/// `x − y·trunc(x/y)` without rounding, lane by lane. NaN for an infinite `x`, a zero `y` or a NaN; `x` itself for an infinite `y`.
///
/// One step per binary digit of the quotient, so usual operands take a few steps. f32 is computed in f64, which holds every result.
pub(super) fn remainder(b: &mut Builder, x: Reg, y: Reg) -> Reg {
    let count = x.ty.lanes;
    let mut result: Option<Reg> = None;
    for lane in 0..count {
        let (x, y) = (b.extract(x, lane), b.extract(y, lane));
        let value = match x.ty.lane {
            Lane::F64 => scalar(b, x, y),
            _ => {
                let (x, y) = (b.float_to_float(x, Lane::F64), b.float_to_float(y, Lane::F64));
                let wide = scalar(b, x, y);
                b.float_to_float(wide, Lane::F32)
            }
        };
        result = Some(match result {
            None => b.splat(value, count),
            Some(vector) => b.insert(vector, lane, value),
        });
    }
    result.unwrap_or(x)
}

/// An f64 above zero as `mantissa · 2^(exponent − 1075)` with 53 digits of mantissa.
fn split(b: &mut Builder, value: Reg) -> (Reg, Reg) {
    // Subnormals are scaled up first.
    let (least, scale) = (b.float(Type::F64, f64::MIN_POSITIVE), b.float(Type::F64, (1u64 << 54) as f64));
    let subnormal = b.lt(value, least);
    let scaled = b.mul(value, scale);
    let normal = b.select(subnormal, scaled, value);
    let bits = b.bitcast(normal, Lane::I64);
    let (places, fraction, implied) = (b.index(52), b.index((1 << 52) - 1), b.index(1 << 52));
    let exponent = b.shr_u(bits, places);
    let less = b.add_int(exponent, -54);
    let exponent = b.select(subnormal, less, exponent);
    let mantissa = b.and(bits, fraction);
    (b.or(mantissa, implied), exponent)
}

/// `2^power` for a normal power.
fn power_of_two(b: &mut Builder, power: Reg) -> Reg {
    let biased = b.add_int(power, 1023);
    let places = b.index(52);
    let bits = b.shl(biased, places);
    b.bitcast(bits, Lane::F64)
}

fn scalar(b: &mut Builder, x: Reg, y: Reg) -> Reg {
    let (size, divisor) = (b.abs(x), b.abs(y));
    let (infinity, zero) = (b.float(Type::F64, f64::INFINITY), b.float(Type::F64, 0.0));
    let finite = b.lt(size, infinity);
    let above = b.gt(divisor, zero);
    let is_defined = b.and(finite, above);
    let at_least = b.ge(size, divisor);
    let divides = b.and(is_defined, at_least);
    b.if_else(
        divides,
        |b| {
            let (dividend, high) = split(b, size);
            let (divisor, low) = split(b, divisor);
            let less_divisor = |b: &mut Builder, value: Reg| {
                let fits = b.ge(value, divisor);
                let less = b.sub(value, divisor);
                b.select(fits, less, value)
            };
            let (start, digits) = (b.index(0), b.sub(high, low));
            let left = b.loop_carrying(start, digits, 1, &[dividend], |b, _, left| {
                let left = less_divisor(b, left[0]);
                vec![b.add(left, left)]
            })[0];
            let left = less_divisor(b, left);
            // 2^(low − 1075) in two steps, as it may be subnormal; both products are exact.
            let power = b.add_int(low, -1075);
            let one = b.index(1);
            let half = b.shr_s(power, one);
            let other = b.sub(power, half);
            let (half, other) = (power_of_two(b, half), power_of_two(b, other));
            let mantissa = b.int_to_float_s(left, Lane::F64);
            let scaled = b.mul(mantissa, half);
            let value = b.mul(scaled, other);
            // The sign of the dividend, also on zero.
            let (bits, value) = (b.bitcast(x, Lane::I64), b.bitcast(value, Lane::I64));
            let sign = b.index(i64::MIN);
            let sign = b.and(bits, sign);
            let signed = b.or(value, sign);
            vec![b.bitcast(signed, Lane::F64)]
        },
        |b| {
            let nan = b.float(Type::F64, f64::NAN);
            // Below an infinite or larger divisor the dividend is its own remainder; a NaN divisor compares false.
            let smaller = b.lt(size, divisor);
            let same = b.and(finite, smaller);
            vec![b.select(same, x, nan)]
        },
    )[0]
}
