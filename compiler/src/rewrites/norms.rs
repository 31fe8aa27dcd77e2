//! Means and normalisations from differences, squares and roots.

use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::{View, close};
use egg::Id;
use kiln_ir::attr::Real;
use kiln_ir::ops::{GroupNorm, InstanceNorm, LayerNorm, Mean, ReduceKind, RmsNorm};
use kiln_ir::{Dim, Op, Tensor};

/// Statistics of n values differ by n · ε of the largest; normalised values are as large as √n.
const STATISTICS: Exactness = Exactness::Reassociated { bound: 256.0 };

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "mean-of-sum",
        mathematics: "sum(x) / n = mean(x)",
        exactness: Exactness::Reassociated { bound: 8.0 },
        roots: &["div", "mul"],
        rewrite: Rewrite::Class(mean_of_sum),
        examples: &[
            "graph (%x: f32[n, 5]) { %s = reduce %x {kind = sum, axes = [1], keep = true} ; %1 = const f32[] 5.0 ;
             %2 = broadcast %1 {shape = [n, 1]} ; %y = div %s, %2 ; return %y }",
            "graph (%x: f32[2, 4, n]) { %s = reduce %x {kind = sum, axes = [0, 1], keep = false} ; %1 = const f32[] 0.125 ;
             %2 = broadcast %1 {shape = [n]} ; %y = mul %s, %2 ; return %y }",
        ],
    },
    Rule {
        name: "layer-norm",
        mathematics: "(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale = layer_norm(x, scale, 0)",
        exactness: STATISTICS,
        roots: &["div", "mul"],
        rewrite: Rewrite::Class(layer_norm),
        examples: &[
            "graph (%x: f32[n, 5]) { %m = mean %x {axes = [1], keep = true} ; %b = broadcast %m {shape = [n, 5]} ; %d = sub %x, %b ;
             %q = mul %d, %d ; %v = mean %q {axes = [1], keep = true} ; %e = const f32[1, 1] [0.00001] ; %f = broadcast %e {shape = [n, 1]} ;
             %w = add %v, %f ; %r = sqrt %w ; %s = broadcast %r {shape = [n, 5]} ; %y = div %d, %s ; return %y }",
            "graph (%x: f32[n, 5]) { %g = parameter g: f32[5] ; %m = mean %x {axes = [1], keep = true} ; %b = broadcast %m {shape = [n, 5]} ;
             %d = sub %x, %b ; %2 = const f32[] 2.0 ; %t = broadcast %2 {shape = [n, 5]} ; %q = pow %d, %t ;
             %v = mean %q {axes = [1], keep = true} ; %e = const f32[1, 1] [0.00001] ; %f = broadcast %e {shape = [n, 1]} ; %w = add %v, %f ;
             %h = const f32[1, 1] [-0.5] ; %hh = broadcast %h {shape = [n, 1]} ; %r = pow %w, %hh ; %s = broadcast %r {shape = [n, 5]} ;
             %k = broadcast %g {shape = [n, 5]} ; %sk = mul %s, %k ; %y = mul %d, %sk ; return %y }",
        ],
    },
    Rule {
        name: "layer-norm-with-bias",
        mathematics: "layer_norm(x, scale, 0) + bias = layer_norm(x, scale, bias)",
        exactness: STATISTICS,
        roots: &["add"],
        rewrite: Rewrite::Class(layer_norm_with_bias),
        examples: &[
            "graph (%x: f32[n, 5]) { %g = parameter g: f32[5] ; %b = parameter b: f32[5] ; %0 = const f32[] 0.0 ;
             %l = layer_norm %x, %g, %0 {axes_from = 1, epsilon = 0.00001} ; %c = broadcast %b {shape = [n, 5]} ; %y = add %c, %l ; return %y }",
        ],
    },
    Rule {
        name: "layer-norm-by-moments",
        mathematics: "x * k + (bias - mean(x) * k) = layer_norm(x, scale, bias) with k = scale / sqrt(mean((x - mean(x))^2) + epsilon)",
        exactness: STATISTICS,
        roots: &["add"],
        rewrite: Rewrite::Class(layer_norm_by_moments),
        examples: &[
            "graph (%x: f32[n, 5]) { %g = parameter g: f32[5] ; %o = parameter o: f32[5] ; %m = mean %x {axes = [1], keep = true} ;
             %b = broadcast %m {shape = [n, 5]} ; %d = sub %x, %b ; %q = mul %d, %d ; %v = mean %q {axes = [1], keep = true} ;
             %e = const f32[] 0.001 ; %f = broadcast %e {shape = [n, 1]} ; %w = add %v, %f ; %r = sqrt %w ; %i = reciprocal %r ;
             %ib = broadcast %i {shape = [n, 5]} ; %gb = broadcast %g {shape = [n, 5]} ; %k = mul %ib, %gb ; %xk = mul %x, %k ;
             %mk = mul %b, %k ; %ob = broadcast %o {shape = [n, 5]} ; %c = sub %ob, %mk ; %y = add %xk, %c ; return %y }",
        ],
    },
    Rule {
        name: "rms-norm",
        mathematics: "x / sqrt(mean(x^2) + epsilon) * scale = rms_norm(x, scale)",
        exactness: STATISTICS,
        roots: &["div", "mul"],
        rewrite: Rewrite::Class(rms_norm),
        examples: &[
            "graph (%x: f32[n, 5]) { %g = parameter g: f32[5] ; %2 = const f32[] 2.0 ; %t = broadcast %2 {shape = [n, 5]} ; %q = pow %x, %t ;
             %v = mean %q {axes = [1], keep = true} ; %e = const f32[] 0.000001 ; %f = broadcast %e {shape = [n, 1]} ; %w = add %v, %f ;
             %r = sqrt %w ; %i = reciprocal %r ; %s = broadcast %i {shape = [n, 5]} ; %u = mul %x, %s ; %k = broadcast %g {shape = [n, 5]} ;
             %y = mul %k, %u ; return %y }",
        ],
    },
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

