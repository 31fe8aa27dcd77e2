//! `rem`: remainder of the division that truncates.   y = a − b · trunc(a / b)
//!
//! Shapes: `a: [..]`, `b`: same → same.   Exact; the sign is that of `a`; an integer by zero is 0.
//! Constraints: (C0) two operands. (C1) both of one numeric element type. (C2) same shape.
//! Source: C `fmod` for floats, C `%` for integers.

use super::elementwise::binary;

binary! {
    Rem, "rem", on(Number), float(|a, b| a % b), int(|a, b, _| a.checked_rem(b).unwrap_or(0));
    gradient(|b, [p, q], _, dy| {
        let quotient = b.div(p, q);
        let whole = b.trunc(quotient);
        let product = b.mul(dy, whole);
        [dy, b.neg(product)]
    }),
}
