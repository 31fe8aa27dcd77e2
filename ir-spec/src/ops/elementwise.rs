//! Families of element-wise operators, so that each operator's file states only what is its own.

/// A binary operator on two tensors of one type. Constraints: (C1) same element type, of an allowed class; (C2) same shape.
macro_rules! binary {
    ($name:ident, labels($c0:literal, $c1:literal, $c2:literal), allow($allow:expr), result($result:expr),
     float($float:expr), int($int:expr), examples($($example:expr),* $(,)?), vjp($vjp:expr)) => {
        $crate::op! {
            /// See the head of this file.
            pub struct $name {}
        }
        impl $crate::ops::Operator for $name {
            fn infer(&self, x: &[$crate::TensorType], facts: &mut $crate::ops::Facts) -> Result<Vec<$crate::TensorType>, $crate::ops::TypeError> {
                $crate::ops::shape::operands(x, 2, $c0)?;
                $crate::ops::shape::same_dtype(&x[0], &x[1], $c1)?;
                if !($allow)(x[0].dtype) {
                    return Err($crate::ops::TypeError::new($c1, format!("is not defined on {}", x[0].dtype)));
                }
                facts.same_shape(&x[0], &x[1], $c2)?;
                Ok(vec![x[0].with_dtype(($result)(x[0].dtype))])
            }
            fn eval(&self, x: &[$crate::Tensor]) -> Result<Vec<$crate::Tensor>, String> {
                let (dtype, shape) = (x[0].dtype(), x[0].shape().to_vec());
                let result = ($result)(dtype);
                Ok(vec![if dtype.is_float() {
                    let f: fn(f64, f64) -> f64 = $float;
                    $crate::Tensor::from_floats(result, shape, x[0].floats().into_iter().zip(x[1].floats()).map(|(a, b)| f(a, b)))
                } else {
                    let f: fn(i128, i128, $crate::DType) -> i128 = $int;
                    $crate::Tensor::from_ints(result, shape, x[0].ints().into_iter().zip(x[1].ints()).map(|(a, b)| f(a, b, dtype)))
                }])
            }
            fn vjp(
                &self,
                b: &mut $crate::Builder,
                x: &[$crate::Value],
                y: &[$crate::Value],
                dy: &[Option<$crate::Value>],
            ) -> $crate::ops::Gradient {
                let f: fn(&mut $crate::Builder, &[$crate::Value], &[$crate::Value], &[Option<$crate::Value>]) -> $crate::ops::Gradient = $vjp;
                f(b, x, y, dy)
            }
            fn expand(&self, _: &mut $crate::Builder, _: &[$crate::Value]) -> $crate::ops::Meaning {
                $crate::ops::Meaning::Primitive
            }
            fn examples() -> Vec<$crate::ops::Example> {
                use $crate::ops::Example;
                vec![$($example),*]
            }
        }
    };
}
pub(crate) use binary;