fn mean_of_sum(view: View, root: Id) -> Option<Term> {
    let (sum, factor) = view.scaled(root);
    view.find(sum, |op, x| match op {
        Op::Reduce(reduce) if reduce.kind == ReduceKind::Sum && view.ty(sum).dtype.is_float() => {
            let count = Dim::product(reduce.axes.iter().map(|a| &view.shape(x[0])[*a])).as_const()?;
            let mean = Mean { axes: reduce.axes.clone(), keep: reduce.keep };
            (count > 0 && close(factor * count as f64, 1.0)).then(|| Term::of(mean, &[x[0]]))
        }
        _ => None,
    })
}

/// The first of the last axes, if those are the axes.
fn trailing(axes: &[usize], rank: usize) -> Option<usize> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    sorted.iter().copied().eq(rank.checked_sub(axes.len())?..rank).then(|| rank - axes.len())
}

/// `(x, axes, epsilon)` where a class is mean(x²) + epsilon, its axes kept.
fn mean_square(view: View, class: Id) -> Option<(Id, Vec<usize>, f64)> {
    let (mean, epsilon) = view.plus_number(class).filter(|(_, epsilon)| *epsilon >= 0.0)?;
    let (squares, axes) = view.spread_mean(mean)?;
    Some((view.square_root_of(squares)?, axes, epsilon))
}

/// A factor that is left beside what a rule explains: one, or a parameter.
fn parameter_or_one(view: View, rest: &crate::egraph::forms::Product, like: Id) -> Option<Term> {
    match rest.powers.as_slice() {
        [] if close(rest.coefficient, 1.0) => Some(Term::Constant(Tensor::scalar(view.ty(like).dtype, 1.0))),
        [(scale, 1.0)] if close(rest.coefficient, 1.0) && view.is_fixed(*scale) => Some(Term::Class(*scale)),
        _ => None,
    }
}

/// x where a class is x − mean(x) over these axes.
pub fn centred(view: View, class: Id, axes: &[usize]) -> Option<Id> {
    view.find(class, |op, x| match op {
        Op::Sub(_) => {
            let (of, over) = view.spread_mean(x[1])?;
            (of == x[0] && over == axes).then(|| x[0])
        }
        _ => None,
    })
}

fn layer_norm(view: View, root: Id) -> Option<Term> {
    let product = view.product(root);
    product.powers.iter().filter(|(_, exponent)| *exponent == -0.5).find_map(|(variance, _)| {
        let (difference, axes, epsilon) = mean_square(view, *variance)?;
        let x = centred(view, difference, &axes)?;
        let scale = parameter_or_one(view, &product.without(*variance, -0.5)?.without(difference, 1.0)?, x)?;
        let axes_from = trailing(&axes, view.ty(x).rank())?;
        let zero = Term::Constant(Tensor::scalar(view.ty(x).dtype, 0.0));
        Some(Term::apply(LayerNorm { axes_from, epsilon: Real(epsilon) }, [Term::Class(x), scale, zero]))
    })
}

/// An addition or multiplication of something that `accept` takes and a parameter, repeated.
fn with_parameter<T>(view: View, root: Id, is: fn(&Op) -> bool, accept: impl Fn(Id, Id) -> Option<T>) -> Option<T> {
    view.find(root, |op, x| match x {
        [a, b] if is(op) => [(*a, *b), (*b, *a)]
            .into_iter()
            .filter(|(_, p)| view.is_fixed(*p))
            .find_map(|(value, p)| accept(value, view.before_broadcast(p))),
        _ => None,
    })
}

