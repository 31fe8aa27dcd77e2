//! `instance_norm`: each channel of each sample brought to mean 0 and variance 1, then scaled and shifted.
//! y = (x − mean) / √(variance + epsilon) · scale + bias, statistics over a channel's positions
//!
//! Shapes: `x: [batch, channels, ..]`, `scale` and `bias`: `[channels]` → that of `x`.   16-bit floats are computed in f32.
//! Constraints: (C0) three operands. (C1) one floating element type. (C2) `x` has three axes or more. (C3) one parameter per channel.
//! Source: Ulyanov et al. 2016; ONNX InstanceNormalization.

use super::expansion::{centred, per_channel, standardised, widen};
use super::reference::{map_groups, moments};
use super::shape::{channel_vector, floating, operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::attr::Real;
use crate::op;
use crate::tensor::indices;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct InstanceNorm {
        /// Added to the variance.
        pub epsilon: Real,
    }
}

impl Operator for InstanceNorm {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 3, "instance_norm_c0")?;
        floating(&x[0], "instance_norm_c1")?;
        if x[0].rank() < 3 {
            return Err(TypeError::new("instance_norm_c2", format!("{} has no positions in a channel", x[0])));
        }
        for parameter in &x[1..] {
            same_dtype(&x[0], parameter, "instance_norm_c1")?;
            channel_vector(parameter, &x[0], facts, "instance_norm_c3")?;
        }
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let shape = x[0].shape();
        let (mut values, scale, bias) = (x[0].floats(), x[1].floats(), x[2].floats());
        let axes: Vec<usize> = (2..shape.len()).collect();
        map_groups(&mut values, shape, &axes, |lane| {
            let (mean, variance) = moments(lane);
            lane.iter_mut().for_each(|v| *v = (*v - mean) / (variance + self.epsilon.0).sqrt());
        });
        for (v, index) in values.iter_mut().zip(indices(shape)) {
            *v = *v * scale[index[1]] + bias[index[1]];
        }
        Ok(vec![Tensor::from_floats(x[0].dtype(), shape.to_vec(), values)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let ty = b.ty(x[0]);
        let wide: Vec<Value> = x.iter().map(|v| widen(b, *v)).collect();
        let axes: Vec<usize> = (2..ty.rank()).collect();
        let (centred, variance) = centred(b, wide[0], &axes);
        let normal = standardised(b, centred, variance, self.epsilon.0);
        let [scale, bias] = [wide[1], wide[2]].map(|v| per_channel(b, v, &ty.shape[1], ty.rank()));
        let scaled = b.mul(normal, scale);
        let y = b.add(scaled, bias);
        Meaning::Composite(vec![b.cast(y, ty.dtype)])
    }

    fn examples() -> Vec<Example> {
        let op = InstanceNorm { epsilon: Real(1e-5) };
        let accepted = |x: &str, p: &str| Example::accepted(op.clone(), &[x, p, p]).with_values(0, -4.0, 4.0).with_values(1, -2.0, 2.0);
        vec![
            accepted("f32[2, 3, 4, 5]", "f32[3]"),
            accepted("f64[n, 3, m]", "f64[3]"),
            accepted("f32[2, c, 3]", "f32[d]"),
            accepted("bf16[1, 2, 2]", "bf16[2]"),
            Example::rejected("instance_norm_c0", op.clone(), &["f32[2, 3, 4]"]),
            Example::rejected("instance_norm_c1", op.clone(), &["f32[2, 3, 4]", "f32[3]", "f64[3]"]),
            Example::rejected("instance_norm_c1", op.clone(), &["i32[2, 3, 4]", "i32[3]", "i32[3]"]),
            Example::rejected("instance_norm_c2", op.clone(), &["f32[2, 3]", "f32[3]", "f32[3]"]),
            Example::rejected("instance_norm_c3", op, &["f32[2, 3, 4]", "f32[2]", "f32[3]"]),
        ]
    }
}
