//! What expressions cost, roughly: for deciding what is stored and how much one task does.

use super::{BinaryFn, ExprId, ExprKind, Exprs, UnaryFn};

/// Rough scalar operations of evaluating an expression once, shared parts counted once.
pub fn cost(exprs: &Exprs, roots: &[ExprId]) -> i64 {
    exprs.reached(roots.iter().copied()).into_iter().map(|id| weight(&exprs.get(id).kind)).sum()
}

fn weight(kind: &ExprKind) -> i64 {
    match kind {
        ExprKind::Constant(_) | ExprKind::Accumulator(_) => 0,
        ExprKind::Index(_) | ExprKind::Compare(..) | ExprKind::Select(..) | ExprKind::Cast(_) => 1,
        ExprKind::Load(access) => 1 + 2 * access.bounds.len() as i64,
        ExprKind::CheckedIndex { .. } => 4,
        ExprKind::Unary(f, _) => f.operations(),
        ExprKind::Binary(f, _, _) => f.operations(),
    }
}

impl UnaryFn {
    /// Rough scalar operations.
    pub fn operations(self) -> i64 {
        use UnaryFn::*;
        match self {
            Neg | Abs | Sign | Ceil | Floor | Trunc | Round | Not | BitNot | IsNan | IsInf { .. } => 1,
            Sqrt | Reciprocal => 4,
            _ => 20,
        }
    }
}

impl BinaryFn {
    /// Rough scalar operations.
    pub fn operations(self) -> i64 {
        match self {
            BinaryFn::Pow | BinaryFn::Rem => 40,
            BinaryFn::Div => 4,
            _ => 1,
        }
    }
}
