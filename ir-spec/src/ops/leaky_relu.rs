//! `leaky_relu`: x, scaled down where it is negative.   y = x if x ≥ 0, else alpha·x
//!
//! Shapes: `x: [..]` → same.   NaN stays NaN.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: Maas et al. 2013; ONNX LeakyRelu.

use super::Gradient;
use super::activation::activation;
use super::expansion::scaled;
use crate::attr::Real;

activation! {
    LeakyRelu {
        /// Slope of the negative side.
        alpha: Real,
    }, labels("leaky_relu_c0", "leaky_relu_c1"),
    eval(|op, v| if v < 0.0 { op.alpha.0 * v } else { v }),
    expand(|op, b, x| {
        let zero = b.like(x, 0.0);
        let negative = b.less(x, zero);
        let leak = scaled(b, x, op.alpha.0);
        b.select(negative, leak, x)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(LeakyRelu { alpha: Real(0.01) }, &["f32[2, 3]"]),
        Example::accepted(LeakyRelu { alpha: Real(0.01) }, &["f64[n]"]),
        Example::accepted(LeakyRelu { alpha: Real(0.01) }, &["f16[0, 2]"]),
        Example::rejected("leaky_relu_c0", LeakyRelu { alpha: Real(0.01) }, &[]),
        Example::rejected("leaky_relu_c1", LeakyRelu { alpha: Real(0.01) }, &["i32[2]"]),
    )
}
