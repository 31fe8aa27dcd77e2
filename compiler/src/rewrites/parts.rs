//! Parts of values are computed as parts: what is cut away behind an operator need not go into it.
//!
//! A network that looks at its first token alone computes no more than that behind its last attention.

use super::products::free_places;
use crate::cut::role::{Role, role};
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{Conv, Reshape, Slice, Transpose};
use kiln_ir::{Dim, Op};

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "part-of-elements",
        mathematics: "a part of f(x, y) = f(a part of x, that part of y)",
        exactness: Exactness::SameBits,
        roots: &["slice"],
        rewrite: Rewrite::Class(part_of_elements),
        examples: &["graph (%x: f32[n, 6], %z: f32[n, 6]) { %a = div %x, %z ;
             %y = slice %a {starts = [0, 5], sizes = [n, 3], steps = [1, -2]} ; return %y }"],
    },
    Rule {
        name: "part-of-dot",
        mathematics: "a part of A B = (a part of A) (a part of B)",
        exactness: Exactness::SameBits,
        roots: &["slice"],
        rewrite: Rewrite::Class(part_of_dot),
        examples: &["graph (%a: f32[2, 4, n], %b: f32[n, 2, 5]) {
             %p = dot %a, %b {a_batch = [0], b_batch = [1], a_contract = [2], b_contract = [0]} ;
             %y = slice %p {starts = [1, 3, 0], sizes = [1, 2, 3], steps = [1, -1, 2]} ; return %y }"],
    },
    Rule {
        name: "part-of-transposed",
        mathematics: "a part of the transposed = the transposed part",
        exactness: Exactness::SameBits,
        roots: &["slice"],
        rewrite: Rewrite::Class(part_of_transposed),
        examples: &["graph (%x: f32[n, 4, 6]) { %t = transpose %x {perm = [2, 0, 1]} ;
             %y = slice %t {starts = [5, 0, 1], sizes = [2, n, 3], steps = [-3, 1, 1]} ; return %y }"],
    },
    Rule {
        name: "part-of-reshaped",
        mathematics: "a part along axes that reshaping leaves alone is reshaped afterwards",
        exactness: Exactness::SameBits,
        roots: &["slice"],
        rewrite: Rewrite::Class(part_of_reshaped),
        examples: &["graph (%x: f32[n, 4, 2, 3]) { %r = reshape %x {shape = [n, 4, 6]} ;
             %y = slice %r {starts = [0, 1, 0], sizes = [n, 1, 6], steps = [1, 1, 1]} ; return %y }"],
    },
    Rule {
        name: "part-of-reduced",
        mathematics: "a part of a reduction = the reduction of a part",
        exactness: Exactness::SameBits,
        roots: &["slice"],
        rewrite: Rewrite::Class(part_of_reduced),
        examples: &[
            "graph (%x: f32[n, 4, 6]) { %r = reduce %x {kind = sum, axes = [0], keep = false} ;
             %y = slice %r {starts = [1, 0], sizes = [2, 3], steps = [2, 2]} ; return %y }",
            "graph (%x: f32[m, 4, 6]) { %r = reduce %x {kind = max, axes = [2], keep = true} ;
             %y = slice %r {starts = [0, 1, 0], sizes = [m, 2, 1], steps = [1, 1, 1]} ; return %y }",
        ],
    },
    Rule {
        name: "part-of-broadcast",
        mathematics: "a part of what is repeated repeats a part",
        exactness: Exactness::SameBits,
        roots: &["slice"],
        rewrite: Rewrite::Class(part_of_broadcast),
        examples: &["graph (%x: f32[4, 1], %z: f32[n]) { %r = broadcast %x {shape = [n, 4, 6]} ;
             %y = slice %r {starts = [0, 1, 2], sizes = [n, 2, 3], steps = [1, 1, 1]} ; return %y }"],
    },
    Rule {
        name: "part-of-conv",
        mathematics: "some images and channels of a convolution are a convolution of those images with those kernels",
        exactness: Exactness::SameBits,
        roots: &["slice"],
        rewrite: Rewrite::Class(part_of_conv),
        examples: &["graph (%x: f32[4, 3, n, 6], %w: f32[5, 3, 1, 3]) {
             %p = conv %x, %w {strides = [1, 2], dilations = [1, 1], lhs_dilations = [1, 1], low = [0, 1], high = [0, 1], groups = 1} ;
             %y = slice %p {starts = [3, 1, 0, 0], sizes = [2, 2, n, 3], steps = [-2, 2, 1, 1]} ; return %y }"],
    },
    Rule {
        name: "steps-of-conv",
        mathematics: "every k-th place of a convolution is a convolution with k times the stride",
        exactness: Exactness::SameBits,
        roots: &["slice"],
        rewrite: Rewrite::Class(steps_of_conv),
        examples: &["graph (%x: f32[n, 3, 9, 8], %w: f32[2, 3, 3, 3]) {
             %p = conv %x, %w {strides = [1, 2], dilations = [1, 1], lhs_dilations = [1, 1], low = [1, 1], high = [1, 1], groups = 1} ;
             %y = slice %p {starts = [0, 0, 0, 0], sizes = [n, 2, 5, 4], steps = [1, 1, 2, 1]} ; return %y }"],
    },
    Rule {
        name: "gather-of-known-place",
        mathematics: "elements at one place that is known are a part",
        exactness: Exactness::SameBits,
        roots: &["gather"],
        rewrite: Rewrite::Class(gather_of_known_place),
        examples: &[
            "graph (%x: f32[n, 4, 3]) { %i = const i64[] 2 ; %y = gather %x, %i {axis = 1} ; return %y }",
            "graph (%x: f32[4, m]) { %i = const i64[1] [-1] ; %y = gather %x, %i {axis = 0} ; return %y }",
        ],
    },
];

