//! Pooling: functions that may as well be taken behind it, what a window reads, and which windows are looked at.

use super::vectors::is_real;
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{PadMode, WindowKind, WindowReduce};
use kiln_ir::{Dim, Op};

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "pool-of-monotone",
        mathematics: "the largest f(x) is f of the largest x, where f never falls",
        exactness: Exactness::SameValue,
        roots: &["window_reduce"],
        rewrite: Rewrite::Class(pool_of_monotone),
        examples: &[
            "graph (%x: f32[n, 3, 6, 7]) { %0 = const f32[] 0.0 ; %z = broadcast %0 {shape = [n, 3, 6, 7]} ; %r = max %z, %x ;
             %y = window_reduce %r {kind = max, window = [3, 2], strides = [2, 2], dilations = [1, 1], low = [1, 0], high = [1, 0]} ;
             return %y }",
            "graph (%x: f32[n, 3, 6]) { %f = floor %x ;
             %y = window_reduce %f {kind = max, window = [2], strides = [1], dilations = [2], low = [0], high = [0]} ; return %y }",
        ],
    },
    Rule {
        name: "monotone-of-pool",
        mathematics: "f of the largest x is the largest f(x), where f never falls",
        exactness: Exactness::SameValue,
        roots: &["max", "min", "add", "sub", "mul", "floor", "ceil"],
        rewrite: Rewrite::Class(monotone_of_pool),
        examples: &[
            "graph (%x: f32[n, 3, 6]) { %0 = const f32[] 0.5 ; %z = broadcast %0 {shape = [n, 3, 3]} ;
             %p = window_reduce %x {kind = max, window = [3], strides = [2], dilations = [1], low = [1], high = [1]} ;
             %y = sub %p, %z ; return %y }",
            "graph (%x: f32[n, m, 6]) { %0 = const f32[] 1.5 ; %z = broadcast %0 {shape = [n, m, 5]} ;
             %p = window_reduce %x {kind = max, window = [2], strides = [1], dilations = [1], low = [0], high = [0]} ;
             %y = mul %z, %p ; return %y }",
        ],
    },
    Rule {
        name: "pad-into-pool",
        mathematics: "what padding adds around an image is what a window finds outside it",
        exactness: Exactness::SameValue,
        roots: &["window_reduce"],
        rewrite: Rewrite::Class(pad_into_pool),
        examples: &[
            "graph (%x: f32[n, 3, 6]) { %0 = const f32[] 0.0 ; %z = pad %x, %0 {low = [0, 0, 1], high = [0, 0, 2], mode = constant} ;
             %y = window_reduce %z {kind = sum, window = [3], strides = [2], dilations = [1], low = [1], high = [0]} ; return %y }",
            "graph (%x: f32[n, 3, 6]) { %0 = const f32[] 0.0 ; %1 = broadcast %0 {shape = [n, 3, 6]} ; %r = max %x, %1 ;
             %z = pad %r, %0 {low = [0, 0, 1], high = [0, 0, 1], mode = constant} ;
             %y = window_reduce %z {kind = max, window = [3], strides = [2], dilations = [1], low = [0], high = [0]} ; return %y }",
        ],
    },
    Rule {
        name: "steps-of-pool",
        mathematics: "every k-th window is what k times the stride looks at",
        exactness: Exactness::SameBits,
        roots: &["slice"],
        rewrite: Rewrite::Class(steps_of_pool),
        examples: &["graph (%x: f32[n, 3, 9, 8]) {
             %p = window_reduce %x {kind = max, window = [3, 2], strides = [1, 2], dilations = [1, 1], low = [1, 0], high = [1, 0]} ;
             %y = slice %p {starts = [0, 0, 0, 0], sizes = [n, 3, 5, 4], steps = [1, 1, 2, 1]} ; return %y }"],
    },
    Rule {
        name: "sum-of-pools",
        mathematics: "sums over a window of x, and of y, added are sums over the window of x + y",
        exactness: Exactness::Reassociated { bound: 64.0 },
        roots: &["add", "sub"],
        rewrite: Rewrite::Class(sum_of_pools),
        examples: &["graph (%x: f32[n, 3, 6], %z: f32[n, 3, 6]) {
             %p = window_reduce %x {kind = sum, window = [3], strides = [1], dilations = [1], low = [1], high = [1]} ;
             %q = window_reduce %z {kind = sum, window = [3], strides = [1], dilations = [1], low = [1], high = [1]} ;
             %y = sub %p, %q ; return %y }"],
    },
];

fn pool_of<'e, T>(view: View<'e>, class: Id, mut accept: impl FnMut(&'e WindowReduce, Id) -> Option<T>) -> Option<T> {
    view.find(class, |op, x| match op {
        Op::WindowReduce(pool) => accept(pool, x[0]),
        _ => None,
    })
}

/// A class as a function of another that never falls and is the same at every point: the function of another operand of a shape.
fn monotone<'e, T>(view: View<'e>, class: Id, mut accept: impl FnMut(Id, &dyn Fn(Term, &[Dim]) -> Term) -> Option<T>) -> Option<T> {
    let dtype = view.ty(class).dtype;
    view.find(class, |op, x| {
        let numbers: Vec<Option<f64>> = x.iter().map(|id| view.uniform(*id)).collect();
        let at = numbers.iter().position(Option::is_none)?;
        let number = (0..x.len()).find(|other| *other != at).map(|other| numbers[other]);
        let never_falls = match (op, number) {
            (Op::Floor(_) | Op::Ceil(_), None) => true,
            (Op::Max(_) | Op::Min(_), Some(Some(number))) => !number.is_nan(),
            (Op::Add(_), Some(Some(number))) => number.is_finite(),
            (Op::Sub(_), Some(Some(number))) => at == 0 && number.is_finite(),
            (Op::Mul(_), Some(Some(number))) => number.is_finite() && number > 0.0,
            _ => false,
        };
        let of = |operand: Term, shape: &[Dim]| {
            let term = |number: &Option<f64>| match number {
                Some(number) => Term::number(dtype, shape, *number),
                None => operand.clone(),
            };
            Term::apply(op.clone(), numbers.iter().map(term))
        };
        if never_falls { accept(x[at], &of) } else { None }
    })
}

