//! Means and normalisations from differences, squares and roots.

use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::{View, close};
use egg::Id;
use kiln_ir::attr::Real;
use kiln_ir::ops::{Broadcast, LayerNorm, Mean, Mul, ReduceKind, Reshape, RmsNorm, Sub, Transpose};
use kiln_ir::{Dim, Op, Tensor};

/// Statistics of n values differ by n · ε of the largest; normalised values are as large as √n.
pub const STATISTICS: Exactness = Exactness::Reassociated { bound: 256.0 };

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
        name: "variance-by-squares",
        // The left side loses the square of the mean in rounding; of what is as large as its deviation, that is little.
        mathematics: "mean(x^2) - mean(x)^2 = mean((x - mean(x))^2)",
        exactness: STATISTICS,
        roots: &["sub"],
        rewrite: Rewrite::Class(variance_by_squares),
        examples: &["graph (%x: f32[n, 5]) { %m = mean %x {axes = [1], keep = true} ; %q = mul %x, %x ; %s = mean %q {axes = [1], keep = true} ;
             %o = mul %m, %m ; %y = sub %s, %o ; return %y }"],
    },
    Rule {
        name: "squares-are-not-negative",
        mathematics: "max(mean(x^2), 0) = mean(x^2)",
        exactness: Exactness::Reassociated { bound: 1.0 },
        roots: &["max", "relu"],
        rewrite: Rewrite::Class(squares_are_not_negative),
        examples: &["graph (%x: f32[n, 5]) { %q = mul %x, %x ; %s = mean %q {axes = [1], keep = true} ; %0 = const f32[] 0.0 ;
             %z = broadcast %0 {shape = [n, 1]} ; %y = max %z, %s ; return %y }"],
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
        name: "layer-norm-of-inner-axes",
        mathematics: "a norm over axes in the middle = the norm over the last axes of the transposed",
        exactness: STATISTICS,
        roots: &["div", "mul", "add"],
        rewrite: Rewrite::Class(layer_norm_of_inner_axes),
        examples: &[
            "graph (%x: f32[n, 5, m]) { %g = parameter g: f32[5, 1] ; %m = mean %x {axes = [1], keep = true} ;
             %b = broadcast %m {shape = [n, 5, m]} ; %d = sub %x, %b ; %q = mul %d, %d ; %v = mean %q {axes = [1], keep = true} ;
             %e = const f32[] 0.00001 ; %f = broadcast %e {shape = [n, 1, m]} ; %w = add %v, %f ; %r = sqrt %w ;
             %s = broadcast %r {shape = [n, 5, m]} ; %z = div %d, %s ; %k = broadcast %g {shape = [n, 5, m]} ; %y = mul %z, %k ; return %y }",
            "graph (%x: f32[n, 5, m]) { %g = parameter g: f32[5, 1] ; %o = parameter o: f32[1, 5, 1] ; %0 = const f32[] 0.0 ;
             %t = transpose %x {perm = [0, 2, 1]} ; %h = reshape %g {shape = [5]} ; %l = layer_norm %t, %h, %0 {axes_from = 2, epsilon = 0.00001} ;
             %u = transpose %l {perm = [0, 2, 1]} ; %k = broadcast %o {shape = [n, 5, m]} ; %y = add %u, %k ; return %y }",
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

/// What a class is the normal form of: (x − mean(x)) / sqrt(mean((x − mean(x))²) + epsilon) · scale + bias.
pub struct Normal {
    /// What is normalised.
    pub x: Id,
    /// Over which axes.
    pub axes: Vec<usize>,
    /// Added to the variance.
    pub epsilon: f64,
    /// A number or a parameter.
    pub scale: Term,
    /// A parameter, if anything is added.
    pub bias: Option<Id>,
}

/// A class as normalised differences.
pub fn normal(view: View, root: Id) -> Option<Normal> {
    let product = view.product(root);
    product.powers.iter().filter(|(_, exponent)| *exponent == -0.5).find_map(|(variance, _)| {
        let (difference, axes, epsilon) = mean_square(view, *variance)?;
        let x = centred(view, difference, &axes)?;
        let scale = parameter_or_one(view, &product.without(*variance, -0.5)?.without(difference, 1.0)?, x)?;
        Some(Normal { x, axes, epsilon, scale, bias: None })
    })
}

fn layer_norm(view: View, root: Id) -> Option<Term> {
    let Normal { x, axes, epsilon, scale, .. } = normal(view, root)?;
    let axes_from = trailing(&axes, view.ty(x).rank())?;
    let zero = Term::Constant(Tensor::scalar(view.ty(x).dtype, 0.0));
    Some(Term::apply(LayerNorm { axes_from, epsilon: Real(epsilon) }, [Term::Class(x), scale, zero]))
}

/// A parameter of values with these axes, transposed as they are.
fn transposed_parameter(view: View, class: Id, perm: &[usize]) -> Option<Term> {
    let missing = perm.len().checked_sub(view.ty(class).rank())?;
    let shape: Vec<Dim> = std::iter::repeat_n(Dim::ONE, missing).chain(view.shape(class).iter().cloned()).collect();
    let full = Term::of(Reshape { shape }, &[class]);
    Some(Term::apply(Transpose { perm: perm.to_vec() }, [full]))
}

