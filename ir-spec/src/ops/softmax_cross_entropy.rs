//! `softmax_cross_entropy`: the `nll_loss` of the log-softmax of scores.   loss = −weight[label] · log_softmax(x)[label]
//!
//! Shapes: `x: [batch, classes, ..]` of scores, `labels: [batch, ..]` of integers, `weights: [classes]` if `has_weights`
//! → that of `labels`, or `[]` when reduced, as in `nll_loss`. 16-bit floats are computed in f32.
//! Constraints: (C0) two operands, three with weights. (C1) `x` and `weights` have one floating element type, `labels` are integers.
//! (C2) `x` has two axes or more and `labels` its shape without the classes. (C3) one weight per class.
//! Source: ONNX SoftmaxCrossEntropyLoss-13.

use super::expansion::widen;
use super::reference::{largest, map_groups};
use super::{Example, Facts, Gradient, LogSoftmax, LossReduction, Meaning, NllLoss, Operator, TypeError};
use crate::op;
use crate::{Builder, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct SoftmaxCrossEntropy {
        /// How the losses of all labels become the result.
        pub reduction: LossReduction,
        /// The label that does not count.
        pub ignore_index: Option<i64>,
        /// Whether there is a weight per class.
        pub has_weights: bool,
    }
}

impl SoftmaxCrossEntropy {
    fn loss(&self) -> NllLoss {
        NllLoss { reduction: self.reduction, ignore_index: self.ignore_index, has_weights: self.has_weights }
    }
}

impl Operator for SoftmaxCrossEntropy {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        let labels = ["softmax_cross_entropy_c0", "softmax_cross_entropy_c1", "softmax_cross_entropy_c2", "softmax_cross_entropy_c3"];
        Ok(vec![self.loss().check(x, facts, labels)?])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let mut values = x[0].floats();
        map_groups(&mut values, x[0].shape(), &[1], |lane| {
            let m = largest(lane);
            let log = lane.iter().map(|v| (v - m).exp()).sum::<f64>().ln();
            lane.iter_mut().for_each(|v| *v = *v - m - log);
        });
        Ok(vec![self.loss().evaluate(&values, x)?])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let wide = widen(b, x[0]);
        let mut operands = x.to_vec();
        operands[0] = b.op(LogSoftmax { axis: 1 }, &[wide]);
        if self.has_weights {
            operands[2] = widen(b, x[2]);
        }
        let y = b.op(self.loss(), &operands);
        let dtype = b.dtype(x[0]);
        Meaning::Composite(vec![b.cast(y, dtype)])
    }

    fn examples() -> Vec<Example> {
        let of = |reduction, ignore_index, has_weights| SoftmaxCrossEntropy { reduction, ignore_index, has_weights };
        let accepted = |op, inputs: &[&str], labels: (f64, f64)| {
            let example = Example::accepted(op, inputs).with_values(0, -4.0, 4.0).with_values(1, labels.0, labels.1);
            if inputs.len() == 3 { example.with_values(2, 0.1, 2.0) } else { example }
        };
        let (mean, sum, none) = (LossReduction::Mean, LossReduction::Sum, LossReduction::None);
        vec![
            accepted(of(mean, None, false), &["f32[3, 5]", "i64[3]"], (0.0, 4.0)),
            accepted(of(mean, Some(-1), true), &["f32[3, 5, 2]", "i64[3, 2]", "f32[5]"], (-1.0, 4.0)),
            accepted(of(sum, Some(1), false), &["f64[n, 4, m]", "i32[n, m]"], (0.0, 3.0)),
            accepted(of(none, None, true), &["bf16[2, 4, 2, 2]", "i32[2, 2, 2]", "bf16[4]"], (0.0, 3.0)),
            Example::rejected("softmax_cross_entropy_c0", of(mean, None, false), &["f32[3, 5]"]),
            Example::rejected("softmax_cross_entropy_c1", of(mean, None, false), &["i32[3, 5]", "i64[3]"]),
            Example::rejected("softmax_cross_entropy_c2", of(mean, None, false), &["f32[3, 5]", "i64[3, 5]"]),
            Example::rejected("softmax_cross_entropy_c3", of(mean, None, true), &["f32[3, 5]", "i64[3]", "f32[5, 1]"]),
        ]
    }
}
