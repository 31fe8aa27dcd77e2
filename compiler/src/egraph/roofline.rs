//! What an e-node costs on a machine, in picoseconds. Element-wise work becomes part of the kernels around it, so it costs operations
//! and no traffic of its own; movement is arithmetic on offsets and costs next to nothing.

use super::EGraph;
use super::cost::Cost;
use super::lang::{ENode, Kind};
use crate::cut::role::{Role, Root, View, role};
use crate::kernel::PrepareBudget;
use crate::kernel::roofline::{Machine, Traffic, usual_size};
use egg::Id;
use kiln_ir::ops::{Conv, Dot};
use kiln_ir::{Dim, NodeKind, Op, Symbol};
use std::collections::BTreeMap;

const PICOSECONDS: f64 = 1e12;
/// No rule changes a loop: it costs the same everywhere.
const LOOP_SECONDS: f64 = 1e-3;

/// What takes longer counts as this, so that the costs of a million e-nodes add up in 64 bits.
const MOST_SECONDS: f64 = 10.0;

/// Of what depends on parameters alone, and is not more than may be prepared: it is computed once, for many runs.
const PREPARED: f64 = 1e-3;

/// Costs on a machine at the usual sizes of symbols.
pub struct OnMachine<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Sizes that symbols usually have.
    pub usual_sizes: &'a BTreeMap<Symbol, i64>,
}

impl Cost for OnMachine<'_> {
    fn of(&self, egraph: &EGraph, class: Id, node: &ENode) -> u64 {
        match egraph.analysis.kind(node) {
            Kind::Node(NodeKind::Op(op)) => {
                let picoseconds = PICOSECONDS * self.seconds(egraph, class, node, op).min(MOST_SECONDS);
                match egraph[class].data.fixed && self.may_be_prepared(egraph, class, node, op) {
                    true => (PREPARED * picoseconds) as u64,
                    // Of two graphs that take as long, the smaller one.
                    false => 1 + picoseconds as u64,
                }
            }
            Kind::Node(_) | Kind::Result(_) => 0,
        }
    }
}

impl OnMachine<'_> {
    fn seconds(&self, egraph: &EGraph, class: Id, node: &ENode, op: &Op) -> f64 {
        let results = || self.elements(egraph, class);
        let operations = |each: i64| each as f64 * results() / self.machine.operations_per_second;
        match role(op) {
            Role::Unary(f) => operations(f.operations()),
            Role::Binary(f) => operations(f.operations()),
            Role::Compare(_) | Role::Select | Role::Cast => operations(1),
            Role::View(View::Gather(_) | View::GatherElements(_) | View::GatherNd(_)) => operations(4),
            Role::View(_) | Role::Iota(_) => 0.0,
            Role::Root(Root::Dims(_)) => 0.0,
            Role::Root(Root::Dot(dot)) => self.dot(egraph, class, node, dot),
            Role::Root(Root::Conv(conv)) => self.conv(egraph, class, node, conv),
            Role::Root(Root::Scan(_)) => LOOP_SECONDS,
            Role::Root(_) | Role::Composite => {
                let read: f64 = node.operands.iter().map(|x| self.elements(egraph, *x)).sum();
                self.machine.other(read + results(), self.traffic(egraph, class, node))
            }
        }
    }

    /// Whether what depends on parameters alone is prepared, were it all that is.
    fn may_be_prepared(&self, egraph: &EGraph, class: Id, node: &ENode, op: &Op) -> bool {
        let shape = |operand: usize| &egraph[node.operands[operand]].data.types[0].shape;
        let depth: f64 = match role(op) {
            Role::Root(Root::Dot(dot)) => dot.a_contract.iter().map(|axis| self.size(&shape(0)[*axis])).product(),
            Role::Root(Root::Conv(_)) => shape(1)[1..].iter().map(|dim| self.size(dim)).product(),
            _ => return true,
        };
        let read: f64 = node.operands.iter().map(|x| self.bytes(egraph, *x)).sum();
        PrepareBudget::allows(read as i64, (self.elements(egraph, class) * depth) as i64)
    }

    fn size(&self, dim: &Dim) -> f64 {
        usual_size(dim, self.usual_sizes)
    }

    fn elements(&self, egraph: &EGraph, class: Id) -> f64 {
        egraph[class].data.types[0].shape.iter().map(|dim| self.size(dim)).product()
    }

    fn bytes(&self, egraph: &EGraph, class: Id) -> f64 {
        self.elements(egraph, class) * egraph[class].data.types[0].dtype.size_bytes() as f64
    }

    /// Operands are read and results are written once; weights come from memory.
    fn traffic(&self, egraph: &EGraph, class: Id, node: &ENode) -> Traffic {
        let of = |id: Id| self.machine.traffic(self.bytes(egraph, id), !egraph[id].data.fixed);
        let all = node.operands.iter().copied().chain([class]).map(of);
        all.fold(Traffic::default(), |sum, one| Traffic { close: sum.close + one.close, far: sum.far + one.far })
    }

    fn dot(&self, egraph: &EGraph, class: Id, node: &ENode, dot: &Dot) -> f64 {
        let shape = |operand: usize| &egraph[node.operands[operand]].data.types[0].shape;
        let product = |operand: usize, axes: &[usize]| axes.iter().map(|axis| self.size(&shape(operand)[*axis])).product::<f64>();
        let free = [
            product(0, &Dot::free_axes(shape(0).len(), &dot.a_batch, &dot.a_contract)),
            product(1, &Dot::free_axes(shape(1).len(), &dot.b_batch, &dot.b_contract)),
        ];
        let (batch, depth) = (product(0, &dot.a_batch), product(0, &dot.a_contract));
        self.machine.contraction(free, batch, depth, 0.0, self.traffic(egraph, class, node))
    }

    fn conv(&self, egraph: &EGraph, class: Id, node: &ENode, conv: &Conv) -> f64 {
        let (result, kernel) = (&egraph[class].data.types[0].shape, &egraph[node.operands[1]].data.types[0].shape);
        let groups = conv.groups as f64;
        let outputs = self.size(&kernel[0]) / groups;
        let pixels: f64 = result[2..].iter().map(|dim| self.size(dim)).product();
        let depth: f64 = kernel[1..].iter().map(|dim| self.size(dim)).product();
        let batch = self.size(&result[0]) * groups;
        self.machine.convolution(outputs, pixels, batch, depth, 0.0, self.traffic(egraph, class, node))
    }
}
