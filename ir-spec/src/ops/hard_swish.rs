//! `hard_swish`: x gated by a piecewise linear sigmoid.   y = x · max(0, min(1, x/6 + 1/2))
//!
//! Shapes: `x: [..]` → same.   −∞ gives NaN (−∞ · 0).   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: Howard et al. 2019; ONNX HardSwish.

use super::Gradient;
use super::activation::activation;
use super::HardSigmoid;
use crate::attr::Real;

activation! {
    HardSwish {}, labels("hard_swish_c0", "hard_swish_c1"),
    eval(|_, v| v * if v.is_nan() { v } else { (v / 6.0 + 0.5).clamp(0.0, 1.0) }),
    expand(|_, b, x| {
        let gate = b.op(HardSigmoid { alpha: Real(1.0 / 6.0), beta: Real(0.5) }, &[x]);
        b.mul(x, gate)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(HardSwish {}, &["f32[2, 3]"]),
        Example::accepted(HardSwish {}, &["f64[n]"]),
        Example::accepted(HardSwish {}, &["f16[0, 2]"]),
        Example::rejected("hard_swish_c0", HardSwish {}, &[]),
        Example::rejected("hard_swish_c1", HardSwish {}, &["i32[2]"]),
    )
}
