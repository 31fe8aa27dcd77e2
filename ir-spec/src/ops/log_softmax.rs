//! `log_softmax`: logarithms of shares that sum to 1 along an axis.   y = x − max(x) − log(Σ exp(x − max(x)))
//!
//! Shapes: `x: [..]` → same.   A lane with +∞ or NaN, or of −∞ alone, gives NaN. 16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type. (C2) `axis` is an axis of `x`.
//! Source: ONNX LogSoftmax-13.

use super::expansion::widen;
use super::reference::{largest, map_groups};
use super::shape::{axis, floating, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct LogSoftmax {
        /// The axis along which shares sum to 1.
        pub axis: usize,
    }
}

impl Operator for LogSoftmax {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "log_softmax_c0")?;
        floating(&x[0], "log_softmax_c1")?;
        axis(self.axis, &x[0], "log_softmax_c2")?;
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let mut values = x[0].floats();
        map_groups(&mut values, x[0].shape(), &[self.axis], |lane| {
            let m = largest(lane);
            let log = lane.iter().map(|v| (v - m).exp()).sum::<f64>().ln();
            lane.iter_mut().for_each(|v| *v = *v - m - log);
        });
        Ok(vec![Tensor::from_floats(x[0].dtype(), x[0].shape().to_vec(), values)])
    }

    fn vjp(&self, b: &mut Builder, _: &[Value], y: &[Value], dy: &[Option<Value>]) -> Gradient {
        // dx = dy − exp(y) · Σ dy
        Gradient::Operands(vec![dy[0].map(|dy| {
            let sum = b.reduce_sum(dy, &[self.axis], true);
            let share = b.exp(y[0]);
            let spread = b.mul(share, sum);
            b.sub(dy, spread)
        })])
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let wide = widen(b, x[0]);
        let m = b.reduce_max(wide, &[self.axis], true);
        let difference = b.sub(wide, m);
        let powers = b.exp(difference);
        let sum = b.reduce_sum(powers, &[self.axis], true);
        let log = b.log(sum);
        let y = b.sub(difference, log);
        let dtype = b.dtype(x[0]);
        Meaning::Composite(vec![b.cast(y, dtype)])
    }

    fn examples() -> Vec<Example> {
        let along = |axis| LogSoftmax { axis };
        vec![
            Example::accepted(along(1), &["f32[2, 10]"]),
            Example::accepted(along(0), &["f64[n, 3]"]),
            Example::accepted(along(0), &["f16[0]"]),
            Example::rejected("log_softmax_c0", along(0), &[]),
            Example::rejected("log_softmax_c1", along(0), &["i32[2]"]),
            Example::rejected("log_softmax_c2", along(1), &["f32[2]"]),
        ]
    }
}
