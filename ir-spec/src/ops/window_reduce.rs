//! `window_reduce`: combines the elements of each window that slides over the last axes.
//! y[.., o] = ⊕ₖ x[.., o·stride + k·dilation − low]
//!
//! Shapes: `x: [lead.., d..]` with len(window) axes d → `[lead.., ⌊(low + d + high − ((window − 1)·dilation + 1)) / stride⌋ + 1, ..]`.
//! Padding contributes 0 to a `sum` and −∞ or the least integer to a `max`; negative padding crops. Integers wrap;
//! a maximum is NaN if an element is.
//! Constraints: (C0) one operand. (C1) a numeric element type. (C2) `x` has at least len(window) axes. (C3) a stride, a dilation
//! and paddings for each of them, strides and dilations at least 1. (C4) the window is not empty and fits into the padded axis.
//! Source: StableHLO `reduce_window`.

use super::arithmetic::{Arithmetic, with_arithmetic};
use super::reduce::ReduceKind;
use super::shape::operands;
use super::sliding::Sliding;
use super::{Example, Facts, Gradient, Meaning, Operator, ScatterElements, ScatterReduction, TypeError, WindowArgMax, movement};
use crate::tensor::indices;
use crate::{Builder, DType, Dim, Tensor, TensorType, Value, mode, op};

mode! {
    /// How the elements of a window are combined.
    pub enum WindowKind {
        /// Sum.
        Sum = "sum",
        /// The largest.
        Max = "max",
    }
}

