//! `mish`: x gated by tanh of its softplus.   y = x · tanh(log(1 + exp(x)))
//!
//! Shapes: `x: [..]` → same.   −∞ gives NaN (−∞ · 0).   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: Misra 2019; ONNX Mish.

use super::Gradient;
use super::activation::activation;
use super::Softplus;

activation! {
    Mish {}, labels("mish_c0", "mish_c1"),
    eval(|_, v| v * (v.max(0.0) + (-v.abs()).exp().ln_1p()).tanh()),
    expand(|_, b, x| {
        let softplus = b.op(Softplus {}, &[x]);
        let gate = b.tanh(softplus);
        b.mul(x, gate)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(Mish {}, &["f32[2, 3]"]),
        Example::accepted(Mish {}, &["f64[n]"]),
        Example::accepted(Mish {}, &["f16[0, 2]"]),
        Example::rejected("mish_c0", Mish {}, &[]),
        Example::rejected("mish_c1", Mish {}, &["i32[2]"]),
    )
}
