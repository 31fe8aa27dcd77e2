//! `sin`: sine of an angle in radians.   y = sin x
//!
//! Shapes: `x: [..]` → same.   Infinities give NaN.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Sin, "sin", on(Float), float(f64::sin);
    gradient(|b, x, _, dy| {
        let cos = b.cos(x);
        b.mul(dy, cos)
    }),
}
