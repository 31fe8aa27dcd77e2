//! Evaluation as a function: what the network gives, and its loss.
//! ```text
//! evaluate (data.., fixed.., parameters..) { … return loss, outputs.. }
//! ```

use super::objective::{Term, loss};
use super::step::{TrainStep, target_name};
use crate::frontend::model::Model;
use kiln_ir::{Diagnostic, Graph, NodeKind, TensorType, Value};
use std::collections::BTreeMap;

/// Builds the evaluation that belongs to a step.
///
/// Errors: `no_function`.
pub fn evaluation(model: &Model, terms: &[Term], step: &TrainStep) -> Result<Graph, Diagnostic> {
    let network = model.module.predict().map_err(|error| Diagnostic::new("no_function", error))?;
    let mut graph = network.without_nodes();
    let mut map: BTreeMap<Value, Value> = BTreeMap::new();
    for (name, value) in network.inputs() {
        map.insert(*value, graph.add_input(name, network.ty(*value).clone()));
    }
    let targets: Vec<Value> = terms.iter().map(|t| graph.add_input(target_name(&t.name), t.target.clone())).collect();
    let mut held: BTreeMap<&str, Value> = BTreeMap::new();
    for slot in step.fixed.iter().chain(&step.states[..step.parameters]) {
        held.insert(&slot.name, graph.add_input(&slot.name, TensorType::fixed(slot.dtype, &slot.shape)));
    }
    for node in network.order() {
        if let NodeKind::Parameter(name) = &network.node(node).kind {
            map.insert(Value { node, result: 0 }, held[&**name]);
        }
    }
    let wanted: Vec<Value> = network.outputs().iter().map(|(_, v)| *v).collect();
    let outputs = graph.copy_from(network, &wanted, &mut map);
    let value = loss(&mut graph, terms, &outputs, &targets);
    graph.add_output("loss", value);
    for ((name, _), value) in network.outputs().iter().zip(outputs) {
        // A network may call one of its outputs like that too.
        graph.add_output(if name == "loss" { "output.loss" } else { name }, value);
    }
    Ok(graph)
}
