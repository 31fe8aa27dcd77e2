//! `pad`: more elements before and after each axis.
//!
//! Shapes: `x: [d0, ..]`, `value: []` → `[low0 + d0 + high0, ..]`.
//! Modes: `constant`: `value`, and a negative amount crops. `edge`: the nearest element. `reflect`: mirrored about the first and
//! last element, again and again if need be; an axis of size 1 repeats. `wrap`: `x` repeated. Only `constant` uses `value`.
//! Constraints: (C0) two operands. (C1) `value` is a scalar of the element type of `x`. (C2) amounts for each axis.
//! (C3) no size is negative. (C4) no amount is negative, except for `constant`. (C5) an axis that is padded is not empty, except for `constant`.
//! Source: NumPy `pad`.

use super::movement::add_slices;
use super::offsets::{pick, strides};
use super::shape::{operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::tensor::unravel;
use crate::{Builder, DType, Dim, Tensor, TensorType, Value, mode, op};

mode! {
    /// Where the new elements come from.
    pub enum PadMode {
        /// One value.
        Constant = "constant",
        /// The nearest element.
        Edge = "edge",
        /// Mirrored, without repeating the edge.
        Reflect = "reflect",
        /// Periodic.
        Wrap = "wrap",
    }
}

op! {
    /// See the head of this file.
    pub struct Pad {
        /// Elements added before each axis.
        pub low: Vec<Dim>,
        /// Elements added after each axis.
        pub high: Vec<Dim>,
        /// Where they come from.
        pub mode: PadMode,
    }
}

impl Operator for Pad {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "pad_c0")?;
        same_dtype(&x[0], &x[1], "pad_c1")?;
        if x[1].rank() != 0 {
            return Err(TypeError::new("pad_c1", format!("the value is {}, expected a scalar", x[1])));
        }
        if [self.low.len(), self.high.len()] != [x[0].rank(); 2] {
            return Err(TypeError::new("pad_c2", format!("takes two amounts for each axis of {}", x[0])));
        }
        let mut shape = Vec::new();
        for (axis, dim) in x[0].shape.iter().enumerate() {
            let (low, high) = (&self.low[axis], &self.high[axis]);
            if self.mode == PadMode::Constant {
                facts.at_most(&Dim::ZERO, &(low + dim + high), "pad_c3", format_args!("size on axis {axis} of {} padded", x[0]))?;
            } else {
                facts.at_most(&Dim::ZERO, low, "pad_c4", format_args!("low amount on axis {axis}"))?;
                facts.at_most(&Dim::ZERO, high, "pad_c4", format_args!("high amount on axis {axis}"))?;
                if !low.is(0) || !high.is(0) {
                    facts.at_most(&Dim::ONE, dim, "pad_c5", format_args!("axis {axis} of {}", x[0]))?;
                }
            }
            shape.push(low + dim + high);
        }
        Ok(vec![x[0].with_shape(shape)])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let amount = |d: &Dim| d.as_const().ok_or_else(|| format!("amount {d} is not known"));
        let low = self.low.iter().map(amount).collect::<Result<Vec<i64>, _>>()?;
        let high = self.high.iter().map(amount).collect::<Result<Vec<i64>, _>>()?;
        let shape: Vec<usize> = x[0].shape().iter().zip(low.iter().zip(&high)).map(|(&d, (l, h))| (l + d as i64 + h) as usize).collect();
        // One more element at the end stands for the value.
        let value = x[0].elements();
        let extended = Tensor::from_vec(x[0].dtype(), vec![value + 1], [x[0].bytes(), x[1].bytes()].concat());
        let from = strides(x[0].shape());
        let sources: Vec<Vec<Option<usize>>> = (0..shape.len())
            .map(|axis| (0..shape[axis]).map(|i| self.source(i as i64 - low[axis], x[0].shape()[axis] as i64)).collect())
            .collect();
        let positions: Vec<usize> = (0..shape.iter().product())
            .map(|p| {
                let index = unravel(p, &shape);
                (0..shape.len()).map(|axis| Some(sources[axis][index[axis]]? * from[axis])).sum::<Option<usize>>().unwrap_or(value)
            })
            .collect();
        Ok(vec![pick(&extended, shape, &positions)])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let Some(dy) = dy[0] else { return Gradient::Operands(vec![None, None]) };
        if self.mode != PadMode::Constant {
            let shape = b.shape(x[0]);
            let back = (0..shape.len()).fold(dy, |dy, axis| self.add_back(b, dy, axis, &shape[axis]));
            return Gradient::Operands(vec![Some(back), None]);
        }
        let back = |amounts: &[Dim]| amounts.iter().map(|a| Dim::ZERO - a).collect::<Vec<_>>();
        let dx = b.pad(dy, &back(&self.low), &back(&self.high), 0.0);
        let axes: Vec<usize> = (0..self.low.len()).collect();
        let (all, inside) = (b.reduce_sum(dy, &axes, false), b.reduce_sum(dx, &axes, false));
        Gradient::Operands(vec![Some(dx), Some(b.sub(all, inside))])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |low: &[i64], high: &[i64], mode| Pad {
            low: low.iter().map(|&d| Dim::from(d)).collect(),
            high: high.iter().map(|&d| Dim::from(d)).collect(),
            mode,
        };
        let symbolic = |mode| Pad { low: vec![Dim::from(2)], high: vec![Dim::symbol("n")], mode };
        vec![
            Example::accepted(of(&[1, 0], &[2, 3], PadMode::Constant), &["f32[2, 3]", "f32[]"]),
            Example::accepted(of(&[-1, 2], &[1, -2], PadMode::Constant), &["i32[3, 3]", "i32[]"]),
            Example::accepted(of(&[1, 1], &[0, 0], PadMode::Constant), &["bool[0, 2]", "bool[]"]),
            Example::accepted(of(&[], &[], PadMode::Constant), &["f32[]", "f32[]"]),
            Example::accepted(of(&[1, 4], &[2, 0], PadMode::Edge), &["f16[2, 3]", "f16[]"]),
            Example::accepted(of(&[1, 7], &[2, 5], PadMode::Reflect), &["f32[1, 3]", "f32[]"]),
            Example::accepted(of(&[1, 7], &[2, 5], PadMode::Wrap), &["f32[1, 3]", "f32[]"]),
            Example::accepted(symbolic(PadMode::Constant), &["f64[n]", "f64[]"]),
            Example::accepted(symbolic(PadMode::Reflect), &["f64[n]", "f64[]"]),
            Example::rejected("pad_c0", of(&[1], &[1], PadMode::Constant), &["f32[2]"]),
            Example::rejected("pad_c1", of(&[1], &[1], PadMode::Constant), &["f32[2]", "f64[]"]),
            Example::rejected("pad_c1", of(&[1], &[1], PadMode::Constant), &["f32[2]", "f32[1]"]),
            Example::rejected("pad_c2", of(&[1], &[1], PadMode::Constant), &["f32[2, 2]", "f32[]"]),
            Example::rejected("pad_c3", of(&[-2], &[-1], PadMode::Constant), &["f32[2]", "f32[]"]),
            Example::rejected("pad_c4", of(&[-1], &[1], PadMode::Edge), &["f32[2]", "f32[]"]),
            Example::rejected("pad_c5", of(&[1], &[0], PadMode::Wrap), &["f32[0]", "f32[]"]),
        ]
    }
}

