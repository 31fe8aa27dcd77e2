//! Checks whole modules and graphs and reports everything that is wrong. What it checks, by code:
//!
//! - `operand`, `edges`, `cycle`: operands are results that exist, the topology mirrors them, no value depends on itself;
//! - `input`, `output`, `duplicate`: the interface agrees with the nodes, names are unique;
//! - the operators' own labels and `declared_type`: every node types, and its results have the types it claims;
//! - `guard_missing`: every condition that could not be proved is a guard;
//! - `constant`: a constant has its node's type, and bools are stored as 0 or 1;
//! - `parameter`: parameters are declared with that type, fixed in size, and not used in regions, which are closed;
//! - `symbol`, `symbol_range`, `symbol_undefined`: symbols are declared, have a range and a name that reads back, and stand
//!   alone on some input axis, which defines them.
//!
//! Everything else may rely on these. Graphs made by a frontend or read from text are checked once; passes are checked before
//! and after in tests.

use crate::attr::Attr;
use crate::dim::Symbol;
use crate::graph::{Module, NodeKind, Parameter};
use crate::ops::{Facts, Op};
use crate::text::{is_word, value_names};
use crate::{DType, Diagnostic, Graph, NodeId, Tensor, TensorType, Value};
use petgraph::Direction;
use petgraph::visit::EdgeRef;
use std::collections::{BTreeMap, BTreeSet};

