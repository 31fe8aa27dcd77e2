//! How far the results of compiled code may be from the reference interpreter's: one table, by operator.

use crate::compare::{Tolerance, difference};
use kiln_ir::ops::{CumulativeKind, ReduceKind, ScatterElements, ScatterNd, ScatterReduction, WindowKind};
use kiln_ir::{DType, Op, Tensor};

/// How far results may be apart.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// Every bit, signs of zeros included; NaN is NaN.
    Exact,
    /// That many representable numbers of the type.
    Ulps(u64),
    /// The forward error of any order of summation, `terms · ε · Σ|terms|`.
    Sum {
        /// How many terms a result sums.
        terms: usize,
    },
    /// A product of so many factors: each brings one factor (1 + δ).
    Product {
        /// How many factors a result multiplies.
        factors: usize,
    },
    /// A composite: several rounded steps in one order or another.
    Composite,
}

/// The bound for an operator's results of that type, given its operands.
pub fn bound(op: &Op, dtype: DType, operands: &[Tensor]) -> Bound {
    if !dtype.is_float() {
        return if matches!(op, Op::Resize(_)) { Bound::Composite } else { Bound::Exact };
    }
    // The largest errors that vector mathematics allows itself, rounded up, and half a unit of the reference's own rounding; f64's
    // reference is the C library, within one unit. 16-bit results are rounded twice, hence may be neighbours.
    let ulps = |f32: u64, f64: u64| match dtype {
        DType::F32 => Bound::Ulps(f32),
        DType::F64 => Bound::Ulps(f64),
        _ => Bound::Ulps(1),
    };
    let size = |operand: usize, axes: &[usize]| axes.iter().map(|a| operands[operand].shape()[*a]).product();
    match op {
        Op::Exp(_) => ulps(2, 2),
        Op::Log(_) | Op::Log1p(_) => ulps(2, 2),
        Op::Erf(_) => ulps(2, 4),
        Op::Expm1(_) => ulps(3, 3),
        Op::Tanh(_) => ulps(3, 4),
        Op::Sin(_) | Op::Cos(_) => ulps(3, 2),
        Op::Tan(_) | Op::Asin(_) | Op::Acos(_) | Op::Atan(_) | Op::Sinh(_) | Op::Cosh(_) | Op::Asinh(_) | Op::Acosh(_) | Op::Atanh(_) => {
            ulps(1, 3)
        }
        Op::Pow(_) => ulps(1, 3),
        Op::Reduce(reduce) => match reduce.kind {
            ReduceKind::Sum => Bound::Sum { terms: size(0, &reduce.axes) },
            ReduceKind::Prod => Bound::Product { factors: size(0, &reduce.axes) },
            ReduceKind::Max | ReduceKind::Min | ReduceKind::And | ReduceKind::Or => Bound::Exact,
        },
        Op::WindowReduce(window) if window.kind == WindowKind::Sum => Bound::Sum { terms: operands[0].elements() },
        Op::Dot(dot) => Bound::Sum { terms: size(0, &dot.a_contract) },
        Op::Conv(_) => Bound::Sum { terms: operands[1].elements() / operands[1].shape()[0].max(1) },
        Op::Cumulative(cumulative) => match cumulative.kind {
            CumulativeKind::Sum => Bound::Sum { terms: size(0, &[cumulative.axis]) },
            CumulativeKind::Prod => Bound::Product { factors: size(0, &[cumulative.axis]) },
        },
        Op::ScatterElements(ScatterElements { reduction, .. }) | Op::ScatterNd(ScatterNd { reduction }) => match reduction {
            ScatterReduction::Add => Bound::Sum { terms: operands[2].elements() + 1 },
            ScatterReduction::Mul => Bound::Product { factors: operands[2].elements() + 1 },
            ScatterReduction::None | ScatterReduction::Max | ScatterReduction::Min => Bound::Exact,
        },
        _ if crate::instances::is_composite(op, operands) => Bound::Composite,
        _ => Bound::Exact,
    }
}

