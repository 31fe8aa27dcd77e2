//! Cuts a graph of primitives into structured kernels.
//!
//! ```text
//! %h = dot %x, %w ; %s = add %h, %b ; %y = max %s, 0      →      one contract whose epilogue adds %b and takes the maximum
//! ```
//!
//! Every value is either *placed* in a buffer by the kernel that makes it, or *inlined*: recomputed as an expression wherever
//! it is used. Movement operators are inlined as offsets. `plan.rs` decides; `value.rs` turns inlined values into expressions;
//! `nest.rs`, `contract.rs`, `attention.rs`, `winograd/` and `scan.rs` make the kernels; `pieces.rs` cuts maps where bounds change, `join.rs` joins what belongs together.
//!
//! Needs: composites expanded, but for attentions that a backend computes whole.  Keeps: the value of every output (sums in canonical order).  Skips: nothing.

pub(crate) mod attention;
mod contract;
mod join;
mod kept;
mod margins;
mod nest;
mod pieces;
mod plan;
mod prepare;
pub(crate) mod role;
mod scan;
mod value;
mod view;
pub mod winograd;

#[cfg(test)]
mod tests;

use crate::kernel::{Buffer, BufferId, BufferKind, Kernel, Program, Step};
use crate::tuning::Decision;
use kiln_ir::graph::{NodeKind, Origin};
use kiln_ir::{Diagnostic, Dim, Graph, Module, NodeId, Ranges, Symbol, TensorType, Value};
use plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use winograd::Winograds;

/// Where a placed value lies: an array inside a buffer.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    buffer: BufferId,
    base: Dim,
    /// Elements between neighbours along each axis.
    strides: Vec<Dim>,
    /// Zeros before and behind each axis.
    margins: Vec<(usize, usize)>,
}

impl Place {
    fn row_major(buffer: BufferId, base: Dim, shape: &[Dim]) -> Place {
        Place { buffer, base, strides: row_major_strides(shape), margins: vec![(0, 0); shape.len()] }
    }

    fn offset(&self, index: &[Dim]) -> Dim {
        index.iter().zip(&self.strides).fold(self.base.clone(), |sum, (i, stride)| sum + i * stride)
    }
}

fn row_major_strides(shape: &[Dim]) -> Vec<Dim> {
    let mut strides = vec![Dim::ONE; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = &strides[axis] * &shape[axis];
    }
    strides
}

/// How a value lies in memory where it is not row-major.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Its axes, slowest first.
    pub order: Vec<usize>,
    /// Elements left unused behind each run of the last of them.
    pub spare: usize,
    /// Zeros stored before and behind each axis, for convolutions that read beyond the value.
    pub margins: Vec<(usize, usize)>,
}

impl Layout {
    /// Axes in order, nothing around them.
    pub fn row_major(rank: usize) -> Layout {
        Layout { order: (0..rank).collect(), spare: 0, margins: vec![(0, 0); rank] }
    }
}

/// The values that are not row-major.
pub type Layouts = BTreeMap<Value, Layout>;

/// What was decided about a graph before it is cut.
#[derive(Clone, Default, Debug)]
pub struct Choices {
    /// How values lie in memory; inputs, outputs and parameters stay row-major.
    pub layouts: Layouts,
    /// Convolutions that are computed in tiles.
    pub winograds: Winograds,
    /// Rows stay in registers from stage to stage, so that no costly value of theirs is kept in memory.
    pub rows_in_registers: bool,
    /// Elements are widened where they are used, however often: that costs less than to load them wide.
    pub widens_freely: bool,
    /// What was asked.
    pub decisions: Vec<Decision>,
    /// The same of the bodies of scans.
    pub bodies: BTreeMap<NodeId, Choices>,
}

