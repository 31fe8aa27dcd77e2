//! Movement that moves less than it seems to.

use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::Op;
use kiln_ir::ops::{Gather, Reshape, Transpose};

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "transpose-between-reshapes",
        mathematics: "reshaping leading axes before and after the last two are transposed = reshaping them once, before",
        exactness: Exactness::SameBits,
        roots: &["reshape"],
        rewrite: Rewrite::Class(transpose_between_reshapes),
        examples: &[
            "graph (%x: f32[2, 3, n, 4]) { %m = reshape %x {shape = [6, n, 4]} ; %t = transpose %m {perm = [0, 2, 1]} ;
             %y = reshape %t {shape = [2, 3, 4, n]} ; return %y }",
            "graph (%x: f32[2, 3, 2, n, 4]) { %m = reshape %x {shape = [12, n, 4]} ; %t = transpose %m {perm = [0, 2, 1]} ;
             %y = reshape %t {shape = [2, 6, 4, n]} ; return %y }",
        ],
    },
    Rule {
        name: "slices-by-one-index",
        mathematics: "slices named by tuples of one index are slices along the first axis",
        exactness: Exactness::SameBits,
        roots: &["gather_nd"],
        rewrite: Rewrite::Class(slices_by_one_index),
        examples: &[
            "graph (%x: f32[3, n]) { %i = const i64[4, 1] [0, 2, -1, 0] ; %y = gather_nd %x, %i {batch_axes = 0} ; return %y }",
            "graph (%x: f32[3, m]) { %i = iota {shape = [2, 1], axis = 0, dtype = i64} ; %y = gather_nd %x, %i {batch_axes = 0} ; return %y }",
        ],
    },
    Rule {
        name: "slices-behind-transpose",
        mathematics: "slices along an axis of the transposed = slices along the axis it was, transposed",
        exactness: Exactness::SameBits,
        roots: &["gather"],
        rewrite: Rewrite::Class(slices_behind_transpose),
        examples: &["graph (%x: f32[n, 3, 4]) { %t = transpose %x {perm = [1, 0, 2]} ; %i = const i64[2] [2, -1] ;
             %y = gather %t, %i {axis = 0} ; return %y }"],
    },
];

fn slices_by_one_index(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::GatherNd(gather) = op else { return None };
        let (_, lead) = view.shape(x[1]).split_last().filter(|(one, _)| one.is(1) && gather.batch_axes == 0)?;
        let places = match (view.constant(x[1]), lead.iter().map(|d| d.as_const().map(|d| d as usize)).collect::<Option<Vec<_>>>()) {
            (Some(places), Some(shape)) => Term::Constant(places.reshaped(shape)),
            _ => Term::of(Reshape { shape: lead.to_vec() }, &[x[1]]),
        };
        Some(Term::apply(Gather { axis: 0 }, [Term::Class(x[0]), places]))
    })
}

fn slices_behind_transpose(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::Gather(gather) = op else { return None };
        let one_axis = view.ty(x[1]).rank() == 1;
        view.find(x[0], |op, y| match op {
            Op::Transpose(Transpose { perm }) if one_axis => {
                let taken = Term::of(Gather { axis: perm[gather.axis] }, &[y[0], x[1]]);
                Some(Term::apply(Transpose { perm: perm.clone() }, [taken]))
            }
            _ => None,
        })
    })
}

fn transpose_between_reshapes(view: View, root: Id) -> Option<Term> {
    let rank = view.ty(root).rank();
    let reshaped = |class: Id| view.find(class, |op, x| matches!(op, Op::Reshape(_)).then(|| x[0]));
    let merged = view.find(reshaped(root)?, |op, x| match op {
        Op::Transpose(transpose) if transpose.perm == [0, 2, 1] => Some(x[0]),
        _ => None,
    })?;
    let x = reshaped(merged).filter(|x| rank >= 3 && view.ty(*x).rank() >= 3)?;
    // The last two axes were touched neither by merging nor by splitting.
    let (from, to, last) = (view.shape(x), view.shape(root), rank - 2);
    let (leading, matrix) = from.split_at(from.len() - 2);
    let swapped = [to[rank - 1].clone(), to[last].clone()];
    if !view.same_dims(matrix, &view.shape(merged)[1..]) || !view.same_dims(matrix, &swapped) {
        return None;
    }
    let perm: Vec<usize> = (0..last).chain([rank - 1, last]).collect();
    let split = match view.same_dims(leading, &to[..last]) {
        true => Term::Class(x),
        false => Term::of(Reshape { shape: [&to[..last], matrix].concat() }, &[x]),
    };
    Some(Term::apply(Transpose { perm }, [split]))
}
