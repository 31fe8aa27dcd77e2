//! How loads move along an index: what decides along what neighbouring threads run.

use crate::kernel::{ExprId, ExprKind, Exprs};
use crate::lower::access::along;
use kiln_ir::Symbol;

/// How an expression's loads move along an index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Moves {
    /// Anyhow.
    Apart,
    /// To the neighbour, mostly.
    Near,
    /// All to the neighbour, or not at all, and without bounds.
    Straight,
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
        let bounded = access.bounds.iter().any(|bound| bound.index.mentions(index) || bound.extent.mentions(index));
        let this = match step {
            Some(step) if step.step.is(1) && step.splits.is_empty() && !bounded => Moves::Straight,
            Some(step) if step.step.is(1) => Moves::Near,
            _ => Moves::Apart,
        };
        result = Some(result.map_or(this, |other: Moves| other.min(this)));
    }
    result.unwrap_or(Moves::Apart)
}
