//! `dims`: sizes as data.   y[i] = values[i]
//!
//! Shapes: nothing → `i64[len(values)]`.
//! Constraints: (C0) no operands.

use super::shape::operands;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, DType, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Dims {
        /// The elements.
        pub values: Vec<Dim>,
    }
}

impl Operator for Dims {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 0, "dims_c0")?;
        Ok(vec![TensorType::fixed(DType::I64, &[self.values.len()])])
    }

    fn eval(&self, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let known = |d: &Dim| d.as_const().ok_or_else(|| format!("{d} is not known"));
        let values = self.values.iter().map(known).collect::<Result<Vec<i64>, _>>()?;
        Ok(vec![Tensor::i64(&[values.len()], &values)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::Operands(Vec::new())
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::accepted(Dims { values: vec![Dim::from(3), Dim::from(-1)] }, &[]),
            Example::accepted(Dims { values: vec![] }, &[]),
            Example::rejected("dims_c0", Dims { values: vec![] }, &["f32[]"]),
        ]
    }
}
