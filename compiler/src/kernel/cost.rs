//! What expressions cost, roughly: for deciding what is stored and how much one task does.

use super::{BinaryFn, ExprId, ExprKind, Exprs, UnaryFn};

/// Rough scalar operations of evaluating an expression once, shared parts counted once.
pub fn cost(exprs: &Exprs, roots: &[ExprId]) -> i64 {
    exprs.reached(roots.iter().copied()).into_iter().map(|id| weight(&exprs.get(id).kind)).sum()
}

fn weight(kind: &ExprKind) -> i64 {
    use UnaryFn::*;
    match kind {
        ExprKind::Constant(_) | ExprKind::Accumulator(_) => 0,
        ExprKind::Index(_) | ExprKind::Compare(..) | ExprKind::Select(..) | ExprKind::Cast(_) => 1,
        ExprKind::Load(access) => 1 + 2 * access.bounds.len() as i64,
        ExprKind::CheckedIndex { .. } => 4,
        ExprKind::Unary(Neg | Abs | Sign | Ceil | Floor | Trunc | Round | Not | BitNot | IsNan | IsInf { .. }, _) => 1,
        ExprKind::Unary(Sqrt | Reciprocal, _) => 4,
        ExprKind::Unary(_, _) => 20,
        ExprKind::Binary(BinaryFn::Pow | BinaryFn::Rem, _, _) => 40,
        ExprKind::Binary(BinaryFn::Div, _, _) => 4,
        ExprKind::Binary(..) => 1,
    }
}
