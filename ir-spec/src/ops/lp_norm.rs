//! `lp_norm`: each lane divided by its p-norm.   y = x / (Σ |x|ᵖ)^(1/p), 0 where the norm is 0
//!
//! Shapes: `x: [..]` → same.   16-bit floats are computed in f32.
//! Constraints: (C0) one operand. (C1) a floating element type. (C2) `axis` is an axis of `x`. (C3) `p` is 1 or 2.
//! Source: ONNX LpNormalization-22.

use super::expansion::widen;
use super::reference::map_groups;
use super::shape::{axis, floating, operands};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct LpNorm {
        /// The axis a lane runs along.
        pub axis: usize,
        /// Which norm.
        pub p: usize,
    }
}

impl Operator for LpNorm {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "lp_norm_c0")?;
        floating(&x[0], "lp_norm_c1")?;
        axis(self.axis, &x[0], "lp_norm_c2")?;
        if self.p != 1 && self.p != 2 {
            return Err(TypeError::new("lp_norm_c3", format!("the {}-norm is not known, 1 and 2 are", self.p)));
        }
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let mut values = x[0].floats();
        map_groups(&mut values, x[0].shape(), &[self.axis], |lane| {
            let powers: f64 = lane.iter().map(|v| v.abs().powi(self.p as i32)).sum();
            let norm = if self.p == 1 { powers } else { powers.sqrt() };
            lane.iter_mut().for_each(|v| *v = if norm == 0.0 { 0.0 } else { *v / norm });
        });
        Ok(vec![Tensor::from_floats(x[0].dtype(), x[0].shape().to_vec(), values)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let wide = widen(b, x[0]);
        let powers = if self.p == 1 { b.abs(wide) } else { b.mul(wide, wide) };
        let sum = b.reduce_sum(powers, &[self.axis], true);
        // 0 is replaced by 1 before the root and the division, so that no 0/0 arises in values nor in slopes: those lanes are 0.
        let (zero, one) = (b.like(sum, 0.0), b.like(sum, 1.0));
        let none = b.equal(sum, zero);
        let sum = b.select(none, one, sum);
        let divisor = if self.p == 1 { sum } else { b.sqrt(sum) };
        let y = b.div(wide, divisor);
        let dtype = b.dtype(x[0]);
        Meaning::Composite(vec![b.cast(y, dtype)])
    }

    fn examples() -> Vec<Example> {
        let along = |axis, p| LpNorm { axis, p };
        vec![
            Example::accepted(along(1, 2), &["f32[3, 5]"]).with_values(0, -4.0, 4.0),
            Example::accepted(along(0, 1), &["f64[n, 3]"]).with_values(0, -4.0, 4.0),
            Example::accepted(along(0, 2), &["f32[4]"]).with_values(0, 0.0, 0.0),
            Example::accepted(along(2, 1), &["f16[1, 2, 3]"]).with_values(0, -4.0, 4.0),
            Example::rejected("lp_norm_c0", along(0, 2), &[]),
            Example::rejected("lp_norm_c1", along(0, 2), &["i32[2]"]),
            Example::rejected("lp_norm_c2", along(1, 2), &["f32[2]"]),
            Example::rejected("lp_norm_c3", along(0, 3), &["f32[2]"]),
        ]
    }
}
