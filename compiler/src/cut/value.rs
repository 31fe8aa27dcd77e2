//! Inlined values as expressions: the element of a value at an index, built from loads of placed values.

use super::role::{Role, View, role};
use super::{Place, Region, origins, value_name, view};
use crate::kernel::{Access, Axis, BinaryFn, Body, Bound, CompareFn, ExprId, ExprKind, Exprs, Kernel, Scalar};
use kiln_ir::graph::NodeKind;
use kiln_ir::ops::{Gather, GatherElements, GatherNd, Pad};
use kiln_ir::{DType, Diagnostic, Dim, NodeId, Op, Ranges, Symbol, Tensor, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Why an expression could not be built.
pub enum Failure {
    /// A reduction that was to be fused is needed at another index: it must get its own kernel.
    Unfuse(NodeId),
    /// Something kernels cannot express.
    Unsupported(Diagnostic),
}

/// A value that is an accumulator of the kernel at one index.
struct Held {
    index: Vec<Dim>,
    expr: ExprId,
}

/// The inputs of a memoised element: value, index, bounds that guard loads.
type ElementKey = (Value, Vec<Dim>, Vec<Bound>);

/// Builds the expressions of one kernel.
pub struct KernelBuilder<'r, 'g> {
    region: &'r Region<'g>,
    places: &'r BTreeMap<Value, Place>,
    /// Expressions so far.
    pub exprs: Exprs,
    /// Size symbols, enclosing loop indices and the kernel's own indices.
    pub ranges: Ranges,
    accumulators: BTreeMap<Value, Held>,
    memo: HashMap<ElementKey, ExprId>,
    touched: BTreeSet<NodeId>,
    indices: usize,
    checked_nodes: Vec<String>,
    first_checked: usize,
}

impl<'r, 'g> KernelBuilder<'r, 'g> {
    pub fn new(region: &'r Region<'g>, checked_nodes: usize) -> KernelBuilder<'r, 'g> {
        KernelBuilder {
            region,
            places: &region.places,
            exprs: Exprs::default(),
            ranges: region.ranges.clone(),
            accumulators: BTreeMap::new(),
            memo: HashMap::new(),
            touched: BTreeSet::new(),
            indices: 0,
            checked_nodes: Vec::new(),
            first_checked: checked_nodes,
        }
    }

    /// A new index of that extent.
    pub fn axis(&mut self, extent: &Dim) -> Axis {
        let index = Symbol::new(&format!("$i{}", self.indices));
        self.indices += 1;
        self.ranges.set_index(index.clone(), extent.clone());
        Axis { index, extent: extent.clone() }
    }

    /// New indices, one per extent.
    pub fn axes(&mut self, extents: &[Dim]) -> Vec<Axis> {
        extents.iter().map(|e| self.axis(e)).collect()
    }

    /// Declares that the kernel holds `value` at `index` in an accumulator.
    pub fn bind_accumulator(&mut self, value: Value, index: Vec<Dim>, dtype: DType, number: u32) -> ExprId {
        let expr = self.exprs.add(dtype, ExprKind::Accumulator(number));
        self.touched.insert(value.node);
        self.accumulators.insert(value, Held { index, expr });
        expr
    }

    /// Declares that the kernel holds `value` at `index` as accumulator 0 of dtype `sum`, rounded to `dtype`.
    pub fn bind_sum(&mut self, value: Value, index: Vec<Dim>, dtype: DType, sum: DType) {
        let mut expr = self.exprs.add(sum, ExprKind::Accumulator(0));
        if sum != dtype {
            expr = self.exprs.add(dtype, ExprKind::Cast(expr));
        }
        self.touched.insert(value.node);
        self.accumulators.insert(value, Held { index, expr });
    }

    /// Declares that the kernel holds `value` at `index` in an expression, in place of what it held before.
    pub fn hold(&mut self, value: Value, index: Vec<Dim>, expr: ExprId) {
        self.touched.insert(value.node);
        self.accumulators.insert(value, Held { index, expr });
    }

    /// Notes that the kernel computes this node.
    pub fn touch(&mut self, id: NodeId) {
        self.touched.insert(id);
    }

    /// The finished kernel and the names of nodes whose indices it checks.
    pub fn finish(self, named: Value, body: Body) -> (Kernel, Vec<String>) {
        let kernel = Kernel {
            name: value_name(self.region.graph, named),
            origins: origins(self.region.graph, &self.touched),
            exprs: self.exprs,
            body,
        };
        (kernel, self.checked_nodes)
    }

    /// The element of `value` at `index`.
    pub fn element(&mut self, value: Value, index: &[Dim]) -> Result<ExprId, Failure> {
        self.at(value, index, &[])
    }

    /// The element of `value` at `index`, where loads are allowed only inside `bounds`; outside, any value may result.
    pub fn at(&mut self, value: Value, index: &[Dim], bounds: &[Bound]) -> Result<ExprId, Failure> {
        let key = (value, index.to_vec(), bounds.to_vec());
        if let Some(expr) = self.memo.get(&key) {
            return Ok(*expr);
        }
        let expr = self.compute(value, index, bounds)?;
        self.memo.insert(key, expr);
        Ok(expr)
    }

    fn compute(&mut self, value: Value, index: &[Dim], bounds: &[Bound]) -> Result<ExprId, Failure> {
        let graph = self.region.graph;
        let (node, ty) = (graph.node(value.node), graph.ty(value));
        if let Some(bound) = self.accumulators.get(&value) {
            return if bound.index == index { Ok(bound.expr) } else { Err(Failure::Unfuse(value.node)) };
        }
        if let NodeKind::Constant(tensor) = &node.kind
            && let Some(scalar) = uniform(tensor)
        {
            return Ok(self.exprs.add(ty.dtype, ExprKind::Constant(scalar)));
        }
        if let Some(place) = self.places.get(&value) {
            return Ok(self.load(place.buffer, ty.dtype, place.offset(index), bounds));
        }
        let NodeKind::Op(op) = &node.kind else {
            panic!("cut: input, parameter or constant without a place in {}", value_name(graph, value));
        };
        if self.region.plan.is_fused(value.node) {
            return Err(Failure::Unfuse(value.node));
        }
        self.touched.insert(value.node);
        let x = &node.inputs;
        let kind = match role(op) {
            Role::Unary(f) => ExprKind::Unary(f, self.at(x[0], index, bounds)?),
            Role::Binary(f) => ExprKind::Binary(f, self.at(x[0], index, bounds)?, self.at(x[1], index, bounds)?),
            Role::Compare(f) => ExprKind::Compare(f, self.at(x[0], index, bounds)?, self.at(x[1], index, bounds)?),
            Role::Select => ExprKind::Select(self.at(x[0], index, bounds)?, self.at(x[1], index, bounds)?, self.at(x[2], index, bounds)?),
            Role::Cast => {
                let value = self.at(x[0], index, bounds)?;
                return Ok(self.exprs.cast(ty.dtype, value));
            }
            Role::Iota(op) => {
                let position = self.exprs.add(DType::I64, ExprKind::Index(index[op.axis].simplify(&self.ranges)));
                if ty.dtype == DType::I64 {
                    return Ok(position);
                }
                ExprKind::Cast(position)
            }
            Role::View(view) => return self.view(&view, value, index, bounds),
            Role::Root(_) => panic!("cut: {} is needed before its kernel has run", value_name(graph, value)),
            Role::Composite => panic!("cut: composite {} reached the kernels", op.name()),
        };
        Ok(self.exprs.add(ty.dtype, kind))
    }

    fn view(&mut self, view: &View, value: Value, index: &[Dim], bounds: &[Bound]) -> Result<ExprId, Failure> {
        let graph = self.region.graph;
        let x = &graph.node(value.node).inputs;
        let operand = graph.ty(x[0]).shape.clone();
        let shape = &graph.ty(value).shape;
        let from = match view {
            View::Transpose(op) => view::transpose(&op.perm, index),
            View::Broadcast => view::broadcast(&operand, shape, index, &self.ranges),
            View::Reshape => view::reshape(&operand, shape, index, &self.ranges),
            View::Slice(op) => view::slice(&op.starts, &op.steps, index),
            View::Pad(op) => return self.pad(op, x, &operand, index, bounds),
            View::Gather(op) => self.gather(op, value, x, &operand, index, bounds)?,
            View::GatherElements(op) => self.gather_elements(op, value, x, &operand, index, bounds)?,
            View::GatherNd(op) => self.gather_nd(op, value, x, &operand, index, bounds)?,
        };
        self.at(x[0], &from, bounds)
    }

    fn pad(&mut self, op: &Pad, x: &[Value], operand: &[Dim], index: &[Dim], bounds: &[Bound]) -> Result<ExprId, Failure> {
        let from = view::pad(op.mode, operand, &op.low, index, &self.ranges);
        if op.mode != kiln_ir::ops::PadMode::Constant {
            return self.at(x[0], &from, bounds);
        }
        let mut own = Vec::new();
        for (i, extent) in from.iter().zip(operand) {
            if !self.ranges.within(i, extent) {
                own.push(Bound { index: i.clone(), extent: extent.clone() });
            }
        }
        if own.is_empty() {
            return self.at(x[0], &from, bounds);
        }
        let border = self.at(x[1], &[], bounds)?;
        self.guarded(x[0], &from, bounds, own, border)
    }

    /// The element where all of `own` hold, else `otherwise`. A plain load carries the bounds itself.
    pub fn guarded(
        &mut self,
        value: Value,
        index: &[Dim],
        bounds: &[Bound],
        own: Vec<Bound>,
        otherwise: ExprId,
    ) -> Result<ExprId, Failure> {
        if bounds.is_empty() && self.lies_in_margins(value, index, &own, otherwise) {
            return self.at(value, index, &[]);
        }
        let mut all = bounds.to_vec();
        all.extend(own.iter().filter(|b| !bounds.contains(b)).cloned());
        let inner = self.at(value, index, &all)?;
        let expr = self.exprs.get(inner).clone();
        if let ExprKind::Load(access) = expr.kind
            && bounds.is_empty()
            && access.bounds == all
        {
            let access = Access { otherwise: Some(otherwise), ..access };
            return Ok(self.exprs.add(expr.dtype, ExprKind::Load(access)));
        }
        let mut condition = None;
        for bound in own {
            for test in self.inside(&bound) {
                condition = Some(match condition {
                    Some(c) => self.exprs.add(DType::Bool, ExprKind::Binary(BinaryFn::And, c, test)),
                    None => test,
                });
            }
        }
        let Some(condition) = condition else { return Ok(inner) };
        Ok(self.exprs.add(expr.dtype, ExprKind::Select(condition, inner, otherwise)))
    }

    /// Whether a value is placed with zeros around it, as many as an index that is bounded so may go beyond its axes.
    fn lies_in_margins(&self, value: Value, index: &[Dim], bounds: &[Bound], otherwise: ExprId) -> bool {
        let Some(place) = self.places.get(&value) else {
            let node = self.region.graph.node(value.node);
            let NodeKind::Op(Op::Transpose(op)) = &node.kind else { return false };
            return self.lies_in_margins(node.inputs[0], &view::transpose(&op.perm, index), bounds, otherwise);
        };
        let ExprKind::Constant(fill) = self.exprs.get(otherwise).kind else { return false };
        let is_covered = |bound: &Bound| {
            let axis = index.iter().position(|i| *i == bound.index);
            axis.is_some_and(|axis| {
                let (low, high) = place.margins[axis];
                let (low, high) = (Dim::from(low), Dim::from(high));
                self.ranges.within(&(&bound.index + &low), &(&bound.extent + &low + high))
            })
        };
        matches!(fill, Scalar::Int(0) | Scalar::Float(0)) && bounds.iter().all(is_covered)
    }

    fn inside(&mut self, bound: &Bound) -> [ExprId; 2] {
        let index = self.exprs.add(DType::I64, ExprKind::Index(bound.index.clone()));
        let extent = self.exprs.add(DType::I64, ExprKind::Index(bound.extent.clone()));
        let zero = self.exprs.constant(DType::I64, 0.0);
        [
            self.exprs.add(DType::Bool, ExprKind::Compare(CompareFn::GreaterEqual, index, zero)),
            self.exprs.add(DType::Bool, ExprKind::Compare(CompareFn::Less, index, extent)),
        ]
    }

    fn load(&mut self, buffer: crate::kernel::BufferId, dtype: DType, offset: Dim, bounds: &[Bound]) -> ExprId {
        let otherwise = (!bounds.is_empty()).then(|| self.exprs.constant(dtype, 0.0));
        let offset = offset.simplify(&self.ranges);
        self.exprs.add(dtype, ExprKind::Load(Access { buffer, offset, bounds: bounds.to_vec(), otherwise }))
    }

    /// The value of an index operand, checked against an axis of that extent, as a symbol for offsets.
    pub fn checked_index(&mut self, user: Value, value: Value, at: &[Dim], bounds: &[Bound], extent: &Dim) -> Result<Dim, Failure> {
        let index = self.at(value, at, bounds)?;
        let name = value_name(self.region.graph, user);
        let position = match self.checked_nodes.iter().position(|n| *n == name) {
            Some(p) => p,
            None => {
                self.checked_nodes.push(name);
                self.checked_nodes.len() - 1
            }
        };
        let node = (self.first_checked + position) as u32;
        let checked = self.exprs.add(DType::I64, ExprKind::CheckedIndex { index, extent: extent.clone(), node });
        Ok(Dim::from(checked.symbol()))
    }

    fn gather(
        &mut self,
        op: &Gather,
        value: Value,
        x: &[Value],
        operand: &[Dim],
        index: &[Dim],
        bounds: &[Bound],
    ) -> Result<Vec<Dim>, Failure> {
        let rank = self.region.graph.ty(x[1]).rank();
        let which = self.checked_index(value, x[1], &index[op.axis..op.axis + rank], bounds, &operand[op.axis])?;
        let mut from = index[..op.axis].to_vec();
        from.push(which);
        from.extend_from_slice(&index[op.axis + rank..]);
        Ok(from)
    }

    fn gather_elements(
        &mut self,
        op: &GatherElements,
        value: Value,
        x: &[Value],
        operand: &[Dim],
        index: &[Dim],
        bounds: &[Bound],
    ) -> Result<Vec<Dim>, Failure> {
        let which = self.checked_index(value, x[1], index, bounds, &operand[op.axis])?;
        let mut from = index.to_vec();
        from[op.axis] = which;
        Ok(from)
    }

    fn gather_nd(
        &mut self,
        op: &GatherNd,
        value: Value,
        x: &[Value],
        operand: &[Dim],
        index: &[Dim],
        bounds: &[Bound],
    ) -> Result<Vec<Dim>, Failure> {
        let indices = self.region.graph.ty(x[1]).clone();
        let points = indices.rank() - 1;
        let Some(width) = indices.shape[points].as_const() else {
            let place = value_name(self.region.graph, value);
            return Err(Failure::Unsupported(
                Diagnostic::new("gather_nd", "the last dim of the indices must be a constant").at(place, "used here"),
            ));
        };
        let mut from = index[..op.batch_axes].to_vec();
        for component in 0..width {
            let mut at = index[..points].to_vec();
            at.push(Dim::from(component));
            let extent = &operand[op.batch_axes + component as usize];
            from.push(self.checked_index(value, x[1], &at, bounds, extent)?);
        }
        from.extend_from_slice(&index[points..]);
        Ok(from)
    }
}

/// The value of a constant whose elements are all the same, so that it needs no memory.
fn uniform(tensor: &Tensor) -> Option<Scalar> {
    let size = tensor.dtype().size_bytes();
    let first = tensor.bytes().get(..size)?;
    if tensor.elements() > 4096 || !tensor.bytes().chunks_exact(size).all(|c| c == first) {
        return None;
    }
    let one = Tensor::from_vec(tensor.dtype(), Vec::new(), first.to_vec());
    Some(if tensor.dtype().is_float() { Scalar::Float(one.floats()[0].to_bits()) } else { Scalar::Int(one.ints()[0]) })
}
