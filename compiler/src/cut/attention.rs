//! Attention as one kernel that stores no scores.
//!
//! ```text
//! %y = attention %q, %k, %v      →      for each batch, head, query and feature: the mean of values by exp(score), keys met one after the other
//! ```
//!
//! What a query does not see are the keys before its first or behind its last; a mask is a part of the score. Queries that share a key
//! head keep an index of their own, so that a backend may compute them together.

use super::nest::position;
use super::value::{Failure, KernelBuilder};
use super::{Place, Region};
use crate::kernel::{Attention as Streaming, BinaryFn, Body, CompareFn, ExprId, ExprKind, Kernel, Scalar, Store, UnaryFn, sum_dtype};
use crate::pipeline::Config;
use kiln_ir::ops::Attention;
use kiln_ir::{DType, Dim, Op, Symbol, TensorType, Value};

type Built = Result<(Kernel, Vec<String>), Failure>;

/// The longest queries and keys that it is made for; what is longer is left to two contractions.
const LONGEST_DEPTH: i64 = 256;

/// The shortest ones of half floats: fewer features do not fill products of matrix units.
const SHORTEST_HALF_DEPTH: i64 = 16;

/// Whether [`attention`] makes a kernel of an operator: an attention without scores as a second result, whose numbers of features are
/// known, and of as many queries as a target needs to gain from it. Where nothing is known of how many there are, a text looks at itself
/// with enough of them, and at more keys with one, as when it is written.
pub(crate) fn has_kernel(op: &Op, operands: &[TensorType], config: &Config) -> bool {
    let Op::Attention(op) = op else { return false };
    let (queries, keys) = (&operands[0].shape[2], &operands[1].shape[2]);
    let usual = |symbol: &Symbol| config.optimise.as_ref().and_then(|how| how.usual_sizes.get(symbol).copied());
    let unknown = if queries == keys { config.least_queries } else { 1 };
    if queries.evaluate(&usual).unwrap_or(unknown) < config.least_queries {
        return false;
    }
    let known = |at: usize, least: i64, most: i64| operands[at].shape[3].as_const().is_some_and(|n| (least..=most).contains(&n));
    let least = if matches!(operands[0].dtype, DType::F16 | DType::BF16) { SHORTEST_HALF_DEPTH } else { 1 };
    op.scores.is_none() && known(0, least, LONGEST_DEPTH) && known(2, 1, i64::MAX)
}

/// See the head of this file.
pub(super) fn attention(region: &Region, head: Value, op: &Attention, value: Value, place: &Place, checked: usize) -> Built {
    let x = &region.graph.node(head.node).inputs;
    let [q, k, v] = [0, 1, 2].map(|at| region.graph.ty(x[at]).clone());
    let (heads, key_heads) = (&q.shape[1], &k.shape[1]);
    let mut b = KernelBuilder::new(region, checked);
    let sample = b.axis(&q.shape[0]);
    let key_head = b.axis(key_heads);
    let shared = (heads != key_heads).then(|| b.axis(&heads.floor_div(key_heads)));
    let row = b.axis(&q.shape[2]);
    let column = b.axis(&v.shape[3]);
    let key = b.axis(&k.shape[2]);
    let depth = b.axis(&q.shape[3]);

    let n = position(&sample);
    let (of_keys, of_queries) = match &shared {
        None => (position(&key_head), position(&key_head)),
        Some(shared) => (position(&key_head), position(&key_head) * &shared.extent + position(shared)),
    };
    let query = b.element(x[0], &[n.clone(), of_queries.clone(), position(&row), position(&depth)])?;
    let at_key = [n.clone(), of_keys.clone(), position(&key)];
    let key_factor = b.element(x[1], &[&at_key[..], &[position(&depth)]].concat())?;
    let value_factor = b.element(x[2], &[&at_key[..], &[position(&column)]].concat())?;
    let at_score = [n.clone(), of_queries.clone(), position(&row), position(&key)];
    let scores = [&q.shape[0], heads, &q.shape[2], &k.shape[2]].map(Clone::clone);
    let mask = op.has_mask.then(|| mask(&mut b, region, x[3], &scores, &at_score)).transpose()?;
    let score = score(&mut b, op, sum_dtype(q.dtype), &q.shape[3], mask);

    let lengths = op.has_lengths.then(|| b.element(x[3 + usize::from(op.has_mask)], std::slice::from_ref(&n))).transpose()?;
    let (first, end) = sight(&mut b, op, &position(&row), &row.extent, &key.extent, lengths);

    let index = vec![n, of_queries, position(&row), position(&column)];
    let dtype = sum_dtype(q.dtype);
    b.bind_sum(head, index.clone(), q.dtype, dtype);
    let element = b.element(value, &index)?;
    let stores = vec![Store { buffer: place.buffer, offset: place.offset(&index), value: element, combine: None }];
    let batch = [Some(sample), Some(key_head), shared].into_iter().flatten().collect();
    Ok(b.finish(
        value,
        Body::Attention(Streaming {
            batch,
            rows: vec![row],
            columns: vec![column],
            keys: vec![key],
            depth: vec![depth],
            query,
            key: key_factor,
            score,
            value: value_factor,
            first,
            end,
            stores,
            row_stores: vec![],
        }),
    ))
}

