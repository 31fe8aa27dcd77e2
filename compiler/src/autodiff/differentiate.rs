//! From a function to the function of its gradients.
//! ```text
//! graph (%x: f32[n]) { … return loss: %l }      →      graph (%x: f32[n]) { … return loss: %l, gradient.x: %dx }
//! ```

use super::obstacle;
use kiln_ir::diagnostic::nearest;
use kiln_ir::gradient::gradients;
use kiln_ir::graph::NodeKind;
use kiln_ir::{Builder, Diagnostic, Graph, Value};
use std::collections::BTreeMap;

/// Something that a function depends on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Variable {
    /// An input of the function, by name.
    Input(String),
    /// A parameter of the module, by name. A function may refer to it in several places.
    Parameter(String),
}

impl Variable {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Variable::Input(name) | Variable::Parameter(name) => name,
        }
    }

    /// Where the graph has it.
    fn values(&self, graph: &Graph) -> Vec<Value> {
        match self {
            Variable::Input(name) => graph.inputs().iter().filter(|(n, _)| n == name).map(|(_, v)| *v).collect(),
            Variable::Parameter(name) => {
                let is_it = |id: &kiln_ir::NodeId| matches!(&graph.node(*id).kind, NodeKind::Parameter(n) if **n == **name);
                graph.order().into_iter().filter(is_it).map(|node| Value { node, result: 0 }).collect()
            }
        }
    }
}

/// The function with one more output for each variable: `gradient.NAME`, of the variable's type, is the gradient of the sum of all
/// elements of the outputs `of`.
///
/// What the function computes is computed once, in the parts that its gradients need: composites without a gradient of their own are
/// expanded, loops keep their states. The result can be differentiated again; by the same variable it has `gradient.gradient.NAME`.
///
/// Errors: `unknown_output`, `unknown_variable`, `not_differentiable` when an output or a variable is not floating or the outputs
/// depend on a variable by no smooth path; all that there are.
pub fn differentiate(graph: &Graph, of: &[&str], by: &[Variable]) -> Result<Graph, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let outputs: Vec<Value> = of.iter().filter_map(|name| output(graph, name).map_err(|e| errors.push(e)).ok()).collect();
    let variables: Vec<Vec<Value>> = by.iter().filter_map(|v| places(graph, v).map_err(|e| errors.push(e)).ok()).collect();
    if !errors.is_empty() {
        return Err(errors);
    }

    let mut work = graph.clone();
    let mut weighted = Vec::new();
    for value in outputs.iter().copied() {
        let origin = graph.node(value.node).origin.clone();
        weighted.push((value, Builder::from_origin(&mut work, origin).like(value, 1.0)));
    }
    let leaves: Vec<Value> = variables.iter().flatten().copied().collect();
    let found = gradients(&mut work, &weighted, &leaves);
    let by_leaf = leaves.iter().copied().zip(found.by).collect::<BTreeMap<Value, Option<Value>>>();
    let mut results = Vec::new();
    for (variable, places) in by.iter().zip(&variables) {
        let parts: Vec<Value> = places.iter().filter_map(|place| by_leaf[place]).collect();
        let mut b = Builder::new(&mut work);
        let sum = parts.into_iter().reduce(|sum, part| b.add(sum, part));
        if sum.is_none() {
            errors.extend(obstacle::find(graph, &outputs, places, &found.stops).map(|e| e.describe(of, variable)));
        }
        // What the outputs do not depend on has gradient 0.
        results.push(sum.unwrap_or_else(|| b.like(places[0], 0.0)));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for (variable, value) in by.iter().zip(results) {
        let mut name = format!("gradient.{}", variable.name());
        // Taken where this function has gradients already.
        while work.outputs().iter().any(|(other, _)| *other == name) {
            name.insert_str(0, "gradient.");
        }
        work.add_output(name, value);
    }
    Ok(work.substitute(&found.same))
}

fn output(graph: &Graph, name: &str) -> Result<Value, Diagnostic> {
    let Some((_, value)) = graph.outputs().iter().find(|(n, _)| n == name) else {
        let error = Diagnostic::new("unknown_output", format!("the function has no output `{name}` to differentiate"));
        return Err(with_names(error, name, graph.outputs().iter().map(|(n, _)| n.as_str())));
    };
    let ty = graph.ty(*value);
    if !ty.dtype.is_float() {
        return Err(Diagnostic::new("not_differentiable", format!("output `{name}` is {ty}: only floating numbers have gradients")));
    }
    Ok(*value)
}

fn places(graph: &Graph, variable: &Variable) -> Result<Vec<Value>, Diagnostic> {
    let (name, places) = (variable.name(), variable.values(graph));
    let Some(first) = places.first() else {
        let (what, names): (&str, Vec<String>) = match variable {
            Variable::Input(_) => ("input", graph.inputs().iter().map(|(n, _)| n.clone()).collect()),
            Variable::Parameter(_) => ("parameter", parameter_names(graph)),
        };
        let error = Diagnostic::new("unknown_variable", format!("the function has no {what} `{name}` to differentiate by"));
        return Err(with_names(error, name, names.iter().map(String::as_str)));
    };
    let ty = graph.ty(*first);
    if !ty.dtype.is_float() {
        return Err(Diagnostic::new("not_differentiable", format!("`{name}` is {ty}: only by floating numbers there are gradients")));
    }
    Ok(places)
}

fn parameter_names(graph: &Graph) -> Vec<String> {
    let name = |id: kiln_ir::NodeId| match &graph.node(id).kind {
        NodeKind::Parameter(name) => Some(name.to_string()),
        NodeKind::Input(_) | NodeKind::Constant(_) | NodeKind::Op(_) => None,
    };
    graph.order().into_iter().filter_map(name).collect()
}

/// The nearest name, or all of them.
fn with_names<'a>(error: Diagnostic, name: &str, names: impl Iterator<Item = &'a str> + Clone) -> Diagnostic {
    match nearest(name, names.clone()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None if names.clone().next().is_none() => error.help("there are none"),
        None => error.help(format!("there are: {}", names.collect::<Vec<_>>().join(", "))),
    }
}
