//! Copies parts of graphs: into another graph, or into the same program with some values put in the place of others.

use super::{Graph, NodeId, NodeKind, Value};
use petgraph::Direction;
use std::collections::BTreeMap;

impl Graph {
    /// A graph without nodes that knows the same about symbols: its ranges and its guards.
    pub fn without_nodes(&self) -> Graph {
        Graph { symbols: self.symbols.clone(), guards: self.guards.clone(), ..Graph::default() }
    }

    /// Copies what computes `values` of another graph, and returns the copies in order.
    ///
    /// `map` says what is here already, at least the inputs that are met, and gains what is copied. Symbols and guards stay behind.
    pub fn copy_from(&mut self, from: &Graph, values: &[Value], map: &mut BTreeMap<Value, Value>) -> Vec<Value> {
        // A walk that stops at what is here already never sees the operands of such a node.
        let mapped: Vec<_> = map.keys().map(|v| v.node).collect();
        let roots = values.iter().filter(|v| !map.contains_key(*v)).map(|v| v.node);
        for id in from.order_from(roots, &|id| mapped.binary_search(&id).is_ok()) {
            let node = from.node(id);
            if mapped.binary_search(&id).is_ok() {
                continue;
            }
            assert!(!matches!(node.kind, NodeKind::Input(_)), "an input of the copied graph has no place in the new one");
            let operands: Vec<Value> = node.inputs.iter().map(|v| map[v]).collect();
            let first = self.insert(node.kind.clone(), operands, node.types.clone(), node.origin.clone());
            for result in 0..node.types.len() as u32 {
                map.insert(Value { node: id, result }, Value { result, ..first });
            }
        }
        values.iter().map(|v| map[v]).collect()
    }

    /// The same program in which `same[v]` takes the place of each value `v` there is; it must have the type and meaning of `v` and
    /// not depend on it.
    pub fn substitute(&self, same: &BTreeMap<Value, Value>) -> Graph {
        let resolve = |mut value: Value| {
            while let Some(next) = same.get(&value) {
                value = *next;
            }
            value
        };
        let mut out = self.clone();
        for id in self.topology.node_indices() {
            for (position, operand) in self.node(id).inputs.iter().enumerate() {
                let other = resolve(*operand);
                if other != *operand {
                    out.redirect(id, position as u32, other);
                }
            }
        }
        out.outputs.iter_mut().for_each(|(_, value)| *value = resolve(*value));
        out
    }

    /// Makes another value the operand at `position`, with its edge.
    pub(crate) fn redirect(&mut self, id: NodeId, position: u32, to: Value) {
        use petgraph::visit::EdgeRef;
        let old = self.topology.edges_directed(id, Direction::Incoming).find(|e| *e.weight() == position).map(|e| e.id());
        old.and_then(|e| self.topology.remove_edge(e));
        self.topology.add_edge(to.node, id, position);
        self.topology[id].inputs[position as usize] = to;
    }
}
