//! The order in which a graph's nodes are imported: operands first, only what the outputs need.
//!
//! ONNX asks writers to sort nodes, not all do. Sorting here also finds cycles and names read but never made.

use super::proto::{GraphProto, NodeProto};
use kiln_ir::Diagnostic;
use std::collections::{HashMap, HashSet};

/// A short name for a node in messages: `Conv "/layer1/conv1"`.
pub fn describe(node: &NodeProto) -> String {
    let label = if node.name.is_empty() { node.output.iter().find(|o| !o.is_empty()) } else { Some(&node.name) };
    match label {
        Some(label) => format!("{} \"{label}\"", node.op_type),
        None => node.op_type.clone(),
    }
}

/// Indices of the nodes that `outputs` need, operands before users, otherwise in the order of the file.
///
/// Errors: `onnx_duplicate` (two nodes make one value), `onnx_cycle`.
pub fn needed_nodes(nodes: &[NodeProto], outputs: &[&str]) -> Result<Vec<usize>, Diagnostic> {
    let mut producer: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            if let Some(earlier) = producer.insert(name, index) {
                return Err(Diagnostic::new("onnx_duplicate", format!("two nodes make the value \"{name}\""))
                    .at(describe(&nodes[earlier]), format!("node {earlier} makes it"))
                    .at(describe(node), format!("node {index} makes it again")));
            }
        }
    }
    let mut roots: Vec<usize> = outputs.iter().filter_map(|name| producer.get(name).copied()).collect();
    roots.sort_unstable();
    let mut state = vec![State::New; nodes.len()];
    let mut order = Vec::new();
    for root in roots {
        // Depth first without recursion: models are thousands of nodes deep.
        let mut stack: Vec<(usize, Vec<usize>)> = Vec::new();
        if state[root] == State::New {
            enter(root, nodes, &producer, &mut state, &mut stack);
        }
        while let Some((index, operands)) = stack.last_mut() {
            let index = *index;
            let Some(operand) = operands.pop() else {
                state[index] = State::Done;
                order.push(index);
                stack.pop();
                continue;
            };
            match state[operand] {
                State::Done => {}
                State::New => enter(operand, nodes, &producer, &mut state, &mut stack),
                State::Open => {
                    return Err(Diagnostic::new("onnx_cycle", "the graph has a cycle")
                        .at(describe(&nodes[index]), "needs the next one")
                        .at(describe(&nodes[operand]), "needs the one before, directly or through others"));
                }
            }
        }
    }
    Ok(order)
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

fn enter(index: usize, nodes: &[NodeProto], producer: &HashMap<&str, usize>, state: &mut [State], stack: &mut Vec<(usize, Vec<usize>)>) {
    state[index] = State::Open;
    let mut operands = Vec::new();
    visit_reads(&nodes[index], &mut |name| operands.extend(producer.get(name).copied()));
    // Popped from the back, so the first operand comes first.
    operands.reverse();
    stack.push((index, operands));
}

/// Every name that a node reads, and that its subgraphs read of what is around them.
fn visit_reads<'a>(node: &'a NodeProto, f: &mut dyn FnMut(&'a str)) {
    node.input.iter().filter(|n| !n.is_empty()).for_each(|n| f(n));
    for graph in node.attribute.iter().filter_map(|a| a.g.as_deref()) {
        visit_graph_reads(graph, f);
    }
}

fn visit_graph_reads<'a>(graph: &'a GraphProto, f: &mut dyn FnMut(&'a str)) {
    let made = graph.node.iter().flat_map(|n| &n.output);
    let own: HashSet<&str> = graph.input.iter().map(|i| &i.name).chain(made).map(String::as_str).collect();
    let mut from_outside = |name: &'a str| {
        if !own.contains(name) {
            f(name);
        }
    };
    graph.node.iter().for_each(|n| visit_reads(n, &mut from_outside));
    graph.output.iter().for_each(|o| from_outside(&o.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto {
            op_type: "Add".into(),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: outputs.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn sorts_and_drops_what_nobody_needs() {
        let nodes = [node(&["b"], &["c"]), node(&["x"], &["unused"]), node(&["x"], &["b"])];
        assert_eq!(needed_nodes(&nodes, &["c"]).expect("acyclic"), [2, 0]);
        assert_eq!(needed_nodes(&[node(&["x"], &["a", "b"])], &["a", "b"]).expect("acyclic"), [0]);
    }

    #[test]
    fn cycles_and_duplicates_are_refused() {
        let code = |nodes: &[NodeProto]| needed_nodes(nodes, &["a"]).expect_err("refused").code;
        assert_eq!(code(&[node(&["b"], &["a"]), node(&["a"], &["b"])]), "onnx_cycle");
        assert_eq!(code(&[node(&["a"], &["a"])]), "onnx_cycle");
        assert_eq!(code(&[node(&["x"], &["a"]), node(&["y"], &["a"])]), "onnx_duplicate");
    }
}
