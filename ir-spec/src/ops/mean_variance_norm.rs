//! `mean_variance_norm`: values brought to mean 0 and variance 1 over axes.   y = (x − mean) / (√variance + 1e−9), two passes
//!
//! Shapes: `x: [..]` → same.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type. (C2) `axes` are distinct axes of `x`.
//! Source: ONNX MeanVarianceNormalization-13 (its function body adds 1e−9 to the deviation).

use super::expansion::{centred, shifted, widen};
use super::reference::{map_groups, moments};
use super::shape::{distinct_axes, floating, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct MeanVarianceNorm {
        /// The axes the statistics are over.
        pub axes: Vec<usize>,
    }
}

const EPSILON: f64 = 1e-9;

impl Operator for MeanVarianceNorm {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "mean_variance_norm_c0")?;
        floating(&x[0], "mean_variance_norm_c1")?;
        distinct_axes(&self.axes, &x[0], "mean_variance_norm_c2")?;
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let mut values = x[0].floats();
        map_groups(&mut values, x[0].shape(), &self.axes, |lane| {
            let (mean, variance) = moments(lane);
            lane.iter_mut().for_each(|v| *v = (*v - mean) / (variance.sqrt() + EPSILON));
        });
        Ok(vec![Tensor::from_floats(x[0].dtype(), x[0].shape().to_vec(), values)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let wide = widen(b, x[0]);
        let (centred, variance) = centred(b, wide, &self.axes);
        let deviation = b.sqrt(variance);
        let divisor = shifted(b, deviation, EPSILON);
        let y = b.div(centred, divisor);
        let dtype = b.dtype(x[0]);
        Meaning::Composite(vec![b.cast(y, dtype)])
    }

    fn examples() -> Vec<Example> {
        let over = |axes: &[usize]| MeanVarianceNorm { axes: axes.to_vec() };
        vec![
            Example::accepted(over(&[0, 2]), &["f32[3, 2, 4]"]).with_values(0, -4.0, 4.0),
            Example::accepted(over(&[1]), &["f64[n, 5]"]).with_values(0, -4.0, 4.0),
            Example::accepted(over(&[0, 1]), &["f16[2, 3]"]).with_values(0, -4.0, 4.0),
            Example::rejected("mean_variance_norm_c0", over(&[]), &[]),
            Example::rejected("mean_variance_norm_c1", over(&[0]), &["i32[2]"]),
            Example::rejected("mean_variance_norm_c2", over(&[1]), &["f32[2]"]),
        ]
    }
}
