//! `log_sum_exp`: a smooth maximum over axes.   y = log(Σ exp(x)), computed as m + log(Σ exp(x − m)) with m = max(x)
//!
//! Shapes: `x: [..]` → without `axes`, or with size 1 there if `keep`.   Of nothing it is −∞. 16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type. (C2) `axes` are distinct axes of `x`.
//! Source: ONNX ReduceLogSumExp.

use super::expansion::widen;
use super::reference::{groups, largest};
use super::shape::{distinct_axes, floating, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, Reduce, TypeError};
use crate::op;
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct LogSumExp {
        /// The axes summed over.
        pub axes: Vec<usize>,
        /// Whether they stay, with size 1.
        pub keep: bool,
    }
}

impl Operator for LogSumExp {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "log_sum_exp_c0")?;
        floating(&x[0], "log_sum_exp_c1")?;
        distinct_axes(&self.axes, &x[0], "log_sum_exp_c2")?;
        Ok(vec![x[0].with_shape(Reduce::shape(&x[0].shape, &self.axes, self.keep, Dim::ONE))])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let shape = super::constants(&Reduce::shape(&x[0].ty().shape, &self.axes, self.keep, Dim::ONE))?;
        let values = x[0].floats();
        let one = |lane: Vec<usize>| {
            let lane: Vec<f64> = lane.iter().map(|&p| values[p]).collect();
            let m = largest(&lane);
            if m.is_infinite() { m } else { m + lane.iter().map(|v| (v - m).exp()).sum::<f64>().ln() }
        };
        Ok(vec![Tensor::from_floats(x[0].dtype(), shape, groups(x[0].shape(), &self.axes).into_iter().map(one))])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Gradient {
        // dx = dy · exp(x − y)
        let kept = Reduce::shape(&b.shape(x[0]), &self.axes, true, Dim::ONE);
        Gradient::Operands(vec![dy[0].map(|dy| {
            let (y, dy) = (b.reshape(y[0], &kept), b.reshape(dy, &kept));
            let difference = b.sub(x[0], y);
            let share = b.exp(difference);
            b.mul(dy, share)
        })])
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let ty = b.ty(x[0]);
        let wide = widen(b, x[0]);
        let m = b.reduce_max(wide, &self.axes, true);
        // Infinities are not subtracted: ∞ − ∞ has no value.
        let infinite = b.is_inf(m);
        let zero = b.like(m, 0.0);
        let finite = b.select(infinite, zero, m);
        let difference = b.sub(wide, finite);
        let powers = b.exp(difference);
        let sum = b.reduce_sum(powers, &self.axes, true);
        let log = b.log(sum);
        let y = b.add(log, finite);
        let narrow = b.cast(y, ty.dtype);
        Meaning::Composite(vec![b.reshape(narrow, &Reduce::shape(&ty.shape, &self.axes, self.keep, Dim::ONE))])
    }

    fn examples() -> Vec<Example> {
        let over = |axes: &[usize], keep| LogSumExp { axes: axes.to_vec(), keep };
        vec![
            Example::accepted(over(&[1], false), &["f32[2, 3, 4]"]),
            Example::accepted(over(&[0, 2], true), &["f64[n, 3, m]"]),
            Example::accepted(over(&[0], false), &["f32[0, 2]"]),
            Example::accepted(over(&[0], true), &["bf16[7]"]),
            Example::rejected("log_sum_exp_c0", over(&[], true), &[]),
            Example::rejected("log_sum_exp_c1", over(&[0], true), &["i32[2]"]),
            Example::rejected("log_sum_exp_c2", over(&[1], true), &["f32[2]"]),
        ]
    }
}
