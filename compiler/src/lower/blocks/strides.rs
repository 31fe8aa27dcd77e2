//! How loads move along an index: what decides along what neighbouring threads run.

use crate::kernel::{Access, Bound, ExprId, ExprKind, Exprs, Scalar};
use crate::lower::access::along;
use kiln_ir::dim::Atom;
use kiln_ir::{Dim, Symbol};

/// Neighbours that one access takes.
pub(super) const NEIGHBOURS: i64 = 4;

/// How an expression's loads move along an index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Moves {
    /// Anyhow.
    Apart,
    /// To the neighbour, mostly.
    Near,
    /// All to the neighbour, or not at all; bounds hold for whole vectors of neighbours, or for none.
    Straight,
}

/// Whether a size is a multiple of [`NEIGHBOURS`].
fn in_vectors(dim: &Dim) -> bool {
    dim.terms().iter().all(|term| term.coefficient % NEIGHBOURS == 0)
}

/// How the loads of an expression that vary with an index move along it: as the worst of them does.
pub(super) fn moves(exprs: &Exprs, id: ExprId, index: &Symbol) -> Moves {
    let varies = |s: &Symbol| s == index || ExprId::of_symbol(s).is_some_and(|id| exprs.symbols(id).contains(index));
    let mut result = None;
    for id in exprs.reached([id]) {
        let ExprKind::Load(access) = &exprs.get(id).kind else { continue };
        if !exprs.symbols(id).contains(index) {
            continue;
        }
        let step = along(&access.offset, index, &varies);
        let whole = |bound: &Bound| match bound.index.linear_in(index) {
            Some((step, rest)) => step.is(0) || (step.is(1) && [&rest, &bound.extent].into_iter().all(in_vectors)),
            None => false,
        };
        let bounded = access.bounds.iter().any(|bound| bound.extent.mentions(index) || !whole(bound));
        let this = match step {
            Some(step) if step.step.is(1) && step.splits.is_empty() && !bounded => Moves::Straight,
            Some(step) if step.step.is(1) => Moves::Near,
            _ => Moves::Apart,
        };
        result = Some(result.map_or(this, |other: Moves| other.min(this)));
    }
    result.unwrap_or(Moves::Apart)
}

/// Whether a size or an offset is a multiple of a number, whatever its symbols are.
pub(super) fn is_multiple(dim: &Dim, number: i64) -> bool {
    let atom = |atom: &Atom| matches!(atom, Atom::Mod(x, d) if is_multiple(x, number) && is_multiple(d, number));
    dim.terms().iter().all(|term| term.coefficient % number == 0 || term.atoms.iter().any(atom))
}

/// The load that an expression is, if each `count` neighbours along an index, from a multiple of `count` on, lie next to each other in
/// memory, and all of them exist or none; zeros stand for those that do not.
pub(crate) fn in_one_piece<'e>(exprs: &'e Exprs, id: ExprId, index: &Symbol, count: i64) -> Option<&'e Access> {
    let ExprKind::Load(access) = &exprs.get(id).kind else { return None };
    let bounds = access.bounds.iter().flat_map(|bound| [&bound.index, &bound.extent]);
    if bounds.chain([&access.offset]).any(|dim| dim.symbols().iter().any(|s| ExprId::of_symbol(s).is_some())) {
        return None;
    }
    let is_zero = |id: ExprId| match exprs.get(id).kind {
        ExprKind::Constant(Scalar::Int(number)) => number == 0,
        ExprKind::Constant(Scalar::Float(number)) => number == 0,
        _ => false,
    };
    if access.otherwise.is_some_and(|other| !is_zero(other)) {
        return None;
    }
    let whole = |dim: &Dim| dim.linear_in(index).is_some_and(|(step, rest)| step.is(1) && is_multiple(&rest, count));
    // What neighbours add, where quotients are the same for all of them.
    let step = |dim: &Dim| {
        let moves = along(dim, index, &|s: &Symbol| s == index)?;
        moves.splits.iter().all(|(x, d)| whole(x) && is_multiple(d, count)).then_some(moves.step)
    };
    let holds_alike = |bound: &Bound| {
        !bound.extent.mentions(index)
            && (step(&bound.index).is_some_and(|step| step.is(0)) || (whole(&bound.index) && is_multiple(&bound.extent, count)))
    };
    (step(&access.offset)?.is(1) && access.bounds.iter().all(holds_alike)).then_some(access)
}
