//! `mul`: product, element by element.   y = a · b
//!
//! Shapes: `a: [..]`, `b`: same → same.   Integers wrap.
//! Constraints: (C0) two operands. (C1) both of one numeric element type. (C2) same shape.
//! Source: IEEE 754-2019 §5.4.1 for floats.

use super::elementwise::binary;

binary! {
    Mul, "mul", on(Number), float(|a, b| a * b), int(|a, b, _| a.wrapping_mul(b));
    gradient(|b, [p, q], _, dy| [b.mul(dy, q), b.mul(dy, p)]),
}
