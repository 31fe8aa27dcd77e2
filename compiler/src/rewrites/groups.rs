//! Normalisation by group and by channel, channels last or first, from norms of what was reshaped to groups.

use super::norms::{Normal, STATISTICS, normal, normal_by_moments, with_parameter};
use crate::egraph::rule::{Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::attr::Real;
use kiln_ir::ops::{Broadcast, GroupNorm, InstanceNorm, Reshape, Transpose};
use kiln_ir::{Dim, Op};

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "instance-norm",
        mathematics: "layer_norm over positions with one scale and bias per channel = instance_norm",
        exactness: STATISTICS,
        roots: &["layer_norm"],
        rewrite: Rewrite::Class(instance_norm),
        examples: &[
            "graph (%x: f32[n, 3, 5]) { %g = parameter g: f32[3, 1] ; %b = parameter b: f32[1, 3, 1] ;
             %y = layer_norm %x, %g, %b {axes_from = 2, epsilon = 0.00001} ; return %y }",
        ],
    },
    Rule {
        name: "group-norm",
        mathematics: "channels reshaped to groups, normalised by group and reshaped back = group_norm(x, 1, 0)",
        exactness: STATISTICS,
        roots: &["reshape"],
        rewrite: Rewrite::Class(group_norm),
        examples: &[
            "graph (%x: f32[n, 6, 4, 2]) { %1 = const f32[3] [1.0, 1.0, 1.0] ; %0 = const f32[3] [0.0, 0.0, 0.0] ;
             %r = reshape %x {shape = [n, 3, 16]} ; %i = instance_norm %r, %1, %0 {epsilon = 0.00001} ; %y = reshape %i {shape = [n, 6, 4, 2]} ;
             return %y }",
            "graph (%x: f32[2, 6, m]) { %1 = const f32[] 1.0 ; %0 = const f32[] 0.0 ; %r = reshape %x {shape = [2, 3, 2, m]} ;
             %i = layer_norm %r, %1, %0 {axes_from = 2, epsilon = 0.00001} ; %y = reshape %i {shape = [2, 6, m]} ; return %y }",
        ],
    },
    Rule {
        name: "group-norm-of-groups",
        mathematics: "channels reshaped to groups, first or last, normalised by group, scaled, and reshaped back = group_norm(x, scale, bias)",
        exactness: STATISTICS,
        roots: &["reshape"],
        rewrite: Rewrite::Class(group_norm_of_groups),
        examples: &[
            "graph (%x: f32[n, 3, 6]) { %g = reshape %x {shape = [n, 3, 3, 2]} ; %m = mean %g {axes = [1, 3], keep = true} ;
             %b = broadcast %m {shape = [n, 3, 3, 2]} ; %d = sub %g, %b ; %q = mul %d, %d ; %v = mean %q {axes = [1, 3], keep = true} ;
             %e = const f32[] 0.001 ; %f = broadcast %e {shape = [n, 1, 3, 1]} ; %w = add %v, %f ; %r = sqrt %w ;
             %s = broadcast %r {shape = [n, 3, 3, 2]} ; %z = div %d, %s ; %y = reshape %z {shape = [n, 3, 6]} ; return %y }",
            "graph (%x: f32[n, 6, 3]) { %k = parameter k: f32[3, 2, 1] ; %o = parameter o: f32[1, 3, 2, 1] ;
             %g = reshape %x {shape = [n, 3, 2, 3]} ; %m = mean %g {axes = [2, 3], keep = true} ; %b = broadcast %m {shape = [n, 3, 2, 3]} ;
             %d = sub %g, %b ; %q = mul %d, %d ; %v = mean %q {axes = [2, 3], keep = true} ; %e = const f32[] 0.001 ;
             %f = broadcast %e {shape = [n, 3, 1, 1]} ; %w = add %v, %f ; %r = sqrt %w ; %i = reciprocal %r ;
             %ib = broadcast %i {shape = [n, 3, 2, 1]} ; %kb = broadcast %k {shape = [n, 3, 2, 1]} ; %p = mul %ib, %kb ;
             %pb = broadcast %p {shape = [n, 3, 2, 3]} ; %xp = mul %g, %pb ; %mb = broadcast %m {shape = [n, 3, 2, 1]} ; %mp = mul %mb, %p ;
             %ob = broadcast %o {shape = [n, 3, 2, 1]} ; %c = sub %ob, %mp ; %cb = broadcast %c {shape = [n, 3, 2, 3]} ; %z = add %xp, %cb ;
             %y = reshape %z {shape = [n, 6, 3]} ; return %y }",
        ],
    },
    Rule {
        name: "group-norm-with-scale",
        mathematics: "group_norm(x, 1, 0) * scale = group_norm(x, scale, 0)",
        exactness: STATISTICS,
        roots: &["mul"],
        rewrite: Rewrite::Class(group_norm_with_scale),
        examples: &[
            "graph (%x: f32[2, 4, n]) { %g = parameter g: f32[4, 1] ; %1 = const f32[4] [1.0, 1.0, 1.0, 1.0] ;
             %0 = const f32[4] [0.0, 0.0, 0.0, 0.0] ; %i = group_norm %x, %1, %0 {groups = 2, epsilon = 0.00001} ;
             %b = broadcast %g {shape = [2, 4, n]} ; %y = mul %i, %b ; return %y }",
        ],
    },
    Rule {
        name: "group-norm-with-bias",
        mathematics: "group_norm(x, scale, 0) + bias = group_norm(x, scale, bias)",
        exactness: STATISTICS,
        roots: &["add"],
        rewrite: Rewrite::Class(group_norm_with_bias),
        examples: &[
            "graph (%x: f32[2, 4, n]) { %g = parameter g: f32[4] ; %c = parameter c: f32[4, 1] ; %0 = const f32[4] [0.0, 0.0, 0.0, 0.0] ;
             %i = group_norm %x, %g, %0 {groups = 2, epsilon = 0.00001} ; %b = broadcast %c {shape = [2, 4, n]} ; %y = add %i, %b ; return %y }",
        ],
    },
];

