//! `group_norm`: each group of channels of each sample brought to mean 0 and variance 1, then scaled and shifted per channel.
//! y = (x − mean) / √(variance + epsilon) · scale + bias, statistics over a group's channels and positions
//!
//! Shapes: `x: [batch, channels, ..]`, `scale` and `bias`: `[channels]` → that of `x`.   16-bit floats are computed in f32.
//! Constraints: (C0) three operands. (C1) one floating element type. (C2) `x` has two axes or more.
//! (C3) one parameter per channel. (C4) `groups` is at least 1 and divides the channels.
//! Source: Wu & He 2018; ONNX GroupNormalization-21.

use super::expansion::{centred, per_channel, standardised, widen};
use super::reference::{map_groups, moments};
use super::shape::{channel_vector, floating, operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::attr::Real;
use crate::op;
use crate::tensor::indices;
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct GroupNorm {
        /// Number of groups.
        pub groups: usize,
        /// Added to the variance.
        pub epsilon: Real,
    }
}

impl Operator for GroupNorm {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 3, "group_norm_c0")?;
        floating(&x[0], "group_norm_c1")?;
        if x[0].rank() < 2 {
            return Err(TypeError::new("group_norm_c2", format!("{} has no channel axis", x[0])));
        }
        for parameter in &x[1..] {
            same_dtype(&x[0], parameter, "group_norm_c1")?;
            channel_vector(parameter, &x[0], facts, "group_norm_c3")?;
        }
        if self.groups == 0 {
            return Err(TypeError::new("group_norm_c4", "there are no groups"));
        }
        let rest = x[0].shape[1].modulo(&Dim::from(self.groups));
        facts.equal(&rest, &Dim::ZERO, "group_norm_c4", format_args!("{} channels in {} groups leave", x[0].shape[1], self.groups))?;
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let shape = x[0].shape();
        let (mut values, scale, bias) = (x[0].floats(), x[1].floats(), x[2].floats());
        let grouped = [&[shape[0], self.groups, shape[1] / self.groups], &shape[2..]].concat();
        let axes: Vec<usize> = (2..grouped.len()).collect();
        map_groups(&mut values, &grouped, &axes, |lane| {
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
        let groups = Dim::from(self.groups);
        let mut grouped = vec![ty.shape[0].clone(), groups.clone(), ty.shape[1].floor_div(&groups)];
        grouped.extend_from_slice(&ty.shape[2..]);
        let wide: Vec<Value> = x.iter().map(|v| widen(b, *v)).collect();
        let inside = b.reshape(wide[0], &grouped);
        let axes: Vec<usize> = (2..grouped.len()).collect();
        let (centred, variance) = centred(b, inside, &axes);
        let normal = standardised(b, centred, variance, self.epsilon.0);
        let flat = b.reshape(normal, &ty.shape);
        let [scale, bias] = [wide[1], wide[2]].map(|v| per_channel(b, v, &ty.shape[1], ty.rank()));
        let scaled = b.mul(flat, scale);
        let y = b.add(scaled, bias);
        Meaning::Composite(vec![b.cast(y, ty.dtype)])
    }

    fn examples() -> Vec<Example> {
        let of = |groups| GroupNorm { groups, epsilon: Real(1e-5) };
        let accepted = |op, x: &str, p: &str| Example::accepted(op, &[x, p, p]).with_values(0, -4.0, 4.0).with_values(1, -2.0, 2.0);
        vec![
            accepted(of(2), "f32[2, 4, 3, 2]", "f32[4]"),
            accepted(of(3), "f64[n, 6, m]", "f64[6]"),
            accepted(of(1), "f16[2, 3, 2]", "f16[3]"),
            accepted(of(1), "f32[2, c, 3]", "f32[c]"),
            accepted(of(2), "f32[1, c, 3]", "f32[c]"),
            Example::rejected("group_norm_c0", of(1), &["f32[2, 3]"]),
            Example::rejected("group_norm_c1", of(1), &["i32[2, 3]", "i32[3]", "i32[3]"]),
            Example::rejected("group_norm_c2", of(1), &["f32[3]", "f32[3]", "f32[3]"]),
            Example::rejected("group_norm_c3", of(1), &["f32[2, 3]", "f32[2]", "f32[3]"]),
            Example::rejected("group_norm_c4", of(2), &["f32[2, 3]", "f32[3]", "f32[3]"]),
            Example::rejected("group_norm_c4", of(0), &["f32[2, 3]", "f32[3]", "f32[3]"]),
        ]
    }
}
