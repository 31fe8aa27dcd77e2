//! How loads move along an index: what decides along what neighbouring threads run.

use crate::kernel::{Bound, ExprId, ExprKind, Exprs};
use crate::lower::access::along;
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