impl Pad {
    /// Adds each element along an axis, which had size `n` before, to the one that it was a copy of.
    fn add_back(&self, b: &mut Builder, dy: Value, axis: usize, n: &Dim) -> Value {
        let (low, high) = (&self.low[axis], &self.high[axis]);
        if low.is(0) && high.is(0) {
            return dy;
        }
        // Positions padded in the same way say which element that is.
        let (positions, zero) = (b.iota(DType::I64, std::slice::from_ref(n), 0), b.scalar(DType::I64, 0.0));
        let sources = b.op(Pad { low: vec![low.clone()], high: vec![high.clone()], mode: self.mode }, &[positions, zero]);
        add_slices(b, dy, sources, axis, n)
    }

    /// The element of an axis of size `n` that stands at `i`, which may lie outside; `None` for the value.
    fn source(&self, i: i64, n: i64) -> Option<usize> {
        if (0..n).contains(&i) {
            return Some(i as usize);
        }
        let inside = match self.mode {
            PadMode::Constant => return None,
            PadMode::Edge => i.clamp(0, n - 1),
            PadMode::Wrap => i.rem_euclid(n),
            PadMode::Reflect => {
                let period = (2 * (n - 1)).max(1);
                let within = i.rem_euclid(period);
                within.min(period - within).min(n - 1)
            }
        };
        Some(inside as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_numpy() {
        let padded = |low: i64, high: i64, mode| {
            let op = Pad { low: vec![Dim::from(low)], high: vec![Dim::from(high)], mode };
            let x = [Tensor::i64(&[3], &[1, 2, 3]), Tensor::i64(&[], &[9])];
            crate::Op::from(op).eval(&x).expect("it computes")[0].ints()
        };
        assert_eq!(padded(2, 1, PadMode::Constant), [9, 9, 1, 2, 3, 9]);
        assert_eq!(padded(-1, 1, PadMode::Constant), [2, 3, 9]);
        assert_eq!(padded(2, 1, PadMode::Edge), [1, 1, 1, 2, 3, 3]);
        assert_eq!(padded(5, 3, PadMode::Reflect), [2, 1, 2, 3, 2, 1, 2, 3, 2, 1, 2]);
        assert_eq!(padded(4, 2, PadMode::Wrap), [3, 1, 2, 3, 1, 2, 3, 1, 2]);
    }
}
