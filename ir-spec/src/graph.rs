//! Graphs: nodes with ordered operands, kept in a `petgraph` graph; modules of named functions over shared parameters.

use crate::dim::{Range, Symbol};
use crate::ops::{Facts, Op, TypeError};
use crate::{Dim, Proof, Ranges, Tensor, TensorType};
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

mod copy;

/// Identifies a node of one graph.
pub type NodeId = NodeIndex<u32>;

/// One result of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Value {
    /// The node.
    pub node: NodeId,
    /// Which of its results.
    pub result: u32,
}

/// Where a node came from: reaches error messages, profiles and kernel symbols. Origins are equal where their texts are.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `Conv "/layer1/conv1/Conv"`, `mlp.toml:12:3`, `src/model.rs:40`.
    pub text: String,
    /// Where the other nodes came from that rewriting made it of.
    pub others: Vec<Arc<Origin>>,
}

impl Origin {
    /// That of one node.
    pub fn new(text: impl Into<String>) -> Origin {
        Origin { text: text.into(), others: Vec::new() }
    }

    /// It and all others, each once.
    pub fn all(self: &Arc<Origin>) -> Vec<Arc<Origin>> {
        let mut all = vec![self.clone()];
        let mut at = 0;
        while at < all.len() {
            for other in all[at].clone().others.iter() {
                if !all.contains(other) {
                    all.push(other.clone());
                }
            }
            at += 1;
        }
        all
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Origin) -> bool {
        self.text == other.text
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// What a node is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum NodeKind {
    /// The function's n-th input.
    Input(usize),
    /// A named parameter of the module.
    Parameter(Arc<str>),
    /// A constant.
    Constant(Tensor),
    /// An operator applied to operands.
    Op(Op),
}

/// A node: what it is, its operands in order and the types of its results.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Operands in order. The graph's edges mirror them; the verifier checks that.
    pub inputs: Vec<Value>,
    /// Types of its results.
    pub types: Vec<TensorType>,
    /// Where it came from.
    pub origin: Option<Arc<Origin>>,
}

/// A relation between dims that must hold at run time because it could not be proved.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Relation {
    /// left = right
    Equal,
    /// left ≤ right
    AtMost,
    /// left = right, or one of them is 1
    Broadcasts,
}

/// A condition on symbols, checked before a function runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Guard {
    /// Left side.
    pub left: Dim,
    /// The relation.
    pub relation: Relation,
    /// Right side.
    pub right: Dim,
    /// Which operator needs it.
    pub why: String,
}

impl Guard {
    /// Whether both state the same condition, for whatever reason.
    pub fn same_condition(&self, other: &Guard) -> bool {
        self.left == other.left && self.relation == other.relation && self.right == other.right
    }

    /// Whether it holds under these symbol values; `None` when a side cannot be evaluated.
    pub fn holds(&self, f: &dyn Fn(&Symbol) -> Option<i64>) -> Option<bool> {
        let (l, r) = (self.left.evaluate(f)?, self.right.evaluate(f)?);
        Some(match self.relation {
            Relation::Equal => l == r,
            Relation::AtMost => l <= r,
            Relation::Broadcasts => l == r || l == 1 || r == 1,
        })
    }
}

impl std::fmt::Display for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let relation = match self.relation {
            Relation::Equal => "=",
            Relation::AtMost => "<=",
            Relation::Broadcasts => "broadcasts with",
        };
        write!(f, "{} {relation} {} (needed by {})", self.left, self.right, self.why)
    }
}

/// One function: inputs, nodes, named outputs, and what is known of its symbols.
#[derive(Clone, Default, Debug)]
pub struct Graph {
    topology: StableDiGraph<Node, u32>,
    inputs: Vec<(String, Value)>,
    outputs: Vec<(String, Value)>,
    /// Ranges of the symbols in its types.
    pub symbols: Ranges,
    /// Conditions checked before it runs.
    pub guards: BTreeSet<Guard>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Appends an input. Symbols of its type that are new are sizes of 0 or more.
    pub fn add_input(&mut self, name: impl Into<String>, ty: TensorType) -> Value {
        for dim in &ty.shape {
            for symbol in dim.symbols() {
                let range = self.symbols.of_symbol(&symbol);
                self.symbols.set(symbol, range);
            }
        }
        let value = self.insert(NodeKind::Input(self.inputs.len()), Vec::new(), vec![ty], None);
        self.inputs.push((name.into(), value));
        value
    }

