//! `batch_norm`: each channel normalised by given statistics, as at inference.
//! y = (x − mean) · (scale / √(variance + epsilon)) + bias
//!
//! Shapes: `x: [batch, channels, ..]`, `scale`, `bias`, `mean`, `variance`: `[channels]` → that of `x`.
//! 16-bit floats are computed in f32.
//! Constraints: (C0) five operands. (C1) one floating element type. (C2) `x` has two axes or more. (C3) one parameter per channel.
//! Source: Ioffe & Szegedy 2015; ONNX BatchNormalization-15 with training_mode = 0.

use super::expansion::{per_channel, shifted, widen};
use super::shape::{channel_vector, floating, operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::attr::Real;
use crate::op;
use crate::tensor::indices;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct BatchNorm {
        /// Added to the variance.
        pub epsilon: Real,
    }
}

impl Operator for BatchNorm {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 5, "batch_norm_c0")?;
        floating(&x[0], "batch_norm_c1")?;
        if x[0].rank() < 2 {
            return Err(TypeError::new("batch_norm_c2", format!("{} has no channel axis", x[0])));
        }
        for parameter in &x[1..] {
            same_dtype(&x[0], parameter, "batch_norm_c1")?;
            channel_vector(parameter, &x[0], facts, "batch_norm_c3")?;
        }
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let parameters: Vec<Vec<f64>> = x[1..].iter().map(Tensor::floats).collect();
        let value = |(v, index): (f64, Vec<usize>)| {
            let [scale, bias, mean, variance] = [0, 1, 2, 3].map(|p: usize| parameters[p][index[1]]);
            (v - mean) / (variance + self.epsilon.0).sqrt() * scale + bias
        };
        let values = x[0].floats().into_iter().zip(indices(x[0].shape())).map(value);
        Ok(vec![Tensor::from_floats(x[0].dtype(), x[0].shape().to_vec(), values)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let ty = b.ty(x[0]);
        let wide: Vec<Value> = x.iter().map(|v| widen(b, *v)).collect();
        let shifted = shifted(b, wide[4], self.epsilon.0);
        let deviation = b.sqrt(shifted);
        let scale = b.reshape(wide[1], &b.shape(deviation));
        let slope = b.div(scale, deviation);
        let [mean, slope, bias] = [wide[3], slope, wide[2]].map(|v| per_channel(b, v, &ty.shape[1], ty.rank()));
        let centred = b.sub(wide[0], mean);
        let scaled = b.mul(centred, slope);
        let y = b.add(scaled, bias);
        Meaning::Composite(vec![b.cast(y, ty.dtype)])
    }

    fn examples() -> Vec<Example> {
        let op = BatchNorm { epsilon: Real(1e-5) };
        let accepted = |x: &str, p: &str| {
            let example = Example::accepted(op.clone(), &[x, p, p, p, p]);
            example.with_values(0, -4.0, 4.0).with_values(1, -2.0, 2.0).with_values(2, -2.0, 2.0).with_values(3, -2.0, 2.0).with_values(4, 0.1, 4.0)
        };
        vec![
            accepted("f32[2, 3, 4, 5]", "f32[3]"),
            accepted("f64[n, 3]", "f64[3]"),
            accepted("f32[2, c, n]", "f32[c]"),
            accepted("f32[2, c, 3]", "f32[d]"),
            accepted("f16[1, 2, 2]", "f16[2]"),
            Example::rejected("batch_norm_c0", op.clone(), &["f32[2, 3]"]),
            Example::rejected("batch_norm_c1", op.clone(), &["f32[2, 3]", "f32[3]", "f32[3]", "f64[3]", "f32[3]"]),
            Example::rejected("batch_norm_c1", op.clone(), &["i32[2, 3]", "i32[3]", "i32[3]", "i32[3]", "i32[3]"]),
            Example::rejected("batch_norm_c2", op.clone(), &["f32[3]", "f32[3]", "f32[3]", "f32[3]", "f32[3]"]),
            Example::rejected("batch_norm_c3", op.clone(), &["f32[2, 3]", "f32[3]", "f32[3]", "f32[3]", "f32[2]"]),
            Example::rejected("batch_norm_c3", op, &["f32[2, 3]", "f32[3]", "f32[3]", "f32[3]", "f32[3, 1]"]),
        ]
    }
}
