//! What gathers and scatters share: indices as operands.

use super::TypeError;
use crate::{Tensor, TensorType, mode};

mode! {
    /// What a scatter does where it writes.
    pub enum ScatterReduction {
        /// The update replaces the element; of several, the last in row-major order of the indices.
        None = "none",
        /// The sum.
        Add = "add",
        /// The product.
        Mul = "mul",
        /// The larger; NaN if either is.
        Max = "max",
        /// The smaller; NaN if either is.
        Min = "min",
    }
}

impl ScatterReduction {
    pub(crate) fn apply<T: super::arithmetic::Arithmetic>(self, old: T, update: T) -> T {
        match self {
            ScatterReduction::None => update,
            ScatterReduction::Add => old.plus(update),
            ScatterReduction::Mul => old.times(update),
            ScatterReduction::Max => old.larger(update),
            ScatterReduction::Min => old.smaller(update),
        }
    }
}

/// Errors with `label` unless the element type is an integer.
pub(crate) fn integers(ty: &TensorType, label: &'static str) -> Result<(), TypeError> {
    if ty.dtype.is_int() { Ok(()) } else { Err(TypeError::new(label, format!("indices are {ty}, expected integers"))) }
}

/// The indices of a tensor into axes of the given sizes, taken in turn; negative ones count from the end.
///
/// Errors: one is out of range.
pub(crate) fn resolve(indices: &Tensor, sizes: &[usize]) -> Result<Vec<usize>, String> {
    let resolve_one = |(position, index): (usize, i128)| {
        let size = sizes[position % sizes.len()] as i128;
        let at = if index < 0 { index + size } else { index };
        if (0..size).contains(&at) { Ok(at as usize) } else { Err(format!("index {index} is out of range for an axis of size {size}")) }
    };
    indices.ints().into_iter().enumerate().map(resolve_one).collect()
}
