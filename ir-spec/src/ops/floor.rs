//! `floor`: the nearest integer not above.   y = ⌊x⌋
//!
//! Shapes: `x: [..]` → same.   Infinities and zeros stay, with their sign.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: IEEE 754-2019 §5.9, roundToIntegralTowardNegative.

use super::elementwise::unary;

unary! {
    Floor, "floor", on(Float), float(f64::floor);
    stops("it is constant between its steps"),
}
