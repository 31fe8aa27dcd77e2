//! Loops whose body is one cell, or holds one beside other things.
//!
//! A body is looked at as a step of its own, at a place in time that has no number: what it is given and what was computed for all
//! steps before the loop look alike then, so a product of all inputs is found whether it stands inside or outside.
//!
//! A cell that needs nothing else of what the loop carries becomes a layer before the loop, which goes over its outputs instead: of two
//! cells above each other the lower one goes first, and the upper one is found in the next round.

use super::cell::{Cell, cell};
use super::layer::{Parts, layer};
use super::{Found, direct, replacement, time_first};
use kiln_ir::ops::{Op, Reshape, Scan, Slice};
use kiln_ir::{Builder, Dim, Graph, NodeId, NodeKind, Symbol, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Adds a layer for a loop, or for the first cell of it that can stand outside.
pub fn scan(graph: &mut Graph, id: NodeId) -> Option<Found> {
    let NodeKind::Op(Op::Scan(op)) = graph.node(id).kind.clone() else { return None };
    let op = Scan { body: Arc::new(direct(&op.body)), ..op };
    let step = Step::of(graph, id, &op)?;
    (0..op.carried).find_map(|at| cell_of(graph, id, &op, &step, at))
}

/// Adds a layer for the cell whose state is carried at a place.
fn cell_of(graph: &mut Graph, id: NodeId, op: &Scan, step: &Step, at: usize) -> Option<Found> {
    let (cell, places) = step.cell(graph, at)?;
    let state = cell.rows.iter().position(|row| row.step.is_none() && row.value == step.carried[at])?;
    let row = &cell.rows[1 - state];
    let (axis, index) = row.step.clone()?;
    let start = &index - &Dim::from(step.symbol.clone());
    if start.mentions(&step.symbol) || step.moves(graph, cell.parameters().chain([row.value])) {
        return None;
    }
    let rest = Rest::of(op, &places)?;
    let inputs = graph.node(id).inputs.clone();
    let steps = graph.ty(inputs[op.carried]).shape[0].clone();
    let origin = graph.node(id).origin.clone();
    let mut b = Builder::from_origin(graph, origin.clone());
    let input = time_first(&mut b, row.value, axis, &start, &steps)?;
    let initial = places.iter().map(|at| inputs[*at]).collect();
    let results = layer(graph, &Parts { cell: &cell, state, input, initial, reverse: op.reverse, origin: origin.clone() })?;
    let mut b = Builder::from_origin(graph, origin);
    // Outputs of all steps, without the axis of the batch where states have none.
    let all: Vec<Dim> = [&[steps][..], &b.shape(cell.next[0])].concat();
    let all = b.reshape(results[0], &all);
    let result = |at: usize| Value { node: id, result: at as u32 };
    let mut same: Vec<(Value, Value)> = places.iter().zip(&results[1..]).map(|(at, value)| (result(*at), *value)).collect();
    same.extend(rest.of_state.iter().map(|at| (result(*at), all)));
    if let Some(body) = rest.body {
        let keeps = |at: &usize| !places.contains(at);
        let before = (0..op.carried).filter(keeps).chain(op.carried..op.carried + op.scanned).map(|at| inputs[at]);
        let captured = &inputs[op.carried + op.scanned..];
        let operands: Vec<Value> = before.chain([all]).chain(captured.iter().copied()).collect();
        let (carried, scanned) = (op.carried - places.len(), op.scanned + 1);
        let others = b.try_op(Scan { body: Arc::new(body), carried, scanned, reverse: op.reverse }, &operands).ok()?;
        same.extend(rest.others.iter().map(|at| result(*at)).zip(others));
    }
    let told = replacement(graph, &cell, [&result(at)].into_iter());
    Some(Found { same, outputs: Vec::new(), told })
}

/// What a loop does beside a cell.
struct Rest {
    /// Its body, which is given the cell's state behind all other slices; `None` where nothing is left.
    body: Option<Graph>,
    /// Results that are the states of all steps.
    of_state: Vec<usize>,
    /// Results of the body that is left, in order.
    others: Vec<usize>,
}

impl Rest {
    /// The rest of a loop without a cell that is carried at these places. `None` where it needs more of the cell than its new state.
    fn of(op: &Scan, places: &[usize]) -> Option<Rest> {
        let (from, outputs) = (&op.body, op.body.outputs());
        let state = outputs[places[0]].1;
        let (of_state, others): (Vec<usize>, Vec<usize>) =
            (0..outputs.len()).filter(|at| !places.contains(at)).partition(|at| *at >= op.carried && outputs[*at].1 == state);
        if others.is_empty() {
            return Some(Rest { body: None, of_state, others });
        }
        let mut body = from.without_nodes();
        let mut map = BTreeMap::new();
        let mut name = outputs[places[0]].0.clone();
        while from.inputs().iter().any(|(other, _)| *other == name) {
            name.push('\'');
        }
        let slices = op.carried + op.scanned;
        let given = from.inputs().iter().cloned().enumerate().filter(|(at, _)| !places.contains(at));
        let (before, captured): (Vec<_>, Vec<_>) = given.partition(|(at, _)| *at < slices);
        for (_, (name, value)) in before.into_iter().chain([(slices, (name, state))]).chain(captured) {
            let new = body.add_input(name, from.ty(value).clone());
            map.insert(value, new);
        }
        let values: Vec<Value> = others.iter().map(|at| outputs[*at].1).collect();
        // Old states and memory cells are not there any more.
        let here: BTreeSet<NodeId> = map.keys().map(|value| value.node).collect();
        let needed = from.order_from(values.iter().map(|value| value.node), &|id| here.contains(&id));
        if needed.iter().any(|id| matches!(from.node(*id).kind, NodeKind::Input(_)) && !here.contains(id)) {
            return None;
        }
        let copies = body.copy_from(from, &values, &mut map);
        others.iter().zip(copies).for_each(|(at, value)| body.add_output(outputs[*at].0.clone(), value));
        Some(Rest { body: Some(body), of_state, others })
    }
}

/// A body as a step of its own, among the nodes of the graph around it.
struct Step {
    /// The place in time.
    symbol: Symbol,
    /// What is carried into it.
    carried: Vec<Value>,
    /// Values that differ from step to step.
    moving: BTreeSet<NodeId>,
    /// Nodes before this number were there already.
    first: usize,
    /// The body's outputs.
    results: Vec<Value>,
}

impl Step {
    fn of(graph: &mut Graph, id: NodeId, op: &Scan) -> Option<Step> {
        if op.carried == 0 || op.scanned == 0 {
            return None;
        }
        let first = graph.node_count();
        let mut name = "step".to_string();
        while graph.symbols.iter().any(|(s, _)| s.name() == name) {
            name.push('_');
        }
        let symbol = Symbol::new(&name);
        let guards = graph.guards.clone();
        let operands = graph.node(id).inputs.clone();
        let mut b = Builder::new(graph);
        let mut inside = Vec::new();
        for (position, operand) in operands.iter().enumerate() {
            let shape = b.shape(*operand);
            inside.push(match position {
                // A node of its own, so that it is told from the first value.
                p if p < op.carried => b.op(Reshape { shape }, &[*operand]),
                p if p < op.carried + op.scanned => {
                    let (mut starts, mut sizes) = (vec![Dim::ZERO; shape.len()], shape.clone());
                    (starts[0], sizes[0]) = (Dim::from(symbol.clone()), Dim::ONE);
                    // A loop without steps has none to look at.
                    let slice = b.try_op(Slice { starts, sizes, steps: vec![1; shape.len()] }, &[*operand]).ok()?[0];
                    b.op(Reshape { shape: shape[1..].to_vec() }, &[slice])
                }
                _ => *operand,
            });
        }
        let moving = inside[..op.carried + op.scanned].iter().map(|v| v.node).collect();
        let carried = inside[..op.carried].to_vec();
        let mut map = op.body.inputs().iter().map(|(_, v)| *v).zip(inside).collect();
        let outputs: Vec<Value> = op.body.outputs().iter().map(|(_, v)| *v).collect();
        let results = graph.copy_from(&op.body, &outputs, &mut map);
        // It is looked at and never computed.
        graph.guards = guards;
        Some(Step { symbol, carried, moving, first, results })
    }

    /// The cell that makes what is carried on at a place, and at which places its state and memory cell are carried.
    fn cell(&self, graph: &Graph, at: usize) -> Option<(Cell, Vec<usize>)> {
        let cell = cell(graph, self.results[at]).filter(|cell| cell.next[0] == self.results[at])?;
        let Some(memory) = cell.memory else { return Some((cell, vec![at])) };
        let of_memory = (0..self.carried.len()).find(|other| self.carried[*other] == memory && self.results[*other] == cell.next[1])?;
        Some((cell, vec![at, of_memory]))
    }

    /// Whether one of the values differs from step to step.
    fn moves(&self, graph: &Graph, values: impl Iterator<Item = Value>) -> bool {
        let new = graph.order_from(values.map(|v| v.node), &|id| id.index() < self.first || self.moving.contains(&id));
        new.iter().any(|id| self.moving.contains(id))
    }
}
