//! Evaluation as a function: what the network gives, and its loss.
//! ```text
//! evaluate (data.., fixed.., parameters..) { … return loss, outputs.. }
//! ```

use super::objective::{Term, inputs_of_targets, loss};
use super::states::States;
use super::step::{inputs_of, parameters_as};
use kiln_ir::{Graph, Value};
use std::collections::BTreeMap;

/// Builds the evaluation of a network, of which `network` is the function that predicts.
pub fn evaluation(network: &Graph, terms: &[Term], states: &States) -> Graph {
    let mut graph = network.without_nodes();
    let mut map: BTreeMap<Value, Value> = BTreeMap::new();
    for (name, value) in network.inputs() {
        map.insert(*value, graph.add_input(name, network.ty(*value).clone()));
    }
    let targets = inputs_of_targets(&mut graph, terms);
    let held = inputs_of(&mut graph, states.fixed.iter().chain(&states.changing[..states.parameters()]));
    map.extend(parameters_as(&mut graph, network, &held));
    let wanted: Vec<Value> = network.outputs().iter().map(|(_, v)| *v).collect();
    let outputs = graph.copy_from(network, &wanted, &mut map);
    let value = loss(&mut graph, terms, &outputs, &targets);
    graph.add_output("loss", value);
    for ((name, _), value) in network.outputs().iter().zip(outputs) {
        // A network may call one of its outputs like that too.
        graph.add_output(if name == "loss" { "output.loss" } else { name }, value);
    }
    graph
}
