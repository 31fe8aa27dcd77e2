//! `hard_sigmoid`: a piecewise linear sigmoid.   y = max(0, min(1, alpha·x + beta))
//!
//! Shapes: `x: [..]` → same.   NaN stays NaN.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: ONNX HardSigmoid.

use super::Gradient;
use super::activation::activation;
use super::expansion::{scaled, shifted};
use crate::attr::Real;

activation! {
    HardSigmoid {
        /// Slope.
        alpha: Real,
        /// Value at 0.
        beta: Real,
    }, labels("hard_sigmoid_c0", "hard_sigmoid_c1"),
    eval(|op, v| if v.is_nan() { v } else { (op.alpha.0 * v + op.beta.0).clamp(0.0, 1.0) }),
    expand(|op, b, x| {
        let slope = scaled(b, x, op.alpha.0);
        let line = shifted(b, slope, op.beta.0);
        let (zero, one) = (b.like(x, 0.0), b.like(x, 1.0));
        let below = b.min(line, one);
        b.max(below, zero)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(HardSigmoid { alpha: Real(0.2), beta: Real(0.5) }, &["f32[2, 3]"]),
        Example::accepted(HardSigmoid { alpha: Real(0.2), beta: Real(0.5) }, &["f64[n]"]),
        Example::accepted(HardSigmoid { alpha: Real(0.2), beta: Real(0.5) }, &["f16[0, 2]"]),
        Example::rejected("hard_sigmoid_c0", HardSigmoid { alpha: Real(0.2), beta: Real(0.5) }, &[]),
        Example::rejected("hard_sigmoid_c1", HardSigmoid { alpha: Real(0.2), beta: Real(0.5) }, &["i32[2]"]),
    )
}
