//! `asinh`: inverse of the hyperbolic sine.   y = ln(x + √(x² + 1))
//!
//! Shapes: `x: [..]` → same.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Asinh, "asinh", on(Float), float(f64::asinh);
    gradient(|b, x, _, dy| {
        let (one, square) = (b.like(x, 1.0), b.mul(x, x));
        let sum = b.add(square, one);
        let root = b.sqrt(sum);
        b.div(dy, root)
    }),
}
