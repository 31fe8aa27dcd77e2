//! Walks a model's graph and builds the module.

use super::attributes::Attributes;
use super::context::{Context, check_size};
use super::external::ExternalFiles;
use super::functions::{Function, Functions};
use super::inputs::InputSizes;
use super::load::{Model, canonical_domain, load};
use super::operand::{KnownInts, Operand, OperandId};
use super::order::{describe, needed_nodes};
use super::proto::{GraphProto, NodeProto, TensorProto};
use super::regions::OpenRegion;
use super::registry;
use super::sizes::with_equal_sizes;
use super::symbolic::ShapeNode;
use super::tensor::TensorData;
use crate::frontend::model::STATISTIC;
use kiln_ir::graph::{Origin, Parameter};
use kiln_ir::ops;
use kiln_ir::{DType, Diagnostic, Graph, Module, Tensor, TensorType, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// How to read a model.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// Makes every size of every input symbolic (`x_0`, `x_1`, …), whatever the model declares.
    pub dynamic: bool,
    /// Sizes by the name the model gives them, or by `INPUT_AXIS` for those without a name.
    pub dims: BTreeMap<String, i64>,
    /// Inputs whose value is known now; they become constants and are inputs no more.
    pub values: BTreeMap<String, Tensor>,
    /// The module's name; the file's stem when empty.
    pub name: String,
    /// What nodes do that behave differently during training.
    pub mode: Mode,
    /// Other shapes for initialisers, whose values are then left out.
    pub shapes: BTreeMap<String, Vec<usize>>,
}

/// What `Dropout` and `BatchNormalization` do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Mode {
    /// What the model says; drawing random numbers is refused.
    #[default]
    AsWritten,
    /// What they do in a network that was trained: nothing is dropped, batches are normalised by the running statistics.
    Evaluate,
    /// What they do in a step of training: every `Dropout` drops, by its ratio; a `BatchNormalization` in training mode normalises by
    /// the batch, one that was exported for inference by the statistics that it has. The last input is `step/key: u64[]`, and behind
    /// the model's outputs stand running statistics after the step, under names that begin with [`STATISTIC`].
    Train,
}

/// A module, and what training must know of it.
#[derive(Debug)]
pub struct Imported {
    /// The module.
    pub module: Module,
    /// Parameters that hold running statistics, which no gradient changes.
    pub statistics: BTreeSet<String>,
}

/// What nodes of a step of training use and leave.
#[derive(Default)]
pub(super) struct Training {
    /// What all random numbers follow from; only in [`Mode::Train`].
    pub(super) key: Option<Value>,
    /// How many times they were drawn.
    pub(super) draws: usize,
    /// See [`Imported::statistics`].
    pub(super) statistics: BTreeSet<String>,
    /// Running statistics after the step.
    pub(super) updates: BTreeMap<String, Value>,
}

/// Reads the ONNX model at `path`.
///
/// Errors: everything that can be wrong with a model; all unsupported operators are reported at once.
pub fn import(path: &Path, options: &Options) -> Result<Module, Vec<Diagnostic>> {
    let model = load(path).map_err(|d| vec![d])?;
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name = if options.name.is_empty() { stem } else { options.name.clone() };
    import_model(model, &Options { name, ..options.clone() })
}

/// Builds the module of a decoded model. Errors: as [`import`].
pub fn import_model(model: Model, options: &Options) -> Result<Module, Vec<Diagnostic>> {
    import_all(model, options).map(|imported| imported.module)
}

/// Builds the module of a decoded model, and says what training must know of it. Errors: as [`import`].
pub fn import_all(model: Model, options: &Options) -> Result<Imported, Vec<Diagnostic>> {
    let Model { proto, opsets, mut files, file_bytes } = model;
    let Some(graph) = &proto.graph else {
        return Err(vec![Diagnostic::new("onnx_no_graph", "the file holds no graph")]);
    };
    let functions = Functions::collect(proto.functions).map_err(|d| vec![d])?;
    let unknown = registry::unsupported(graph, &opsets, &functions);
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let mut importer = Importer {
        graph: Graph::new(),
        regions: Vec::new(),
        operands: Vec::new(),
        scopes: Vec::new(),
        parameters: BTreeMap::new(),
        files: &mut files,
        functions,
        nodes_left: NODE_BUDGET + file_bytes / 8,
        mode: options.mode,
        shapes: &options.shapes,
        training: Training::default(),
    };
    importer.main_graph(graph, Rc::new(opsets), options).map_err(|d| vec![d])?;
    let Importer { graph, parameters, training, .. } = importer;
    let metadata = proto.metadata_props.into_iter().map(|e| (e.key, e.value)).collect();
    let functions = BTreeMap::from([("predict".to_string(), with_equal_sizes(graph).map_err(|d| vec![d])?)]);
    let module = Module { name: module_name(&options.name), functions, parameters, metadata };
    Ok(Imported { module, statistics: training.statistics })
}

