//! `trunc`: the integer part.
//!
//! Shapes: `x: [..]` → same.   Infinities and zeros stay, with their sign.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: IEEE 754-2019 §5.9, roundToIntegralTowardZero.

use super::elementwise::unary;

unary! {
    Trunc, "trunc", on(Float), float(f64::trunc);
    stops("it is constant between its steps"),
}
