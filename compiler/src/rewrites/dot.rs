//! Products that need no transposition: a product names its axes, so it can take operands and give results in any order.

use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::Op;
use kiln_ir::ops::Dot;

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "dot-of-transposed",
        mathematics: "(A^T)^T B = A B with other axes named: the same products in the same order",
        exactness: Exactness::SameBits,
        roots: &["dot"],
        rewrite: Rewrite::Class(dot_of_transposed),
        examples: &[
            "graph (%a: f32[n, 2, 5], %b: f32[2, m, 5]) { %t = transpose %a {perm = [1, 2, 0]} ;
             %y = dot %t, %b {a_batch = [0], b_batch = [0], a_contract = [1], b_contract = [2]} ; return %y }",
            "graph (%a: f32[3, n], %b: f32[4, 5, n]) { %t = transpose %b {perm = [2, 0, 1]} ;
             %y = dot %a, %t {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ; return %y }",
        ],
    },
    Rule {
        name: "transpose-of-dot",
        mathematics: "(A B)^T = B^T A^T with the axes named: factors change places, the order of the sum stays",
        exactness: Exactness::SameBits,
        roots: &["transpose"],
        rewrite: Rewrite::Class(transpose_of_dot),
        examples: &[
            "graph (%a: f32[2, n, 5], %b: f32[2, 5, m]) {
             %p = dot %a, %b {a_batch = [0], b_batch = [0], a_contract = [2], b_contract = [1]} ; %y = transpose %p {perm = [0, 2, 1]} ;
             return %y }",
            "graph (%a: f32[n, 3, 5], %b: f32[5, m]) {
             %p = dot %a, %b {a_batch = [], b_batch = [], a_contract = [2], b_contract = [0]} ; %y = transpose %p {perm = [2, 0, 1]} ;
             return %y }",
        ],
    },
];

/// Axes of a transposition's operand, if the free ones stay in their order.
fn before_transpose(perm: &[usize], batch: &[usize], contract: &[usize]) -> Option<(Vec<usize>, Vec<usize>)> {
    let before = |axes: &[usize]| axes.iter().map(|a| perm[*a]).collect::<Vec<usize>>();
    let free = before(&Dot::free_axes(perm.len(), batch, contract));
    free.is_sorted().then(|| (before(batch), before(contract)))
}

fn dot_of_transposed(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::Dot(dot) = op else { return None };
        let left = view.find(x[0], |op, y| match op {
            Op::Transpose(transpose) => {
                let (a_batch, a_contract) = before_transpose(&transpose.perm, &dot.a_batch, &dot.a_contract)?;
                Some(Term::of(Dot { a_batch, a_contract, ..dot.clone() }, &[y[0], x[1]]))
            }
            _ => None,
        });
        left.or_else(|| {
            view.find(x[1], |op, y| match op {
                Op::Transpose(transpose) => {
                    let (b_batch, b_contract) = before_transpose(&transpose.perm, &dot.b_batch, &dot.b_contract)?;
                    Some(Term::of(Dot { b_batch, b_contract, ..dot.clone() }, &[x[0], y[0]]))
                }
                _ => None,
            })
        })
    })
}

fn transpose_of_dot(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::Transpose(transpose) = op else { return None };
        view.find(x[0], |op, y| match op {
            Op::Dot(dot) => {
                // Batch axes stay, then come the free axes of the second operand, then those of the first.
                let batch = dot.a_batch.len();
                let first_free = view.ty(y[0]).rank() - batch - dot.a_contract.len();
                let rank = transpose.perm.len();
                let swapped = (0..batch).chain(batch + first_free..rank).chain(batch..batch + first_free);
                let Dot { a_batch, b_batch, a_contract, b_contract } = dot.clone();
                let other = Dot { a_batch: b_batch, b_batch: a_batch, a_contract: b_contract, b_contract: a_contract };
                transpose.perm.iter().copied().eq(swapped).then(|| Term::of(other, &[y[1], y[0]]))
            }
            _ => None,
        })
    })
}
