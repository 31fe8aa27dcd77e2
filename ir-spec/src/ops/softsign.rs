//! `softsign`: a slow sigmoid through 0.   y = x / (1 + |x|)
//!
//! Shapes: `x: [..]` → same.   ±∞ gives NaN (∞ / ∞).   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: ONNX Softsign.

use super::Gradient;
use super::activation::activation;
use super::expansion::shifted;

activation! {
    Softsign {}, labels("softsign_c0", "softsign_c1"),
    eval(|_, v| v / (1.0 + v.abs())),
    expand(|_, b, x| {
        let magnitude = b.abs(x);
        let sum = shifted(b, magnitude, 1.0);
        b.div(x, sum)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(Softsign {}, &["f32[2, 3]"]),
        Example::accepted(Softsign {}, &["f64[n]"]),
        Example::accepted(Softsign {}, &["f16[0, 2]"]),
        Example::rejected("softsign_c0", Softsign {}, &[]),
        Example::rejected("softsign_c1", Softsign {}, &["i32[2]"]),
    )
}
