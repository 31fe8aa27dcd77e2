//! `tanh`: hyperbolic tangent.   y = (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)
//!
//! Shapes: `x: [..]` → same.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Tanh, "tanh", on(Float), float(f64::tanh);
    gradient(|b, _, y, dy| {
        let (one, square) = (b.like(y, 1.0), b.mul(y, y));
        let slope = b.sub(one, square);
        b.mul(dy, slope)
    }),
}
