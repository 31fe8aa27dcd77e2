//! Pieces that several expansions share.

use crate::{Builder, DType, Value};

/// `x` in the type composites compute in: f32 for 16-bit floats, else its own.
pub fn widen(b: &mut Builder, x: Value) -> Value {
    match b.dtype(x) {
        DType::F16 | DType::BF16 => b.cast(x, DType::F32),
        _ => x,
    }
}

/// `factor · x`
pub fn scaled(b: &mut Builder, x: Value, factor: f64) -> Value {
    let factor = b.like(x, factor);
    b.mul(x, factor)
}

/// `x + term`
pub fn shifted(b: &mut Builder, x: Value, term: f64) -> Value {
    let term = b.like(x, term);
    b.add(x, term)
}
