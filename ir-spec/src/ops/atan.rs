//! `atan`: arc tangent in radians.   y = atan x
//!
//! Shapes: `x: [..]` → same.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Atan, "atan", on(Float), float(f64::atan);
    gradient(|b, x, _, dy| {
        let (one, square) = (b.like(x, 1.0), b.mul(x, x));
        let sum = b.add(one, square);
        b.div(dy, sum)
    }),
}