/// A parameter that is the same everywhere but along the channels of a tensor of that shape, as a vector.
fn per_channel(view: View, parameter: Id, of: &[Dim], axis: usize) -> Option<Term> {
    let channels = of.get(axis)?;
    let dtype = view.ty(parameter).dtype;
    if let Some(value) = view.uniform(parameter) {
        return Some(Term::number(dtype, std::slice::from_ref(channels), value));
    }
    let shape = view.shape(parameter);
    let missing = of.len().checked_sub(shape.len())?;
    let fits = |(at, dim): (usize, &Dim)| if at + missing == axis { dim == channels } else { dim.is(1) };
    let fits = missing <= axis && shape.iter().enumerate().all(fits);
    fits.then(|| Term::of(Reshape { shape: vec![channels.clone()] }, &[parameter]))
}

fn instance_norm(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| match op {
        // With one number for all, it may as well be a norm of something else than channels.
        Op::LayerNorm(norm) if norm.axes_from == 2 && x[1..].iter().any(|p| view.uniform(*p).is_none()) => {
            let shape = view.shape(x[0]);
            let [scale, bias] = [per_channel(view, x[1], shape, 1)?, per_channel(view, x[2], shape, 1)?];
            Some(Term::apply(InstanceNorm { epsilon: norm.epsilon }, [Term::Class(x[0]), scale, bias]))
        }
        _ => None,
    })
}

fn group_norm(view: View, root: Id) -> Option<Term> {
    let shape = view.shape(root);
    let normal = view.find(root, |op, x| matches!(op, Op::Reshape(_)).then(|| x[0]))?;
    view.find(normal, |op, x| {
        let epsilon = match op {
            Op::LayerNorm(norm) if norm.axes_from == 2 => norm.epsilon,
            Op::InstanceNorm(norm) => norm.epsilon,
            _ => return None,
        };
        let grouped = view.shape(x[0]);
        let plain = view.is_number(x[1], 1.0) && view.is_number(x[2], 0.0);
        let inner = view.find(x[0], |op, x| (matches!(op, Op::Reshape(_)) && view.same_dims(view.shape(x[0]), shape)).then(|| x[0]))?;
        if !plain || shape.len() < 2 || !view.same_dims(&shape[..1], &grouped[..1]) {
            return None;
        }
        let groups = grouped[1].as_const().and_then(|g| usize::try_from(g).ok())?;
        let dtype = view.ty(root).dtype;
        let vector = |value| Term::number(dtype, &shape[1..2], value);
        Some(Term::apply(GroupNorm { groups, epsilon }, [Term::Class(inner), vector(1.0), vector(0.0)]))
    })
}

/// Where channels are, first or last, and the order of axes with them first behind the batch.
fn channels_first(axis: usize, rank: usize) -> Vec<usize> {
    [0, axis].into_iter().chain((1..rank).filter(|other| *other != axis)).collect()
}

