//! `scatter_nd`: `x` with slices replaced or combined, named by index tuples.
//! y = x, then y[indices[i.., 0], .., indices[i.., k−1], :] ← reduction(y[..], updates[i.., :]), in row-major order of `indices`
//!
//! Shapes: `x: [n1, .., nk, r..]`, `indices: [i.., k]`, `updates: [i.., r..]` → that of `x`.
//! A negative index counts from the end; one outside is an error at run time.
//! Constraints: (C0) three operands. (C1) `indices` has an integer element type. (C2) its last axis k is a constant with k ≤ rank(x).
//! (C3) `updates` has the element type of `x` and the shape above. (C4) a reduction other than `none` needs a numeric element type.
//! Source: ONNX ScatterND.

use super::arithmetic::with_arithmetic;
use super::gather_nd::{tuple_length, tuple_positions};
use super::indexing::{ScatterReduction, integers};
use super::scatter_elements::{reducible, scatter};
use super::scatter_gradient::{extreme_gradient, product_gradient, replacement_gradient};
use super::shape::{operands, same_dtype};
use super::{Example, Facts, GatherNd, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct ScatterNd {
        /// What happens where something is written.
        pub reduction: ScatterReduction,
    }
}

impl Operator for ScatterNd {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 3, "scatter_nd_c0")?;
        integers(&x[1], "scatter_nd_c1")?;
        let tuple = tuple_length(&x[1], &x[0], 0, "scatter_nd_c2")?;
        same_dtype(&x[0], &x[2], "scatter_nd_c3")?;
        let expected = x[0].with_shape([&x[1].shape[..x[1].rank() - 1], &x[0].shape[tuple..]].concat());
        facts.same_shape(&x[2], &expected, "scatter_nd_c3")?;
        reducible(self.reduction, &x[0], "scatter_nd_c4")?;
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let positions = tuple_positions(&x[1], x[0].shape())?;
        let row = x[0].shape()[x[1].shape()[x[1].rank() - 1]..].iter().product();
        Ok(vec![with_arithmetic!(x[0].dtype(), scatter(&x[0], &x[2], &positions, row, self.reduction))])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Gradient {
        let Some(dy) = dy[0] else { return Gradient::Operands(vec![None; 3]) };
        let gather = GatherNd { batch_axes: 0 };
        match self.reduction {
            ScatterReduction::Add => {
                let by_update = b.op(gather, &[dy, x[1]]);
                Gradient::Operands(vec![Some(dy), None, Some(by_update)])
            }
            ScatterReduction::None => replacement_gradient(b, self.clone().into(), gather.into(), x, dy),
            ScatterReduction::Mul => product_gradient(b, &|reduction| Self { reduction }.into(), gather.into(), x, dy),
            ScatterReduction::Max | ScatterReduction::Min => {
                extreme_gradient(b, Self { reduction: ScatterReduction::Add }.into(), gather.into(), x, y[0], dy)
            }
        }
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |reduction| ScatterNd { reduction };
        let none = ScatterReduction::None;
        let mut examples: Vec<Example> = ScatterReduction::ALL
            .iter()
            .map(|&r| Example::accepted(of(r), &["f32[4, 5]", "i64[7, 1]", "f32[7, 5]"]).with_values(1, -4.0, 3.0))
            .collect();
        examples.extend([
            Example::accepted(of(ScatterReduction::Add), &["i8[4, 4, n]", "i32[3, 2, 2]", "i8[3, 2, n]"]).with_values(1, -4.0, 3.0),
            Example::accepted(of(none), &["bool[3]", "i64[m, 1]", "bool[m]"]).with_values(1, -3.0, 2.0),
            Example::accepted(of(none), &["f16[3]", "i64[2, 0]", "f16[2, 3]"]),
            Example::rejected("scatter_nd_c0", of(none), &["f32[2]", "i64[2, 1]"]),
            Example::rejected("scatter_nd_c1", of(none), &["f32[2]", "f32[1, 1]", "f32[1]"]),
            Example::rejected("scatter_nd_c2", of(none), &["f32[2]", "i64[1, 2]", "f32[1]"]),
            Example::rejected("scatter_nd_c3", of(none), &["f32[2]", "i64[1, 1]", "f64[1]"]),
            Example::rejected("scatter_nd_c3", of(none), &["f32[2]", "i64[1, 1]", "f32[2]"]),
            Example::rejected("scatter_nd_c4", of(ScatterReduction::Max), &["bool[2]", "i64[1, 1]", "bool[1]"]),
        ]);
        examples
    }
}
