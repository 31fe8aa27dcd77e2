//! `exp`: exponential.   y = eˣ
//!
//! Shapes: `x: [..]` → same.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Exp, "exp", on(Float), float(f64::exp);
    gradient(|b, _, y, dy| b.mul(dy, y)),
}
