//! `not`: logical negation.
//!
//! Shapes: `x: [..]` → same.
//! Constraints: (C0) one operand. (C1) element type `bool`.

use super::elementwise::unary;

unary! {
    Not, "not", on(Bool), int(|v, _| 1 - v);
    stops("a truth value does not change with small changes of the operands"),
}
