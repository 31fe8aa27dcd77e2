//! Compares tensors, and the one table of tolerances.

use kiln_ir::{DType, Op, Tensor};

/// How far results may be apart: |a − b| ≤ absolute + relative · |b|.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Allowed difference near zero.
    pub absolute: f64,
    /// Allowed difference relative to the expected value.
    pub relative: f64,
}

impl Tolerance {
    /// Every bit but NaN payloads.
    pub const EXACT: Tolerance = Tolerance { absolute: 0.0, relative: 0.0 };

    /// An expansion rounds at each step, in f32 for 16-bit floats; a composite's own loops round once.
    pub fn of_expansion(dtype: DType) -> Tolerance {
        match dtype {
            // One rounding to the 16-bit type on top of errors in f32: neighbours at most.
            DType::F16 => Tolerance { absolute: 1e-5, relative: 2f64.powi(-10) },
            DType::BF16 => Tolerance { absolute: 1e-5, relative: 2f64.powi(-7) },
            // Sums of tens of terms of size up to 4 and functions of them.
            DType::F32 => Tolerance { absolute: 2e-5, relative: 2e-5 },
            DType::F64 => Tolerance { absolute: 1e-13, relative: 1e-13 },
            _ => Tolerance::EXACT,
        }
    }

    /// For an operator's expansion against its own loops. Interpolated integers may lie halfway between two.
    pub fn of_composite(op: &Op, dtype: DType) -> Tolerance {
        match op {
            Op::Resize(_) if dtype.is_int() => Tolerance { absolute: 1.0, relative: 0.0 },
            _ => Tolerance::of_expansion(dtype),
        }
    }
}

/// The largest difference of elements, infinite where one is no number, and the largest size of an expected element: sums that cancel
/// are as exact as the largest of their like.
pub fn farthest(found: &[f64], expected: &[f64]) -> (f64, f64) {
    assert_eq!(found.len(), expected.len(), "numbers of elements");
    let apart = found.iter().zip(expected).map(|(a, b)| if (a - b).is_nan() { f64::INFINITY } else { (a - b).abs() });
    (apart.fold(0.0, f64::max), expected.iter().map(|v| v.abs()).fold(0.0, f64::max))
}

/// The first difference beyond the tolerance, in words. NaN equals NaN; infinities equal themselves only.
pub fn difference(found: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Option<String> {
    if found.ty() != expected.ty() {
        return Some(format!("found {}, expected {}", found.ty(), expected.ty()));
    }
    if !found.dtype().is_float() {
        let (a, b) = (found.ints(), expected.ints());
        let apart = |a: &i128, b: &i128| a.abs_diff(*b) > tolerance.absolute as u128;
        return a.iter().zip(&b).position(|(a, b)| apart(a, b)).map(|i| format!("element {i}: found {}, expected {}", a[i], b[i]));
    }
    let (a, b) = (found.floats(), expected.floats());
    let close = |a: f64, b: f64| {
        let bound = tolerance.absolute + tolerance.relative * b.abs();
        (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= bound && bound.is_finite()
    };
    a.iter().zip(&b).position(|(a, b)| !close(*a, *b)).map(|i| format!("element {i}: found {:e}, expected {:e}", a[i], b[i]))
}
