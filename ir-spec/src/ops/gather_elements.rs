//! `gather_elements`: elements along an axis, each with its own index.   y[i, j, k] = x[i, indices[i, j, k], k] for axis 1
//!
//! Shapes: `x: [d0, .., n, ..]`, `indices: [e0, .., m, ..]` with e ≤ d off the axis → that of `indices`.
//! A negative index counts from the end; one outside −n..n is an error at run time.
//! Constraints: (C0) two operands. (C1) `axis` is an axis of `x`. (C2) `indices` has an integer element type and the rank of `x`.
//! (C3) no other axis of `indices` is longer than that of `x`.
//! Source: ONNX GatherElements, NumPy `take_along_axis`.

use super::indexing::{ScatterReduction, integers, resolve};
use super::offsets::{offsets, pick, strides};
use super::shape::{axis, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, ScatterElements, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct GatherElements {
        /// The axis of `x` that is indexed.
        pub axis: usize,
    }
}

impl Operator for GatherElements {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "gather_elements_c0")?;
        axis(self.axis, &x[0], "gather_elements_c1")?;
        integers(&x[1], "gather_elements_c2")?;
        same_rank(&x[1], &x[0], "gather_elements_c2")?;
        at_most_off_axis(&x[1], &x[0], self.axis, facts, "gather_elements_c3")?;
        Ok(vec![x[0].with_shape(x[1].shape.clone())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let positions = element_positions(&x[1], x[0].shape(), self.axis)?;
        Ok(vec![pick(&x[0], x[1].shape().to_vec(), &positions)])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let gradient = dy[0].map(|dy| {
            let zeros = b.like(x[0], 0.0);
            b.op(ScatterElements { axis: self.axis, reduction: ScatterReduction::Add }, &[zeros, x[1], dy])
        });
        Gradient::Operands(vec![gradient, None])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::accepted(GatherElements { axis: 0 }, &["f32[5, 3]", "i64[2, 3]"]).with_values(1, -5.0, 4.0),
            Example::accepted(GatherElements { axis: 1 }, &["i8[n, 5]", "i32[n, m]"]).with_values(1, -5.0, 4.0),
            Example::accepted(GatherElements { axis: 1 }, &["f16[4, 3]", "i64[2, 7]"]).with_values(1, -3.0, 2.0),
            Example::accepted(GatherElements { axis: 0 }, &["f32[0]", "i64[0]"]),
            Example::rejected("gather_elements_c0", GatherElements { axis: 0 }, &["f32[2]"]),
            Example::rejected("gather_elements_c1", GatherElements { axis: 1 }, &["f32[2]", "i64[1]"]),
            Example::rejected("gather_elements_c2", GatherElements { axis: 0 }, &["f32[2]", "f32[1]"]),
            Example::rejected("gather_elements_c2", GatherElements { axis: 0 }, &["f32[2]", "i64[1, 1]"]),
            Example::rejected("gather_elements_c3", GatherElements { axis: 0 }, &["f32[2, 2]", "i64[1, 3]"]),
        ]
    }
}

/// Errors with `label` unless both have the same rank.
pub(super) fn same_rank(a: &TensorType, b: &TensorType, label: &'static str) -> Result<(), TypeError> {
    if a.rank() == b.rank() { Ok(()) } else { Err(TypeError::new(label, format!("ranks differ: {a} and {b}"))) }
}

/// Errors with `label` if an axis of `a` other than `axis` is longer than that of `b`.
pub(super) fn at_most_off_axis(
    a: &TensorType,
    b: &TensorType,
    axis: usize,
    facts: &mut Facts,
    label: &'static str,
) -> Result<(), TypeError> {
    for i in (0..a.rank()).filter(|i| *i != axis) {
        facts.at_most(&a.shape[i], &b.shape[i], label, format_args!("axis {i} of the indices {a}"))?;
    }
    Ok(())
}

/// The element of a tensor of `shape` that each index names: its own place, but for `axis`.
pub(super) fn element_positions(indices: &Tensor, shape: &[usize], axis: usize) -> Result<Vec<usize>, String> {
    let all = strides(shape);
    let off_axis: Vec<isize> = (0..shape.len()).map(|a| if a == axis { 0 } else { all[a] as isize }).collect();
    let along = resolve(indices, &[shape[axis]])?;
    Ok(offsets(indices.shape(), &off_axis, 0).into_iter().zip(along).map(|(p, i)| p + i * all[axis]).collect())
}
