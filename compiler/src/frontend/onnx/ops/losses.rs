//! Losses over classes.

use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{Results, Row, row};
use kiln_ir::ops::{self, LossReduction};
use kiln_ir::{Diagnostic, Value};

/// The operators.
pub const ROWS: &[Row] =
    &[row("NegativeLogLikelihoodLoss", 12, (2, 3), negative_log_likelihood), row("SoftmaxCrossEntropyLoss", 12, (2, 3), cross_entropy)];

fn options(cx: &Context) -> Result<(LossReduction, Option<i64>), Diagnostic> {
    let reduction = match cx.attributes.string_or("reduction", "mean")? {
        "none" => LossReduction::None,
        "mean" => LossReduction::Mean,
        "sum" => LossReduction::Sum,
        other => return Err(cx.attributes.refuse("reduction", format!("is {other:?}, must be none, mean or sum"))),
    };
    Ok((reduction, cx.attributes.int("ignore_index")?))
}

/// Scores, labels and, if given, weights.
fn operands(cx: &mut Context) -> Result<Vec<Value>, Diagnostic> {
    let mut operands = vec![cx.input(0)?, cx.input(1)?];
    operands.extend(cx.optional(2)?);
    Ok(operands)
}

fn negative_log_likelihood(cx: &mut Context) -> Results {
    let (reduction, ignore_index) = options(cx)?;
    let operands = operands(cx)?;
    Ok(vec![cx.op(ops::NllLoss { reduction, ignore_index, has_weights: operands.len() > 2 }, &operands)?])
}

fn cross_entropy(cx: &mut Context) -> Results {
    let (reduction, ignore_index) = options(cx)?;
    let mut operands = operands(cx)?;
    if !cx.wants(1) {
        return Ok(vec![cx.op(ops::SoftmaxCrossEntropy { reduction, ignore_index, has_weights: operands.len() > 2 }, &operands)?]);
    }
    let log_probability = cx.op(ops::LogSoftmax { axis: 1 }, &[operands[0]])?;
    operands[0] = log_probability;
    Ok(vec![cx.op(ops::NllLoss { reduction, ignore_index, has_weights: operands.len() > 2 }, &operands)?, log_probability])
}
