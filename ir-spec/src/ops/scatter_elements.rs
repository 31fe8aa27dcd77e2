//! `scatter_elements`: `x` with elements replaced or combined, each at its own index along an axis.
//! y = x, then y[i, indices[i, j, k], k] ← reduction(y[..], updates[i, j, k]) for axis 1, in row-major order of `indices`
//!
//! Shapes: `x: [d0, .., n, ..]`, `indices: [e0, .., m, ..]` with e ≤ d off the axis, `updates`: that of `indices` → that of `x`.
//! A negative index counts from the end; one outside −n..n is an error at run time.
//! Constraints: (C0) three operands. (C1) `axis` is an axis of `x`. (C2) `indices` has an integer element type and the rank of `x`.
//! (C3) `updates` has the element type of `x` and the shape of `indices`. (C4) no other axis of `indices` is longer than that of `x`.
//! (C5) a reduction other than `none` needs a numeric element type.
//! Source: ONNX ScatterElements.

use super::arithmetic::{Arithmetic, with_arithmetic};
use super::gather_elements::{at_most_off_axis, element_positions, same_rank};
use super::indexing::{ScatterReduction, integers};
use super::scatter_gradient::{extreme_gradient, product_gradient, replacement_gradient};
use super::shape::{axis, operands, same_dtype};
use super::{Example, Facts, GatherElements, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct ScatterElements {
        /// The axis of `x` that is indexed.
        pub axis: usize,
        /// What happens where something is written.
        pub reduction: ScatterReduction,
    }
}

impl Operator for ScatterElements {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 3, "scatter_elements_c0")?;
        axis(self.axis, &x[0], "scatter_elements_c1")?;
        integers(&x[1], "scatter_elements_c2")?;
        same_rank(&x[1], &x[0], "scatter_elements_c2")?;
        same_dtype(&x[0], &x[2], "scatter_elements_c3")?;
        facts.same_shape(&x[1], &x[2], "scatter_elements_c3")?;
        at_most_off_axis(&x[1], &x[0], self.axis, facts, "scatter_elements_c4")?;
        reducible(self.reduction, &x[0], "scatter_elements_c5")?;
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let positions = element_positions(&x[1], x[0].shape(), self.axis)?;
        Ok(vec![with_arithmetic!(x[0].dtype(), scatter(&x[0], &x[2], &positions, 1, self.reduction))])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Gradient {
        let Some(dy) = dy[0] else { return Gradient::Operands(vec![None; 3]) };
        let gather = GatherElements { axis: self.axis };
        match self.reduction {
            ScatterReduction::Add => {
                let by_update = b.op(gather, &[dy, x[1]]);
                Gradient::Operands(vec![Some(dy), None, Some(by_update)])
            }
            ScatterReduction::None => replacement_gradient(b, self.clone().into(), gather.into(), x, dy),
            ScatterReduction::Mul => product_gradient(b, &|reduction| Self { reduction, ..self.clone() }.into(), gather.into(), x, dy),
            ScatterReduction::Max | ScatterReduction::Min => {
                extreme_gradient(b, Self { reduction: ScatterReduction::Add, ..self.clone() }.into(), gather.into(), x, y[0], dy)
            }
        }
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |axis, reduction| ScatterElements { axis, reduction };
        let none = ScatterReduction::None;
        let mut examples: Vec<Example> = ScatterReduction::ALL
            .iter()
            .map(|&r| Example::accepted(of(0, r), &["f32[5, 3]", "i64[7, 2]", "f32[7, 2]"]).with_values(1, -5.0, 4.0))
            .collect();
        examples.extend([
            Example::accepted(of(1, ScatterReduction::Add), &["i8[n, 5]", "i32[n, 9]", "i8[n, 9]"]).with_values(1, -5.0, 4.0),
            Example::accepted(of(1, none), &["bool[4, 3]", "i64[2, 3]", "bool[2, 3]"]).with_values(1, -3.0, 2.0),
            Example::accepted(of(0, none), &["f16[0]", "i64[0]", "f16[0]"]),
            Example::rejected("scatter_elements_c0", of(0, none), &["f32[2]", "i64[2]"]),
            Example::rejected("scatter_elements_c1", of(1, none), &["f32[2]", "i64[1]", "f32[1]"]),
            Example::rejected("scatter_elements_c2", of(0, none), &["f32[2]", "f32[1]", "f32[1]"]),
            Example::rejected("scatter_elements_c2", of(0, none), &["f32[2]", "i64[1, 1]", "f32[1, 1]"]),
            Example::rejected("scatter_elements_c3", of(0, none), &["f32[2]", "i64[1]", "f64[1]"]),
            Example::rejected("scatter_elements_c3", of(0, none), &["f32[2]", "i64[1]", "f32[2]"]),
            Example::rejected("scatter_elements_c4", of(0, none), &["f32[2, 2]", "i64[1, 3]", "f32[1, 3]"]),
            Example::rejected("scatter_elements_c5", of(0, ScatterReduction::Add), &["bool[2]", "i64[1]", "bool[1]"]),
        ]);
        examples
    }
}

/// Errors with `label` unless the reduction is defined on the element type.
pub(super) fn reducible(reduction: ScatterReduction, x: &TensorType, label: &'static str) -> Result<(), TypeError> {
    if reduction == ScatterReduction::None || super::is_number(x.dtype) {
        Ok(())
    } else {
        Err(TypeError::new(label, format!("`{}` is not defined on {x}", reduction.word())))
    }
}

/// `x` with each run of `row` updates applied at its position.
pub(super) fn scatter<T: Arithmetic>(x: &Tensor, updates: &Tensor, positions: &[usize], row: usize, reduction: ScatterReduction) -> Tensor {
    let (mut y, updates) = (T::read(x), T::read(updates));
    for (i, position) in positions.iter().enumerate() {
        for j in 0..row {
            y[position + j] = reduction.apply(y[position + j], updates[i * row + j]);
        }
    }
    T::write(x.dtype(), x.shape().to_vec(), y)
}
