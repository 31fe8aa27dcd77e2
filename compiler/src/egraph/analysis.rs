//! What is known of a class: the types of its results, its one value if all elements are the same, and whether it depends on
//! inputs.
//!
//! [`Knowledge::merge`] asserts that classes have equal types when they become one, so that an unsound union stops where it
//! happens.

use super::EGraph;
use super::lang::{ENode, Kind, KindId, KindTable};
use crate::cut::role::{Role, Root, View, role};
use egg::{Analysis, DidMerge, Id};
use kiln_ir::graph::{Guard, Parameter};
use kiln_ir::ops::{Facts, Reduce, ReduceKind};
use kiln_ir::{DType, Dim, Graph, NodeKind, Op, Ranges, Tensor, TensorType};
use std::collections::{BTreeMap, BTreeSet};

/// Constants up to this many elements are searched for a common value.
const MAX_SEARCHED: usize = 4096;

/// What is known of one class.
#[derive(Clone, Debug)]
pub struct ClassFacts {
    /// Types of the results: one, except for a class that stands for all results of an operator together.
    pub types: Vec<TensorType>,
    /// The value of every element, as a scalar, where all are the same and known.
    pub uniform: Option<Tensor>,
    /// Whether it depends on parameters and constants alone.
    pub fixed: bool,
}

/// What is known of the graph that the e-graph was made of.
#[derive(Debug)]
pub struct Knowledge {
    kinds: KindTable,
    /// Ranges of the symbols.
    pub symbols: Ranges,
    /// Conditions that hold when the function runs.
    pub guards: BTreeSet<Guard>,
    /// Types of inputs, by position.
    pub(super) inputs: Vec<TensorType>,
    /// Parameters by name, with the values that rules may use.
    pub(super) parameters: BTreeMap<String, Parameter>,
}

impl Knowledge {
    /// What a graph says besides its nodes.
    pub(super) fn of(graph: &Graph) -> Knowledge {
        Knowledge {
            kinds: KindTable::default(),
            symbols: graph.symbols.clone(),
            guards: graph.guards.clone(),
            inputs: graph.inputs().iter().map(|(_, value)| graph.ty(*value).clone()).collect(),
            parameters: BTreeMap::new(),
        }
    }

    /// The number of a kind.
    pub fn number(&mut self, kind: &Kind) -> KindId {
        self.kinds.number(kind)
    }

    /// The kind of an e-node.
    pub fn kind(&self, node: &ENode) -> &Kind {
        self.kinds.kind(node.kind)
    }

    /// The operator of an e-node that is one.
    pub fn op(&self, node: &ENode) -> Option<&Op> {
        match self.kind(node) {
            Kind::Node(NodeKind::Op(op)) => Some(op),
            Kind::Node(NodeKind::Input(_) | NodeKind::Parameter(_) | NodeKind::Constant(_)) | Kind::Result(_) => None,
        }
    }

    /// The types that an operator gives, if it types without a condition that the graph does not state already.
    pub fn infer(&self, op: &Op, operands: &[TensorType]) -> Option<Vec<TensorType>> {
        let mut facts = Facts::new(&self.symbols);
        let types = op.infer(operands, &mut facts).ok()?;
        let stated = |needed: &Guard| self.guards.iter().any(|g| g.same_condition(needed));
        facts.into_guards(op.name(), None).iter().all(stated).then_some(types)
    }

    /// Whether types are the same for every value of the symbols.
    pub fn same_types(&self, a: &[TensorType], b: &[TensorType]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.provably_equal(b, &self.symbols))
    }

    fn leaf(&self, kind: &NodeKind) -> ClassFacts {
        match kind {
            NodeKind::Input(position) => ClassFacts { types: vec![self.inputs[*position].clone()], uniform: None, fixed: false },
            NodeKind::Constant(tensor) => ClassFacts { types: vec![tensor.ty()], uniform: common_value(tensor), fixed: true },
            NodeKind::Parameter(name) => {
                let parameter = &self.parameters[&**name];
                ClassFacts { types: vec![parameter.ty.clone()], uniform: parameter.value.as_ref().and_then(common_value), fixed: true }
            }
            NodeKind::Op(op) => unreachable!("`{}` is not a leaf", op.name()),
        }
    }

    fn applied(&self, op: &Op, operands: &[&ClassFacts]) -> ClassFacts {
        let types: Vec<TensorType> = operands.iter().map(|o| o.types[0].clone()).collect();
        let results = op.infer(&types, &mut Facts::new(&self.symbols));
        let types = results.unwrap_or_else(|e| {
            let types: Vec<String> = types.iter().map(ToString::to_string).collect();
            panic!("the e-graph holds `{}` on ({}), where it does not type: {e}", op.name(), types.join(", "))
        });
        let uniform = uniform_result(op, operands);
        ClassFacts { types, uniform, fixed: operands.iter().all(|o| o.fixed) }
    }
}

