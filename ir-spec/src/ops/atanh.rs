//! `atanh`: inverse of the hyperbolic tangent.   y = ln((1 + x) / (1 − x)) / 2
//!
//! Shapes: `x: [..]` → same.   ±1 gives ±∞, NaN beyond.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Atanh, "atanh", on(Float), float(atanh);
    gradient(|b, x, _, dy| {
        let (one, square) = (b.like(x, 1.0), b.mul(x, x));
        let difference = b.sub(one, square);
        b.div(dy, difference)
    }),
}

/// By the magnitude: the standard library's formula loses digits below zero.
fn atanh(x: f64) -> f64 {
    x.abs().atanh().copysign(x)
}
