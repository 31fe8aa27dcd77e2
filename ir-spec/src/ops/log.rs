//! `log`: natural logarithm.   y = ln x
//!
//! Shapes: `x: [..]` → same.   Zeros give −∞, negative numbers NaN.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Log, "log", on(Float), float(f64::ln);
    gradient(|b, x, _, dy| b.div(dy, x)),
}
