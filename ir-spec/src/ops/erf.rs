//! `erf`: the error function.   y = 2/√π · ∫₀ˣ exp(−t²) dt
//!
//! Shapes: `x: [..]` → same.   ±∞ gives ±1; −0 stays.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: Abramowitz & Stegun 1964, 7.1.6 (series) and 7.1.14 (continued fraction).

use super::elementwise::unary;
use std::f64::consts::FRAC_2_SQRT_PI;

unary! {
    Erf, "erf", on(Float), float(erf);
    gradient(|b, x, _, dy| {
        let square = b.mul(x, x);
        let negative = b.neg(square);
        let (bell, scale) = (b.exp(negative), b.like(x, FRAC_2_SQRT_PI));
        let slope = b.mul(scale, bell);
        b.mul(dy, slope)
    }),
}

/// The error function within a few units in the last place of `f64`.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() || x == 0.0 {
        x
    } else if a < 2.0 {
        // 2/√π · e^(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (1·3·…·(2n+1)): all terms have one sign, so nothing cancels.
        let (mut sum, mut term, mut n) = (x, x, 0.0);
        while term.abs() > sum.abs() * 1e-18 {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        // Tiny arguments: 2/√π·x may round, but must not vanish.
        FRAC_2_SQRT_PI * bell(x) * sum
    } else if a < 6.0 {
        // 1 − e^(−x²)/√π · 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + …)))), evaluated from the inside.
        let fraction = (1..=120).rev().fold(a, |below, k| a + f64::from(k) / 2.0 / below);
        (1.0 - bell(x) * FRAC_2_SQRT_PI / 2.0 / fraction).copysign(x)
    } else {
        1f64.copysign(x)
    }
}

/// e^(−x²), without the error that rounding x² would bring.
fn bell(x: f64) -> f64 {
    let square = x * x;
    let rest = x.mul_add(x, -square);
    (-square).exp() * (1.0 - rest)
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn known_values() {
        // Abramowitz & Stegun, table 7.1; and across the seam between series and fraction.
        for (x, y) in
            [(0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9), (2.0, 0.995_322_265_018_952_7), (3.5, 0.999_999_256_901_627_7)]
        {
            assert!((erf(x) - y).abs() < 3e-16, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert!((erf(2.0 - 1e-15) - erf(2.0)).abs() < 3e-16);
        assert_eq!(erf(f64::INFINITY), 1.0);
        assert_eq!(erf(f64::MIN_POSITIVE), f64::MIN_POSITIVE * std::f64::consts::FRAC_2_SQRT_PI);
    }
}