/// Cuts one function, as was chosen for its graph.
///
/// Errors: an operator that kernels cannot express, by name.
pub fn cut(module: &Module, function: &str, choices: &Choices) -> Result<Program, Diagnostic> {
    let graph = module
        .functions
        .get(function)
        .ok_or_else(|| Diagnostic::new("no_function", format!("no function `{function}` in {}", module.name)))?;
    let mut program = Program {
        name: function.to_string(),
        decisions: choices.decisions.clone(),
        symbols: graph.symbols.clone(),
        symbol_order: graph.symbols.iter().map(|(s, _)| s.clone()).collect(),
        guards: graph.guards.iter().cloned().collect(),
        ..Program::default()
    };
    let mut places = BTreeMap::new();
    for (position, (name, value)) in graph.inputs().iter().enumerate() {
        let buffer = add_buffer(&mut program, name, graph, *value, BufferKind::Input(position));
        program.inputs.push((name.clone(), buffer));
        places.insert(*value, Place::row_major(buffer, Dim::ZERO, &graph.ty(*value).shape));
    }
    let mut outputs = Vec::new();
    for (position, (name, value)) in graph.outputs().iter().enumerate() {
        let buffer = add_buffer(&mut program, name, graph, *value, BufferKind::Output(position));
        program.outputs.push((name.clone(), buffer));
        outputs.push((*value, Place::row_major(buffer, Dim::ZERO, &graph.ty(*value).shape)));
    }
    let ranges = program.symbols.clone();
    let mut cutter = Cutter { program, loops: 0, parameters: BTreeMap::new(), constants: Vec::new() };
    let steps = cutter.function(graph, choices, places, outputs, ranges)?;
    let mut program = cutter.program;
    program.steps = steps;
    prepare::split(&mut program);
    join::join(&mut program);
    if !choices.rows_in_registers {
        kept::keep(&mut program.steps);
    }
    Ok(program)
}

fn add_buffer(program: &mut Program, name: &str, graph: &Graph, value: Value, kind: BufferKind) -> BufferId {
    let ty = graph.ty(value);
    program.add_buffer(Buffer { name: name.to_string(), dtype: ty.dtype, shape: ty.shape.clone(), kind })
}

/// State shared by a function and the regions inside it.
struct Cutter {
    program: Program,
    /// How many loop indices have been named.
    loops: usize,
    parameters: BTreeMap<Arc<str>, BufferId>,
    constants: Vec<(kiln_ir::Tensor, BufferId)>,
}

/// One graph being cut: the function, or the body of a scan.
struct Region<'g> {
    graph: &'g Graph,
    choices: &'g Choices,
    plan: Plan,
    places: BTreeMap<Value, Place>,
    /// Size symbols and enclosing loop indices.
    ranges: Ranges,
    steps: Vec<Step>,
}

impl Cutter {
    /// Cuts a graph whose inputs lie in `places` and whose outputs must be stored to `outputs`.
    fn function(
        &mut self,
        graph: &Graph,
        choices: &Choices,
        places: BTreeMap<Value, Place>,
        outputs: Vec<(Value, Place)>,
        ranges: Ranges,
    ) -> Result<Vec<Step>, Diagnostic> {
        let mut region = Region { graph, choices, plan: plan::plan(graph, choices.widens_freely)?, places, ranges, steps: Vec::new() };
        // A value that is made by a kernel is stored where its first output wants it; what is left over is copied at the end.
        let mut wanted: BTreeMap<Value, Place> = BTreeMap::new();
        let mut copies = Vec::new();
        for (value, place) in outputs {
            if region.plan.is_root(value) && !wanted.contains_key(&value) {
                wanted.insert(value, place);
            } else {
                copies.push((value, place));
            }
        }
        for id in graph.order() {
            let node = graph.node(id);
            match &node.kind {
                NodeKind::Input(_) => {}
                NodeKind::Parameter(name) => {
                    let value = Value { node: id, result: 0 };
                    let buffer = self.parameter(name, graph, value);
                    region.places.insert(value, Place::row_major(buffer, Dim::ZERO, &graph.ty(value).shape));
                }
                NodeKind::Constant(tensor) => {
                    let value = Value { node: id, result: 0 };
                    let buffer = self.constant(tensor);
                    region.places.insert(value, Place::row_major(buffer, Dim::ZERO, &graph.ty(value).shape));
                }
                NodeKind::Op(op) => {
                    if region.plan.is_root_node(id) {
                        self.root(&mut region, id, op, &mut wanted)?;
                    }
                }
            }
        }
        for (value, place) in copies {
            self.store_value(&mut region, value, place)?;
        }
        Ok(region.steps)
    }

