//! `reshape`: the same elements in row-major order under another shape.
//!
//! Shapes: `x: [..]` → `shape`.   Constraints: (C0) one operand. (C1) as many elements before as after.

use super::shape::operands;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Reshape {
        /// The resulting shape.
        pub shape: Vec<Dim>,
    }
}

impl Operator for Reshape {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "reshape_c0")?;
        facts.equal(
            &x[0].elements(),
            &Dim::product(&self.shape),
            "reshape_c1",
            format_args!("elements of {} and of {:?}", x[0], self.shape),
        )?;
        Ok(vec![x[0].with_shape(self.shape.clone())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(vec![x[0].reshaped(super::constants(&self.shape)?)])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let shape = b.ty(x[0]).shape.clone();
        Gradient::Operands(vec![dy[0].map(|dy| b.op(Reshape { shape }, &[dy]))])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let to = |shape: &[i64]| Reshape { shape: shape.iter().map(|&d| Dim::from(d)).collect() };
        vec![
            Example::accepted(to(&[3, 2]), &["f32[2, 3]"]),
            Example::accepted(to(&[]), &["i32[1, 1]"]),
            Example::accepted(to(&[0, 7]), &["f32[2, 0]"]),
            Example::accepted(Reshape { shape: vec![Dim::symbol("n") * Dim::from(6)] }, &["f32[n, 2, 3]"]),
            Example::rejected("reshape_c0", to(&[1]), &[]),
            Example::rejected("reshape_c1", to(&[5]), &["f32[2, 3]"]),
        ]
    }
}
