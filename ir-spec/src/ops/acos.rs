//! `acos`: arc cosine in radians.   y = acos x
//!
//! Shapes: `x: [..]` → same.   NaN outside [−1, 1].
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Acos, "acos", on(Float), float(f64::acos);
    gradient(|b, x, _, dy| {
        let (one, square) = (b.like(x, 1.0), b.mul(x, x));
        let difference = b.sub(one, square);
        let root = b.sqrt(difference);
        let quotient = b.div(dy, root);
        b.neg(quotient)
    }),
}
