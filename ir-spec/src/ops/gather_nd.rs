//! `gather_nd`: slices named by index tuples.   y[b.., i.., :] = x[b.., indices[b.., i.., 0], .., indices[b.., i.., k−1], :]
//!
//! Shapes: `x: [b.., n1, .., nk, r..]`, `indices: [b.., i.., k]` → `[b.., i.., r..]`.
//! A negative index counts from the end; one outside is an error at run time.
//! Constraints: (C0) two operands. (C1) `indices` has an integer element type. (C2) its last axis k is a constant with
//! `batch_axes` + k ≤ rank(x), and it has more than `batch_axes` axes. (C3) the batch axes of both have equal sizes.
//! Source: ONNX GatherND.

use super::indexing::{ScatterReduction, integers, resolve};
use super::offsets::strides;
use super::shape::operands;
use super::{Example, Facts, Gradient, Meaning, Operator, ScatterNd, TypeError};
use crate::op;
use crate::{Builder, DType, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct GatherNd {
        /// How many leading axes both operands share.
        pub batch_axes: usize,
    }
}

impl Operator for GatherNd {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "gather_nd_c0")?;
        integers(&x[1], "gather_nd_c1")?;
        let tuple = tuple_length(&x[1], &x[0], self.batch_axes, "gather_nd_c2")?;
        for i in 0..self.batch_axes {
            facts.equal(&x[0].shape[i], &x[1].shape[i], "gather_nd_c3", format_args!("batch axis {i} of {} and {}", x[0], x[1]))?;
        }
        let lead = &x[1].shape[..x[1].rank() - 1];
        Ok(vec![x[0].with_shape([lead, &x[0].shape[self.batch_axes + tuple..]].concat())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (batch, rest) = x[0].shape().split_at(self.batch_axes);
        let (lead, tuple) = (&x[1].shape()[..x[1].rank() - 1], x[1].shape()[x[1].rank() - 1]);
        let positions = tuple_positions(&x[1], rest)?;
        let row = rest[tuple..].iter().product::<usize>();
        let (plane, batches) = (rest.iter().product::<usize>(), batch.iter().product::<usize>());
        let (per_batch, size) = (positions.len() / batches.max(1), x[0].dtype().size_bytes());
        let mut bytes = Vec::new();
        for (i, position) in positions.iter().enumerate() {
            let at = i / per_batch * plane + position;
            bytes.extend_from_slice(&x[0].bytes()[at * size..][..row * size]);
        }
        Ok(vec![Tensor::from_vec(x[0].dtype(), [lead, &rest[tuple..]].concat(), bytes)])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let gradient = dy[0].map(|dy| {
            let (zeros, indices) = (b.like(x[0], 0.0), self.whole_indices(b, x[1]));
            b.op(ScatterNd { reduction: ScatterReduction::Add }, &[zeros, indices, dy])
        });
        Gradient::Operands(vec![gradient, None])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |batch_axes| GatherNd { batch_axes };
        vec![
            Example::accepted(of(0), &["f32[4, 5]", "i64[3, 2]"]).with_values(1, -4.0, 3.0),
            Example::accepted(of(0), &["f32[4, 5]", "i64[2, n, 1]"]).with_values(1, -4.0, 3.0),
            Example::accepted(of(1), &["i8[n, 4, 3]", "i32[n, 2, 1]"]).with_values(1, -4.0, 3.0),
            Example::accepted(of(1), &["f16[2, 4, 3]", "i64[2, 2]"]).with_values(1, -3.0, 2.0),
            Example::accepted(of(0), &["f32[4]", "i64[3, 0]"]),
            Example::accepted(of(0), &["f32[4, 0]", "i64[3, 1]"]).with_values(1, 0.0, 3.0),
            Example::rejected("gather_nd_c0", of(0), &["f32[2]"]),
            Example::rejected("gather_nd_c1", of(0), &["f32[2]", "f32[1, 1]"]),
            Example::rejected("gather_nd_c2", of(0), &["f32[2]", "i64[1, 2]"]),
            Example::rejected("gather_nd_c2", of(0), &["f32[2]", "i64[1, n]"]),
            Example::rejected("gather_nd_c2", of(0), &["f32[2]", "i64[]"]),
            Example::rejected("gather_nd_c2", of(1), &["f32[2, 2]", "i64[2]"]),
            Example::rejected("gather_nd_c3", of(1), &["f32[2, 2]", "i64[3, 1]"]),
        ]
    }
}

impl GatherNd {
    /// Index tuples that name the batch too, so that they need no batch axes.
    fn whole_indices(&self, b: &mut Builder, indices: Value) -> Value {
        let indices = b.cast(indices, DType::I64);
        let ty = b.ty(indices);
        let mut one = ty.shape.clone();
        one[ty.rank() - 1] = Dim::ONE;
        let mut parts: Vec<Value> = (0..self.batch_axes).map(|axis| b.iota(DType::I64, &one, axis)).collect();
        parts.push(indices);
        b.concat(&parts, ty.rank() - 1)
    }
}

/// The constant length of the index tuples. Errors: `label` if it is not constant or exceeds the axes of `x` after the batch axes.
pub(super) fn tuple_length(indices: &TensorType, x: &TensorType, batch_axes: usize, label: &'static str) -> Result<usize, TypeError> {
    let tuple = if indices.rank() > batch_axes { indices.shape.last().and_then(|d| d.as_const()) } else { None };
    match tuple.and_then(|k| usize::try_from(k).ok()) {
        Some(k) if batch_axes.saturating_add(k) <= x.rank() => Ok(k),
        _ => Err(TypeError::new(label, format!("{indices} does not index {x} after {batch_axes} batch axes"))),
    }
}

/// The first element of the slice of a tensor of `shape` that each index tuple names.
pub(super) fn tuple_positions(indices: &Tensor, shape: &[usize]) -> Result<Vec<usize>, String> {
    let tuple = indices.shape()[indices.rank() - 1];
    if tuple == 0 {
        return Ok(vec![0; indices.shape()[..indices.rank() - 1].iter().product()]);
    }
    let (all, along) = (strides(shape), resolve(indices, &shape[..tuple])?);
    Ok(along.chunks_exact(tuple).map(|index| index.iter().zip(&all).map(|(i, stride)| i * stride).sum()).collect())
}
