//! `gelu`: x times the normal distribution's share below x.
//! erf: y = x/2 · (1 + erf(x/√2))    tanh: y = x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))
//!
//! Shapes: `x: [..]` → same.   −∞ gives NaN (−∞ · 0).   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type.
//! Source: Hendrycks & Gimpel 2016; ONNX Gelu.

use super::Gradient;
use super::activation::activation;
use super::expansion::{scaled, shifted};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

crate::mode! {
    /// Which formula.
    pub enum GeluKind {
        /// The definition.
        Erf = "erf",
        /// The approximation by tanh.
        Tanh = "tanh",
    }
}

activation! {
    Gelu {
        /// Which formula.
        approximate: GeluKind,
    }, labels("gelu_c0", "gelu_c1"),
    eval(|op, v| {
        0.5 * v * (1.0 + match op.approximate {
            GeluKind::Erf => super::erf::erf(v * FRAC_1_SQRT_2),
            GeluKind::Tanh => (FRAC_2_PI.sqrt() * (v + 0.044715 * v * v * v)).tanh(),
        })
    }),
    expand(|op, b, x| {
        let inner = match op.approximate {
            GeluKind::Erf => {
                let ratio = scaled(b, x, FRAC_1_SQRT_2);
                b.erf(ratio)
            }
            GeluKind::Tanh => {
                let square = b.mul(x, x);
                let cube = b.mul(square, x);
                let small = scaled(b, cube, 0.044715);
                let sum = b.add(x, small);
                let ratio = scaled(b, sum, FRAC_2_PI.sqrt());
                b.tanh(ratio)
            }
        };
        let share = shifted(b, inner, 1.0);
        let half = scaled(b, x, 0.5);
        b.mul(half, share)
    }),
    vjp(|_, _, _, _| Gradient::ThroughExpansion),
    examples(
        Example::accepted(Gelu { approximate: GeluKind::Erf }, &["f32[2, 3]"]),
        Example::accepted(Gelu { approximate: GeluKind::Tanh }, &["f64[n]"]),
        Example::accepted(Gelu { approximate: GeluKind::Erf }, &["f16[3]"]),
        Example::rejected("gelu_c0", Gelu { approximate: GeluKind::Erf }, &[]),
        Example::rejected("gelu_c1", Gelu { approximate: GeluKind::Erf }, &["i32[2]"]),
    )
}
