//! Open sizes that a graph requires to be equal become one.
//! ```text
//! x: [a, 8], y: [b, 8], guard 2*a broadcasts 2*b      →      x: [a, 8], y: [a, 8]
//! ```
//! Exporters give every input a batch of its own. Where heads were merged into batches before a product, neither side can be 1, so
//! they are equal; with one name for both, nothing has to be repeated to what it is already.

use kiln_ir::dim::{Atom, Range, Term};
use kiln_ir::graph::{Guard, Relation};
use kiln_ir::ops::Op;
use kiln_ir::{Diagnostic, Dim, Graph, Proof, Symbol};

/// The graph with one symbol for sizes that have to be equal: that of the first input with either of them.
///
/// Errors: those of an operator that no sizes suit, by its label.
pub(super) fn with_equal_sizes(graph: Graph) -> Result<Graph, Diagnostic> {
    let mut current = graph;
    let mut changed = false;
    // What was made one may show that others are.
    while let Some((kept, other)) = current.guards.iter().find_map(|guard| equal_sizes(&current, guard)) {
        let [a, b] = [&kept, &other].map(|symbol| current.symbols.of_symbol(symbol));
        current = current.map_dims(&mut |dim| dim.substitute(&|symbol| (*symbol == other).then(|| Dim::from(kept.clone()))));
        current.symbols.set(kept, Range { min: a.min.max(b.min), max: a.max.min(b.max) });
        changed = true;
    }
    if changed { without_idle_movement(&current) } else { Ok(current) }
}

/// Two symbols that a guard makes equal, the one of the earlier input first.
fn equal_sizes(graph: &Graph, guard: &Guard) -> Option<(Symbol, Symbol)> {
    let never_one = |dim: &Dim| graph.symbols.provably_equal(dim, &Dim::ONE) == Proof::No;
    let equal = match guard.relation {
        Relation::Equal => true,
        Relation::Broadcasts => never_one(&guard.left) && never_one(&guard.right),
        Relation::AtMost => false,
    };
    let difference = &guard.left - &guard.right;
    let terms = difference.terms();
    let [a, b] = terms.as_slice() else { return None };
    let only = |term: &Term| match term.atoms.as_slice() {
        [Atom::Symbol(symbol)] => Some(symbol.clone()),
        _ => None,
    };
    let (a, b) = (only(a)?, only(b).filter(|_| equal && a.coefficient == -b.coefficient)?);
    let mut dims = graph.inputs().iter().flat_map(|(_, value)| &graph.ty(*value).shape).filter_map(Dim::as_symbol);
    let first = dims.find(|symbol| **symbol == a || **symbol == b)?;
    Some(if *first == a { (a, b) } else { (b, a) })
}

/// The same without movement that was there for sizes that differed.
fn without_idle_movement(graph: &Graph) -> Result<Graph, Diagnostic> {
    graph.rebuild(|out, _, node, op, x| {
        let idle = matches!(op, Op::Broadcast(_) | Op::Reshape(_)) && *out.ty(x[0]) == node.types[0];
        if idle {
            return Ok(vec![x[0]]);
        }
        out.add_declared(op.clone(), x, Some(node.types.clone()), node.origin.clone()).map_err(|e| {
            let place = node.origin.as_ref().map_or_else(String::new, |origin| origin.text.clone());
            Diagnostic::new(e.label, format!("{}: {}", op.name(), e.message)).at(place, "sizes that must be equal differ here")
        })
    })
}
