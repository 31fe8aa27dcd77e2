//! What the import function of an operator sees: its node's operands, attributes and operator set, and ways to add nodes.

use super::attributes::Attributes;
use super::import::{Importer, Mode};
use super::operand::{KnownInts, OperandId};
use super::order::describe;
use super::proto::NodeProto;
use kiln_ir::graph::{Guard, Origin, Relation};
use kiln_ir::ops::{self, Op, TypeError};
use kiln_ir::random::stream_number;
use kiln_ir::{Builder, DType, Diagnostic, Dim, Proof, Tensor, TensorType, Value};
use std::sync::Arc;

/// More axes than this are refused: no network has them, and types would grow with the square of the file.
pub const MAX_RANK: usize = 32;

/// One node being imported.
pub struct Context<'a, 'f> {
    /// The node.
    pub node: &'a NodeProto,
    /// Its attributes.
    pub attributes: &'a Attributes<'a>,
    /// Version of its operator set.
    pub opset: i64,
    pub(super) importer: &'a mut Importer<'f>,
    pub(super) operands: Vec<Option<OperandId>>,
    pub(super) origin: Arc<Origin>,
}

impl Context<'_, '_> {
    /// What nodes do that behave differently during training.
    pub fn mode(&self) -> Mode {
        self.importer.mode
    }

    /// In a step of training, numbers in 0..1 for each element of `x`, in f32, that no other node draws.
    pub fn random_like(&mut self, x: Value) -> Result<Option<Value>, Diagnostic> {
        let Some(key) = self.importer.training.key else { return Ok(None) };
        self.outside_loops()?;
        self.importer.training.draws += 1;
        // Streams are numbered with 63 bits, which attributes hold.
        let stream = stream_number(&format!("dropout#{}", self.importer.training.draws)) >> 1;
        let shape = self.shape(x);
        self.op(ops::RandomUniform { shape, stream: stream as usize, dtype: DType::F32 }, &[key]).map(Some)
    }

    /// Notes that a value is a running statistic, if it is a parameter, and gives its name.
    pub fn running_statistic(&mut self, value: Value) -> Option<String> {
        let name = self.importer.parameter_name(value)?;
        self.importer.training.statistics.insert(name.clone());
        Some(name)
    }

    /// In a step of training, says what a running statistic is after it.
    pub fn update_statistic(&mut self, name: String, value: Value) -> Result<(), Diagnostic> {
        if self.mode() == Mode::Train {
            self.outside_loops()?;
            self.importer.training.updates.insert(name, value);
        }
        Ok(())
    }

    /// What a step of training draws and counts happens once a step. Errors: `onnx_unsupported` in the body of a loop.
    fn outside_loops(&self) -> Result<(), Diagnostic> {
        if self.importer.regions.is_empty() { Ok(()) } else { Err(self.unsupported("in the body of a loop that is trained")) }
    }

    /// Number of operands, counting those left out before the last one.
    pub fn operand_count(&self) -> usize {
        self.operands.len()
    }

    /// True if a result is used by name.
    pub fn wants(&self, result: usize) -> bool {
        self.node.output.get(result).is_some_and(|name| !name.is_empty())
    }

    /// True if an operand is given.
    pub fn has(&self, i: usize) -> bool {
        self.operands.get(i).is_some_and(Option::is_some)
    }

    /// An operand that must be there. Errors: `onnx_arity`.
    pub fn input(&mut self, i: usize) -> Result<Value, Diagnostic> {
        self.optional(i)?.ok_or_else(|| self.missing_operand(i))
    }

    /// An operand that may be left out.
    pub fn optional(&mut self, i: usize) -> Result<Option<Value>, Diagnostic> {
        match self.operands.get(i) {
            Some(Some(id)) => self.importer.materialise(*id).map(Some),
            _ => Ok(None),
        }
    }

    /// All operands, none left out.
    pub fn all_inputs(&mut self) -> Result<Vec<Value>, Diagnostic> {
        (0..self.operands.len()).map(|i| self.input(i)).collect()
    }

