//! `layer_norm`: each slice brought to mean 0 and variance 1, then scaled and shifted.
//! y = (x − mean(x)) / √(variance(x) + epsilon) · scale + bias, over the axes from `axes_from` on; two passes
//!
//! Shapes: `x: [..]`, `scale` and `bias` broadcastable to it → that of `x`.   16-bit floats are computed in f32.
//! Constraints: (C0) three operands. (C1) one floating element type. (C2) `axes_from` is an axis of `x`.
//! (C3) `scale` and `bias` broadcast to the shape of `x`.
//! Source: Ba et al. 2016; ONNX LayerNormalization-17.

use super::expansion::{centred, standardised, widen};
use super::reference::{broadcast_position, map_groups, moments};
use super::shape::{axis, broadcasts_to, floating, operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::attr::Real;
use crate::op;
use crate::tensor::indices;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct LayerNorm {
        /// The first of the axes normalised over; all after it belong to them.
        pub axes_from: usize,
        /// Added to the variance.
        pub epsilon: Real,
    }
}

impl Operator for LayerNorm {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 3, "layer_norm_c0")?;
        floating(&x[0], "layer_norm_c1")?;
        axis(self.axes_from, &x[0], "layer_norm_c2")?;
        for parameter in &x[1..] {
            same_dtype(&x[0], parameter, "layer_norm_c1")?;
            broadcasts_to(parameter, &x[0], facts, "layer_norm_c3")?;
        }
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let shape = x[0].shape();
        let (mut values, scale, bias) = (x[0].floats(), x[1].floats(), x[2].floats());
        let axes: Vec<usize> = (self.axes_from..shape.len()).collect();
        map_groups(&mut values, shape, &axes, |lane| {
            let (mean, variance) = moments(lane);
            lane.iter_mut().for_each(|v| *v = (*v - mean) / (variance + self.epsilon.0).sqrt());
        });
        for (v, index) in values.iter_mut().zip(indices(shape)) {
            *v = *v * scale[broadcast_position(&index, x[1].shape())] + bias[broadcast_position(&index, x[2].shape())];
        }
        Ok(vec![Tensor::from_floats(x[0].dtype(), shape.to_vec(), values)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let ty = b.ty(x[0]);
        let wide: Vec<Value> = x.iter().map(|v| widen(b, *v)).collect();
        let axes: Vec<usize> = (self.axes_from..ty.rank()).collect();
        let (centred, variance) = centred(b, wide[0], &axes);
        let normal = standardised(b, centred, variance, self.epsilon.0);
        let (scale, bias) = (b.broadcast_to(wide[1], &ty.shape), b.broadcast_to(wide[2], &ty.shape));
        let scaled = b.mul(normal, scale);
        let y = b.add(scaled, bias);
        Meaning::Composite(vec![b.cast(y, ty.dtype)])
    }

    fn examples() -> Vec<Example> {
        let from = |axes_from| LayerNorm { axes_from, epsilon: Real(1e-5) };
        let accepted = |op, inputs: &[&str]| Example::accepted(op, inputs).with_values(0, -4.0, 4.0).with_values(1, -2.0, 2.0);
        vec![
            accepted(from(1), &["f32[3, 17]", "f32[17]", "f32[17]"]),
            accepted(from(1), &["f64[2, 3, 4]", "f64[3, 4]", "f64[3, 1]"]),
            accepted(from(2), &["f32[n, m, 8]", "f32[8]", "f32[8]"]),
            accepted(from(0), &["f16[5]", "f16[]", "f16[1]"]),
            accepted(from(1), &["f32[n, m]", "f32[k]", "f32[k]"]),
            Example::rejected("layer_norm_c0", from(0), &["f32[2]"]),
            Example::rejected("layer_norm_c1", from(0), &["i32[2]", "i32[2]", "i32[2]"]),
            Example::rejected("layer_norm_c1", from(0), &["f32[2]", "f32[2]", "f64[2]"]),
            Example::rejected("layer_norm_c2", from(1), &["f32[2]", "f32[2]", "f32[2]"]),
            Example::rejected("layer_norm_c3", from(0), &["f32[2]", "f32[3]", "f32[2]"]),
            Example::rejected("layer_norm_c3", from(0), &["f32[2]", "f32[2]", "f32[1, 2]"]),
        ]
    }
}
