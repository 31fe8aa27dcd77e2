//! `transpose`: the axes in another order.   y[i₀, i₁, ..] = x[j₀, j₁, ..] with j[perm[k]] = i[k]
//!
//! Shapes: `x: [d0, d1, ..]` → `[d_perm[0], d_perm[1], ..]`.
//! Constraints: (C0) one operand. (C1) `perm` is a permutation of the axes of `x`.

use super::offsets::{offsets, pick, strides};
use super::shape::{distinct_axes, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Transpose {
        /// Which axis of `x` each axis of the result is.
        pub perm: Vec<usize>,
    }
}

impl Transpose {
    /// The permutation that undoes this one.
    pub fn inverse(perm: &[usize]) -> Vec<usize> {
        let mut inverse = vec![0; perm.len()];
        for (to, &from) in perm.iter().enumerate() {
            inverse[from] = to;
        }
        inverse
    }
}

impl Operator for Transpose {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "transpose_c0")?;
        distinct_axes(&self.perm, &x[0], "transpose_c1")?;
        if self.perm.len() != x[0].rank() {
            return Err(TypeError::new("transpose_c1", format!("{:?} names {} of the axes of {}", self.perm, self.perm.len(), x[0])));
        }
        Ok(vec![x[0].with_shape(self.perm.iter().map(|&a| x[0].shape[a].clone()).collect::<Vec<_>>())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let from = strides(x[0].shape());
        let shape: Vec<usize> = self.perm.iter().map(|&a| x[0].shape()[a]).collect();
        let steps: Vec<isize> = self.perm.iter().map(|&a| from[a] as isize).collect();
        let positions = offsets(&shape, &steps, 0);
        Ok(vec![pick(&x[0], shape, &positions)])
    }

    fn vjp(&self, b: &mut Builder, _: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        Gradient::Operands(vec![dy[0].map(|dy| b.transpose(dy, &Transpose::inverse(&self.perm)))])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let by = |perm: &[usize]| Transpose { perm: perm.to_vec() };
        vec![
            Example::accepted(by(&[1, 0]), &["f32[3, 5]"]),
            Example::accepted(by(&[2, 0, 1]), &["i8[2, n, 3]"]),
            Example::accepted(by(&[0, 3, 1, 2]), &["f16[2, 3, 4, 5]"]),
            Example::accepted(by(&[]), &["bool[]"]),
            Example::accepted(by(&[1, 0]), &["f64[0, 3]"]),
            Example::rejected("transpose_c0", by(&[0]), &[]),
            Example::rejected("transpose_c1", by(&[0, 0]), &["f32[2, 3]"]),
            Example::rejected("transpose_c1", by(&[0, 2]), &["f32[2, 3]"]),
            Example::rejected("transpose_c1", by(&[0]), &["f32[2, 3]"]),
        ]
    }
}
