//! `rms_norm`: each slice divided by its root mean square, then scaled.
//! y = x / √(mean(x²) + epsilon) · scale, over the axes from `axes_from` on
//!
//! Shapes: `x: [..]`, `scale` broadcastable to it → that of `x`.   16-bit floats are computed in f32.
//! Constraints: (C0) two operands. (C1) one floating element type. (C2) `axes_from` is an axis of `x`.
//! (C3) `scale` broadcasts to the shape of `x`.
//! Source: Zhang & Sennrich 2019; ONNX RMSNormalization-23.

use super::expansion::{mean, standardised, widen};
use super::reference::{broadcast_position, map_groups};
use super::shape::{axis, broadcasts_to, floating, operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::attr::Real;
use crate::op;
use crate::tensor::indices;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct RmsNorm {
        /// The first of the axes normalised over; all after it belong to them.
        pub axes_from: usize,
        /// Added to the mean square.
        pub epsilon: Real,
    }
}

impl Operator for RmsNorm {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "rms_norm_c0")?;
        floating(&x[0], "rms_norm_c1")?;
        same_dtype(&x[0], &x[1], "rms_norm_c1")?;
        axis(self.axes_from, &x[0], "rms_norm_c2")?;
        broadcasts_to(&x[1], &x[0], facts, "rms_norm_c3")?;
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let shape = x[0].shape();
        let (mut values, scale) = (x[0].floats(), x[1].floats());
        let axes: Vec<usize> = (self.axes_from..shape.len()).collect();
        map_groups(&mut values, shape, &axes, |lane| {
            let mean_square = lane.iter().map(|v| v * v).sum::<f64>() / lane.len() as f64;
            lane.iter_mut().for_each(|v| *v /= (mean_square + self.epsilon.0).sqrt());
        });
        for (v, index) in values.iter_mut().zip(indices(shape)) {
            *v *= scale[broadcast_position(&index, x[1].shape())];
        }
        Ok(vec![Tensor::from_floats(x[0].dtype(), shape.to_vec(), values)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let ty = b.ty(x[0]);
        let (wide, scale) = (widen(b, x[0]), widen(b, x[1]));
        let axes: Vec<usize> = (self.axes_from..ty.rank()).collect();
        let squares = b.mul(wide, wide);
        let mean_square = mean(b, squares, &axes);
        let normal = standardised(b, wide, mean_square, self.epsilon.0);
        let scale = b.broadcast_to(scale, &ty.shape);
        let y = b.mul(normal, scale);
        Meaning::Composite(vec![b.cast(y, ty.dtype)])
    }

    fn examples() -> Vec<Example> {
        let from = |axes_from| RmsNorm { axes_from, epsilon: Real(1e-5) };
        let accepted = |op, inputs: &[&str]| Example::accepted(op, inputs).with_values(0, -4.0, 4.0).with_values(1, -2.0, 2.0);
        vec![
            accepted(from(1), &["f32[3, 17]", "f32[17]"]),
            accepted(from(1), &["f64[2, 3, 4]", "f64[4]"]),
            accepted(from(2), &["f32[n, m, 8]", "f32[8]"]),
            accepted(from(0), &["bf16[5]", "bf16[]"]),
            Example::rejected("rms_norm_c0", from(0), &["f32[2]"]),
            Example::rejected("rms_norm_c1", from(0), &["i32[2]", "i32[2]"]),
            Example::rejected("rms_norm_c1", from(0), &["f32[2]", "f64[2]"]),
            Example::rejected("rms_norm_c2", from(1), &["f32[2]", "f32[2]"]),
            Example::rejected("rms_norm_c3", from(0), &["f32[2]", "f32[3]"]),
        ]
    }
}
