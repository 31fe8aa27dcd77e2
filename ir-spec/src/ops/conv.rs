//! `conv`: convolution as neural networks mean it (cross-correlation), with groups, dilations and inserted zeros.
//! y[n, o, p] = Σ_c Σ_k x[n, c, (p·stride + k·dilation − low) / lhs_dilation] · w[o, c, k], over the c of the group of o
//!
//! Shapes: `x: [N, C, d..]`, `w: [O, C/groups, k..]` → `[N, O, ⌊(low + s + high − ((k − 1)·dilation + 1)) / stride⌋ + 1, ..]`
//! with s = (d − 1)·lhs_dilation + 1. Padding, and positions between elements that lhs_dilation moves apart, count as zeros;
//! negative padding crops. Summed in the canonical order of SPEC.md; integers wrap.
//! Constraints: (C0) two operands. (C1) one numeric element type. (C2) equal ranks of at least 3. (C3) a stride, dilation, lhs_dilation
//! and paddings for each spatial axis, the former at least 1. (C4) `groups` ≥ 1 divides O, and C = groups · w's second axis.
//! (C5) the kernel is not empty and fits into the padded axis.
//! Source: Dumoulin & Visin 2016, A guide to convolution arithmetic; StableHLO `convolution`.

use super::arithmetic::{Arithmetic, with_arithmetic};
use super::movement::reversed;
use super::shape::{operands, same_dtype};
use super::sliding::Sliding;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::tensor::indices;
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Conv {
        /// Input positions between neighbouring windows.
        pub strides: Vec<usize>,
        /// Input positions between neighbouring elements of the kernel.
        pub dilations: Vec<usize>,
        /// Positions between neighbouring elements of the input.
        pub lhs_dilations: Vec<usize>,
        /// Zeros before each spatial axis; negative crops.
        pub low: Vec<Dim>,
        /// Zeros after each spatial axis; negative crops.
        pub high: Vec<Dim>,
        /// Into how many groups channels are divided.
        pub groups: usize,
    }
}

impl Conv {
    /// Unit strides and dilations, no padding, one group, over `rank` spatial axes.
    pub fn plain(rank: usize) -> Conv {
        let ones = vec![1; rank];
        Conv {
            strides: ones.clone(),
            dilations: ones.clone(),
            lhs_dilations: ones,
            low: vec![Dim::ZERO; rank],
            high: vec![Dim::ZERO; rank],
            groups: 1,
        }
    }

    /// The transposed convolution. Position u of the spread input meets dy[p] through w[k] where p·stride = u + low − k·dilation: a
    /// convolution over dy spread by the stride with the kernel reversed, read `lhs_dilation` apart.
    fn gradient_by_input(&self, b: &mut Builder, x: &[Value], dy: Value) -> Value {
        let (input, kernel, output) = (b.shape(x[0]), b.shape(x[1]), b.shape(dy));
        let (groups, spatial) = (Dim::from(self.groups), input.len() - 2);
        let outputs = kernel[0].floor_div(&groups);
        let back = self.map_axes(spatial, |axis| {
            let [d, k, p] = [&input, &kernel, &output].map(|shape| &shape[2 + axis]);
            let reach = (k - Dim::ONE) * Dim::from(self.dilations[axis]);
            let span = (d - Dim::ONE) * Dim::from(self.lhs_dilations[axis]) - (p - Dim::ONE) * Dim::from(self.strides[axis]);
            Axis {
                stride: self.lhs_dilations[axis],
                dilation: self.dilations[axis],
                lhs_dilation: self.strides[axis],
                low: reach - &self.low[axis],
                high: span + &self.low[axis],
            }
        });
        // [G·O, C, k..] → [G·C, O, k..], reversed along each k.
        let turned = split_groups(b, x[1], 0, &groups, &outputs);
        let turned = b.transpose(turned, &[vec![0, 2, 1], (3..3 + spatial).collect()].concat());
        let joined = [&[&groups * &kernel[1], outputs][..], &kernel[2..]].concat();
        let turned = b.reshape(turned, &joined);
        let turned = reversed(b, turned, &(2..2 + spatial).collect::<Vec<_>>());
        b.op(back, &[dy, turned])
    }

