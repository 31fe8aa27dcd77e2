//! `asinh`: inverse of the hyperbolic sine.   y = ln(x + √(x² + 1))
//!
//! Shapes: `x: [..]` → same.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;
use std::f64::consts::LN_2;

unary! {
    Asinh, "asinh", on(Float), float(asinh);
    gradient(|b, x, _, dy| {
        let (one, square) = (b.like(x, 1.0), b.mul(x, x));
        let sum = b.add(square, one);
        let root = b.sqrt(sum);
        b.div(dy, root)
    }),
}

/// As the standard library's, but finite where twice the operand overflows.
fn asinh(x: f64) -> f64 {
    if x.abs() > 1e300 && x.is_finite() { (x.abs().ln() + LN_2).copysign(x) } else { x.asinh() }
}
