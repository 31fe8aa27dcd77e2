//! Values, constants and nodes of a file under way. Constants and repeated values are written when something needs them.

use crate::frontend::onnx::proto::{AttributeProto, NodeProto, TensorProto, attribute_type};
use crate::frontend::onnx::tensor::data_type;
use kiln_ir::dim::Symbol;
use kiln_ir::graph::Parameter;
use kiln_ir::{Diagnostic, Dim, Graph, Module, Ranges, Tensor, TensorType};
use std::collections::{BTreeMap, BTreeSet};

/// What one file of protobuf can hold.
const MAX_BYTES: usize = (1 << 31) - (1 << 20);

/// A value of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand(usize);

struct Slot {
    ty: TensorType,
    /// Its name, once it is written.
    name: Option<String>,
    source: Source,
}

#[derive(Clone)]
enum Source {
    /// A node's result, or an input.
    Written,
    Constant(Tensor, Option<String>),
    Repeated(Operand, Vec<Dim>),
}

/// See the head of this file.
pub struct Writer<'m> {
    parameters: &'m BTreeMap<String, Parameter>,
    by_parameter: BTreeMap<String, Operand>,
    slots: Vec<Slot>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    names: BTreeSet<String>,
    /// What is known of open sizes.
    pub(super) ranges: &'m Ranges,
    /// Inputs and axes that have each size.
    pub(super) symbols: BTreeMap<Symbol, (String, usize)>,
    /// Lists of integers and sizes that are written, by their text.
    pub(super) sizes: BTreeMap<String, String>,
    /// Values that are outputs.
    given: BTreeSet<String>,
    fresh: usize,
}

