//! `elu`: x, bent towards −alpha where it is negative.   y = x if x ≥ 0, else alpha·(exp(x) − 1)
//!
//! Shapes: `x: [..]` → same.   NaN stays NaN.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: Clevert et al. 2016; ONNX Elu.

use super::Gradient;
use super::activation::activation;
use super::expansion::scaled;
use crate::attr::Real;

activation! {
    Elu {
        /// Limit of the negative side, negated.
        alpha: Real,
    }, labels("elu_c0", "elu_c1"),
    eval(|op, v| if v < 0.0 { op.alpha.0 * v.exp_m1() } else { v }),
    expand(|op, b, x| {
        let zero = b.like(x, 0.0);
        let negative = b.less(x, zero);
        // The exponential sees no positive value, so that it cannot overflow, nor its gradient.
        let below = b.min(x, zero);
        let power = b.expm1(below);
        let bent = scaled(b, power, op.alpha.0);
        b.select(negative, bent, x)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(Elu { alpha: Real(1.5) }, &["f32[2, 3]"]),
        Example::accepted(Elu { alpha: Real(1.5) }, &["f64[n]"]),
        Example::accepted(Elu { alpha: Real(1.5) }, &["f16[0, 2]"]),
        Example::rejected("elu_c0", Elu { alpha: Real(1.5) }, &[]),
        Example::rejected("elu_c1", Elu { alpha: Real(1.5) }, &["i32[2]"]),
    )
}
