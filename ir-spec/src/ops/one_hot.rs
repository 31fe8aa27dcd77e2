//! `one_hot`: one value at each index, another elsewhere, along a new axis.   y[.., j, ..] = on if j = index, else off
//!
//! Shapes: `indices: [..]`, `values: [2]` = off, on → that of `indices` with an axis of `depth` inserted at `axis`.
//! Negative indices count from the end; an index outside −depth..depth gives `off` throughout.
//! Constraints: (C0) two operands. (C1) `indices` are integers. (C2) `values` has shape [2]. (C3) `axis` is at most the rank of `indices`.
//! Source: ONNX OneHot-11.

use super::expansion::size;
use super::shape::operands;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::tensor::{indices, ravel};
use crate::{Builder, DType, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct OneHot {
        /// Size of the new axis.
        pub depth: Dim,
        /// Where it is inserted.
        pub axis: usize,
    }
}

impl Operator for OneHot {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "one_hot_c0")?;
        if !x[0].dtype.is_int() {
            return Err(TypeError::new("one_hot_c1", format!("indices are integers, got {}", x[0])));
        }
        if x[1].rank() != 1 {
            return Err(TypeError::new("one_hot_c2", format!("expected the values off and on, got {}", x[1])));
        }
        facts.equal(&x[1].shape[0], &Dim::from(2), "one_hot_c2", "values off and on")?;
        if self.axis > x[0].rank() {
            return Err(TypeError::new("one_hot_c3", format!("axis {} of a result with {} axes", self.axis, x[0].rank() + 1)));
        }
        let mut shape = x[0].shape.clone();
        shape.insert(self.axis, self.depth.clone());
        Ok(vec![x[1].with_shape(shape)])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let depth = super::constants(std::slice::from_ref(&self.depth))?[0];
        let mut shape = x[0].shape().to_vec();
        shape.insert(self.axis, depth);
        let (positions, item) = (x[0].ints(), x[1].dtype().size_bytes());
        let mut bytes = Vec::new();
        for mut index in indices(&shape) {
            let j = index.remove(self.axis) as i128;
            let position = positions[ravel(&index, x[0].shape())];
            let wanted = if position < 0 { position + depth as i128 } else { position };
            let start = usize::from(j == wanted) * item;
            bytes.extend_from_slice(&x[1].bytes()[start..start + item]);
        }
        Ok(vec![Tensor::from_vec(x[1].dtype(), shape, bytes)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let mut shape = b.shape(x[0]);
        shape.insert(self.axis, self.depth.clone());
        let position = b.cast(x[0], DType::I64);
        let (zero, depth) = (b.like(position, 0.0), size(b, &self.depth, DType::I64));
        let negative = b.less(position, zero);
        let from_end = b.add(position, depth);
        let wanted = b.select(negative, from_end, position);
        let wanted = b.unsqueeze(wanted, &[self.axis]);
        let wanted = b.broadcast_to(wanted, &shape);
        let j = b.iota(DType::I64, &shape, self.axis);
        let hit = b.equal(j, wanted);
        let [off, on] = [0, 1].map(|at: i64| {
            let one = b.slice_axis(x[1], 0, &Dim::from(at), &Dim::ONE);
            let scalar = b.reshape(one, &[]);
            b.broadcast_to(scalar, &shape)
        });
        Meaning::Composite(vec![b.select(hit, on, off)])
    }

    fn examples() -> Vec<Example> {
        let of = |depth: i64, axis| OneHot { depth: Dim::from(depth), axis };
        vec![
            Example::accepted(of(4, 1), &["i64[3]", "f32[2]"]).with_values(0, -6.0, 5.0),
            Example::accepted(of(3, 0), &["i32[2, 2]", "u8[2]"]).with_values(0, -4.0, 4.0),
            Example::accepted(of(0, 0), &["u8[2]", "bool[2]"]).with_values(0, 0.0, 5.0),
            Example::accepted(OneHot { depth: Dim::symbol("n") * Dim::from(2), axis: 1 }, &["i64[n]", "f64[2]"]).with_values(0, -2.0, 3.0),
            Example::rejected("one_hot_c0", of(2, 0), &["i64[3]"]),
            Example::rejected("one_hot_c1", of(2, 0), &["f32[3]", "f32[2]"]),
            Example::rejected("one_hot_c2", of(2, 0), &["i64[3]", "f32[3]"]),
            Example::rejected("one_hot_c2", of(2, 0), &["i64[3]", "f32[]"]),
            Example::rejected("one_hot_c3", of(2, 2), &["i64[3]", "f32[2]"]),
        ]
    }
}
