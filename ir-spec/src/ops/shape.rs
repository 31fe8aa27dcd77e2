//! Checks that many type rules share.

use super::TypeError;
use crate::{Dim, TensorType};

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

/// The shape after reducing `axes`: without them, or with size 1 there if `keep`.
pub fn reduced(ty: &TensorType, axes: &[usize], keep: bool) -> Vec<Dim> {
    let dims = ty.shape.iter().enumerate();
    dims.filter(|(a, _)| keep || !axes.contains(a)).map(|(a, d)| if axes.contains(&a) { Dim::ONE } else { d.clone() }).collect()
}
