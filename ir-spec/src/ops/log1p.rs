//! `log1p`: natural logarithm of one plus x, exact near zero.   y = ln(1 + x)
//!
//! Shapes: `x: [..]` → same.   −1 gives −∞, less gives NaN, −0 stays.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Log1p, "log1p", on(Float), float(f64::ln_1p);
    gradient(|b, x, _, dy| {
        let one = b.like(x, 1.0);
        let sum = b.add(x, one);
        b.div(dy, sum)
    }),
}
