//! `select`: one of two, element by element.   y = condition ? a : b
//!
//! Shapes: `condition: bool[..]`, `a: [..]`, `b: [..]`, all of one shape → that of `a`.
//! Constraints: (C0) three operands. (C1) `condition` is `bool`. (C2) `a` and `b` have one element type. (C3) one shape.

use super::shape::{operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, DType, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Select {}
}

impl Operator for Select {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 3, "select_c0")?;
        if x[0].dtype != DType::Bool {
            return Err(TypeError::new("select_c1", format!("the condition is {}, expected bool", x[0])));
        }
        same_dtype(&x[1], &x[2], "select_c2")?;
        facts.same_shape(&x[1], &x[0], "select_c3")?;
        facts.same_shape(&x[1], &x[2], "select_c3")?;
        Ok(vec![x[1].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let size = x[1].dtype().size_bytes();
        let pairs = x[1].bytes().chunks_exact(size).zip(x[2].bytes().chunks_exact(size));
        let bytes = x[0].bools().into_iter().zip(pairs).flat_map(|(c, (a, b))| if c { a } else { b });
        Ok(vec![Tensor::from_vec(x[1].dtype(), x[1].shape().to_vec(), bytes.copied().collect())])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let Some(dy) = dy[0] else { return Gradient::Operands(vec![None; 3]) };
        let zero = b.like(dy, 0.0);
        Gradient::Operands(vec![None, Some(b.select(x[0], dy, zero)), Some(b.select(x[0], zero, dy))])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::accepted(Select {}, &["bool[2, 3]", "f32[2, 3]", "f32[2, 3]"]),
            Example::accepted(Select {}, &["bool[n]", "u8[n]", "u8[n]"]),
            Example::accepted(Select {}, &["bool[]", "bool[]", "bool[]"]),
            Example::accepted(Select {}, &["bool[0]", "f64[0]", "f64[0]"]),
            Example::rejected("select_c0", Select {}, &["bool[2]", "f32[2]"]),
            Example::rejected("select_c1", Select {}, &["i8[2]", "f32[2]", "f32[2]"]),
            Example::rejected("select_c2", Select {}, &["bool[2]", "f32[2]", "f64[2]"]),
            Example::rejected("select_c3", Select {}, &["bool[3]", "f32[2]", "f32[2]"]),
            Example::rejected("select_c3", Select {}, &["bool[2]", "f32[2]", "f32[3]"]),
        ]
    }
}
