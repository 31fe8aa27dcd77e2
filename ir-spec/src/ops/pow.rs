//! `pow`: power, element by element.   y = aᵇ
//!
//! Shapes: `a: [..]`, `b`: same → same.   Floats as C `pow`; integers wrap, a negative exponent gives 0 except for the bases 1 and −1.
//! Constraints: (C0) two operands. (C1) both of one numeric element type. (C2) same shape.
//! Source: IEEE 754-2019 §9.2.1, pow.

use super::elementwise::binary;

binary! {
    Pow, "pow", on(Number), float(f64::powf), int(|a, b, _| integer_power(a, b));
    gradient(|b, [p, q], y, dy| {
        // Where the base is not positive, the logarithm is undefined; the gradient by the exponent is taken as zero there.
        let (zero, one) = (b.like(p, 0.0), b.like(p, 1.0));
        let lowered = b.sub(q, one);
        let power = b.pow(p, lowered);
        let slope = b.mul(q, power);
        let (positive, logarithm) = (b.greater(p, zero), b.log(p));
        let product = b.mul(y, logarithm);
        let by_exponent = b.select(positive, product, zero);
        [b.mul(dy, slope), b.mul(dy, by_exponent)]
    }),
}

/// Repeated squaring modulo 2¹²⁸, of which every element type keeps the low bits.
fn integer_power(base: i128, exponent: i128) -> i128 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 => {
                if exponent % 2 == 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0,
        };
    }
    let (mut power, mut square, mut left) = (1i128, base, exponent);
    while left > 0 {
        if left % 2 == 1 {
            power = power.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        left /= 2;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;

    #[test]
    fn integers_wrap_and_negative_exponents_vanish() {
        let power = |a: i64, b: i64| {
            crate::Op::from(Pow {}).eval(&[Tensor::i64(&[], &[a]), Tensor::i64(&[], &[b])]).expect("it computes")[0].ints()[0]
        };
        assert_eq!([power(3, 4), power(0, 0), power(2, 63), power(2, 64)], [81, 1, i128::from(i64::MIN), 0]);
        assert_eq!([power(2, -1), power(1, -5), power(-1, -5), power(-1, -4), power(0, -1)], [0, 1, -1, 1, 0]);
    }
}
