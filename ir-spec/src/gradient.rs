//! The reverse sweep: adds to a graph what computes the gradients of some of its values by others.
//! ```text
//! %y = mul %a, %b ; %s = exp %y      →      … %dy = mul %ds, %s ; %da = mul %dy, %b ; %db = mul %dy, %a
//! ```
//! Each operator says what its gradient is ([`Operator::vjp`](crate::Operator::vjp)); the sweep visits the nodes on a path from
//! what is differentiated by to what is differentiated, users first, and adds up what a value gets from each of its users.

use crate::graph::{Graph, NodeId, NodeKind, Value};
use crate::ops::{Gradient, Meaning, Op};
use crate::{Builder, TensorType};
use std::collections::{BTreeMap, BTreeSet};

/// What a sweep found.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// The gradient by each value asked for, of its type; `None` where nothing depends on it by a smooth path.
    pub by: Vec<Option<Value>>,
    /// Values of the graph that were computed again together with what the gradients need, and what equals them.
    /// [`Graph::substitute`] puts those in their place, so that nothing is computed twice.
    pub same: BTreeMap<Value, Value>,
    /// Nodes on a path that pass nothing on, and why.
    pub stops: Vec<(NodeId, &'static str)>,
}

/// Gradients of Σ ⟨y, dy⟩ over the given `(y, dy)` by each of `by`, which are taken as independent of one another.
///
/// Each dy has the type of its y. Nodes added come from the place of the node that they differentiate.
pub fn gradients(graph: &mut Graph, of: &[(Value, Value)], by: &[Value]) -> Gradients {
    let leaves: BTreeSet<Value> = by.iter().copied().collect();
    let leaf_nodes: BTreeSet<NodeId> = by.iter().map(|v| v.node).collect();
    let order = graph.order_from(of.iter().map(|(y, _)| y.node), &|id| leaf_nodes.contains(&id));
    let mut depends: BTreeSet<NodeId> = BTreeSet::new();
    for id in &order {
        if leaf_nodes.contains(id) || graph.node(*id).inputs.iter().any(|v| depends.contains(&v.node)) {
            depends.insert(*id);
        }
    }

    let mut found = Gradients::default();
    let mut sums: BTreeMap<Value, Value> = BTreeMap::new();
    for (y, dy) in of {
        add(graph, &mut sums, *y, *dy);
    }
    for id in order.into_iter().rev() {
        if leaf_nodes.contains(&id) || !depends.contains(&id) {
            continue;
        }
        let node = graph.node(id).clone();
        let NodeKind::Op(op) = &node.kind else { continue };
        let y: Vec<Value> = (0..node.types.len() as u32).map(|result| Value { node: id, result }).collect();
        let dy: Vec<Option<Value>> = y.iter().map(|v| sums.get(v).copied()).collect();
        if dy.iter().all(Option::is_none) {
            continue;
        }
        let by_operand = match op.vjp(&mut Builder::from_origin(graph, node.origin.clone()), &node.inputs, &y, &dy) {
            Gradient::Operands(gradients) => gradients,
            Gradient::WithResults { results, gradients } => {
                found.same.extend(y.iter().copied().zip(results));
                gradients
            }
            Gradient::ThroughExpansion => {
                let results = expansion(graph, op, id, &node.inputs);
                found.same.extend(y.iter().copied().zip(results.iter().copied()));
                let weighted: Vec<(Value, Value)> = results.iter().zip(&dy).filter_map(|(y, dy)| Some((*y, (*dy)?))).collect();
                let inside = gradients(graph, &weighted, &node.inputs);
                found.same.extend(inside.same);
                found.stops.extend(inside.stops.into_iter().map(|(_, why)| (id, why)));
                once_each(&node.inputs, inside.by)
            }
            Gradient::Stops(why) => {
                found.stops.push((id, why));
                continue;
            }
        };
        for (operand, gradient) in node.inputs.iter().zip(by_operand) {
            // A value of the node of a leaf that is no leaf itself cannot be reached from one.
            let counts = if leaf_nodes.contains(&operand.node) { leaves.contains(operand) } else { depends.contains(&operand.node) };
            if let Some(gradient) = gradient.filter(|_| counts) {
                add(graph, &mut sums, *operand, gradient);
            }
        }
    }
    found.by = by.iter().map(|v| sums.get(v).copied()).collect();
    found
}

/// The values that an operator without a rule of its own expands into.
fn expansion(graph: &mut Graph, op: &Op, id: NodeId, operands: &[Value]) -> Vec<Value> {
    let origin = graph.node(id).origin.clone();
    let types: Vec<TensorType> = graph.node(id).types.clone();
    let b = &mut Builder::from_origin(graph, origin);
    match op.expand(b, operands) {
        Meaning::Composite(results) => results.iter().zip(&types).map(|(value, ty)| b.reshape(*value, &ty.shape)).collect(),
        Meaning::Primitive => panic!("the gradient of `{}` is that of its expansion, and it has none", op.name()),
    }
}

/// Gradients by operands of which one may stand in several places: the first of them gets it.
fn once_each(operands: &[Value], gradients: Vec<Option<Value>>) -> Vec<Option<Value>> {
    let mut seen = BTreeSet::new();
    operands.iter().zip(gradients).map(|(operand, gradient)| gradient.filter(|_| seen.insert(*operand))).collect()
}

/// Adds a gradient to what `value` has; sizes that are equal but written differently become those of the value.
fn add(graph: &mut Graph, sums: &mut BTreeMap<Value, Value>, value: Value, gradient: Value) {
    let (expected, found) = (graph.ty(value).clone(), graph.ty(gradient));
    assert!(
        expected.dtype == found.dtype && expected.rank() == found.rank(),
        "a gradient of {found} for a value of {expected}, from {:?}",
        graph.node(gradient.node).origin
    );
    let origin = graph.node(gradient.node).origin.clone();
    let b = &mut Builder::from_origin(graph, origin);
    let gradient = b.reshape(gradient, &expected.shape);
    let sum = sums.get(&value).map_or(gradient, |sum| b.add(*sum, gradient));
    sums.insert(value, sum);
}
