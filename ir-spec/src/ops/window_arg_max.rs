//! `window_arg_max`: where in its spatial plane the largest element of each sliding window is.
//!
//! Shapes: as `window_reduce`, of element type `i64`: the row-major position in the last len(window) axes of `x`, unpadded.
//! Of equal elements the first in row-major order is taken; if there is a NaN, the first NaN. −1 where a window lies wholly in padding.
//! Constraints: (C0) one operand. (C1) a numeric element type. (C2) `x` has at least len(window) axes. (C3) a stride, a dilation
//! and paddings for each of them, strides and dilations at least 1. (C4) the window is not empty and fits into the padded axis.
//! Source: ONNX MaxPool, `Indices` (which counts from the start of the tensor).

use super::arg_reduce::ArgKind;
use super::arithmetic::{Arithmetic, with_arithmetic};
use super::shape::operands;
use super::sliding::Sliding;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::tensor::indices;
use crate::{Builder, DType, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct WindowArgMax {
        /// Size of the window on each of the last axes.
        pub window: Vec<usize>,
        /// Elements between neighbouring windows.
        pub strides: Vec<usize>,
        /// Elements between neighbours inside a window.
        pub dilations: Vec<usize>,
        /// Padding before each axis.
        pub low: Vec<Dim>,
        /// Padding after each axis.
        pub high: Vec<Dim>,
    }
}

impl WindowArgMax {
    fn sliding(&self) -> Sliding<'_> {
        Sliding { strides: &self.strides, dilations: &self.dilations, lhs_dilations: &[], low: &self.low, high: &self.high }
    }
}

impl Operator for WindowArgMax {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "window_arg_max_c0")?;
        if !super::is_number(x[0].dtype) {
            return Err(TypeError::new("window_arg_max_c1", format!("is not defined on {}", x[0])));
        }
        let Some(lead) = x[0].rank().checked_sub(self.window.len()) else {
            return Err(TypeError::new("window_arg_max_c2", format!("a window of {} axes on {}", self.window.len(), x[0])));
        };
        self.sliding().check(self.window.len(), "window_arg_max_c3")?;
        let window: Vec<Dim> = self.window.iter().map(|&d| Dim::from(d)).collect();
        let output = self.sliding().infer(&x[0].shape[lead..], &window, &x[0], facts, "window_arg_max_c4")?;
        Ok(vec![TensorType::new(DType::I64, [&x[0].shape[..lead], &output].concat())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let types: Vec<TensorType> = x.iter().map(Tensor::ty).collect();
        let shape = super::inferred_shape(self, &types)?;
        Ok(vec![with_arithmetic!(x[0].dtype(), evaluate(self, &x[0], &shape))?])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::Stops("a position does not change with small changes of the operand")
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |window: &[usize], strides: &[usize], dilations: &[usize], low: &[i64], high: &[i64]| WindowArgMax {
            window: window.to_vec(),
            strides: strides.to_vec(),
            dilations: dilations.to_vec(),
            low: low.iter().map(|&d| Dim::from(d)).collect(),
            high: high.iter().map(|&d| Dim::from(d)).collect(),
        };
        let line = of(&[3], &[2], &[1], &[1], &[1]);
        vec![
            Example::accepted(of(&[2, 2], &[2, 2], &[1, 1], &[0, 0], &[0, 0]), &["f32[2, 3, 5, 7]"]),
            Example::accepted(of(&[3, 2], &[1, 3], &[2, 1], &[1, 2], &[0, 1]), &["f64[n, 5, 7]"]),
            Example::accepted(line.clone(), &["i8[2, n]"]),
            Example::accepted(of(&[2], &[1], &[1], &[3], &[0]), &["u32[2, 4]"]),
            Example::rejected("window_arg_max_c0", line.clone(), &[]),
            Example::rejected("window_arg_max_c1", line.clone(), &["bool[4]"]),
            Example::rejected("window_arg_max_c2", line.clone(), &["f32[]"]),
            Example::rejected("window_arg_max_c3", of(&[2], &[1, 1], &[1], &[0], &[0]), &["f32[4]"]),
            Example::rejected("window_arg_max_c4", of(&[5], &[1], &[1], &[0], &[0]), &["f32[4]"]),
        ]
    }
}

fn evaluate<T: Arithmetic>(op: &WindowArgMax, x: &Tensor, shape: &[usize]) -> Result<Tensor, String> {
    let lead = x.rank() - op.window.len();
    let (planes, input) = (x.shape()[..lead].iter().product::<usize>(), &x.shape()[lead..]);
    let (values, output) = (T::read(x), &shape[lead..]);
    let (input_plane, output_plane) = (input.iter().product::<usize>(), output.iter().product::<usize>());
    let mut results = vec![-1i64; planes * output_plane];
    for element in indices(&op.window) {
        let pairs = op.sliding().pairs(&element, input, output)?;
        for plane in 0..planes {
            for &(o, i) in &pairs {
                let result = &mut results[plane * output_plane + o];
                let at = plane * input_plane;
                if *result < 0 || ArgKind::Max.prefers(values[at + i], values[at + *result as usize]) {
                    *result = i as i64;
                }
            }
        }
    }
    Ok(Tensor::i64(shape, &results))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_of_the_unpadded_plane() {
        let op = WindowArgMax {
            window: vec![2, 2],
            strides: vec![2, 2],
            dilations: vec![1, 1],
            low: vec![Dim::ONE; 2],
            high: vec![Dim::ZERO; 2],
        };
        let x = Tensor::f32(&[3, 3], &[1.0, 2.0, 2.0, 4.0, 5.0, 5.0, f32::NAN, 9.0, f32::NAN]);
        assert_eq!(crate::Op::from(op).eval(&[x]).expect("it computes")[0].ints(), [0, 1, 6, 8]);
    }
}
