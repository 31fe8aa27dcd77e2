//! Kernels of everything but contractions and scans.

use super::role::{Role, Root, combine_of, role};
use super::value::{Failure, KernelBuilder};
use super::{Cutter, Place, Region, pieces, view};
use crate::kernel::{
    Access, Axis, BinaryFn, Body, Bound, Combine, CompareFn, ExprId, ExprKind, Exprs, Keep, Kernel, Nest, Reduction, Scalar, Stage, Store,
    UnaryFn,
};
use kiln_ir::ops::*;
use kiln_ir::{DType, Diagnostic, Dim, NodeId, Symbol, TensorType, Value};
use std::collections::BTreeMap;

/// The index of an axis as a dim; an axis of one element is always at 0, which is how broadcasts see it.
pub fn position(axis: &Axis) -> Dim {
    if axis.extent.is(1) { Dim::ZERO } else { Dim::from(axis.index.clone()) }
}

/// The indices of axes as dims.
pub fn dims(axes: &[Axis]) -> Vec<Dim> {
    axes.iter().map(position).collect()
}

type Built = Result<(Kernel, Vec<String>), Failure>;

impl Cutter {
    /// Makes the kernels of a root and stores its results.
    pub(super) fn root(&mut self, region: &mut Region, id: NodeId, op: &Op, wanted: &mut BTreeMap<Value, Place>) -> Result<(), Diagnostic> {
        let value = Value { node: id, result: 0 };
        let head = region.plan.head(id);
        let head_op = match &region.graph.node(head).kind {
            kiln_ir::NodeKind::Op(op) => op,
            _ => op,
        };
        let Role::Root(root) = role(head_op) else {
            let place = self.destination(region, value, wanted);
            region.places.remove(&value);
            self.store_value(region, value, place.clone())?;
            region.places.insert(value, place);
            return Ok(());
        };
        let head = Value { node: head, result: 0 };
        match root {
            Root::Scan(op) => return self.scan(region, id, op, wanted),
            Root::Conv(op) if region.choices.winograds.contains_key(&head.node) => {
                let how = region.choices.winograds[&head.node];
                return self.winograd(region, (head, op), value, how, wanted);
            }
            Root::TopK(op) => return self.top_k(region, id, op, wanted),
            Root::Concat(op) => return self.concat(region, value, op, wanted),
            Root::Dims(op) => return self.dims(region, value, op, wanted),
            Root::ScatterElements(_) | Root::ScatterNd(_) => return self.scatter(region, value, &root, wanted),
            Root::Reduce(_)
            | Root::ArgReduce(_)
            | Root::WindowReduce(_)
            | Root::WindowArgMax(_)
            | Root::Cumulative(_)
            | Root::Dot(_)
            | Root::Attention(_)
            | Root::Conv(_) => {}
        }
        let place = self.destination(region, value, wanted);
        region.places.remove(&value);
        self.build(region, |region, checked| match &root {
            Root::Reduce(op) => reduce(region, head, op, value, &place, checked),
            Root::ArgReduce(op) => arg_reduce(region, head, op, value, &place, checked),
            Root::WindowReduce(op) => window_reduce(region, head, op, value, &place, checked),
            Root::WindowArgMax(op) => window_arg_max(region, head, op, value, &place, checked),
            Root::Cumulative(op) => cumulative(region, head, op, value, &place, checked),
            Root::Dot(op) => super::contract::dot(region, head, op, value, &place, checked),
            Root::Attention(op) => super::attention::attention(region, head, op, value, &place, checked),
            Root::Conv(op) => super::contract::conv(region, head, op, value, &place, checked),
            Root::Dims(_) | Root::Concat(_) | Root::ScatterElements(_) | Root::ScatterNd(_) | Root::TopK(_) | Root::Scan(_) => {
                unreachable!("returned above")
            }
        })?;
        region.places.insert(value, place);
        Ok(())
    }

