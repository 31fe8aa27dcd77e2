//! Families of element-wise operators, so that each operator's file states only what is its own: the type classes it is
//! defined on, its arithmetic on `f64` (rounded once to the element type) and on `i128` (wrapped to it), and its gradient.

use super::shape::{operands, same_dtype};
use super::{Example, Facts, Op, TypeError};
use crate::{DType, Tensor, TensorType};

/// The element types that an operator is defined on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// Floating types.
    Float,
    /// Integers.
    Int,
    /// Unsigned integers.
    Unsigned,
    /// Integers and floating types.
    Number,
    /// Truth values.
    Bool,
    /// Everything.
    Any,
}

impl On {
    pub(crate) fn contains(self, dtype: DType) -> bool {
        match self {
            On::Float => dtype.is_float(),
            On::Int => dtype.is_int(),
            On::Unsigned => dtype.class() == crate::dtype::Class::Unsigned,
            On::Number => dtype != DType::Bool,
            On::Bool => dtype == DType::Bool,
            On::Any => true,
        }
    }

    pub(crate) fn check(self, ty: &TensorType, label: &'static str) -> Result<(), TypeError> {
        if self.contains(ty.dtype) { Ok(()) } else { Err(TypeError::new(label, format!("is not defined on {ty}"))) }
    }

    /// Element types inside and outside of the class.
    pub(crate) fn partition(self) -> (Vec<DType>, Vec<DType>) {
        DType::ALL.into_iter().partition(|d| self.contains(*d))
    }
}

/// What the operators of one operand share. Constraints: (C0) one operand; (C1) of an element type in the class.
pub(crate) struct UnaryFamily {
    labels: [&'static str; 2],
    on: On,
    to: Option<DType>,
    float: fn(f64) -> f64,
    int: fn(i128, DType) -> i128,
}

impl UnaryFamily {
    pub(crate) const fn new(labels: [&'static str; 2], on: On) -> UnaryFamily {
        UnaryFamily { labels, on, to: None, float: |_| excluded(), int: |_, _| excluded() }
    }
    /// The result's element type, if it is not that of the operand.
    pub(crate) const fn to(self, dtype: DType) -> UnaryFamily {
        UnaryFamily { to: Some(dtype), ..self }
    }
    /// The value for a float.
    pub(crate) const fn float(self, float: fn(f64) -> f64) -> UnaryFamily {
        UnaryFamily { float, ..self }
    }
    /// The value for an integer of a type.
    pub(crate) const fn int(self, int: fn(i128, DType) -> i128) -> UnaryFamily {
        UnaryFamily { int, ..self }
    }

    pub(crate) fn infer(&self, x: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, self.labels[0])?;
        self.on.check(&x[0], self.labels[1])?;
        Ok(vec![x[0].with_dtype(self.to.unwrap_or(x[0].dtype))])
    }

    pub(crate) fn eval(&self, x: &[Tensor]) -> Vec<Tensor> {
        let (dtype, shape) = (x[0].dtype(), x[0].shape().to_vec());
        let to = self.to.unwrap_or(dtype);
        vec![if dtype.is_float() {
            Tensor::from_floats(to, shape, x[0].floats().into_iter().map(self.float))
        } else {
            Tensor::from_ints(to, shape, x[0].ints().into_iter().map(|v| (self.int)(v, dtype)))
        }]
    }

    pub(crate) fn examples(&self, op: Op) -> Vec<Example> {
        let (inside, outside) = self.on.partition();
        let mut examples: Vec<Example> = inside.iter().map(|d| Example::accepted(op.clone(), &[&format!("{d}[2, 9]")])).collect();
        let some = inside[inside.len() / 2];
        examples.extend(["[n, 3]", "[]", "[0, 3]"].map(|shape| Example::accepted(op.clone(), &[&format!("{some}{shape}")])));
        examples.push(Example::rejected(self.labels[0], op.clone(), &[]));
        examples.extend(outside.first().map(|d| Example::rejected(self.labels[1], op, &[&format!("{d}[2]")])));
        examples
    }
}

/// What the operators of two operands share. Constraints: (C0) two operands; (C1) of one element type, in the class;
/// (C2) and of one shape.
pub(crate) struct BinaryFamily {
    labels: [&'static str; 3],
    on: On,
    to: Option<DType>,
    float: fn(f64, f64) -> f64,
    int: fn(i128, i128, DType) -> i128,
}

impl BinaryFamily {
    pub(crate) const fn new(labels: [&'static str; 3], on: On) -> BinaryFamily {
        BinaryFamily { labels, on, to: None, float: |_, _| excluded(), int: |_, _, _| excluded() }
    }
    /// The result's element type, if it is not that of the operands.
    pub(crate) const fn to(self, dtype: DType) -> BinaryFamily {
        BinaryFamily { to: Some(dtype), ..self }
    }
    /// The value for floats.
    pub(crate) const fn float(self, float: fn(f64, f64) -> f64) -> BinaryFamily {
        BinaryFamily { float, ..self }
    }
    /// The value for integers of a type.
    pub(crate) const fn int(self, int: fn(i128, i128, DType) -> i128) -> BinaryFamily {
        BinaryFamily { int, ..self }
    }

    pub(crate) fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, self.labels[0])?;
        same_dtype(&x[0], &x[1], self.labels[1])?;
        self.on.check(&x[0], self.labels[1])?;
        facts.same_shape(&x[0], &x[1], self.labels[2])?;
        Ok(vec![x[0].with_dtype(self.to.unwrap_or(x[0].dtype))])
    }

