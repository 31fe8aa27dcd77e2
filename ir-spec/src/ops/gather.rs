//! `gather`: slices of an axis, chosen by index.   y[.., i.., ..] = x[.., indices[i..], ..]
//!
//! Shapes: `x: [a.., n, b..]`, `indices: [i..]` → `[a.., i.., b..]`.
//! A negative index counts from the end; one outside −n..n is an error at run time.
//! Constraints: (C0) two operands. (C1) `axis` is an axis of `x`. (C2) `indices` has an integer element type.
//! Source: ONNX Gather, NumPy `take`.

use super::indexing::{integers, resolve};
use super::movement::add_slices;
use super::shape::{axis, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Gather {
        /// The axis of `x` that is indexed.
        pub axis: usize,
    }
}

impl Operator for Gather {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "gather_c0")?;
        axis(self.axis, &x[0], "gather_c1")?;
        integers(&x[1], "gather_c2")?;
        Ok(vec![x[0].with_shape([&x[0].shape[..self.axis], &x[1].shape, &x[0].shape[self.axis + 1..]].concat())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (before, rest) = x[0].shape().split_at(self.axis);
        let (n, after) = (rest[0], &rest[1..]);
        let indices = resolve(&x[1], &[n])?;
        let row = after.iter().product::<usize>() * x[0].dtype().size_bytes();
        let mut bytes = Vec::new();
        for outer in 0..before.iter().product() {
            for index in &indices {
                bytes.extend_from_slice(&x[0].bytes()[(outer * n + index) * row..][..row]);
            }
        }
        Ok(vec![Tensor::from_vec(x[0].dtype(), [before, x[1].shape(), after].concat(), bytes)])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let n = b.shape(x[0])[self.axis].clone();
        Gradient::Operands(vec![dy[0].map(|dy| add_slices(b, dy, x[1], self.axis, &n)), None])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::accepted(Gather { axis: 0 }, &["f32[5, 3]", "i64[4]"]).with_values(1, -5.0, 4.0),
            Example::accepted(Gather { axis: 1 }, &["i8[n, 5, 3]", "i32[2, m]"]).with_values(1, -5.0, 4.0),
            Example::accepted(Gather { axis: 1 }, &["f16[2, 3]", "u8[]"]).with_values(1, 0.0, 2.0),
            Example::accepted(Gather { axis: 0 }, &["bool[0, 2]", "i64[0]"]),
            Example::accepted(Gather { axis: 0 }, &["f32[5, 0]", "i64[2]"]).with_values(1, 0.0, 4.0),
            Example::rejected("gather_c0", Gather { axis: 0 }, &["f32[2]"]),
            Example::rejected("gather_c1", Gather { axis: 1 }, &["f32[2]", "i64[1]"]),
            Example::rejected("gather_c2", Gather { axis: 0 }, &["f32[2]", "f32[1]"]),
        ]
    }
}
