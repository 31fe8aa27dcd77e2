//! One step of a gru. Old state h, candidate n, update gate z:
//!
//! ```text
//! (1 − z)·n + z·h    n + z·(h − n)    n − z·(n − h)      the composite
//! z·n + (1 − z)·h    h + z·(n − h)    h − z·(h − n)      the same with 1 − z for z
//! ```
//! 1 − sigmoid(s) is sigmoid(−s), so the second form has the matrices and biases of its update gate negated.

use super::cell::{Cell, Gate, Kind, assemble, either, gate, is_mul, is_one, linear, terms_of};
use super::terms::Term;
use kiln_ir::ops::{Activation, Op};
use kiln_ir::{Graph, NodeKind, Value};

/// The gru whose state is a sum or a difference.
pub(super) fn gru(graph: &Graph, state: Value) -> Option<Cell> {
    let difference = |value: Value| match (&graph.node(value.node).kind, graph.node(value.node).inputs.as_slice()) {
        (NodeKind::Op(Op::Sub(_)), &[a, b]) => Some((a, b)),
        _ => None,
    };
    if let Some((whole, part)) = difference(state) {
        return of_product(graph, part, |z, other| {
            let (_, to) = difference(other).filter(|(from, _)| *from == whole)?;
            shared(graph, state, z, to, whole)
        });
    }
    either(graph, state, |a, b| {
        of_product(graph, b, |z, other| {
            if let Some((to, from)) = difference(other)
                && from == a
            {
                return shared(graph, state, z, to, a);
            }
            of_product(graph, a, |rest, n| {
                let (one, same) = difference(rest)?;
                (same == z && is_one(graph, one)).then(|| shared(graph, state, z, other, n))?
            })
        })
    })
}

fn of_product<T>(graph: &Graph, value: Value, f: impl FnMut(Value, Value) -> Option<T>) -> Option<T> {
    if is_mul(graph, value) { either(graph, value, f) } else { None }
}

/// z·a + (1 − z)·b, where one of both is the old state.
fn shared(graph: &Graph, state: Value, z: Value, a: Value, b: Value) -> Option<Cell> {
    gated(graph, state, z, [a, b], false).or_else(|| gated(graph, state, z, [b, a], true))
}

/// Whether 1 − f(s) = f(−s).
fn mirrors(update: &Gate) -> bool {
    match update.function {
        (Activation::Sigmoid, ..) => true,
        (Activation::HardSigmoid, _, beta) => beta.0 == 0.5,
        _ => false,
    }
}

/// A gru with update gate z, old state h and candidate n; with `of_new` z is the share of n.
fn gated(graph: &Graph, state: Value, z: Value, [h, n]: [Value; 2], of_new: bool) -> Option<Cell> {
    let (update, candidate) = (gate(graph, z)?, gate(graph, n)?);
    if of_new && !mirrors(&update) {
        return None;
    }
    let is_product = |t: &Term| matches!(t, Term::Other(value) if is_mul(graph, *value));
    let (others, terms): (Vec<Term>, Vec<Term>) = candidate.terms.into_iter().partition(is_product);
    let mut candidate_sum = linear(graph, terms)?;
    let mut reset_biases = Vec::new();
    let (reset, after_product) = match others.as_slice() {
        // r·(R·h + b)
        [Term::Other(product)] => either(graph, *product, |r, inner| {
            let reset = gate(graph, r)?;
            let inner = linear(graph, terms_of(graph, inner)?)?;
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
    if update.function != reset.function || update.clip != reset.clip || update.clip != candidate.clip {
        return None;
    }
    let (functions, clip) = (vec![update.function, candidate.function], update.clip);
    let gates = vec![linear(graph, update.terms)?, linear(graph, reset.terms)?, candidate_sum];
    let mut cell = assemble(graph, Kind::Gru { after_product, of_new }, functions, gates, clip, state)?;
    cell.reset_biases = reset_biases;
    let at = cell.rows.iter().position(|row| row.value == h && row.step.is_none())?;
    if at == 0 {
        cell.rows.swap(0, 1);
        cell.weights.swap(0, 1);
    }
    Some(cell)
}
