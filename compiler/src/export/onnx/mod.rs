//! A module as an ONNX model, weights included.
//!
//! Operators that ONNX has are written as such, the others as what they are made of; what is left then has no spelling and is told by
//! name. Sizes that are open are computed in the file from the shapes of its inputs.
//!
//! Reading order: [`writer`] (values and nodes), `sizes`, then operators by family: `elements`, `movement`, `products`, `windows`,
//! `reductions`, `recurrent`.

mod elements;
mod movement;
mod products;
mod recurrent;
mod reductions;
mod sizes;
mod windows;
mod writer;

use crate::frontend::onnx::proto::{
    DimensionProto, DimensionValue, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TensorTypeProto,
    TypeProto, TypeValue, ValueInfoProto,
};
use crate::frontend::onnx::tensor::data_type;
use kiln_ir::graph::Node;
use kiln_ir::ops::{Meaning, Op};
use kiln_ir::{Builder, Diagnostic, Dim, Graph, Module, NodeKind, TensorType, Value};
use std::collections::{BTreeMap, BTreeSet};
use writer::{Operand, Writer};

/// The operator set that files are written in: the first with group normalisation for each channel.
pub const OPSET: i64 = 21;
/// The version of the file format that came with it.
const IR_VERSION: i64 = 10;

/// What a family of operators says to one of them: its results, or nothing if it is another family's or is made of simpler ones.
type Spelled = Result<Option<Vec<Operand>>, Diagnostic>;

/// Writes the function that predicts as a model.
///
/// Errors: `export_operator` for operators that have no spelling in ONNX; `export_size` for sizes that no input has; `export_parameter`
/// for parameters without values; `export_large` for weights beyond what one file can hold.
pub fn export(module: &Module) -> Result<ModelProto, Diagnostic> {
    let graph = module.predict().map_err(|error| Diagnostic::new("no_function", error))?;
    let mut writer = Writer::new(module, graph);
    let mut operands = BTreeMap::new();
    write(&mut writer, graph, &mut operands)?;
    for (name, value) in graph.outputs() {
        writer.output(operands[value], name)?;
    }
    let (nodes, mut initializers) = writer.finish()?;
    // A constant may have got its name for a spelling that then did without it.
    let used: BTreeSet<&String> = nodes.iter().flat_map(|node| &node.input).chain(graph.outputs().iter().map(|(name, _)| name)).collect();
    initializers.retain(|tensor| used.contains(&tensor.name));
    let graph = GraphProto {
        name: module.name.clone(),
        node: nodes,
        initializer: initializers,
        input: graph.inputs().iter().map(|(name, value)| declared(name, graph.ty(*value))).collect(),
        output: graph.outputs().iter().map(|(name, value)| declared(name, graph.ty(*value))).collect(),
        ..GraphProto::default()
    };
    Ok(ModelProto {
        ir_version: IR_VERSION,
        producer_name: "kiln".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(Box::new(graph)),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: module
            .metadata
            .iter()
            .map(|(key, value)| StringStringEntryProto { key: key.clone(), value: value.clone() })
            .collect(),
        ..ModelProto::default()
    })
}

/// Writes the nodes of a graph, of which the inputs may be known already.
fn write(writer: &mut Writer, graph: &Graph, operands: &mut BTreeMap<Value, Operand>) -> Result<(), Diagnostic> {
    for id in graph.order() {
        let node = graph.node(id);
        let first = Value { node: id, result: 0 };
        if operands.contains_key(&first) {
            continue;
        }
        let results = match &node.kind {
            NodeKind::Input(at) => vec![writer.input(&graph.inputs()[*at].0, graph.ty(first))],
            NodeKind::Parameter(name) => vec![writer.parameter(name)?],
            NodeKind::Constant(tensor) => vec![writer.constant(tensor.clone())],
            NodeKind::Op(op) => {
                let x: Vec<Operand> = node.inputs.iter().map(|value| operands[value]).collect();
                operator(writer, graph, node, op, &x)?
            }
        };
        operands.extend(results.into_iter().zip(0..).map(|(operand, result)| (Value { node: id, result }, operand)));
    }
    Ok(())
}

/// Writes one operator, or what it is made of.
fn operator(writer: &mut Writer, graph: &Graph, node: &Node, op: &Op, x: &[Operand]) -> Result<Vec<Operand>, Diagnostic> {
    let told = |error: Diagnostic| match &node.origin {
        Some(origin) => error.at(origin.text.clone(), "from here"),
        None => error,
    };
    let families = [
        elements::spell as fn(&mut Writer, &Op, &[Operand], &[TensorType]) -> Spelled,
        movement::spell,
        products::spell,
        windows::spell,
        reductions::spell,
        recurrent::spell,
    ];
    for family in families {
        if let Some(results) = family(writer, op, x, &node.types).map_err(told)? {
            return Ok(results);
        }
    }
    let mut parts = Graph::new();
    parts.symbols = graph.symbols.clone();
    let inputs: Vec<Value> = x.iter().enumerate().map(|(at, x)| parts.add_input(at.to_string(), writer.ty(*x).clone())).collect();
    let Meaning::Composite(results) = op.expand(&mut Builder::new(&mut parts), &inputs) else {
        return Err(told(unspelled(op, "")));
    };
    let mut operands: BTreeMap<Value, Operand> = inputs.into_iter().zip(x.iter().copied()).collect();
    results.iter().zip(0..).for_each(|(value, at)| parts.add_output(format!("{at}"), *value));
    write(writer, &parts, &mut operands).map_err(told)?;
    Ok(results.iter().map(|value| operands[value]).collect())
}

/// What has no spelling, or has none with what `with` says.
fn unspelled(op: &Op, with: &str) -> Diagnostic {
    let with = if with.is_empty() { String::new() } else { format!(" with {with}") };
    let error = Diagnostic::new("export_operator", format!("`{}`{with} cannot be written in ONNX", op.name()));
    error.help("`kiln compile --emit obj|lib|shared` gives it to other programs as machine code")
}

fn declared(name: &str, ty: &TensorType) -> ValueInfoProto {
    let dim = |dim: &Dim| {
        let value = match (dim.as_const(), dim.as_symbol()) {
            (Some(size), _) => Some(DimensionValue::Size(size)),
            (_, Some(symbol)) => Some(DimensionValue::Name(symbol.name().to_owned())),
            (None, None) => None,
        };
        DimensionProto { value }
    };
    let shape = TensorShapeProto { dim: ty.shape.iter().map(dim).collect() };
    let tensor = TensorTypeProto { elem_type: data_type(ty.dtype), shape: Some(shape) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(Box::new(TypeProto { value: Some(TypeValue::Tensor(tensor)) })) }
}
