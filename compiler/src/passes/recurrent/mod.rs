//! Replaces recurrent layers that are written step by step by `rnn`, `gru` or `lstm`, which multiply the inputs of all steps at once.
//! ```text
//! %h1 = tanh (x[0]·W + %h0·R) ; %h2 = tanh (x[1]·W + %h1·R) ; …      →      %all, %last = rnn %x, %W, %R …
//! %all, %last = scan %h0, %x {body: tanh (x·W + h·R)}                  →      %all, %last = rnn %x, %W, %R …
//! ```
//! Needs: nothing.  Keeps: values up to rounding, as sums are taken in another order; interface, guards, origins.
//! Skips: cells whose weights or activation functions differ from step to step, steps that are not consecutive, memory cells of a
//! step between that something else reads, cells in a loop that need more of each other than new states.
//!
//! [`terms`] tells what enters an activation function, [`cell`] what is one step ([`gru`], [`lstm`]), [`chain`] which steps follow each
//! other, [`scans`] which loops hold steps, and [`layer`] adds the composite. Each node is looked at once for each layer that lies on others.

pub mod cell;
mod chain;
mod gru;
mod layer;
mod lstm;
mod scans;
pub mod terms;

use crate::egraph::provenance::Replacement;
use crate::passes::deduplicate::deduplicated;
use crate::passes::regions::{keep, rebuild};
use cell::Cell;
use kiln_ir::ops::{Concat, Op, Slice};
use kiln_ir::{Builder, Dim, Graph, NodeId, NodeKind, Value};
use layer::{Parts, layer};
use std::collections::BTreeMap;

/// The name under which this is told and left out.
pub const NAME: &str = "recurrent-layer";

/// The graph with layers in the place of steps, and what became what; `None` where there are none.
pub fn layers(graph: &Graph) -> Option<(Graph, Vec<Replacement>)> {
    let mut told = Vec::new();
    let mut current: Option<Graph> = None;
    // Steps of a layer above others are seen when those below are layers.
    while let Some(next) = replaced(current.as_ref().unwrap_or(graph), &mut told) {
        current = Some(next);
    }
    current.map(|graph| (graph, told))
}

/// One round; `None` where there is nothing to replace.
fn replaced(graph: &Graph, told: &mut Vec<Replacement>) -> Option<Graph> {
    if !graph.order().iter().any(|id| may_be_step(graph, *id)) {
        return None;
    }
    let mut out = deduplicated(&direct(graph));
    let mut same = BTreeMap::new();
    let mut outputs = BTreeMap::new();
    let mut found = Vec::new();
    for chain in chain::chains(&out) {
        found.extend(unconditional(&mut out, |graph| unrolled(graph, &chain)));
    }
    for id in out.order() {
        found.extend(unconditional(&mut out, |graph| scans::scan(graph, id)));
    }
    for layer in found {
        same.extend(layer.same);
        outputs.extend(layer.outputs);
        told.push(layer.told);
    }
    for id in out.order() {
        joined(&mut out, id, &outputs, &mut same);
    }
    if same.is_empty() {
        return None;
    }
    // What is no longer needed goes, with what only helped to look.
    Some(rebuild(&out.substitute(&same), keep))
}

/// The same without what changes a shape and changes it back: a state that loses an axis and regains it is the same state.
fn direct(graph: &Graph) -> Graph {
    rebuild(graph, |out, node, op, x| {
        let source = |value: Value| match &out.node(value.node).kind {
            NodeKind::Op(Op::Reshape(_)) => Some(out.node(value.node).inputs[0]),
            _ => None,
        };
        let back = if matches!(op, Op::Reshape(_)) { source(x[0]).filter(|inner| *out.ty(*inner) == node.types[0]) } else { None };
        back.map_or_else(|| keep(out, node, op, x), |inner| vec![inner])
    })
}

/// A layer that was added.
struct Found {
    /// What is there, and what may take its place.
    same: Vec<(Value, Value)>,
    /// Of states that are there, the outputs of the layer and which step of them.
    outputs: Vec<(Value, (Value, usize))>,
    /// What to tell of it.
    told: Replacement,
}

/// What `f` adds, if it holds without a condition that the graph does not state.
fn unconditional(graph: &mut Graph, f: impl FnOnce(&mut Graph) -> Option<Found>) -> Option<Found> {
    let guards = graph.guards.clone();
    let found = f(graph);
    if graph.guards == guards {
        return found;
    }
    graph.guards = guards;
    None
}

/// A cheap look, so that graphs without recurrent layers lose no time.
fn may_be_step(graph: &Graph, id: NodeId) -> bool {
    match &graph.node(id).kind {
        NodeKind::Op(Op::Scan(scan)) => scan.carried > 0,
        _ => cell::cell(graph, Value { node: id, result: 0 }).is_some(),
    }
}

