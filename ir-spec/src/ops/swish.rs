//! `swish`: x gated by a sigmoid of chosen steepness.   y = x · sigmoid(beta·x)
//!
//! Shapes: `x: [..]` → same.   −∞ gives NaN (−∞ · 0) for positive beta.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: Ramachandran et al. 2017; ONNX Swish, which names beta `alpha`.

use super::Gradient;
use super::activation::activation;
use super::Sigmoid;
use super::expansion::scaled;
use crate::attr::Real;

activation! {
    Swish {
        /// Steepness of the gate.
        beta: Real,
    }, labels("swish_c0", "swish_c1"),
    eval(|op, v| v * (1.0 / (1.0 + (-op.beta.0 * v).exp()))),
    expand(|op, b, x| {
        let steep = scaled(b, x, op.beta.0);
        let gate = b.op(Sigmoid {}, &[steep]);
        b.mul(x, gate)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(Swish { beta: Real(1.5) }, &["f32[2, 3]"]),
        Example::accepted(Swish { beta: Real(1.5) }, &["f64[n]"]),
        Example::accepted(Swish { beta: Real(1.5) }, &["f16[0, 2]"]),
        Example::rejected("swish_c0", Swish { beta: Real(1.5) }, &[]),
        Example::rejected("swish_c1", Swish { beta: Real(1.5) }, &["i32[2]"]),
    )
}
