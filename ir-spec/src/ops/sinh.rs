//! `sinh`: hyperbolic sine.   y = (eˣ − e⁻ˣ) / 2
//!
//! Shapes: `x: [..]` → same.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Sinh, "sinh", on(Float), float(f64::sinh);
    gradient(|b, x, _, dy| {
        let cosh = b.cosh(x);
        b.mul(dy, cosh)
    }),
}