    /// Runs `make` until it succeeds, giving reductions their own kernels where fusing them turns out to be impossible.
    pub(super) fn build(&mut self, region: &mut Region, make: impl Fn(&Region, usize) -> Built) -> Result<(), Diagnostic> {
        loop {
            match make(region, self.program.checked_nodes.len()) {
                Ok((kernel, names)) => {
                    self.program.checked_nodes.extend(names);
                    for kernel in pieces::at_bounds(kernel, &region.ranges) {
                        region.push(kernel);
                    }
                    return Ok(());
                }
                Err(Failure::Unsupported(diagnostic)) => return Err(diagnostic),
                Err(Failure::Unfuse(node)) => {
                    assert!(region.plan.is_fused(node), "cut: an accumulator is needed at an index its kernel does not have");
                    region.plan.unfuse(node);
                    let kiln_ir::NodeKind::Op(op) = &region.graph.node(node).kind else { continue };
                    let op = op.clone();
                    self.root(region, node, &op, &mut BTreeMap::new())?;
                }
            }
        }
    }

    /// Stores any value to a place with a map kernel, or a row kernel when reductions are fused into it.
    pub(super) fn store_value(&mut self, region: &mut Region, value: Value, place: Place) -> Result<(), Diagnostic> {
        self.build(region, |region, checked| map(region, value, &place, checked))
    }

    fn concat(&mut self, region: &mut Region, value: Value, op: &Concat, wanted: &mut BTreeMap<Value, Place>) -> Result<(), Diagnostic> {
        let place = self.destination(region, value, wanted);
        let mut at = Dim::ZERO;
        for operand in region.graph.node(value.node).inputs.clone() {
            let part = Place { base: &place.base + &at * &place.strides[op.axis], ..place.clone() };
            self.store_value(region, operand, part)?;
            at = at + &region.graph.ty(operand).shape[op.axis];
        }
        Ok(())
    }

    fn dims(&mut self, region: &mut Region, value: Value, op: &Dims, wanted: &mut BTreeMap<Value, Place>) -> Result<(), Diagnostic> {
        let place = self.destination(region, value, wanted);
        self.build(region, |region, checked| {
            let mut b = KernelBuilder::new(region, checked);
            b.touch(value.node);
            let stores = op.values.iter().enumerate().map(|(i, dim)| Store {
                buffer: place.buffer,
                offset: place.offset(&[Dim::from(i)]),
                value: b.exprs.add(DType::I64, ExprKind::Index(dim.clone())),
                combine: None,
            });
            let stores = stores.collect();
            Ok(b.finish(value, sweep(Vec::new(), stores)))
        })
    }

    fn scatter(&mut self, region: &mut Region, value: Value, root: &Root, wanted: &mut BTreeMap<Value, Place>) -> Result<(), Diagnostic> {
        let place = self.destination(region, value, wanted);
        let x = region.graph.node(value.node).inputs.clone();
        self.store_value(region, x[0], place.clone())?;
        let reduction = match root {
            Root::ScatterElements(op) => op.reduction,
            Root::ScatterNd(op) => op.reduction,
            _ => unreachable!("called for scatters"),
        };
        let combine = match reduction {
            ScatterReduction::None => None,
            ScatterReduction::Add => Some(Combine::Sum),
            ScatterReduction::Mul => Some(Combine::Product),
            ScatterReduction::Max => Some(Combine::Max),
            ScatterReduction::Min => Some(Combine::Min),
        };
        let shape = region.graph.ty(value).shape.clone();
        self.build(region, |region, checked| {
            let mut b = KernelBuilder::new(region, checked);
            b.touch(value.node);
            let parallel = b.axes(&region.graph.ty(x[2]).shape);
            let index = dims(&parallel);
            let mut to = Vec::new();
            match root {
                Root::ScatterElements(op) => {
                    to.clone_from(&index);
                    to[op.axis] = b.checked_index(value, x[1], &index, &[], &shape[op.axis])?;
                }
                _ => {
                    let indices = region.graph.ty(x[1]);
                    let points = indices.rank() - 1;
                    let Some(width) = indices.shape[points].as_const() else {
                        let diagnostic = Diagnostic::new("scatter_nd", "the last dim of the indices must be a constant");
                        return Err(Failure::Unsupported(diagnostic));
                    };
                    for component in 0..width {
                        let at = [&index[..points], &[Dim::from(component)]].concat();
                        to.push(b.checked_index(value, x[1], &at, &[], &shape[component as usize])?);
                    }
                    to.extend_from_slice(&index[points..]);
                }
            }
            let update = b.element(x[2], &index)?;
            let store = Store { buffer: place.buffer, offset: place.offset(&to), value: update, combine };
            let stages = vec![Stage::Sweep { axes: Vec::new(), stores: vec![store] }];
            Ok(b.finish(value, Body::Nest(Nest { parallel, stages, serial: true })))
        })
    }

