//! `neg`: negation.   y = −x
//!
//! Shapes: `x: [..]` → same.   Integers wrap; the sign of a float is flipped, also of zeros and NaN.
//! Constraints: (C0) one operand. (C1) a numeric element type.

use super::elementwise::unary;

unary! {
    Neg, "neg", on(Number), float(|v| -v), int(|v, _| -v);
    gradient(|b, _, _, dy| b.neg(dy)),
}
