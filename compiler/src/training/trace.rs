//! Where numbers stop being finite, as a function: what a trainer asks when a loss is not.
//! ```text
//! trace (data.., %key: u64[], fixed.., parameters..) { … return finite: bool[layers] }
//! ```

use super::objective::{Term, inputs_of_targets};
use super::states::States;
use super::step::{inputs_of, parameters_as};
use super::update::is_finite;
use crate::frontend::model::Model;
use kiln_ir::ops::Concat;
use kiln_ir::{Builder, DType, Dim, Graph, NodeKind, TensorType, Value};
use std::collections::BTreeMap;

/// Builds the trace of a network, and names what it tells about: inputs, then layers, in the order of computation.
pub fn trace(model: &Model, terms: &[Term], states: &States) -> (Graph, Vec<String>) {
    let network = &model.training;
    let mut graph = network.without_nodes();
    let mut map: BTreeMap<Value, Value> = BTreeMap::new();
    let (key, inputs) = network.inputs().split_last().expect("its last input is the key");
    for (name, value) in inputs {
        map.insert(*value, graph.add_input(name, network.ty(*value).clone()));
    }
    inputs_of_targets(&mut graph, terms);
    map.insert(key.1, graph.add_input(&key.0, TensorType::fixed(DType::U64, &[])));
    let held = inputs_of(&mut graph, states.fixed.iter().chain(&states.changing[..states.parameters()]));
    map.extend(parameters_as(&mut graph, network, &held));

    let mut told: Vec<(String, Value)> = inputs.iter().map(|(name, value)| (format!("input `{name}`"), *value)).collect();
    // What a layer gives is the last of its values.
    let mut layers: Vec<(String, Value)> = Vec::new();
    for node in network.order() {
        let (NodeKind::Op(_), Some(origin)) = (&network.node(node).kind, &network.node(node).origin) else { continue };
        let value = Value { node, result: 0 };
        if !network.ty(value).dtype.is_float() {
            continue;
        }
        match layers.iter_mut().find(|(name, _)| *name == origin.text) {
            Some(layer) => layer.1 = value,
            None => layers.push((origin.text.clone(), value)),
        }
    }
    told.append(&mut layers);
    told.retain(|(_, value)| network.ty(*value).dtype.is_float());
    let values: Vec<Value> = told.iter().map(|(_, value)| *value).collect();
    let copied = graph.copy_from(network, &values, &mut map);
    let mut b = Builder::new(&mut graph);
    let flags: Vec<Value> = (copied.into_iter())
        .map(|value| {
            let axes: Vec<usize> = (0..b.shape(value).len()).collect();
            let size = b.abs(value);
            let largest = b.reduce_max(size, &axes, false);
            let finite = is_finite(&mut b, largest);
            b.reshape(finite, &[Dim::ONE])
        })
        .collect();
    let finite = b.op(Concat { axis: 0 }, &flags);
    graph.add_output("finite", finite);
    (graph, told.into_iter().map(|(name, _)| name).collect())
}
