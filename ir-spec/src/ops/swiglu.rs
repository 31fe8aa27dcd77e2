//! `swiglu`: a value gated by the swish of another.   y = gate · σ(beta · gate) · value
//!
//! Shapes: `gate: [..]`, `value: [..]` → same.   −∞ gives NaN, as in `swish`.   16-bit floats are computed in f32.
//! Constraints: (C0) two operands. (C1) a floating element type, the same of both. (C2) of one shape.
//! Source: Shazeer 2020, "GLU Variants Improve Transformer", equation 6; ONNX SwiGLU-28.

use super::expansion::widen;
use super::shape::{floating, operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, Swish, TypeError};
use crate::attr::Real;
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Swiglu {
        /// Slope of the sigmoid.
        pub beta: Real,
    }
}

impl Operator for Swiglu {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "swiglu_c0")?;
        floating(&x[0], "swiglu_c1")?;
        same_dtype(&x[0], &x[1], "swiglu_c1")?;
        facts.same_shape(&x[0], &x[1], "swiglu_c2")?;
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let swish = |v: f64| v * (1.0 / (1.0 + (-self.beta.0 * v).exp()));
        let values = x[0].floats().into_iter().zip(x[1].floats()).map(|(gate, value)| swish(gate) * value);
        Ok(vec![Tensor::from_floats(x[0].dtype(), x[0].shape().to_vec(), values)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let [gate, value] = [x[0], x[1]].map(|v| widen(b, v));
        let swish = b.op(Swish { beta: self.beta }, &[gate]);
        let (y, dtype) = (b.mul(swish, value), b.dtype(x[0]));
        Meaning::Composite(vec![b.cast(y, dtype)])
    }

    fn examples() -> Vec<Example> {
        let of = |beta| Swiglu { beta: Real(beta) };
        vec![
            Example::accepted(of(1.0), &["f32[2, n]", "f32[2, n]"]).with_values(1, -100.0, 100.0),
            Example::accepted(of(1.5), &["f16[3]", "f16[3]"]),
            Example::rejected("swiglu_c0", of(1.0), &["f32[2]"]),
            Example::rejected("swiglu_c1", of(1.0), &["i32[2]", "i32[2]"]),
            Example::rejected("swiglu_c1", of(1.0), &["f32[2]", "f64[2]"]),
            Example::rejected("swiglu_c2", of(1.0), &["f32[2]", "f32[3]"]),
        ]
    }
}
