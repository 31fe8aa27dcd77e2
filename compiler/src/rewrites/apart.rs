//! Sums of products of different operands, as one product of what is put behind each other; and convolutions that are products.
//!
//! ```text
//! x · A + h · B      →      [x h] · [A B]
//! ```
//! The cells of recurrent networks are such sums, and so are the branches of networks that were found by search.

use super::convolutions::{conv_of, is_unit, matrix};
use super::products::dot_of;
use super::vectors::is_real;
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{Concat, Conv, Dot, Reshape, Transpose};
use kiln_ir::{Dim, Op};

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "sum-of-dots-apart",
        mathematics: "X A + Z B = [X Z] [A B], A and B fixed",
        exactness: Exactness::Reassociated { bound: 64.0 },
        roots: &["add"],
        rewrite: Rewrite::Class(sum_of_dots_apart),
        examples: &[
            "graph (%x: f32[n, 5], %z: f32[n, 3]) { %a = parameter a: f32[5, 4] ; %b = parameter b: f32[3, 4] ;
             %p = dot %x, %a {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ;
             %q = dot %z, %b {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ; %y = add %p, %q ; return %y }",
            "graph (%x: f32[2, 5, n], %z: f32[2, 3, n]) { %a = parameter a: f32[4, 2, 5] ; %b = parameter b: f32[4, 2, 3] ;
             %p = dot %a, %x {a_batch = [1], b_batch = [0], a_contract = [2], b_contract = [1]} ;
             %q = dot %b, %z {a_batch = [1], b_batch = [0], a_contract = [2], b_contract = [1]} ; %y = add %p, %q ; return %y }",
        ],
    },
    Rule {
        name: "sum-of-convs-apart",
        mathematics: "conv(x, a) + conv(z, b) = conv([x z], [a b]), a and b fixed",
        exactness: Exactness::Reassociated { bound: 64.0 },
        roots: &["add"],
        rewrite: Rewrite::Class(sum_of_convs_apart),
        examples: &["graph (%x: f32[n, 3, 6], %z: f32[n, 2, 6]) { %a = parameter a: f32[4, 3, 3] ; %b = parameter b: f32[4, 2, 3] ;
             %p = conv %x, %a {strides = [2], dilations = [1], lhs_dilations = [1], low = [1], high = [1], groups = 1} ;
             %q = conv %z, %b {strides = [2], dilations = [1], lhs_dilations = [1], low = [1], high = [1], groups = 1} ;
             %y = add %p, %q ; return %y }"],
    },
    Rule {
        name: "unit-conv-is-dot",
        mathematics: "a convolution with one tap of what is no image, or of single pixels, is a product of its kernel and the channels",
        exactness: Exactness::Reassociated { bound: 64.0 },
        roots: &["conv"],
        rewrite: Rewrite::Class(unit_conv_is_dot),
        examples: &[
            "graph (%x: f32[n, 3, 1, 1], %w: f32[4, 3, 1, 1]) {
             %y = conv %x, %w {strides = [1, 1], dilations = [1, 1], lhs_dilations = [1, 1], low = [0, 0], high = [0, 0], groups = 1} ;
             return %y }",
            "graph (%t: f32[n, 6, 3], %w: f32[2, 3, 1]) { %x = transpose %t {perm = [0, 2, 1]} ;
             %y = conv %x, %w {strides = [1], dilations = [1], lhs_dilations = [1], low = [0], high = [0], groups = 1} ; return %y }",
            "graph (%t: f32[n, 3, 20], %w: f32[4, 3, 1, 1]) { %x = reshape %t {shape = [n, 3, 4, 5]} ;
             %y = conv %x, %w {strides = [1, 1], dilations = [1, 1], lhs_dilations = [1, 1], low = [0, 0], high = [0, 0], groups = 1} ;
             return %y }",
        ],
    },
    Rule {
        name: "dot-is-unit-conv",
        mathematics: "a product of a matrix and the channels of every point is a convolution with one tap",
        exactness: Exactness::Reassociated { bound: 64.0 },
        roots: &["dot"],
        rewrite: Rewrite::Class(dot_is_unit_conv),
        examples: &[
            "graph (%x: f32[n, 3, 5]) { %w = parameter w: f32[4, 3] ;
             %y = dot %w, %x {a_batch = [], b_batch = [], a_contract = [1], b_contract = [1]} ; return %y }",
            "graph (%x: f32[n, 3, 5]) { %w = parameter w: f32[3, 4] ;
             %y = dot %x, %w {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ; return %y }",
        ],
    },
];

