//! `cos`: cosine of an angle in radians.   y = cos x
//!
//! Shapes: `x: [..]` → same.   Infinities give NaN.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Cos, "cos", on(Float), float(f64::cos);
    gradient(|b, x, _, dy| {
        let sin = b.sin(x);
        let product = b.mul(dy, sin);
        b.neg(product)
    }),
}
