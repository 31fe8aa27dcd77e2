//! Products and convolutions that read the same, and what follows the parts of one.
//!
//! ```text
//! q = x · Wq + bq ; k = x · Wk + bk ; v = x · Wv + bv      →      p = x · [Wq Wk Wv] + [bq bk bv] ; q, k, v = parts of p
//! ```
//! Weights are put beside each other only where they depend on parameters alone, so that it is done once. A class that is more than
//! the one product is left out: what rules add later would be merged with what it came from.

use super::joined::{Group, Member, join, joined, part};
use super::products::free_places;
use super::vectors::is_real;
use crate::cut::role::{Role, role};
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term, Together};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{Conv, Dot, Pad, PadMode};
use kiln_ir::{Dim, Op, Tensor};
use std::collections::BTreeMap;

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "parallel-dots",
        mathematics: "X A, X B = parts of X [A B]: the same sums; where one has an offset, so do all",
        exactness: Exactness::SameValue,
        roots: &["dot", "add"],
        rewrite: Rewrite::Together(parallel_dots),
        examples: &[
            "graph (%x: f32[n, m, 5]) { %a = parameter a: f32[5, 3] ; %b = parameter b: f32[5, 4] ; %o = parameter o: f32[3] ;
             %oo = broadcast %o {shape = [n, m, 3]} ;
             %p = dot %x, %a {a_batch = [], b_batch = [], a_contract = [2], b_contract = [0]} ;
             %q = dot %x, %b {a_batch = [], b_batch = [], a_contract = [2], b_contract = [0]} ; %y = add %oo, %p ; return %y, %q }",
            "graph (%x: f32[2, n, 5]) { %a = parameter a: f32[2, 5, 3, 4] ; %b = parameter b: f32[2, 5, 1, 4] ;
             %p = dot %a, %x {a_batch = [0], b_batch = [0], a_contract = [1], b_contract = [2]} ;
             %q = dot %b, %x {a_batch = [0], b_batch = [0], a_contract = [1], b_contract = [2]} ; return %p, %q }",
        ],
    },
    Rule {
        name: "parallel-convs",
        mathematics: "conv(x, a), conv(x, b) = parts of conv(x, [a b]): the same sums; where one has an offset, so do all",
        exactness: Exactness::SameValue,
        roots: &["conv", "add"],
        rewrite: Rewrite::Together(parallel_convs),
        examples: &[
            "graph (%x: f32[n, 3, 6, 6]) { %a = parameter a: f32[4, 3, 3, 3] ; %b = parameter b: f32[2, 3, 3, 3] ;
             %o = parameter o: f32[2, 1, 1] ; %oo = broadcast %o {shape = [n, 2, 3, 3]} ;
             %p = conv %x, %a {strides = [2, 2], dilations = [1, 1], lhs_dilations = [1, 1], low = [1, 1], high = [1, 1], groups = 1} ;
             %q = conv %x, %b {strides = [2, 2], dilations = [1, 1], lhs_dilations = [1, 1], low = [1, 1], high = [1, 1], groups = 1} ;
             %y = add %q, %oo ; return %p, %y }",
            "graph (%x: f32[n, 6, 5]) { %a = parameter a: f32[4, 3, 2] ; %b = parameter b: f32[2, 3, 2] ; %o = parameter o: f32[4, 1] ;
             %oo = broadcast %o {shape = [n, 4, 4]} ;
             %p = conv %x, %a {strides = [1], dilations = [1], lhs_dilations = [1], low = [0], high = [0], groups = 2} ;
             %q = conv %x, %b {strides = [1], dilations = [1], lhs_dilations = [1], low = [0], high = [0], groups = 2} ;
             %z = add %p, %oo ; return %z, %q }",
        ],
    },
    Rule {
        name: "parallel-windows",
        mathematics: "conv(x, a), conv(x, b) = parts of conv(x, [a b]), the smaller kernel among zeros",
        exactness: Exactness::Reassociated { bound: 16.0 },
        roots: &["conv", "add"],
        rewrite: Rewrite::Together(parallel_windows),
        examples: &["graph (%x: f32[n, 3, 6, 6]) { %a = parameter a: f32[4, 3, 3, 1] ; %b = parameter b: f32[2, 3, 1, 2] ;
             %o = parameter o: f32[2, 1, 1] ; %oo = broadcast %o {shape = [n, 2, 6, 6]} ;
             %p = conv %x, %a {strides = [1, 1], dilations = [1, 1], lhs_dilations = [1, 1], low = [1, 0], high = [1, 0], groups = 1} ;
             %q = conv %x, %b {strides = [1, 1], dilations = [1, 1], lhs_dilations = [1, 1], low = [0, 0], high = [0, 1], groups = 1} ;
             %y = add %q, %oo ; return %p, %y }"],
    },
    Rule {
        name: "same-after-parts",
        mathematics: "f(part of p), f(other part of p) = parts of f(p) where they are all of p and f is the same number's at every point",
        exactness: Exactness::SameBits,
        roots: &["max", "min", "neg", "abs", "exp", "tanh", "erf", "sqrt", "add", "sub", "mul", "div"],
        rewrite: Rewrite::Together(same_after_parts),
        examples: &[
            "graph (%x: f32[n, 7]) { %0 = const f32[] 0.5 ; %a = slice %x {starts = [0, 0], sizes = [n, 3], steps = [1, 1]} ;
             %b = slice %x {starts = [0, 3], sizes = [n, 4], steps = [1, 1]} ; %c = broadcast %0 {shape = [n, 3]} ;
             %d = broadcast %0 {shape = [n, 4]} ; %y = max %a, %c ; %z = max %b, %d ; return %y, %z }",
            "graph (%x: f32[6, m]) { %a = slice %x {starts = [4, 0], sizes = [2, m], steps = [1, 1]} ;
             %b = slice %x {starts = [0, 0], sizes = [4, m], steps = [1, 1]} ; %y = tanh %a ; %z = tanh %b ; return %y, %z }",
        ],
    },
    Rule {
        name: "concat-of-parts",
        mathematics: "parts of p behind each other, as they are in p, are a part of p",
        exactness: Exactness::SameBits,
        roots: &["concat"],
        rewrite: Rewrite::Class(concat_of_parts),
        examples: &["graph (%x: f32[n, 7]) { %a = slice %x {starts = [0, 1], sizes = [n, 2], steps = [1, 1]} ;
             %b = slice %x {starts = [0, 3], sizes = [n, 4], steps = [1, 1]} ; %y = concat %a, %b {axis = 1} ; return %y }"],
    },
];