fn layer_norm_with_bias(view: View, root: Id) -> Option<Term> {
    with_parameter(
        view,
        root,
        |op| matches!(op, Op::Add(_)),
        |value, bias| {
            view.find(value, |op, x| match op {
                Op::LayerNorm(norm) if view.is_number(x[2], 0.0) => Some(Term::of(norm.clone(), &[x[0], x[1], bias])),
                _ => None,
            })
        },
    )
}

fn layer_norm_by_moments(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| match x {
        [a, b] if matches!(op, Op::Add(_)) => [(*a, *b), (*b, *a)].into_iter().find_map(|(scaled, rest)| {
            let (bias, shift) = view.find(rest, |op, x| (matches!(op, Op::Sub(_)) && view.is_fixed(x[0])).then(|| (x[0], x[1])))?;
            let (scaled, shift) = (view.product(scaled), view.product(shift));
            scaled.powers.iter().filter(|(_, exponent)| *exponent == -0.5).find_map(|(variance, _)| {
                let (difference, axes, epsilon) = mean_square(view, *variance)?;
                let x = centred(view, difference, &axes)?;
                let slope = scaled.over(&view.product(x));
                let mean = shift.over(&slope).only().filter(|(_, exponent)| *exponent == 1.0)?.0;
                let scale = parameter_or_one(view, &slope.without(*variance, -0.5)?, x)?;
                let axes_from = trailing(&axes, view.ty(x).rank())?;
                let of_mean = close(shift.coefficient, slope.coefficient) && view.spread_mean(mean)? == (x, axes);
                let operands = [Term::Class(x), scale, Term::Class(view.before_broadcast(bias))];
                of_mean.then(|| Term::apply(LayerNorm { axes_from, epsilon: Real(epsilon) }, operands))
            })
        }),
        _ => None,
    })
}

fn rms_norm(view: View, root: Id) -> Option<Term> {
    let product = view.product(root);
    product.powers.iter().filter(|(_, exponent)| *exponent == -0.5).find_map(|(variance, _)| {
        let (x, axes, epsilon) = mean_square(view, *variance)?;
        let rest = product.without(*variance, -0.5)?.over(&view.product(x));
        let scale = parameter_or_one(view, &rest, x)?;
        let axes_from = trailing(&axes, view.ty(x).rank())?;
        Some(Term::apply(RmsNorm { axes_from, epsilon: Real(epsilon) }, [Term::Class(x), scale]))
    })
}

/// A parameter that is the same everywhere but along the channels of a tensor of that shape, as a vector.
fn per_channel(view: View, parameter: Id, of: &[Dim]) -> Option<Term> {
    let channels = of.get(1)?;
    let dtype = view.ty(parameter).dtype;
    if let Some(value) = view.uniform(parameter) {
        return Some(Term::number(dtype, std::slice::from_ref(channels), value));
    }
    let shape = view.shape(parameter);
    let missing = of.len().checked_sub(shape.len())?;
    let fits = |(axis, dim): (usize, &Dim)| if axis + missing == 1 { dim == channels } else { dim.is(1) };
    let fits = missing <= 1 && shape.iter().enumerate().all(fits);
    fits.then(|| Term::of(kiln_ir::ops::Reshape { shape: vec![channels.clone()] }, &[parameter]))
}

fn instance_norm(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| match op {
        // With one number for all, it may as well be a norm of something else than channels.
        Op::LayerNorm(norm) if norm.axes_from == 2 && x[1..].iter().any(|p| view.uniform(*p).is_none()) => {
            let shape = view.shape(x[0]);
            let [scale, bias] = [per_channel(view, x[1], shape)?, per_channel(view, x[2], shape)?];
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

fn group_norm_with_scale(view: View, root: Id) -> Option<Term> {
    with_parameter(
        view,
        root,
        |op| matches!(op, Op::Mul(_)),
        |value, scale| {
            view.find(value, |op, x| match op {
                Op::GroupNorm(norm) if view.is_number(x[1], 1.0) && view.is_number(x[2], 0.0) => {
                    let scale = per_channel(view, scale, view.shape(x[0]))?;
                    Some(Term::apply(norm.clone(), [Term::Class(x[0]), scale, Term::Class(x[2])]))
                }
                _ => None,
            })
        },
    )
}

fn group_norm_with_bias(view: View, root: Id) -> Option<Term> {
    with_parameter(
        view,
        root,
        |op| matches!(op, Op::Add(_)),
        |value, bias| {
            view.find(value, |op, x| match op {
                Op::GroupNorm(norm) if view.is_number(x[2], 0.0) => {
                    let bias = per_channel(view, bias, view.shape(x[0]))?;
                    Some(Term::apply(norm.clone(), [Term::Class(x[0]), Term::Class(x[1]), bias]))
                }
                _ => None,
            })
        },
    )
}