/// A part of an operator's result: the part, the operator and its operands. Not a part of something else.
fn part_of<'e>(view: View<'e>, root: Id, accept: impl Fn(&'e Slice, Id, &'e Op, &'e [Id]) -> Option<Term>) -> Option<Term> {
    view.find(root, |op, x| match op {
        // What computes nothing has nothing to save.
        Op::Slice(slice) if !view.is_fixed(x[0]) => view.find(x[0], |op, y| accept(slice, x[0], op, y)),
        _ => None,
    })
}

/// The part that takes this along some axes, and everything along the others.
fn cut(view: View, class: Id, axes: &[(usize, usize)], slice: &Slice) -> Option<Term> {
    let shape = view.shape(class);
    let mut part = Slice { starts: vec![Dim::ZERO; shape.len()], sizes: shape.to_vec(), steps: vec![1; shape.len()] };
    for (axis, from) in axes {
        part.starts[*axis] = slice.starts[*from].clone();
        part.sizes[*axis] = slice.sizes[*from].clone();
        part.steps[*axis] = slice.steps[*from];
    }
    let whole = view.same_dims(&part.sizes, shape) && part.steps.iter().all(|step| *step == 1);
    Some(if whole { Term::Class(class) } else { Term::of(part, &[class]) })
}

fn part_of_elements(view: View, root: Id) -> Option<Term> {
    part_of(view, root, |slice, _, op, y| match role(op) {
        Role::Unary(_) | Role::Binary(_) | Role::Compare(_) | Role::Select | Role::Cast => {
            Some(Term::apply(op.clone(), y.iter().map(|class| Term::of(slice.clone(), &[*class]))))
        }
        _ => None,
    })
}

fn part_of_dot(view: View, root: Id) -> Option<Term> {
    part_of(view, root, |slice, _, op, y| {
        let Op::Dot(dot) = op else { return None };
        // Parts of weights that were put beside each other are known already.
        if y.iter().any(|class| view.is_fixed(*class) && view.ops(*class).any(|(op, _)| matches!(op, Op::Concat(_)))) {
            return None;
        }
        let operands = [0, 1].map(|side| {
            let batch = if side == 0 { &dot.a_batch } else { &dot.b_batch };
            let axes = batch.iter().copied().enumerate().map(|(place, axis)| (axis, place));
            cut(view, y[side], &axes.chain(free_places(view, dot, y, side)).collect::<Vec<_>>(), slice)
        });
        let [Some(a), Some(b)] = operands else { return None };
        Some(Term::apply(dot.clone(), [a, b]))
    })
}

fn part_of_transposed(view: View, root: Id) -> Option<Term> {
    part_of(view, root, |slice, _, op, y| {
        let Op::Transpose(transpose) = op else { return None };
        let axes: Vec<(usize, usize)> = transpose.perm.iter().copied().enumerate().map(|(place, axis)| (axis, place)).collect();
        Some(Term::apply(Transpose { perm: transpose.perm.clone() }, [cut(view, y[0], &axes, slice)?]))
    })
}

