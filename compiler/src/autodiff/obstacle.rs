//! Why there is no gradient although the result depends on a variable: the first node on the way that passes none on.

use super::Variable;
use kiln_ir::graph::NodeKind;
use kiln_ir::{Diagnostic, Graph, NodeId, Value};
use std::collections::BTreeSet;

/// A node that passes no gradient on, and why.
pub(super) struct Obstacle {
    node: String,
    place: String,
    why: String,
}

/// The first obstacle between a variable, which stands at `places`, and the outputs; `None` if they do not depend on it.
pub(super) fn find(graph: &Graph, outputs: &[Value], places: &[Value], stops: &[(NodeId, &'static str)]) -> Option<Obstacle> {
    let mut depends: BTreeSet<NodeId> = places.iter().map(|v| v.node).collect();
    let mut last = None;
    for id in graph.order_from(outputs.iter().map(|v| v.node), &|_| false) {
        let node = graph.node(id);
        let NodeKind::Op(op) = &node.kind else { continue };
        if !node.inputs.iter().any(|v| depends.contains(&v.node)) {
            continue;
        }
        depends.insert(id);
        let stop = stops.iter().find(|(stop, _)| *stop == id).map(|(_, why)| why.to_string());
        let discrete = || node.types.iter().all(|ty| !ty.dtype.is_float()).then(|| format!("its result is {}", node.types[0]));
        let place = node.origin.as_ref().map_or_else(|| format!("node {}", id.index()), |origin| origin.text.clone());
        let obstacle = |why| Obstacle { node: op.name().to_string(), place: place.clone(), why };
        if let Some(why) = stop.or_else(discrete) {
            return Some(obstacle(why));
        }
        last = Some(obstacle("it passes on no gradient to the operand that depends on the variable".to_string()));
    }
    last
}

impl Obstacle {
    /// The mistake of differentiating by such a variable.
    pub(super) fn describe(self, of: &[&str], variable: &Variable) -> Diagnostic {
        let (name, outputs) = (variable.name(), of.join("`, `"));
        let message = format!("the gradient of `{outputs}` by `{name}` is 0 everywhere: it stops at `{}`", self.node);
        let error = Diagnostic::new("not_differentiable", message).at(self.place, self.why);
        error.help(format!("differentiate by what `{outputs}` depends on smoothly, or leave `{name}` out"))
    }
}