    /// The type of an operand that must be there, without putting it into the graph.
    pub fn operand_type(&self, i: usize) -> Result<TensorType, Diagnostic> {
        match self.operands.get(i) {
            Some(Some(id)) => Ok(self.importer.operand(*id).ty.clone()),
            _ => Err(self.missing_operand(i)),
        }
    }

    /// The contents of an operand that is a constant.
    pub fn constant(&self, i: usize) -> Option<Tensor> {
        self.importer.operand((*self.operands.get(i)?)?).constant.clone()
    }

    /// The contents of an operand as dims, where they depend on sizes alone; `None` too when it is left out.
    pub fn known(&self, i: usize) -> Option<KnownInts> {
        self.importer.operand((*self.operands.get(i)?)?).known_ints()
    }

    /// The contents of a shape-like operand. Errors: `onnx_data_dependent` when only the run will tell.
    pub fn required_dims(&self, i: usize, what: &str) -> Result<Vec<Dim>, Diagnostic> {
        if !self.has(i) {
            return Err(self.missing_operand(i));
        }
        self.known(i).map(|k| k.elements).ok_or_else(|| {
            self.error("onnx_data_dependent", format!("{what} of {} depends on data that only the run has", self.node.op_type))
                .help("make it a constant or compute it from sizes; `onnxsim` or a fixed input size at export often does")
        })
    }

    /// The contents of an operand that says which axes or how many. Errors: `onnx_data_dependent`.
    pub fn required_ints(&self, i: usize, what: &str) -> Result<Vec<i64>, Diagnostic> {
        let dims = self.required_dims(i, what)?;
        dims.iter()
            .map(|d| {
                d.as_const()
                    .ok_or_else(|| self.error("onnx_data_dependent", format!("{what} of {} is {d}, must be a number", self.node.op_type)))
            })
            .collect()
    }

    /// A list that was an attribute before operator set `since` and an operand from then on; `None` when left out.
    pub fn ints_by_opset(&self, attribute: &str, since: i64, i: usize) -> Result<Option<Vec<i64>>, Diagnostic> {
        if self.opset < since {
            return Ok(self.attributes.ints(attribute)?.map(<[i64]>::to_vec));
        }
        if self.has(i) { self.required_ints(i, attribute).map(Some) } else { Ok(None) }
    }

