//! `max`: the larger of two.   y = max(a, b)
//!
//! Shapes: `a: [..]`, `b`: same → same.   NaN if either is NaN; −0 is below +0. Where both are equal the gradient goes to `a`.
//! Constraints: (C0) two operands. (C1) both of one numeric element type. (C2) same shape.
//! Source: IEEE 754-2019 §9.6, maximum.

use super::arithmetic::maximum;
use super::elementwise::binary;

binary! {
    Max, "max", on(Number), float(maximum), int(|a, b, _| a.max(b));
    gradient(|b, [p, q], _, dy| {
        let (first, zero) = (b.greater_equal(p, q), b.like(dy, 0.0));
        [b.select(first, dy, zero), b.select(first, zero, dy)]
    }),
}