    /// dw[k] sums dy[p]·x[p·stride + k·dilation − low] over p and the batch: a convolution whose kernel is dy, its elements `stride`
    /// apart, whose channels are the batch, and whose windows are `dilation` apart.
    fn gradient_by_kernel(&self, b: &mut Builder, x: &[Value], dy: Value) -> Value {
        let (input, kernel, output) = (b.shape(x[0]), b.shape(x[1]), b.shape(dy));
        let (groups, spatial) = (Dim::from(self.groups), input.len() - 2);
        let across = self.map_axes(spatial, |axis| {
            let [d, k, p] = [&input, &kernel, &output].map(|shape| &shape[2 + axis]);
            let reach = (k - Dim::ONE) * Dim::from(self.dilations[axis]);
            let span = (p - Dim::ONE) * Dim::from(self.strides[axis]) - (d - Dim::ONE) * Dim::from(self.lhs_dilations[axis]);
            Axis {
                stride: self.dilations[axis],
                dilation: self.strides[axis],
                lhs_dilation: self.lhs_dilations[axis],
                low: self.low[axis].clone(),
                high: reach + span - &self.low[axis],
            }
        });
        // [N, G·C, d..] → [C, G·N, d..]
        let turned = split_groups(b, x[0], 1, &groups, &kernel[1]);
        let turned = b.transpose(turned, &[vec![2, 1, 0], (3..3 + spatial).collect()].concat());
        let joined = [&[kernel[1].clone(), &groups * &input[0]][..], &input[2..]].concat();
        let turned = b.reshape(turned, &joined);
        let swap: Vec<usize> = [1, 0].into_iter().chain(2..2 + spatial).collect();
        let dy = b.transpose(dy, &swap);
        let dw = b.op(across, &[turned, dy]);
        b.transpose(dw, &swap)
    }

    /// The convolution of as many groups that slides so on each axis.
    fn map_axes(&self, spatial: usize, f: impl FnMut(usize) -> Axis) -> Conv {
        let mut conv = Conv { groups: self.groups, ..Conv::plain(0) };
        for axis in (0..spatial).map(f) {
            conv.strides.push(axis.stride);
            conv.dilations.push(axis.dilation);
            conv.lhs_dilations.push(axis.lhs_dilation);
            conv.low.push(axis.low);
            conv.high.push(axis.high);
        }
        conv
    }

    fn sliding(&self) -> Sliding<'_> {
        Sliding { strides: &self.strides, dilations: &self.dilations, lhs_dilations: &self.lhs_dilations, low: &self.low, high: &self.high }
    }
}

/// How a convolution slides along one axis.
struct Axis {
    stride: usize,
    dilation: usize,
    lhs_dilation: usize,
    low: Dim,
    high: Dim,
}

/// An axis of `groups · size` elements as two.
fn split_groups(b: &mut Builder, x: Value, axis: usize, groups: &Dim, size: &Dim) -> Value {
    let mut shape = b.shape(x);
    shape.splice(axis..=axis, [groups.clone(), size.clone()]);
    b.reshape(x, &shape)
}

