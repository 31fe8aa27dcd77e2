//! What an e-node costs. [`Cost`] is what extraction asks; [`ByKind`] answers before a target is known, with weights by kind of
//! operator, in steps. [`super::roofline`] answers for a target.
//!
//! Contractions weigh far more than everything else, so that no choice computes one twice to save element-wise work. A composite
//! weighs less than what it is made of: that it is kept whole is what recognising is for.

use super::EGraph;
use super::lang::{ENode, Kind};
use crate::cut::role::{Role, Root, View, role};
use egg::Id;
use kiln_ir::{NodeKind, Op};

const MOVEMENT: u64 = 1;
const ELEMENT_WISE: u64 = 4;
const SMALL_COMPOSITE: u64 = 6;
const REDUCTION: u64 = 8;
const CONTRACTION: u64 = 400;
/// Two contractions and a softmax, less than they cost apart even with the reshapes that it may need.
const ATTENTION: u64 = 2 * CONTRACTION - 20;
const LOOP: u64 = 10 * CONTRACTION;

/// What extraction makes least.
pub trait Cost {
    /// The cost of an e-node of a class, without that of its operands.
    fn of(&self, egraph: &EGraph, class: Id, node: &ENode) -> u64;
}

/// Weights by kind of operator. What depends on parameters alone is computed once, before the first run, and costs nothing.
pub struct ByKind;

impl Cost for ByKind {
    fn of(&self, egraph: &EGraph, class: Id, node: &ENode) -> u64 {
        match egraph.analysis.kind(node) {
            Kind::Node(NodeKind::Op(op)) if !egraph[class].data.fixed => of_operator(op),
            Kind::Node(_) | Kind::Result(_) => 0,
        }
    }
}

fn of_operator(op: &Op) -> u64 {
    match role(op) {
        Role::Unary(_) | Role::Binary(_) | Role::Compare(_) | Role::Select | Role::Cast => ELEMENT_WISE,
        Role::View(View::Gather(_) | View::GatherElements(_) | View::GatherNd(_)) => ELEMENT_WISE,
        Role::View(_) | Role::Iota(_) | Role::Root(Root::Dims(_) | Root::Concat(_)) => MOVEMENT,
        Role::Root(Root::Dot(_) | Root::Conv(_)) => CONTRACTION,
        Role::Root(Root::Scan(_)) => LOOP,
        Role::Root(Root::Attention(_)) => ATTENTION,
        Role::Root(_) => REDUCTION,
        Role::Composite => match op {
            Op::Attention(_) => ATTENTION,
            Op::Rnn(_) | Op::Gru(_) | Op::Lstm(_) => LOOP,
            // More is known of these than of the layer norm that they may be as well.
            Op::InstanceNorm(_) | Op::GroupNorm(_) => SMALL_COMPOSITE - 1,
            // One pass over the activations, that folding into weights saves.
            Op::BatchNorm(_) => 2 * SMALL_COMPOSITE,
            _ => SMALL_COMPOSITE,
        },
    }
}
