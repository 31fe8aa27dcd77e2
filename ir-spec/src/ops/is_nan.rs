//! `is_nan`: which elements are NaN.
//!
//! Shapes: `x: [..]` → same, of element type `bool`.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    IsNan, "is_nan", on(Float), to(Bool), float(|v| f64::from(u8::from(v.is_nan())));
    stops("a truth value does not change with small changes of the operands"),
}
