//! `thresholded_relu`: x above a threshold, else 0.   y = x if x > alpha, else 0
//!
//! Shapes: `x: [..]` → same.   NaN stays NaN.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: ONNX ThresholdedRelu.

use super::Gradient;
use super::activation::activation;
use crate::attr::Real;

activation! {
    ThresholdedRelu {
        /// The threshold.
        alpha: Real,
    }, labels("thresholded_relu_c0", "thresholded_relu_c1"),
    eval(|op, v| if v <= op.alpha.0 { 0.0 } else { v }),
    expand(|op, b, x| {
        let (threshold, zero) = (b.like(x, op.alpha.0), b.like(x, 0.0));
        let off = b.less_equal(x, threshold);
        b.select(off, zero, x)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(ThresholdedRelu { alpha: Real(0.75) }, &["f32[2, 3]"]),
        Example::accepted(ThresholdedRelu { alpha: Real(0.75) }, &["f64[n]"]),
        Example::accepted(ThresholdedRelu { alpha: Real(0.75) }, &["f16[0, 2]"]),
        Example::rejected("thresholded_relu_c0", ThresholdedRelu { alpha: Real(0.75) }, &[]),
        Example::rejected("thresholded_relu_c1", ThresholdedRelu { alpha: Real(0.75) }, &["i32[2]"]),
    )
}
