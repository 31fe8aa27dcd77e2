//! How far two tensors are apart.

use kiln_ir::{DType, Tensor};
use serde::Serialize;

/// How far apart values may be: `|got − expected| ≤ absolute + relative · |expected|`. Integers and truth values must be equal.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tolerance {
    /// Factor on the expected value.
    pub relative: f64,
    /// Added to it.
    pub absolute: f64,
}

/// How one output differs from what was expected.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    /// Largest absolute difference where both are finite.
    pub max_absolute: f64,
    /// Largest difference relative to the expected value, where that is not 0.
    pub max_relative: f64,
    /// Largest distance in representable numbers of the type; 0 for integers.
    pub max_ulp: u64,
    /// Elements outside the tolerance.
    pub outside: usize,
    /// Elements.
    pub elements: usize,
    /// The first element outside.
    pub first: Option<Difference>,
}

/// One element that differs.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Its index.
    pub index: Vec<usize>,
    /// As text, since JSON has no NaN.
    pub expected: String,
    /// As text.
    pub got: String,
}

/// Compares element by element. NaN equals NaN, an infinity equals itself.
///
/// Errors: a text when types or shapes differ.
pub fn compare(expected: &Tensor, got: &Tensor, tolerance: Tolerance) -> Result<Agreement, String> {
    if expected.ty() != got.ty() {
        return Err(format!("expected {}, got {}", expected.ty(), got.ty()));
    }
    let mut agreement =
        Agreement { max_absolute: 0.0, max_relative: 0.0, max_ulp: 0, outside: 0, elements: expected.elements(), first: None };
    if expected.bytes() == got.bytes() {
        return Ok(agreement);
    }
    if expected.dtype().is_float() {
        for (position, (e, g)) in expected.floats().into_iter().zip(got.floats()).enumerate() {
            // The tolerance around an infinity would contain everything.
            let near = e.is_finite() && (g - e).abs() <= tolerance.absolute + tolerance.relative * e.abs();
            let inside = e == g || (e.is_nan() && g.is_nan()) || near;
            if !inside {
                agreement.note(expected, position, format!("{e:?}"), format!("{g:?}"));
            }
            if e.is_finite() && g.is_finite() && e != g {
                let difference = (g - e).abs();
                agreement.max_absolute = agreement.max_absolute.max(difference);
                if e != 0.0 {
                    agreement.max_relative = agreement.max_relative.max(difference / e.abs());
                }
                agreement.max_ulp = agreement.max_ulp.max(ulp_distance(expected.dtype(), e, g));
            }
        }
    } else {
        for (position, (e, g)) in expected.ints().into_iter().zip(got.ints()).enumerate().filter(|(_, (e, g))| e != g) {
            agreement.note(expected, position, e.to_string(), g.to_string());
            let difference = (g - e).unsigned_abs() as f64;
            agreement.max_absolute = agreement.max_absolute.max(difference);
            if e != 0 {
                agreement.max_relative = agreement.max_relative.max(difference / e.unsigned_abs() as f64);
            }
        }
    }
    Ok(agreement)
}

impl Agreement {
    /// True if every element is inside the tolerance.
    pub fn holds(&self) -> bool {
        self.outside == 0
    }

    fn note(&mut self, tensor: &Tensor, position: usize, expected: String, got: String) {
        self.outside += 1;
        if self.first.is_none() {
            self.first = Some(Difference { index: tensor.index_of(position), expected, got });
        }
    }

    /// `[0, 3]: expected 1.5, got 1.25 (1 of 12 elements differ, at most by 0.25)`.
    pub fn text(&self) -> String {
        let Some(Difference { index, expected, got }) = &self.first else { return "equal within the tolerance".to_string() };
        let count = format!("{} of {} elements differ", self.outside, self.elements);
        format!("{index:?}: expected {expected}, got {got} ({count}, at most by {:.3e})", self.max_absolute)
    }
}

/// How many representable numbers of the type lie between two finite values of it.
fn ulp_distance(dtype: DType, a: f64, b: f64) -> u64 {
    let ordered = |sign: bool, magnitude: u64| if sign { -(magnitude as i128) } else { magnitude as i128 };
    let place = |v: f64| match dtype {
        DType::F16 => ordered(v.is_sign_negative(), u64::from(half::f16::from_f64(v).to_bits() & 0x7fff)),
        DType::BF16 => ordered(v.is_sign_negative(), u64::from(half::bf16::from_f64(v).to_bits() & 0x7fff)),
        DType::F32 => ordered(v.is_sign_negative(), u64::from((v as f32).to_bits() & 0x7fff_ffff)),
        DType::F64 => ordered(v.is_sign_negative(), v.to_bits() & (u64::MAX >> 1)),
        _ => 0,
    };
    u64::try_from((place(a) - place(b)).unsigned_abs()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { relative: 1e-3, absolute: 1e-7 };

    #[test]
    fn special_values_equal_themselves_only() {
        let special = Tensor::f32(&[4], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0]);
        let same = Tensor::f32(&[4], &[-f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0]);
        assert!(compare(&special, &same, TOLERANCE).expect("same type").holds());
        let other = Tensor::f32(&[4], &[0.0, f32::NEG_INFINITY, f32::MAX, f32::NAN]);
        let agreement = compare(&special, &other, TOLERANCE).expect("same type");
        assert_eq!(agreement.outside, 4);
        assert_eq!(compare(&other, &special, TOLERANCE).expect("same type").outside, 4);
    }

    #[test]
    fn differences_are_measured_and_placed() {
        let (a, b) = (Tensor::f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), Tensor::f32(&[2, 2], &[1.0, 2.0, 3.0000002, 5.0]));
        let agreement = compare(&a, &b, TOLERANCE).expect("same type");
        assert_eq!(agreement.text(), "[1, 1]: expected 4.0, got 5.0 (1 of 4 elements differ, at most by 1.000e0)");
        assert_eq!(agreement.max_ulp, 1 << 21);
        assert_eq!(ulp_distance(DType::F32, f64::from(f32::from_bits(1)), -f64::from(f32::from_bits(1))), 2);
    }

    #[test]
    fn integers_are_equal_or_not() {
        let (a, b) = (Tensor::i64(&[1], &[1_000_000]), Tensor::i64(&[1], &[1_000_001]));
        assert!(!compare(&a, &b, TOLERANCE).expect("same type").holds());
        assert!(compare(&a, &Tensor::i64(&[1, 1], &[1]), TOLERANCE).is_err());
    }
}