/// Adds a layer for a chain.
fn unrolled(graph: &mut Graph, chain: &chain::Chain) -> Option<Found> {
    let (first, last) = (chain.cells.first()?, chain.cells.last()?);
    let sequence = chain.sequence()?;
    let steps = chain.cells.len();
    let state = chain.states[0];
    let initial = initial_state(graph, first, state)?;
    let origin = graph.node(last.next[0].node).origin.clone();
    let mut b = Builder::from_origin(graph, origin.clone());
    let input = time_first(&mut b, sequence.value, sequence.axis, &sequence.start, &Dim::from(steps))?;
    let initial = [initial].into_iter().chain(first.memory).collect();
    let results = layer(graph, &Parts { cell: first, state, input, initial, reverse: chain.reverse, origin: origin.clone() })?;
    let mut b = Builder::from_origin(graph, origin);
    let (mut same, mut outputs) = (Vec::new(), Vec::new());
    for (at, cell) in chain.cells.iter().enumerate() {
        let step = if chain.reverse { steps - 1 - at } else { at };
        let shape = b.shape(cell.next[0]);
        let slice = b.slice_axis(results[0], 0, &Dim::from(step), &Dim::ONE);
        same.push((cell.next[0], b.reshape(slice, &shape)));
        outputs.push((cell.next[0], (results[0], step)));
    }
    // The last state is a step of the outputs too, so that a layer above sees all of its steps alike.
    same.extend(last.next[1..].iter().copied().zip(results[2..].iter().copied()));
    Some(Found { same, outputs, told: replacement(graph, first, chain.cells.iter().flat_map(|cell| &cell.next)) })
}

/// States of consecutive steps that are stacked are a part of the outputs as they are.
fn joined(graph: &mut Graph, id: NodeId, outputs: &BTreeMap<Value, (Value, usize)>, same: &mut BTreeMap<Value, Value>) -> Option<()> {
    let node = graph.node(id);
    let NodeKind::Op(Op::Concat(Concat { axis })) = node.kind else { return None };
    let step = |value: &Value| {
        let shape = &graph.ty(*value).shape;
        let inserts = (shape.len() == 3 || shape.len() == 2 && axis == 0) && shape[axis].is(1);
        let reshape = matches!(graph.node(value.node).kind, NodeKind::Op(Op::Reshape(_)));
        let state = *graph.node(value.node).inputs.first().filter(|_| inserts && reshape)?;
        let rest = [&shape[..axis], &shape[axis + 1..]].concat();
        outputs.get(&state).filter(|_| graph.ty(state).shape == rest)
    };
    let steps = node.inputs.iter().map(step).collect::<Option<Vec<_>>>()?;
    let (all, first) = **steps.first()?;
    if !steps.iter().zip(first..).all(|(step, expected)| **step == (all, expected)) {
        return None;
    }
    let count = Dim::from(steps.len());
    let order: &[usize] = [&[0, 1, 2], &[1, 0, 2], &[1, 2, 0]][axis];
    let (origin, shape) = (node.origin.clone(), node.types[0].shape.clone());
    let mut b = Builder::from_origin(graph, origin);
    let part = b.slice_axis(all, 0, &Dim::from(first), &count);
    // States of one sample may have no axis of the batch.
    let stacked = if shape.len() == 2 { b.reshape(part, &shape) } else { b.transpose(part, order) };
    same.insert(Value { node: id, result: 0 }, stacked);
    Some(())
}

/// `[steps, batch, features]`: some steps of a tensor with features last, of one sample where it has no other axis.
fn time_first(b: &mut Builder, value: Value, axis: usize, start: &Dim, steps: &Dim) -> Option<Value> {
    let mut sizes = b.shape(value);
    let rank = sizes.len();
    if !(2..=3).contains(&rank) || axis + 2 > rank {
        return None;
    }
    let mut starts = vec![Dim::ZERO; rank];
    (starts[axis], sizes[axis]) = (start.clone(), steps.clone());
    let part = if start.is(0) && b.shape(value) == sizes {
        value
    } else {
        b.try_op(Slice { starts, sizes, steps: vec![1; rank] }, &[value]).ok()?[0]
    };
    Some(match (rank, axis) {
        (2, _) => {
            let features = b.shape(part)[1].clone();
            b.reshape(part, &[steps.clone(), Dim::ONE, features])
        }
        (_, 0) => part,
        _ => b.transpose(part, &[1, 0, 2]),
    })
}

/// The state before the first step, as a value of its own.
fn initial_state(graph: &mut Graph, cell: &Cell, state: usize) -> Option<Value> {
    let row = &cell.rows[state];
    let Some((axis, index)) = &row.step else { return Some(row.value) };
    let shape = graph.ty(cell.next[0]).shape.clone();
    let mut b = Builder::new(graph);
    let slice: Value = b.slice_axis(row.value, *axis, index, &Dim::ONE);
    let rest: Vec<Dim> = b.shape(slice).iter().enumerate().filter(|(a, _)| a != axis).map(|(_, d)| d.clone()).collect();
    (rest == shape).then(|| b.reshape(slice, &shape))
}

fn replacement<'a>(graph: &Graph, cell: &Cell, steps: impl Iterator<Item = &'a Value>) -> Replacement {
    let origin = |value: &Value| graph.node(value.node).origin.as_ref().map_or(String::new(), |origin| origin.text.clone());
    let name = |value: &Value| match &graph.node(value.node).kind {
        NodeKind::Op(op) => op.name(),
        _ => "",
    };
    let sources: Vec<_> = steps.map(|value| (name(value), origin(value))).collect();
    let op = match cell.kind {
        cell::Kind::Rnn => "rnn",
        cell::Kind::Gru { .. } => "gru",
        cell::Kind::Lstm => "lstm",
    };
    let place = sources.last().map_or(String::new(), |(_, origin)| origin.clone());
    Replacement { op, origin: place, sources, rules: vec![(NAME, 1)] }
}
