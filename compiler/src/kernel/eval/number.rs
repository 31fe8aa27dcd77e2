//! One element and what kernel functions do to it.

use crate::kernel::{BinaryFn, Combine, CompareFn, Scalar, UnaryFn};
use half::{bf16, f16};
use kiln_ir::{DType, Tensor};
use std::cmp::Ordering;

/// The value of an element: integers and truth values exactly, floats as `f64` that their type can hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Integer, or 0 and 1 for truth values.
    Int(i128),
    /// Floating point.
    Float(f64),
}

impl Number {
    /// Zero of a type.
    pub fn zero(dtype: DType) -> Number {
        if dtype.is_float() { Number::Float(0.0) } else { Number::Int(0) }
    }

    /// The integer; floats are truncated.
    pub fn int(self) -> i128 {
        match self {
            Number::Int(value) => value,
            Number::Float(value) => value as i128,
        }
    }

    /// The float; integers are converted.
    pub fn float(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    /// Whether it is NaN.
    pub fn is_nan(self) -> bool {
        matches!(self, Number::Float(value) if value.is_nan())
    }

    pub(super) fn constant(dtype: DType, scalar: Scalar) -> Number {
        match scalar {
            Scalar::Int(value) if dtype.is_float() => Number::Float(value as f64),
            Scalar::Int(value) => Number::Int(wrap(dtype, value)),
            Scalar::Float(bits) => round(dtype, f64::from_bits(bits)),
        }
    }

    /// Where a combination starts.
    pub(super) fn identity(combine: Combine, dtype: DType) -> Number {
        if dtype.is_float() {
            return Number::Float(match combine {
                Combine::Sum | Combine::Or => 0.0,
                Combine::Product | Combine::And => 1.0,
                Combine::Max => f64::NEG_INFINITY,
                Combine::Min => f64::INFINITY,
            });
        }
        let (least, greatest) = dtype.int_range().unwrap_or((0, 1));
        Number::Int(match combine {
            Combine::Sum | Combine::Or => 0,
            Combine::Product => 1,
            Combine::And => {
                if dtype == DType::Bool {
                    1
                } else {
                    wrap(dtype, -1)
                }
            }
            Combine::Max => least,
            Combine::Min => greatest,
        })
    }

    /// Order of two numbers of one kind that are not NaN; zeros of both signs are equal.
    pub(super) fn float_or_int_cmp(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a.cmp(&b),
            (a, b) => a.float().partial_cmp(&b.float()).unwrap_or(Ordering::Equal),
        }
    }
}

/// The elements of a tensor.
pub(super) fn elements(tensor: &Tensor) -> Vec<Number> {
    if tensor.dtype().is_float() {
        tensor.floats().into_iter().map(Number::Float).collect()
    } else {
        tensor.ints().into_iter().map(Number::Int).collect()
    }
}

/// A tensor of one axis.
pub(super) fn tensor(dtype: DType, elements: &[Number]) -> Tensor {
    let shape = vec![elements.len()];
    if dtype.is_float() {
        Tensor::from_floats(dtype, shape, elements.iter().map(|n| n.float()))
    } else {
        Tensor::from_ints(dtype, shape, elements.iter().map(|n| n.int()))
    }
}

fn round(dtype: DType, value: f64) -> Number {
    Number::Float(match dtype {
        DType::F16 => f16::from_f64(value).to_f64(),
        DType::BF16 => bf16::from_f64(value).to_f64(),
        DType::F32 => f64::from(value as f32),
        _ => value,
    })
}

fn wrap(dtype: DType, value: i128) -> i128 {
    match dtype {
        DType::Bool => i128::from(value != 0),
        DType::I8 => i128::from(value as i8),
        DType::U8 => i128::from(value as u8),
        DType::I16 => i128::from(value as i16),
        DType::U16 => i128::from(value as u16),
        DType::I32 => i128::from(value as i32),
        DType::U32 => i128::from(value as u32),
        DType::I64 => i128::from(value as i64),
        DType::U64 => i128::from(value as u64),
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => value,
    }
}

/// Conversion: see the operator `cast`.
pub(super) fn cast(from: DType, to: DType, value: Number) -> Number {
    match value {
        _ if from == to => value,
        Number::Float(v) if to.is_float() => round(to, v),
        Number::Float(v) if to == DType::Bool => Number::Int(i128::from(v != 0.0)),
        Number::Float(v) => {
            let (least, greatest) = to.int_range().unwrap_or((0, 0));
            Number::Int((v as i128).clamp(least, greatest))
        }
        Number::Int(v) if to == DType::F32 => Number::Float(f64::from(v as f32)),
        Number::Int(v) if to.is_float() => round(to, v as f64),
        Number::Int(v) => Number::Int(wrap(to, v)),
    }
}

/// Two values combined; the result has the type of both.
pub(super) fn combine(how: Combine, dtype: DType, a: Number, b: Number) -> Number {
    let function = match how {
        Combine::Sum if dtype != DType::Bool => BinaryFn::Add,
        Combine::Product if dtype != DType::Bool => BinaryFn::Mul,
        Combine::Max => BinaryFn::Max,
        Combine::Min => BinaryFn::Min,
        Combine::And | Combine::Product => BinaryFn::And,
        Combine::Or | Combine::Sum => BinaryFn::Or,
    };
    binary(function, dtype, a, b)
}

