//! One step of a recurrent layer, as it is written with primitives.
//!
//! rnn: f(W·x + R·h + b)    gru: (1 − z)·n + z·h, in [`super::gru`]    lstm: o·h(f·c + i·g(..)), in [`super::lstm`]
//!
//! What enters an activation function may be bounded, alike for all gates. A state is `[batch, hidden]`, or `[hidden]` of one sample.

use super::gru::gru;
use super::lstm::lstm;
use super::terms::{Bias, Row, Term, Weight, as_bias, terms};
use kiln_ir::attr::Real;
use kiln_ir::ops::{Activation, Op, Slice};
use kiln_ir::{Graph, NodeKind, Value};
use std::ops::Range;

/// Which layer it is a step of.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// `rnn`
    Rnn,
    /// `gru`
    Gru {
        /// Whether the reset gate acts after the product.
        after_product: bool,
        /// Whether the update gate is the share of the new state, 1 − z of the composite.
        of_new: bool,
    },
    /// `lstm`
    Lstm,
}

/// An activation function with its parameters.
pub type Function = (Activation, Real, Real);

/// One step.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Of what.
    pub kind: Kind,
    /// Features of the state.
    pub hidden: usize,
    /// Its activation functions, in the order of the composite.
    pub functions: Vec<Function>,
    /// What it multiplies matrices with: the input and the state, in any order.
    pub rows: [Row; 2],
    /// The matrices of each, by gate in the order of the composite.
    pub weights: [Vec<Weight>; 2],
    /// By gate.
    pub biases: Vec<Vec<Bias>>,
    /// Those that the reset gate is multiplied with.
    pub reset_biases: Vec<Bias>,
    /// Of an lstm, what the memory cell is multiplied with in the gates i, o and f.
    pub peepholes: [Option<Bias>; 3],
    /// Bound of what enters the activation functions of gates.
    pub clip: Option<Real>,
    /// The old memory cell.
    pub memory: Option<Value>,
    /// The new state, then the new memory cell.
    pub next: Vec<Value>,
}

impl Cell {
    /// All weights and biases.
    pub fn parameters(&self) -> impl Iterator<Item = Value> {
        let weights = self.weights.iter().flatten().map(|w| w.value);
        weights.chain(self.biases.iter().flatten().chain(&self.reset_biases).chain(self.peepholes.iter().flatten()).map(|b| b.value))
    }
}

/// A sum behind an activation function.
pub(super) struct Gate {
    /// The function.
    pub function: Function,
    /// Bound of what enters it.
    pub clip: Option<Real>,
    /// The sum.
    pub terms: Vec<Term>,
}

/// The products and biases of a gate.
pub(super) struct Linear {
    /// Rows times matrices.
    pub products: Vec<(Row, Weight)>,
    /// What is added.
    pub biases: Vec<Bias>,
}

/// Whatever cell makes `state`.
pub fn cell(graph: &Graph, state: Value) -> Option<Cell> {
    let NodeKind::Op(op) = &graph.node(state.node).kind else { return None };
    match op {
        Op::Mul(_) => lstm(graph, state),
        Op::Add(_) | Op::Sub(_) => gru(graph, state),
        op if function(op).is_some() => rnn(graph, state),
        _ => None,
    }
}

fn rnn(graph: &Graph, state: Value) -> Option<Cell> {
    let gate = gate(graph, state)?;
    let (function, clip) = (gate.function, gate.clip);
    let linear = linear(graph, gate.terms)?;
    assemble(graph, Kind::Rnn, vec![function], vec![linear], clip, state)
}

/// A cell from its gates, each of which multiplies the same two rows.
pub(super) fn assemble(
    graph: &Graph,
    kind: Kind,
    functions: Vec<Function>,
    gates: Vec<Linear>,
    clip: Option<Real>,
    state: Value,
) -> Option<Cell> {
    let shape = &graph.ty(state).shape;
    let hidden = shape.last()?.as_const().filter(|_| shape.len() <= 2)? as usize;
    let [(first, _), (second, _)] = gates.first()?.products.as_slice() else { return None };
    let rows = [first.clone(), second.clone()];
    let mut weights = [Vec::new(), Vec::new()];
    for gate in &gates {
        if gate.products.len() != 2 || first == second {
            return None;
        }
        for (row, weights) in rows.iter().zip(&mut weights) {
            let (_, weight) = gate.products.iter().find(|(r, _)| r == row)?;
            if weight.rows.len() != hidden {
                return None;
            }
            weights.push(weight.clone());
        }
    }
    let biases = gates.into_iter().map(|gate| gate.biases).collect();
    let (reset_biases, peepholes) = (Vec::new(), [None, None, None]);
    Some(Cell { kind, hidden, functions, rows, weights, biases, reset_biases, peepholes, clip, memory: None, next: vec![state] })
}