/// Weights that may be put beside others: not what that gives.
fn are_weights(view: View, class: Id) -> bool {
    view.is_fixed(class) && !view.ops(class).any(|(op, _)| matches!(op, Op::Concat(_)))
}

fn parallel_dots(view: View, roots: &[Id]) -> Vec<Together> {
    let mut groups = BTreeMap::new();
    for class in roots {
        let Some((Op::Dot(dot), x)) = view.only(*class) else { continue };
        let Some(side) = [1, 0].into_iter().find(|side| are_weights(view, x[*side]) && !view.is_fixed(x[1 - side])) else { continue };
        let Some((weights_axis, place)) = free_places(view, dot, x, side).first().copied() else { continue };
        let member = Member::new(*class, Term::Class(x[side]), view.shape(x[side]));
        join(
            view,
            &mut groups,
            Group { op: Dot::into(dot.clone()), data: x[1 - side], side, weights_axis, place, groups: 1, members: vec![member] },
        );
    }
    joined(view, roots, groups)
}

fn parallel_convs(view: View, roots: &[Id]) -> Vec<Together> {
    let mut groups = BTreeMap::new();
    for class in roots {
        let Some((op @ Op::Conv(conv), x)) = view.only(*class) else { continue };
        if are_weights(view, x[1]) && !view.is_fixed(x[0]) {
            let members = vec![Member::new(*class, Term::Class(x[1]), view.shape(x[1]))];
            let found = Group { op: op.clone(), data: x[0], side: 1, weights_axis: 0, place: 1, groups: conv.groups, members };
            join(view, &mut groups, found);
        }
    }
    joined(view, roots, groups)
}