fn group_norm_of_groups(view: View, root: Id) -> Option<Term> {
    let (shape, rank) = (view.shape(root), view.ty(root).rank());
    let grouped =
        view.find(root, |op, x| matches!(op, Op::Reshape(_)).then(|| x[0])).filter(|x| rank >= 2 && view.ty(*x).rank() == rank + 1)?;
    let Normal { x, axes, epsilon, scale, bias } = normal(view, grouped).or_else(|| normal_by_moments(view, grouped))?;
    let inner = view.find(x, |op, x| (matches!(op, Op::Reshape(_)) && view.same_dims(view.shape(x[0]), shape)).then(|| x[0]))?;
    let split = view.shape(x);
    // Groups are one axis, channels of a group the next; all others but that of the batch are summed over.
    let channels = [1, rank - 1].into_iter().find(|channels| {
        let over = (1..=rank).filter(|axis| axis != channels);
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        let others =
            view.same_dims(&split[..*channels], &shape[..*channels]) && view.same_dims(&split[channels + 2..], &shape[channels + 1..]);
        over.eq(sorted) && others
    })?;
    let dtype = view.ty(root).dtype;
    let vector = |class: Id| {
        let (own, missing) = (view.shape(class), (rank + 1).checked_sub(view.ty(class).rank())?);
        let varies = |(axis, dim): (usize, &Dim)| ![channels, channels + 1].contains(&(axis + missing)) && !dim.is(1);
        let mut full = vec![Dim::ONE; rank + 1];
        full[channels..channels + 2].clone_from_slice(&split[channels..channels + 2]);
        let repeated = Term::of(Broadcast { shape: full }, &[class]);
        (!own.iter().enumerate().any(varies)).then(|| Term::apply(Reshape { shape: shape[channels..=channels].to_vec() }, [repeated]))
    };
    let number = |value: f64| Term::number(dtype, &shape[channels..=channels], value);
    let scale = match scale {
        Term::Class(class) => vector(class)?,
        Term::Constant(_) | Term::Apply(..) => number(1.0),
    };
    let bias = bias.map_or_else(|| Some(number(0.0)), vector)?;
    let groups = split[channels].as_const().and_then(|g| usize::try_from(g).ok())?;
    let first = channels_first(channels, rank);
    let mut back = vec![0; rank];
    first.iter().enumerate().for_each(|(to, from)| back[*from] = to);
    let norm = Term::apply(GroupNorm { groups, epsilon: Real(epsilon) }, [Term::transposed(view, inner, &first), scale, bias]);
    Some(if back.is_sorted() { norm } else { Term::apply(Transpose { perm: back }, [norm]) })
}

/// A group norm, channels last or first, with what it is given, and the axis of its channels.
struct Grouped {
    norm: GroupNorm,
    operands: [Id; 3],
    back: Option<Transpose>,
    channels: usize,
}

impl Grouped {
    fn of(view: View, class: Id) -> Option<Grouped> {
        let norm = |class: Id| {
            view.find(class, |op, x| match op {
                Op::GroupNorm(norm) => Some((norm.clone(), [x[0], x[1], x[2]])),
                _ => None,
            })
        };
        let as_it_is = norm(class).map(|(norm, operands)| Grouped { norm, operands, back: None, channels: 1 });
        as_it_is.or_else(|| {
            view.find(class, |op, x| {
                let Op::Transpose(back) = op else { return None };
                let (norm, operands) = norm(x[0])?;
                let channels = back.perm.iter().position(|axis| *axis == 1)?;
                Some(Grouped { norm, operands, back: Some(back.clone()), channels })
            })
        })
    }

    /// The same with another scale and bias.
    fn with(self, scale: Term, bias: Term) -> Term {
        let norm = Term::apply(self.norm, [Term::Class(self.operands[0]), scale, bias]);
        match self.back {
            Some(back) => Term::apply(back, [norm]),
            None => norm,
        }
    }
}

fn group_norm_with_scale(view: View, root: Id) -> Option<Term> {
    with_parameter(
        view,
        root,
        |op| matches!(op, Op::Mul(_)),
        |value, scale| {
            let grouped = Grouped::of(view, value)?;
            let [_, one, zero] = grouped.operands;
            let scale = per_channel(view, scale, view.shape(value), grouped.channels)?;
            (view.is_number(one, 1.0) && view.is_number(zero, 0.0)).then(|| grouped.with(scale, Term::Class(zero)))
        },
    )
}

fn group_norm_with_bias(view: View, root: Id) -> Option<Term> {
    with_parameter(
        view,
        root,
        |op| matches!(op, Op::Add(_)),
        |value, bias| {
            let grouped = Grouped::of(view, value)?;
            let [_, scale, zero] = grouped.operands;
            let bias = per_channel(view, bias, view.shape(value), grouped.channels)?;
            view.is_number(zero, 0.0).then(|| grouped.with(Term::Class(scale), bias))
        },
    )
}
