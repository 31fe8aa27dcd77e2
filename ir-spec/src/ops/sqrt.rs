//! `sqrt`: square root.   y = √x
//!
//! Shapes: `x: [..]` → same.   Correctly rounded; negative numbers give NaN, −0 stays.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: IEEE 754-2019 §5.4.1.

use super::elementwise::unary;

unary! {
    Sqrt, "sqrt", on(Float), float(f64::sqrt);
    gradient(|b, _, y, dy| {
        let twice = b.add(y, y);
        b.div(dy, twice)
    }),
}
