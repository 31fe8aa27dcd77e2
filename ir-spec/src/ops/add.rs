//! `add`: sum, element by element.   y = a + b
//!
//! Shapes: `a: [..]`, `b`: same → same.   Integers wrap.
//! Constraints: (C0) two operands. (C1) both of one numeric element type. (C2) same shape.
//! Source: IEEE 754-2019 §5.4.1 for floats.

use super::elementwise::binary;

binary! {
    Add, "add", on(Number), float(|a, b| a + b), int(|a, b, _| a + b);
    gradient(|_, _, _, dy| [dy, dy]),
}
