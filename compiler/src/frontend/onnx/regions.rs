//! Regions: graphs of their own inside a node, which get what they read of the graph around them as operands.
//!
//! While a region is imported, the graph around it is set aside. Operands remember at which depth they were made; one from further out
//! becomes an input of the region when it is first read as data, and the node that holds the region is given it. Constants are
//! repeated inside.

use super::import::Importer;
use super::operand::OperandId;
use kiln_ir::graph::Origin;
use kiln_ir::ops::Scan;
use kiln_ir::{DType, Diagnostic, Dim, Graph, NodeKind, Ranges, Symbol, TensorType, Value, ops};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A region that is being imported.
pub(super) struct OpenRegion {
    /// The graph around it.
    outer: Graph,
    /// Operands from outside, as values of the region.
    inside: HashMap<OperandId, Value>,
    /// Those of them that its node must be given, in the order of the region's inputs.
    captured: Vec<OperandId>,
}

/// What a loop goes over: values that it hands on from step to step, and tensors of which each step sees a slice.
pub(super) struct Turns {
    /// First values, with the names they bear inside.
    pub carried: Vec<(String, Value)>,
    /// Tensors `[steps, ..]`, with the names that their slices bear inside.
    pub scanned: Vec<(String, Value)>,
    /// Whether the last slice comes first.
    pub reverse: bool,
}

