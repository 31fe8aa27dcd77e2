//! `nll_loss`: minus the log-probability of the right class.   loss = −weight[label] · x[label], 0 where the label is ignored
//!
//! Shapes: `x: [batch, classes, ..]` of log-probabilities, `labels: [batch, ..]` of integers, `weights: [classes]` if `has_weights`
//! → that of `labels`, or `[]` when reduced. `mean` divides by the sum of the weights of the labels that count (1 each without
//! weights; NaN if there are none). 16-bit floats are computed in f32.
//! Constraints: (C0) two operands, three with weights. (C1) `x` and `weights` have one floating element type, `labels` are integers.
//! (C2) `x` has two axes or more and `labels` its shape without the classes. (C3) one weight per class.
//! Source: ONNX NegativeLogLikelihoodLoss-22.

use super::expansion::{size, widen};
use super::shape::{floating, operands, same_dtype};
use super::{Example, Facts, GatherElements, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::tensor::{indices, ravel};
use crate::{Builder, DType, Dim, Tensor, TensorType, Value};

crate::mode! {
    /// How the losses of all labels become the result.
    pub enum LossReduction {
        /// They stay.
        None = "none",
        /// Their weighted mean.
        Mean = "mean",
        /// Their sum.
        Sum = "sum",
    }
}

op! {
    /// See the head of this file.
    pub struct NllLoss {
        /// How the losses of all labels become the result.
        pub reduction: LossReduction,
        /// The label that does not count.
        pub ignore_index: Option<i64>,
        /// Whether there is a weight per class.
        pub has_weights: bool,
    }
}

impl NllLoss {
    /// Checks operands by labels (C0)–(C3); the type of the result.
    pub(super) fn check(&self, x: &[TensorType], facts: &mut Facts, labels: [&'static str; 4]) -> Result<TensorType, TypeError> {
        operands(x, 2 + usize::from(self.has_weights), labels[0])?;
        floating(&x[0], labels[1])?;
        if !x[1].dtype.is_int() {
            return Err(TypeError::new(labels[1], format!("labels are integers, got {}", x[1])));
        }
        if x[0].rank() < 2 || x[1].rank() + 1 != x[0].rank() {
            return Err(TypeError::new(labels[2], format!("labels {} for {}", x[1], x[0])));
        }
        let mut expected = x[0].shape.clone();
        let classes = expected.remove(1);
        facts.same_shape(&x[1].with_shape(expected.clone()), &x[1], labels[2])?;
        if self.has_weights {
            same_dtype(&x[0], &x[2], labels[1])?;
            if x[2].rank() != 1 {
                return Err(TypeError::new(labels[3], format!("expected one weight per class, got {}", x[2])));
            }
            facts.equal(&x[2].shape[0], &classes, labels[3], "weights and classes")?;
        }
        Ok(x[0].with_shape(if self.reduction == LossReduction::None { expected } else { vec![] }))
    }

    /// The loss from log-probabilities in f64. Errors: a label outside the classes.
    pub(super) fn evaluate(&self, log_probabilities: &[f64], x: &[Tensor]) -> Result<Tensor, String> {
        let (shape, labels) = (x[0].shape(), x[1].ints());
        let weights = if self.has_weights { x[2].floats() } else { vec![1.0; shape[1]] };
        let (mut losses, mut total) = (Vec::new(), 0.0);
        for (index, label) in indices(x[1].shape()).zip(labels) {
            if self.ignore_index.map(i128::from) == Some(label) {
                losses.push(0.0);
                continue;
            }
            let class = usize::try_from(label).ok().filter(|c| *c < shape[1]).ok_or_else(|| format!("label {label} is outside 0..{}", shape[1]))?;
            let at = [&[index[0], class], &index[1..]].concat();
            losses.push(-weights[class] * log_probabilities[ravel(&at, shape)]);
            total += weights[class];
        }
        let sum: f64 = losses.iter().sum();
        Ok(match self.reduction {
            LossReduction::None => Tensor::from_floats(x[0].dtype(), x[1].shape().to_vec(), losses),
            LossReduction::Sum => Tensor::scalar(x[0].dtype(), sum),
            LossReduction::Mean => Tensor::scalar(x[0].dtype(), sum / total),
        })
    }
}

impl Operator for NllLoss {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        Ok(vec![self.check(x, facts, ["nll_loss_c0", "nll_loss_c1", "nll_loss_c2", "nll_loss_c3"])?])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(vec![self.evaluate(&x[0].floats(), x)?])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let ty = b.ty(x[0]);
        let wide = widen(b, x[0]);
        let mut shape = ty.shape.clone();
        shape.remove(1);
        let labels = b.cast(x[1], DType::I64);
        let labels = b.reshape(labels, &shape);
        // An ignored label may be outside the classes: it reads class 0, and what it reads is not used.
        let counts = self.ignore_index.map(|ignored| {
            let ignored = b.constant(Tensor::i64(&[], &[ignored]));
            b.not_equal(labels, ignored)
        });
        let none = b.like(labels, 0.0);
        let class = counts.map_or(labels, |counts| b.select(counts, labels, none));
        let column = b.unsqueeze(class, &[1]);
        let picked = b.op(GatherElements { axis: 1 }, &[wide, column]);
        let picked = b.reshape(picked, &shape);
        let weights = self.has_weights.then(|| {
            let weights = widen(b, x[2]);
            b.gather(weights, class, 0)
        });
        let negative = b.neg(picked);
        let weighted = weights.map_or(negative, |w| b.mul(w, negative));
        let zero = b.like(weighted, 0.0);
        let losses = counts.map_or(weighted, |counts| b.select(counts, weighted, zero));
        let axes: Vec<usize> = (0..shape.len()).collect();
        let total = |b: &mut Builder, v: Value| {
            let sum = b.reduce_sum(v, &axes, true);
            b.reshape(sum, &[])
        };
        let y = match self.reduction {
            LossReduction::None => losses,
            LossReduction::Sum => total(b, losses),
            LossReduction::Mean => {
                let sum = total(b, losses);
                let weight = if counts.is_none() && weights.is_none() {
                    size(b, &Dim::product(&shape), b.dtype(wide))
                } else {
                    let each = weights.unwrap_or_else(|| b.like(losses, 1.0));
                    let counting = counts.map_or(each, |counts| b.select(counts, each, zero));
                    total(b, counting)
                };
                b.div(sum, weight)
            }
        };
        Meaning::Composite(vec![b.cast(y, ty.dtype)])
    }

    fn examples() -> Vec<Example> {
        let of = |reduction, ignore_index, has_weights| NllLoss { reduction, ignore_index, has_weights };
        let accepted = |op, inputs: &[&str], labels: (f64, f64)| {
            let example = Example::accepted(op, inputs).with_values(0, -4.0, 0.0).with_values(1, labels.0, labels.1);
            if inputs.len() == 3 { example.with_values(2, 0.1, 2.0) } else { example }
        };
        let (mean, sum, none) = (LossReduction::Mean, LossReduction::Sum, LossReduction::None);
        vec![
            accepted(of(mean, None, false), &["f32[3, 5]", "i64[3]"], (0.0, 4.0)),
            accepted(of(mean, Some(-1), true), &["f32[3, 5, 2]", "i64[3, 2]", "f32[5]"], (-1.0, 4.0)),
            accepted(of(sum, Some(1), false), &["f64[n, 4, m]", "i32[n, m]"], (0.0, 3.0)),
            accepted(of(none, None, true), &["f32[n, 4, 2, 2]", "i32[n, 2, 2]", "f32[4]"], (0.0, 3.0)),
            accepted(of(mean, Some(10), false), &["f16[2, 3]", "u8[2]"], (0.0, 2.0)),
            Example::rejected("nll_loss_c0", of(mean, None, true), &["f32[3, 5]", "i64[3]"]),
            Example::rejected("nll_loss_c1", of(mean, None, false), &["f32[3, 5]", "f32[3]"]),
            Example::rejected("nll_loss_c1", of(mean, None, true), &["f32[3, 5]", "i64[3]", "f64[5]"]),
            Example::rejected("nll_loss_c2", of(mean, None, false), &["f32[3, 5]", "i64[2]"]),
            Example::rejected("nll_loss_c2", of(mean, None, false), &["f32[3]", "i64[]"]),
            Example::rejected("nll_loss_c3", of(mean, None, true), &["f32[3, 5]", "i64[3]", "f32[3]"]),
        ]
    }
}
