//! `expm1`: exponential less one, exact near zero.   y = eˣ − 1
//!
//! Shapes: `x: [..]` → same.   −0 stays.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::elementwise::unary;

unary! {
    Expm1, "expm1", on(Float), float(f64::exp_m1);
    gradient(|b, _, y, dy| {
        let one = b.like(y, 1.0);
        let slope = b.add(y, one);
        b.mul(dy, slope)
    }),
}