/// Checks a module. Errors: everything that is wrong.
pub fn verify_module(module: &Module) -> Result<(), Vec<Diagnostic>> {
    let mut errors = Vec::new();
    for (name, parameter) in &module.parameters {
        let place = format!("parameter `{name}`");
        if parameter.ty.fixed_shape().is_none() {
            errors.push(Diagnostic::new("parameter", format!("parameter `{name}` has no fixed size")).at(&place, parameter.ty.to_string()));
        }
        if let Some(value) = &parameter.value {
            if value.ty() != parameter.ty {
                let message = format!("parameter `{name}` is a {}, its value a {}", parameter.ty, value.ty());
                errors.push(Diagnostic::new("parameter", message).at(&place, "declared here"));
            }
            errors.extend(malformed_bools(value).map(|e| e.at(&place, "its value")));
        }
    }
    for (name, graph) in &module.functions {
        let checker = Checker { place: format!("function `{name}`"), parameters: Parameters::Declared(&module.parameters), outer: None };
        checker.check(graph, &mut errors);
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Checks a graph that stands alone; its parameters are taken as they are. Errors: everything that is wrong.
pub fn verify_graph(graph: &Graph) -> Result<(), Vec<Diagnostic>> {
    let mut errors = Vec::new();
    Checker { place: "graph".into(), parameters: Parameters::Any, outer: None }.check(graph, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Words that the text form reads as something else than a symbol.
const RESERVED: &[&str] = &["true", "false", "inf", "nan", "none"];

enum Parameters<'a> {
    /// Those of the module.
    Declared(&'a BTreeMap<String, Parameter>),
    /// Nothing is known of them.
    Any,
    /// A region has none.
    Closed,
}

struct Checker<'a> {
    /// Which graph it is.
    place: String,
    parameters: Parameters<'a>,
    /// For a region: the symbols of the graph around it.
    outer: Option<BTreeSet<Symbol>>,
}

impl Checker<'_> {
    fn check(&self, graph: &Graph, errors: &mut Vec<Diagnostic>) {
        let before = errors.len();
        self.structure(graph, errors);
        if errors.len() > before {
            // The rest walks the graph and needs it whole.
            return;
        }
        let names = value_names(graph);
        self.interface(graph, errors);
        let symbols = self.symbols(graph, errors);
        for id in graph.topology().node_indices() {
            let node = graph.node(id);
            let place = || self.node_place(graph, id, &names);
            match &node.kind {
                NodeKind::Input(_) => {}
                NodeKind::Parameter(name) => {
                    errors.extend(self.parameter(name, &node.types[0]).map(|e| e.at(place(), "used here")));
                }
                NodeKind::Constant(tensor) => {
                    if tensor.ty() != node.types[0] {
                        let message = format!("a constant {} is used as {}", tensor.ty(), node.types[0]);
                        errors.push(Diagnostic::new("constant", message).at(place(), "here"));
                    }
                    errors.extend(malformed_bools(tensor).map(|e| e.at(place(), "here")));
                }
                NodeKind::Op(op) => self.operator(graph, id, op, &symbols, &place, errors),
            }
        }
    }

    fn node_place(&self, graph: &Graph, id: NodeId, names: &BTreeMap<Value, String>) -> String {
        let node = graph.node(id);
        let what = match &node.kind {
            NodeKind::Input(position) => format!("input {position}"),
            NodeKind::Parameter(name) => format!("parameter {name}"),
            NodeKind::Constant(_) => "const".to_string(),
            NodeKind::Op(op) => op.name().to_string(),
        };
        let name = match names.get(&Value { node: id, result: 0 }) {
            Some(name) => format!("`{name} = {what}`"),
            None => format!("node {} ({what})", id.index()),
        };
        let origin = node.origin.as_ref().map(|o| format!(", from {}", o.text)).unwrap_or_default();
        format!("{name} in {}{origin}", self.place)
    }

    /// What everything else needs to walk the graph at all.
    fn structure(&self, graph: &Graph, errors: &mut Vec<Diagnostic>) {
        let none = BTreeMap::new();
        let mut wrong = |code: &str, message: String, id: NodeId| {
            errors.push(Diagnostic::new(code, message).at(self.node_place(graph, id, &none), "here"));
        };
        let exists = |v: &Value| graph.topology().node_weight(v.node).is_some_and(|n| (v.result as usize) < n.types.len());
        for id in graph.topology().node_indices() {
            let node = graph.node(id);
            for (position, value) in node.inputs.iter().enumerate() {
                if !exists(value) {
                    let message =
                        format!("operand {position} is result {} of node {}, which does not exist", value.result, value.node.index());
                    wrong("operand", message, id);
                }
            }
            let mut edges: Vec<(u32, NodeId)> =
                graph.topology().edges_directed(id, Direction::Incoming).map(|e| (*e.weight(), e.source())).collect();
            edges.sort_unstable();
            let operands: Vec<(u32, NodeId)> = node.inputs.iter().enumerate().map(|(i, v)| (i as u32, v.node)).collect();
            if edges != operands {
                wrong("edges", format!("has {} operands, but its {} edges say otherwise", operands.len(), edges.len()), id);
            }
            match &node.kind {
                NodeKind::Op(_) => {}
                NodeKind::Input(_) | NodeKind::Parameter(_) | NodeKind::Constant(_) => {
                    if !node.inputs.is_empty() || node.types.len() != 1 {
                        wrong("operand", "takes no operands and has one result".into(), id);
                    }
                }
            }
            if let NodeKind::Input(position) = node.kind
                && graph.inputs().get(position).map(|(_, v)| v.node) != Some(id)
            {
                wrong("input", format!("claims to be input {position}, which is another value or none"), id);
            }
        }
        for (position, (name, value)) in graph.inputs().iter().enumerate() {
            if graph.topology().node_weight(value.node).map(|n| &n.kind) != Some(&NodeKind::Input(position)) {
                let message = format!("input `{name}` has no node of its own");
                errors.push(Diagnostic::new("input", message).at(&self.place, "in its inputs"));
            }
        }
        for (name, value) in graph.outputs() {
            if !exists(value) {
                let message = format!("output `{name}` is result {} of node {}, which does not exist", value.result, value.node.index());
                errors.push(Diagnostic::new("output", message).at(&self.place, "in its outputs"));
            }
        }
        if errors.is_empty()
            && let Err(cycle) = petgraph::algo::toposort(graph.topology(), None)
        {
            let place = self.node_place(graph, cycle.node_id(), &none);
            errors.push(Diagnostic::new("cycle", "a value depends on itself").at(place, "on the cycle"));
        }
    }

    fn interface(&self, graph: &Graph, errors: &mut Vec<Diagnostic>) {
        for (what, list) in [("input", graph.inputs()), ("output", graph.outputs())] {
            let mut seen = BTreeSet::new();
            for (name, _) in list {
                if !seen.insert(name) {
                    errors.push(Diagnostic::new("duplicate", format!("two {what}s are called `{name}`")).at(&self.place, "both here"));
                }
            }
        }
        for (name, value) in graph.inputs() {
            let ty = graph.ty(*value);
            if ty.shape.iter().any(|d| graph.symbols.range(d).max < 0) {
                errors.push(
                    Diagnostic::new("input", format!("input `{name}` is a {ty}; sizes are 0 or more")).at(&self.place, "in its inputs"),
                );
            }
        }
    }

    /// Symbols that may be used, and checks of those declared.
    fn symbols(&self, graph: &Graph, errors: &mut Vec<Diagnostic>) -> BTreeSet<Symbol> {
        let mut known: BTreeSet<Symbol> = self.outer.clone().unwrap_or_default();
        let shapes = || graph.inputs().iter().flat_map(|(_, v)| &graph.ty(*v).shape);
        let defined: BTreeSet<&Symbol> = shapes().filter_map(|d| d.as_symbol()).collect();
        for (symbol, range) in graph.symbols.iter() {
            if !is_word(symbol.name()) || RESERVED.contains(&symbol.name()) {
                let message = format!("`{symbol}` cannot be the name of a symbol: it would not read back");
                errors.push(Diagnostic::new("symbol", message).at(&self.place, "in its types"));
            }
            if range.min > range.max {
                let message = format!("no size is in the range {}..={} of `{symbol}`", range.min, range.max);
                errors.push(Diagnostic::new("symbol_range", message).at(&self.place, "declared here"));
            }
            if !defined.contains(symbol) && !known.contains(symbol) {
                let error =
                    Diagnostic::new("symbol_undefined", format!("nothing says how large `{symbol}` is")).at(&self.place, "in its types");
                errors.push(error.help(format!("some input axis must be `{symbol}` alone")));
            }
        }
        known.extend(graph.symbols.iter().map(|(s, _)| s.clone()));
        let guards = graph.guards.iter().flat_map(|g| [&g.left, &g.right]);
        for symbol in shapes().chain(guards).flat_map(|d| d.symbols()).collect::<BTreeSet<_>>() {
            if !known.contains(&symbol) {
                let message = format!("the symbol `{symbol}` is not declared");
                errors.push(Diagnostic::new("symbol", message).at(&self.place, "in its inputs or guards"));
            }
        }
        known
    }

    fn parameter(&self, name: &str, ty: &TensorType) -> Option<Diagnostic> {
        match &self.parameters {
            Parameters::Any => None,
            Parameters::Closed => {
                let message = format!("parameter `{name}` is used inside a region");
                Some(Diagnostic::new("parameter", message).help("regions are closed: pass it as a captured operand"))
            }
            Parameters::Declared(declared) => match declared.get(name) {
                Some(parameter) if parameter.ty == *ty => None,
                Some(parameter) => {
                    let message = format!("parameter `{name}` is declared as {} and used as {ty}", parameter.ty);
                    Some(Diagnostic::new("parameter", message))
                }
                None => Some(Diagnostic::new("parameter", format!("there is no parameter `{name}`"))),
            },
        }
    }

    fn operator(
        &self,
        graph: &Graph,
        id: NodeId,
        op: &Op,
        symbols: &BTreeSet<Symbol>,
        place: &dyn Fn() -> String,
        errors: &mut Vec<Diagnostic>,
    ) {
        let node = graph.node(id);
        let mut unknown = BTreeSet::new();
        let mut note = |d: &crate::Dim| unknown.extend(d.symbols().into_iter().filter(|s| !symbols.contains(s)));
        node.types.iter().flat_map(|t| &t.shape).for_each(&mut note);
        op.clone().map_dims(&mut |d| {
            note(d);
            d.clone()
        });
        for symbol in unknown {
            errors.push(Diagnostic::new("symbol", format!("the symbol `{symbol}` is not declared")).at(place(), "used here"));
        }
        for (name, attribute) in op.to_attrs() {
            if let Attr::Graph(region) = attribute {
                let checker = Checker {
                    place: format!("region `{name}` of {}", place()),
                    parameters: Parameters::Closed,
                    outer: Some(symbols.clone()),
                };
                checker.check(&region, errors);
            }
        }
        let operands: Vec<TensorType> = node.inputs.iter().map(|v| graph.ty(*v).clone()).collect();
        let mut facts = Facts::new(&graph.symbols);
        let inferred = match op.infer(&operands, &mut facts) {
            Ok(inferred) => inferred,
            Err(e) => {
                let types: Vec<String> = operands.iter().map(TensorType::to_string).collect();
                let message = format!("`{}`: {}", op.name(), e.message);
                errors.push(Diagnostic::new(e.label, message).at(place(), format!("on ({})", types.join(", "))));
                return;
            }
        };
        let same = |(a, b): (&TensorType, &TensorType)| a.provably_equal(b, &graph.symbols);
        if inferred.len() != node.types.len() || !node.types.iter().zip(&inferred).all(same) {
            let list = |types: &[TensorType]| types.iter().map(TensorType::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("`{}` gives ({}), the node claims ({})", op.name(), list(&inferred), list(&node.types));
            errors.push(Diagnostic::new("declared_type", message).at(place(), "here"));
        }
        for needed in facts.into_guards(op.name(), None) {
            if !graph.guards.iter().any(|g| g.same_condition(&needed)) {
                errors.push(Diagnostic::new("guard_missing", format!("nothing checks that {needed}")).at(place(), "needed here"));
            }
        }
    }
}

fn malformed_bools(tensor: &Tensor) -> Option<Diagnostic> {
    let wrong = tensor.dtype() == DType::Bool && tensor.bytes().iter().any(|b| *b > 1);
    wrong.then(|| Diagnostic::new("constant", "a bool is stored as something else than 0 or 1"))
}

#[cfg(test)]
mod tests;
