//! `abs`: absolute value.   y = |x|
//!
//! Shapes: `x: [..]` → same.   The least signed integer stays itself (it wraps).
//! Constraints: (C0) one operand. (C1) a numeric element type.

use super::elementwise::unary;

unary! {
    Abs, "abs", on(Number), float(|v| v.abs()), int(|v, _| v.abs());
    gradient(|b, x, _, dy| {
        let sign = b.sign(x);
        b.mul(dy, sign)
    }),
}
