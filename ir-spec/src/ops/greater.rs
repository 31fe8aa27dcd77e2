//! `greater`: strict order, element by element.   y = (a > b)
//!
//! Shapes: `a: [..]`, `b`: same → same, of element type `bool`.   False where either is NaN; −0 equals +0.
//! Constraints: (C0) two operands. (C1) one numeric element type. (C2) same shape.
//! Source: IEEE 754-2019 §5.11 for floats.

use super::elementwise::compare;

compare! { Greater, "greater", on(Number), |a, b| a > b }
