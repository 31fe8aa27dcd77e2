//! Types of values: an element type and a shape whose dims may be symbolic.

use crate::{DType, Dim, Proof, Ranges};
use std::fmt;

/// The type of a tensor value: `f32[batch, 3, 224, 224]`. Rank is static, dims may be symbolic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// One dim per axis; empty for a scalar.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: impl Into<Vec<Dim>>) -> Self {
        TensorType { dtype, shape: shape.into() }
    }

    /// A type with constant dims.
    pub fn fixed(dtype: DType, shape: &[usize]) -> Self {
        TensorType { dtype, shape: shape.iter().map(|&d| Dim::from(d)).collect() }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Product of the dims.
    pub fn elements(&self) -> Dim {
        Dim::product(&self.shape)
    }

    /// The shape as constants, if every dim is one.
    pub fn fixed_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(|d| d.as_const().and_then(|c| usize::try_from(c).ok())).collect()
    }

    /// True if both are the same type for every value of the symbols.
    pub fn provably_equal(&self, other: &TensorType, ranges: &Ranges) -> bool {
        let same = |(a, b): (&Dim, &Dim)| ranges.provably_equal(a, b) == Proof::Yes;
        self.dtype == other.dtype && self.rank() == other.rank() && self.shape.iter().zip(&other.shape).all(same)
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        TensorType { dtype, shape: self.shape.clone() }
    }

    /// The same element type with another shape.
    pub fn with_shape(&self, shape: impl Into<Vec<Dim>>) -> Self {
        TensorType { dtype: self.dtype, shape: shape.into() }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, dim) in self.shape.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

/// Reads `f32[n, 3]`. Errors: what is wrong with the text.
pub fn parse_tensor_type(text: &str) -> Result<TensorType, String> {
    let (name, rest) = text.trim().split_once('[').ok_or_else(|| format!("expected `dtype[dims]`, found `{text}`"))?;
    let dtype = DType::from_name(name).ok_or_else(|| format!("no element type `{name}`"))?;
    let inside = rest.strip_suffix(']').ok_or_else(|| format!("expected `]` at the end of `{text}`"))?;
    let shape = split_top_level(inside).into_iter().map(crate::dim::parse_dim).collect::<Result<Vec<_>, _>>()?;
    Ok(TensorType { dtype, shape })
}

/// Splits at commas outside parentheses.
fn split_top_level(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    if text.trim().is_empty() {
        return parts;
    }
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}