fn part_of_reshaped(view: View, root: Id) -> Option<Term> {
    part_of(view, root, |slice, whole, op, y| {
        if !matches!(op, Op::Reshape(_)) {
            return None;
        }
        let (from, to) = (view.shape(y[0]), view.shape(whole));
        let mut axes = Vec::new();
        for place in 0..to.len() {
            if slice.sizes[place] == to[place] && slice.steps[place] == 1 {
                continue;
            }
            let before = Dim::product(&to[..place]);
            let axis = (0..from.len()).find(|at| from[*at] == to[place] && Dim::product(&from[..*at]) == before)?;
            axes.push((axis, place));
        }
        let inner = cut(view, y[0], &axes, slice).filter(|_| !axes.is_empty())?;
        Some(Term::apply(Reshape { shape: slice.sizes.clone() }, [inner]))
    })
}

fn part_of_reduced(view: View, root: Id) -> Option<Term> {
    part_of(view, root, |slice, whole, op, y| {
        let Op::Reduce(reduce) = op else { return None };
        let rank = view.ty(y[0]).rank();
        let left: Vec<usize> = (0..rank).filter(|axis| !reduce.axes.contains(axis)).collect();
        let axes: Vec<(usize, usize)> = match reduce.keep {
            true => left.iter().map(|axis| (*axis, *axis)).collect(),
            false => left.iter().enumerate().map(|(place, axis)| (*axis, place)).collect(),
        };
        // A part of an axis that was reduced to one element is nothing or all of it.
        let untouched = |axis: &usize| !reduce.keep || slice.sizes[*axis].is(1);
        let fits = reduce.axes.iter().all(untouched) && !view.shape(whole).is_empty();
        let inner = cut(view, y[0], &axes, slice).filter(|_| fits)?;
        Some(Term::apply(reduce.clone(), [inner]))
    })
}

fn part_of_broadcast(view: View, root: Id) -> Option<Term> {
    part_of(view, root, |slice, whole, op, y| {
        let Op::Broadcast(_) = op else { return None };
        let (from, to) = (view.shape(y[0]), view.shape(whole));
        let missing = to.len() - from.len();
        let axes: Vec<(usize, usize)> = (0..from.len()).filter(|axis| !from[*axis].is(1)).map(|axis| (axis, axis + missing)).collect();
        let inner = cut(view, y[0], &axes, slice)?;
        Some(Term::apply(kiln_ir::ops::Broadcast { shape: slice.sizes.clone() }, [inner]))
    })
}

fn part_of_conv(view: View, root: Id) -> Option<Term> {
    part_of(view, root, |slice, whole, op, y| {
        let Op::Conv(conv) = op else { return None };
        let shape = view.shape(whole);
        let pixels = view.same_dims(&slice.sizes[2..], &shape[2..]) && slice.steps[2..].iter().all(|step| *step == 1);
        // Parts of kernels that were put beside each other are known already.
        let joined = view.ops(y[1]).any(|(op, _)| matches!(op, Op::Concat(_)));
        if !pixels || conv.groups != 1 || joined {
            return None;
        }
        Some(Term::apply(conv.clone(), [cut(view, y[0], &[(0, 0)], slice)?, cut(view, y[1], &[(0, 1)], slice)?]))
    })
}

fn steps_of_conv(view: View, root: Id) -> Option<Term> {
    part_of(view, root, |slice, whole, op, y| {
        let Op::Conv(conv) = op else { return None };
        let shape = view.shape(whole);
        let first = slice.starts.iter().all(|start| start.is(0)) && slice.steps.iter().all(|step| *step > 0);
        let all = (shape.iter().zip(&slice.sizes).zip(&slice.steps)).all(|((d, size), step)| d.ceil_div(&Dim::from(*step)) == *size);
        let steps: Vec<usize> = slice.steps.iter().map(|step| *step as usize).collect();
        if !first || !all || steps[..2] != [1, 1] || steps.iter().all(|step| *step == 1) {
            return None;
        }
        let strides = conv.strides.iter().zip(&steps[2..]).map(|(stride, step)| stride * step).collect();
        Some(Term::of(Conv { strides, ..conv.clone() }, y))
    })
}

fn gather_of_known_place(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::Gather(gather) = op else { return None };
        let shape = view.shape(x[0]);
        let one = view.shape(x[1]).iter().all(|d| d.is(1)) && !view.is_fixed(x[0]);
        let place = view.uniform(x[1]).filter(|_| one)? as i64;
        let start = if place < 0 { &shape[gather.axis] + Dim::from(place) } else { Dim::from(place) };
        let mut part = Slice { starts: vec![Dim::ZERO; shape.len()], sizes: shape.to_vec(), steps: vec![1; shape.len()] };
        (part.starts[gather.axis], part.sizes[gather.axis]) = (start, Dim::ONE);
        Some(Term::apply(Reshape { shape: view.shape(root).to_vec() }, [Term::of(part, &[x[0]])]))
    })
}