    /// Refers to a parameter of the module.
    pub fn add_parameter(&mut self, name: &str, ty: TensorType) -> Value {
        self.insert(NodeKind::Parameter(Arc::from(name)), Vec::new(), vec![ty], None)
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, tensor: Tensor) -> Value {
        let ty = tensor.ty();
        self.insert(NodeKind::Constant(tensor), Vec::new(), vec![ty], None)
    }

    /// Applies an operator and infers its result types; conditions that cannot be proved become guards.
    ///
    /// Errors: the operator's type rule, by label.
    pub fn add(&mut self, op: Op, inputs: &[Value], origin: Option<Arc<Origin>>) -> Result<Vec<Value>, TypeError> {
        self.add_declared(op, inputs, None, origin)
    }

    /// The same where the result types were declared: each must be provably the inferred one, and is kept as it was written.
    ///
    /// Errors: the operator's type rule; `declared_type` when a declared type is another one.
    pub fn add_declared(
        &mut self,
        op: Op,
        inputs: &[Value],
        declared: Option<Vec<TensorType>>,
        origin: Option<Arc<Origin>>,
    ) -> Result<Vec<Value>, TypeError> {
        let types: Vec<TensorType> = inputs.iter().map(|v| self.ty(*v).clone()).collect();
        let mut facts = Facts::new(&self.symbols);
        let mut results = op.infer(&types, &mut facts)?;
        if let Some(declared) = declared {
            for (declared, inferred) in declared.iter().zip(&results) {
                if !declared.provably_equal(inferred, &self.symbols) {
                    return Err(TypeError::new("declared_type", format!("declared {declared}, but the result is {inferred}")));
                }
            }
            if declared.len() != results.len() {
                return Err(TypeError::new("declared_type", format!("declared {} results, there are {}", declared.len(), results.len())));
            }
            results = declared;
        }
        let guards = facts.into_guards(op.name(), origin.as_deref());
        guards.into_iter().for_each(|guard| self.require(guard));
        let count = results.len() as u32;
        let first = self.insert(NodeKind::Op(op), inputs.to_vec(), results, origin);
        Ok((0..count).map(|result| Value { node: first.node, result }).collect())
    }

    /// Adds a guard, unless its condition is stated already; then the first reason stays.
    pub fn require(&mut self, guard: Guard) {
        let first = Guard { why: String::new(), ..guard.clone() };
        let stated = self.guards.range(first..).next().is_some_and(|g| g.same_condition(&guard));
        if !stated {
            self.guards.insert(guard);
        }
    }

    fn insert(&mut self, kind: NodeKind, inputs: Vec<Value>, types: Vec<TensorType>, origin: Option<Arc<Origin>>) -> Value {
        let operands = inputs.clone();
        let node = self.topology.add_node(Node { kind, inputs, types, origin });
        for (position, operand) in operands.into_iter().enumerate() {
            self.topology.add_edge(operand.node, node, position as u32);
        }
        Value { node, result: 0 }
    }

    /// Names a value as the next output.
    pub fn add_output(&mut self, name: impl Into<String>, value: Value) {
        self.outputs.push((name.into(), value));
    }

    /// Inputs in order.
    pub fn inputs(&self) -> &[(String, Value)] {
        &self.inputs
    }

