//! `reverse_sequence`: the first elements of each sequence in reverse.   y[b, t, ..] = x[b, length − 1 − t, ..] if t < length, else x[b, t, ..]
//!
//! Shapes: `x: [.., batch, .., time, ..]` (in any order), `lengths: i64[batch]` → that of `x`.   Any element type.
//! A length beyond the time axis is an error at run time.
//! Constraints: (C0) two operands. (C1) `batch_axis` and `time_axis` are two axes of `x`. (C2) `lengths` is an i64 for each sequence.
//! Source: ONNX ReverseSequence-10.

use super::shape::{distinct_axes, operands};
use super::{Example, Facts, GatherElements, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::tensor::ravel;
use crate::{Builder, DType, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct ReverseSequence {
        /// The axis of the sequences.
        pub batch_axis: usize,
        /// The axis along which they run.
        pub time_axis: usize,
    }
}

impl Operator for ReverseSequence {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "reverse_sequence_c0")?;
        distinct_axes(&[self.batch_axis, self.time_axis], &x[0], "reverse_sequence_c1")?;
        if x[1].dtype != DType::I64 || x[1].rank() != 1 {
            return Err(TypeError::new("reverse_sequence_c2", format!("lengths are i64[batch], got {}", x[1])));
        }
        facts.equal(&x[1].shape[0], &x[0].shape[self.batch_axis], "reverse_sequence_c2", "lengths and sequences")?;
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (shape, lengths, item) = (x[0].shape(), x[1].ints(), x[0].dtype().size_bytes());
        let mut bytes = Vec::new();
        for position in 0..x[0].elements() {
            let mut index = x[0].index_of(position);
            let (t, length) = (index[self.time_axis] as i128, lengths[index[self.batch_axis]]);
            if length > shape[self.time_axis] as i128 {
                return Err(format!("length {length} is beyond {} time steps", shape[self.time_axis]));
            }
            index[self.time_axis] = if t < length { length - 1 - t } else { t } as usize;
            bytes.extend_from_slice(&x[0].bytes()[ravel(&index, shape) * item..][..item]);
        }
        Ok(vec![Tensor::from_vec(x[0].dtype(), shape.to_vec(), bytes)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let shape = b.shape(x[0]);
        let others: Vec<usize> = (0..shape.len()).filter(|axis| *axis != self.batch_axis).collect();
        let lengths = b.unsqueeze(x[1], &others);
        let lengths = b.broadcast_to(lengths, &shape);
        let (t, one) = (b.iota(DType::I64, &shape, self.time_axis), b.like(lengths, 1.0));
        let (last, inside) = (b.sub(lengths, one), b.less(t, lengths));
        let mirrored = b.sub(last, t);
        let from = b.select(inside, mirrored, t);
        Meaning::Composite(vec![b.op(GatherElements { axis: self.time_axis }, &[x[0], from])])
    }

    fn examples() -> Vec<Example> {
        let of = |batch_axis, time_axis| ReverseSequence { batch_axis, time_axis };
        vec![
            Example::accepted(of(0, 1), &["f32[3, 4, 2]", "i64[3]"]).with_values(1, 0.0, 4.0),
            Example::accepted(of(2, 0), &["bool[3, 2, n]", "i64[n]"]).with_values(1, 0.0, 3.0),
            Example::rejected("reverse_sequence_c0", of(0, 1), &["f32[2, 2]"]),
            Example::rejected("reverse_sequence_c1", of(1, 1), &["f32[2, 2]", "i64[2]"]),
            Example::rejected("reverse_sequence_c2", of(0, 1), &["f32[2, 2]", "i64[3]"]),
            Example::rejected("reverse_sequence_c2", of(0, 1), &["f32[2, 2]", "f32[2]"]),
        ]
    }
}
