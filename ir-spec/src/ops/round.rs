//! `round`: the nearest integer, halves to the even one.
//!
//! Shapes: `x: [..]` → same.   Infinities and zeros stay, with their sign.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: IEEE 754-2019 §5.9, roundToIntegralTiesToEven.

use super::elementwise::unary;

unary! {
    Round, "round", on(Float), float(f64::round_ties_even);
    stops("it is constant between its steps"),
}
