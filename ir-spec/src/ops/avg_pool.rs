//! `avg_pool`: the average under a window that slides over the last axes.   y = Σ window(x) / count
//!
//! Shapes: `x: [.., d0, d1, ..]`, windows over the last `window.len()` axes →
//! `[.., ⌊(d + low + high + overhang − span) / stride⌋ + 1, ..]` with `span = (window − 1)·dilation + 1`.
//! `count` is the number of window positions inside `x`, those in `low` and `high` included if `count_padding`;
//! positions in `overhang` (what rounding the size up adds at the end) never count. A window that counts nothing gives NaN.
//! 16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type. (C2) every attribute has an entry per window axis, and `x` has those axes.
//! (C3) `window`, `strides` and `dilations` are at least 1; `low`, `high` and `overhang` are at least 0. (C4) the window fits the padded axis.
//! Source: ONNX AveragePool-22.

use super::expansion::widen;
use super::shape::{floating, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError, WindowKind, WindowReduce};
use crate::op;
use crate::tensor::{indices, ravel};
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct AvgPool {
        /// Size of the window per axis.
        pub window: Vec<usize>,
        /// Steps of the window per axis.
        pub strides: Vec<usize>,
        /// Distance of neighbours in the window per axis.
        pub dilations: Vec<usize>,
        /// Padding before each axis.
        pub low: Vec<Dim>,
        /// Padding after each axis.
        pub high: Vec<Dim>,
        /// Positions after the padding that a window may cover and that never count.
        pub overhang: Vec<Dim>,
        /// Whether positions in the padding count.
        pub count_padding: bool,
    }
}

impl AvgPool {
    fn span(&self, axis: usize) -> usize {
        (self.window[axis] - 1) * self.dilations[axis] + 1
    }

    fn sum(&self, low: Vec<Dim>, high: Vec<Dim>) -> WindowReduce {
        let (window, strides, dilations) = (self.window.clone(), self.strides.clone(), self.dilations.clone());
        WindowReduce { kind: WindowKind::Sum, window, strides, dilations, low, high }
    }
}

