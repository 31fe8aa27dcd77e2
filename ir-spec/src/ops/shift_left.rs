//! `shift_left`: bits of `a` moved up by `b` places, zeros below.   y = a · 2ᵇ
//!
//! Shapes: `a: [..]`, `b`: same → same.   A shift by the width of the type or more gives 0.
//! Constraints: (C0) two operands. (C1) both of one unsigned integer element type. (C2) same shape.

use super::arithmetic::width;
use super::elementwise::binary;

binary! {
    ShiftLeft, "shift_left", on(Unsigned), int(|a, b, dtype| if b < width(dtype) { a << b } else { 0 });
    stops("it is defined on integers"),
}
