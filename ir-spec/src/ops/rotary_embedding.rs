//! `rotary_embedding`: pairs of features turned by an angle per position.
//! (a, b) → (cos·a − sin·b, sin·a + cos·b), where pairs are the two halves of the first 2r features, or neighbours if `interleaved`
//!
//! Shapes: `x: [batch, heads, length, features]`, `cos` and `sin`: `[batch or 1, length, r]` → that of `x`.
//! Features from 2r on stay as they are.   16-bit floats are computed in f32.
//! Constraints: (C0) three operands. (C1) one floating element type. (C2) `x` has four axes, `cos` and `sin` three of one shape.
//! (C3) batch and length agree. (C4) 2r ≤ features.
//! Source: Su et al. 2021; ONNX RotaryEmbedding-23 after gathering its caches by position.

use super::expansion::widen;
use super::reference::broadcast_position;
use super::shape::{floating, operands, same_dtype};
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::tensor::{indices, ravel};
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct RotaryEmbedding {
        /// Whether a pair is two neighbours.
        pub interleaved: bool,
    }
}

impl Operator for RotaryEmbedding {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 3, "rotary_embedding_c0")?;
        floating(&x[0], "rotary_embedding_c1")?;
        same_dtype(&x[0], &x[1], "rotary_embedding_c1")?;
        same_dtype(&x[0], &x[2], "rotary_embedding_c1")?;
        if x[0].rank() != 4 || x[1].rank() != 3 {
            return Err(TypeError::new("rotary_embedding_c2", format!("expected 4 and 3 axes, got {} and {}", x[0], x[1])));
        }
        facts.same_shape(&x[1], &x[2], "rotary_embedding_c2")?;
        if !x[1].shape[0].is(1) {
            facts.equal(&x[1].shape[0], &x[0].shape[0], "rotary_embedding_c3", "batch of the angles and of x")?;
        }
        facts.equal(&x[1].shape[1], &x[0].shape[2], "rotary_embedding_c3", "length of the angles and of x")?;
        facts.at_most(&(&x[1].shape[2] * Dim::from(2)), &x[0].shape[3], "rotary_embedding_c4", "rotated features and features")?;
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let shape = x[0].shape();
        let (values, cos, sin, r) = (x[0].floats(), x[1].floats(), x[2].floats(), x[1].shape()[2]);
        let value = |index: Vec<usize>| {
            let feature = index[3];
            if feature >= 2 * r {
                return values[ravel(&index, shape)];
            }
            let (pair, second) = if self.interleaved { (feature / 2, feature % 2 == 1) } else { (feature % r, feature >= r) };
            let (first, other) = if self.interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + r) };
            let at = |f: usize| values[ravel(&[index[0], index[1], index[2], f], shape)];
            let angle = broadcast_position(&[index[0], index[2], pair], x[1].shape());
            let (a, b, c, s) = (at(first), at(other), cos[angle], sin[angle]);
            if second { s * a + c * b } else { c * a - s * b }
        };
        Ok(vec![Tensor::from_floats(x[0].dtype(), shape.to_vec(), indices(shape).map(value))])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let ty = b.ty(x[0]);
        let wide: Vec<Value> = x.iter().map(|v| widen(b, *v)).collect();
        let r = b.shape(x[1])[2].clone();
        let rotated = &r * Dim::from(2);
        let [batch, heads, length, features]: [Dim; 4] = std::array::from_fn(|a| ty.shape[a].clone());
        // Pairs as an axis of 2: the last for neighbours, the one before for halves.
        let turning = b.slice_axis(wide[0], 3, &Dim::ZERO, &rotated);
        let (pair_axis, paired) = if self.interleaved { (4, [r.clone(), Dim::from(2)]) } else { (3, [Dim::from(2), r.clone()]) };
        let paired = [&[batch, heads, length.clone()], paired.as_slice()].concat();
        let pairs = b.reshape(turning, &paired);
        let [first, second] = [0, 1].map(|side| b.slice_axis(pairs, pair_axis, &Dim::from(side), &Dim::ONE));
        let half = b.shape(first);
        let [cos, sin] = [wide[1], wide[2]].map(|angle| {
            // The same for all heads.
            let batch = b.shape(angle)[0].clone();
            let mut per_head = vec![batch, Dim::ONE, length.clone(), r.clone()];
            per_head.insert(pair_axis, Dim::ONE);
            let per_head = b.reshape(angle, &per_head);
            b.broadcast_to(per_head, &half)
        });
        let [ca, sb, sa, cb] = [(cos, first), (sin, second), (sin, first), (cos, second)].map(|(p, q)| b.mul(p, q));
        let (left, right) = (b.sub(ca, sb), b.add(sa, cb));
        let turned = b.concat(&[left, right], pair_axis);
        let turned = b.reshape(turned, &b.shape(turning));
        let rest = &features - &rotated;
        let whole = if rest.is(0) {
            turned
        } else {
            let rest = b.slice_axis(wide[0], 3, &rotated, &rest);
            b.concat(&[turned, rest], 3)
        };
        let y = b.reshape(whole, &ty.shape);
        Meaning::Composite(vec![b.cast(y, ty.dtype)])
    }

    fn examples() -> Vec<Example> {
        let (halves, pairs) = (|| RotaryEmbedding { interleaved: false }, || RotaryEmbedding { interleaved: true });
        let accepted = |op, x: &str, angles: &str| Example::accepted(op, &[x, angles, angles]).with_values(0, -4.0, 4.0).with_values(1, -1.0, 1.0).with_values(2, -1.0, 1.0);
        vec![
            accepted(halves(), "f32[2, 3, 4, 8]", "f32[2, 4, 4]"),
            accepted(pairs(), "f32[2, 3, 4, 8]", "f32[1, 4, 3]"),
            accepted(halves(), "f64[n, 2, m, 6]", "f64[n, m, 2]"),
            accepted(pairs(), "f32[n, 2, m, 2*r]", "f32[n, m, r]"),
            accepted(halves(), "f16[1, 1, 2, 4]", "f16[1, 2, 2]"),
            Example::rejected("rotary_embedding_c0", halves(), &["f32[2, 3, 4, 8]"]),
            Example::rejected("rotary_embedding_c1", halves(), &["f32[2, 3, 4, 8]", "f64[2, 4, 4]", "f32[2, 4, 4]"]),
            Example::rejected("rotary_embedding_c2", halves(), &["f32[3, 4, 8]", "f32[2, 4, 4]", "f32[2, 4, 4]"]),
            Example::rejected("rotary_embedding_c2", halves(), &["f32[2, 3, 4, 8]", "f32[2, 4, 4]", "f32[2, 4, 3]"]),
            Example::rejected("rotary_embedding_c3", halves(), &["f32[2, 3, 4, 8]", "f32[2, 5, 4]", "f32[2, 5, 4]"]),
            Example::rejected("rotary_embedding_c4", halves(), &["f32[2, 3, 4, 8]", "f32[2, 4, 5]", "f32[2, 4, 5]"]),
        ]
    }
}
