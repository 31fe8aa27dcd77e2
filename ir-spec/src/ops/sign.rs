//! `sign`: −1, 0 or 1 by the sign.
//!
//! Shapes: `x: [..]` → same.   Both zeros give +0; NaN stays NaN.
//! Constraints: (C0) one operand. (C1) a numeric element type.

use super::elementwise::unary;

unary! {
    Sign, "sign", on(Number), float(|v| if v > 0.0 { 1.0 } else if v < 0.0 { -1.0 } else if v == 0.0 { 0.0 } else { v }), int(|v, _| v.signum());
    stops("it is constant between its steps"),
}