impl Analysis<ENode> for Knowledge {
    type Data = ClassFacts;

    fn make(egraph: &mut EGraph, node: &ENode, _: Id) -> ClassFacts {
        let known = &egraph.analysis;
        match known.kind(node) {
            Kind::Node(NodeKind::Op(op)) => {
                let operands: Vec<&ClassFacts> = node.operands.iter().map(|id| &egraph[*id].data).collect();
                known.applied(op, &operands)
            }
            Kind::Node(leaf) => known.leaf(leaf),
            Kind::Result(position) => {
                let whole = &egraph[node.operands[0]].data;
                ClassFacts { types: vec![whole.types[*position as usize].clone()], uniform: None, fixed: whole.fixed }
            }
        }
    }

    fn merge(&mut self, to: &mut ClassFacts, from: ClassFacts) -> DidMerge {
        assert!(self.same_types(&to.types, &from.types), "classes of types {:?} and {:?} are made one", to.types, from.types);
        let (fixed, uniform) = (to.fixed || from.fixed, to.uniform.clone().or_else(|| from.uniform.clone()));
        let changed = |old: &ClassFacts| old.fixed != fixed || old.uniform.is_some() != uniform.is_some();
        let did = DidMerge(changed(to), changed(&from));
        (to.fixed, to.uniform) = (fixed, uniform);
        did
    }
}

/// The value that all elements have, bit for bit.
fn common_value(tensor: &Tensor) -> Option<Tensor> {
    let size = tensor.dtype().size_bytes();
    if tensor.elements() == 0 || tensor.elements() > MAX_SEARCHED {
        return None;
    }
    let first = &tensor.bytes()[..size];
    let all = tensor.bytes().chunks_exact(size).all(|element| element == first);
    all.then(|| Tensor::from_vec(tensor.dtype(), Vec::new(), first.to_vec()))
}

/// Movement keeps a common value, and element-wise operators make one of common values.
fn uniform_result(op: &Op, operands: &[&ClassFacts]) -> Option<Tensor> {
    match role(op) {
        Role::View(View::Transpose(_) | View::Broadcast | View::Reshape | View::Slice(_)) => operands[0].uniform.clone(),
        Role::Unary(_) | Role::Binary(_) | Role::Compare(_) | Role::Select | Role::Cast => {
            let scalars: Vec<Tensor> = operands.iter().map(|o| o.uniform.clone()).collect::<Option<_>>()?;
            op.eval(&scalars).ok()?.pop()
        }
        Role::Root(Root::Dims(dims)) => {
            let [size] = dims.values.as_slice() else { return None };
            size.as_const().map(|c| Tensor::from_ints(DType::I64, Vec::new(), [i128::from(c)]))
        }
        Role::Root(Root::Reduce(reduce)) => reduced_value(reduce, operands[0]),
        // Anything else may combine elements, or has several results.
        Role::View(_) | Role::Iota(_) | Role::Root(_) | Role::Composite => None,
    }
}

/// What a reduction makes of a common value. Sums of whole numbers are exact, in any order, as far as the type has them all.
fn reduced_value(reduce: &Reduce, operand: &ClassFacts) -> Option<Tensor> {
    let value = operand.uniform.as_ref()?;
    let ty = &operand.types[0];
    let count = Dim::product(reduce.axes.iter().map(|axis| &ty.shape[*axis])).as_const().filter(|count| *count > 0)?;
    match reduce.kind {
        ReduceKind::Max | ReduceKind::Min => Some(value.clone()),
        ReduceKind::Sum => {
            let bits = match ty.dtype {
                DType::F64 => 53,
                DType::F32 => 24,
                DType::F16 => 11,
                DType::BF16 => 8,
                _ => return None,
            };
            let (number, most) = (value.floats()[0], (1i64 << bits) as f64);
            let sum = number * count as f64;
            (number.fract() == 0.0 && sum.abs() <= most).then(|| Tensor::scalar(ty.dtype, sum))
        }
        _ => None,
    }
}
