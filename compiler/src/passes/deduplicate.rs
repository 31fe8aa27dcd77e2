//! Computes equal things once: the same operator with the same attributes on the same operands is one node.
//! ```text
//! %t = exp %a ; %u = exp %a ; %y = add %t, %u      →      %t = exp %a ; %y = add %t, %t
//! ```
//! Needs: nothing.  Keeps: every bit of every value; the origin of the first.  Skips: `--opt 0`; nothing else, since operators have
//! no effects.

use super::regions::{keep, rebuild};
use crate::pipeline::Context;
use kiln_ir::graph::NodeKind;
use kiln_ir::{Graph, Op, Value};
use std::collections::HashMap;

/// See the head of this file.
pub fn deduplicate(graph: &Graph, context: &Context) -> Graph {
    if context.config.rewrites() { deduplicated(graph) } else { graph.clone() }
}

/// The graph in which equal things are one node.
pub fn deduplicated(graph: &Graph) -> Graph {
    // Looked up only, never walked, so that their order cannot show.
    let mut operators: HashMap<(Op, Vec<Value>), Vec<Value>> = HashMap::new();
    let mut leaves: HashMap<NodeKind, Value> = HashMap::new();
    rebuild(graph, |out, node, op, x| {
        let operands: Vec<Value> = x
            .iter()
            .map(|v| match &out.node(v.node).kind {
                NodeKind::Input(_) | NodeKind::Op(_) => *v,
                leaf @ (NodeKind::Parameter(_) | NodeKind::Constant(_)) => *leaves.entry(leaf.clone()).or_insert(*v),
            })
            .collect();
        let key = (op.clone(), operands);
        match operators.get(&key) {
            Some(results) => results.clone(),
            None => {
                let results = keep(out, node, op, &key.1);
                operators.insert(key, results.clone());
                results
            }
        }
    })
}