/// Convolutions of one image with windows of several sizes: each as wide as the widest, with zeros around the taps that it has.
fn parallel_windows(view: View, roots: &[Id]) -> Vec<Together> {
    let mut images: BTreeMap<Id, Vec<(Id, &Conv, Id)>> = BTreeMap::new();
    for class in roots {
        let Some((Op::Conv(conv), x)) = view.only(*class) else { continue };
        let plain = conv.groups == 1 && conv.dilations.iter().chain(&conv.lhs_dilations).all(|d| *d == 1);
        if plain && are_weights(view, x[1]) && !view.is_fixed(x[0]) && is_real(view, *class) {
            images.entry(x[0]).or_default().push((*class, conv, x[1]));
        }
    }
    let mut groups = BTreeMap::new();
    for (image, convs) in images {
        let Some((low, high, window)) = widest(view, &convs) else { continue };
        for (class, conv, kernel) in convs {
            let Some(weights) = widened(view, conv, kernel, &low, &high, &window) else { continue };
            let around = window.iter().map(|size| Dim::from(*size));
            let shape: Vec<Dim> = view.shape(kernel)[..2].iter().cloned().chain(around).collect();
            let op = Conv { low: low.clone(), high: high.clone(), ..conv.clone() }.into();
            let member = Member::new(class, weights, &shape);
            join(view, &mut groups, Group { op, data: image, side: 1, weights_axis: 0, place: 1, groups: 1, members: vec![member] });
        }
    }
    joined(view, roots, groups)
}

/// Padding and window of the widest along every axis; nothing where all are as wide.
fn widest(view: View, convs: &[(Id, &Conv, Id)]) -> Option<(Vec<Dim>, Vec<Dim>, Vec<i64>)> {
    let sizes = |kernel: Id| view.shape(kernel)[2..].iter().map(Dim::as_const).collect::<Option<Vec<i64>>>();
    let windows = convs.iter().map(|(_, _, kernel)| sizes(*kernel)).collect::<Option<Vec<_>>>()?;
    let rank = windows.first()?.len();
    if windows.iter().all(|window| *window == windows[0]) || windows.iter().any(|window| window.len() != rank) {
        return None;
    }
    let at = |axis: usize| (0..convs.len()).rev().max_by_key(|of| windows[*of][axis]).unwrap_or(0);
    let of = |axis: usize| (convs[at(axis)].1.low[axis].clone(), convs[at(axis)].1.high[axis].clone(), windows[at(axis)][axis]);
    let all: Vec<(Dim, Dim, i64)> = (0..rank).map(of).collect();
    Some((all.iter().map(|a| a.0.clone()).collect(), all.iter().map(|a| a.1.clone()).collect(), all.iter().map(|a| a.2).collect()))
}

/// A kernel among zeros, so that it reads what it read before with another padding.
fn widened(view: View, conv: &Conv, kernel: Id, low: &[Dim], high: &[Dim], window: &[i64]) -> Option<Term> {
    let more = |wide: &[Dim], own: &[Dim]| {
        let difference = |(wide, own): (&Dim, &Dim)| (wide - own).as_const().filter(|zeros| *zeros >= 0);
        wide.iter().zip(own).map(difference).collect::<Option<Vec<i64>>>()
    };
    let (before, behind) = (more(low, &conv.low)?, more(high, &conv.high)?);
    let sizes = view.shape(kernel)[2..].iter().map(Dim::as_const).collect::<Option<Vec<i64>>>()?;
    let fits = (0..window.len()).all(|axis| before[axis] + sizes[axis] + behind[axis] == window[axis]);
    let around = |zeros: Vec<i64>| [0, 0].into_iter().chain(zeros).map(Dim::from).collect();
    let zero = Term::Constant(Tensor::scalar(view.ty(kernel).dtype, 0.0));
    fits.then(|| Term::apply(Pad { low: around(before), high: around(behind), mode: PadMode::Constant }, [Term::Class(kernel), zero]))
}

