//! `add`: sum, element by element.   y = a + b
//!
//! Shapes: `a: [..]`, `b`: same → same.   Integers wrap.
//! Constraints: (C0) two operands. (C1) one numeric element type. (C2) same shape.
//! Source: IEEE 754-2019 §5.4.1 for floats.

use super::Gradient;
use super::elementwise::binary;

binary! {
    Add, labels("add_c0", "add_c1", "add_c2"), allow(super::is_number), result(|d| d),
    float(|a, b| a + b), int(|a, b, _| a + b),
    examples(
        Example::accepted(Add {}, &["f32[2, 3]", "f32[2, 3]"]),
        Example::accepted(Add {}, &["i8[n]", "i8[n]"]),
        Example::accepted(Add {}, &["f64[]", "f64[]"]),
        Example::rejected("add_c0", Add {}, &["f32[2]"]),
        Example::rejected("add_c1", Add {}, &["bool[2]", "bool[2]"]),
        Example::rejected("add_c2", Add {}, &["f32[2]", "f32[3]"]),
    ),
    vjp(|_, _, _, dy| Gradient::Operands(vec![dy[0], dy[0]]))
}