op! {
    /// See the head of this file.
    pub struct WindowReduce {
        /// How elements are combined.
        pub kind: WindowKind,
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

impl WindowReduce {
    fn sliding(&self) -> Sliding<'_> {
        Sliding { strides: &self.strides, dilations: &self.dilations, lhs_dilations: &[], low: &self.low, high: &self.high }
    }
}

impl WindowReduce {
    /// Element i is in the windows o with o·stride + k·dilation = i + low: the sum of dy over a window as wide, its elements `stride`
    /// apart.
    fn sum_gradient(&self, b: &mut Builder, dy: Value, shape: &[Dim]) -> Value {
        let lead = shape.len() - self.window.len();
        let mut spread = dy;
        let (mut low, mut high) = (Vec::new(), Vec::new());
        for axis in 0..self.window.len() {
            spread = movement::spread(b, spread, lead + axis, self.strides[axis]);
            let extent = (Dim::from(self.window[axis]) - Dim::ONE) * Dim::from(self.dilations[axis]);
            low.push(extent - &self.low[axis]);
            high.push(&shape[lead + axis] + &self.low[axis] - &b.shape(spread)[lead + axis]);
        }
        b.op(WindowReduce { strides: vec![1; low.len()], low, high, ..self.clone() }, &[spread])
    }

    /// The first largest element of a window gets what the window gets.
    fn max_gradient(&self, b: &mut Builder, x: Value, dy: Value) -> Value {
        let WindowReduce { window, strides, dilations, low, high, .. } = self.clone();
        let tiles = window == strides && dilations.iter().all(|d| *d == 1) && low.iter().all(|d| d.is(0));
        let at = b.op(WindowArgMax { window, strides, dilations, low, high }, &[x]);
        if tiles {
            return self.max_gradient_of_tiles(b, x, at, dy);
        }
        let (ty, windows) = (b.ty(x), b.shape(dy));
        let (lead, plane) = ty.shape.split_at(ty.rank() - self.window.len());
        let (planes, size) = (Dim::product(lead), Dim::product(plane));
        // One more place at the end takes what belongs to windows that lie wholly in padding, whose position is −1.
        let places = [planes.clone(), &size + Dim::ONE];
        let flat = [planes.clone(), Dim::product(&windows[lead.len()..])];
        let (at, dy) = (b.reshape(at, &flat), b.reshape(dy, &flat));
        let zero = b.scalar(ty.dtype, 0.0);
        let zeros = b.broadcast_to(zero, &places);
        let sums = b.op(ScatterElements { axis: 1, reduction: ScatterReduction::Add }, &[zeros, at, dy]);
        let sums = b.slice_axis(sums, 1, &Dim::ZERO, &size);
        b.reshape(sums, &ty.shape)
    }

    /// The same where windows lie side by side, so that each element asks the only one it is in.
    fn max_gradient_of_tiles(&self, b: &mut Builder, x: Value, at: Value, dy: Value) -> Value {
        let shape = b.shape(x);
        let (lead, plane) = shape.split_at(shape.len() - self.window.len());
        // Each window's value at all its elements; none at elements behind the last window.
        let of_elements = |b: &mut Builder, of_windows: Value, none: f64| {
            let windows = b.shape(of_windows);
            let (mut whole, mut wide) = (lead.to_vec(), lead.to_vec());
            let mut high = vec![Dim::ZERO; lead.len()];
            for ((count, size), extent) in windows[lead.len()..].iter().zip(&self.window).zip(plane) {
                let size = Dim::from(*size);
                wide.extend([count.clone(), size.clone()]);
                whole.push(count * &size);
                high.push(extent - count * size);
            }
            let new: Vec<usize> = (0..self.window.len()).map(|axis| lead.len() + 2 * axis + 1).collect();
            let apart = b.unsqueeze(of_windows, &new);
            let repeated = b.broadcast_to(apart, &wide);
            let joined = b.reshape(repeated, &whole);
            b.pad(joined, &vec![Dim::ZERO; shape.len()], &high, none)
        };
        // Positions as narrow as the values beside them, where the plane is not larger.
        let is_small = Dim::product(plane).as_const().is_some_and(|n| i32::try_from(n).is_ok());
        let int = if is_small { DType::I32 } else { DType::I64 };
        let at = b.cast(at, int);
        let (at, dy) = (of_elements(b, at, -1.0), of_elements(b, dy, 0.0));
        let positions = b.iota(int, &[Dim::product(plane)], 0);
        let positions = b.reshape(positions, plane);
        let positions = b.broadcast_to(positions, &shape);
        let is_largest = b.equal(at, positions);
        let zero = b.like(dy, 0.0);
        b.select(is_largest, dy, zero)
    }
}

impl Operator for WindowReduce {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "window_reduce_c0")?;
        if !super::is_number(x[0].dtype) {
            return Err(TypeError::new("window_reduce_c1", format!("is not defined on {}", x[0])));
        }
        let Some(lead) = x[0].rank().checked_sub(self.window.len()) else {
            return Err(TypeError::new("window_reduce_c2", format!("a window of {} axes on {}", self.window.len(), x[0])));
        };
        self.sliding().check(self.window.len(), "window_reduce_c3")?;
        let window: Vec<Dim> = self.window.iter().map(|&d| Dim::from(d)).collect();
        let output = self.sliding().infer(&x[0].shape[lead..], &window, &x[0], facts, "window_reduce_c4")?;
        Ok(vec![x[0].with_shape([&x[0].shape[..lead], &output].concat())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let types: Vec<TensorType> = x.iter().map(Tensor::ty).collect();
        let shape = super::inferred_shape(self, &types)?;
        Ok(vec![with_arithmetic!(x[0].dtype(), evaluate(self, &x[0], shape))?])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let Some(dy) = dy[0] else { return Gradient::Operands(vec![None]) };
        let shape = b.shape(x[0]);
        // Without elements there are no windows to take gradients from.
        Gradient::Operands(vec![Some(if shape.iter().any(|d| d.is(0)) {
            b.like(x[0], 0.0)
        } else {
            match self.kind {
                WindowKind::Sum => self.sum_gradient(b, dy, &shape),
                WindowKind::Max => self.max_gradient(b, x[0], dy),
            }
        })])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |kind, window: &[usize], strides: &[usize], dilations: &[usize], low: &[i64], high: &[i64]| WindowReduce {
            kind,
            window: window.to_vec(),
            strides: strides.to_vec(),
            dilations: dilations.to_vec(),
            low: low.iter().map(|&d| Dim::from(d)).collect(),
            high: high.iter().map(|&d| Dim::from(d)).collect(),
        };
        let line = |kind| of(kind, &[3], &[2], &[1], &[1], &[1]);
        let mut examples = Vec::new();
        for &kind in WindowKind::ALL {
            examples.extend([
                Example::accepted(of(kind, &[2, 2], &[2, 2], &[1, 1], &[0, 0], &[0, 0]), &["f32[2, 3, 5, 7]"]),
                Example::accepted(of(kind, &[3, 2], &[1, 3], &[2, 1], &[1, 2], &[0, 1]), &["f64[n, 5, 7]"]),
                Example::accepted(of(kind, &[2, 1, 3], &[1, 1, 2], &[1, 1, 1], &[1, 0, 0], &[0, 0, 1]), &["f16[3, 2, 5]"]),
                Example::accepted(line(kind), &["i8[2, n]"]),
                Example::accepted(line(kind), &["u32[0, 4]"]),
                Example::accepted(of(kind, &[2], &[1], &[1], &[-1], &[3]), &["i32[4]"]),
                Example::accepted(of(kind, &[], &[], &[], &[], &[]), &["f32[2]"]),
            ]);
        }
        let max = WindowKind::Max;
        examples.extend([
            Example::rejected("window_reduce_c0", line(max), &[]),
            Example::rejected("window_reduce_c1", line(max), &["bool[4]"]),
            Example::rejected("window_reduce_c2", line(max), &["f32[]"]),
            Example::rejected("window_reduce_c3", of(max, &[2], &[1, 1], &[1], &[0], &[0]), &["f32[4]"]),
            Example::rejected("window_reduce_c3", of(max, &[2], &[0], &[1], &[0], &[0]), &["f32[4]"]),
            Example::rejected("window_reduce_c4", of(max, &[5], &[1], &[1], &[0], &[0]), &["f32[4]"]),
            Example::rejected("window_reduce_c4", of(max, &[0], &[1], &[1], &[0], &[0]), &["f32[4]"]),
        ]);
        examples
    }
}

fn evaluate<T: Arithmetic>(op: &WindowReduce, x: &Tensor, shape: Vec<usize>) -> Result<Tensor, String> {
    let kind = match op.kind {
        WindowKind::Sum => ReduceKind::Sum,
        WindowKind::Max => ReduceKind::Max,
    };
    let lead = x.rank() - op.window.len();
    let (planes, input) = (x.shape()[..lead].iter().product::<usize>(), &x.shape()[lead..]);
    let (values, output) = (T::read(x), &shape[lead..]);
    let (input_plane, output_plane) = (input.iter().product::<usize>(), output.iter().product::<usize>());
    let mut results: Vec<T> = vec![kind.identity(x.dtype()); planes * output_plane];
    for element in indices(&op.window) {
        let pairs = op.sliding().pairs(&element, input, output)?;
        for plane in 0..planes {
            for (o, i) in &pairs {
                let result = &mut results[plane * output_plane + o];
                *result = kind.combine(*result, values[plane * input_plane + i]);
            }
        }
    }
    Ok(T::write(x.dtype(), shape, results))
}