impl Operator for AvgPool {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "avg_pool_c0")?;
        floating(&x[0], "avg_pool_c1")?;
        let n = self.window.len();
        let lengths = [self.strides.len(), self.dilations.len(), self.low.len(), self.high.len(), self.overhang.len()];
        if lengths.iter().any(|l| *l != n) || x[0].rank() < n {
            return Err(TypeError::new("avg_pool_c2", format!("a window of {n} axes, attributes of {lengths:?} entries, on {}", x[0])));
        }
        if self.window.iter().chain(&self.strides).chain(&self.dilations).any(|v| *v == 0) {
            return Err(TypeError::new("avg_pool_c3", "a window, stride or dilation is 0"));
        }
        for pad in self.low.iter().chain(&self.high).chain(&self.overhang) {
            facts.at_most(&Dim::ZERO, pad, "avg_pool_c3", "padding")?;
        }
        let mut shape = x[0].shape.clone();
        for (axis, dim) in shape[x[0].rank() - n..].iter_mut().enumerate() {
            let padded = &*dim + &self.low[axis] + &self.high[axis] + &self.overhang[axis];
            let span = Dim::from(self.span(axis));
            facts.at_most(&span, &padded, "avg_pool_c4", format_args!("window axis {axis} on {}", x[0]))?;
            *dim = (padded - span).floor_div(&Dim::from(self.strides[axis])) + Dim::ONE;
        }
        Ok(vec![x[0].with_shape(shape)])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (shape, values) = (x[0].shape(), x[0].floats());
        let first = shape.len() - self.window.len();
        let [low, high, overhang] = [&self.low, &self.high, &self.overhang].map(|d| super::constants(d));
        let (low, high, overhang) = (low?, high?, overhang?);
        let mut result = shape.to_vec();
        for (axis, d) in result[first..].iter_mut().enumerate() {
            *d = (*d + low[axis] + high[axis] + overhang[axis] - self.span(axis)) / self.strides[axis] + 1;
        }
        let average = |index: Vec<usize>| {
            let (mut sum, mut count) = (0.0, 0usize);
            for tap in indices(&self.window) {
                // Positions count from the start of the padding.
                let (mut at, mut inside, mut counts) = (index.clone(), true, true);
                for (axis, t) in tap.iter().enumerate() {
                    let padded = index[first + axis] * self.strides[axis] + t * self.dilations[axis];
                    inside &= (low[axis]..low[axis] + shape[first + axis]).contains(&padded);
                    counts &= padded < low[axis] + shape[first + axis] + high[axis];
                    at[first + axis] = padded.saturating_sub(low[axis]);
                }
                if inside {
                    sum += values[ravel(&at, shape)];
                }
                count += usize::from(inside || (counts && self.count_padding));
            }
            sum / count as f64
        };
        Ok(vec![Tensor::from_floats(x[0].dtype(), result.clone(), indices(&result).map(average))])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let ty = b.ty(x[0]);
        let wide = widen(b, x[0]);
        let plus = |p: &[Dim], q: &[Dim]| p.iter().zip(q).map(|(p, q)| p + q).collect::<Vec<Dim>>();
        let end = plus(&self.high, &self.overhang);
        let sums = b.op(self.sum(self.low.clone(), end.clone()), &[wide]);
        // The same windows over ones count the positions.
        let one = b.scalar(b.dtype(wide), 1.0);
        let plane = &ty.shape[ty.rank() - self.window.len()..];
        let counts = if self.count_padding {
            let ones = b.broadcast_to(one, &plus(&plus(plane, &self.low), &self.high));
            b.op(self.sum(vec![Dim::ZERO; plane.len()], self.overhang.clone()), &[ones])
        } else {
            let ones = b.broadcast_to(one, plane);
            b.op(self.sum(self.low.clone(), end), &[ones])
        };
        let counts = b.broadcast_to(counts, &b.shape(sums));
        let y = b.div(sums, counts);
        Meaning::Composite(vec![b.cast(y, ty.dtype)])
    }

    fn examples() -> Vec<Example> {
        let pool = |window: &[usize], stride: usize, dilation: usize, pads: [i64; 3], count_padding| {
            let n = window.len();
            let [low, high, overhang] = pads.map(|p| vec![Dim::from(p); n]);
            let (strides, dilations) = (vec![stride; n], vec![dilation; n]);
            AvgPool { window: window.to_vec(), strides, dilations, low, high, overhang, count_padding }
        };
        let accepted = |op, x: &str| Example::accepted(op, &[x]).with_values(0, -4.0, 4.0);
        let plain = || pool(&[2], 1, 1, [0, 0, 0], false);
        vec![
            accepted(pool(&[2, 2], 2, 1, [0, 0, 0], false), "f32[2, 3, 6, 7]"),
            accepted(pool(&[3, 3], 2, 1, [1, 1, 1], false), "f32[1, 2, 5, 6]"),
            accepted(pool(&[3, 3], 2, 1, [1, 1, 1], true), "f32[1, 2, 5, 6]"),
            accepted(pool(&[2], 1, 2, [1, 0, 0], true), "f64[n, 2, 9]"),
            accepted(pool(&[2], 3, 1, [1, 1, 2], true), "f32[n, m]"),
            accepted(pool(&[2, 1, 2], 1, 1, [0, 1, 0], false), "f16[1, 3, 2, 4]"),
            Example::rejected("avg_pool_c0", plain(), &[]),
            Example::rejected("avg_pool_c1", plain(), &["i32[4]"]),
            Example::rejected("avg_pool_c2", plain(), &["f32[]"]),
            Example::rejected("avg_pool_c2", AvgPool { strides: vec![], ..plain() }, &["f32[4]"]),
            Example::rejected("avg_pool_c3", AvgPool { window: vec![0], ..plain() }, &["f32[4]"]),
            Example::rejected("avg_pool_c3", AvgPool { low: vec![Dim::from(-1)], ..plain() }, &["f32[4]"]),
            Example::rejected("avg_pool_c4", pool(&[5], 1, 1, [0, 0, 0], false), &["f32[4]"]),
        ]
    }
}
