//! The numbers that reference evaluation computes with: `f64` for floating types, `i128` for integers and truth values,
//! so that each operator's loops are written once.

use crate::{DType, Tensor};

/// `f64` or `i128`, as reference evaluation uses them.
pub(crate) trait Arithmetic: Copy + PartialOrd + PartialEq {
    const ZERO: Self;
    const ONE: Self;
    /// The elements of a tensor.
    fn read(tensor: &Tensor) -> Vec<Self>;
    /// A tensor of these elements: floats rounded, integers wrapped.
    fn write(dtype: DType, shape: Vec<usize>, values: Vec<Self>) -> Tensor;
    /// Sum; integers wrap.
    fn plus(self, other: Self) -> Self;
    /// Product; integers wrap.
    fn times(self, other: Self) -> Self;
    /// The smaller, NaN if either is.
    fn smaller(self, other: Self) -> Self;
    /// The larger, NaN if either is.
    fn larger(self, other: Self) -> Self;
    /// True for NaN.
    fn is_nan(self) -> bool;
    /// The least value of the type: −∞ or the least integer.
    fn least(dtype: DType) -> Self;
    /// The greatest value of the type: +∞ or the greatest integer.
    fn greatest(dtype: DType) -> Self;
}

impl Arithmetic for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    fn read(tensor: &Tensor) -> Vec<f64> {
        tensor.floats()
    }
    fn write(dtype: DType, shape: Vec<usize>, values: Vec<f64>) -> Tensor {
        Tensor::from_floats(dtype, shape, values)
    }
    fn plus(self, other: f64) -> f64 {
        self + other
    }
    fn times(self, other: f64) -> f64 {
        self * other
    }
    fn smaller(self, other: f64) -> f64 {
        minimum(self, other)
    }
    fn larger(self, other: f64) -> f64 {
        maximum(self, other)
    }
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
    fn least(_: DType) -> f64 {
        f64::NEG_INFINITY
    }
    fn greatest(_: DType) -> f64 {
        f64::INFINITY
    }
}

impl Arithmetic for i128 {
    const ZERO: i128 = 0;
    const ONE: i128 = 1;
    fn read(tensor: &Tensor) -> Vec<i128> {
        tensor.ints()
    }
    fn write(dtype: DType, shape: Vec<usize>, values: Vec<i128>) -> Tensor {
        Tensor::from_ints(dtype, shape, values)
    }
    // Sums and products modulo 2¹²⁸ have the same low bits as in the element type.
    fn plus(self, other: i128) -> i128 {
        self.wrapping_add(other)
    }
    fn times(self, other: i128) -> i128 {
        self.wrapping_mul(other)
    }
    fn smaller(self, other: i128) -> i128 {
        self.min(other)
    }
    fn larger(self, other: i128) -> i128 {
        self.max(other)
    }
    fn is_nan(self) -> bool {
        false
    }
    fn least(dtype: DType) -> i128 {
        dtype.int_range().map_or(i128::MIN, |(low, _)| low)
    }
    fn greatest(dtype: DType) -> i128 {
        dtype.int_range().map_or(i128::MAX, |(_, high)| high)
    }
}

/// Calls a function generic over [`Arithmetic`] with the arithmetic of an element type.
macro_rules! with_arithmetic {
    ($dtype:expr, $function:ident($($argument:expr),* $(,)?)) => {
        if $dtype.is_float() { $function::<f64>($($argument),*) } else { $function::<i128>($($argument),*) }
    };
}
pub(crate) use with_arithmetic;

/// IEEE 754-2019 minimum: NaN if either is NaN, −0 below +0.
pub(crate) fn minimum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == b {
        if a.is_sign_negative() { a } else { b }
    } else {
        a.min(b)
    }
}

/// IEEE 754-2019 maximum: NaN if either is NaN, −0 below +0.
pub(crate) fn maximum(a: f64, b: f64) -> f64 {
    -minimum(-a, -b)
}

/// Bits of an integer type.
pub(crate) fn width(dtype: DType) -> i128 {
    8 * dtype.size_bytes() as i128
}