/// Nodes that a small file may expand to through its functions; larger files may expand in proportion.
const NODE_BUDGET: usize = 40_000;

/// Functions and branches inside each other.
const MAX_NESTING: usize = 64;

/// Builds one function of the module.
pub struct Importer<'f> {
    /// The graph under construction: of the function, or of the innermost open region.
    pub graph: Graph,
    pub(super) regions: Vec<OpenRegion>,
    operands: Vec<Operand>,
    scopes: Vec<Scope>,
    parameters: BTreeMap<String, Parameter>,
    files: &'f mut ExternalFiles,
    functions: Functions,
    nodes_left: usize,
    pub(super) mode: Mode,
    shapes: &'f BTreeMap<String, Vec<usize>>,
    pub(super) training: Training,
}

/// Names visible to nodes: of a graph, a branch or a function body.
pub(super) struct Scope {
    pub(super) names: HashMap<String, OperandId>,
    /// Those of its graph; decoded when first read.
    initializers: HashMap<String, TensorProto>,
    /// Initialisers that are inputs too: the user may replace them, so they stay parameters.
    replaceable: Vec<String>,
    /// Parameters of a function that its call left out.
    absent: Vec<String>,
    opsets: Rc<BTreeMap<String, i64>>,
    /// False for a function body, which sees nothing outside.
    sees_outer: bool,
    /// Where the body stands, for origins: `Gelu "n12" / `.
    trail: Rc<str>,
}

impl<'f> Importer<'f> {
    fn main_graph(&mut self, graph: &GraphProto, opsets: Rc<BTreeMap<String, i64>>, options: &Options) -> Result<(), Diagnostic> {
        let mut scope = Scope::of_graph(graph, opsets, "".into())?;
        let sizes = InputSizes::new(graph, options)?;
        for (position, input) in graph.input.iter().enumerate() {
            let name = input.name.as_str();
            if name.is_empty() || graph.input[..position].iter().any(|i| i.name == input.name) {
                let what = if name.is_empty() { "an input has no name".to_string() } else { format!("two inputs are named \"{name}\"") };
                return Err(Diagnostic::new("onnx_duplicate", what).at(format!("input {position}"), "here"));
            }
            if scope.initializers.contains_key(name) {
                scope.replaceable.push(name.to_string());
                continue;
            }
            if let Some(tensor) = options.values.get(name) {
                let id = self.add(Operand::constant(tensor.clone()));
                scope.names.insert(name.to_string(), id);
                continue;
            }
            let ty = sizes.input_type(input)?;
            check_size(&ty.shape).map_err(|d| d.at(format!("input \"{name}\""), ty.to_string()))?;
            let value = self.graph.add_input(name, ty.clone());
            let id = self.add(Operand::computed(value, ty));
            scope.names.insert(name.to_string(), id);
        }
        if self.mode == Mode::Train {
            self.training.key = Some(self.graph.add_input("step/key", TensorType::fixed(DType::U64, &[])));
        }
        self.scopes.push(scope);
        let outputs: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        self.nodes(&graph.node, &outputs)?;
        for (position, name) in outputs.iter().enumerate() {
            if outputs[..position].contains(name) {
                return Err(Diagnostic::new("onnx_duplicate", format!("two outputs are named \"{name}\"")));
            }
            let Some(id) = self.resolve(name)? else {
                return Err(Diagnostic::new("onnx_missing_value", format!("nothing makes the output \"{name}\""))
                    .at(format!("output {position}"), "no node, input or initialiser has this name"));
            };
            let value = self.materialise(id)?;
            self.graph.add_output(*name, value);
        }
        if graph.output.is_empty() {
            return Err(Diagnostic::new("onnx_no_outputs", "the graph has no outputs"));
        }
        for (name, value) in std::mem::take(&mut self.training.updates) {
            self.graph.add_output(format!("{STATISTIC}{name}"), value);
        }
        Ok(())
    }