impl Importer<'_> {
    /// A `scan`. `body` imports one step: from the carried values and the slices it makes the carried values of the next step, then
    /// slices of the results. All results, carried values first.
    ///
    /// Errors: those of `body`; `onnx_rank` of what has no axis; `onnx_unsupported` when a carried value changes its type.
    pub(super) fn scan(
        &mut self,
        turns: &Turns,
        origin: &Arc<Origin>,
        body: impl FnOnce(&mut Self, &[Value]) -> Result<Vec<(String, Value)>, Diagnostic>,
    ) -> Result<Vec<Value>, Diagnostic> {
        let mut operands = Vec::new();
        let mut region = Graph::new();
        region.symbols = self.graph.symbols.clone();
        let mut inputs = Vec::new();
        for (position, (name, value)) in turns.carried.iter().chain(&turns.scanned).enumerate() {
            let mut ty = self.graph.ty(*value).clone();
            if position >= turns.carried.len() {
                if ty.shape.is_empty() {
                    return Err(Diagnostic::new("onnx_rank", format!("{ty} has no axis to scan")));
                }
                ty.shape.remove(0);
            }
            operands.push(*value);
            inputs.push(region.add_input(name.clone(), ty));
        }
        let outer = std::mem::replace(&mut self.graph, region);
        self.regions.push(OpenRegion { outer, inside: HashMap::new(), captured: Vec::new() });
        let results = body(self, &inputs)?;
        for ((name, first), (_, next)) in turns.carried.iter().zip(&results) {
            let (first, next) = (self.regions[self.regions.len() - 1].outer.ty(*first), self.graph.ty(*next));
            if !may_be_equal(first, next, &self.graph.symbols) {
                let what = format!("the carried value \"{name}\" is {first} at first and {next} after a step: values whose type changes");
                return Err(Diagnostic::new("onnx_unsupported", format!("{what} are not supported")));
            }
        }
        results.into_iter().for_each(|(name, value)| self.graph.add_output(name, value));
        let (body, captured) = self.close_region()?;
        operands.extend(captured);
        let op = Scan { body: Arc::new(body), carried: turns.carried.len(), scanned: turns.scanned.len(), reverse: turns.reverse };
        self.graph.add(op.into(), &operands, Some(origin.clone())).map_err(|e| Diagnostic::new(e.label, format!("scan: {}", e.message)))
    }

    /// Ends the innermost region: its graph, and what its node must be given beside what the region began with.
    fn close_region(&mut self) -> Result<(Graph, Vec<Value>), Diagnostic> {
        let OpenRegion { outer, captured, .. } = self.regions.pop().expect("import: no region is open");
        let mut region = std::mem::replace(&mut self.graph, outer);
        let mut operands = captured.into_iter().map(|id| self.materialise(id)).collect::<Result<Vec<_>, _>>()?;
        let ranges = std::mem::take(&mut region.symbols);
        for symbol in used_symbols(&region) {
            region.symbols.set(symbol.clone(), ranges.of_symbol(&symbol));
            let size = Dim::from(symbol.clone());
            let defined = region.inputs().iter().any(|(_, v)| region.ty(*v).shape.contains(&size));
            if !defined {
                // A region takes the values of its symbols from its inputs.
                let op = ops::Iota { shape: vec![size.clone()], axis: 0, dtype: DType::I64 };
                let sized = self.graph.add(op.into(), &[], None).map_err(|e| Diagnostic::new(e.label, e.message))?[0];
                region.add_input(input_name(&region, symbol.name()), TensorType::new(DType::I64, vec![size]));
                operands.push(sized);
            }
        }
        Ok((region, operands))
    }

    /// The value inside the innermost region of an operand that was made outside of it.
    pub(super) fn captured(&mut self, id: OperandId) -> Result<Value, Diagnostic> {
        let depth = self.regions.len() - 1;
        if let Some(value) = self.regions[depth].inside.get(&id) {
            return Ok(*value);
        }
        let operand = self.operand(id);
        let value = match &operand.constant {
            Some(tensor) if operand.value.is_none() => {
                let tensor = tensor.clone();
                self.graph.add_constant(tensor)
            }
            _ => {
                let ty = operand.ty.clone();
                let name = input_name(&self.graph, &format!("captured{}", self.regions[depth].captured.len()));
                self.regions[depth].captured.push(id);
                self.graph.add_input(name, ty)
            }
        };
        self.regions[depth].inside.insert(id, value);
        Ok(value)
    }

    /// The name of the parameter that a value is, in a region the one that it captures.
    pub(super) fn parameter_name(&self, value: Value) -> Option<String> {
        let (graph, value) = match self.regions.split_first() {
            None => (&self.graph, value),
            Some((outermost, _)) => {
                let inside = &self.regions[self.regions.len() - 1].inside;
                let (id, _) = inside.iter().find(|(_, v)| **v == value)?;
                let operand = self.operand(*id);
                (&outermost.outer, operand.value.filter(|_| operand.depth == 0)?)
            }
        };
        match &graph.node(value.node).kind {
            NodeKind::Parameter(name) => Some(name.to_string()),
            _ => None,
        }
    }

    /// The graph that refers to parameters, which regions cannot.
    pub(super) fn outermost(&mut self) -> &mut Graph {
        match self.regions.first_mut() {
            Some(region) => &mut region.outer,
            None => &mut self.graph,
        }
    }
}

/// False where a type is certainly another one.
fn may_be_equal(a: &TensorType, b: &TensorType, ranges: &Ranges) -> bool {
    let equal = |(a, b)| ranges.provably_equal(a, b) != kiln_ir::Proof::No;
    a.dtype == b.dtype && a.rank() == b.rank() && a.shape.iter().zip(&b.shape).all(equal)
}

/// `name`, with as many apostrophes behind it as make it differ from all inputs.
fn input_name(graph: &Graph, name: &str) -> String {
    let mut name = name.to_string();
    while graph.inputs().iter().any(|(other, _)| *other == name) {
        name.push('\'');
    }
    name
}

/// Symbols in types, attributes and guards, regions inside included.
fn used_symbols(graph: &Graph) -> BTreeSet<Symbol> {
    let mut used = BTreeSet::new();
    let mut note = |dim: &Dim| used.extend(dim.symbols());
    for id in graph.order() {
        let node = graph.node(id);
        node.types.iter().flat_map(|ty| &ty.shape).for_each(&mut note);
        if let NodeKind::Op(op) = &node.kind {
            op.clone().map_dims(&mut |dim| {
                note(dim);
                dim.clone()
            });
        }
    }
    graph.guards.iter().flat_map(|guard| [&guard.left, &guard.right]).for_each(note);
    used
}
