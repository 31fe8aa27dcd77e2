//! `softmax`: shares that sum to 1 along an axis.   y = exp(x − max(x)) / Σ exp(x − max(x))
//!
//! Shapes: `x: [..]` → same.   A lane with +∞ or NaN, or of −∞ alone, gives NaN. 16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type. (C2) `axis` is an axis of `x`.
//! Source: ONNX Softmax-13.

use super::expansion::widen;
use super::reference::{largest, map_groups};
use super::shape::{axis, floating, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Softmax {
        /// The axis along which shares sum to 1.
        pub axis: usize,
    }
}

impl Operator for Softmax {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "softmax_c0")?;
        floating(&x[0], "softmax_c1")?;
        axis(self.axis, &x[0], "softmax_c2")?;
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let mut values = x[0].floats();
        map_groups(&mut values, x[0].shape(), &[self.axis], |lane| {
            let m = largest(lane);
            let sum: f64 = lane.iter().map(|v| (v - m).exp()).sum();
            lane.iter_mut().for_each(|v| *v = (*v - m).exp() / sum);
        });
        Ok(vec![Tensor::from_floats(x[0].dtype(), x[0].shape().to_vec(), values)])
    }

    fn vjp(&self, b: &mut Builder, _: &[Value], y: &[Value], dy: &[Option<Value>]) -> Gradient {
        // dx = y · (dy − Σ y·dy)
        Gradient::Operands(vec![dy[0].map(|dy| {
            let products = b.mul(y[0], dy);
            let sum = b.reduce_sum(products, &[self.axis], true);
            let rest = b.sub(dy, sum);
            b.mul(y[0], rest)
        })])
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let wide = widen(b, x[0]);
        let m = b.reduce_max(wide, &[self.axis], true);
        let difference = b.sub(wide, m);
        let powers = b.exp(difference);
        let sum = b.reduce_sum(powers, &[self.axis], true);
        let y = b.div(powers, sum);
        let dtype = b.dtype(x[0]);
        Meaning::Composite(vec![b.cast(y, dtype)])
    }

    fn examples() -> Vec<Example> {
        let along = |axis| Softmax { axis };
        vec![
            Example::accepted(along(1), &["f32[2, 10]"]),
            Example::accepted(along(0), &["f64[n, 3]"]),
            Example::accepted(along(2), &["f32[2, m, n]"]),
            Example::accepted(along(0), &["f16[0]"]),
            Example::rejected("softmax_c0", along(0), &[]),
            Example::rejected("softmax_c1", along(0), &["i32[2]"]),
            Example::rejected("softmax_c2", along(1), &["f32[2]"]),
        ]
    }
}
