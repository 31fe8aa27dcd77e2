//! `is_inf`: which elements are infinite.
//!
//! Shapes: `x: [..]` → same, of element type `bool`.   `positive` and `negative` say which infinities count.
//! Constraints: (C0) one operand. (C1) a floating element type.

use super::shape::{floating, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, DType, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct IsInf {
        /// Whether +∞ counts.
        pub positive: bool,
        /// Whether −∞ counts.
        pub negative: bool,
    }
}

impl Operator for IsInf {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "is_inf_c0")?;
        floating(&x[0], "is_inf_c1")?;
        Ok(vec![x[0].with_dtype(DType::Bool)])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let counts = |v: &f64| (self.positive && *v == f64::INFINITY) || (self.negative && *v == f64::NEG_INFINITY);
        Ok(vec![Tensor::from_bools(x[0].shape().to_vec(), x[0].floats().iter().map(counts))])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::Stops("a truth value does not change with small changes of the operands")
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let both = IsInf { positive: true, negative: true };
        vec![
            Example::accepted(both.clone(), &["f32[2, 9]"]),
            Example::accepted(both.clone(), &["f16[n]"]),
            Example::accepted(IsInf { positive: true, negative: false }, &["f64[9]"]),
            Example::accepted(IsInf { positive: false, negative: true }, &["bf16[9]"]),
            Example::accepted(IsInf { positive: false, negative: false }, &["f32[]"]),
            Example::rejected("is_inf_c0", both.clone(), &[]),
            Example::rejected("is_inf_c1", both, &["i32[2]"]),
        ]
    }
}
