//! `relu`: the positive part.   y = max(x, 0)
//!
//! Shapes: `x: [..]` → same.   NaN stays NaN; −0 gives +0.
//! Constraints: (C0) one operand. (C1) a numeric element type.
//! Source: Nair & Hinton 2010.

use super::shape::operands;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Relu {}
}

impl Operator for Relu {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "relu_c0")?;
        if !super::is_number(x[0].dtype) {
            return Err(TypeError::new("relu_c1", format!("is not defined on {}", x[0])));
        }
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (dtype, shape) = (x[0].dtype(), x[0].shape().to_vec());
        Ok(vec![if dtype.is_float() {
            Tensor::from_floats(dtype, shape, x[0].floats().into_iter().map(|v| if v > 0.0 || v.is_nan() { v } else { 0.0 }))
        } else {
            Tensor::from_ints(dtype, shape, x[0].ints().into_iter().map(|v| v.max(0)))
        }])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let zero = b.like(x[0], 0.0);
        Meaning::Composite(vec![b.max(x[0], zero)])
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::accepted(Relu {}, &["f32[2, 3]"]),
            Example::accepted(Relu {}, &["i32[n]"]),
            Example::rejected("relu_c0", Relu {}, &[]),
            Example::rejected("relu_c1", Relu {}, &["bool[2]"]),
        ]
    }
}
