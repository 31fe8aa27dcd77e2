//! `dot`: general dot product with batch and contracting axes (matrix product, batched product, outer product).
//!
//! Shapes: the result has the batch axes (in the order given), the free axes of `a`, then the free axes of `b`.
//! y[batch, i, j] = Σₖ a[batch, i, k] · b[batch, j, k], summed in the canonical order of SPEC.md.
//! Constraints: (C0) two operands. (C1) one numeric element type. (C2) as many batch axes and contracting axes on both sides.
//! (C3) batch and contracting axes are distinct axes of their operand. (C4) paired axes have equal sizes.
//! Source: StableHLO `dot_general`.

use super::shape::{distinct_axes, operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::tensor::{indices, ravel};
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
        let (a, b) = (&x[0], &x[1]);
        let a_free = Dot::free_axes(a.rank(), &self.a_batch, &self.a_contract);
        let b_free = Dot::free_axes(b.rank(), &self.b_batch, &self.b_contract);
        let sizes = |axes: &[usize], t: &Tensor| axes.iter().map(|&i| t.shape()[i]).collect::<Vec<_>>();
        let (batch, m, n) = (sizes(&self.a_batch, a), sizes(&a_free, a), sizes(&b_free, b));
        let k = sizes(&self.a_contract, a);
        let float = a.dtype().is_float();
        let (af, bf) = if float { (a.floats(), b.floats()) } else { (vec![], vec![]) };
        let (ai, bi) = if float { (vec![], vec![]) } else { (a.ints(), b.ints()) };
        let (mut floats, mut ints) = (Vec::new(), Vec::new());
        let (mut at, mut bt) = (vec![0; a.rank()], vec![0; b.rank()]);
        let put = |index: &mut [usize], axes: &[usize], values: &[usize]| axes.iter().zip(values).for_each(|(&x, &v)| index[x] = v);
        for p in indices(&batch) {
            for i in indices(&m) {
                for j in indices(&n) {
                    put(&mut at, &self.a_batch, &p);
                    put(&mut bt, &self.b_batch, &p);
                    put(&mut at, &a_free, &i);
                    put(&mut bt, &b_free, &j);
                    let (mut fsum, mut isum) = (0f64, 0i128);
                    for q in indices(&k) {
                        put(&mut at, &self.a_contract, &q);
                        put(&mut bt, &self.b_contract, &q);
                        let (u, v) = (ravel(&at, a.shape()), ravel(&bt, b.shape()));
                        if float {
                            fsum += af[u] * bf[v];
                        } else {
                            // Wraps like the element type does: the low bits do not depend on the high ones.
                            isum = isum.wrapping_add(ai[u].wrapping_mul(bi[v]));
                        }
                    }
                    if float { floats.push(fsum) } else { ints.push(isum) }
                }
            }
        }
        let shape = [batch, m, n].concat();
        Ok(vec![if float { Tensor::from_floats(a.dtype(), shape, floats) } else { Tensor::from_ints(a.dtype(), shape, ints) }])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::NotYet
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
