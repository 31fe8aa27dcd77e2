//! The family of activation functions, so that each one's file states only its formula.

/// A function of each element of one floating tensor. 16-bit floats are computed in f32.
/// `eval` is the formula in f64, `expand` the same in primitives.
macro_rules! activation {
    ($name:ident { $($(#[doc = $docs:literal])+ $field:ident: $ty:ty),* $(,)? }, labels($c0:literal, $c1:literal),
     eval($eval:expr), expand($expand:expr), vjp($vjp:expr), examples($($example:expr),* $(,)?)) => {
        $crate::op! {
            /// See the head of this file.
            pub struct $name { $($(#[doc = $docs])+ pub $field: $ty),* }
        }
        impl $crate::ops::Operator for $name {
            fn infer(&self, x: &[$crate::TensorType], _: &mut $crate::ops::Facts) -> Result<Vec<$crate::TensorType>, $crate::ops::TypeError> {
                $crate::ops::shape::operands(x, 1, $c0)?;
                $crate::ops::shape::floating(&x[0], $c1)?;
                Ok(vec![x[0].clone()])
            }
            fn eval(&self, x: &[$crate::Tensor]) -> Result<Vec<$crate::Tensor>, String> {
                let f: fn(&$name, f64) -> f64 = $eval;
                let values = x[0].floats().into_iter().map(|v| f(self, v));
                Ok(vec![$crate::Tensor::from_floats(x[0].dtype(), x[0].shape().to_vec(), values)])
            }
            fn vjp(
                &self,
                b: &mut $crate::Builder,
                x: &[$crate::Value],
                y: &[$crate::Value],
                dy: &[Option<$crate::Value>],
            ) -> $crate::ops::Gradient {
                let f: fn(&mut $crate::Builder, $crate::Value, $crate::Value, Option<$crate::Value>) -> $crate::ops::Gradient = $vjp;
                f(b, x[0], y[0], dy[0])
            }
            fn expand(&self, b: &mut $crate::Builder, x: &[$crate::Value]) -> $crate::ops::Meaning {
                let f: fn(&$name, &mut $crate::Builder, $crate::Value) -> $crate::Value = $expand;
                let wide = $crate::ops::expansion::widen(b, x[0]);
                let y = f(self, b, wide);
                let dtype = b.dtype(x[0]);
                $crate::ops::Meaning::Composite(vec![b.cast(y, dtype)])
            }
            fn examples() -> Vec<$crate::ops::Example> {
                use $crate::ops::Example;
                vec![$($example),*]
            }
        }
    };
}
pub(crate) use activation;
