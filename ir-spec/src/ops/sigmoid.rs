//! `sigmoid`: the logistic function.   y = 1 / (1 + exp(−x))
//!
//! Shapes: `x: [..]` → same.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: ONNX Sigmoid.

use super::Gradient;
use super::activation::activation;
use super::expansion::shifted;

activation! {
    Sigmoid {}, labels("sigmoid_c0", "sigmoid_c1"),
    eval(|_, v| 1.0 / (1.0 + (-v).exp())),
    expand(|_, b, x| {
        let negative = b.neg(x);
        let power = b.exp(negative);
        let sum = shifted(b, power, 1.0);
        b.reciprocal(sum)
    }),
    vjp(|b, _, y, dy| {
        // y·(1 − y), which stays finite where exp(−x) of the expansion overflows.
        Gradient::Operands(vec![dy.map(|dy| {
            let one = b.like(y, 1.0);
            let rest = b.sub(one, y);
            let slope = b.mul(y, rest);
            b.mul(dy, slope)
        })])
    }),
    examples(
        Example::accepted(Sigmoid {}, &["f32[2, 3]"]),
        Example::accepted(Sigmoid {}, &["f64[n]"]),
        Example::accepted(Sigmoid {}, &["f16[0, 2]"]),
        Example::rejected("sigmoid_c0", Sigmoid {}, &[]),
        Example::rejected("sigmoid_c1", Sigmoid {}, &["i32[2]"]),
    )
}
