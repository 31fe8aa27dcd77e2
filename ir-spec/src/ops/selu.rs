//! `selu`: scaled elu that keeps mean 0 and variance 1.   y = gamma·x if x ≥ 0, else gamma·alpha·(exp(x) − 1)
//!
//! Shapes: `x: [..]` → same.   NaN stays NaN.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: Klambauer et al. 2017; ONNX Selu.

use super::Gradient;
use super::activation::activation;
use super::Elu;
use super::expansion::scaled;
use crate::attr::Real;

activation! {
    Selu {
        /// Limit of the negative side before scaling, negated.
        alpha: Real,
        /// Scale of both sides.
        gamma: Real,
    }, labels("selu_c0", "selu_c1"),
    eval(|op, v| op.gamma.0 * if v < 0.0 { op.alpha.0 * v.exp_m1() } else { v }),
    expand(|op, b, x| {
        let bent = b.op(Elu { alpha: op.alpha }, &[x]);
        scaled(b, bent, op.gamma.0)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(Selu { alpha: Real(1.67326), gamma: Real(1.0507) }, &["f32[2, 3]"]),
        Example::accepted(Selu { alpha: Real(1.67326), gamma: Real(1.0507) }, &["f64[n]"]),
        Example::accepted(Selu { alpha: Real(1.67326), gamma: Real(1.0507) }, &["f16[0, 2]"]),
        Example::rejected("selu_c0", Selu { alpha: Real(1.67326), gamma: Real(1.0507) }, &[]),
        Example::rejected("selu_c1", Selu { alpha: Real(1.67326), gamma: Real(1.0507) }, &["i32[2]"]),
    )
}
