//! `tan`: tangent of an angle in radians.   y = tan x
//!
//! Shapes: `x: [..]` → same.   Infinities give NaN.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Tan, "tan", on(Float), float(f64::tan);
    gradient(|b, _, y, dy| {
        let (one, square) = (b.like(y, 1.0), b.mul(y, y));
        let slope = b.add(one, square);
        b.mul(dy, slope)
    }),
}
