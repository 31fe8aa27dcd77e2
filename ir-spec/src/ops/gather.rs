//! `gather`: slices of an axis, chosen by index.   y[.., i.., ..] = x[.., indices[i..], ..]
//!
//! Shapes: `x: [a.., n, b..]`, `indices: [i..]` → `[a.., i.., b..]`.
//! A negative index counts from the end; one outside −n..n is an error at run time.
//! Constraints: (C0) two operands. (C1) `axis` is an axis of `x`. (C2) `indices` has an integer element type.
//! Source: ONNX Gather, NumPy `take`.

use super::indexing::{ScatterReduction, integers, resolve};
use super::shape::{axis, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, ScatterNd, TypeError};
use crate::op;
use crate::{Builder, Dim, Tensor, TensorType, Value};

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
        let Some(dy) = dy[0] else { return Gradient::Operands(vec![None, None]) };
        // The indexed axis first: then each index names one row, to which its gradient is added.
        let (ty, indices) = (b.ty(x[0]), b.shape(x[1]));
        let (rank, k) = (ty.rank(), indices.len());
        let to_front: Vec<usize> = [self.axis].into_iter().chain((0..rank).filter(|a| *a != self.axis)).collect();
        let indices_to_front: Vec<usize> = (self.axis..self.axis + k).chain(0..self.axis).chain(self.axis + k..rank - 1 + k).collect();
        let front: Vec<Dim> = to_front.iter().map(|&a| ty.shape[a].clone()).collect();
        let zero = b.scalar(ty.dtype, 0.0);
        let (zeros, updates) = (b.broadcast_to(zero, &front), b.transpose(dy, &indices_to_front));
        let rows = b.unsqueeze(x[1], &[k]);
        let sum = b.op(ScatterNd { reduction: ScatterReduction::Add }, &[zeros, rows, updates]);
        let dx = b.transpose(sum, &super::Transpose::inverse(&to_front));
        Gradient::Operands(vec![Some(dx), None])
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
