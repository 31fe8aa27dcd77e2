//! `ceil`: the nearest integer not below.   y = ⌈x⌉
//!
//! Shapes: `x: [..]` → same.   Infinities and zeros stay, with their sign.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: IEEE 754-2019 §5.9, roundToIntegralTowardPositive.

use super::elementwise::unary;

unary! {
    Ceil, "ceil", on(Float), float(f64::ceil);
    stops("it is constant between its steps"),
}
