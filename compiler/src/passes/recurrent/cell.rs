//! One step of a recurrent layer, as it is written with primitives.
//!
//! rnn: f(W·x + R·h + b)    gru: (1 − z)·n + z·h, or n + z·(h − n)    lstm: o·h(f·c + i·g(..))

use super::terms::{Bias, Row, Term, Weight, terms};
use kiln_ir::attr::Real;
use kiln_ir::ops::{Activation, Op, Slice};
use kiln_ir::{Graph, NodeKind, Value};

/// Which layer it is a step of.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// `rnn`
    Rnn,
    /// `gru`, and whether the reset gate acts after the product.
    Gru(bool),
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
    /// The old memory cell.
    pub memory: Option<Value>,
    /// The new state, then the new memory cell.
    pub next: Vec<Value>,
}

/// A sum behind an activation function.
struct Gate {
    function: Function,
    terms: Vec<Term>,
}

/// The products and biases of a gate.
struct Linear {
    products: Vec<(Row, Weight)>,
    biases: Vec<Bias>,
}

/// Whatever cell makes `state`.
pub fn cell(graph: &Graph, state: Value) -> Option<Cell> {
    let NodeKind::Op(op) = &graph.node(state.node).kind else { return None };
    match op {
        Op::Mul(_) => lstm(graph, state),
        Op::Add(_) => gru(graph, state),
        op if function(op).is_some() => rnn(graph, state),
        _ => None,
    }
}

fn rnn(graph: &Graph, state: Value) -> Option<Cell> {
    let gate = gate(graph, state)?;
    let linear = linear(gate.terms)?;
    assemble(graph, Kind::Rnn, vec![gate.function], vec![linear], state)
}

fn lstm(graph: &Graph, state: Value) -> Option<Cell> {
    either(graph, state, |output, bounded| {
        let NodeKind::Op(op) = &graph.node(bounded.node).kind else { return None };
        let last = function(op)?;
        let memory = graph.node(bounded.node).inputs[0];
        if !matches!(graph.node(memory.node).kind, NodeKind::Op(Op::Add(_))) {
            return None;
        }
        either(graph, memory, |kept, written| {
            let is_product = |v: Value| matches!(graph.node(v.node).kind, NodeKind::Op(Op::Mul(_)));
            if !is_product(kept) || !is_product(written) {
                return None;
            }
            either(graph, written, |input, candidate| {
                either(graph, kept, |forget, old| {
                    let gates = [input, output, forget, candidate].map(|v| gate(graph, v));
                    let [Some(i), Some(o), Some(f), Some(g)] = gates else { return None };
                    if i.function != o.function || i.function != f.function || graph.ty(old) != graph.ty(state) {
                        return None;
                    }
                    let functions = vec![i.function, g.function, last];
                    let gates = [i, o, f, g].into_iter().map(|gate| linear(gate.terms)).collect::<Option<Vec<_>>>()?;
                    let mut cell = assemble(graph, Kind::Lstm, functions, gates, state)?;
                    cell.memory = Some(old);
                    cell.next.push(memory);
                    Some(cell)
                })
            })
        })
    })
}

fn gru(graph: &Graph, state: Value) -> Option<Cell> {
    either(graph, state, |a, b| {
        either(graph, b, |z, other| {
            let NodeKind::Op(op) = &graph.node(b.node).kind else { return None };
            let Op::Mul(_) = op else { return None };
            // n + z·(h − n)
            if let NodeKind::Op(Op::Sub(_)) = &graph.node(other.node).kind
                && let &[h, n] = graph.node(other.node).inputs.as_slice()
                && n == a
            {
                return gated(graph, state, z, h, n);
            }
            // (1 − z)·n + z·h
            let NodeKind::Op(Op::Mul(_)) = &graph.node(a.node).kind else { return None };
            either(graph, a, |rest, n| {
                let NodeKind::Op(Op::Sub(_)) = &graph.node(rest.node).kind else { return None };
                let &[one, same] = graph.node(rest.node).inputs.as_slice() else { return None };
                (same == z && is_one(graph, one)).then(|| gated(graph, state, z, other, n))?
            })
        })
    })
}

