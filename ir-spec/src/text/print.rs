//! Prints modules and graphs. Only live nodes are printed, operands first, in an order that depends on the program alone.

use super::constants::{ConstantTable, INLINE_ELEMENTS};
use super::elements::{print_elements, print_float};
use super::names::{quoted, results, string, value_names};
use crate::attr::Attr;
use crate::dim::Range;
use crate::graph::{NodeKind, Parameter, Relation};
use crate::{DType, Graph, Module, Tensor, TensorType, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What to print beside the program itself.
#[derive(Clone, Copy, Default, Debug)]
pub struct PrintOptions {
    /// Where each operator came from: `from "Conv /layer1"`. Equality of graphs ignores it.
    pub origins: bool,
}

/// A program as text, and the tensors that the text names by digest.
#[derive(Clone, Debug)]
pub struct Printed {
    /// The text.
    pub text: String,
    /// The large tensors beside it.
    pub constants: ConstantTable,
}

/// Prints a module.
pub fn print_module(module: &Module, options: PrintOptions) -> Printed {
    let mut printer = Printer::new(options, Some(&module.parameters));
    printer.module(module);
    printer.finish()
}

/// Prints one graph: `graph (%x: f32[4]) { … }`.
pub fn print_graph(graph: &Graph, options: PrintOptions) -> Printed {
    let mut printer = Printer::new(options, None);
    printer.out.push_str("graph ");
    printer.graph(graph);
    printer.out.push('\n');
    printer.finish()
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_graph(self, PrintOptions::default()).text)
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_module(self, PrintOptions::default()).text)
    }
}

struct Printer<'a> {
    out: String,
    indent: usize,
    options: PrintOptions,
    constants: ConstantTable,
    /// Parameters that may stand for themselves, without a statement.
    declared: Option<&'a BTreeMap<String, Parameter>>,
}

