//! `reduce`: combines the elements along axes.   y[i..] = ⊕ₖ x[i.., k..], summed in the canonical order of SPEC.md
//!
//! Shapes: `x: [..]` → without `axes`, or with size 1 there if `keep`.
//! Kinds, with the value of an empty reduction: `sum` 0, `prod` 1, `max` −∞ or the least integer, `min` +∞ or the greatest integer,
//! `and` true, `or` false. Integers wrap. `max` and `min` are NaN if an element is, and −0 is below +0.
//! Constraints: (C0) one operand. (C1) `axes` are distinct axes of `x`. (C2) a numeric element type; `bool` for `and` and `or`.

use super::arithmetic::{Arithmetic, with_arithmetic};
use super::offsets::{axis_offsets, other_axes};
use super::shape::{distinct_axes, operands};
use super::{Cumulative, CumulativeKind, Example, Facts, Gradient, Meaning, Operator, Transpose, TypeError};
use crate::{Builder, DType, Dim, Tensor, TensorType, Value, mode, op};

mode! {
    /// How elements are combined.
    pub enum ReduceKind {
        /// Sum.
        Sum = "sum",
        /// Product.
        Prod = "prod",
        /// The largest.
        Max = "max",
        /// The smallest.
        Min = "min",
        /// True if all are.
        And = "and",
        /// True if one is.
        Or = "or",
    }
}

impl ReduceKind {
    pub(crate) fn identity<T: Arithmetic>(self, dtype: DType) -> T {
        match self {
            ReduceKind::Sum | ReduceKind::Or => T::ZERO,
            ReduceKind::Prod | ReduceKind::And => T::ONE,
            ReduceKind::Max => T::least(dtype),
            ReduceKind::Min => T::greatest(dtype),
        }
    }

    pub(crate) fn combine<T: Arithmetic>(self, a: T, b: T) -> T {
        match self {
            ReduceKind::Sum => a.plus(b),
            ReduceKind::Prod => a.times(b),
            // Truth values are 0 and 1.
            ReduceKind::Max | ReduceKind::Or => a.larger(b),
            ReduceKind::Min | ReduceKind::And => a.smaller(b),
        }
    }
}

op! {
    /// See the head of this file.
    pub struct Reduce {
        /// How elements are combined.
        pub kind: ReduceKind,
        /// The axes that vanish.
        pub axes: Vec<usize>,
        /// Whether they stay with size 1.
        pub keep: bool,
    }
}

impl Reduce {
    /// The shape with `axes` removed, or of size 1 if `keep`.
    pub fn shape<D: Clone>(shape: &[D], axes: &[usize], keep: bool, one: D) -> Vec<D> {
        let size = |(i, d): (usize, &D)| if !axes.contains(&i) { Some(d.clone()) } else { keep.then(|| one.clone()) };
        shape.iter().enumerate().filter_map(size).collect()
    }

    /// For each element the product of those that are reduced with it: what is before it times what is behind it, so that nothing is
    /// divided by an element that may be zero.
    fn product_of_others(&self, b: &mut Builder, x: Value) -> Value {
        let shape = b.shape(x);
        let others = other_axes(shape.len(), &self.axes);
        let perm = [others.as_slice(), &self.axes].concat();
        let moved = b.transpose(x, &perm);
        let count = Dim::product(self.axes.iter().map(|&a| &shape[a]));
        let flat: Vec<Dim> = others.iter().map(|&a| shape[a].clone()).chain([count]).collect();
        let flat = b.reshape(moved, &flat);
        let running = |reverse| Cumulative { kind: CumulativeKind::Prod, axis: others.len(), exclusive: true, reverse };
        let (before, behind) = (b.op(running(false), &[flat]), b.op(running(true), &[flat]));
        let product = b.mul(before, behind);
        let moved: Vec<Dim> = perm.iter().map(|&a| shape[a].clone()).collect();
        let product = b.reshape(product, &moved);
        b.transpose(product, &Transpose::inverse(&perm))
    }
}