/// `a · b + c`, rounded once.
pub(super) fn multiply_add(dtype: DType, a: Number, b: Number, c: Number) -> Number {
    match (dtype, a, b, c) {
        (DType::F32, Number::Float(a), Number::Float(b), Number::Float(c)) => {
            Number::Float(f64::from((a as f32).mul_add(b as f32, c as f32)))
        }
        (_, Number::Float(a), Number::Float(b), Number::Float(c)) => Number::Float(a.mul_add(b, c)),
        _ => Number::Int(wrap(dtype, a.int().wrapping_mul(b.int()).wrapping_add(c.int()))),
    }
}

pub(super) fn unary(function: UnaryFn, dtype: DType, x: Number) -> Number {
    use UnaryFn::*;
    let v = match x {
        Number::Int(v) => return int_unary(function, dtype, v),
        Number::Float(v) => v,
    };
    let exact = match function {
        Neg => -v,
        Abs => v.abs(),
        Sign => match v.partial_cmp(&0.0) {
            Some(Ordering::Greater) => 1.0,
            Some(Ordering::Less) => -1.0,
            Some(Ordering::Equal) => 0.0,
            None => v,
        },
        Ceil => v.ceil(),
        Floor => v.floor(),
        Trunc => v.trunc(),
        Round => v.round_ties_even(),
        Sqrt => v.sqrt(),
        Reciprocal => 1.0 / v,
        Exp => v.exp(),
        Expm1 => v.exp_m1(),
        Log => v.ln(),
        Log1p => v.ln_1p(),
        Sin => v.sin(),
        Cos => v.cos(),
        Tan => v.tan(),
        Asin => v.asin(),
        Acos => v.acos(),
        Atan => v.atan(),
        Sinh => v.sinh(),
        Cosh => v.cosh(),
        Tanh => v.tanh(),
        Asinh => v.asinh(),
        Acosh => v.acosh(),
        Atanh => v.atanh(),
        Erf => kiln_ir::ops::erf::erf(v),
        IsNan => return Number::Int(i128::from(v.is_nan())),
        IsInf { positive, negative } => {
            return Number::Int(i128::from((positive && v == f64::INFINITY) || (negative && v == f64::NEG_INFINITY)));
        }
        Not | BitNot => panic!("kernel: {function:?} is not defined on {dtype}"),
    };
    round(dtype, exact)
}

fn int_unary(function: UnaryFn, dtype: DType, v: i128) -> Number {
    use UnaryFn::*;
    Number::Int(match function {
        Neg => wrap(dtype, -v),
        Abs => wrap(dtype, v.abs()),
        Sign => v.signum(),
        Ceil | Floor | Trunc | Round => v,
        Not => i128::from(v == 0),
        BitNot => wrap(dtype, !v),
        _ => panic!("kernel: {function:?} is not defined on {dtype}"),
    })
}

pub(super) fn binary(function: BinaryFn, dtype: DType, a: Number, b: Number) -> Number {
    use BinaryFn::*;
    let (a, b) = match (a, b) {
        (Number::Float(a), Number::Float(b)) => {
            return round(
                dtype,
                match function {
                    Add => a + b,
                    Sub => a - b,
                    Mul => a * b,
                    Div => a / b,
                    Rem => a % b,
                    Pow => a.powf(b),
                    Min if a.is_nan() || b.is_nan() => f64::NAN,
                    Max if a.is_nan() || b.is_nan() => f64::NAN,
                    Min => {
                        if a < b || (a == b && a.is_sign_negative()) {
                            a
                        } else {
                            b
                        }
                    }
                    Max => {
                        if a > b || (a == b && a.is_sign_positive()) {
                            a
                        } else {
                            b
                        }
                    }
                    _ => panic!("kernel: {function:?} is not defined on {dtype}"),
                },
            );
        }
        (a, b) => (a.int(), b.int()),
    };
    let bits = dtype.size_bytes() as i128 * 8;
    Number::Int(wrap(
        dtype,
        match function {
            Add => a.wrapping_add(b),
            Sub => a.wrapping_sub(b),
            Mul => a.wrapping_mul(b),
            Div => a.checked_div(b).unwrap_or(0),
            Rem => a.checked_rem(b).unwrap_or(0),
            Pow => power(a, b),
            Min => a.min(b),
            Max => a.max(b),
            And | BitAnd => a & b,
            Or | BitOr => a | b,
            Xor | BitXor => a ^ b,
            ShiftLeft => {
                if (0..bits).contains(&b) {
                    a << b
                } else {
                    0
                }
            }
            ShiftRight => a >> b.clamp(0, 127),
        },
    ))
}

fn power(a: i128, b: i128) -> i128 {
    match (a, b) {
        (1, _) => 1,
        (-1, b) => {
            if b % 2 == 0 {
                1
            } else {
                -1
            }
        }
        (_, b) if b < 0 => 0,
        (a, b) => a.wrapping_pow(b.min(u32::MAX.into()) as u32),
    }
}

pub(super) fn compare(function: CompareFn, a: Number, b: Number) -> Number {
    let order = if a.is_nan() || b.is_nan() { None } else { Some(a.float_or_int_cmp(b)) };
    Number::Int(i128::from(match function {
        CompareFn::Equal => order == Some(Ordering::Equal),
        CompareFn::NotEqual => order != Some(Ordering::Equal),
        CompareFn::Less => order == Some(Ordering::Less),
        CompareFn::LessEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        CompareFn::Greater => order == Some(Ordering::Greater),
        CompareFn::GreaterEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }))
}
