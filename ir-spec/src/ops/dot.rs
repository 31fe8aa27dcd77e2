//! `dot`: general dot product with batch and contracting axes (matrix product, batched product, outer product).
//!
//! Shapes: the result has the batch axes (in the order given), the free axes of `a`, then the free axes of `b`.
//! y[batch, i, j] = Σₖ a[batch, i, k] · b[batch, j, k], summed in the canonical order of SPEC.md.
//! Constraints: (C0) two operands. (C1) one numeric element type. (C2) as many batch axes and contracting axes on both sides.
//! (C3) batch and contracting axes are distinct axes of their operand. (C4) paired axes have equal sizes.
//! Source: StableHLO `dot_general`.

use super::arithmetic::{Arithmetic, with_arithmetic};
use super::offsets::axis_offsets;
use super::shape::{distinct_axes, operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, Transpose, TypeError};
use crate::op;
use crate::{Builder, DType, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Dot {
        /// Batch axes of `a`.
        pub a_batch: Vec<usize>,
        /// Batch axes of `b`, paired with those of `a`.
        pub b_batch: Vec<usize>,
        /// Contracting axes of `a`.
        pub a_contract: Vec<usize>,
        /// Contracting axes of `b`, paired with those of `a`.
        pub b_contract: Vec<usize>,
    }
}

impl Dot {
    /// The product of two matrices: `[m, k] × [k, n]`.
    pub fn matrix() -> Dot {
        Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![1], b_contract: vec![0] }
    }

    /// Axes of an operand that are neither batch nor contracting, in order.
    pub fn free_axes(rank: usize, batch: &[usize], contract: &[usize]) -> Vec<usize> {
        (0..rank).filter(|a| !batch.contains(a) && !contract.contains(a)).collect()
    }
}

impl Operator for Dot {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "dot_c0")?;
        let (a, b) = (&x[0], &x[1]);
        same_dtype(a, b, "dot_c1")?;
        if a.dtype == DType::Bool {
            return Err(TypeError::new("dot_c1", "is not defined on bool"));
        }
        if self.a_batch.len() != self.b_batch.len() || self.a_contract.len() != self.b_contract.len() {
            return Err(TypeError::new("dot_c2", "batch or contracting axes differ in number"));
        }
        distinct_axes(&[self.a_batch.as_slice(), &self.a_contract].concat(), a, "dot_c3")?;
        distinct_axes(&[self.b_batch.as_slice(), &self.b_contract].concat(), b, "dot_c3")?;
        let pairs = self.a_batch.iter().zip(&self.b_batch).chain(self.a_contract.iter().zip(&self.b_contract));
        for (&i, &j) in pairs {
            facts.equal(&a.shape[i], &b.shape[j], "dot_c4", format_args!("axis {i} of {a} and axis {j} of {b}"))?;
        }
        let mut shape: Vec<_> = self.a_batch.iter().map(|&i| a.shape[i].clone()).collect();
        shape.extend(Dot::free_axes(a.rank(), &self.a_batch, &self.a_contract).into_iter().map(|i| a.shape[i].clone()));
        shape.extend(Dot::free_axes(b.rank(), &self.b_batch, &self.b_contract).into_iter().map(|i| b.shape[i].clone()));
        Ok(vec![a.with_shape(shape)])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(vec![with_arithmetic!(x[0].dtype(), evaluate(self, &x[0], &x[1]))])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let Some(dy) = dy[0] else { return Gradient::Operands(vec![None, None]) };
        let (a_rank, b_rank) = (b.ty(x[0]).rank(), b.ty(x[1]).rank());
        let batch = self.a_batch.len();
        let a_free = Dot::free_axes(a_rank, &self.a_batch, &self.a_contract);
        let b_free = Dot::free_axes(b_rank, &self.b_batch, &self.b_contract);
        // In dy the batch axes come first, then the free axes of a, then those of b.
        let (a_end, b_end) = (batch + a_free.len(), batch + a_free.len() + b_free.len());
        let by_a = Dot {
            a_batch: (0..batch).collect(),
            b_batch: self.b_batch.clone(),
            a_contract: (a_end..b_end).collect(),
            b_contract: b_free.clone(),
        };
        let da = b.op(by_a, &[dy, x[1]]);
        let da = restore(b, da, &self.a_batch, &a_free, &self.a_contract, &self.b_contract);
        let by_b =
            Dot { a_batch: (0..batch).collect(), b_batch: self.a_batch.clone(), a_contract: (batch..a_end).collect(), b_contract: a_free };
        let db = b.op(by_b, &[dy, x[0]]);
        let db = restore(b, db, &self.b_batch, &b_free, &self.b_contract, &self.a_contract);
        Gradient::Operands(vec![Some(da), Some(db)])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let batched = Dot { a_batch: vec![0], b_batch: vec![1], a_contract: vec![2], b_contract: vec![2] };
        vec![
            Example::accepted(Dot::matrix(), &["f32[3, 5]", "f32[5, 4]"]),
            Example::accepted(Dot::matrix(), &["f32[n, 17]", "f32[17, 9]"]),
            Example::accepted(Dot::matrix(), &["f32[2, 0]", "f32[0, 3]"]),
            Example::accepted(Dot::matrix(), &["i32[2, 3]", "i32[3, 2]"]),
            Example::accepted(batched.clone(), &["f64[2, 3, 5]", "f64[4, 2, 5]"]),
            Example::accepted(Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![], b_contract: vec![] }, &["f32[3]", "f32[2]"]),
            Example::accepted(
                Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![0, 2], b_contract: vec![1, 0] },
                &["f32[2, 3, 4]", "f32[4, 2]"],
            ),
            Example::rejected("dot_c0", Dot::matrix(), &["f32[2, 2]"]),
            Example::rejected("dot_c1", Dot::matrix(), &["f32[2, 2]", "f64[2, 2]"]),
            Example::rejected("dot_c2", Dot { b_contract: vec![], ..Dot::matrix() }, &["f32[2, 2]", "f32[2, 2]"]),
            Example::rejected("dot_c3", Dot { a_contract: vec![2], ..Dot::matrix() }, &["f32[2, 2]", "f32[2, 2]"]),
            Example::rejected("dot_c4", Dot::matrix(), &["f32[2, 3]", "f32[2, 3]"]),
        ]
    }
}

