//! `xor`: exclusive or: true where the operands differ.
//!
//! Shapes: `a: [..]`, `b`: same → same.
//! Constraints: (C0) two operands. (C1) both of element type `bool`. (C2) same shape.

use super::elementwise::binary;

binary! {
    Xor, "xor", on(Bool), int(|a, b, _| a ^ b);
    stops("a truth value does not change with small changes of the operands"),
}
