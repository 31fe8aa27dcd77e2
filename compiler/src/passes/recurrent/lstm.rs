//! One step of an lstm: o·h(c'), c' = f·c + i·g(..). Gates may see the memory cell through a vector, i and f the old one, o the new.

use super::cell::{Cell, Function, Kind, assemble, either, function, gate, is_mul, linear};
use super::terms::{Bias, Term, as_bias};
use kiln_ir::ops::Op;
use kiln_ir::{Graph, NodeKind, Value};

/// The lstm whose state is a product.
pub(super) fn lstm(graph: &Graph, state: Value) -> Option<Cell> {
    either(graph, state, |output, shown| {
        let NodeKind::Op(op) = &graph.node(shown.node).kind else { return None };
        let last = function(op)?;
        let memory = graph.node(shown.node).inputs[0];
        if !matches!(graph.node(memory.node).kind, NodeKind::Op(Op::Add(_))) {
            return None;
        }
        either(graph, memory, |kept, written| {
            if !is_mul(graph, kept) || !is_mul(graph, written) {
                return None;
            }
            either(graph, written, |input, candidate| {
                either(graph, kept, |forget, old| of_gates(graph, [input, output, forget, candidate], [old, memory], last, state))
            })
        })
    })
}

/// The lstm with the gates i, o, f and g between an old and a new memory cell.
fn of_gates(graph: &Graph, gates: [Value; 4], [old, memory]: [Value; 2], last: Function, state: Value) -> Option<Cell> {
    let [Some(mut i), Some(mut o), Some(mut f), Some(g)] = gates.map(|v| gate(graph, v)) else { return None };
    let alike = [&o, &f].iter().all(|gate| gate.function == i.function && gate.clip == i.clip) && g.clip == i.clip;
    if !alike || graph.ty(old) != graph.ty(state) {
        return None;
    }
    let peepholes = [(&mut i, old), (&mut o, memory), (&mut f, old)].map(|(gate, cell)| peephole(graph, &mut gate.terms, cell));
    let (functions, clip) = (vec![i.function, g.function, last], i.clip);
    let gates = [i, o, f, g].into_iter().map(|gate| linear(graph, gate.terms)).collect::<Option<Vec<_>>>()?;
    let cell = assemble(graph, Kind::Lstm, functions, gates, clip, state)?;
    Some(Cell { memory: Some(old), next: vec![state, memory], peepholes, ..cell })
}

/// Takes a memory cell times a vector out of a sum.
fn peephole(graph: &Graph, terms: &mut Vec<Term>, cell: Value) -> Option<Bias> {
    let (at, found) = terms.iter().enumerate().find_map(|(at, term)| {
        let Term::Other(product) = term else { return None };
        let vector = if is_mul(graph, *product) { either(graph, *product, |a, b| (a == cell).then(|| as_bias(graph, b))?) } else { None };
        vector.map(|vector| (at, vector))
    })?;
    terms.remove(at);
    Some(found)
}
