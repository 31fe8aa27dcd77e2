//! `bit_not`: every bit flipped.   y = −1 − x
//!
//! Shapes: `x: [..]` → same.
//! Constraints: (C0) one operand. (C1) an integer element type.

use super::elementwise::unary;

unary! {
    BitNot, "bit_not", on(Int), int(|v, _| !v);
    stops("it is defined on integers"),
}
