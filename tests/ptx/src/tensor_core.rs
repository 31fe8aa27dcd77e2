//! How tensor cores add: products are exact and, with the accumulator, cut off below a place that depends on the largest of them, added,
//! and cut off once more to the width of the result.
//!
//! Source: Xie et al., "MMA-Sim: Bit-Accurate Reference Model of Tensor Cores and Matrix Cores", arXiv 2511.10909; what it says of Hopper is
//! what the goldens of `tests/goldens.rs` confirm. Other generations keep other numbers of bits.

use crate::matrix::Accumulator;
use crate::numbers::{F16, F32, Format, Rounding, f32_bits};

/// The exponent of what is not finite: that of a product with it stays beyond [`LARGE`], even with a zero.
const ODD: i16 = 12_000;
const LARGE: i16 = 2000;
/// The exponent of zeros, so low that a zero never is the largest.
const ZERO: i16 = -8192;
/// The least exponent that sums are cut off for.
const LEAST: i16 = -126;

/// The exponent of the leading bit of a value, or of the least normal number of its format.
fn exponent(value: f64, format: Format) -> i16 {
    match (value.to_bits() >> 52 & 0x7ff) as i32 - 1023 {
        1024 => ODD,
        -1023 => ZERO,
        e => e.max(format.least()) as i16,
    }
}

/// Powers of two between the exponents of normal numbers.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The largest exponent of a product.
fn largest_sum((a, b): (&[i16], &[i16])) -> i16 {
    // Sixteen at a time, which compilers make one operation of.
    let of = |a: &[i16; 16], b: &[i16; 16]| (0..16).map(|i| a[i] + b[i]).fold(i16::MIN, i16::max);
    let ((wide, rest), (other, more)) = (a.as_chunks(), b.as_chunks());
    let wide = wide.iter().zip(other).map(|(a, b)| of(a, b)).fold(i16::MIN, i16::max);
    rest.iter().zip(more).map(|(x, y)| x + y).fold(wide, i16::max)
}

/// The sum of products in units of 1 / `scale`, each cut off.
fn sum_of_cut((a, b): (&[f64], &[f64]), scale: f64) -> i64 {
    let cut = |x: f64, y: f64| i64::from((x * y * scale) as i32);
    let of = |a: &[f64; 8], b: &[f64; 8]| (0..8).map(|i| cut(a[i], b[i])).sum::<i64>();
    let ((wide, rest), (other, more)) = (a.as_chunks(), b.as_chunks());
    let wide: i64 = wide.iter().zip(other).map(|(a, b)| of(a, b)).sum();
    rest.iter().zip(more).fold(wide, |sum, (x, y)| sum + cut(*x, *y))
}

/// The sums of one instruction.
#[derive(Clone, Copy)]
pub(crate) struct Adder {
    /// Bits that are kept below the exponent of the largest product.
    kept: i32,
    to: Accumulator,
    /// Bits of mantissa that a single-precision result does not keep.
    dropped: u32,
}

impl Adder {
    /// `narrow`: of 8-bit floats in `wgmma`, whose sums have 13 bits behind the point.
    pub(crate) fn new(to: Accumulator, narrow: bool) -> Adder {
        let (kept, dropped) = if narrow { (13, 10) } else { (25, 0) };
        Adder { kept, to, dropped }
    }

    /// The exponents of factors.
    pub(crate) fn exponents(format: Format, values: &[f64]) -> Vec<i16> {
        values.iter().map(|v| exponent(*v, format)).collect()
    }

    /// The bits of `c + Σ aᵢbᵢ`, with the exponents of the factors.
    pub(crate) fn sum(&self, (a, b): (&[f64], &[f64]), exponents: (&[i16], &[i16]), c: f64) -> u64 {
        let format = if self.to == Accumulator::F16 { F16 } else { F32 };
        let first = exponent(c, format).max(LEAST);
        let largest = first.max(largest_sum(exponents));
        if largest >= LARGE {
            // Not finite, or a NaN: as the rules of arithmetic say.
            let sum: f64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
            return self.to.bits(c + sum, false);
        }
        // Every term is below 2²⁷ in units of the last place that is kept.
        let scale = power(self.kept - i32::from(largest));
        let sum = i64::from((c * scale) as i32) + sum_of_cut((a, b), scale);
        let value = sum as f64 * power(i32::from(largest) - self.kept);
        if self.to == Accumulator::F16 {
            return F16.encode(value, Rounding::Nearest, false);
        }
        let nearest = value as f32;
        let beyond = f64::from(nearest).abs() > value.abs() && value.abs() < power(128 - 1) * 2.0;
        let bits = f32_bits(nearest) - u64::from(beyond);
        if bits & 0x7f80_0000 == 0x7f80_0000 { bits } else { bits >> self.dropped << self.dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &[f64], b: &[f64], c: f64, narrow: bool) -> f32 {
        let exponents = [a, b].map(|v| Adder::exponents(F16, v));
        f32::from_bits(Adder::new(Accumulator::F32, narrow).sum((a, b), (&exponents[0], &exponents[1]), c) as u32)
    }

    #[test]
    fn small_terms_are_cut_off() {
        let last = 2f64.powi(-12);
        // 2⁻²⁴ is one of the 25 bits that are kept, and two of them are a bit of the result; 2⁻²⁶ is not kept, however many there are.
        assert_eq!(sum(&[last, last], &[last, last], 1.0, false), 1.0 + 2f32.powi(-23));
        assert_eq!(sum(&[last], &[last], 1.0, false), 1.0);
        assert_eq!(sum(&[last / 2.0; 16], &[last / 2.0; 16], 1.0, false), 1.0);
        assert_eq!(sum(&[last], &[last], -1.0, false), -1.0 + 2f32.powi(-24), "the difference has room for all its bits");
        assert_eq!(sum(&[1.0], &[1.0 + 2f64.powi(-10)], 1024.0, true), 1025.0, "13 bits of the sum");
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        assert_eq!(sum(&[f64::INFINITY, 1.0], &[1.0, 1.0], 0.0, false), f32::INFINITY);
        assert!(sum(&[f64::INFINITY, 1.0], &[0.0, 1.0], 0.0, false).is_nan());
        assert!(sum(&[f64::INFINITY], &[-1.0], f64::INFINITY, false).is_nan());
        assert_eq!(sum(&[1.0], &[1.0], f64::NEG_INFINITY, false), f32::NEG_INFINITY);
    }
}
