//! `cast`: the same values in another element type.
//!
//! Shapes: `x: [..]` → same, of element type `dtype`.
//! Float to float and integer to float round to nearest, ties to even, once. Float to integer truncates and saturates, NaN gives 0.
//! Integer to integer wraps. To `bool`: everything but zero is true (NaN too); from `bool`: 0 and 1.
//! Constraints: (C0) one operand.

use super::shape::operands;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, DType, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Cast {
        /// The resulting element type.
        pub dtype: DType,
    }
}

impl Operator for Cast {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "cast_c0")?;
        Ok(vec![x[0].with_dtype(self.dtype)])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let shape = x[0].shape().to_vec();
        Ok(vec![if x[0].dtype() == self.dtype {
            x[0].clone()
        } else if x[0].dtype().is_float() {
            Tensor::from_floats(self.dtype, shape, x[0].floats())
        } else {
            Tensor::from_ints(self.dtype, shape, x[0].ints())
        }])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let from = b.dtype(x[0]);
        if !self.dtype.is_float() || !from.is_float() {
            return Gradient::Stops("an integer does not change with small changes of the operand");
        }
        Gradient::Operands(vec![dy[0].map(|dy| b.cast(dy, from))])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let mut examples = Vec::new();
        for from in DType::ALL {
            for dtype in DType::ALL {
                examples.push(Example::accepted(Cast { dtype }, &[&format!("{from}[17]")]));
            }
        }
        examples.push(Example::accepted(Cast { dtype: DType::F32 }, &["i64[n, 0]"]));
        examples.push(Example::rejected("cast_c0", Cast { dtype: DType::F32 }, &[]));
        examples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_saturate_integers_wrap_and_nan_is_true() {
        let cast = |x: &Tensor, dtype| crate::Op::from(Cast { dtype }).eval(std::slice::from_ref(x)).expect("it computes")[0].ints();
        let floats = Tensor::f32(&[6], &[f32::NAN, f32::INFINITY, -1e30, 2.9, -2.9, -0.0]);
        assert_eq!(cast(&floats, DType::I8), [0, 127, -128, 2, -2, 0]);
        assert_eq!(cast(&floats, DType::U64), [0, i128::from(u64::MAX), 0, 2, 0, 0]);
        assert_eq!(cast(&floats, DType::Bool), [1, 1, 1, 1, 1, 0]);
        assert_eq!(cast(&Tensor::i64(&[3], &[300, -1, i64::MIN]), DType::U8), [44, 255, 0]);
    }
}
