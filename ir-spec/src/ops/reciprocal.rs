//! `reciprocal`: one by x.   y = 1 / x
//!
//! Shapes: `x: [..]` → same.   Correctly rounded; ±0 gives ±∞.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Reciprocal, "reciprocal", on(Float), float(f64::recip);
    gradient(|b, _, y, dy| {
        let square = b.mul(y, y);
        let product = b.mul(dy, square);
        b.neg(product)
    }),
}
