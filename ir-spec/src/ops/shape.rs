//! Checks that many type rules share.

use super::{Facts, TypeError};
use crate::TensorType;

/// Errors with `label` unless there are `n` operands.
pub fn operands(x: &[TensorType], n: usize, label: &'static str) -> Result<(), TypeError> {
    if x.len() == n { Ok(()) } else { Err(TypeError::new(label, format!("takes {n} operands, got {}", x.len()))) }
}

/// Errors with `label` unless `axis` is an axis of `ty`.
pub fn axis(axis: usize, ty: &TensorType, label: &'static str) -> Result<(), TypeError> {
    if axis < ty.rank() { Ok(()) } else { Err(TypeError::new(label, format!("axis {axis} of {ty}, which has {} axes", ty.rank()))) }
}

/// Errors with `label` unless the element type is floating.
pub fn floating(ty: &TensorType, label: &'static str) -> Result<(), TypeError> {
    if ty.dtype.is_float() { Ok(()) } else { Err(TypeError::new(label, format!("needs a floating element type, got {ty}"))) }
}

/// Errors with `label` unless both have the same element type.
pub fn same_dtype(a: &TensorType, b: &TensorType, label: &'static str) -> Result<(), TypeError> {
    if a.dtype == b.dtype { Ok(()) } else { Err(TypeError::new(label, format!("element types differ: {a} and {b}"))) }
}

/// Errors with `label` unless `axes` are distinct axes of `ty`.
pub fn distinct_axes(axes: &[usize], ty: &TensorType, label: &'static str) -> Result<(), TypeError> {
    for (i, &a) in axes.iter().enumerate() {
        axis(a, ty, label)?;
        if axes[..i].contains(&a) {
            return Err(TypeError::new(label, format!("axis {a} appears twice")));
        }
    }
    Ok(())
}

/// Errors with `label` unless `from` broadcasts to the shape of `to`, trailing axes aligned.
pub fn broadcasts_to(from: &TensorType, to: &TensorType, facts: &mut Facts, label: &'static str) -> Result<(), TypeError> {
    let Some(new) = to.rank().checked_sub(from.rank()) else {
        return Err(TypeError::new(label, format!("{from} has more axes than {to}")));
    };
    for (a, b) in from.shape.iter().zip(&to.shape[new..]) {
        if a.is(1) || a == b {
            continue;
        }
        if b.is(1) {
            facts.equal(a, b, label, format_args!("{from} against {to}"))?;
        } else {
            facts.broadcast(a, b, label, format_args!("{from} against {to}"))?;
            facts.at_most(a, b, label, format_args!("{from} against {to}"))?;
        }
    }
    Ok(())
}

/// Errors with `label` unless `vector` has one axis as long as axis 1 of `x`.
pub fn channel_vector(vector: &TensorType, x: &TensorType, facts: &mut Facts, label: &'static str) -> Result<(), TypeError> {
    if vector.rank() != 1 {
        return Err(TypeError::new(label, format!("expected one value per channel of {x}, got {vector}")));
    }
    facts.equal(&vector.shape[0], &x.shape[1], label, format_args!("{vector} for the channels of {x}"))
}
