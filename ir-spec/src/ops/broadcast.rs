//! `broadcast`: repeats a tensor along new leading axes and along axes of size 1, as NumPy does.
//!
//! Shapes: `x: [d0, ..]` → `shape`, where the axes of `x` align with the last axes of `shape`.
//! Constraints: (C0) one operand. (C1) `rank(x) ≤ rank(shape)`. (C2) each dim of `x` is 1 or that of `shape`.

use super::offsets::{offsets, pick, strides};
use super::shape::operands;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::dim::Atom;
use crate::{Builder, Dim, Proof, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Broadcast {
        /// The resulting shape.
        pub shape: Vec<Dim>,
    }
}

impl Operator for Broadcast {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "broadcast_c0")?;
        let Some(new) = self.shape.len().checked_sub(x[0].rank()) else {
            return Err(TypeError::new("broadcast_c1", format!("{} has more axes than the result's {}", x[0], self.shape.len())));
        };
        for (from, to) in x[0].shape.iter().zip(&self.shape[new..]) {
            for atom in to.terms().iter().flat_map(|t| &t.atoms) {
                if let Atom::Bcast(a, b) = atom {
                    facts.broadcast(a, b, "broadcast_c2", "broadcast")?;
                }
            }
            // A dim `bcast(from, _)` is what `from` broadcasts to by construction.
            if !from.is(1) && from != to && from.bcast(to) != *to {
                if facts.ranges.provably_equal(from, to) == Proof::No && facts.ranges.provably_equal(from, &Dim::ONE) == Proof::No {
                    return Err(TypeError::new(
                        "broadcast_c2",
                        format!("{from} does not broadcast to {to} in {} → {:?}", x[0], self.shape),
                    ));
                }
                facts.broadcast(from, to, "broadcast_c2", "broadcast")?;
                facts.at_most(from, to, "broadcast_c2", "broadcast")?;
            }
        }
        Ok(vec![x[0].with_shape(self.shape.clone())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let shape = super::constants(&self.shape)?;
        let new = shape.len() - x[0].rank();
        let repeated = |(d, stride): (&usize, usize)| if *d == 1 { 0 } else { stride as isize };
        let steps: Vec<isize> = std::iter::repeat_n(0, new).chain(x[0].shape().iter().zip(strides(x[0].shape())).map(repeated)).collect();
        let positions = offsets(&shape, &steps, 0);
        Ok(vec![pick(&x[0], shape, &positions)])
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        let Some(dy) = dy[0] else { return Gradient::Operands(vec![None]) };
        let from = b.shape(x[0]);
        let new = self.shape.len() - from.len();
        // Each axis in two: the repetitions, which are summed, and the axis of x. Whether one of size d is repeated may be known
        // at run time only; it is either 1 or all of the result's, and there are ⌊to / d⌋ repetitions both times.
        let mut axes: Vec<usize> = (0..new).collect();
        let mut split: Vec<Dim> = self.shape[..new].to_vec();
        for (d, to) in from.iter().zip(&self.shape[new..]) {
            if d != to {
                axes.push(split.len());
                split.push(to.floor_div(&d.maximum(&Dim::ONE)));
            }
            split.push(d.clone());
        }
        let dy = b.reshape(dy, &split);
        let sum = b.reduce_sum(dy, &axes, false);
        Gradient::Operands(vec![Some(b.reshape(sum, &from))])
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let to = |shape: &[i64]| Broadcast { shape: shape.iter().map(|&d| Dim::from(d)).collect() };
        vec![
            Example::accepted(to(&[2, 3]), &["f32[3]"]),
            Example::accepted(to(&[4, 2, 3]), &["i64[2, 1]"]),
            Example::accepted(to(&[0, 3]), &["bool[1, 3]"]),
            Example::accepted(Broadcast { shape: vec![Dim::symbol("n"), Dim::from(3)] }, &["f32[n, 1]"]),
            Example::accepted(Broadcast { shape: vec![Dim::symbol("m").bcast(&Dim::symbol("n"))] }, &["f32[n]"]),
            Example::rejected("broadcast_c0", to(&[2]), &[]),
            Example::rejected("broadcast_c1", to(&[2]), &["f32[2, 2]"]),
            Example::rejected("broadcast_c2", to(&[2]), &["f32[3]"]),
        ]
    }
}
