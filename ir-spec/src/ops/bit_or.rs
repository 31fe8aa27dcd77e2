//! `bit_or`: disjunction of each bit.
//!
//! Shapes: `a: [..]`, `b`: same → same.
//! Constraints: (C0) two operands. (C1) both of one integer element type. (C2) same shape.

use super::elementwise::binary;

binary! {
    BitOr, "bit_or", on(Int), int(|a, b, _| a | b);
    stops("it is defined on integers"),
}