impl Operator for Reduce {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "reduce_c0")?;
        distinct_axes(&self.axes, &x[0], "reduce_c1")?;
        if (x[0].dtype == DType::Bool) != matches!(self.kind, ReduceKind::And | ReduceKind::Or) {
            return Err(TypeError::new("reduce_c2", format!("`{}` is not defined on {}", self.kind.word(), x[0])));
        }
        Ok(vec![x[0].with_shape(Reduce::shape(&x[0].shape, &self.axes, self.keep, Dim::ONE))])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(vec![with_arithmetic!(x[0].dtype(), evaluate(self, &x[0]))])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Gradient {
        let Some(dy) = dy[0] else { return Gradient::Operands(vec![None]) };
        let shape = b.shape(x[0]);
        let kept = Reduce::shape(&shape, &self.axes, true, Dim::ONE);
        let spread = |b: &mut Builder, v: Value| {
            let kept = b.reshape(v, &kept);
            b.broadcast_to(kept, &shape)
        };
        match self.kind {
            ReduceKind::Sum => Gradient::Operands(vec![Some(spread(b, dy))]),
            ReduceKind::Max | ReduceKind::Min => {
                // Elements that attain the extreme share its gradient.
                let (dy, y) = (spread(b, dy), spread(b, y[0]));
                let attained = b.equal(x[0], y);
                let (one, zero) = (b.like(x[0], 1.0), b.like(x[0], 0.0));
                let marks = b.select(attained, one, zero);
                let count = b.reduce_sum(marks, &self.axes, true);
                let share = b.div(dy, count);
                Gradient::Operands(vec![Some(b.select(attained, share, zero))])
            }
            ReduceKind::Prod => {
                let others = self.product_of_others(b, x[0]);
                let dy = spread(b, dy);
                Gradient::Operands(vec![Some(b.mul(dy, others))])
            }
            ReduceKind::And | ReduceKind::Or => Gradient::Stops("a truth value does not change with small changes of the operands"),
        }
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |kind, axes: &[usize], keep| Reduce { kind, axes: axes.to_vec(), keep };
        let sum = |axes: &[usize]| of(ReduceKind::Sum, axes, false);
        let mut examples = Vec::new();
        for &kind in ReduceKind::ALL {
            let dtypes = if matches!(kind, ReduceKind::And | ReduceKind::Or) { &["bool"][..] } else { &["f32", "i32", "u8", "f16"] };
            for dtype in dtypes {
                examples.push(Example::accepted(of(kind, &[1], false), &[&format!("{dtype}[3, 17, 2]")]));
            }
            examples.push(Example::accepted(of(kind, &[0, 2], true), &[&format!("{}[n, 3, 5]", dtypes[0])]));
            examples.push(Example::accepted(of(kind, &[0], false), &[&format!("{}[0, 3]", dtypes[0])]));
        }
        examples.extend([
            Example::accepted(sum(&[]), &["f32[2, 3]"]),
            Example::accepted(sum(&[2, 0]), &["f64[2, 3, n]"]),
            Example::accepted(sum(&[]), &["bf16[]"]),
            Example::rejected("reduce_c0", sum(&[0]), &[]),
            Example::rejected("reduce_c1", sum(&[1]), &["f32[2]"]),
            Example::rejected("reduce_c1", sum(&[0, 0]), &["f32[2]"]),
            Example::rejected("reduce_c2", sum(&[0]), &["bool[2]"]),
            Example::rejected("reduce_c2", of(ReduceKind::And, &[0], false), &["i8[2]"]),
        ]);
        examples
    }
}

fn evaluate<T: Arithmetic>(op: &Reduce, x: &Tensor) -> Tensor {
    let (values, rank) = (T::read(x), x.rank());
    let along = axis_offsets(x.shape(), &op.axes);
    let combine = |at: usize| along.iter().fold(op.kind.identity(x.dtype()), |sum: T, k| op.kind.combine(sum, values[at + k]));
    let results = axis_offsets(x.shape(), &other_axes(rank, &op.axes)).into_iter().map(combine).collect();
    T::write(x.dtype(), Reduce::shape(x.shape(), &op.axes, op.keep, 1), results)
}
