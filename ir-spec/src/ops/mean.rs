//! `mean`: the average over axes.   y = (Σ x) / count
//!
//! Shapes: `x: [..]` → without `axes`, or with size 1 there if `keep`.   Nothing averages to NaN.
//! 16-bit floats are computed in f32. Integers are summed in 64 bits (that sum wraps) and the quotient truncated; of no integers it is 0.
//! Constraints: (C0) one operand. (C1) a numeric element type. (C2) `axes` are distinct axes of `x`.
//! Source: ONNX ReduceMean.

use super::expansion::{mean, size, widen};
use super::reference::groups;
use super::shape::{distinct_axes, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, Reduce, TypeError};
use crate::dtype::Class;
use crate::op;
use crate::{Builder, DType, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Mean {
        /// The axes averaged over.
        pub axes: Vec<usize>,
        /// Whether they stay, with size 1.
        pub keep: bool,
    }
}

impl Mean {
    /// The type integers are summed in.
    fn sum_type(dtype: DType) -> DType {
        if dtype.class() == Class::Unsigned { DType::U64 } else { DType::I64 }
    }
}

impl Operator for Mean {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "mean_c0")?;
        if !super::is_number(x[0].dtype) {
            return Err(TypeError::new("mean_c1", format!("is not defined on {}", x[0])));
        }
        distinct_axes(&self.axes, &x[0], "mean_c2")?;
        Ok(vec![x[0].with_shape(Reduce::shape(&x[0].shape, &self.axes, self.keep, Dim::ONE))])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ty = x[0].ty();
        let shape = super::constants(&Reduce::shape(&ty.shape, &self.axes, self.keep, Dim::ONE))?;
        let lanes = groups(x[0].shape(), &self.axes);
        Ok(vec![if ty.dtype.is_float() {
            let values = x[0].floats();
            let average = |lane: Vec<usize>| lane.iter().map(|&p| values[p]).sum::<f64>() / lane.len() as f64;
            Tensor::from_floats(ty.dtype, shape, lanes.into_iter().map(average))
        } else {
            let values = x[0].ints();
            let average = |lane: Vec<usize>| {
                let sum = lane.iter().map(|&p| values[p]).sum();
                let wrapped = Tensor::from_ints(Mean::sum_type(ty.dtype), vec![], [sum]).ints()[0];
                wrapped.checked_div(lane.len() as i128).unwrap_or(0)
            };
            Tensor::from_ints(ty.dtype, shape, lanes.into_iter().map(average))
        }])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let ty = b.ty(x[0]);
        let average = if ty.dtype.is_float() {
            let wide = widen(b, x[0]);
            mean(b, wide, &self.axes)
        } else {
            let dtype = Mean::sum_type(ty.dtype);
            let wide = b.cast(x[0], dtype);
            let sum = b.reduce_sum(wide, &self.axes, true);
            let count = size(b, &Dim::product(self.axes.iter().map(|&a| &ty.shape[a])), dtype);
            b.div(sum, count)
        };
        let narrow = b.cast(average, ty.dtype);
        Meaning::Composite(vec![b.reshape(narrow, &Reduce::shape(&ty.shape, &self.axes, self.keep, Dim::ONE))])
    }

    fn examples() -> Vec<Example> {
        let over = |axes: &[usize], keep| Mean { axes: axes.to_vec(), keep };
        vec![
            Example::accepted(over(&[1], false), &["f32[2, 3, 4]"]).with_values(0, -4.0, 4.0),
            Example::accepted(over(&[0, 2], true), &["f64[n, 3, m]"]).with_values(0, -4.0, 4.0),
            Example::accepted(over(&[], false), &["f16[3]"]),
            Example::accepted(over(&[0], false), &["f32[0, 2]"]),
            Example::accepted(over(&[0], false), &["i8[200]"]),
            Example::accepted(over(&[1], true), &["u64[2, n]"]),
            Example::rejected("mean_c0", over(&[], true), &[]),
            Example::rejected("mean_c1", over(&[0], true), &["bool[2]"]),
            Example::rejected("mean_c2", over(&[1], true), &["f32[2]"]),
            Example::rejected("mean_c2", over(&[0, 0], true), &["f32[2]"]),
        ]
    }
}