impl Operator for Conv {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "conv_c0")?;
        let (x, w) = (&x[0], &x[1]);
        same_dtype(x, w, "conv_c1")?;
        if !super::is_number(x.dtype) {
            return Err(TypeError::new("conv_c1", format!("is not defined on {x}")));
        }
        if x.rank() != w.rank() || x.rank() < 3 {
            return Err(TypeError::new("conv_c2", format!("takes [N, C, spatial..] and [O, C/groups, kernel..], got {x} and {w}")));
        }
        self.sliding().check(x.rank() - 2, "conv_c3")?;
        if self.lhs_dilations.len() != x.rank() - 2 {
            return Err(TypeError::new("conv_c3", format!("{} lhs_dilations for {} spatial axes", self.lhs_dilations.len(), x.rank() - 2)));
        }
        if self.groups == 0 {
            return Err(TypeError::new("conv_c4", "groups is 0"));
        }
        let groups = Dim::from(self.groups);
        facts.equal(
            &x.shape[1],
            &(&w.shape[1] * &groups),
            "conv_c4",
            format_args!("channels of {x} and {} groups of those of {w}", self.groups),
        )?;
        facts.equal(
            &w.shape[0].modulo(&groups),
            &Dim::ZERO,
            "conv_c4",
            format_args!("output channels of {w} left over by {} groups", self.groups),
        )?;
        let output = self.sliding().infer(&x.shape[2..], &w.shape[2..], x, facts, "conv_c5")?;
        Ok(vec![x.with_shape([&[x.shape[0].clone(), w.shape[0].clone()][..], &output].concat())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let types: Vec<TensorType> = x.iter().map(Tensor::ty).collect();
        let shape = super::inferred_shape(self, &types)?;
        Ok(vec![with_arithmetic!(x[0].dtype(), evaluate(self, &x[0], &x[1], shape))?])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let Some(dy) = dy[0] else { return Gradient::Operands(vec![None, None]) };
        // Without elements or windows nothing meets the kernel.
        if [x[0], dy].into_iter().any(|v| b.shape(v)[2..].iter().any(|d| d.is(0))) {
            return Gradient::Operands(vec![Some(b.like(x[0], 0.0)), Some(b.like(x[1], 0.0))]);
        }
        Gradient::Operands(vec![Some(self.gradient_by_input(b, x, dy)), Some(self.gradient_by_kernel(b, x, dy))])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let padded = |low: &[i64], high: &[i64]| Conv {
            low: low.iter().map(|&d| Dim::from(d)).collect(),
            high: high.iter().map(|&d| Dim::from(d)).collect(),
            ..Conv::plain(low.len())
        };
        let line = Conv::plain(1);
        vec![
            Example::accepted(padded(&[1, 1], &[1, 1]), &["f32[n, 3, 7, 5]", "f32[4, 3, 3, 3]"]),
            Example::accepted(Conv { strides: vec![2, 3], ..padded(&[0, 2], &[1, 0]) }, &["f32[2, 3, h, 9]", "f32[5, 3, 3, 2]"]),
            Example::accepted(
                Conv { groups: 2, dilations: vec![2, 1], ..padded(&[2, 0], &[2, 1]) },
                &["f64[1, 4, 6, 5]", "f64[6, 2, 3, 2]"],
            ),
            Example::accepted(Conv { groups: 3, ..line.clone() }, &["f16[2, 3, 9]", "f16[3, 1, 4]"]),
            Example::accepted(Conv { lhs_dilations: vec![2, 3], ..padded(&[1, -1], &[2, 0]) }, &["f32[1, 2, 4, 3]", "f32[3, 2, 3, 2]"]),
            Example::accepted(Conv { strides: vec![2], lhs_dilations: vec![3], ..padded(&[2], &[2]) }, &["f32[1, 2, n]", "f32[3, 2, 2]"]),
            Example::accepted(padded(&[1, 0, 1], &[0, 0, 1]), &["f32[1, 2, 3, 4, 3]", "f32[2, 2, 2, 3, 3]"]),
            Example::accepted(line.clone(), &["i8[1, 2, 5]", "i8[3, 2, 3]"]),
            Example::accepted(line.clone(), &["u64[1, 2, 5]", "u64[3, 2, 3]"]),
            Example::accepted(line.clone(), &["f32[1, 0, 5]", "f32[3, 0, 3]"]),
            Example::accepted(line.clone(), &["f32[0, 2, 5]", "f32[3, 2, 3]"]),
            Example::rejected("conv_c0", line.clone(), &["f32[1, 2, 5]"]),
            Example::rejected("conv_c1", line.clone(), &["f32[1, 2, 5]", "f64[3, 2, 3]"]),
            Example::rejected("conv_c1", line.clone(), &["bool[1, 2, 5]", "bool[3, 2, 3]"]),
            Example::rejected("conv_c2", line.clone(), &["f32[1, 2, 5]", "f32[3, 2, 3, 3]"]),
            Example::rejected("conv_c2", Conv::plain(0), &["f32[1, 2]", "f32[3, 2]"]),
            Example::rejected("conv_c3", Conv::plain(2), &["f32[1, 2, 5]", "f32[3, 2, 3]"]),
            Example::rejected("conv_c3", Conv { strides: vec![0], ..line.clone() }, &["f32[1, 2, 5]", "f32[3, 2, 3]"]),
            Example::rejected("conv_c3", Conv { lhs_dilations: vec![], ..line.clone() }, &["f32[1, 2, 5]", "f32[3, 2, 3]"]),
            Example::rejected("conv_c4", line.clone(), &["f32[1, 2, 5]", "f32[3, 3, 3]"]),
            Example::rejected("conv_c4", Conv { groups: 2, ..line.clone() }, &["f32[1, 4, 5]", "f32[3, 2, 3]"]),
            Example::rejected("conv_c4", Conv { groups: 0, ..line.clone() }, &["f32[1, 4, 5]", "f32[3, 2, 3]"]),
            Example::rejected("conv_c5", line.clone(), &["f32[1, 2, 2]", "f32[3, 2, 3]"]),
            Example::rejected("conv_c5", line, &["f32[1, 2, 2]", "f32[3, 2, 0]"]),
        ]
    }
}

