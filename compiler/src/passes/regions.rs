//! Applies a pass to a graph and to the regions inside it, so that passes see one graph at a time.

use crate::pipeline::Context;
use kiln_ir::attr::Attr;
use kiln_ir::graph::NodeKind;
use kiln_ir::{Graph, Node, NodeId, Op, Value};
use std::sync::Arc;

/// The pass applied to `graph`, then to the regions of what it made, at any depth.
pub fn apply(graph: &Graph, context: &Context, pass: fn(&Graph, &Context) -> Graph) -> Graph {
    let graph = pass(graph, context);
    let has_region = |op: &Op| op.to_attrs().iter().any(|(_, a)| matches!(a, Attr::Graph(_)));
    let any = graph.order().iter().any(|id| matches!(&graph.node(*id).kind, NodeKind::Op(op) if has_region(op)));
    if !any {
        return graph;
    }
    rebuild(&graph, |out, node, op, x| match has_region(op) {
        true => keep(out, node, &map_regions(op, &mut |region| apply(region, context, pass)), x),
        false => keep(out, node, op, x),
    })
}

/// The graph, then the regions inside it, at any depth.
pub fn visit(graph: &Graph, f: &mut dyn FnMut(&Graph)) {
    f(graph);
    for id in graph.order() {
        let NodeKind::Op(op) = &graph.node(id).kind else { continue };
        for (_, attribute) in op.to_attrs() {
            if let Attr::Graph(region) = attribute {
                visit(&region, f);
            }
        }
    }
}

/// [`Graph::rebuild`] for passes that cannot fail.
pub fn rebuild(graph: &Graph, mut f: impl FnMut(&mut Graph, &Node, &Op, &[Value]) -> Vec<Value>) -> Graph {
    rebuild_with_ids(graph, |out, _, node, op, x| f(out, node, op, x))
}

/// [`rebuild`] for passes that ask the old graph about a node.
pub fn rebuild_with_ids(graph: &Graph, mut f: impl FnMut(&mut Graph, NodeId, &Node, &Op, &[Value]) -> Vec<Value>) -> Graph {
    match graph.rebuild(|out, id, node, op, x| Ok::<_, std::convert::Infallible>(f(out, id, node, op, x))) {
        Ok(graph) => graph,
        Err(never) => match never {},
    }
}

/// Adds `op` in the place of `node`, with the types that `node` has. Panics if it does not type: passes replace like by like.
pub fn keep(out: &mut Graph, node: &Node, op: &Op, x: &[Value]) -> Vec<Value> {
    match out.add_declared(op.clone(), x, Some(node.types.clone()), node.origin.clone()) {
        Ok(values) => values,
        Err(e) => {
            let types: Vec<String> = x.iter().map(|v| out.ty(*v).to_string()).collect();
            panic!("a pass moved `{}` onto ({}), where it does not type: {e}", op.name(), types.join(", "))
        }
    }
}

/// The operator with `f` applied to its regions.
fn map_regions(op: &Op, f: &mut dyn FnMut(&Graph) -> Graph) -> Op {
    let attributes = op.to_attrs().into_iter().map(|(name, attribute)| match attribute {
        Attr::Graph(region) => (name.to_string(), Attr::Graph(Arc::new(f(&region)))),
        other => (name.to_string(), other),
    });
    Op::from_attrs(op.name(), &mut attributes.collect())
        .unwrap_or_else(|e| panic!("the attributes of `{}` do not read back: {e}", op.name()))
}