impl<'a> Printer<'a> {
    fn new(options: PrintOptions, declared: Option<&'a BTreeMap<String, Parameter>>) -> Printer<'a> {
        Printer { out: String::new(), indent: 0, options, constants: ConstantTable::new(), declared }
    }

    fn finish(self) -> Printed {
        Printed { text: self.out, constants: self.constants }
    }

    fn line(&mut self) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n("  ", self.indent));
    }

    fn module(&mut self, module: &Module) {
        self.out.push_str(&format!("module {} {{", quoted(&module.name)));
        self.indent += 1;
        for (key, text) in &module.metadata {
            self.line();
            self.out.push_str(&format!("metadata {} = {}", quoted(key), string(text)));
        }
        for (name, parameter) in &module.parameters {
            self.line();
            self.out.push_str(&format!("parameter {}: {}", quoted(name), parameter.ty));
            if let Some(value) = &parameter.value {
                self.out.push_str(" = ");
                // The declared type is the parameter's; a value of another type would not read back as what it is.
                if value.ty() != parameter.ty {
                    self.out.push_str(&format!("{} ", value.ty()));
                }
                self.literal(value);
            }
        }
        for (name, graph) in &module.functions {
            self.line();
            self.out.push_str(&format!("fn {}", quoted(name)));
            self.graph(graph);
        }
        self.indent -= 1;
        self.line();
        self.out.push_str("}\n");
    }

    /// From the inputs to the closing brace.
    fn graph(&mut self, graph: &Graph) {
        let inputs: Vec<String> = graph.inputs().iter().map(|(n, v)| format!("%{}: {}", quoted(n), graph.ty(*v))).collect();
        self.out.push_str(&format!("({})", inputs.join(", ")));
        self.symbols(graph);
        self.out.push_str(" {");
        self.indent += 1;
        for guard in &graph.guards {
            let relation = match guard.relation {
                Relation::Equal => "=",
                Relation::AtMost => "<=",
                Relation::Broadcasts => "broadcasts",
            };
            self.line();
            self.out.push_str(&format!("guard {} {relation} {} for {}", guard.left, guard.right, string(&guard.why)));
        }
        let names = value_names(graph);
        for id in graph.order() {
            self.node(graph, id, &names);
        }
        self.line();
        self.out.push_str("return");
        for (position, (name, value)) in graph.outputs().iter().enumerate() {
            self.out.push_str(if position == 0 { " " } else { ", " });
            let label = format!("%{}", quoted(name));
            if names[value] == label {
                self.out.push_str(&label);
            } else {
                self.out.push_str(&format!("{}: {}", quoted(name), names[value]));
            }
        }
        self.indent -= 1;
        self.line();
        self.out.push('}');
    }

    /// `where`: symbols of which more is known than that an input has them.
    fn symbols(&mut self, graph: &Graph) {
        let of_inputs: BTreeSet<_> = graph.inputs().iter().flat_map(|(_, v)| &graph.ty(*v).shape).flat_map(|d| d.symbols()).collect();
        let stated = graph.symbols.iter().filter(|(s, range)| *range != Range::SIZE || !of_inputs.contains(s));
        let text: Vec<String> = stated
            .map(|(symbol, range)| match range.max {
                i64::MAX => format!("{symbol} in {}..", range.min),
                max => format!("{symbol} in {}..={max}", range.min),
            })
            .collect();
        if !text.is_empty() {
            self.out.push_str(&format!(" where {}", text.join(", ")));
        }
    }

    fn node(&mut self, graph: &Graph, id: crate::NodeId, names: &BTreeMap<Value, String>) {
        let node = graph.node(id);
        let first = Value { node: id, result: 0 };
        match &node.kind {
            NodeKind::Input(_) => {}
            NodeKind::Parameter(name) => {
                let declared = self.declared.and_then(|d| d.get(&**name)).is_some_and(|p| p.ty == node.types[0]);
                if !(declared && names[&first] == format!("%{}", quoted(name))) {
                    self.line();
                    self.out.push_str(&format!("{} = parameter {} : {}", names[&first], quoted(name), node.types[0]));
                }
            }
            NodeKind::Constant(tensor) => {
                self.line();
                self.out.push_str(&format!("{} = const {} ", names[&first], tensor.ty()));
                self.literal(tensor);
            }
            NodeKind::Op(op) => {
                self.line();
                let list = |values: &mut dyn Iterator<Item = Value>| values.map(|v| names[&v].as_str()).collect::<Vec<_>>().join(", ");
                self.out.push_str(&format!("{} = {}", list(&mut results(graph, id)), op.name()));
                if !node.inputs.is_empty() {
                    self.out.push_str(&format!(" {}", list(&mut node.inputs.iter().copied())));
                }
                let attributes = op.to_attrs();
                if !attributes.is_empty() {
                    self.out.push_str(" {");
                    for (position, (name, attribute)) in attributes.iter().enumerate() {
                        self.out.push_str(&format!("{}{name} = ", if position == 0 { "" } else { ", " }));
                        self.attribute(attribute);
                    }
                    self.out.push('}');
                }
                let types: Vec<String> = node.types.iter().map(TensorType::to_string).collect();
                self.out.push_str(&format!(" : {}", types.join(", ")));
                if let (true, Some(origin)) = (self.options.origins, &node.origin) {
                    self.out.push_str(&format!(" from {}", string(&origin.text)));
                }
            }
        }
    }

    fn attribute(&mut self, attribute: &Attr) {
        match attribute {
            Attr::Dim(d) => self.out.push_str(&d.to_string()),
            Attr::Real(r) => self.out.push_str(&print_float(DType::F64, r.to_bits())),
            Attr::Bool(b) => self.out.push_str(&b.to_string()),
            Attr::Word(w) => self.out.push_str(w),
            Attr::List(items) => {
                self.out.push('[');
                for (position, item) in items.iter().enumerate() {
                    self.out.push_str(if position == 0 { "" } else { ", " });
                    self.attribute(item);
                }
                self.out.push(']');
            }
            Attr::Graph(graph) => {
                // Regions are closed: nothing of the module is visible inside.
                let declared = self.declared.take();
                self.out.push_str("graph ");
                self.graph(graph);
                self.declared = declared;
            }
        }
    }

    /// The value of a tensor whose type has been printed.
    fn literal(&mut self, tensor: &Tensor) {
        if tensor.elements() > INLINE_ELEMENTS {
            let digest = self.constants.insert(tensor);
            self.out.push_str(&format!("@{digest}"));
        } else if tensor.rank() == 0 {
            self.out.push_str(&print_elements(tensor).concat());
        } else {
            self.out.push_str(&format!("[{}]", print_elements(tensor).join(", ")));
        }
    }
}