/// Kernel element by kernel element, each spread over whole planes: obvious, and fast enough for real networks.
fn evaluate<T: Arithmetic>(op: &Conv, x: &Tensor, w: &Tensor, shape: Vec<usize>) -> Result<Tensor, String> {
    let (xs, ws) = (T::read(x), T::read(w));
    let (input, kernel, output) = (&x.shape()[2..], &w.shape()[2..], &shape[2..]);
    let product = |sizes: &[usize]| sizes.iter().product::<usize>();
    let (input_plane, kernel_size, output_plane) = (product(input), product(kernel), product(output));
    let (batch, channels, outputs, per_group) = (x.shape()[0], x.shape()[1], w.shape()[0], w.shape()[1]);
    let mut y = vec![T::ZERO; product(&shape)];
    for (k, element) in indices(kernel).enumerate() {
        let pairs = op.sliding().pairs(&element, input, output)?;
        let runs = runs(&pairs);
        let mut is_padding = vec![true; output_plane];
        pairs.iter().for_each(|(p, _)| is_padding[*p] = false);
        for n in 0..batch {
            for o in 0..outputs {
                let group = o / (outputs / op.groups);
                let sums = &mut y[(n * outputs + o) * output_plane..][..output_plane];
                for c in 0..per_group {
                    let weight = ws[(o * per_group + c) * kernel_size + k];
                    let plane = &xs[(n * channels + group * per_group + c) * input_plane..][..input_plane];
                    for &(p, i, length) in &runs {
                        let terms = sums[p..p + length].iter_mut().zip(&plane[i..i + length]);
                        terms.for_each(|(sum, x)| *sum = sum.plus(weight.times(*x)));
                    }
                    // Padding is zeros, which matter where a weight is not finite.
                    let nothing = weight.times(T::ZERO);
                    if nothing.is_nan() {
                        sums.iter_mut().zip(&is_padding).filter(|(_, p)| **p).for_each(|(sum, _)| *sum = sum.plus(nothing));
                    }
                }
            }
        }
    }
    Ok(T::write(x.dtype(), shape, y))
}

/// Pairs of positions joined, where both go on by one, to `(first result position, first input position, length)`.
fn runs(pairs: &[(usize, usize)]) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for &(p, i) in pairs {
        match runs.last_mut() {
            Some((first, input, length)) if *first + *length == p && *input + *length == i => *length += 1,
            _ => runs.push((p, i, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    fn conv(op: &Conv, x: &Tensor, w: &Tensor) -> Vec<f64> {
        Op::from(op.clone()).eval(&[x.clone(), w.clone()]).expect("it computes")[0].floats()
    }

    #[test]
    fn known_values_with_strides_padding_and_dilation() {
        let (x, w) = (Tensor::f32(&[1, 1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]), Tensor::f32(&[1, 1, 2], &[10.0, 1.0]));
        assert_eq!(conv(&Conv::plain(1), &x, &w), [12.0, 23.0, 34.0, 45.0]);
        assert_eq!(conv(&Conv { dilations: vec![3], ..Conv::plain(1) }, &x, &w), [14.0, 25.0]);
        assert_eq!(conv(&Conv { strides: vec![2], low: vec![Dim::ONE], ..Conv::plain(1) }, &x, &w), [1.0, 23.0, 45.0]);
        assert_eq!(conv(&Conv { low: vec![Dim::from(-1)], high: vec![Dim::from(-2)], ..Conv::plain(1) }, &x, &w), [23.0]);
        assert_eq!(conv(&Conv { lhs_dilations: vec![2], high: vec![Dim::ONE], ..Conv::plain(1) }, &x, &w)[..4], [10.0, 2.0, 20.0, 3.0]);
    }

    #[test]
    fn groups_see_their_own_channels() {
        let (x, w) = (Tensor::f32(&[1, 4, 1], &[1.0, 2.0, 3.0, 4.0]), Tensor::f32(&[2, 2, 1], &[1.0, 10.0, 100.0, 1000.0]));
        assert_eq!(conv(&Conv { groups: 2, ..Conv::plain(1) }, &x, &w), [21.0, 4300.0]);
    }

    #[test]
    fn inserted_zeros_give_the_transposed_convolution() {
        // ⟨conv(x, w), y⟩ = ⟨x, conv′(y, w flipped)⟩: the definition of a transpose.
        let values = |n: usize| (0..n).map(|i| ((i * 7 + 3) % 11) as f32).collect::<Vec<_>>();
        let (x, w, y) = (values(9), values(3), values(4));
        let forward = Conv { strides: vec![2], low: vec![Dim::ONE], ..Conv::plain(1) };
        let back = Conv { lhs_dilations: vec![2], low: vec![Dim::ONE], high: vec![Dim::from(2)], ..Conv::plain(1) };
        let flipped: Vec<f32> = w.iter().rev().copied().collect();
        let there = conv(&forward, &Tensor::f32(&[1, 1, 9], &x), &Tensor::f32(&[1, 1, 3], &w));
        let here = conv(&back, &Tensor::f32(&[1, 1, 4], &y), &Tensor::f32(&[1, 1, 3], &flipped));
        let product = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
        assert_eq!((there.len(), here.len()), (4, 8));
        // The last element of x lies behind the last window, so the transposed result ends before it.
        assert_eq!(product(&there, &y), product(&here, &x[..8]));
    }
}
