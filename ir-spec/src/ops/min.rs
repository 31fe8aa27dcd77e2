//! `min`: the smaller of two.   y = min(a, b)
//!
//! Shapes: `a: [..]`, `b`: same → same.   NaN if either is NaN; −0 is below +0. Where both are equal the gradient goes to `a`.
//! Constraints: (C0) two operands. (C1) both of one numeric element type. (C2) same shape.
//! Source: IEEE 754-2019 §9.6, minimum.

use super::arithmetic::minimum;
use super::elementwise::binary;

binary! {
    Min, "min", on(Number), float(minimum), int(|a, b, _| a.min(b));
    gradient(|b, [p, q], _, dy| {
        let (first, zero) = (b.less_equal(p, q), b.like(dy, 0.0));
        [b.select(first, dy, zero), b.select(first, zero, dy)]
    }),
}
