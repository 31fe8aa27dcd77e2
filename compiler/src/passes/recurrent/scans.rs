//! Loops whose body is one cell.
//!
//! A body is looked at as a step of its own, at a place in time that has no number: what it is given and what was computed for all
//! steps before the loop look alike then, so a product of all inputs is found whether it stands inside or outside.

use super::cell::{Cell, cell};
use super::layer::{Parts, layer};
use super::{Found, replacement, time_first};
use kiln_ir::ops::{Op, Reshape, Scan, Slice};
use kiln_ir::{Builder, Dim, Graph, NodeId, NodeKind, Symbol, Value};
use std::collections::BTreeSet;

/// Adds a layer for a loop, if it is one.
pub fn scan(graph: &mut Graph, id: NodeId) -> Option<Found> {
    let NodeKind::Op(Op::Scan(op)) = graph.node(id).kind.clone() else { return None };
    let step = Step::of(graph, id, &op)?;
    let (cell, order) = step.cell(graph)?;
    let state = cell.rows.iter().position(|row| row.step.is_none() && row.value == step.carried[order[0]])?;
    if op.carried == 2 && cell.memory != Some(step.carried[order[1]]) {
        return None;
    }
    // Of the steps between, layers give the state.
    if step.results[op.carried..].iter().any(|slice| *slice != cell.next[0]) {
        return None;
    }
    let row = &cell.rows[1 - state];
    let (axis, index) = row.step.clone()?;
    let start = &index - &Dim::from(step.symbol.clone());
    let fixed = cell.weights.iter().flatten().map(|w| w.value).chain(cell.biases.iter().flatten().map(|b| b.value));
    let fixed = fixed.chain(cell.reset_biases.iter().map(|b| b.value)).chain([row.value]);
    if start.mentions(&step.symbol) || step.moves(graph, fixed) {
        return None;
    }
    let inputs = graph.node(id).inputs.clone();
    let steps = graph.ty(inputs[op.carried]).shape[0].clone();
    let origin = graph.node(id).origin.clone();
    let mut b = Builder::from_origin(graph, origin.clone());
    let input = time_first(&mut b, row.value, axis, &start, &steps)?;
    let initial = order.iter().map(|at| inputs[*at]).collect();
    let results = layer(graph, &Parts { cell: &cell, state, input, initial, reverse: op.reverse, origin })?;
    let result = |at: usize| Value { node: id, result: at as u32 };
    let finals = order.iter().zip(&results[1..]).map(|(at, value)| (result(*at), *value));
    let same = finals.chain((op.carried..step.results.len()).map(|at| (result(at), results[0]))).collect();
    Some(Found { same, outputs: Vec::new(), told: replacement(graph, &cell, [&result(0)].into_iter()) })
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
        if !(1..=2).contains(&op.carried) {
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

    /// The cell that makes what is carried on, and at which places its state and memory cell are carried.
    fn cell(&self, graph: &Graph) -> Option<(Cell, Vec<usize>)> {
        let carried = self.carried.len();
        let orders: &[&[usize]] = if carried == 1 { &[&[0]] } else { &[&[0, 1], &[1, 0]] };
        orders.iter().find_map(|order| {
            let next: Vec<Value> = order.iter().map(|at| self.results[*at]).collect();
            cell(graph, next[0]).filter(|cell| cell.next == next).map(|cell| (cell, order.to_vec()))
        })
    }

    /// Whether one of the values differs from step to step.
    fn moves(&self, graph: &Graph, values: impl Iterator<Item = Value>) -> bool {
        let new = graph.order_from(values.map(|v| v.node), &|id| id.index() < self.first || self.moving.contains(&id));
        new.iter().any(|id| self.moving.contains(id))
    }
}
