//! `iota`: each element is its index along an axis.   y[.., i, ..] = i
//!
//! Shapes: nothing → `shape`, of element type `dtype`.   Floats are rounded, integers wrap.
//! Constraints: (C0) no operands. (C1) `axis` is an axis of `shape`. (C2) `dtype` is numeric.

use super::shape::{axis, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, DType, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Iota {
        /// The resulting shape.
        pub shape: Vec<Dim>,
        /// The axis that counts.
        pub axis: usize,
        /// The resulting element type.
        pub dtype: DType,
    }
}

impl Operator for Iota {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 0, "iota_c0")?;
        let ty = TensorType::new(self.dtype, self.shape.clone());
        axis(self.axis, &ty, "iota_c1")?;
        if !super::is_number(self.dtype) {
            return Err(TypeError::new("iota_c2", format!("is not defined on {}", self.dtype)));
        }
        Ok(vec![ty])
    }

    fn eval(&self, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let shape = super::constants(&self.shape)?;
        let inner: usize = shape[self.axis + 1..].iter().product();
        let (count, size) = (shape.iter().product::<usize>(), shape[self.axis]);
        Ok(vec![Tensor::from_ints(self.dtype, shape, (0..count).map(|p| ((p / inner) % size) as i128))])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::Operands(Vec::new())
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |shape: &[usize], axis, dtype| Iota { shape: shape.iter().map(|&d| Dim::from(d)).collect(), axis, dtype };
        vec![
            Example::accepted(of(&[2, 3], 1, DType::I64), &[]),
            Example::accepted(of(&[2, 3, 2], 0, DType::F32), &[]),
            Example::accepted(of(&[2, 0], 1, DType::F16), &[]),
            Example::accepted(of(&[300], 0, DType::U8), &[]),
            Example::rejected("iota_c0", of(&[2], 0, DType::F32), &["f32[2]"]),
            Example::rejected("iota_c1", of(&[2], 1, DType::F32), &[]),
            Example::rejected("iota_c2", of(&[2], 0, DType::Bool), &[]),
        ]
    }
}
