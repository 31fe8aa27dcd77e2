//! Turns the examples of the operator table into programs with inputs, at several values of their symbols.

use crate::samples::{self, Fill, Random};
use kiln_ir::ops::{Example, Meaning};
use kiln_ir::{Builder, Dim, Graph, Op, Symbol, Tensor, Value};
use std::collections::{BTreeMap, BTreeSet};

/// An operator applied to the inputs of a function, every result an output.
pub struct Instance {
    /// Name of the operator.
    pub name: &'static str,
    /// The example it comes from.
    pub example: Example,
    /// The function; symbols that no input defines are constants.
    pub graph: Graph,
    /// Values of the symbols.
    pub symbols: BTreeMap<Symbol, i64>,
}

/// The function that applies the example's operator to its operands as they are, symbols and all.
///
/// Errors: the type rule's label and text.
pub fn function(example: &Example) -> Result<Graph, (&'static str, String)> {
    let mut graph = Graph::new();
    let inputs = add_inputs(&mut graph, example);
    let results = graph.add(example.op.clone(), &inputs, None).map_err(|e| (e.label, e.message))?;
    add_outputs(&mut graph, &results);
    Ok(graph)
}

/// The same function made of the operator's expansion; `None` for a primitive.
pub fn expanded(example: &Example) -> Option<Graph> {
    let mut graph = Graph::new();
    let inputs = add_inputs(&mut graph, example);
    match example.op.expand(&mut Builder::new(&mut graph), &inputs) {
        Meaning::Primitive => None,
        Meaning::Composite(results) => {
            add_outputs(&mut graph, &results);
            Some(graph)
        }
    }
}

/// Whether an operator is made of simpler ones.
pub fn is_composite(op: &Op, operands: &[Tensor]) -> bool {
    let mut graph = Graph::new();
    let inputs: Vec<Value> = operands.iter().enumerate().map(|(i, x)| graph.add_input(format!("x{i}"), x.ty())).collect();
    matches!(op.expand(&mut Builder::new(&mut graph), &inputs), Meaning::Composite(_))
}

fn add_inputs(graph: &mut Graph, example: &Example) -> Vec<Value> {
    example.inputs.iter().enumerate().map(|(i, ty)| graph.add_input(format!("x{i}"), ty.clone())).collect()
}

fn add_outputs(graph: &mut Graph, results: &[Value]) {
    for (i, value) in results.iter().enumerate() {
        graph.add_output(format!("y{i}"), *value);
    }
}

/// Every accepted example of every operator, at each of several sizes: 0, 1, odd ones, and ones that differ between symbols.
pub fn all() -> Vec<Instance> {
    let mut instances = Vec::new();
    for (name, example) in Op::all_examples() {
        if example.rejected.is_some() {
            continue;
        }
        let graph = function(&example).unwrap_or_else(|(label, message)| panic!("{name} {:?}: {message} ({label})", example.inputs));
        for symbols in sizes(&example) {
            instances.push(Instance { name, graph: bind_undefined(&graph, &symbols), example: example.clone(), symbols });
        }
    }
    instances
}

/// Values of an example's symbols to try; one empty assignment if it has none.
pub fn sizes(example: &Example) -> Vec<BTreeMap<Symbol, i64>> {
    let mut symbols: BTreeSet<Symbol> = example.inputs.iter().flat_map(|ty| &ty.shape).flat_map(Dim::symbols).collect();
    example.op.clone().map_dims(&mut |d| {
        symbols.extend(d.symbols());
        d.clone()
    });
    if symbols.is_empty() {
        return vec![BTreeMap::new()];
    }
    let assign = |value: &dyn Fn(usize) -> i64| symbols.iter().enumerate().map(|(i, s)| (s.clone(), value(i))).collect();
    vec![assign(&|_| 0), assign(&|_| 1), assign(&|_| 5), assign(&|_| 8), assign(&|i| 3 + i as i64)]
}

/// Replaces symbols that no input's type is, alone, on some axis.
pub fn bind_undefined(graph: &Graph, symbols: &BTreeMap<Symbol, i64>) -> Graph {
    let defined: BTreeSet<&Symbol> = graph.inputs().iter().flat_map(|(_, v)| &graph.ty(*v).shape).filter_map(Dim::as_symbol).collect();
    graph.map_dims(&mut |d| d.substitute(&|s| if defined.contains(s) { None } else { symbols.get(s).map(|v| Dim::from(*v)) }))
}

impl Instance {
    /// Operands filled with such values.
    pub fn inputs(&self, fill: Fill, random: &mut Random) -> Vec<Tensor> {
        let shapes = self.example.inputs.iter().map(|ty| self.sizes_of(&ty.shape));
        let operands = self.example.inputs.iter().zip(&self.example.values).zip(shapes);
        operands.map(|((ty, interval), shape)| samples::tensor(ty.dtype, &shape, fill, *interval, random)).collect()
    }

    /// Random numbers of its own, which stay when other operators come and go.
    pub fn random(&self) -> Random {
        // FNV-1a.
        let seed = self.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Random::new(seed)
    }

    /// Dims as sizes under the instance's symbol values.
    pub fn sizes_of(&self, shape: &[Dim]) -> Vec<usize> {
        let size = |d: &Dim| d.evaluate(&|s| self.symbols.get(s).copied()).and_then(|v| usize::try_from(v).ok());
        shape.iter().map(|d| size(d).unwrap_or_else(|| panic!("{self}: {d} is not a size"))).collect()
    }

    /// Whether the sizes satisfy the conditions that the type rule left to run time.
    pub fn guards_hold(&self) -> bool {
        self.graph.guards.iter().all(|g| g.holds(&|s| self.symbols.get(s).copied()) == Some(true))
    }
}

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let types: Vec<String> = self.example.inputs.iter().map(ToString::to_string).collect();
        let symbols: Vec<String> = self.symbols.iter().map(|(s, v)| format!("{s} = {v}")).collect();
        let attributes: Vec<String> = self.example.op.to_attrs().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        write!(f, "{} {{{}}} ({}) [{}]", self.name, attributes.join(", "), types.join(", "), symbols.join(", "))
    }
}