/// The element of a mask that broadcasts to scores of that shape.
fn mask(b: &mut KernelBuilder, region: &Region, mask: Value, scores: &[Dim], at: &[Dim]) -> Result<ExprId, Failure> {
    let index = super::view::broadcast(&region.graph.ty(mask).shape, scores, at, &b.ranges);
    b.element(mask, &index)
}

/// The score of which accumulator 0 is the sum of products, −∞ where the mask is.
fn score(b: &mut KernelBuilder, op: &Attention, dtype: DType, depth: &Dim, mask: Option<ExprId>) -> ExprId {
    let mut score = b.exprs.add(dtype, ExprKind::Accumulator(0));
    let binary = |b: &mut KernelBuilder, f: BinaryFn, x: ExprId, y: ExprId| b.exprs.add(dtype, ExprKind::Binary(f, x, y));
    let scaled = |b: &mut KernelBuilder, x: ExprId, by: f64| {
        let by = b.exprs.constant(dtype, by);
        binary(b, BinaryFn::Mul, x, by)
    };
    let scale = op.scale.map_or_else(|| 1.0 / (depth.as_const().unwrap_or(1) as f64).sqrt(), |scale| scale.0);
    score = scaled(b, score, scale);
    if let Some(cap) = op.softcap {
        let ratio = scaled(b, score, 1.0 / cap.0);
        let bounded = b.exprs.add(dtype, ExprKind::Unary(UnaryFn::Tanh, ratio));
        score = scaled(b, bounded, cap.0);
    }
    let Some(mask) = mask else { return score };
    let mask = b.exprs.cast(dtype, mask);
    let sum = binary(b, BinaryFn::Add, score, mask);
    // A key that nobody may see is not seen, whatever its score is.
    let never = b.exprs.add(dtype, ExprKind::Constant(Scalar::Float(f64::NEG_INFINITY.to_bits())));
    let hidden = b.exprs.add(DType::Bool, ExprKind::Compare(CompareFn::Equal, mask, never));
    b.exprs.add(dtype, ExprKind::Select(hidden, never, sum))
}

/// The first key that a query sees, and one more than the last: query `row` of `rows` stands at row + `past`, or at the end of the
/// valid keys.
fn sight(b: &mut KernelBuilder, op: &Attention, row: &Dim, rows: &Dim, keys: &Dim, lengths: Option<ExprId>) -> (Dim, Dim) {
    let length = lengths.map(|lengths| Dim::from(b.exprs.cast(DType::I64, lengths).symbol()));
    let place = match &length {
        Some(length) => row + length - rows,
        None => row + &op.past,
    };
    let first = op.left_window.map_or(Dim::ZERO, |left| &place - Dim::from(left));
    let ends = [op.causal.then(|| &place + Dim::ONE), op.right_window.map(|right| &place + Dim::from(right) + Dim::ONE), length];
    (first, ends.into_iter().flatten().fold(keys.clone(), |end, other| end.minimum(&other)))
}
