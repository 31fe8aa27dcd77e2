//! `prelu`: x, scaled where it is negative by a slope per element.   y = x if x ≥ 0, else slope·x
//!
//! Shapes: `x: [..]`, `slope`: same (broadcast before) → same.   NaN stays NaN.
//! Constraints: (C0) two operands. (C1) one numeric element type. (C2) same shape.
//! Source: He et al. 2015; ONNX PRelu.

use super::shape::{operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Prelu {}
}

impl Operator for Prelu {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "prelu_c0")?;
        same_dtype(&x[0], &x[1], "prelu_c1")?;
        if !super::is_number(x[0].dtype) {
            return Err(TypeError::new("prelu_c1", format!("is not defined on {}", x[0])));
        }
        facts.same_shape(&x[0], &x[1], "prelu_c2")?;
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (dtype, shape) = (x[0].dtype(), x[0].shape().to_vec());
        Ok(vec![if dtype.is_float() {
            Tensor::from_floats(dtype, shape, x[0].floats().into_iter().zip(x[1].floats()).map(|(v, s)| if v < 0.0 { s * v } else { v }))
        } else {
            let product = |(v, s): (i128, i128)| if v < 0 { s.wrapping_mul(v) } else { v };
            Tensor::from_ints(dtype, shape, x[0].ints().into_iter().zip(x[1].ints()).map(product))
        }])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let slope = b.reshape(x[1], &b.shape(x[0]));
        let zero = b.like(x[0], 0.0);
        let negative = b.less(x[0], zero);
        let leak = b.mul(x[0], slope);
        Meaning::Composite(vec![b.select(negative, leak, x[0])])
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::accepted(Prelu {}, &["f32[2, 3]", "f32[2, 3]"]),
            Example::accepted(Prelu {}, &["f64[n]", "f64[m]"]),
            Example::accepted(Prelu {}, &["i32[4]", "i32[4]"]),
            Example::rejected("prelu_c0", Prelu {}, &["f32[2]"]),
            Example::rejected("prelu_c1", Prelu {}, &["f32[2]", "f64[2]"]),
            Example::rejected("prelu_c1", Prelu {}, &["bool[2]", "bool[2]"]),
            Example::rejected("prelu_c2", Prelu {}, &["f32[2]", "f32[3]"]),
        ]
    }
}
