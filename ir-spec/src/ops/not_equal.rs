//! `not_equal`: inequality, element by element.   y = (a ≠ b)
//!
//! Shapes: `a: [..]`, `b`: same → same, of element type `bool`.   NaN differs from everything; −0 equals +0.
//! Constraints: (C0) two operands. (C1) one element type. (C2) same shape.
//! Source: IEEE 754-2019 §5.11 for floats.

use super::elementwise::compare;

compare! { NotEqual, "not_equal", on(Any), |a, b| a != b }