/// A value, or some of its columns, as an activation function of a sum.
pub(super) fn gate(graph: &Graph, value: Value) -> Option<Gate> {
    let part = 0..usize::try_from(graph.ty(value).shape.last()?.as_const()?).ok()?;
    let (value, part) = columns(graph, value, part)?;
    let NodeKind::Op(op) = &graph.node(value.node).kind else { return None };
    let function = function(op)?;
    let sum = graph.node(value.node).inputs[0];
    // A bound may stand before the gates are cut out of one sum.
    let bounded = columns(graph, sum, part.clone()).and_then(|(whole, part)| Some((bounded(graph, whole)?, part)));
    Some(match bounded {
        Some(((sum, clip), part)) => Gate { function, clip: Some(clip), terms: terms(graph, sum, part)? },
        None => Gate { function, clip: None, terms: terms(graph, sum, part)? },
    })
}

/// Of which value, and which part of its last axis, a part of a value consists.
fn columns(graph: &Graph, value: Value, part: Range<usize>) -> Option<(Value, Range<usize>)> {
    let (mut value, mut part) = (value, part);
    while let NodeKind::Op(Op::Slice(Slice { starts, sizes, steps })) = &graph.node(value.node).kind {
        let source = graph.node(value.node).inputs[0];
        let shape = &graph.ty(source).shape;
        let last = shape.len() - 1;
        let whole = |axis: usize| starts[axis].is(0) && sizes[axis] == shape[axis];
        if !(0..last).all(whole) || steps.iter().any(|s| *s != 1) {
            return None;
        }
        let start = usize::try_from(starts[last].as_const()?).ok()?;
        part = part.start + start..part.end + start;
        value = source;
    }
    Some((value, part))
}

/// What is bounded by a number on both sides, and the number.
fn bounded(graph: &Graph, value: Value) -> Option<(Value, Real)> {
    let NodeKind::Op(Op::Clip(_)) = &graph.node(value.node).kind else { return None };
    let &[inner, low, high] = graph.node(value.node).inputs.as_slice() else { return None };
    let number = |bound: Value| match &graph.node(bound.node).kind {
        NodeKind::Constant(tensor) => tensor.floats().first().copied(),
        _ => None,
    };
    let (low, high) = (number(low)?, number(high)?);
    (low == -high && high > 0.0).then_some((inner, Real(high)))
}

/// The addends of a whole value.
pub(super) fn terms_of(graph: &Graph, value: Value) -> Option<Vec<Term>> {
    let size = graph.ty(value).shape.last()?.as_const()?;
    terms(graph, value, 0..usize::try_from(size).ok()?)
}

/// A sum of products and biases; what else is a vector is a bias as well.
pub(super) fn linear(graph: &Graph, terms: Vec<Term>) -> Option<Linear> {
    let mut sum = Linear { products: Vec::new(), biases: Vec::new() };
    for term in terms {
        match term {
            Term::Product(row, weight) => sum.products.push((row, weight)),
            Term::Bias(bias) => sum.biases.push(bias),
            Term::Other(value) => sum.biases.push(as_bias(graph, value)?),
        }
    }
    Some(sum)
}

/// The activation function that an operator is.
pub(super) fn function(op: &Op) -> Option<Function> {
    let none = Real(0.0);
    Some(match op {
        Op::Sigmoid(_) => (Activation::Sigmoid, none, none),
        Op::Tanh(_) => (Activation::Tanh, none, none),
        Op::Relu(_) => (Activation::Relu, none, none),
        Op::HardSigmoid(f) => (Activation::HardSigmoid, f.alpha, f.beta),
        Op::Softsign(_) => (Activation::Softsign, none, none),
        _ => return None,
    })
}

/// The first answer for the operands of a node, or for them in the other order.
pub(super) fn either<T>(graph: &Graph, value: Value, mut f: impl FnMut(Value, Value) -> Option<T>) -> Option<T> {
    let &[a, b] = graph.node(value.node).inputs.as_slice() else { return None };
    f(a, b).or_else(|| f(b, a))
}

/// Whether a value is a product, element by element.
pub(super) fn is_mul(graph: &Graph, value: Value) -> bool {
    matches!(graph.node(value.node).kind, NodeKind::Op(Op::Mul(_)))
}

/// Whether every element is 1.
pub(super) fn is_one(graph: &Graph, value: Value) -> bool {
    match &graph.node(value.node).kind {
        NodeKind::Constant(tensor) => tensor.elements() > 0 && tensor.floats().iter().all(|v| *v == 1.0),
        NodeKind::Op(Op::Broadcast(_) | Op::Reshape(_)) => is_one(graph, graph.node(value.node).inputs[0]),
        _ => false,
    }
}
