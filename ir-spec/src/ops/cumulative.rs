//! `cumulative`: running sums or products along an axis.   y[.., i, ..] = ⊕ x[.., k, ..] over k ≤ i
//!
//! Shapes: `x: [..]` → same.   `exclusive` leaves x[.., i, ..] itself out, `reverse` runs from the end; terms are added in that order.
//! Integers wrap.
//! Constraints: (C0) one operand. (C1) `axis` is an axis of `x`. (C2) a numeric element type.
//! Source: ONNX CumSum.

use super::arithmetic::{Arithmetic, with_arithmetic};
use super::offsets::{axis_offsets, other_axes};
use super::reduce::ReduceKind;
use super::shape::{axis, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, Scan, Transpose, TypeError};
use crate::{Builder, Graph, Tensor, TensorType, Value, mode, op};
use std::sync::Arc;

mode! {
    /// What runs.
    pub enum CumulativeKind {
        /// Sums.
        Sum = "sum",
        /// Products.
        Prod = "prod",
    }
}

op! {
    /// See the head of this file.
    pub struct Cumulative {
        /// What runs.
        pub kind: CumulativeKind,
        /// Along which axis.
        pub axis: usize,
        /// Whether an element is left out of its own result.
        pub exclusive: bool,
        /// Whether it runs from the end.
        pub reverse: bool,
    }
}

impl Cumulative {
    /// dxⱼ = (product before j) · rⱼ with rⱼ = Σ dyᵢ · (product between j and i), over the i that xⱼ is a factor of. The sums obey
    /// rⱼ = dyⱼ + xⱼ₊₁·rⱼ₊₁, so they are a loop that divides by nothing: zeros among the factors do no harm.
    fn product_gradient(&self, b: &mut Builder, x: Value, dy: Value) -> Value {
        let before = b.op(Cumulative { exclusive: true, ..self.clone() }, &[x]);
        let rank = b.ty(x).rank();
        let perm: Vec<usize> = [self.axis].into_iter().chain((0..rank).filter(|a| *a != self.axis)).collect();
        let (steps, weights) = (b.transpose(x, &perm), b.transpose(dy, &perm));

        let ty = b.ty(steps);
        let slice = ty.with_shape(&ty.shape[1..]);
        let mut body = Graph::new();
        let [later, factor, weight] = ["later", "x", "dy"].map(|name| body.add_input(name, slice.clone()));
        let inner = &mut b.region(&mut body);
        let (shown, next) = if self.exclusive {
            let product = inner.mul(factor, later);
            (later, inner.add(weight, product))
        } else {
            let sum = inner.add(weight, later);
            (sum, inner.mul(factor, sum))
        };
        body.add_output("later", next);
        body.add_output("sum", shown);

        let zero = b.scalar(ty.dtype, 0.0);
        let nothing = b.broadcast_to(zero, &slice.shape);
        let scan = Scan { body: Arc::new(body), carried: 1, scanned: 2, reverse: !self.reverse };
        let sums = b.ops(scan, &[nothing, steps, weights])[1];
        let sums = b.transpose(sums, &Transpose::inverse(&perm));
        b.mul(before, sums)
    }
}

impl Operator for Cumulative {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "cumulative_c0")?;
        axis(self.axis, &x[0], "cumulative_c1")?;
        if !super::is_number(x[0].dtype) {
            return Err(TypeError::new("cumulative_c2", format!("is not defined on {}", x[0])));
        }
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(vec![with_arithmetic!(x[0].dtype(), evaluate(self, &x[0]))])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        match self.kind {
            CumulativeKind::Sum => {
                let back = Cumulative { reverse: !self.reverse, ..self.clone() };
                Gradient::Operands(vec![dy[0].map(|dy| b.op(back, &[dy]))])
            }
            CumulativeKind::Prod => Gradient::Operands(vec![dy[0].map(|dy| self.product_gradient(b, x[0], dy))]),
        }
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |kind, axis, exclusive, reverse| Cumulative { kind, axis, exclusive, reverse };
        let sum = of(CumulativeKind::Sum, 0, false, false);
        let mut examples = Vec::new();
        for &kind in CumulativeKind::ALL {
            for (exclusive, reverse) in [(false, false), (false, true), (true, false), (true, true)] {
                examples.push(Example::accepted(of(kind, 1, exclusive, reverse), &["f32[2, 5, 3]"]));
            }
        }
        examples.extend([
            Example::accepted(sum.clone(), &["u8[n, 3]"]),
            Example::accepted(sum.clone(), &["f16[n]"]),
            Example::accepted(sum.clone(), &["i64[0, 3]"]),
            Example::rejected("cumulative_c0", sum.clone(), &[]),
            Example::rejected("cumulative_c1", sum.clone(), &["f32[]"]),
            Example::rejected("cumulative_c2", sum, &["bool[2]"]),
        ]);
        examples
    }
}

fn evaluate<T: Arithmetic>(op: &Cumulative, x: &Tensor) -> Tensor {
    let kind = match op.kind {
        CumulativeKind::Sum => ReduceKind::Sum,
        CumulativeKind::Prod => ReduceKind::Prod,
    };
    let values = T::read(x);
    let mut results = values.clone();
    let mut along = axis_offsets(x.shape(), &[op.axis]);
    if op.reverse {
        along.reverse();
    }
    for at in axis_offsets(x.shape(), &other_axes(x.rank(), &[op.axis])) {
        let mut running: T = kind.identity(x.dtype());
        for k in &along {
            let next = kind.combine(running, values[at + k]);
            results[at + k] = if op.exclusive { running } else { next };
            running = next;
        }
    }
    T::write(x.dtype(), x.shape().to_vec(), results)
}