/// The first difference beyond the bound, in words.
pub fn beyond(op: &Op, operands: &[Tensor], result: usize, found: &Tensor, expected: &Tensor) -> Option<String> {
    let bound = bound(op, expected.dtype(), operands);
    if found.ty() != expected.ty() {
        return Some(format!("found {}, expected {}", found.ty(), expected.ty()));
    }
    if found.bytes() == expected.bytes() {
        return None;
    }
    let dtype = expected.dtype();
    match bound {
        Bound::Composite => difference(found, expected, Tolerance::of_composite(op, dtype)),
        Bound::Exact if !dtype.is_float() => difference(found, expected, Tolerance::EXACT),
        Bound::Exact => first(found, expected, |_, a, b| a.to_bits() == b.to_bits()),
        Bound::Ulps(most) => first(found, expected, |_, a, b| a == b || ulps_apart(dtype, a, b) <= most),
        Bound::Sum { terms } => {
            let sums = of_magnitudes(op, operands, result, f64::abs);
            let allowed = |at: usize| (terms + 1) as f64 * epsilon(dtype) * sums[at];
            // Where the sum of magnitudes overflows, whether a sum does depends on its order.
            first(found, expected, |at, a, b| a == b || (a - b).abs() <= allowed(at) || sums[at].is_infinite())
        }
        Bound::Product { factors } => {
            // Where the large factors alone overflow, or the small ones underflow, the order decides what is left.
            let large = of_magnitudes(op, operands, result, |v| v.abs().max(1.0));
            let small = of_magnitudes(op, operands, result, |v| if v == 0.0 { 1.0 } else { v.abs().min(1.0) });
            let normal = smallest_normal(dtype);
            let unordered = |at: usize| large[at].is_infinite() || small[at] < normal;
            first(found, expected, |at, a, b| a == b || ulps_apart(dtype, a, b) <= factors as u64 || unordered(at))
        }
    }
}

fn first(found: &Tensor, expected: &Tensor, close: impl Fn(usize, f64, f64) -> bool) -> Option<String> {
    let (a, b) = (found.floats(), expected.floats());
    let both_nan = |i: usize| a[i].is_nan() && b[i].is_nan();
    let at = (0..a.len()).find(|&i| !both_nan(i) && !close(i, a[i], b[i]))?;
    Some(format!("element {at}: found {:e}, expected {:e}", a[at], b[at]))
}

/// The operator on `f` of its floating operands: Σ|terms| of each result when that is the magnitude.
fn of_magnitudes(op: &Op, operands: &[Tensor], result: usize, f: impl Fn(f64) -> f64) -> Vec<f64> {
    let magnitude = |x: &Tensor| match x.dtype().is_float() {
        true => Tensor::from_floats(x.dtype(), x.shape().to_vec(), x.floats().into_iter().map(&f)),
        false => x.clone(),
    };
    let operands: Vec<Tensor> = operands.iter().map(magnitude).collect();
    op.eval(&operands).unwrap_or_else(|error| panic!("magnitudes of {}: {error}", op.name()))[result].floats()
}

fn smallest_normal(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-14),
        DType::BF16 | DType::F32 => f64::from(f32::MIN_POSITIVE),
        _ => f64::MIN_POSITIVE,
    }
}

/// The distance of 1 to the next number.
fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        DType::F32 => f64::from(f32::EPSILON),
        _ => f64::EPSILON,
    }
}

/// How many representable numbers of the type two values are apart; infinity follows the greatest finite one.
fn ulps_apart(dtype: DType, a: f64, b: f64) -> u64 {
    if a.is_nan() || b.is_nan() {
        return u64::MAX;
    }
    let magnitude = |v: f64| match dtype {
        DType::F16 => i128::from(half::f16::from_f64(v).to_bits()),
        DType::BF16 => i128::from(half::bf16::from_f64(v).to_bits()),
        DType::F32 => i128::from((v as f32).to_bits()),
        _ => i128::from(v.to_bits()),
    };
    let place = |v: f64| if v.is_sign_negative() { -magnitude(-v) } else { magnitude(v) };
    u64::try_from(place(a).abs_diff(place(b))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_apart() {
        assert_eq!(ulps_apart(DType::F32, 1.0, 1.0 + f64::from(f32::EPSILON)), 1);
        assert_eq!(ulps_apart(DType::F64, f64::MAX, f64::INFINITY), 1);
        assert_eq!(ulps_apart(DType::F16, -2f64.powi(-24), 2f64.powi(-24)), 2);
        assert_eq!(ulps_apart(DType::F32, 0.0, -0.0), 0);
        assert_eq!(ulps_apart(DType::F32, f64::NAN, f64::NAN), u64::MAX);
    }
}
