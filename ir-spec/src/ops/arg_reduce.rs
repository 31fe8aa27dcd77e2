//! `arg_reduce`: where along an axis the extreme element is.   y[..] = argmaxᵢ x[.., i, ..]
//!
//! Shapes: `x: [.., n, ..]` → without the axis, or with size 1 there if `keep`; of element type `i64`.
//! Of equal extremes the first is taken, or the last if `last`; zeros of both signs are equal. If there is a NaN, the first NaN is
//! the extreme (the last if `last`).
//! Constraints: (C0) one operand. (C1) `axis` is an axis of `x`. (C2) a numeric element type. (C3) the axis is not empty.
//! Source: NumPy `argmax`.

use super::arithmetic::{Arithmetic, with_arithmetic};
use super::offsets::{axis_offsets, other_axes};
use super::shape::{axis, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, Reduce, TypeError};
use crate::{Builder, DType, Dim, Tensor, TensorType, Value, mode, op};

mode! {
    /// Which extreme.
    pub enum ArgKind {
        /// The largest.
        Max = "max",
        /// The smallest.
        Min = "min",
    }
}

impl ArgKind {
    /// Whether `new` takes the place of `best`: it is more extreme, NaN most of all.
    pub(crate) fn prefers<T: Arithmetic>(self, new: T, best: T) -> bool {
        match (new.is_nan(), best.is_nan()) {
            (_, true) => false,
            (true, false) => true,
            (false, false) => match self {
                ArgKind::Max => new > best,
                ArgKind::Min => new < best,
            },
        }
    }
}

op! {
    /// See the head of this file.
    pub struct ArgReduce {
        /// Which extreme.
        pub kind: ArgKind,
        /// The axis that vanishes.
        pub axis: usize,
        /// Whether it stays with size 1.
        pub keep: bool,
        /// Whether the last of equal extremes is taken.
        pub last: bool,
    }
}

impl Operator for ArgReduce {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "arg_reduce_c0")?;
        axis(self.axis, &x[0], "arg_reduce_c1")?;
        if !super::is_number(x[0].dtype) {
            return Err(TypeError::new("arg_reduce_c2", format!("is not defined on {}", x[0])));
        }
        facts.at_most(&Dim::ONE, &x[0].shape[self.axis], "arg_reduce_c3", format_args!("axis {} of {}", self.axis, x[0]))?;
        Ok(vec![TensorType::new(DType::I64, Reduce::shape(&x[0].shape, &[self.axis], self.keep, Dim::ONE))])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(vec![with_arithmetic!(x[0].dtype(), evaluate(self, &x[0]))])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::Stops("a position does not change with small changes of the operand")
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |kind, axis, keep, last| ArgReduce { kind, axis, keep, last };
        let first = of(ArgKind::Max, 0, false, false);
        vec![
            Example::accepted(of(ArgKind::Max, 1, false, false), &["f32[3, 9]"]),
            Example::accepted(of(ArgKind::Max, 1, true, true), &["f16[3, 9, 2]"]),
            Example::accepted(of(ArgKind::Min, 0, false, false), &["i8[40, n]"]),
            Example::accepted(of(ArgKind::Min, 0, true, true), &["f64[n, 3]"]),
            Example::accepted(first.clone(), &["u64[5, 0]"]),
            Example::rejected("arg_reduce_c0", first.clone(), &[]),
            Example::rejected("arg_reduce_c1", first.clone(), &["f32[]"]),
            Example::rejected("arg_reduce_c2", first.clone(), &["bool[2]"]),
            Example::rejected("arg_reduce_c3", first, &["f32[0, 2]"]),
        ]
    }
}

fn evaluate<T: Arithmetic>(op: &ArgReduce, x: &Tensor) -> Tensor {
    let values = T::read(x);
    let mut along: Vec<(usize, usize)> = axis_offsets(x.shape(), &[op.axis]).into_iter().enumerate().collect();
    if op.last {
        along.reverse();
    }
    let position = |at: usize| {
        let better = |best: (usize, usize), new: &(usize, usize)| {
            if op.kind.prefers(values[at + new.1], values[at + best.1]) { *new } else { best }
        };
        along[1..].iter().fold(along[0], better).0 as i128
    };
    let rest = axis_offsets(x.shape(), &other_axes(x.rank(), &[op.axis]));
    let shape = Reduce::shape(x.shape(), &[op.axis], op.keep, 1);
    Tensor::from_ints(DType::I64, shape, rest.into_iter().map(position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_nan_wins_and_ties_go_to_the_chosen_end() {
        let place = |x: &[f32], kind, last| {
            let op = ArgReduce { kind, axis: 0, keep: false, last };
            crate::Op::from(op).eval(&[Tensor::f32(&[x.len()], x)]).expect("it computes")[0].ints()[0]
        };
        let ties = [1.0, 3.0, 3.0, 1.0];
        let (max, min) = (ArgKind::Max, ArgKind::Min);
        assert_eq!([place(&ties, max, false), place(&ties, max, true), place(&ties, min, false), place(&ties, min, true)], [1, 2, 0, 3]);
        let nans = [1.0, f32::NAN, 5.0, f32::NAN];
        assert_eq!([place(&nans, max, false), place(&nans, min, false), place(&nans, min, true)], [1, 1, 3]);
    }
}
