//! `cosh`: hyperbolic cosine.   y = (eˣ + e⁻ˣ) / 2
//!
//! Shapes: `x: [..]` → same.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Cosh, "cosh", on(Float), float(f64::cosh);
    gradient(|b, x, _, dy| {
        let sinh = b.sinh(x);
        b.mul(dy, sinh)
    }),
}