    /// Sorts by rank: an element's position is the number of elements that come before it. Quadratic in the axis, but every
    /// element is independent, and ties are exact.
    fn top_k(&mut self, region: &mut Region, id: NodeId, op: &TopK, wanted: &mut BTreeMap<Value, Place>) -> Result<(), Diagnostic> {
        let x = region.graph.node(id).inputs[0];
        let ty = region.graph.ty(x).clone();
        let results = [Value { node: id, result: 0 }, Value { node: id, result: 1 }];
        let sorted = [self.temporary("sorted", ty.dtype, &ty.shape), self.temporary("order", DType::I64, &ty.shape)];
        self.build(region, |region, checked| {
            let mut b = KernelBuilder::new(region, checked);
            b.touch(id);
            let parallel = b.axes(&ty.shape);
            let mine = dims(&parallel);
            let other = b.axis(&ty.shape[op.axis]);
            let mut theirs = mine.clone();
            theirs[op.axis] = position(&other);
            let (a, c) = (b.element(x, &theirs)?, b.element(x, &mine)?);
            let before = comes_before(&mut b, a, c, &theirs[op.axis], &mine[op.axis], op.largest);
            let one = b.exprs.add(DType::I64, ExprKind::Cast(before));
            let reduction = Reduction { combine: Combine::Sum, keep: Keep::Value, value: one };
            let rank = b.exprs.add(DType::I64, ExprKind::Accumulator(0));
            let mut to = mine.clone();
            to[op.axis] = Dim::from(rank.symbol());
            let position = b.exprs.add(DType::I64, ExprKind::Index(mine[op.axis].clone()));
            let stores = [(&sorted[0], c), (&sorted[1], position)].map(|(place, value)| Store {
                buffer: place.buffer,
                offset: place.offset(&to),
                value,
                combine: None,
            });
            let stages = vec![
                Stage::Reduce { axes: vec![other], reductions: vec![reduction] },
                Stage::Sweep { axes: Vec::new(), stores: stores.to_vec() },
            ];
            Ok(b.finish(results[0], Body::Nest(Nest { parallel, stages, serial: false })))
        })?;
        for (value, sorted) in results.into_iter().zip(sorted) {
            // The first k of the sorted axis; copied only where a caller wants them contiguous.
            region.places.insert(value, sorted);
            if let Some(place) = wanted.remove(&value) {
                self.store_value(region, value, place)?;
            }
        }
        Ok(())
    }
}