/// The class as a run of another along one axis: that class, the axis and the start.
fn run_of(view: View, class: Id) -> Option<(Id, usize, Dim)> {
    view.find(class, |op, x| {
        let Op::Slice(slice) = op else { return None };
        let shape = view.shape(x[0]);
        let partial: Vec<usize> = (0..shape.len()).filter(|a| slice.sizes[*a] != shape[*a]).collect();
        let [axis] = partial[..] else { return None };
        slice.steps.iter().all(|step| *step == 1).then(|| (x[0], axis, slice.starts[axis].clone()))
    })
}

/// A class as an operator on a part, all other operands numbers: the operand's place, and the numbers.
fn on_a_part<'e>(view: View<'e>, class: Id) -> Option<(&'e Op, Id, usize, Vec<Option<Tensor>>)> {
    let (op, x) = view.only(class)?;
    if !matches!(role(op), Role::Unary(_) | Role::Binary(_)) {
        return None;
    }
    let numbers: Vec<Option<Tensor>> = x.iter().map(|id| view.0[*id].data.uniform.clone()).collect();
    let at = numbers.iter().position(Option::is_none)?;
    numbers[at + 1..].iter().all(Option::is_some).then(|| (op, x[at], at, numbers))
}

fn same_after_parts(view: View, roots: &[Id]) -> Vec<Together> {
    struct Same<'e> {
        op: &'e Op,
        numbers: Vec<Option<Tensor>>,
        axis: usize,
        parts: Vec<(Dim, Id)>,
    }
    let mut found: BTreeMap<Id, Vec<Same>> = BTreeMap::new();
    for class in roots {
        let Some((op, operand, _, numbers)) = on_a_part(view, *class) else { continue };
        let Some((whole, axis, start)) = run_of(view, operand) else { continue };
        let same = found.entry(whole).or_default();
        match same.iter_mut().find(|same| same.op == op && same.numbers == numbers && same.axis == axis) {
            Some(same) => same.parts.push((start, *class)),
            None => same.push(Same { op, numbers, axis, parts: vec![(start, *class)] }),
        }
    }
    let mut sets = Vec::new();
    for (whole, same) in found {
        for Same { op, numbers, axis, mut parts } in same {
            parts.sort_by_key(|(start, _)| start.as_const());
            let end = parts.iter().try_fold(Dim::ZERO, |at, (start, class)| (*start == at).then(|| at + &view.shape(*class)[axis]));
            if parts.len() < 2 || end.as_ref() != Some(&view.shape(whole)[axis]) {
                continue;
            }
            let shape = view.shape(whole);
            let operand = |number: &Option<Tensor>| match number {
                Some(number) => Term::apply(kiln_ir::ops::Broadcast { shape: shape.to_vec() }, [Term::Constant(number.clone())]),
                None => Term::Class(whole),
            };
            let applied = Term::apply(op.clone(), numbers.iter().map(operand));
            let of = |(start, class): (Dim, Id)| (class, part(applied.clone(), axis, start, view.shape(class)));
            sets.push(parts.into_iter().map(of).collect());
        }
    }
    sets
}

fn concat_of_parts(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::Concat(concat) = op else { return None };
        let (whole, axis, start) = run_of(view, x[0]).filter(|(_, axis, _)| *axis == concat.axis)?;
        let mut end = start.clone();
        for class in x {
            let (of, along, from) = run_of(view, *class)?;
            if of != whole || along != axis || from != end {
                return None;
            }
            end = end + &view.shape(*class)[axis];
        }
        let (from, to) = (view.shape(whole), view.shape(root));
        Some(if view.same_dims(from, to) { Term::Class(whole) } else { part(Term::Class(whole), axis, start, to) })
    })
}
