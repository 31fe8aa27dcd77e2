//! `celu`: elu with a continuous slope at 0.   y = x if x ≥ 0, else alpha·(exp(x/alpha) − 1)
//!
//! Shapes: `x: [..]` → same.   NaN stays NaN.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: Barron 2017; ONNX Celu.

use super::Gradient;
use super::activation::activation;
use crate::attr::Real;

activation! {
    Celu {
        /// Limit of the negative side, negated.
        alpha: Real,
    }, labels("celu_c0", "celu_c1"),
    eval(|op, v| if v < 0.0 { op.alpha.0 * (v / op.alpha.0).exp_m1() } else { v }),
    expand(|op, b, x| {
        let zero = b.like(x, 0.0);
        let negative = b.less(x, zero);
        let below = b.min(x, zero);
        let alpha = b.like(x, op.alpha.0);
        let ratio = b.div(below, alpha);
        let power = b.expm1(ratio);
        let bent = b.mul(power, alpha);
        b.select(negative, bent, x)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(Celu { alpha: Real(2.0) }, &["f32[2, 3]"]),
        Example::accepted(Celu { alpha: Real(2.0) }, &["f64[n]"]),
        Example::accepted(Celu { alpha: Real(2.0) }, &["f16[0, 2]"]),
        Example::rejected("celu_c0", Celu { alpha: Real(2.0) }, &[]),
        Example::rejected("celu_c1", Celu { alpha: Real(2.0) }, &["i32[2]"]),
    )
}
