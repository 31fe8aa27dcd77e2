//! `softplus`: a smooth positive part.   y = log(1 + exp(x)), computed as max(x, 0) + log1p(exp(−|x|))
//!
//! Shapes: `x: [..]` → same.   NaN stays NaN.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: ONNX Softplus.

use super::Gradient;
use super::activation::activation;
use super::Sigmoid;

activation! {
    Softplus {}, labels("softplus_c0", "softplus_c1"),
    eval(|_, v| if v.is_nan() { v } else { v.max(0.0) + (-v.abs()).exp().ln_1p() }),
    expand(|_, b, x| {
        let zero = b.like(x, 0.0);
        let positive = b.max(x, zero);
        let magnitude = b.abs(x);
        let negative = b.neg(magnitude);
        let power = b.exp(negative);
        let rest = b.log1p(power);
        b.add(positive, rest)
    }),
    vjp(|b, x, _, dy| {
        Gradient::Operands(vec![dy.map(|dy| {
            let slope = b.op(Sigmoid {}, &[x]);
            b.mul(dy, slope)
        })])
    }),
    examples(
        Example::accepted(Softplus {}, &["f32[2, 3]"]),
        Example::accepted(Softplus {}, &["f64[n]"]),
        Example::accepted(Softplus {}, &["f16[0, 2]"]),
        Example::rejected("softplus_c0", Softplus {}, &[]),
        Example::rejected("softplus_c1", Softplus {}, &["i32[2]"]),
    )
}