    pub(crate) fn eval(&self, x: &[Tensor]) -> Vec<Tensor> {
        let (dtype, shape) = (x[0].dtype(), x[0].shape().to_vec());
        let to = self.to.unwrap_or(dtype);
        vec![if dtype.is_float() {
            Tensor::from_floats(to, shape, x[0].floats().into_iter().zip(x[1].floats()).map(|(a, b)| (self.float)(a, b)))
        } else {
            Tensor::from_ints(to, shape, x[0].ints().into_iter().zip(x[1].ints()).map(|(a, b)| (self.int)(a, b, dtype)))
        }]
    }

    pub(crate) fn examples(&self, op: Op) -> Vec<Example> {
        let (inside, outside) = self.on.partition();
        let pair = |dtype: &DType, shape: &str| Example::accepted(op.clone(), &[&format!("{dtype}{shape}"), &format!("{dtype}{shape}")]);
        let mut examples: Vec<Example> = inside.iter().map(|d| pair(d, "[2, 9]")).collect();
        let some = inside[inside.len() / 2];
        examples.extend(["[n, 3]", "[]", "[0, 3]"].map(|shape| pair(&some, shape)));
        examples.push(Example::accepted(op.clone(), &[&format!("{some}[n]"), &format!("{some}[m]")]));
        examples.push(Example::rejected(self.labels[0], op.clone(), &[&format!("{some}[2]")]));
        let other = outside.first().unwrap_or(&DType::Bool);
        examples.push(Example::rejected(self.labels[1], op.clone(), &[&format!("{some}[2]"), &format!("{other}[2]")]));
        examples.extend(outside.first().map(|d| Example { rejected: Some(self.labels[1]), ..pair(d, "[2]") }));
        examples.push(Example::rejected(self.labels[2], op.clone(), &[&format!("{some}[2]"), &format!("{some}[3]")]));
        examples.push(Example::rejected(self.labels[2], op, &[&format!("{some}[2]"), &format!("{some}[2, 2]")]));
        examples
    }
}

/// Arithmetic on element types outside the class.
fn excluded() -> ! {
    unreachable!("the type rule excludes this element type")
}

/// The operator whose semantics a [`UnaryFamily`] gives.
///
/// `gradient(|b, x, y, dy| ..)` gives the operand's gradient; `stops("why")` says why there is none.
macro_rules! unary {
    ($name:ident, $word:literal, on($on:ident) $(, to($to:ident))? $(, float($float:expr))? $(, int($int:expr))?; $kind:ident($vjp:expr) $(,)?) => {
        $crate::op! {
            /// See the head of this file.
            pub struct $name {}
        }
        impl $name {
            const FAMILY: $crate::ops::elementwise::UnaryFamily =
                $crate::ops::elementwise::UnaryFamily::new([concat!($word, "_c0"), concat!($word, "_c1")], $crate::ops::elementwise::On::$on)
                    $(.to($crate::DType::$to))? $(.float($float))? $(.int($int))?;
        }
        impl $crate::ops::Operator for $name {
            fn infer(&self, x: &[$crate::TensorType], _: &mut $crate::ops::Facts) -> Result<Vec<$crate::TensorType>, $crate::ops::TypeError> {
                Self::FAMILY.infer(x)
            }
            fn eval(&self, x: &[$crate::Tensor]) -> Result<Vec<$crate::Tensor>, String> {
                Ok(Self::FAMILY.eval(x))
            }
            $crate::ops::elementwise::unary_vjp! { $kind($vjp) }
            fn expand(&self, _: &mut $crate::Builder, _: &[$crate::Value]) -> $crate::ops::Meaning {
                $crate::ops::Meaning::Primitive
            }
            fn examples() -> Vec<$crate::ops::Example> {
                Self::FAMILY.examples($name {}.into())
            }
        }
    };
}
pub(crate) use unary;

macro_rules! unary_vjp {
    (gradient($vjp:expr)) => {
        fn vjp(
            &self,
            b: &mut $crate::Builder,
            x: &[$crate::Value],
            y: &[$crate::Value],
            dy: &[Option<$crate::Value>],
        ) -> $crate::ops::Gradient {
            let f: fn(&mut $crate::Builder, $crate::Value, $crate::Value, $crate::Value) -> $crate::Value = $vjp;
            $crate::ops::Gradient::Operands(vec![dy[0].map(|dy| f(b, x[0], y[0], dy))])
        }
    };
    (stops($why:expr)) => {
        fn vjp(
            &self,
            _: &mut $crate::Builder,
            _: &[$crate::Value],
            _: &[$crate::Value],
            _: &[Option<$crate::Value>],
        ) -> $crate::ops::Gradient {
            $crate::ops::Gradient::Stops($why)
        }
    };
}
pub(crate) use unary_vjp;

/// The operator whose semantics a [`BinaryFamily`] gives.
///
/// `gradient(|b, [p, q], y, dy| ..)` gives the gradients of both operands `p` and `q`; `stops("why")` says why there are none.
macro_rules! binary {
    ($name:ident, $word:literal, on($on:ident) $(, to($to:ident))? $(, float($float:expr))? $(, int($int:expr))?; $kind:ident($vjp:expr) $(,)?) => {
        $crate::op! {
            /// See the head of this file.
            pub struct $name {}
        }
        impl $name {
            const FAMILY: $crate::ops::elementwise::BinaryFamily =
                $crate::ops::elementwise::BinaryFamily::new([concat!($word, "_c0"), concat!($word, "_c1"), concat!($word, "_c2")], $crate::ops::elementwise::On::$on)
                    $(.to($crate::DType::$to))? $(.float($float))? $(.int($int))?;
        }
        impl $crate::ops::Operator for $name {
            fn infer(&self, x: &[$crate::TensorType], facts: &mut $crate::ops::Facts) -> Result<Vec<$crate::TensorType>, $crate::ops::TypeError> {
                Self::FAMILY.infer(x, facts)
            }
            fn eval(&self, x: &[$crate::Tensor]) -> Result<Vec<$crate::Tensor>, String> {
                Ok(Self::FAMILY.eval(x))
            }
            $crate::ops::elementwise::binary_vjp! { $kind($vjp) }
            fn expand(&self, _: &mut $crate::Builder, _: &[$crate::Value]) -> $crate::ops::Meaning {
                $crate::ops::Meaning::Primitive
            }
            fn examples() -> Vec<$crate::ops::Example> {
                Self::FAMILY.examples($name {}.into())
            }
        }
    };
}
pub(crate) use binary;

macro_rules! binary_vjp {
    (gradient($vjp:expr)) => {
        fn vjp(
            &self,
            b: &mut $crate::Builder,
            x: &[$crate::Value],
            y: &[$crate::Value],
            dy: &[Option<$crate::Value>],
        ) -> $crate::ops::Gradient {
            let f: fn(&mut $crate::Builder, [$crate::Value; 2], $crate::Value, $crate::Value) -> [$crate::Value; 2] = $vjp;
            $crate::ops::Gradient::Operands(match dy[0] {
                Some(dy) => f(b, [x[0], x[1]], y[0], dy).map(Some).to_vec(),
                None => vec![None, None],
            })
        }
    };
    (stops($why:expr)) => {
        $crate::ops::elementwise::unary_vjp! { stops($why) }
    };
}
pub(crate) use binary_vjp;

/// A comparison: a [`BinaryFamily`] whose one relation holds on floats and integers alike and gives truth values.
macro_rules! compare {
    ($name:ident, $word:literal, on($on:ident), |$a:ident, $b:ident| $relation:expr) => {
        $crate::ops::elementwise::binary! {
            $name, $word, on($on), to(Bool), float(|$a, $b| f64::from(u8::from($relation))), int(|$a, $b, _| i128::from($relation));
            stops("a truth value does not change with small changes of the operands")
        }
    };
}
pub(crate) use compare;