/// Whether `a` (at position `i`) sorts before `c` (at `j`): larger first (or smaller), NaN first among the largest, ties by position.
fn comes_before(b: &mut KernelBuilder, a: ExprId, c: ExprId, i: &Dim, j: &Dim, largest: bool) -> ExprId {
    let dtype = b.exprs.get(a).dtype;
    let (i, j) = (b.exprs.add(DType::I64, ExprKind::Index(i.clone())), b.exprs.add(DType::I64, ExprKind::Index(j.clone())));
    let mut bool = |kind| b.exprs.add(DType::Bool, kind);
    let order = if largest { CompareFn::Greater } else { CompareFn::Less };
    let earlier = bool(ExprKind::Compare(CompareFn::Less, i, j));
    let mut beats = bool(ExprKind::Compare(order, a, c));
    let mut ties = bool(ExprKind::Compare(CompareFn::Equal, a, c));
    if dtype.is_float() {
        let (na, nc) = (bool(ExprKind::Unary(UnaryFn::IsNan, a)), bool(ExprKind::Unary(UnaryFn::IsNan, c)));
        let (not_na, not_nc) = (bool(ExprKind::Unary(UnaryFn::Not, na)), bool(ExprKind::Unary(UnaryFn::Not, nc)));
        let nan_beats =
            if largest { bool(ExprKind::Binary(BinaryFn::And, na, not_nc)) } else { bool(ExprKind::Binary(BinaryFn::And, not_na, nc)) };
        beats = bool(ExprKind::Binary(BinaryFn::Or, beats, nan_beats));
        let both = bool(ExprKind::Binary(BinaryFn::And, na, nc));
        ties = bool(ExprKind::Binary(BinaryFn::Or, ties, both));
    }
    let tie_wins = bool(ExprKind::Binary(BinaryFn::And, ties, earlier));
    bool(ExprKind::Binary(BinaryFn::Or, beats, tie_wins))
}

fn sweep(parallel: Vec<Axis>, stores: Vec<Store>) -> Body {
    Body::Nest(Nest { parallel, stages: vec![Stage::Sweep { axes: Vec::new(), stores }], serial: false })
}

/// Copies an array between two places.
pub(super) fn copy(from: &Place, to: &Place, ty: &TensorType) -> Kernel {
    let mut exprs = Exprs::default();
    let parallel: Vec<Axis> =
        ty.shape.iter().enumerate().map(|(i, d)| Axis { index: Symbol::new(&format!("$i{i}")), extent: d.clone() }).collect();
    let index = dims(&parallel);
    let access = Access { buffer: from.buffer, offset: from.offset(&index), bounds: Vec::new(), otherwise: None };
    let value = exprs.add(ty.dtype, ExprKind::Load(access));
    let store = Store { buffer: to.buffer, offset: to.offset(&index), value, combine: None };
    Kernel { name: "copy state".into(), origins: Vec::new(), exprs, body: sweep(parallel, vec![store]) }
}

/// An element-wise kernel; with reductions fused into it, a row kernel.
fn map(region: &Region, value: Value, place: &Place, checked: usize) -> Built {
    let fused = region.plan.fused_into(value.node);
    let mut b = KernelBuilder::new(region, checked);
    let shape = &region.graph.ty(value).shape;
    let Some(first) = fused.first() else {
        let parallel = b.axes(shape);
        let index = dims(&parallel);
        let element = b.element(value, &index)?;
        let store = Store { buffer: place.buffer, offset: place.offset(&index), value: element, combine: None };
        return Ok(b.finish(value, sweep(parallel, vec![store])));
    };
    let (axes, _) = reduce_of(region, *first);
    let mut rows = Rows::new(&mut b, shape, &axes);
    rows.reductions(region, &mut b, &fused)?;
    let inner = rows.inner(&mut b);
    let index = rows.index(&inner);
    let element = b.element(value, &index)?;
    let store = Store { buffer: place.buffer, offset: place.offset(&index), value: element, combine: None };
    rows.stages.push(Stage::Sweep { axes: inner, stores: vec![store] });
    Ok(b.finish(value, Body::Nest(Nest { parallel: rows.parallel, stages: rows.stages, serial: false })))
}

fn reduce_of(region: &Region, id: NodeId) -> (Vec<usize>, bool) {
    match &region.graph.node(id).kind {
        kiln_ir::NodeKind::Op(Op::Reduce(op)) => (op.axes.clone(), op.keep),
        _ => panic!("cut: only reductions are fused into rows"),
    }
}

/// Rows of a shape: parallel indices over the axes that stay, fresh inner indices over those that are reduced.
struct Rows {
    shape: Vec<Dim>,
    axes: Vec<usize>,
    parallel: Vec<Axis>,
    stages: Vec<Stage>,
    accumulators: u32,
}

