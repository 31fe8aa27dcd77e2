//! `slice`: a strided part of each axis.   y[i, ..] = x[start + i·step, ..]
//!
//! Shapes: `x: [d0, ..]` → `sizes`.   A negative step walks backwards.
//! Constraints: (C0) one operand. (C1) a start, a size and a step for each axis. (C2) steps are not 0. (C3) sizes are not negative.
//! (C4) every element read lies inside `x`.

use super::movement::{reversed, spread};
use super::offsets::{offsets, pick, strides};
use super::shape::operands;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Slice {
        /// The first element read on each axis.
        pub starts: Vec<Dim>,
        /// How many elements are read on each axis.
        pub sizes: Vec<Dim>,
        /// The distance between elements read on each axis.
        pub steps: Vec<i64>,
    }
}

impl Operator for Slice {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "slice_c0")?;
        if [self.starts.len(), self.sizes.len(), self.steps.len()] != [x[0].rank(); 3] {
            return Err(TypeError::new("slice_c1", format!("takes a start, a size and a step for each axis of {}", x[0])));
        }
        for (axis, dim) in x[0].shape.iter().enumerate() {
            let (start, size, step) = (&self.starts[axis], &self.sizes[axis], self.steps[axis]);
            if step == 0 {
                return Err(TypeError::new("slice_c2", format!("the step on axis {axis} is 0")));
            }
            facts.at_most(&Dim::ZERO, size, "slice_c3", format_args!("size on axis {axis}"))?;
            if size.is(0) {
                continue;
            }
            // With size 0 both hold for any start that clamping gives, an axis of size 0 included.
            let last = start + (size - Dim::ONE) * Dim::from(step);
            let (lowest, highest) = if step > 0 { (start, &last) } else { (&last, start) };
            facts.at_most(&Dim::ZERO, lowest, "slice_c4", format_args!("lowest element on axis {axis} of {}", x[0]))?;
            facts.at_most(&(highest + Dim::ONE), dim, "slice_c4", format_args!("elements up to the highest on axis {axis} of {}", x[0]))?;
        }
        Ok(vec![x[0].with_shape(self.sizes.clone())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let shape = super::constants(&self.sizes)?;
        let mut base = 0;
        let mut steps = Vec::new();
        for (axis, stride) in strides(x[0].shape()).into_iter().enumerate() {
            let start = self.starts[axis].as_const().ok_or_else(|| format!("start {} is not known", self.starts[axis]))?;
            base += start as isize * stride as isize;
            steps.push(self.steps[axis] as isize * stride as isize);
        }
        let positions = offsets(&shape, &steps, base);
        Ok(vec![pick(&x[0], shape, &positions)])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let Some(mut dy) = dy[0] else { return Gradient::Operands(vec![None]) };
        let mut lows = Vec::new();
        for (axis, (start, size)) in self.starts.iter().zip(&self.sizes).enumerate() {
            let step = self.steps[axis];
            let last = start + (size - Dim::ONE) * Dim::from(step);
            if step < 0 {
                dy = reversed(b, dy, &[axis]);
            }
            dy = spread(b, dy, axis, step.unsigned_abs() as usize);
            lows.push(if step < 0 { last } else { start.clone() });
        }
        // What spreading adds behind the last element may reach behind the end of x; the padding is negative then.
        let (shape, spread) = (b.shape(x[0]), b.shape(dy));
        let high: Vec<Dim> = shape.iter().zip(lows.iter().zip(&spread)).map(|(d, (low, size))| d - low - size).collect();
        Gradient::Operands(vec![Some(b.pad(dy, &lows, &high, 0.0))])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |starts: &[i64], sizes: &[i64], steps: &[i64]| Slice {
            starts: starts.iter().map(|&d| Dim::from(d)).collect(),
            sizes: sizes.iter().map(|&d| Dim::from(d)).collect(),
            steps: steps.to_vec(),
        };
        let n = Dim::symbol("n");
        let reversed = Slice { starts: vec![&n - Dim::ONE], sizes: vec![n.clone()], steps: vec![-1] };
        let every_second = Slice { starts: vec![Dim::ZERO], sizes: vec![n.ceil_div(&Dim::from(2))], steps: vec![2] };
        let but_first = Slice { starts: vec![Dim::ONE, Dim::ZERO], sizes: vec![&n - Dim::ONE, Dim::from(3)], steps: vec![1, 1] };
        vec![
            Example::accepted(of(&[1, 0], &[2, 3], &[1, 1]), &["f32[4, 3]"]),
            Example::accepted(of(&[1, 4], &[2, 3], &[2, -2]), &["f32[4, 5]"]),
            Example::accepted(of(&[2, 0], &[0, 1], &[1, 1]), &["bool[2, 3]"]),
            Example::accepted(of(&[], &[], &[]), &["i64[]"]),
            Example::accepted(reversed, &["f16[n]"]),
            Example::accepted(every_second, &["u8[n]"]),
            Example::accepted(but_first, &["f32[n, 3]"]),
            Example::rejected("slice_c0", of(&[0], &[1], &[1]), &[]),
            Example::rejected("slice_c1", of(&[0], &[1], &[1]), &["f32[2, 2]"]),
            Example::rejected("slice_c2", of(&[0], &[1], &[0]), &["f32[2]"]),
            Example::rejected("slice_c3", of(&[0], &[-1], &[1]), &["f32[2]"]),
            Example::rejected("slice_c4", of(&[1], &[2], &[1]), &["f32[2]"]),
            Example::rejected("slice_c4", of(&[-1], &[2], &[1]), &["f32[2]"]),
            Example::rejected("slice_c4", of(&[1], &[3], &[-1]), &["f32[2]"]),
            Example::rejected("slice_c4", of(&[2], &[1], &[-1]), &["f32[2]"]),
        ]
    }
}