/// Whether every window has an element of the image in it.
fn meets_image(pool: &WindowReduce, low: &[Dim], high: &[Dim], image: &[Dim]) -> bool {
    (0..pool.window.len()).all(|axis| {
        let (Some(low), Some(high)) = (low[axis].as_const(), high[axis].as_const()) else { return false };
        let window = pool.window[axis] as i64;
        let around = low <= 0 && high <= 0 || pool.dilations[axis] == 1 && low < window && high < window;
        around && (low + high < window || image[axis].as_const().is_some_and(|size| size > 0))
    })
}

/// Sizes of the axes that windows slide over.
fn image<'e>(view: View<'e>, pool: &WindowReduce, class: Id) -> &'e [Dim] {
    let shape = view.shape(class);
    &shape[shape.len() - pool.window.len()..]
}

fn pool_of_monotone(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    pool_of(view, root, |pool, x| {
        if pool.kind != WindowKind::Max || !meets_image(pool, &pool.low, &pool.high, image(view, pool, x)) {
            return None;
        }
        monotone(view, x, |inner, f| Some(f(Term::of(pool.clone(), &[inner]), view.shape(root))))
    })
}

fn monotone_of_pool(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    monotone(view, root, |pooled, f| {
        pool_of(view, pooled, |pool, x| {
            let fits = pool.kind == WindowKind::Max && meets_image(pool, &pool.low, &pool.high, image(view, pool, x));
            fits.then(|| Term::apply(pool.clone(), [f(Term::Class(x), view.shape(x))]))
        })
    })
}

fn pad_into_pool(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    pool_of(view, root, |pool, padded| {
        view.find(padded, |op, y| {
            let Op::Pad(pad) = op else { return None };
            let (value, lead) = (view.uniform(y[1])?, view.ty(y[0]).rank() - pool.window.len());
            let adds = |dim: &Dim| dim.as_const().is_some_and(|n| n >= 0);
            let around =
                [&pad.low, &pad.high].into_iter().all(|list| list[..lead].iter().all(|d| d.is(0)) && list[lead..].iter().all(adds));
            if pad.mode != PadMode::Constant || !around || !pool.low.iter().chain(&pool.high).all(adds) {
                return None;
            }
            let sum = |own: &[Dim], more: &[Dim]| own.iter().zip(more).map(|(a, b)| a + b).collect::<Vec<Dim>>();
            let (low, high) = (sum(&pool.low, &pad.low[lead..]), sum(&pool.high, &pad.high[lead..]));
            let same = match pool.kind {
                WindowKind::Sum => value == 0.0,
                // Least of all, or no larger than anything in the image.
                WindowKind::Max => {
                    value == f64::NEG_INFINITY || at_least(view, y[0], value) && meets_image(pool, &low, &high, image(view, pool, y[0]))
                }
            };
            same.then(|| Term::of(WindowReduce { low, high, ..pool.clone() }, &[y[0]]))
        })
    })
}

/// Whether a class is seen to be no smaller than a number anywhere.
fn at_least(view: View, class: Id, least: f64) -> bool {
    let bounded = |op: &Op, x: &[Id]| matches!(op, Op::Max(_)) && x.iter().any(|id| view.uniform(*id).is_some_and(|bound| bound >= least));
    view.ops(class).any(|(op, x)| bounded(op, x))
}

fn steps_of_pool(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::Slice(slice) = op else { return None };
        pool_of(view, x[0], |pool, image| {
            let (shape, lead) = (view.shape(x[0]), view.ty(image).rank() - pool.window.len());
            let first = slice.starts.iter().all(|start| start.is(0)) && slice.steps.iter().all(|step| *step > 0);
            let all = (shape.iter().zip(&slice.sizes).zip(&slice.steps)).all(|((d, size), step)| d.ceil_div(&Dim::from(*step)) == *size);
            let steps: Vec<usize> = slice.steps.iter().map(|step| *step as usize).collect();
            if !first || !all || steps[..lead].iter().any(|step| *step != 1) || steps.iter().all(|step| *step == 1) {
                return None;
            }
            let strides = pool.strides.iter().zip(&steps[lead..]).map(|(stride, step)| stride * step).collect();
            Some(Term::of(WindowReduce { strides, ..pool.clone() }, &[image]))
        })
    })
}

fn sum_of_pools(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    view.find(root, |op, sum| {
        if !matches!(op, Op::Add(_) | Op::Sub(_)) || sum[0] == sum[1] {
            return None;
        }
        pool_of(view, sum[0], |pool, x| {
            pool_of(view, sum[1], |other, z| {
                let same = pool == other && pool.kind == WindowKind::Sum && x != z && view.same_dims(view.shape(x), view.shape(z));
                same.then(|| Term::apply(pool.clone(), [Term::of(op.clone(), &[x, z])]))
            })
        })
    })
}
