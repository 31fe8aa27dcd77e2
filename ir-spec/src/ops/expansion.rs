//! Pieces that several expansions share.

use crate::{Builder, DType, Dim, Value};

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

/// A size as a scalar of `dtype`, known at run time if it is symbolic.
pub fn size(b: &mut Builder, dim: &Dim, dtype: DType) -> Value {
    match dim.as_const() {
        Some(c) => b.scalar(dtype, c as f64),
        None => {
            let sizes = b.dims(std::slice::from_ref(dim));
            let scalar = b.reshape(sizes, &[]);
            b.cast(scalar, dtype)
        }
    }
}

/// The mean over `axes`, kept with size 1. For floats.
pub fn mean(b: &mut Builder, x: Value, axes: &[usize]) -> Value {
    let sum = b.reduce_sum(x, axes, true);
    let shape = b.shape(x);
    let count = size(b, &Dim::product(axes.iter().map(|&a| &shape[a])), b.dtype(x));
    b.div(sum, count)
}

/// `x` less its mean over `axes`, and the variance (mean of squares of that) kept with size 1: the two-pass form.
pub fn centred(b: &mut Builder, x: Value, axes: &[usize]) -> (Value, Value) {
    let average = mean(b, x, axes);
    let centred = b.sub(x, average);
    let squares = b.mul(centred, centred);
    (centred, mean(b, squares, axes))
}

/// `x / √(variance + epsilon)`
pub fn standardised(b: &mut Builder, x: Value, variance: Value, epsilon: f64) -> Value {
    let shifted = shifted(b, variance, epsilon);
    let deviation = b.sqrt(shifted);
    b.div(x, deviation)
}

/// A vector with one element per channel, shaped to broadcast along axis 1 of a tensor of `rank` axes with `channels` there.
pub fn per_channel(b: &mut Builder, vector: Value, channels: &Dim, rank: usize) -> Value {
    let mut shape = vec![Dim::ONE; rank];
    shape[1] = channels.clone();
    b.reshape(vector, &shape)
}
