//! Graphs into e-graphs and back. Interface, symbols, guards and origins are kept; equal nodes become one.
//!
//! Operands have smaller ids than what uses them, and what stood in the graph has smaller ids than what rules add. So the e-node
//! of the least id in each class is the one of the graph, and choosing it in every class gives the graph back.

use super::EGraph;
use super::analysis::Knowledge;
use super::lang::{ENode, Kind};
use super::provenance::made_of;
use egg::Id;
use kiln_ir::graph::{Origin, Parameter};
use kiln_ir::{Graph, NodeKind, Op, TensorType, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A graph as an e-graph.
pub struct Embedded {
    /// Its nodes, and what rules add.
    pub egraph: EGraph,
    /// Names of the inputs; their types are in the analysis.
    inputs: Vec<String>,
    /// Names of the outputs, and their classes.
    outputs: Vec<(String, Id)>,
    /// Where each id came from.
    origins: BTreeMap<Id, Arc<Origin>>,
    /// How many e-nodes there were before rules added some.
    given: usize,
}

impl Embedded {
    /// The e-graph of the live part of a graph. Values of `parameters` may be used by rules.
    pub fn new(graph: &Graph, parameters: &BTreeMap<String, Parameter>) -> Embedded {
        let mut known = Knowledge::of(graph);
        let order = graph.order();
        for id in &order {
            let node = graph.node(*id);
            if let NodeKind::Parameter(name) = &node.kind {
                let value = parameters.get(&**name).and_then(|p| p.value.clone());
                known.parameters.insert(name.to_string(), Parameter { ty: node.types[0].clone(), value });
            }
        }
        let mut embedded = Embedded {
            egraph: EGraph::new(known),
            inputs: graph.inputs().iter().map(|(name, _)| name.clone()).collect(),
            outputs: Vec::new(),
            origins: BTreeMap::new(),
            given: 0,
        };
        let mut classes: BTreeMap<Value, Id> = BTreeMap::new();
        for id in order {
            let node = graph.node(id);
            let operands = node.inputs.iter().map(|value| classes[value]).collect();
            let present = embedded.egraph.nodes().len();
            let whole = embedded.add(Kind::Node(node.kind.clone()), operands, node.origin.as_ref());
            if embedded.egraph.nodes().len() > present {
                // Dims stay as they were written.
                embedded.egraph[whole].data.types.clone_from(&node.types);
            }
            for result in 0..node.types.len() as u32 {
                let class = match node.types.len() {
                    1 => whole,
                    _ => embedded.add(Kind::Result(result), vec![whole], node.origin.as_ref()),
                };
                classes.insert(Value { node: id, result }, class);
            }
        }
        embedded.outputs = graph.outputs().iter().map(|(name, value)| (name.clone(), classes[value])).collect();
        embedded.egraph.rebuild();
        embedded.given = embedded.egraph.nodes().len();
        embedded
    }

    /// Classes of the nodes that there were before rules added some.
    pub fn given(&self) -> BTreeSet<Id> {
        (0..self.given).map(|position| self.egraph.find(Id::from(position))).collect()
    }

    fn add(&mut self, kind: Kind, operands: Vec<Id>, origin: Option<&Arc<Origin>>) -> Id {
        let kind = self.egraph.analysis.number(&kind);
        let id = self.egraph.add(ENode { kind, operands });
        if let Some(origin) = origin {
            self.origins.entry(id).or_insert_with(|| origin.clone());
        }
        id
    }

    /// Adds an operator with one result that a rule makes in the place of `root`; `None` if it does not type there.
    pub fn apply(&mut self, op: &Op, operands: Vec<Id>, root: Id) -> Option<Id> {
        let types: Vec<TensorType> = operands.iter().map(|id| self.egraph[*id].data.types[0].clone()).collect();
        self.egraph.analysis.infer(op, &types).filter(|results| results.len() == 1)?;
        let origin = self.origin(root);
        Some(self.add(Kind::Node(NodeKind::Op(op.clone())), operands, origin.as_ref()))
    }

    /// Adds a constant that a rule makes.
    pub fn constant(&mut self, tensor: kiln_ir::Tensor) -> Id {
        self.add(Kind::Node(NodeKind::Constant(tensor)), Vec::new(), None)
    }

    /// Where each class came from: the first of its e-nodes that knows.
    pub fn origins(&self) -> BTreeMap<Id, Arc<Origin>> {
        let mut origins = BTreeMap::new();
        for (id, origin) in &self.origins {
            origins.entry(self.egraph.find(*id)).or_insert_with(|| origin.clone());
        }
        origins
    }

    /// Where a class came from, as far as its number tells; [`Embedded::origins`] knows all.
    fn origin(&self, class: Id) -> Option<Arc<Origin>> {
        self.origins.get(&self.egraph.find(class)).or_else(|| self.origins.get(&class)).cloned()
    }

    /// Makes one of two classes, whose origin is that of the first; false if they are one already.
    pub fn unite(&mut self, root: Id, made: Id) -> bool {
        let origin = self.origin(root);
        let changed = self.egraph.union(root, made);
        if let Some(origin) = origin.filter(|_| changed) {
            self.origins.entry(self.egraph.find(root)).or_insert(origin);
        }
        changed
    }

    /// Classes of the outputs.
    pub fn outputs(&self) -> impl Iterator<Item = Id> + '_ {
        self.outputs.iter().map(|(_, id)| self.egraph.find(*id))
    }

    /// The e-node of the least id in every class, by class: the graph itself, and something for each class that rules added.
    pub fn first_choice(&self) -> BTreeMap<Id, ENode> {
        let mut first = BTreeMap::new();
        for (position, node) in self.egraph.nodes().iter().enumerate() {
            let class = self.egraph.find(Id::from(position));
            first.entry(class).or_insert_with(|| {
                let mut node = node.clone();
                node.operands.iter_mut().for_each(|id| *id = self.egraph.find(*id));
                node
            });
        }
        first
    }

    /// The graph of one e-node for each class. `choice` has every class that the outputs need, and no cycle.
    pub fn graph(&self, choice: &BTreeMap<Id, ENode>) -> Graph {
        let known = &self.egraph.analysis;
        let mut out = Graph::new();
        out.symbols = known.symbols.clone();
        out.guards = known.guards.clone();
        let inputs: Vec<Value> = self.inputs.iter().zip(&known.inputs).map(|(name, ty)| out.add_input(name.clone(), ty.clone())).collect();
        let (mut origins, others) = (self.origins(), made_of(self, choice));
        for (class, others) in others {
            origins.entry(class).and_modify(|origin| *origin = Arc::new(Origin { text: origin.text.clone(), others }));
        }
        let mut values: BTreeMap<Id, Vec<Value>> = BTreeMap::new();
        for root in self.outputs() {
            // Depth first without recursion: models are thousands of nodes deep.
            let mut stack = vec![(root, 0usize)];
            while let Some((class, next)) = stack.pop() {
                if values.contains_key(&class) {
                    continue;
                }
                let node = &choice[&class];
                match node.operands.get(next) {
                    Some(operand) => stack.extend([(class, next + 1), (*operand, 0)]),
                    None => {
                        let results = self.emit(&mut out, class, node, &inputs, &values, origins.get(&class));
                        values.insert(class, results);
                    }
                }
            }
        }
        for ((name, _), class) in self.outputs.iter().zip(self.outputs()) {
            out.add_output(name.clone(), values[&class][0]);
        }
        out
    }

    fn emit(
        &self,
        out: &mut Graph,
        class: Id,
        node: &ENode,
        inputs: &[Value],
        values: &BTreeMap<Id, Vec<Value>>,
        origin: Option<&Arc<Origin>>,
    ) -> Vec<Value> {
        let types = &self.egraph[class].data.types;
        match self.egraph.analysis.kind(node) {
            Kind::Node(NodeKind::Input(position)) => vec![inputs[*position]],
            Kind::Node(NodeKind::Parameter(name)) => vec![out.add_parameter(name, types[0].clone())],
            Kind::Node(NodeKind::Constant(tensor)) => vec![out.add_constant(tensor.clone())],
            Kind::Result(position) => vec![values[&node.operands[0]][*position as usize]],
            Kind::Node(NodeKind::Op(op)) => {
                let operands: Vec<Value> = node.operands.iter().map(|id| values[id][0]).collect();
                out.add_declared(op.clone(), &operands, Some(types.clone()), origin.cloned())
                    .unwrap_or_else(|e| panic!("`{}` was taken out of the e-graph where it does not type: {e}", op.name()))
            }
        }
    }
}
