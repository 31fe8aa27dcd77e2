//! `top_k`: the k largest or smallest elements along an axis, sorted, and where they were.
//!
//! Shapes: `x: [.., n, ..]` → values `[.., k, ..]` and indices `i64[.., k, ..]`.
//! The most extreme comes first; of equal elements the one with the lower index; zeros of both signs are equal.
//! NaN counts as larger than every number. With k = n this is a stable sort.
//! Constraints: (C0) one operand. (C1) `axis` is an axis of `x`. (C2) a numeric element type. (C3) 0 ≤ k ≤ n.
//! Source: ONNX TopK.

use super::arithmetic::{Arithmetic, with_arithmetic};
use super::offsets::{axis_offsets, other_axes};
use super::shape::{axis, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, DType, Dim, Tensor, TensorType, Value};
use std::cmp::Ordering;

op! {
    /// See the head of this file.
    pub struct TopK {
        /// How many.
        pub k: Dim,
        /// Along which axis.
        pub axis: usize,
        /// Whether the largest are wanted, else the smallest.
        pub largest: bool,
    }
}

impl Operator for TopK {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "top_k_c0")?;
        axis(self.axis, &x[0], "top_k_c1")?;
        if !super::is_number(x[0].dtype) {
            return Err(TypeError::new("top_k_c2", format!("is not defined on {}", x[0])));
        }
        facts.at_most(&Dim::ZERO, &self.k, "top_k_c3", "k")?;
        facts.at_most(&self.k, &x[0].shape[self.axis], "top_k_c3", format_args!("k along axis {} of {}", self.axis, x[0]))?;
        let mut shape = x[0].shape.clone();
        shape[self.axis] = self.k.clone();
        let values = x[0].with_shape(shape);
        Ok(vec![values.clone(), values.with_dtype(DType::I64)])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let k = super::constants(std::slice::from_ref(&self.k))?[0];
        Ok(with_arithmetic!(x[0].dtype(), evaluate(self, k, &x[0])))
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Gradient {
        let gradient = dy[0].map(|dy| {
            let zeros = b.like(x[0], 0.0);
            let add = super::ScatterElements { axis: self.axis, reduction: super::ScatterReduction::Add };
            b.op(add, &[zeros, y[1], dy])
        });
        Gradient::Operands(vec![gradient])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |k: i64, axis, largest| TopK { k: Dim::from(k), axis, largest };
        vec![
            Example::accepted(of(3, 1, true), &["f32[3, 9]"]),
            Example::accepted(of(3, 1, false), &["f16[3, 9, 2]"]),
            Example::accepted(of(7, 0, true), &["i8[40, n]"]),
            Example::accepted(TopK { k: Dim::symbol("n"), axis: 0, largest: false }, &["f64[n]"]),
            Example::accepted(of(0, 0, true), &["u64[0]"]),
            Example::rejected("top_k_c0", of(1, 0, true), &[]),
            Example::rejected("top_k_c1", of(1, 1, true), &["f32[2]"]),
            Example::rejected("top_k_c2", of(1, 0, true), &["bool[2]"]),
            Example::rejected("top_k_c3", of(3, 0, true), &["f32[2]"]),
            Example::rejected("top_k_c3", of(-1, 0, true), &["f32[2]"]),
        ]
    }
}

fn evaluate<T: Arithmetic>(op: &TopK, k: usize, x: &Tensor) -> Vec<Tensor> {
    let values = T::read(x);
    let along = axis_offsets(x.shape(), &[op.axis]);
    let mut shape = x.shape().to_vec();
    shape[op.axis] = k;
    let results = axis_offsets(&shape, &[op.axis]);
    let mut top = vec![T::ZERO; shape.iter().product()];
    let mut places = vec![0i64; top.len()];
    let rows = axis_offsets(x.shape(), &other_axes(x.rank(), &[op.axis]));
    let result_rows = axis_offsets(&shape, &other_axes(x.rank(), &[op.axis]));
    for (row, result_row) in rows.into_iter().zip(result_rows) {
        let mut order: Vec<usize> = (0..along.len()).collect();
        // The sort is stable: equal elements keep their order.
        order.sort_by(|&i, &j| {
            let ascending = ascending(values[row + along[i]], values[row + along[j]]);
            if op.largest { ascending.reverse() } else { ascending }
        });
        for (result, &i) in results.iter().zip(&order) {
            top[result_row + result] = values[row + along[i]];
            places[result_row + result] = i as i64;
        }
    }
    vec![T::write(x.dtype(), shape.clone(), top), Tensor::i64(&shape, &places)]
}

/// NaN above everything.
fn ascending<T: Arithmetic>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_largest_and_ties_keep_their_order() {
        let x = Tensor::f32(&[6], &[1.0, f32::NAN, 3.0, -0.0, 3.0, 0.0]);
        let places = |largest| {
            crate::Op::from(TopK { k: Dim::from(6), axis: 0, largest }).eval(std::slice::from_ref(&x)).expect("it computes")[1].ints()
        };
        assert_eq!(places(true), [1, 2, 4, 0, 3, 5]);
        assert_eq!(places(false), [3, 5, 0, 2, 4, 1]);
    }
}