/// Brings the gradient of an operand into the order of its axes. It has the batch axes, the free axes, then the contracting axes
/// in the order in which the other operand has them.
fn restore(b: &mut Builder, gradient: Value, batch: &[usize], free: &[usize], contract: &[usize], other_contract: &[usize]) -> Value {
    let mut contracted: Vec<(usize, usize)> = other_contract.iter().copied().zip(contract.iter().copied()).collect();
    contracted.sort_unstable();
    let axes: Vec<usize> = batch.iter().chain(free).copied().chain(contracted.into_iter().map(|(_, axis)| axis)).collect();
    b.transpose(gradient, &Transpose::inverse(&axes))
}

fn evaluate<T: Arithmetic>(op: &Dot, a: &Tensor, b: &Tensor) -> Tensor {
    let a_free = Dot::free_axes(a.rank(), &op.a_batch, &op.a_contract);
    let b_free = Dot::free_axes(b.rank(), &op.b_batch, &op.b_contract);
    let (a_values, b_values) = (T::read(a), T::read(b));
    let (a_batch, b_batch) = (axis_offsets(a.shape(), &op.a_batch), axis_offsets(b.shape(), &op.b_batch));
    let (a_rows, b_rows) = (axis_offsets(a.shape(), &a_free), axis_offsets(b.shape(), &b_free));
    let (a_terms, b_terms) = (axis_offsets(a.shape(), &op.a_contract), axis_offsets(b.shape(), &op.b_contract));
    let mut results = Vec::with_capacity(a_batch.len() * a_rows.len() * b_rows.len());
    for (p, q) in a_batch.iter().zip(&b_batch) {
        // All columns of a term side by side, whatever the layout of b: the inner loop then walks memory in order.
        let b_matrix: Vec<T> = b_terms.iter().flat_map(|l| b_rows.iter().map(move |j| (j, l))).map(|(j, l)| b_values[q + j + l]).collect();
        for i in &a_rows {
            let mut sums = vec![T::ZERO; b_rows.len()];
            for (k, b_row) in a_terms.iter().zip(b_matrix.chunks_exact(b_rows.len().max(1))) {
                let factor = a_values[p + i + k];
                sums.iter_mut().zip(b_row).for_each(|(sum, b)| *sum = sum.plus(factor.times(*b)));
            }
            results.extend(sums);
        }
    }
    let sizes = |axes: &[usize], t: &Tensor| axes.iter().map(|&i| t.shape()[i]).collect::<Vec<_>>();
    T::write(a.dtype(), [sizes(&op.a_batch, a), sizes(&a_free, a), sizes(&b_free, b)].concat(), results)
}