    fn parameter(&mut self, name: &Arc<str>, graph: &Graph, value: Value) -> BufferId {
        if let Some(id) = self.parameters.get(name) {
            return *id;
        }
        let id = add_buffer(&mut self.program, name, graph, value, BufferKind::Parameter(name.clone()));
        self.parameters.insert(name.clone(), id);
        id
    }

    fn constant(&mut self, tensor: &kiln_ir::Tensor) -> BufferId {
        if let Some((_, id)) = self.constants.iter().find(|(t, _)| t == tensor) {
            return *id;
        }
        let shape = tensor.ty().shape;
        let id = self.program.add_buffer(Buffer {
            name: format!("constant{}", self.constants.len()),
            dtype: tensor.dtype(),
            shape,
            kind: BufferKind::Constant(tensor.clone()),
        });
        self.constants.push((tensor.clone(), id));
        id
    }

    /// Where the kernel that makes `value` stores it: an output, or a new temporary.
    fn destination(&mut self, region: &mut Region, value: Value, wanted: &mut BTreeMap<Value, Place>) -> Place {
        let place = match wanted.remove(&value) {
            Some(place) => place,
            None => self.new_place(region, value),
        };
        region.places.insert(value, place.clone());
        place
    }

    /// A new temporary, laid out as wanted; zeros around it are stored at once.
    fn new_place(&mut self, region: &mut Region, value: Value) -> Place {
        let name = value_name(region.graph, value);
        let ty = region.graph.ty(value);
        let row_major = Layout::row_major(ty.rank());
        let layout = region.choices.layouts.get(&value).unwrap_or(&row_major);
        let place = self.place(name, ty, layout);
        region.steps.extend(margins::fill(&place, ty, layout).into_iter().map(Step::Run));
        place
    }

    /// A new temporary array in a layout.
    fn place(&mut self, name: String, ty: &TensorType, layout: &Layout) -> Place {
        let size = |axis: usize| &ty.shape[axis] + Dim::from(layout.margins[axis].0 + layout.margins[axis].1);
        let mut shape: Vec<Dim> = layout.order.iter().map(|&axis| size(axis)).collect();
        if let Some(last) = shape.last_mut() {
            *last = &*last + Dim::from(layout.spare);
        }
        let mut strides = vec![Dim::ONE; ty.rank()];
        for (stride, axis) in row_major_strides(&shape).into_iter().zip(&layout.order) {
            strides[*axis] = stride;
        }
        let base = strides.iter().zip(&layout.margins).fold(Dim::ZERO, |sum, (stride, (low, _))| sum + stride * Dim::from(*low));
        let buffer = self.program.add_buffer(Buffer { name, dtype: ty.dtype, shape, kind: BufferKind::Temporary });
        Place { buffer, base, strides, margins: layout.margins.clone() }
    }

    /// A new temporary array that no value of the graph stands for.
    fn temporary(&mut self, name: &str, dtype: kiln_ir::DType, shape: &[Dim]) -> Place {
        let buffer = self.program.add_buffer(Buffer { name: name.into(), dtype, shape: shape.to_vec(), kind: BufferKind::Temporary });
        Place::row_major(buffer, Dim::ZERO, shape)
    }

    /// A loop index nobody else uses.
    fn loop_index(&mut self) -> Symbol {
        self.loops += 1;
        Symbol::new(&format!("$t{}", self.loops - 1))
    }
}

/// A short readable name: the last word of the origin, or the operator and its number.
fn value_name(graph: &Graph, value: Value) -> String {
    let node = graph.node(value.node);
    let base = match (&node.kind, &node.origin) {
        (_, Some(origin)) => origin.text.clone(),
        (NodeKind::Op(op), None) => format!("{}{}", op.name(), value.node.index()),
        _ => format!("value{}", value.node.index()),
    };
    if node.types.len() > 1 { format!("{base}:{}", value.result) } else { base }
}

/// The origins of all nodes, in order, each once.
fn origins(graph: &Graph, nodes: &BTreeSet<NodeId>) -> Vec<Arc<Origin>> {
    let mut found: Vec<Arc<Origin>> = Vec::new();
    for id in nodes {
        for origin in graph.node(*id).origin.iter().flat_map(Origin::all) {
            if !found.contains(&origin) {
                found.push(origin);
            }
        }
    }
    found
}

impl Region<'_> {
    fn push(&mut self, kernel: Kernel) {
        self.steps.push(Step::Run(kernel));
    }
}