impl Rows {
    fn new(b: &mut KernelBuilder, shape: &[Dim], axes: &[usize]) -> Rows {
        let kept: Vec<Dim> = (0..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a].clone()).collect();
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        Rows { shape: shape.to_vec(), axes: sorted, parallel: b.axes(&kept), stages: Vec::new(), accumulators: 0 }
    }

    fn inner(&self, b: &mut KernelBuilder) -> Vec<Axis> {
        self.axes.iter().map(|&a| b.axis(&self.shape[a])).collect()
    }

    /// The index into the whole shape.
    fn index(&self, inner: &[Axis]) -> Vec<Dim> {
        let (mut kept, mut reduced) = (dims(&self.parallel).into_iter(), dims(inner).into_iter());
        (0..self.shape.len()).map(|a| if self.axes.contains(&a) { reduced.next() } else { kept.next() }.unwrap_or(Dim::ZERO)).collect()
    }

    /// The index of a reduction's result.
    fn reduced_index(&self, keep: bool) -> Vec<Dim> {
        let mut kept = dims(&self.parallel).into_iter();
        let all = (0..self.shape.len()).map(|a| if self.axes.contains(&a) { None } else { Some(kept.next().unwrap_or(Dim::ZERO)) });
        all.filter_map(|i| match i {
            Some(i) => Some(i),
            None => keep.then_some(Dim::ZERO),
        })
        .collect()
    }

    /// A stage that reduces the operand of `head`, whose accumulator then stands for its result.
    fn reduction(
        &mut self,
        region: &Region,
        b: &mut KernelBuilder,
        head: Value,
        combine: Combine,
        keep: Keep,
        keep_axes: bool,
    ) -> Result<ExprId, Failure> {
        let inner = self.inner(b);
        let operand = region.graph.node(head.node).inputs[0];
        let value = b.element(operand, &self.index(&inner))?;
        self.stages.push(Stage::Reduce { axes: inner, reductions: vec![Reduction { combine, keep, value }] });
        let number = self.accumulators;
        self.accumulators += 1;
        Ok(b.bind_accumulator(head, self.reduced_index(keep_axes), region.graph.ty(head).dtype, number))
    }

    fn reductions(&mut self, region: &Region, b: &mut KernelBuilder, fused: &[NodeId]) -> Result<(), Failure> {
        for &id in fused {
            let kiln_ir::NodeKind::Op(Op::Reduce(op)) = &region.graph.node(id).kind else { continue };
            self.reduction(region, b, Value { node: id, result: 0 }, combine_of(op.kind), Keep::Value, op.keep)?;
        }
        Ok(())
    }

    /// Stores the end of the epilogue, once per row.
    fn store(mut self, mut b: KernelBuilder, value: Value, place: &Place, keep: bool) -> Built {
        let index = self.reduced_index(keep);
        let element = b.element(value, &index)?;
        let store = Store { buffer: place.buffer, offset: place.offset(&index), value: element, combine: None };
        self.stages.push(Stage::Sweep { axes: Vec::new(), stores: vec![store] });
        Ok(b.finish(value, Body::Nest(Nest { parallel: self.parallel, stages: self.stages, serial: false })))
    }
}

fn reduce(region: &Region, head: Value, op: &Reduce, value: Value, place: &Place, checked: usize) -> Built {
    let mut b = KernelBuilder::new(region, checked);
    let operand = region.graph.node(head.node).inputs[0];
    let mut rows = Rows::new(&mut b, &region.graph.ty(operand).shape, &op.axes);
    let fused = region.plan.fused_into(value.node);
    rows.reductions(region, &mut b, &fused)?;
    rows.reduction(region, &mut b, head, combine_of(op.kind), Keep::Value, op.keep)?;
    rows.store(b, value, place, op.keep)
}

fn arg_reduce(region: &Region, head: Value, op: &ArgReduce, value: Value, place: &Place, checked: usize) -> Built {
    let mut b = KernelBuilder::new(region, checked);
    let operand = region.graph.node(head.node).inputs[0];
    let mut rows = Rows::new(&mut b, &region.graph.ty(operand).shape, &[op.axis]);
    let combine = match op.kind {
        ArgKind::Max => Combine::Max,
        ArgKind::Min => Combine::Min,
    };
    let keep = if op.last { Keep::LastPosition } else { Keep::FirstPosition };
    rows.reduction(region, &mut b, head, combine, keep, op.keep)?;
    rows.store(b, value, place, op.keep)
}

