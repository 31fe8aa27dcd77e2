//! Movement that moves less than it seems to.

use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::Op;
use kiln_ir::ops::Transpose;

/// The rules.
pub const RULES: &[Rule] = &[Rule {
    name: "transpose-between-reshapes",
    mathematics: "merging leading axes, transposing the last two and splitting the leading ones again transposes the last two",
    exactness: Exactness::SameBits,
    roots: &["reshape"],
    rewrite: Rewrite::Class(transpose_between_reshapes),
    examples: &["graph (%x: f32[2, 3, n, 4]) { %m = reshape %x {shape = [6, n, 4]} ; %t = transpose %m {perm = [0, 2, 1]} ;
         %y = reshape %t {shape = [2, 3, 4, n]} ; return %y }"],
}];

fn transpose_between_reshapes(view: View, root: Id) -> Option<Term> {
    let rank = view.ty(root).rank();
    let reshaped = |class: Id| view.find(class, |op, x| matches!(op, Op::Reshape(_)).then(|| x[0]));
    let merged = view.find(reshaped(root)?, |op, x| match op {
        Op::Transpose(transpose) if transpose.perm == [0, 2, 1] => Some(x[0]),
        _ => None,
    })?;
    let x = reshaped(merged).filter(|x| rank >= 3 && view.ty(*x).rank() == rank)?;
    // The leading axes come back as they were, and the last two were not touched by merging.
    let (from, to, last) = (view.shape(x), view.shape(root), rank - 2);
    let untouched = view.same_dims(&from[last..], &view.shape(merged)[1..]);
    let swapped = [to[rank - 1].clone(), to[last].clone()];
    let back = view.same_dims(&from[..last], &to[..last]) && view.same_dims(&from[last..], &swapped);
    let perm: Vec<usize> = (0..last).chain([rank - 1, last]).collect();
    (untouched && back).then(|| Term::of(Transpose { perm }, &[x]))
}