fn layer_norm_of_inner_axes(view: View, root: Id) -> Option<Term> {
    let rank = view.ty(root).rank();
    if let Some(Normal { x, mut axes, epsilon, scale, .. }) = normal(view, root) {
        axes.sort_unstable();
        // Each sample is normalised by itself: what the batch is normalised by is another norm.
        if trailing(&axes, rank).is_some() || axes.contains(&0) || view.ty(x).rank() != rank {
            return None;
        }
        let perm: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect();
        let back = Transpose::inverse(&perm);
        let scale = match scale {
            Term::Class(class) => transposed_parameter(view, class, &perm)?,
            one => one,
        };
        let zero = Term::Constant(Tensor::scalar(view.ty(x).dtype, 0.0));
        let norm = LayerNorm { axes_from: rank - axes.len(), epsilon: Real(epsilon) };
        let norm = Term::apply(norm, [Term::transposed(view, x, &perm), scale, zero]);
        return Some(Term::apply(Transpose { perm: back }, [norm]));
    }
    with_parameter(
        view,
        root,
        |op| matches!(op, Op::Add(_)),
        |value, bias| {
            view.find(value, |op, turned| {
                let Op::Transpose(back) = op else { return None };
                view.find(turned[0], |op, x| match op {
                    Op::LayerNorm(norm) if view.is_number(x[2], 0.0) => {
                        let bias = transposed_parameter(view, bias, &Transpose::inverse(&back.perm))?;
                        let norm = Term::apply(norm.clone(), [Term::Class(x[0]), Term::Class(x[1]), bias]);
                        Some(Term::apply(back.clone(), [norm]))
                    }
                    _ => None,
                })
            })
        },
    )
}

fn variance_by_squares(view: View, root: Id) -> Option<Term> {
    let (squares, square) = view.find(root, |op, x| matches!(op, Op::Sub(_)).then(|| (x[0], x[1])))?;
    let mean_of = |class: Id| {
        view.find(class, |op, x| match op {
            Op::Mean(mean) => Some((x[0], mean.clone())),
            _ => None,
        })
    };
    let (of_squares, mean) = mean_of(squares)?;
    let x = view.square_root_of(of_squares)?;
    (mean_of(view.square_root_of(square)?)? == (x, mean.clone())).then(|| {
        let kept = Term::of(Mean { keep: true, ..mean.clone() }, &[x]);
        let mean_of_x = Term::apply(Broadcast { shape: view.shape(x).to_vec() }, [kept]);
        let difference = Term::apply(Sub {}, [Term::Class(x), mean_of_x]);
        Term::apply(mean, [Term::apply(Mul {}, [difference.clone(), difference])])
    })
}

fn squares_are_not_negative(view: View, root: Id) -> Option<Term> {
    let inner = view.find(root, |op, x| match op {
        Op::Max(_) => [(x[0], x[1]), (x[1], x[0])].into_iter().find_map(|(x, zero)| (view.uniform(zero) == Some(0.0)).then_some(x)),
        Op::Relu(_) => Some(x[0]),
        _ => None,
    })?;
    let of_squares = view.find(inner, |op, x| match op {
        Op::Mean(_) => view.square_root_of(x[0]),
        _ => None,
    });
    of_squares.filter(|_| inner != root).map(|_| Term::Class(inner))
}

/// An addition or multiplication of something that `accept` takes and a parameter, repeated.
pub fn with_parameter<T>(view: View, root: Id, is: fn(&Op) -> bool, accept: impl Fn(Id, Id) -> Option<T>) -> Option<T> {
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

/// The same, written as x · k + (bias − mean(x) · k).
pub fn normal_by_moments(view: View, root: Id) -> Option<Normal> {
    view.find(root, |op, x| match x {
        [a, b] if matches!(op, Op::Add(_)) => [(*a, *b), (*b, *a)].into_iter().find_map(|(scaled, rest)| {
            let rest = view.before_broadcast(rest);
            let (bias, shift) = view.find(rest, |op, x| (matches!(op, Op::Sub(_)) && view.is_fixed(x[0])).then(|| (x[0], x[1])))?;
            let (scaled, shift) = (view.product(scaled), view.product(shift));
            scaled.powers.iter().filter(|(_, exponent)| *exponent == -0.5).find_map(|(variance, _)| {
                let (difference, axes, epsilon) = mean_square(view, *variance)?;
                let x = centred(view, difference, &axes)?;
                let slope = scaled.over(&view.product(x));
                let mean = shift.over(&slope).only().filter(|(_, exponent)| *exponent == 1.0)?.0;
                let scale = parameter_or_one(view, &slope.without(*variance, -0.5)?, x)?;
                let of_mean = close(shift.coefficient, slope.coefficient) && view.spread_mean(mean)? == (x, axes.clone());
                of_mean.then(|| Normal { x, axes, epsilon, scale, bias: Some(view.before_broadcast(bias)) })
            })
        }),
        _ => None,
    })
}

fn layer_norm_by_moments(view: View, root: Id) -> Option<Term> {
    let Normal { x, axes, epsilon, scale, bias } = normal_by_moments(view, root)?;
    let axes_from = trailing(&axes, view.ty(x).rank())?;
    Some(Term::apply(LayerNorm { axes_from, epsilon: Real(epsilon) }, [Term::Class(x), scale, Term::Class(bias?)]))
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
