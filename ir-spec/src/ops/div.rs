//! `div`: quotient, element by element.   y = a / b
//!
//! Shapes: `a: [..]`, `b`: same → same.   Integers truncate towards zero and wrap; an integer by zero is 0.
//! Constraints: (C0) two operands. (C1) both of one numeric element type. (C2) same shape.
//! Source: IEEE 754-2019 §5.4.1 for floats.

use super::elementwise::binary;

binary! {
    Div, "div", on(Number), float(|a, b| a / b), int(|a, b, _| a.checked_div(b).unwrap_or(0));
    gradient(|b, [_, q], y, dy| {
        let first = b.div(dy, q);
        let product = b.mul(first, y);
        [first, b.neg(product)]
    }),
}