/// The parts of a window operator that both kinds share.
struct Window<'a> {
    window: &'a [usize],
    strides: &'a [usize],
    dilations: &'a [usize],
    low: &'a [Dim],
}

impl Window<'_> {
    /// The operand's index under an output index and a window index, and the bounds within which it exists.
    fn source(&self, b: &KernelBuilder, operand: &[Dim], at: &[Dim], inside: &[Dim]) -> (Vec<Dim>, Vec<Bound>) {
        let leading = operand.len() - self.window.len();
        let (mut from, mut bounds) = (at[..leading].to_vec(), Vec::new());
        for axis in 0..self.window.len() {
            let position = &at[leading + axis] * Dim::from(self.strides[axis]) + &inside[axis] * Dim::from(self.dilations[axis]);
            let position = position - &self.low[axis];
            let extent = &operand[leading + axis];
            if !b.ranges.within(&position, extent) {
                bounds.push(Bound { index: position.clone(), extent: extent.clone() });
            }
            from.push(position);
        }
        (from, bounds)
    }

    /// Per window axis, the first position of the operand under an output index, and the end of the positions that exist: of the
    /// operand or of the window, whichever comes first.
    fn first_inside(&self, operand: &[Dim], at: &[Dim]) -> Vec<(Dim, Dim)> {
        let leading = operand.len() - self.window.len();
        let axis = |axis: usize| {
            let step = Dim::from(self.dilations[axis]);
            let start = &at[leading + axis] * Dim::from(self.strides[axis]) - &self.low[axis];
            let skipped = (Dim::ZERO - &start).ceil_div(&step).maximum(&Dim::ZERO);
            let end = &start + Dim::from(self.window[axis]) * &step;
            (start + skipped * step, end.minimum(&operand[leading + axis]))
        };
        (0..self.window.len()).map(axis).collect()
    }
}

/// Whether 0 ≤ index < extent for all of them.
fn inside_all<'a>(b: &mut KernelBuilder, pairs: impl Iterator<Item = (&'a Dim, &'a Dim)>) -> ExprId {
    let zero = b.exprs.add(DType::I64, ExprKind::Index(Dim::ZERO));
    let mut all = b.exprs.constant(DType::Bool, 1.0);
    for (index, extent) in pairs {
        let [index, extent] = [index, extent].map(|d| b.exprs.add(DType::I64, ExprKind::Index(d.clone())));
        for condition in [ExprKind::Compare(CompareFn::LessEqual, zero, index), ExprKind::Compare(CompareFn::Less, index, extent)] {
            let condition = b.exprs.add(DType::Bool, condition);
            all = b.exprs.add(DType::Bool, ExprKind::Binary(BinaryFn::And, all, condition));
        }
    }
    all
}

fn window_reduce(region: &Region, head: Value, op: &WindowReduce, value: Value, place: &Place, checked: usize) -> Built {
    let window = Window { window: &op.window, strides: &op.strides, dilations: &op.dilations, low: &op.low };
    let combine = match op.kind {
        WindowKind::Sum => Combine::Sum,
        WindowKind::Max => Combine::Max,
    };
    let mut b = KernelBuilder::new(region, checked);
    let (parallel, stage, _) = window_stage(region, &mut b, head, &window, combine, Keep::Value)?;
    b.bind_accumulator(head, dims(&parallel), region.graph.ty(head).dtype, 0);
    finish_window(b, parallel, stage, value, place)
}