    /// Imports what `outputs` need of `nodes` into the innermost scope.
    fn nodes(&mut self, nodes: &[NodeProto], outputs: &[&str]) -> Result<(), Diagnostic> {
        for index in needed_nodes(nodes, outputs)? {
            let node = &nodes[index];
            self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(|| {
                Diagnostic::new("onnx_too_many_nodes", "the model's functions expand to more nodes than its size allows")
                    .at(describe(node), "the budget ends here")
            })?;
            let trail = self.scope().trail.clone();
            self.node(node)
                .map_err(|d| if d.labels.len() < 4 { d.at(format!("node {trail}{}", describe(node)), self.signature(node)) } else { d })?;
        }
        Ok(())
    }

    fn node(&mut self, node: &NodeProto) -> Result<(), Diagnostic> {
        let operands = node.input.iter().map(|name| self.operand_named(name)).collect::<Result<Vec<_>, _>>()?;
        let domain = canonical_domain(&node.domain);
        let results = if let Some(function) = self.functions.find(node).cloned() {
            self.call(node, &function, &operands)?
        } else {
            let attributes = Attributes::new(node)?;
            let opset = self.opset(domain)?;
            match (domain, node.op_type.as_str()) {
                ("", "Constant") => vec![self.constant(&attributes)?],
                ("", "Identity") => operands.first().copied().flatten().into_iter().collect(),
                ("", "If") => self.branch(node, &attributes, &operands)?,
                ("", "Scan") => self.scan_node(node, &attributes, opset, &operands)?,
                ("", "Loop") => self.loop_node(node, &attributes, &operands)?,
                _ => match self.shape_arithmetic(node, &attributes, opset, domain, &operands)? {
                    Some(results) => results,
                    None => self.operator(node, &attributes, opset, domain, operands)?,
                },
            }
        };
        self.bind(node, &results)
    }

    /// Names a node's results. Errors: `onnx_arity`, `onnx_duplicate`.
    fn bind(&mut self, node: &NodeProto, results: &[OperandId]) -> Result<(), Diagnostic> {
        if let Some(name) = node.output.get(results.len()..).and_then(|rest| rest.iter().find(|n| !n.is_empty())) {
            let what = format!("{} has {} results, the node names more", node.op_type, results.len());
            return Err(Diagnostic::new("onnx_arity", what).at(format!("result \"{name}\""), "there is no such result"));
        }
        for (name, id) in node.output.iter().zip(results).filter(|(name, _)| !name.is_empty()) {
            let scope = self.scope_mut();
            if scope.initializers.contains_key(name.as_str()) || scope.names.insert(name.clone(), *id).is_some() {
                return Err(Diagnostic::new("onnx_duplicate", format!("the value \"{name}\" is made twice")));
            }
        }
        Ok(())
    }

    /// A result whose contents depend on sizes alone needs no node.
    fn shape_arithmetic(
        &mut self,
        node: &NodeProto,
        attributes: &Attributes,
        opset: i64,
        domain: &str,
        operands: &[Option<OperandId>],
    ) -> Result<Option<Vec<OperandId>>, Diagnostic> {
        if !domain.is_empty() {
            return Ok(None);
        }
        let known = |id: &Option<OperandId>| id.and_then(|id| self.operands[id].known_ints());
        let ty = |id: &Option<OperandId>| id.map(|id| self.operands[id].ty.clone());
        let shape_node = ShapeNode {
            op_type: &node.op_type,
            opset,
            attributes,
            types: operands.iter().map(ty).collect(),
            known: operands.iter().map(known).collect(),
            ranges: &self.graph.symbols,
        };
        let Some(results) = shape_node.evaluate()? else { return Ok(None) };
        attributes.finish()?;
        Ok(Some(results.into_iter().map(|known| self.add(Operand::known(known))).collect()))
    }

    fn operator(
        &mut self,
        node: &NodeProto,
        attributes: &Attributes,
        opset: i64,
        domain: &str,
        operands: Vec<Option<OperandId>>,
    ) -> Result<Vec<OperandId>, Diagnostic> {
        let row = registry::find(domain, &node.op_type, opset)?;
        let (least, most) = row.operands;
        if operands.len() < least || operands.len() > most {
            let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
            return Err(Diagnostic::new("onnx_arity", format!("{} takes {expected} operands, got {}", node.op_type, operands.len())));
        }
        let origin = self.origin(node);
        let mut context = Context { node, attributes, opset, importer: self, operands, origin };
        let results = (row.import)(&mut context)?;
        attributes.finish()?;
        let operand = |value: Value| Operand::computed(value, self.graph.ty(value).clone());
        let results: Vec<Operand> = results.into_iter().map(operand).collect();
        Ok(results.into_iter().map(|o| self.add(o)).collect())
    }

