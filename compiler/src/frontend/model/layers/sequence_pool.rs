//! `sequence_pool`: `[batch, time, features]` → `[batch, features]`, over the time steps that count: all of them, but of texts without
//! their padding. One without any gives 0.

use super::super::context::Context;
use super::super::tree::Mistake;
use super::Layer;
use kiln_ir::ops::{Mean, ReduceKind};
use kiln_ir::{DType, Dim, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// See the head of this file.
#[derive(Deserialize, JsonSchema)]
pub struct SequencePool {
    #[serde(default)]
    kind: Kind,
}

/// What becomes of the time steps.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Their mean.
    #[default]
    Mean,
    /// The largest of each feature.
    Max,
    /// The first.
    First,
    /// The last.
    Last,
}

impl Layer for SequencePool {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let x = x[0];
        c.expect(x, &["batch", "time", "features"])?;
        let shape = c.graph.ty(x).shape.clone();
        let (batch, features) = (shape[0].clone(), shape[2].clone());
        let counted = c.counted(x);
        let lengths = c.lengths(x);
        let (Some(counted), Some(lengths)) = (counted, lengths) else {
            return match self.kind {
                Kind::Mean => c.op(Mean { axes: vec![1], keep: false }, &[x]),
                Kind::Max => Ok(c.b().reduce(ReduceKind::Max, x, &[1], false)),
                Kind::First | Kind::Last => {
                    let at = if self.kind == Kind::First { Dim::ZERO } else { shape[1].clone() - Dim::ONE };
                    let mut b = c.b();
                    let one = b.slice_axis(x, 1, &at, &Dim::ONE);
                    Ok(b.reshape(one, &[batch, features]))
                }
            };
        };
        let mut b = c.b();
        let one = b.scalar(DType::I64, 1.0);
        let chosen = match self.kind {
            Kind::Mean | Kind::Max => counted,
            Kind::First | Kind::Last => {
                let places = b.iota(DType::I64, &shape[..2], 1);
                let at = match self.kind {
                    Kind::First => b.like(lengths, 0.0),
                    _ => b.sub(lengths, one),
                };
                let at = b.reshape(at, &[batch.clone(), Dim::ONE]);
                let at = b.broadcast_to(at, &shape[..2]);
                let is_it = b.equal(places, at);
                b.and(is_it, counted)
            }
        };
        let chosen = b.reshape(chosen, &[batch.clone(), shape[1].clone(), Dim::ONE]);
        let chosen = b.broadcast_to(chosen, &shape);
        let zero = b.like(x, 0.0);
        if self.kind == Kind::Max {
            let least = b.like(x, f64::NEG_INFINITY);
            let kept = b.select(chosen, x, least);
            let largest = b.reduce_max(kept, &[1], false);
            let none = b.like(lengths, 0.0);
            let is_empty = b.equal(lengths, none);
            let is_empty = b.reshape(is_empty, &[batch.clone(), Dim::ONE]);
            let is_empty = b.broadcast_to(is_empty, &[batch, features]);
            let zero = b.like(largest, 0.0);
            return Ok(b.select(is_empty, zero, largest));
        }
        let kept = b.select(chosen, x, zero);
        let sum = b.reduce_sum(kept, &[1], false);
        if self.kind != Kind::Mean {
            return Ok(sum);
        }
        let least = b.max(lengths, one);
        let count = b.cast(least, b.dtype(sum));
        let count = b.reshape(count, &[batch.clone(), Dim::ONE]);
        let count = b.broadcast_to(count, &[batch, features]);
        Ok(b.div(sum, count))
    }
}
