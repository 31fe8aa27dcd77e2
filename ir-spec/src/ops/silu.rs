//! `silu`: x gated by its sigmoid.   y = x · sigmoid(x)
//!
//! Shapes: `x: [..]` → same.   −∞ gives NaN (−∞ · 0).   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: Elfwing et al. 2018; ONNX Swish with alpha = 1.

use super::Gradient;
use super::activation::activation;
use super::Sigmoid;

activation! {
    Silu {}, labels("silu_c0", "silu_c1"),
    eval(|_, v| v * (1.0 / (1.0 + (-v).exp()))),
    expand(|_, b, x| {
        let gate = b.op(Sigmoid {}, &[x]);
        b.mul(x, gate)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(Silu {}, &["f32[2, 3]"]),
        Example::accepted(Silu {}, &["f64[n]"]),
        Example::accepted(Silu {}, &["f16[0, 2]"]),
        Example::rejected("silu_c0", Silu {}, &[]),
        Example::rejected("silu_c1", Silu {}, &["i32[2]"]),
    )
}
