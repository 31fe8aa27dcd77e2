//! `acosh`: inverse of the hyperbolic cosine.   y = ln(x + √(x² − 1))
//!
//! Shapes: `x: [..]` → same.   NaN below 1.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;
use std::f64::consts::LN_2;

unary! {
    Acosh, "acosh", on(Float), float(acosh);
    gradient(|b, x, _, dy| {
        let (one, square) = (b.like(x, 1.0), b.mul(x, x));
        let difference = b.sub(square, one);
        let root = b.sqrt(difference);
        b.div(dy, root)
    }),
}

/// As the standard library's, but finite where twice the operand overflows.
fn acosh(x: f64) -> f64 {
    if x > 1e300 && x.is_finite() { x.ln() + LN_2 } else { x.acosh() }
}
