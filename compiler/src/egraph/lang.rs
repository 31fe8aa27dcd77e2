//! The language of the e-graph: what a graph node is, as a number, and its operands as classes.
//!
//! An operator with its attributes is large (shapes, regions, constants) and egg keeps each e-node three times, so e-nodes hold a
//! [`KindId`] and the table of kinds is kept once. Numbers are given in the order of first use: they depend on the program
//! alone, and so does everything that is ordered by them.

use egg::{Id, Language};
use kiln_ir::NodeKind;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

/// What an e-node is, without its operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// A node of the graph. With several results its class stands for all of them together.
    Node(NodeKind),
    /// One result of such a class.
    Result(u32),
}

impl Kind {
    /// The operator's name, or what else it is.
    fn name(&self) -> &'static str {
        match self {
            Kind::Node(NodeKind::Op(op)) => op.name(),
            Kind::Node(NodeKind::Input(_)) => "(input)",
            Kind::Node(NodeKind::Parameter(_)) => "(parameter)",
            Kind::Node(NodeKind::Constant(_)) => "(constant)",
            Kind::Result(_) => "(result)",
        }
    }
}

/// The number of a kind in its table.
#[derive(Clone, Copy, Debug)]
pub struct KindId {
    index: u32,
    /// The operator's name: e-nodes are looked up by it.
    pub name: &'static str,
}

impl PartialEq for KindId {
    fn eq(&self, other: &KindId) -> bool {
        self.index == other.index
    }
}

impl Eq for KindId {}

impl PartialOrd for KindId {
    fn partial_cmp(&self, other: &KindId) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KindId {
    fn cmp(&self, other: &KindId) -> std::cmp::Ordering {
        self.index.cmp(&other.index)
    }
}

impl Hash for KindId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.index.hash(state);
    }
}

/// Kinds by number.
#[derive(Default, Debug)]
pub struct KindTable {
    kinds: Vec<Kind>,
    // Looked up only, never walked, so that its order cannot show.
    numbers: HashMap<Kind, KindId>,
}

impl KindTable {
    /// The number of a kind, a new one at its first use.
    pub fn number(&mut self, kind: &Kind) -> KindId {
        if let Some(id) = self.numbers.get(kind) {
            return *id;
        }
        let id = KindId { index: self.kinds.len() as u32, name: kind.name() };
        self.kinds.push(kind.clone());
        self.numbers.insert(kind.clone(), id);
        id
    }

    /// The kind of a number.
    pub fn kind(&self, id: KindId) -> &Kind {
        &self.kinds[id.index as usize]
    }
}

/// A node of the e-graph.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ENode {
    /// What it is.
    pub kind: KindId,
    /// Classes of its operands, in order.
    pub operands: Vec<Id>,
}

impl Language for ENode {
    type Discriminant = &'static str;

    fn discriminant(&self) -> &'static str {
        self.kind.name
    }

    fn matches(&self, other: &ENode) -> bool {
        self.kind == other.kind && self.operands.len() == other.operands.len()
    }

    fn children(&self) -> &[Id] {
        &self.operands
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.operands
    }
}
