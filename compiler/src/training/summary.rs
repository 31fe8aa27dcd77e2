//! What a network is made of, for people to read: its inputs and layers, what they give, and their parameters.

use kiln_ir::{Graph, NodeKind, Value};
use kiln_runtime::training::recipe::LayerSummary;
use std::collections::BTreeSet;

/// Inputs, then layers in the order of computation. What a layer gives is the last of its values.
pub fn summary(network: &Graph) -> Vec<LayerSummary> {
    let input = |(name, value): &(String, Value)| LayerSummary {
        name: format!("input \"{name}\""),
        gives: network.ty(*value).to_string(),
        parameters: 0,
    };
    let mut rows: Vec<LayerSummary> = network.inputs().iter().map(input).collect();
    let inputs = rows.len();
    let mut texts: Vec<&str> = Vec::new();
    let mut counted = BTreeSet::new();
    for id in network.order() {
        let node = network.node(id);
        let (NodeKind::Op(_), Some(origin)) = (&node.kind, &node.origin) else { continue };
        let at = texts.iter().position(|text| *text == origin.text).unwrap_or_else(|| {
            texts.push(&origin.text);
            // Without the place in the file, which reports are not about.
            let name = origin.text.rsplit(": ").next().unwrap_or(&origin.text).to_owned();
            rows.push(LayerSummary { name, gives: String::new(), parameters: 0 });
            texts.len() - 1
        });
        let row = &mut rows[inputs + at];
        row.gives = network.ty(Value { node: id, result: 0 }).to_string();
        for operand in &node.inputs {
            if let NodeKind::Parameter(name) = &network.node(operand.node).kind
                && counted.insert(name.clone())
            {
                row.parameters += network.ty(*operand).elements().as_const().map_or(0, |n| n as usize);
            }
        }
    }
    rows
}
