//! Removes movement that moves nothing, and joins movements that follow each other.
//! ```text
//! %t = transpose %a {perm = [1, 0]} ; %y = transpose %t {perm = [1, 0]}      →      %a
//! %t = reshape %a {shape = [6]} ; %y = reshape %t {shape = [3, 2]}           →      %y = reshape %a {shape = [3, 2]}
//! ```
//! Needs: nothing; folded constants first let more amounts of padding be seen.  Keeps: every bit of every value.
//! Skips: `--opt 0`; what only a guard makes equal, and what would need another guard. The inner movement stays for its other users.

use super::regions::{keep, rebuild};
use crate::pipeline::Context;
use kiln_ir::dtype::Class;
use kiln_ir::graph::NodeKind;
use kiln_ir::ops::{Broadcast, Cast, Concat, Facts, Pad, PadMode, Reshape, Slice, Transpose};
use kiln_ir::{DType, Dim, Graph, Op, Proof, Ranges, TensorType, Value};

/// See the head of this file.
pub fn simplify_movement(graph: &Graph, context: &Context) -> Graph {
    if !context.config.rewrites() {
        return graph.clone();
    }
    rebuild(graph, |out, node, op, x| {
        let (mut op, mut x) = (op.clone(), x.to_vec());
        // Each step removes an operator or replaces it by a simpler kind, so this ends.
        loop {
            match simpler(out, &op, &x, &node.types[0]) {
                None => return keep(out, node, &op, &x),
                Some(Simpler::Value(value)) if out.ty(value).provably_equal(&node.types[0], &out.symbols) => return vec![value],
                Some(Simpler::Op(new, operands)) if fits(out, &new, &operands, &node.types[0]) => (op, x) = (new, operands),
                Some(_) => return keep(out, node, &op, &x),
            }
        }
    })
}

/// Whether the operator has this result without another guard.
fn fits(graph: &Graph, op: &Op, x: &[Value], to: &TensorType) -> bool {
    let types: Vec<TensorType> = x.iter().map(|v| graph.ty(*v).clone()).collect();
    let mut facts = Facts::new(&graph.symbols);
    let typed = op.infer(&types, &mut facts).is_ok_and(|results| results[0].provably_equal(to, &graph.symbols));
    typed && facts.into_guards(op.name(), None).iter().all(|needed| graph.guards.iter().any(|g| g.same_condition(needed)))
}

enum Simpler {
    Value(Value),
    Op(Op, Vec<Value>),
}

fn simpler(graph: &Graph, op: &Op, x: &[Value], to: &TensorType) -> Option<Simpler> {
    let from = graph.ty(*x.first()?);
    let ranges = &graph.symbols;
    match op {
        Op::Reshape(_) => reshape(graph, x[0], from, to),
        Op::Transpose(transpose) => self::transpose(graph, transpose, x[0], from, to),
        Op::Broadcast(_) => broadcast(graph, x[0], from, to),
        Op::Slice(slice) => self::slice(graph, slice, x[0], from, ranges),
        Op::Pad(pad) => self::pad(graph, pad, x, ranges),
        Op::Cast(cast) => self::cast(graph, cast, x[0], from.dtype),
        Op::Concat(concat) => self::concat(graph, concat, x),
        // Every other operator computes.
        _ => None,
    }
}

/// The operator that computes a value.
fn producer(graph: &Graph, value: Value) -> Option<(&Op, &[Value])> {
    let node = graph.node(value.node);
    match &node.kind {
        NodeKind::Op(op) => Some((op, &node.inputs)),
        NodeKind::Input(_) | NodeKind::Parameter(_) | NodeKind::Constant(_) => None,
    }
}

fn same(a: &[Dim], b: &[Dim], ranges: &Ranges) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| ranges.provably_equal(a, b) == Proof::Yes)
}

/// The dims that are not the constant 1.
fn without_ones(shape: &[Dim]) -> Vec<Dim> {
    shape.iter().filter(|d| !d.is(1)).cloned().collect()
}

fn reshape_to(shape: &[Dim], x: Value) -> Option<Simpler> {
    Some(Simpler::Op(Reshape { shape: shape.to_vec() }.into(), vec![x]))
}

fn reshape(graph: &Graph, x: Value, from: &TensorType, to: &TensorType) -> Option<Simpler> {
    if same(&from.shape, &to.shape, &graph.symbols) {
        return Some(Simpler::Value(x));
    }
    match producer(graph, x) {
        Some((Op::Reshape(_), inner)) => reshape_to(&to.shape, inner[0]),
        _ => None,
    }
}

fn transpose(graph: &Graph, op: &Transpose, x: Value, from: &TensorType, to: &TensorType) -> Option<Simpler> {
    let moved: Vec<usize> = op.perm.iter().copied().filter(|&a| !from.shape[a].is(1)).collect();
    if op.perm.is_sorted() {
        return Some(Simpler::Value(x));
    }
    // Only axes of size 1 change their place: the elements stay in order.
    if moved.is_sorted() {
        return reshape_to(&to.shape, x);
    }
    match producer(graph, x) {
        Some((Op::Transpose(inner), operands)) => {
            let perm = op.perm.iter().map(|&a| inner.perm[a]).collect();
            Some(Simpler::Op(Transpose { perm }.into(), operands.to_vec()))
        }
        _ => None,
    }
}

