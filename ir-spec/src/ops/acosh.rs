//! `acosh`: inverse of the hyperbolic cosine.   y = ln(x + √(x² − 1))
//!
//! Shapes: `x: [..]` → same.   NaN below 1.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Acosh, "acosh", on(Float), float(f64::acosh);
    gradient(|b, x, _, dy| {
        let (one, square) = (b.like(x, 1.0), b.mul(x, x));
        let difference = b.sub(square, one);
        let root = b.sqrt(difference);
        b.div(dy, root)
    }),
}