    /// Outputs in order.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// The node of that id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.topology[id]
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.topology[value.node].types[value.result as usize]
    }

    /// Number of nodes, live or not.
    pub fn node_count(&self) -> usize {
        self.topology.node_count()
    }

    /// The underlying graph, for algorithms of `petgraph`. Edge weights are operand positions.
    pub fn topology(&self) -> &StableDiGraph<Node, u32> {
        &self.topology
    }

    /// Nodes that use any result of `id`, with the operand position, in ascending order.
    pub fn users(&self, id: NodeId) -> Vec<(NodeId, u32)> {
        use petgraph::visit::EdgeRef;
        let mut users: Vec<_> = self.topology.edges_directed(id, Direction::Outgoing).map(|e| (e.target(), *e.weight())).collect();
        users.sort_unstable();
        users
    }

    /// Live nodes, operands first, in an order that depends on the program alone. All inputs are included.
    pub fn order(&self) -> Vec<NodeId> {
        self.order_from(self.inputs.iter().chain(&self.outputs).map(|(_, v)| v.node), &|_| false)
    }

    /// The nodes that `roots` depend on, operands first, in the order of a depth-first walk; operands of a node that is a `leaf`
    /// are not visited for its sake.
    pub fn order_from(&self, roots: impl IntoIterator<Item = NodeId>, leaf: &dyn Fn(NodeId) -> bool) -> Vec<NodeId> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for root in roots {
            // Depth first without recursion: models are thousands of nodes deep.
            let mut stack = vec![(root, 0usize)];
            while let Some((id, next)) = stack.pop() {
                if next == 0 && !seen.insert(id) {
                    continue;
                }
                match self.topology[id].inputs.get(next) {
                    Some(operand) if !leaf(id) => {
                        stack.push((id, next + 1));
                        if !seen.contains(&operand.node) {
                            stack.push((operand.node, 0));
                        }
                    }
                    _ => order.push(id),
                }
            }
        }
        order
    }

    /// Rebuilds the live part node by node: `f` sees each operator node with its new operands and adds what replaces it.
    /// Inputs, parameters, constants, outputs, symbols and guards are carried over.
    ///
    /// This is how passes work: the old graph stays as it is, nothing is patched in place.
    pub fn rebuild<E>(&self, mut f: impl FnMut(&mut Graph, NodeId, &Node, &Op, &[Value]) -> Result<Vec<Value>, E>) -> Result<Graph, E> {
        let mut out = Graph { symbols: self.symbols.clone(), guards: self.guards.clone(), ..Graph::default() };
        let mut map: BTreeMap<Value, Value> = BTreeMap::new();
        for (name, value) in &self.inputs {
            let new = out.add_input(name.clone(), self.ty(*value).clone());
            map.insert(*value, new);
        }
        for id in self.order() {
            let node = self.node(id);
            let results = match &node.kind {
                NodeKind::Input(_) => continue,
                NodeKind::Parameter(_) | NodeKind::Constant(_) => {
                    vec![out.insert(node.kind.clone(), Vec::new(), node.types.clone(), node.origin.clone())]
                }
                NodeKind::Op(op) => {
                    let operands: Vec<Value> = node.inputs.iter().map(|v| map[v]).collect();
                    f(&mut out, id, node, op, &operands)?
                }
            };
            for (result, new) in results.into_iter().enumerate() {
                map.insert(Value { node: id, result: result as u32 }, new);
            }
        }
        for (name, value) in &self.outputs {
            out.add_output(name.clone(), map[value]);
        }
        Ok(out)
    }

    /// The same graph with `f` applied to every dim: specialisation (`batch = 1`) and renaming. Guards that become provable vanish.
    pub fn map_dims(&self, f: &mut dyn FnMut(&Dim) -> Dim) -> Graph {
        let mut out = Graph::default();
        for (symbol, range) in self.symbols.iter() {
            if let Some(kept) = f(&Dim::from(symbol.clone())).as_symbol() {
                out.symbols.set(kept.clone(), range);
            }
        }
        out.topology = self.topology.map(
            |_, node| {
                let mut node = node.clone();
                for ty in &mut node.types {
                    ty.shape.iter_mut().for_each(|d| *d = f(d));
                }
                if let NodeKind::Op(op) = &mut node.kind {
                    op.map_dims(f);
                }
                node
            },
            |_, position| *position,
        );
        out.inputs = self.inputs.clone();
        out.outputs = self.outputs.clone();
        for guard in &self.guards {
            let guard = Guard { left: f(&guard.left), right: f(&guard.right), ..guard.clone() };
            if guard.relation != Relation::AtMost && guard.left == guard.right || guard.holds(&|_| None) == Some(true) {
                continue;
            }
            if guard.relation == Relation::AtMost && out.symbols.at_most(&guard.left, &guard.right) == Proof::Yes {
                continue;
            }
            out.guards.insert(guard);
        }
        out
    }

    /// Values of the symbols from actual input shapes: every input axis that is one symbol alone defines it.
    ///
    /// Errors: a message when ranks or dims disagree, or a symbol stays unknown.
    pub fn bind_symbols(&self, shapes: &[Vec<usize>]) -> Result<BTreeMap<Symbol, i64>, String> {
        let mut values: BTreeMap<Symbol, i64> = BTreeMap::new();
        if shapes.len() != self.inputs.len() {
            return Err(format!("{} inputs were given, the function takes {}", shapes.len(), self.inputs.len()));
        }
        for ((name, value), shape) in self.inputs.iter().zip(shapes) {
            let ty = self.ty(*value);
            if ty.rank() != shape.len() {
                return Err(format!("input `{name}` has rank {}, expected {ty}", shape.len()));
            }
            for (dim, &actual) in ty.shape.iter().zip(shape) {
                if let Some(symbol) = dim.as_symbol() {
                    values.entry(symbol.clone()).or_insert(actual as i64);
                }
            }
        }
        for ((name, value), shape) in self.inputs.iter().zip(shapes) {
            for (axis, (dim, &actual)) in self.ty(*value).shape.iter().zip(shape).enumerate() {
                match dim.evaluate(&|s| values.get(s).copied()) {
                    Some(expected) if expected == actual as i64 => {}
                    Some(expected) => {
                        return Err(format!("input `{name}` has {actual} on axis {axis}, expected {expected} ({dim})"));
                    }
                    None => {
                        return Err(format!("axis {axis} of input `{name}` is {dim}, of which a symbol is unknown"));
                    }
                }
            }
        }
        for (symbol, range) in self.symbols.iter() {
            match values.get(symbol) {
                Some(v) if (range.min..=range.max).contains(v) => {}
                Some(v) => {
                    return Err(format!("{symbol} = {v} is outside {}..={}", range.min, range.max));
                }
                None => return Err(format!("no input defines the symbol {symbol}")),
            }
        }
        Ok(values)
    }
}