impl<'m> Writer<'m> {
    /// For the function `graph` of a module.
    pub fn new(module: &'m Module, graph: &'m Graph) -> Writer<'m> {
        let mut symbols = BTreeMap::new();
        for (name, value) in graph.inputs() {
            for (axis, dim) in graph.ty(*value).shape.iter().enumerate() {
                if let Some(symbol) = dim.as_symbol() {
                    symbols.entry(symbol.clone()).or_insert((name.clone(), axis));
                }
            }
        }
        let names = graph.inputs().iter().chain(graph.outputs()).map(|(name, _)| name.clone()).collect();
        Writer {
            parameters: &module.parameters,
            by_parameter: BTreeMap::new(),
            slots: Vec::new(),
            nodes: Vec::new(),
            initializers: Vec::new(),
            names,
            ranges: &graph.symbols,
            symbols,
            sizes: BTreeMap::new(),
            given: BTreeSet::new(),
            fresh: 0,
        }
    }

    fn add(&mut self, ty: TensorType, name: Option<String>, source: Source) -> Operand {
        self.slots.push(Slot { ty, name, source });
        Operand(self.slots.len() - 1)
    }

    /// An input of the file.
    pub fn input(&mut self, name: &str, ty: &TensorType) -> Operand {
        self.add(ty.clone(), Some(name.to_owned()), Source::Written)
    }

    /// The result of a node, by its name.
    pub fn written(&mut self, name: String, ty: &TensorType) -> Operand {
        self.add(ty.clone(), Some(name), Source::Written)
    }

    /// A parameter of the module. Errors: `export_parameter` when it has no value.
    pub fn parameter(&mut self, name: &str) -> Result<Operand, Diagnostic> {
        if let Some(operand) = self.by_parameter.get(name) {
            return Ok(*operand);
        }
        let value = self.parameters.get(name).and_then(|parameter| parameter.value.clone());
        let tensor = value.ok_or_else(|| Diagnostic::new("export_parameter", format!("parameter `{name}` has no value")))?;
        let operand = self.add(tensor.ty(), None, Source::Constant(tensor, Some(name.to_owned())));
        self.by_parameter.insert(name.to_owned(), operand);
        Ok(operand)
    }

    /// A constant.
    pub fn constant(&mut self, tensor: Tensor) -> Operand {
        self.add(tensor.ty(), None, Source::Constant(tensor, None))
    }

    /// A value repeated to a shape.
    pub fn repeated(&mut self, x: Operand, shape: &[Dim]) -> Operand {
        let ty = TensorType::new(self.ty(x).dtype, shape.to_vec());
        self.add(ty, None, Source::Repeated(x, shape.to_vec()))
    }

    /// The type of a value.
    pub fn ty(&self, x: Operand) -> &TensorType {
        &self.slots[x.0].ty
    }

    /// The tensor that a value is, if that is known now.
    pub fn tensor(&self, x: Operand) -> Option<&Tensor> {
        match &self.slots[x.0].source {
            Source::Constant(tensor, _) => Some(tensor),
            Source::Written | Source::Repeated(..) => None,
        }
    }

    /// What a value repeats, if it does.
    pub fn repeats(&self, x: Operand) -> Option<Operand> {
        match &self.slots[x.0].source {
            Source::Repeated(source, _) => Some(*source),
            Source::Written | Source::Constant(..) => None,
        }
    }

    /// The name of a value, which is written now at the latest. Errors: sizes that no input has.
    pub fn name(&mut self, x: Operand) -> Result<String, Diagnostic> {
        if let Some(name) = &self.slots[x.0].name {
            return Ok(name.clone());
        }
        let name = match self.slots[x.0].source.clone() {
            Source::Constant(tensor, name) => self.initializer(&tensor, name.as_deref().unwrap_or("constant")),
            Source::Repeated(source, shape) => {
                let (source, shape) = (self.name(source)?, self.sizes(&shape)?);
                self.node("Expand", &[source, shape], vec![])
            }
            Source::Written => unreachable!("results of nodes have names from the beginning"),
        };
        self.slots[x.0].name = Some(name.clone());
        Ok(name)
    }

    /// Writes a constant; a name like that is its own.
    pub fn initializer(&mut self, tensor: &Tensor, like: &str) -> String {
        let name = self.unique(like);
        self.initializers.push(TensorProto {
            name: name.clone(),
            dims: tensor.shape().iter().map(|size| *size as i64).collect(),
            data_type: data_type(tensor.dtype()),
            raw_data: tensor.bytes().to_vec().into(),
            ..TensorProto::default()
        });
        name
    }

    /// A list of integers as a value.
    pub fn integers(&mut self, values: &[i64]) -> String {
        let text = format!("{values:?}");
        if let Some(name) = self.sizes.get(&text) {
            return name.clone();
        }
        let name = self.initializer(&Tensor::i64(&[values.len()], values), "sizes");
        self.sizes.insert(text, name.clone());
        name
    }

    fn unique(&mut self, like: &str) -> String {
        let mut name = like.to_owned();
        while !self.names.insert(name.clone()) {
            self.fresh += 1;
            name = format!("{like}_{}", self.fresh);
        }
        name
    }

    /// Writes a node of one result, and gives its name.
    pub fn node(&mut self, op: &str, inputs: &[String], attributes: Vec<AttributeProto>) -> String {
        let name = self.unique(&op.to_lowercase());
        self.push(op, inputs.to_vec(), vec![name.clone()], attributes);
        name
    }

    /// Lets a value be an output of the file, under that name.
    pub fn output(&mut self, x: Operand, name: &str) -> Result<(), Diagnostic> {
        let written = self.name(x)?;
        let is_result = self.nodes.iter().any(|node| node.output.contains(&written));
        let is_output = !self.given.insert(written.clone());
        if is_result && !is_output {
            let places = self.nodes.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output));
            places.filter(|place| **place == written).for_each(|place| *place = name.to_owned());
            self.slots[x.0].name = Some(name.to_owned());
            self.given.insert(name.to_owned());
        } else {
            self.push("Identity", vec![written], vec![name.to_owned()], Vec::new());
        }
        Ok(())
    }

    /// Writes the node of an operator, whose results have these types.
    pub fn results(&mut self, op: &str, inputs: Vec<String>, attributes: Vec<AttributeProto>, types: &[TensorType]) -> Vec<Operand> {
        let names: Vec<String> = types.iter().map(|_| self.unique(&op.to_lowercase())).collect();
        self.push(op, inputs, names.clone(), attributes);
        types.iter().zip(names).map(|(ty, name)| self.add(ty.clone(), Some(name), Source::Written)).collect()
    }

    /// The same of an operator whose operands are written as they are.
    pub fn plain(
        &mut self,
        op: &str,
        x: &[Operand],
        attributes: Vec<AttributeProto>,
        types: &[TensorType],
    ) -> Result<Option<Vec<Operand>>, Diagnostic> {
        let inputs = x.iter().map(|x| self.name(*x)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(self.results(op, inputs, attributes, types)))
    }

    fn push(&mut self, op: &str, input: Vec<String>, output: Vec<String>, attribute: Vec<AttributeProto>) {
        let name = format!("{op}_{}", self.nodes.len());
        self.nodes.push(NodeProto { input, output, name, op_type: op.to_owned(), attribute, ..NodeProto::default() });
    }

    /// The nodes and constants. Errors: `export_large`.
    pub fn finish(self) -> Result<(Vec<NodeProto>, Vec<TensorProto>), Diagnostic> {
        let bytes: usize = self.initializers.iter().map(|tensor| tensor.raw_data.len()).sum();
        if bytes > MAX_BYTES {
            let error = Diagnostic::new("export_large", format!("the weights are {bytes} bytes, and one ONNX file holds 2 GiB"));
            return Err(error.help("weights in files of their own are not written; a smaller type is: `dtype = \"bf16\"`"));
        }
        Ok((self.nodes, self.initializers))
    }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), kind, ..AttributeProto::default() }
}

/// An integer.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: value, ..attribute(name, attribute_type::INT) }
}

/// Integers.
pub fn ints(name: &str, values: impl IntoIterator<Item = i64>) -> AttributeProto {
    AttributeProto { ints: values.into_iter().collect(), ..attribute(name, attribute_type::INTS) }
}

/// A number.
pub fn float(name: &str, value: f64) -> AttributeProto {
    AttributeProto { f: value as f32, ..attribute(name, attribute_type::FLOAT) }
}

/// Numbers.
pub fn floats(name: &str, values: impl IntoIterator<Item = f64>) -> AttributeProto {
    AttributeProto { floats: values.into_iter().map(|value| value as f32).collect(), ..attribute(name, attribute_type::FLOATS) }
}

/// A word.
pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: value.as_bytes().to_vec().into(), ..attribute(name, attribute_type::STRING) }
}

/// Words.
pub fn texts<'t>(name: &str, values: impl IntoIterator<Item = &'t str>) -> AttributeProto {
    let strings = values.into_iter().map(|value| value.as_bytes().to_vec().into()).collect();
    AttributeProto { strings, ..attribute(name, attribute_type::STRINGS) }
}
