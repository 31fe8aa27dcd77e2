//! `asin`: arc sine in radians.   y = asin x
//!
//! Shapes: `x: [..]` → same.   NaN outside [−1, 1].
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Asin, "asin", on(Float), float(f64::asin);
    gradient(|b, x, _, dy| {
        let (one, square) = (b.like(x, 1.0), b.mul(x, x));
        let difference = b.sub(one, square);
        let root = b.sqrt(difference);
        b.div(dy, root)
    }),
}
