//! `clip`: x between two bounds.   y = min(max(x, low), high)
//!
//! Shapes: `x: [..]`, `low: []`, `high: []` → that of `x`.   NaN in any of them gives NaN; `high` wins where `low > high`.
//! Constraints: (C0) three operands. (C1) one numeric element type. (C2) `low` and `high` are scalars.
//! Source: ONNX Clip-13.

use super::arithmetic::{maximum, minimum};
use super::shape::{operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Clip {}
}

impl Operator for Clip {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 3, "clip_c0")?;
        if !super::is_number(x[0].dtype) {
            return Err(TypeError::new("clip_c1", format!("is not defined on {}", x[0])));
        }
        for bound in &x[1..] {
            same_dtype(&x[0], bound, "clip_c1")?;
            if bound.rank() != 0 {
                return Err(TypeError::new("clip_c2", format!("bounds are scalars, got {bound}")));
            }
        }
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (dtype, shape) = (x[0].dtype(), x[0].shape().to_vec());
        Ok(vec![if dtype.is_float() {
            let (low, high) = (x[1].floats()[0], x[2].floats()[0]);
            Tensor::from_floats(dtype, shape, x[0].floats().into_iter().map(|v| minimum(maximum(v, low), high)))
        } else {
            let (low, high) = (x[1].ints()[0], x[2].ints()[0]);
            Tensor::from_ints(dtype, shape, x[0].ints().into_iter().map(|v| v.max(low).min(high)))
        }])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let above = b.max(x[0], x[1]);
        Meaning::Composite(vec![b.min(above, x[2])])
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::accepted(Clip {}, &["f32[2, 3]", "f32[]", "f32[]"]),
            Example::accepted(Clip {}, &["i8[n]", "i8[]", "i8[]"]),
            Example::accepted(Clip {}, &["u64[]", "u64[]", "u64[]"]),
            Example::rejected("clip_c0", Clip {}, &["f32[2]"]),
            Example::rejected("clip_c1", Clip {}, &["f32[2]", "f64[]", "f32[]"]),
            Example::rejected("clip_c1", Clip {}, &["bool[2]", "bool[]", "bool[]"]),
            Example::rejected("clip_c2", Clip {}, &["f32[2]", "f32[2]", "f32[]"]),
        ]
    }
}