/// Ways to break a graph, for the verifier's tests.
#[cfg(test)]
impl Graph {
    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.topology[id]
    }
}

/// Graphs are equal when their live parts are, node for node in [`Graph::order`], with the same interface.
impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        let (a, b) = (self.order(), other.order());
        let (at, bt) = (position_of(&a), position_of(&b));
        let same_value = |x: &Value, y: &Value| at[&x.node] == bt[&y.node] && x.result == y.result;
        let same_named = |x: &(String, Value), y: &(String, Value)| x.0 == y.0 && same_value(&x.1, &y.1);
        a.len() == b.len()
            && self.symbols == other.symbols
            && self.guards == other.guards
            && self.inputs.len() == other.inputs.len()
            && self.outputs.len() == other.outputs.len()
            && a.iter().zip(&b).all(|(x, y)| {
                let (x, y) = (self.node(*x), other.node(*y));
                x.kind == y.kind
                    && x.types == y.types
                    && x.inputs.len() == y.inputs.len()
                    && x.inputs.iter().zip(&y.inputs).all(|(v, w)| same_value(v, w))
            })
            && self.inputs.iter().zip(&other.inputs).all(|(x, y)| same_named(x, y))
            && self.outputs.iter().zip(&other.outputs).all(|(x, y)| same_named(x, y))
    }
}

impl Eq for Graph {}

fn position_of(order: &[NodeId]) -> BTreeMap<NodeId, usize> {
    order.iter().enumerate().map(|(i, id)| (*id, i)).collect()
}

impl Hash for Graph {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for id in self.order() {
            let node = self.node(id);
            node.kind.hash(state);
            node.types.hash(state);
        }
    }
}

/// A parameter: its type and, when known, its value (a window of the model file, not a copy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its type; dims are constants.
    pub ty: TensorType,
    /// Its value.
    pub value: Option<Tensor>,
}

/// Named functions over named parameters: what a frontend makes and a backend compiles.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Module {
    /// A name fit for symbols and files.
    pub name: String,
    /// `predict`, later `init`, `train_step`, `eval_step`.
    pub functions: BTreeMap<String, Graph>,
    /// Parameters by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// Free text from the model: class labels, picture preprocessing. Keys are documented in SPEC.md.
    pub metadata: BTreeMap<String, String>,
}

impl Module {
    /// The inference function. Errors: there is none.
    pub fn predict(&self) -> Result<&Graph, String> {
        self.functions.get("predict").ok_or_else(|| format!("module `{}` has no function `predict`", self.name))
    }

    /// Binds symbols to constants in every function (`--dim batch=1`).
    pub fn specialise(&mut self, values: &BTreeMap<Symbol, i64>) {
        let bind = |s: &Symbol| values.get(s).map(|v| Dim::from(*v));
        for graph in self.functions.values_mut() {
            *graph = graph.map_dims(&mut |d| d.substitute(&bind));
        }
    }
}

/// A range for symbols of which only a bound is known.
pub fn size_up_to(max: i64) -> Range {
    Range { min: 0, max }
}