fn window_arg_max(region: &Region, head: Value, op: &WindowArgMax, value: Value, place: &Place, checked: usize) -> Built {
    let window = Window { window: &op.window, strides: &op.strides, dilations: &op.dilations, low: &op.low };
    let mut b = KernelBuilder::new(region, checked);
    let (parallel, stage, operand) = window_stage(region, &mut b, head, &window, Combine::Max, Keep::FirstPosition)?;
    // From the position in the window to the position in the plane.
    let position = b.exprs.add(DType::I64, ExprKind::Accumulator(0));
    let sizes: Vec<Dim> = op.window.iter().map(|&w| Dim::from(w)).collect();
    b.ranges.set_index(position.symbol(), Dim::product(&sizes));
    let inside = view::split(&Dim::from(position.symbol()), &sizes, &b.ranges);
    let (from, _) = window.source(&b, &operand, &dims(&parallel), &inside);
    let leading = operand.len() - sizes.len();
    let spatial = &operand[leading..];
    // Narrow numbers where they do, since as many lanes hold values.
    let is_small = Dim::product(spatial).as_const().is_some_and(|n| i32::try_from(n).is_ok());
    let int = if is_small { DType::I32 } else { DType::I64 };
    let position = b.exprs.add(int, ExprKind::Accumulator(0));
    let number = |b: &mut KernelBuilder, dim: Dim| {
        let index = b.exprs.add(DType::I64, ExprKind::Index(dim));
        b.exprs.cast(int, index)
    };
    let plane = |from: &[Dim]| from.iter().zip(spatial).fold(Dim::ZERO, |p, (i, size)| p * size + i);
    let (first, _) = window.source(&b, &operand, &dims(&parallel), &vec![Dim::ZERO; sizes.len()]);
    let mut element = number(&mut b, plane(&first[leading..]));
    for (axis, digit) in digits(&mut b, position, int, &op.window).into_iter().enumerate() {
        let step = number(&mut b, Dim::product(&spatial[axis + 1..]) * Dim::from(op.dilations[axis]));
        let ahead = b.exprs.add(int, ExprKind::Binary(BinaryFn::Mul, digit, step));
        element = b.exprs.add(int, ExprKind::Binary(BinaryFn::Add, element, ahead));
    }
    // Padding counts as the least value, so it comes first where every element of the window is that, or where there is none.
    let outside: Vec<(&Dim, &Dim)> = from[leading..].iter().zip(spatial).filter(|(i, size)| !b.ranges.within(i, size)).collect();
    if !outside.is_empty() {
        let first = window.first_inside(&operand, &dims(&parallel));
        let exists = inside_all(&mut b, first.iter().map(|(i, end)| (i, end)));
        let (first, none) = (plane(&first.iter().map(|f| f.0.clone()).collect::<Vec<_>>()), Dim::from(-1));
        let [first, none] = [first, none].map(|d| number(&mut b, d));
        let instead = b.exprs.add(int, ExprKind::Select(exists, first, none));
        let chosen = inside_all(&mut b, outside.into_iter());
        element = b.exprs.add(int, ExprKind::Select(chosen, element, instead));
    }
    let element = b.exprs.cast(DType::I64, element);
    b.hold(head, dims(&parallel), element);
    finish_window(b, parallel, stage, value, place)
}

/// A position in a window as its index on each axis: arithmetic that vectors can do, unlike that of offsets.
fn digits(b: &mut KernelBuilder, position: ExprId, int: DType, window: &[usize]) -> Vec<ExprId> {
    let mut rest = position;
    let mut found = Vec::new();
    for (axis, &size) in window.iter().enumerate().rev() {
        if axis == 0 {
            found.push(rest);
            break;
        }
        let mut by = |f, x, y: usize| {
            let y = b.exprs.add(int, ExprKind::Constant(Scalar::Int(y as i128)));
            b.exprs.add(int, ExprKind::Binary(f, x, y))
        };
        let positions: usize = window.iter().product();
        let quotient = if size.is_power_of_two() {
            by(BinaryFn::ShiftRight, rest, size.trailing_zeros() as usize)
        } else if positions.saturating_mul(size) < 1 << 16 {
            // ⌊x/d⌋ = ⌊x·⌈2¹⁶/d⌉ / 2¹⁶⌋ where x·d < 2¹⁶. Source: Granlund & Montgomery 1994, theorem 4.2.
            let product = by(BinaryFn::Mul, rest, (1usize << 16).div_ceil(size));
            by(BinaryFn::ShiftRight, product, 16)
        } else {
            by(BinaryFn::Div, rest, size)
        };
        let whole = by(BinaryFn::Mul, quotient, size);
        found.push(b.exprs.add(int, ExprKind::Binary(BinaryFn::Sub, rest, whole)));
        rest = quotient;
    }
    found.reverse();
    found
}