    /// Where what a node makes comes from.
    pub(super) fn origin(&self, node: &NodeProto) -> Arc<Origin> {
        Arc::new(Origin::new(format!("{}{}", self.scope().trail, describe(node))))
    }

    /// A context for what the importer itself makes of a node.
    pub(super) fn context<'a>(&'a mut self, node: &'a NodeProto, attributes: &'a Attributes<'a>, origin: &Arc<Origin>) -> Context<'a, 'f> {
        Context { node, attributes, opset: 0, importer: self, operands: Vec::new(), origin: origin.clone() }
    }

    fn constant(&mut self, attributes: &Attributes) -> Result<OperandId, Diagnostic> {
        let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let ints = |values: &[i64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (dtype, shape, bytes) = if let Some(tensor) = attributes.tensor("value")? {
            let data = TensorData::decode(tensor, self.files)?;
            (data.dtype, data.shape, data.bytes)
        } else if let Some(value) = attributes.float("value_float")? {
            (DType::F32, vec![], floats(&[value]).into())
        } else if let Some(values) = attributes.floats("value_floats")? {
            (DType::F32, vec![values.len()], floats(values).into())
        } else if let Some(value) = attributes.int("value_int")? {
            (DType::I64, vec![], ints(&[value]).into())
        } else if let Some(values) = attributes.ints("value_ints")? {
            (DType::I64, vec![values.len()], ints(values).into())
        } else {
            return Err(Diagnostic::new("onnx_attribute", "Constant holds no numbers").help("text and sparse constants are not supported"));
        };
        attributes.finish()?;
        let tensor = TensorData { dtype, shape, bytes }.to_tensor()?;
        check_size(&tensor.ty().shape)?;
        Ok(self.add(Operand::constant(tensor)))
    }

    /// `If`: a branch chosen by a known condition is inlined; otherwise both are computed and one is selected.
    fn branch(&mut self, node: &NodeProto, attributes: &Attributes, operands: &[Option<OperandId>]) -> Result<Vec<OperandId>, Diagnostic> {
        let &[Some(condition)] = operands else {
            return Err(Diagnostic::new("onnx_arity", format!("If takes 1 operand, got {}", operands.len())));
        };
        let (then, other) = (attributes.required_graph("then_branch")?, attributes.required_graph("else_branch")?);
        attributes.finish()?;
        let known = self.operands[condition].known_ints().and_then(|k| k.constants());
        match known.as_deref() {
            Some([0]) => return self.body(node, other),
            Some([_]) => return self.body(node, then),
            _ => {}
        }
        let (then, other) = (self.body(node, then)?, self.body(node, other)?);
        if then.len() != other.len() {
            return Err(Diagnostic::new("onnx_arity", "the branches of If have different numbers of results"));
        }
        let condition = self.materialise(condition)?;
        let origin = self.origin(node);
        let mut results = Vec::new();
        for (then, other) in then.into_iter().zip(other) {
            let (a, b) = (self.materialise(then)?, self.materialise(other)?);
            let mut context = self.context(node, attributes, &origin);
            let shape = context.shape(a);
            let condition = context.reshape(condition, &[])?;
            let condition = context.broadcast_to(condition, &shape)?;
            let value = context.op(ops::Select {}, &[condition, a, b]).map_err(|d| {
                d.help("branches whose results have different types cannot both be computed; make the condition a constant")
            })?;
            let ty = self.graph.ty(value).clone();
            results.push(self.add(Operand::computed(value, ty)));
        }
        Ok(results)
    }

    /// Imports a branch's body in a scope of its own that sees the names outside.
    fn body(&mut self, node: &NodeProto, graph: &GraphProto) -> Result<Vec<OperandId>, Diagnostic> {
        let scope = self.scope_of(node, graph)?;
        self.import_body(scope, graph)
    }

    /// A scope for a graph inside a node, which sees the names outside.
    pub(super) fn scope_of(&self, node: &NodeProto, graph: &GraphProto) -> Result<Scope, Diagnostic> {
        let trail = format!("{}{} / ", self.scope().trail, describe(node));
        let opsets = self.scope().opsets.clone();
        Scope::of_graph(graph, opsets, trail.into())
    }

    /// Imports a graph inside a node; what its outputs are.
    pub(super) fn import_body(&mut self, scope: Scope, graph: &GraphProto) -> Result<Vec<OperandId>, Diagnostic> {
        let outputs: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        self.within(scope, &graph.node, &outputs)
    }

    /// Inlines a call of a local function.
    fn call(&mut self, node: &NodeProto, function: &Function, operands: &[Option<OperandId>]) -> Result<Vec<OperandId>, Diagnostic> {
        let parameters = &function.proto.input;
        if operands.len() > parameters.len() {
            let what = format!("{} takes {} operands, got {}", node.op_type, parameters.len(), operands.len());
            return Err(Diagnostic::new("onnx_arity", what));
        }
        let mut scope = Scope {
            names: HashMap::new(),
            initializers: HashMap::new(),
            replaceable: Vec::new(),
            absent: Vec::new(),
            opsets: function.opsets.clone().unwrap_or_else(|| self.scope().opsets.clone()),
            sees_outer: false,
            trail: format!("{}{} / ", self.scope().trail, describe(node)).into(),
        };
        for (position, name) in parameters.iter().enumerate() {
            match operands.get(position).copied().flatten() {
                Some(id) => drop(scope.names.insert(name.clone(), id)),
                None => scope.absent.push(name.clone()),
            }
        }
        let body = function.instantiate(node)?;
        let outputs: Vec<&str> = function.proto.output.iter().map(String::as_str).collect();
        self.within(scope, &body, &outputs)
    }

    fn within(&mut self, scope: Scope, nodes: &[NodeProto], outputs: &[&str]) -> Result<Vec<OperandId>, Diagnostic> {
        if self.scopes.len() > MAX_NESTING {
            return Err(Diagnostic::new("onnx_recursion", format!("functions call each other more than {MAX_NESTING} deep"))
                .help("a function may not call itself"));
        }
        self.scopes.push(scope);
        self.nodes(nodes, outputs)?;
        let results = outputs.iter().map(|name| {
            let id = self.resolve(name)?;
            id.ok_or_else(|| Diagnostic::new("onnx_missing_value", format!("nothing makes the result \"{name}\"")))
        });
        let results = results.collect::<Result<Vec<_>, _>>()?;
        self.scopes.pop();
        Ok(results)
    }

    /// An operand by name; `None` for an empty name, which leaves an optional operand out.
    ///
    /// Errors: `onnx_missing_value`.
    fn operand_named(&mut self, name: &str) -> Result<Option<OperandId>, Diagnostic> {
        if name.is_empty() {
            return Ok(None);
        }
        if let Some(id) = self.resolve(name)? {
            return Ok(Some(id));
        }
        // Inside a function, an operand that the call left out is as if it had no name.
        if self.scopes.iter().any(|s| s.absent.iter().any(|a| a == name)) {
            return Ok(None);
        }
        Err(Diagnostic::new("onnx_missing_value", format!("nothing makes the value \"{name}\""))
            .help("no node, input or initialiser has this name: the model is incomplete"))
    }

    pub(super) fn resolve(&mut self, name: &str) -> Result<Option<OperandId>, Diagnostic> {
        for depth in (0..self.scopes.len()).rev() {
            let scope = &self.scopes[depth];
            if let Some(id) = scope.names.get(name) {
                return Ok(Some(*id));
            }
            if let Some(tensor) = scope.initializers.get(name).cloned() {
                let replaceable = scope.replaceable.iter().any(|r| r == name);
                let id = self.initializer(&tensor, replaceable)?;
                self.scopes[depth].names.insert(name.to_string(), id);
                return Ok(Some(id));
            }
            if !scope.sees_outer {
                break;
            }
        }
        Ok(None)
    }

    /// A weight becomes a parameter; integers and scalars are part of the program and become constants.
    fn initializer(&mut self, proto: &TensorProto, replaceable: bool) -> Result<OperandId, Diagnostic> {
        let name = &proto.name;
        let tensor = TensorData::decode(proto, self.files)?.to_tensor()?;
        let ty = tensor.ty();
        check_size(&ty.shape).map_err(|d| d.at(format!("tensor \"{name}\""), ty.to_string()))?;
        let weight = tensor.dtype().is_float() && tensor.elements() > 1;
        if !weight && !replaceable {
            return Ok(self.add_outermost(Operand::constant(tensor)));
        }
        // Branches may repeat a name; parameters are one list.
        let mut unique = name.to_string();
        while self.parameters.contains_key(&unique) {
            unique.push('\'');
        }
        if let Some(shape) = self.shapes.get(&unique) {
            let ty = TensorType::fixed(ty.dtype, shape);
            let value = self.outermost().add_parameter(&unique, ty.clone());
            self.parameters.insert(unique, Parameter { ty: ty.clone(), value: None });
            return Ok(self.add_outermost(Operand::computed(value, ty)));
        }
        let value = self.outermost().add_parameter(&unique, ty.clone());
        let constant = (!weight).then(|| tensor.clone());
        self.parameters.insert(unique, Parameter { ty: ty.clone(), value: Some(tensor) });
        Ok(self.add_outermost(Operand { constant, ..Operand::computed(value, ty) }))
    }

    /// The value of an operand in the graph, which is put there if it was not yet.
    pub fn materialise(&mut self, id: OperandId) -> Result<Value, Diagnostic> {
        let operand = &self.operands[id];
        if operand.depth < self.regions.len() {
            return self.captured(id);
        }
        if let Some(value) = operand.value {
            return Ok(value);
        }
        let value = match (&operand.constant, &operand.known) {
            (Some(tensor), _) => self.graph.add_constant(tensor.clone()),
            (None, Some(known)) => {
                let known = known.clone();
                self.dims(&known).map_err(|e| Diagnostic::new(e.label, e.message))?
            }
            (None, None) => panic!("import: operand {id} has neither node nor contents"),
        };
        self.operands[id].value = Some(value);
        Ok(value)
    }

    fn dims(&mut self, known: &KnownInts) -> Result<Value, ops::TypeError> {
        let TensorType { dtype, shape } = known.ty();
        let mut value = self.graph.add(ops::Dims { values: known.elements.clone() }.into(), &[], None)?[0];
        if shape.len() != 1 {
            value = self.graph.add(ops::Reshape { shape }.into(), &[value], None)?[0];
        }
        if dtype != DType::I64 {
            value = self.graph.add(ops::Cast { dtype }.into(), &[value], None)?[0];
        }
        Ok(value)
    }

    /// What is known of an operand.
    pub fn operand(&self, id: OperandId) -> &Operand {
        &self.operands[id]
    }

    /// An operand of the innermost open region, or of the function.
    pub(super) fn add(&mut self, operand: Operand) -> OperandId {
        self.operands.push(Operand { depth: self.regions.len(), ..operand });
        self.operands.len() - 1
    }

    /// An operand that is the same in all regions.
    fn add_outermost(&mut self, operand: Operand) -> OperandId {
        self.operands.push(operand);
        self.operands.len() - 1
    }

    pub(super) fn opset(&self, domain: &str) -> Result<i64, Diagnostic> {
        self.scope().opsets.get(domain).copied().ok_or_else(|| {
            let name = if domain.is_empty() { "ai.onnx" } else { domain };
            Diagnostic::new("onnx_opset", format!("the model does not say which version of the operators of {name} it uses"))
        })
    }

    fn scope(&self) -> &Scope {
        self.scopes.last().expect("import: no scope is open")
    }

    fn scope_mut(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("import: no scope is open")
    }

    /// The operand types of a node, for messages.
    fn signature(&mut self, node: &NodeProto) -> String {
        let mut types = Vec::new();
        for name in &node.input {
            types.push(match self.resolve(name) {
                Ok(Some(id)) => self.operands[id].ty.to_string(),
                _ if name.is_empty() => "-".to_string(),
                _ => "?".to_string(),
            });
        }
        format!("applied to ({})", types.join(", "))
    }
}

impl Scope {
    fn of_graph(graph: &GraphProto, opsets: Rc<BTreeMap<String, i64>>, trail: Rc<str>) -> Result<Self, Diagnostic> {
        let mut initializers = HashMap::new();
        for tensor in &graph.initializer {
            if initializers.insert(tensor.name.clone(), tensor.clone()).is_some() {
                return Err(Diagnostic::new("onnx_duplicate", format!("two initialisers are named \"{}\"", tensor.name)));
            }
        }
        if !graph.sparse_initializer.is_empty() {
            return Err(Diagnostic::new("onnx_unsupported", "sparse initialisers are not supported")
                .help("convert them to dense ones before export"));
        }
        Ok(Scope { names: HashMap::new(), initializers, replaceable: Vec::new(), absent: Vec::new(), opsets, sees_outer: true, trail })
    }
}

/// A name fit for symbols and files: letters, digits and `_`, not starting with a digit.
fn module_name(text: &str) -> String {
    let mut name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name.insert_str(0, "model_");
    }
    name
}