/// A gru with update gate z, candidate n and old state h.
fn gated(graph: &Graph, state: Value, z: Value, h: Value, n: Value) -> Option<Cell> {
    let (update, candidate) = (gate(graph, z)?, gate(graph, n)?);
    let (others, terms): (Vec<Term>, Vec<Term>) = candidate.terms.into_iter().partition(|t| matches!(t, Term::Other(_)));
    let mut candidate_sum = linear(terms)?;
    let mut reset_biases = Vec::new();
    let (reset, after_product) = match others.as_slice() {
        // r·(R·h + b)
        [Term::Other(product)] if is_mul(graph, *product) => either(graph, *product, |r, inner| {
            let reset = gate(graph, r)?;
            let inner = linear(terms_of(graph, inner)?)?;
            let [(row, weight)] = inner.products.as_slice() else { return None };
            (row.value == h && row.step.is_none()).then(|| {
                candidate_sum.products.push((row.clone(), weight.clone()));
                reset_biases.clone_from(&inner.biases);
                (reset, true)
            })
        })?,
        // R·(r·h)
        [] => {
            let at = candidate_sum.products.iter().position(|(row, _)| row.step.is_none() && is_mul(graph, row.value))?;
            let reset = either(graph, candidate_sum.products[at].0.value, |r, old| (old == h).then(|| gate(graph, r))?)?;
            candidate_sum.products[at].0.value = h;
            (reset, false)
        }
        _ => return None,
    };
    if update.function != reset.function {
        return None;
    }
    let functions = vec![update.function, candidate.function];
    let gates = vec![linear(update.terms)?, linear(reset.terms)?, candidate_sum];
    let mut cell = assemble(graph, Kind::Gru(after_product), functions, gates, state)?;
    cell.reset_biases = reset_biases;
    let at = cell.rows.iter().position(|row| row.value == h && row.step.is_none())?;
    if at == 0 {
        cell.rows.swap(0, 1);
        cell.weights.swap(0, 1);
    }
    Some(cell)
}

/// A cell from its gates, each of which multiplies the same two rows.
fn assemble(graph: &Graph, kind: Kind, functions: Vec<Function>, gates: Vec<Linear>, state: Value) -> Option<Cell> {
    let shape = &graph.ty(state).shape;
    let hidden = shape.get(1)?.as_const().filter(|_| shape.len() == 2)? as usize;
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
    Some(Cell { kind, hidden, functions, rows, weights, biases, reset_biases: Vec::new(), memory: None, next: vec![state] })
}

/// A value, or some of its columns, as an activation function of a sum.
fn gate(graph: &Graph, value: Value) -> Option<Gate> {
    let mut value = value;
    let mut part = 0..usize::try_from(graph.ty(value).shape.last()?.as_const()?).ok()?;
    loop {
        let node = graph.node(value.node);
        let NodeKind::Op(op) = &node.kind else { return None };
        if let Op::Slice(Slice { starts, sizes, steps }) = op {
            let shape = &graph.ty(node.inputs[0]).shape;
            let last = shape.len() - 1;
            let whole = |axis: usize| starts[axis].is(0) && sizes[axis] == shape[axis];
            if !(0..last).all(whole) || steps.iter().any(|s| *s != 1) {
                return None;
            }
            let start = usize::try_from(starts[last].as_const()?).ok()?;
            part = part.start + start..part.end + start;
            value = node.inputs[0];
        } else {
            return Some(Gate { function: function(op)?, terms: terms(graph, node.inputs[0], part)? });
        }
    }
}

fn terms_of(graph: &Graph, value: Value) -> Option<Vec<Term>> {
    let size = graph.ty(value).shape.last()?.as_const()?;
    terms(graph, value, 0..usize::try_from(size).ok()?)
}

fn linear(terms: Vec<Term>) -> Option<Linear> {
    let mut sum = Linear { products: Vec::new(), biases: Vec::new() };
    for term in terms {
        match term {
            Term::Product(row, weight) => sum.products.push((row, weight)),
            Term::Bias(bias) => sum.biases.push(bias),
            Term::Other(_) => return None,
        }
    }
    Some(sum)
}

/// The activation function that an operator is.
fn function(op: &Op) -> Option<Function> {
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
fn either<T>(graph: &Graph, value: Value, mut f: impl FnMut(Value, Value) -> Option<T>) -> Option<T> {
    let &[a, b] = graph.node(value.node).inputs.as_slice() else { return None };
    f(a, b).or_else(|| f(b, a))
}

fn is_mul(graph: &Graph, value: Value) -> bool {
    matches!(graph.node(value.node).kind, NodeKind::Op(Op::Mul(_)))
}

/// Whether every element is 1.
fn is_one(graph: &Graph, value: Value) -> bool {
    match &graph.node(value.node).kind {
        NodeKind::Constant(tensor) => tensor.elements() > 0 && tensor.floats().iter().all(|v| *v == 1.0),
        NodeKind::Op(Op::Broadcast(_) | Op::Reshape(_)) => is_one(graph, graph.node(value.node).inputs[0]),
        _ => false,
    }
}