fn window_stage(
    region: &Region,
    b: &mut KernelBuilder,
    head: Value,
    window: &Window,
    combine: Combine,
    keep: Keep,
) -> Result<(Vec<Axis>, Stage, Vec<Dim>), Failure> {
    let x = region.graph.node(head.node).inputs[0];
    let ty = region.graph.ty(x).clone();
    let parallel = b.axes(&region.graph.ty(head).shape);
    let inner: Vec<Axis> = window.window.iter().map(|&w| b.axis(&Dim::from(w))).collect();
    let (from, bounds) = window.source(b, &ty.shape, &dims(&parallel), &dims(&inner));
    let value = if bounds.is_empty() {
        b.element(x, &from)?
    } else {
        let identity = identity(b, combine, ty.dtype);
        b.guarded(x, &from, &[], bounds, identity)?
    };
    let stage = Stage::Reduce { axes: inner, reductions: vec![Reduction { combine, keep, value }] };
    Ok((parallel, stage, ty.shape))
}

/// The value that changes nothing when combined.
fn identity(b: &mut KernelBuilder, combine: Combine, dtype: DType) -> ExprId {
    let (least, greatest) = dtype.int_range().unwrap_or((0, 0));
    let float = dtype.is_float();
    let scalar = match combine {
        Combine::Sum | Combine::Or => return b.exprs.constant(dtype, 0.0),
        Combine::Product | Combine::And => return b.exprs.constant(dtype, 1.0),
        Combine::Max if float => return b.exprs.constant(dtype, f64::NEG_INFINITY),
        Combine::Min if float => return b.exprs.constant(dtype, f64::INFINITY),
        Combine::Max => Scalar::Int(least),
        Combine::Min => Scalar::Int(greatest),
    };
    b.exprs.add(dtype, ExprKind::Constant(scalar))
}

fn finish_window(mut b: KernelBuilder, parallel: Vec<Axis>, stage: Stage, value: Value, place: &Place) -> Built {
    let index = dims(&parallel);
    let element = b.element(value, &index)?;
    let store = Store { buffer: place.buffer, offset: place.offset(&index), value: element, combine: None };
    let stages = vec![stage, Stage::Sweep { axes: Vec::new(), stores: vec![store] }];
    Ok(b.finish(value, Body::Nest(Nest { parallel, stages, serial: false })))
}

fn cumulative(region: &Region, head: Value, op: &Cumulative, value: Value, place: &Place, checked: usize) -> Built {
    let mut b = KernelBuilder::new(region, checked);
    let x = region.graph.node(head.node).inputs[0];
    let ty = region.graph.ty(x).clone();
    let mut rows = Rows::new(&mut b, &ty.shape, &[op.axis]);
    let axis = b.axis(&ty.shape[op.axis]);
    let index = rows.index(std::slice::from_ref(&axis));
    let operand = b.element(x, &index)?;
    let combine = match op.kind {
        CumulativeKind::Sum => Combine::Sum,
        CumulativeKind::Prod => Combine::Product,
    };
    let element = b.bind_accumulator(head, index.clone(), ty.dtype, 0);
    let store = Store { buffer: place.buffer, offset: place.offset(&index), value: element, combine: None };
    let reduction = Reduction { combine, keep: Keep::Value, value: operand };
    rows.stages.push(Stage::Running { axis, descending: op.reverse, exclusive: op.exclusive, reduction, store });
    Ok(b.finish(value, Body::Nest(Nest { parallel: rows.parallel, stages: rows.stages, serial: false })))
}
