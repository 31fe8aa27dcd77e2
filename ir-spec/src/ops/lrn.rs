//! `lrn`: each value divided by a power of the squares around it, across channels.
//! y = x / (bias + alpha/size · Σ x²)^beta, the sum over channels c − ⌊(size−1)/2⌋ ..= c + ⌈(size−1)/2⌉ that exist
//!
//! Shapes: `x: [batch, channels, ..]` → same.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type. (C2) `x` has two axes or more, and a channel. (C3) `size` is at least 1.
//! Source: Krizhevsky et al. 2012; ONNX LRN.

use super::expansion::{scaled, shifted, widen};
use super::shape::{floating, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError, WindowKind, WindowReduce};
use crate::attr::Real;
use crate::op;
use crate::tensor::{indices, ravel};
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Lrn {
        /// Channels in a window.
        pub size: usize,
        /// Weight of the mean square.
        pub alpha: Real,
        /// The power.
        pub beta: Real,
        /// Added before the power.
        pub bias: Real,
    }
}

impl Operator for Lrn {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "lrn_c0")?;
        floating(&x[0], "lrn_c1")?;
        if x[0].rank() < 2 {
            return Err(TypeError::new("lrn_c2", format!("{} has no channel axis", x[0])));
        }
        facts.at_most(&Dim::ONE, &x[0].shape[1], "lrn_c2", "one channel and those there are")?;
        if self.size == 0 {
            return Err(TypeError::new("lrn_c3", "the window is empty"));
        }
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (shape, values) = (x[0].shape(), x[0].floats());
        let (before, after) = ((self.size - 1) / 2, self.size / 2);
        let value = |mut index: Vec<usize>| {
            let (at, channel) = (ravel(&index, shape), index[1]);
            let mut sum = 0.0;
            for c in channel.saturating_sub(before)..=(channel + after).min(shape[1] - 1) {
                index[1] = c;
                sum += values[ravel(&index, shape)].powi(2);
            }
            values[at] / (self.bias.0 + self.alpha.0 / self.size as f64 * sum).powf(self.beta.0)
        };
        Ok(vec![Tensor::from_floats(x[0].dtype(), shape.to_vec(), indices(shape).map(value))])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let ty = b.ty(x[0]);
        let wide = widen(b, x[0]);
        let squares = b.mul(wide, wide);
        // A window over the channel axis and those after it, of which it covers one position each.
        let on_channels = |n: usize, others: usize| [vec![n], vec![others; ty.rank() - 2]].concat();
        let dims = |n: usize| on_channels(n, 0).into_iter().map(Dim::from).collect();
        let window = WindowReduce {
            kind: WindowKind::Sum,
            window: on_channels(self.size, 1),
            strides: on_channels(1, 1),
            dilations: on_channels(1, 1),
            low: dims((self.size - 1) / 2),
            high: dims(self.size / 2),
        };
        let sums = b.op(window, &[squares]);
        let weighted = scaled(b, sums, self.alpha.0 / self.size as f64);
        let base = shifted(b, weighted, self.bias.0);
        let exponent = b.like(base, self.beta.0);
        let divisor = b.pow(base, exponent);
        let y = b.div(wide, divisor);
        Meaning::Composite(vec![b.cast(y, ty.dtype)])
    }

    fn examples() -> Vec<Example> {
        let op = |size| Lrn { size, alpha: Real(0.0002), beta: Real(0.5), bias: Real(2.0) };
        vec![
            Example::accepted(op(3), &["f32[2, 5, 3, 2]"]).with_values(0, -4.0, 4.0),
            Example::accepted(op(4), &["f64[n, 5, m]"]).with_values(0, -4.0, 4.0),
            Example::accepted(op(2), &["f16[2, 3]"]).with_values(0, -4.0, 4.0),
            Example::accepted(op(9), &["f32[1, c, 2]"]).with_values(0, -4.0, 4.0),
            Example::rejected("lrn_c0", op(3), &[]),
            Example::rejected("lrn_c1", op(3), &["i32[2, 3]"]),
            Example::rejected("lrn_c2", op(3), &["f32[2]"]),
            Example::rejected("lrn_c2", op(3), &["f32[2, 0]"]),
            Example::rejected("lrn_c3", op(0), &["f32[2, 3]"]),
        ]
    }
}