fn broadcast(graph: &Graph, x: Value, from: &TensorType, to: &TensorType) -> Option<Simpler> {
    if same(&from.shape, &to.shape, &graph.symbols) {
        return Some(Simpler::Value(x));
    }
    if same(&without_ones(&from.shape), &without_ones(&to.shape), &graph.symbols) {
        return reshape_to(&to.shape, x);
    }
    match producer(graph, x) {
        Some((Op::Broadcast(_), inner)) => Some(Simpler::Op(Broadcast { shape: to.shape.clone() }.into(), inner.to_vec())),
        _ => None,
    }
}

fn slice(graph: &Graph, op: &Slice, x: Value, from: &TensorType, ranges: &Ranges) -> Option<Simpler> {
    let whole = op.starts.iter().all(|s| s.is(0)) && op.steps.iter().all(|s| *s == 1) && same(&op.sizes, &from.shape, ranges);
    if whole {
        return Some(Simpler::Value(x));
    }
    let Some((Op::Slice(inner), operands)) = producer(graph, x) else {
        return None;
    };
    let mut joined = Slice { starts: Vec::new(), sizes: op.sizes.clone(), steps: Vec::new() };
    for axis in 0..op.starts.len() {
        joined.starts.push(&inner.starts[axis] + &op.starts[axis] * Dim::from(inner.steps[axis]));
        joined.steps.push(inner.steps[axis].checked_mul(op.steps[axis])?);
    }
    Some(Simpler::Op(joined.into(), operands.to_vec()))
}

fn pad(graph: &Graph, op: &Pad, x: &[Value], ranges: &Ranges) -> Option<Simpler> {
    if op.low.iter().chain(&op.high).all(|d| d.is(0)) {
        return Some(Simpler::Value(x[0]));
    }
    let Some((Op::Pad(inner), operands)) = producer(graph, x[0]) else {
        return None;
    };
    let constant = op.mode == PadMode::Constant && inner.mode == PadMode::Constant;
    let same_value = operands[1] == x[1] || constant_of(graph, operands[1]).is_some_and(|c| Some(c) == constant_of(graph, x[1]));
    // Cropping what was added, or adding where was cropped, does not join.
    let grows = |d: &Dim| ranges.range(d).min >= 0;
    let all_grow = [&op.low, &op.high, &inner.low, &inner.high].into_iter().flatten().all(grows);
    if !(constant && same_value && all_grow) {
        return None;
    }
    let sum = |a: &[Dim], b: &[Dim]| a.iter().zip(b).map(|(a, b)| a + b).collect();
    let joined = Pad { low: sum(&op.low, &inner.low), high: sum(&op.high, &inner.high), mode: PadMode::Constant };
    Some(Simpler::Op(joined.into(), operands.to_vec()))
}

fn constant_of(graph: &Graph, value: Value) -> Option<&kiln_ir::Tensor> {
    match &graph.node(value.node).kind {
        NodeKind::Constant(tensor) => Some(tensor),
        NodeKind::Input(_) | NodeKind::Parameter(_) | NodeKind::Op(_) => None,
    }
}

fn cast(graph: &Graph, op: &Cast, x: Value, from: DType) -> Option<Simpler> {
    if from == op.dtype {
        return Some(Simpler::Value(x));
    }
    let Some((Op::Cast(_), operands)) = producer(graph, x) else {
        return None;
    };
    holds_all(from, graph.ty(operands[0]).dtype).then(|| Simpler::Op(op.clone().into(), operands.to_vec()))
}

/// Whether every value of `narrow` is a value of `wide`, so that a cast to it and on is a cast.
fn holds_all(wide: DType, narrow: DType) -> bool {
    let significant = |d: DType| match d {
        DType::F16 => 11,
        DType::BF16 => 8,
        DType::F32 => 24,
        DType::F64 => 53,
        DType::Bool => 1,
        integer => 8 * integer.size_bytes() as u32 - u32::from(integer.class() == Class::Signed),
    };
    match (wide.class(), narrow.class()) {
        (Class::Bool, _) => false,
        // Each is narrower than the other in exponent or in digits.
        (Class::Float, Class::Float) if wide == DType::F16 || wide == DType::BF16 => false,
        // 65504 is the largest number of f16.
        (Class::Float, _) if wide == DType::F16 => significant(narrow) <= 11,
        (Class::Float, _) => significant(narrow) <= significant(wide),
        (_, Class::Float) => false,
        (Class::Unsigned, Class::Signed) => false,
        (Class::Signed | Class::Unsigned, _) => significant(narrow) <= significant(wide),
    }
}

fn concat(graph: &Graph, op: &Concat, x: &[Value]) -> Option<Simpler> {
    let empty = |v: &Value| graph.ty(*v).shape[op.axis].is(0);
    let rest: Vec<Value> = x.iter().copied().filter(|v| !empty(v)).collect();
    match rest.as_slice() {
        [] => (x.len() > 1).then(|| Simpler::Op(op.clone().into(), vec![x[0]])).or(Some(Simpler::Value(x[0]))),
        [one] => Some(Simpler::Value(*one)),
        _ => (rest.len() < x.len()).then(|| Simpler::Op(op.clone().into(), rest.clone())),
    }
}