    /// An axis counted from the front. Errors: `onnx_axis`.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Diagnostic> {
        let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        from_front
            .and_then(|a| usize::try_from(a).ok())
            .filter(|&a| a < rank)
            .ok_or_else(|| self.error("onnx_axis", format!("axis {axis} of {}, whose operand has {rank} axes", self.node.op_type)))
    }

    /// Distinct axes counted from the front, sorted. Errors: `onnx_axis`.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, Diagnostic> {
        let mut sorted = axes.iter().map(|&a| self.axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(self.error("onnx_axis", format!("axis {} comes twice in {axes:?} of {}", pair[0], self.node.op_type))),
            None => Ok(sorted),
        }
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> TensorType {
        self.importer.graph.ty(value).clone()
    }

    /// The shape of a value.
    pub fn shape(&self, value: Value) -> Vec<Dim> {
        self.importer.graph.ty(value).shape.clone()
    }

    /// The element type of a value.
    pub fn dtype(&self, value: Value) -> DType {
        self.importer.graph.ty(value).dtype
    }

    /// The number of axes of a value.
    pub fn rank(&self, value: Value) -> usize {
        self.importer.graph.ty(value).rank()
    }

    /// What is known of symbols.
    pub fn ranges(&self) -> &kiln_ir::Ranges {
        &self.importer.graph.symbols
    }

    /// Adds a node. Errors: the operator's type rule, by label.
    pub fn ops(&mut self, op: impl Into<Op>, x: &[Value]) -> Result<Vec<Value>, Diagnostic> {
        let op = op.into();
        let name = op.name();
        let results = self.importer.graph.add(op, x, Some(self.origin.clone())).map_err(|e| self.rejected(name, &e))?;
        for result in &results {
            check_size(&self.importer.graph.ty(*result).shape)?;
        }
        Ok(results)
    }

    /// Adds a node with one result.
    pub fn op(&mut self, op: impl Into<Op>, x: &[Value]) -> Result<Value, Diagnostic> {
        self.ops(op, x).map(|results| results[0])
    }

    /// Adds a node after broadcasting its operands to their common shape.
    pub fn broadcast_op(&mut self, op: impl Into<Op>, x: &[Value]) -> Result<Value, Diagnostic> {
        let x = self.broadcast_all(x)?;
        self.op(op, &x)
    }

    /// Broadcasts values to their common shape.
    pub fn broadcast_all(&mut self, x: &[Value]) -> Result<Vec<Value>, Diagnostic> {
        let shapes: Vec<Vec<Dim>> = x.iter().map(|v| self.shape(*v)).collect();
        let shape = self.broadcast_shape(&shapes)?;
        x.iter().map(|v| self.broadcast_to(*v, &shape)).collect()
    }

    /// The shape that shapes broadcast to. Errors: `broadcast_c2`.
    pub fn broadcast_shape(&mut self, shapes: &[Vec<Dim>]) -> Result<Vec<Dim>, Diagnostic> {
        let mut builder = Builder::from_origin(&mut self.importer.graph, Some(self.origin.clone()));
        let shape = builder.broadcast_shape(shapes, "broadcast_c2");
        let shape = shape.map_err(|e| Diagnostic::new(e.label, e.message))?;
        check_size(&shape)?;
        Ok(shape)
    }

    /// Broadcasts to a shape; nothing if the value has it already.
    pub fn broadcast_to(&mut self, x: Value, shape: &[Dim]) -> Result<Value, Diagnostic> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.op(ops::Broadcast { shape: shape.to_vec() }, &[x])
    }

    /// Gives the elements another shape; nothing if the value has it already.
    pub fn reshape(&mut self, x: Value, shape: &[Dim]) -> Result<Value, Diagnostic> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.op(ops::Reshape { shape: shape.to_vec() }, &[x])
    }

    /// Reorders axes; nothing if they are in order.
    pub fn transpose(&mut self, x: Value, perm: &[usize]) -> Result<Value, Diagnostic> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Ok(x);
        }
        self.op(ops::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// Converts elements; nothing if they are of that type.
    pub fn cast(&mut self, x: Value, dtype: DType) -> Result<Value, Diagnostic> {
        if self.dtype(x) == dtype { Ok(x) } else { self.op(ops::Cast { dtype }, &[x]) }
    }

    /// The part of `x` with `size` elements from `start` on `axis`.
    pub fn slice_axis(&mut self, x: Value, axis: usize, start: Dim, size: Dim) -> Result<Value, Diagnostic> {
        let sizes = self.shape(x);
        if start.is(0) && sizes[axis] == size {
            return Ok(x);
        }
        let mut op = ops::Slice { starts: vec![Dim::ZERO; sizes.len()], steps: vec![1; sizes.len()], sizes };
        op.starts[axis] = start;
        op.sizes[axis] = size;
        self.op(op, &[x])
    }

    /// Joins values along an axis; nothing for one value.
    pub fn concat(&mut self, x: &[Value], axis: usize) -> Result<Value, Diagnostic> {
        if let [one] = x { Ok(*one) } else { self.op(ops::Concat { axis }, x) }
    }

    /// A scalar constant.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Value {
        self.importer.graph.add_constant(Tensor::scalar(dtype, value))
    }

    /// A constant.
    pub fn tensor(&mut self, tensor: Tensor) -> Value {
        self.importer.graph.add_constant(tensor)
    }

    /// A constant of the type and shape of `x`, every element `value`.
    pub fn like(&mut self, x: Value, value: f64) -> Result<Value, Diagnostic> {
        let (dtype, shape) = (self.dtype(x), self.shape(x));
        self.filled(dtype, &shape, value)
    }

    /// A constant with every element `value`.
    pub fn filled(&mut self, dtype: DType, shape: &[Dim], value: f64) -> Result<Value, Diagnostic> {
        let scalar = self.scalar(dtype, value);
        self.broadcast_to(scalar, shape)
    }

    /// A size as a scalar of the graph.
    pub fn dim_scalar(&mut self, dim: &Dim, dtype: DType) -> Result<Value, Diagnostic> {
        let value = match dim.as_const() {
            Some(c) => self.tensor(Tensor::from_ints(DType::I64, Vec::new(), [i128::from(c)])),
            None => {
                let vector = self.op(ops::Dims { values: vec![dim.clone()] }, &[])?;
                self.reshape(vector, &[])?
            }
        };
        self.cast(value, dtype)
    }

    /// Requires `left ≤ right`: nothing if proved, a guard if unknown. Errors: `onnx_size` if it never holds.
    pub fn require_at_most(&mut self, left: &Dim, right: &Dim, what: &str) -> Result<(), Diagnostic> {
        match self.ranges().at_most(left, right) {
            Proof::Yes => Ok(()),
            Proof::No => Err(self.error("onnx_size", format!("{what}: {left} exceeds {right}"))),
            Proof::Unknown => {
                self.guard(left, Relation::AtMost, right, what);
                Ok(())
            }
        }
    }

    /// Requires `left = right`: nothing if proved, a guard if unknown. Errors: `onnx_size` if it never holds.
    pub fn require_equal(&mut self, left: &Dim, right: &Dim, what: &str) -> Result<(), Diagnostic> {
        match self.ranges().provably_equal(left, right) {
            Proof::Yes => Ok(()),
            Proof::No => Err(self.error("onnx_size", format!("{what}: {left} and {right} differ"))),
            Proof::Unknown => {
                self.guard(left, Relation::Equal, right, what);
                Ok(())
            }
        }
    }

    fn guard(&mut self, left: &Dim, relation: Relation, right: &Dim, what: &str) {
        let why = format!("{what}, from {}", self.origin.text);
        self.importer.graph.guards.insert(Guard { left: left.clone(), relation, right: right.clone(), why });
    }

    /// An error about this node; the importer adds where it is.
    pub fn error(&self, code: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, message)
    }

    /// An error for something this operator may do and Kiln does not: `onnx_unsupported`.
    pub fn unsupported(&self, what: impl std::fmt::Display) -> Diagnostic {
        self.error("onnx_unsupported", format!("{} {what} is not supported", self.node.op_type))
    }

    fn rejected(&self, op: &str, error: &TypeError) -> Diagnostic {
        Diagnostic::new(error.label, format!("{op}: {}", error.message))
    }

    fn missing_operand(&self, i: usize) -> Diagnostic {
        self.error("onnx_arity", format!("operand {i} of {} is missing", describe(self.node)))
    }
}

/// Refuses shapes that are too large to compute with. Errors: `onnx_rank`, `onnx_shape_size`.
pub fn check_size(shape: &[Dim]) -> Result<(), Diagnostic> {
    if shape.len() > MAX_RANK {
        return Err(Diagnostic::new("onnx_rank", format!("{} axes, at most {MAX_RANK} are supported", shape.len())));
    }
    // A product of sums multiplies out; this bounds what element counts can grow to.
    let terms = shape.iter().filter(|d| d.as_const().is_none()).map(|d| d.terms().len().max(1));
    match terms.fold(1usize, usize::saturating_mul) {
        0..=256 => Ok(()),
        _ => Err(Diagnostic::new("onnx_shape_size", "a shape became too complicated a formula of the input sizes")
            .help("bind some input sizes with --dim NAME=SIZE")),
    }
}
