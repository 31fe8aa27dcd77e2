//! `concat`: tensors one after another along an axis.
//!
//! Shapes: `xᵢ: [.., nᵢ, ..]` → `[.., Σ nᵢ, ..]`.
//! Constraints: (C0) one operand or more. (C1) one element type and rank. (C2) `axis` is an axis. (C3) the other axes have equal sizes.

use super::shape::{axis, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Concat {
        /// The axis along which the operands follow one another.
        pub axis: usize,
    }
}

impl Operator for Concat {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        let Some(first) = x.first() else {
            return Err(TypeError::new("concat_c0", "takes at least one operand, got none"));
        };
        axis(self.axis, first, "concat_c2")?;
        let mut shape = first.shape.clone();
        for other in &x[1..] {
            same_dtype(first, other, "concat_c1")?;
            if other.rank() != first.rank() {
                return Err(TypeError::new("concat_c1", format!("ranks differ: {first} and {other}")));
            }
            for (i, (size, dim)) in shape.iter_mut().zip(&other.shape).enumerate() {
                if i == self.axis {
                    *size = &*size + dim;
                } else {
                    facts.equal(size, dim, "concat_c3", format_args!("axis {i} of {first} and {other}"))?;
                }
            }
        }
        Ok(vec![first.with_shape(shape)])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let mut shape = x[0].shape().to_vec();
        shape[self.axis] = x.iter().map(|t| t.shape()[self.axis]).sum();
        let rows: usize = shape[..self.axis].iter().product();
        let mut bytes = Vec::new();
        for row in 0..rows {
            for tensor in x {
                let length = tensor.bytes().len() / rows;
                bytes.extend_from_slice(&tensor.bytes()[row * length..][..length]);
            }
        }
        Ok(vec![Tensor::from_vec(x[0].dtype(), shape, bytes)])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let Some(dy) = dy[0] else { return Gradient::Operands(vec![None; x.len()]) };
        let mut start = Dim::ZERO;
        let mut gradients = Vec::new();
        for &operand in x {
            let size = b.shape(operand)[self.axis].clone();
            gradients.push(Some(b.slice_axis(dy, self.axis, &start, &size)));
            start = start + size;
        }
        Gradient::Operands(gradients)
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::accepted(Concat { axis: 0 }, &["f32[2, 3]", "f32[1, 3]"]),
            Example::accepted(Concat { axis: 1 }, &["i64[2, n]", "i64[2, 3]", "i64[2, m]"]),
            Example::accepted(Concat { axis: 1 }, &["bool[n, 1]", "bool[m, 2]"]),
            Example::accepted(Concat { axis: 2 }, &["f16[2, 3, 0]", "f16[2, 3, 5]"]),
            Example::accepted(Concat { axis: 0 }, &["u8[0]"]),
            Example::rejected("concat_c0", Concat { axis: 0 }, &[]),
            Example::rejected("concat_c1", Concat { axis: 0 }, &["f32[2]", "f64[2]"]),
            Example::rejected("concat_c1", Concat { axis: 0 }, &["f32[2]", "f32[2, 1]"]),
            Example::rejected("concat_c2", Concat { axis: 1 }, &["f32[2]"]),
            Example::rejected("concat_c3", Concat { axis: 0 }, &["f32[2, 3]", "f32[2, 4]"]),
        ]
    }
}