/// Two operands behind each other along an axis, if they may be: of one type but for that axis.
fn behind(view: View, a: Id, b: Id, axis: usize) -> Option<Term> {
    let (from, to) = (view.shape(a), view.shape(b));
    let same = from.len() == to.len() && view.same_dims(&from[..axis], &to[..axis]) && view.same_dims(&from[axis + 1..], &to[axis + 1..]);
    same.then(|| Term::of(Concat { axis }, &[a, b]))
}

/// The operands of a sum, if it is one of different values.
fn summands<'e, T>(view: View<'e>, root: Id, mut accept: impl FnMut(Id, Id) -> Option<T>) -> Option<T> {
    view.find(root, |op, x| match op {
        Op::Add(_) if x[0] != x[1] && !view.is_fixed(x[0]) && !view.is_fixed(x[1]) => accept(x[0], x[1]),
        _ => None,
    })
}

fn sum_of_dots_apart(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    summands(view, root, |first, second| {
        dot_of(view, first, |dot, x| {
            dot_of(view, second, |other, z| {
                let side = [1, 0].into_iter().find(|side| view.is_fixed(x[*side]) && view.is_fixed(z[*side]))?;
                let ([from], [to], true) = (&dot.a_contract[..], &dot.b_contract[..], dot == other && x[1 - side] != z[1 - side]) else {
                    return None;
                };
                Some(Term::apply(dot.clone(), [behind(view, x[0], z[0], *from)?, behind(view, x[1], z[1], *to)?]))
            })
        })
    })
}

fn sum_of_convs_apart(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    summands(view, root, |first, second| {
        conv_of(view, first, |conv, x| {
            conv_of(view, second, |other, z| {
                let fits = conv == other && conv.groups == 1 && x[0] != z[0] && view.is_fixed(x[1]) && view.is_fixed(z[1]);
                let kernels = behind(view, x[1], z[1], 1).filter(|_| fits)?;
                Some(Term::apply(conv.clone(), [behind(view, x[0], z[0], 1)?, kernels]))
            })
        })
    })
}

fn unit_conv_is_dot(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    conv_of(view, root, |conv, x| {
        let shape = view.shape(x[0]);
        // Images that convolutions make stay images, with their channels last.
        let moved = view.ops(x[0]).any(|(op, _)| matches!(op, Op::Reshape(_) | Op::Transpose(_)));
        if !is_unit(view, conv, x[1]) || !moved && !shape[2..].iter().all(|d| d.is(1)) {
            return None;
        }
        let dot = Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![1], b_contract: vec![1] };
        let pixels = Dim::product(&shape[2..]);
        let merged = Term::of(Reshape { shape: vec![shape[0].clone(), shape[1].clone(), pixels] }, &[x[0]]);
        // [outputs, images, pixels]
        let product = Term::apply(dot, [matrix(view, x[1]), merged]);
        let turned = Term::apply(Transpose { perm: vec![1, 0, 2] }, [product]);
        Some(Term::apply(Reshape { shape: view.shape(root).to_vec() }, [turned]))
    })
}

fn dot_is_unit_conv(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    dot_of(view, root, |dot, x| {
        let side = [0, 1].into_iter().find(|side| view.is_fixed(x[*side]) && !view.is_fixed(x[1 - side]))?;
        let (axes, of_weights) = if side == 0 { (&dot.b_contract, &dot.a_contract) } else { (&dot.a_contract, &dot.b_contract) };
        let fits = dot.a_batch.is_empty() && axes[..] == [1] && view.ty(x[side]).rank() == 2 && view.ty(x[1 - side]).rank() == 3;
        let [from] = of_weights[..] else { return None };
        if !fits {
            return None;
        }
        let weights = Term::transposed(view, x[side], &[1 - from, from]);
        let sizes = [view.shape(x[side])[1 - from].clone(), view.shape(x[side])[from].clone(), Dim::ONE];
        let kernel = Term::apply(Reshape { shape: sizes.to_vec() }, [weights]);
        let conv = Term::apply(Conv::plain(1), [Term::Class(x[1 - side]), kernel]);
        // Images, outputs, pixels: outputs come first where the weights do, and last where they do.
        let perm = if side == 0 { vec![1, 0, 2] } else { vec![0, 2, 1] };
        Some(Term::apply(Transpose { perm }, [conv]))
    })
}
