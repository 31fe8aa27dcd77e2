//! Softmax and its logarithm from exponentials and sums.

use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::{View, close};
use egg::Id;
use kiln_ir::Op;
use kiln_ir::ops::{LogSoftmax, ReduceKind, Softmax};
use std::collections::BTreeMap;

/// Sums of n positive terms of either side differ by n · ε at most; rows of the examples are short, and so is what is left after
/// scaling by the result, which is at most 1.
const A_ROW: Exactness = Exactness::Reassociated { bound: 64.0 };

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "softmax-of-exponentials",
        mathematics: "e^x / sum(e^x) = softmax(x)",
        exactness: A_ROW,
        roots: &["div", "mul"],
        rewrite: Rewrite::Class(softmax_of_exponentials),
        examples: &[
            "graph (%x: f32[n, 5]) { %e = exp %x ; %s = reduce %e {kind = sum, axes = [1], keep = true} ; %b = broadcast %s {shape = [n, 5]} ;
             %y = div %e, %b ; return %y }",
            "graph (%x: f32[2, 5, n]) { %e = exp %x ; %s = reduce %e {kind = sum, axes = [1], keep = false} ;
             %k = reshape %s {shape = [2, 1, n]} ; %r = reciprocal %k ; %b = broadcast %r {shape = [2, 5, n]} ; %y = mul %b, %e ; return %y }",
        ],
    },
    Rule {
        name: "softmax-of-shifted",
        mathematics: "softmax(x - m) = softmax(x) for m that is one along the axis",
        exactness: A_ROW,
        roots: &["softmax"],
        rewrite: Rewrite::Class(softmax_of_shifted),
        examples: &[
            "graph (%x: f32[n, 5]) { %m = reduce %x {kind = max, axes = [1], keep = true} ; %b = broadcast %m {shape = [n, 5]} ;
             %d = sub %x, %b ; %y = softmax %d {axis = 1} ; return %y }",
        ],
    },
    Rule {
        name: "log-of-softmax",
        mathematics: "log(softmax(x)) = log_softmax(x)",
        exactness: A_ROW,
        roots: &["log"],
        rewrite: Rewrite::Class(log_of_softmax),
        examples: &["graph (%x: f32[n, 5]) { %s = softmax %x {axis = 0} ; %y = log %s ; return %y }"],
    },
    Rule {
        name: "power-of-log-softmax",
        mathematics: "e^(log_softmax(x)) = softmax(x)",
        exactness: A_ROW,
        roots: &["exp"],
        rewrite: Rewrite::Class(power_of_log_softmax),
        examples: &["graph (%x: f32[n, 5]) { %l = log_softmax %x {axis = 1} ; %y = exp %l ; return %y }"],
    },
    Rule {
        name: "softmax-moved-to-last-axis",
        mathematics: "softmax(x)^T along an axis that the transposition makes the last = softmax(x^T) along the last",
        exactness: Exactness::SameBits,
        roots: &["transpose"],
        rewrite: Rewrite::Class(softmax_moved_to_last_axis),
        examples: &[
            "graph (%x: f32[2, 5, n]) { %s = softmax %x {axis = 1} ; %y = transpose %s {perm = [0, 2, 1]} ; return %y }",
        ],
    },
    Rule {
        name: "less-log-of-sum",
        mathematics: "x - log(sum(e^x)) = log_softmax(x), and u - (log(sum(e^(u - m))) + m) = log_softmax(u - m), in any order",
        exactness: A_ROW,
        roots: &["sub", "add"],
        rewrite: Rewrite::Class(less_log_of_sum),
        examples: &[
            "graph (%x: f32[n, 5]) { %e = exp %x ; %s = reduce %e {kind = sum, axes = [1], keep = true} ; %l = log %s ;
             %b = broadcast %l {shape = [n, 5]} ; %y = sub %x, %b ; return %y }",
            "graph (%x: f32[3, 5]) { %l = log_sum_exp %x {axes = [1], keep = true} ; %b = broadcast %l {shape = [3, 5]} ; %y = sub %x, %b ;
             return %y }",
            "graph (%x: f32[n, 5]) { %m = reduce %x {kind = max, axes = [1], keep = true} ; %mb = broadcast %m {shape = [n, 5]} ;
             %d = sub %x, %mb ; %e = exp %d ; %s = reduce %e {kind = sum, axes = [1], keep = true} ; %l = log %s ; %z = add %l, %m ;
             %b = broadcast %z {shape = [n, 5]} ; %y = sub %x, %b ; return %y }",
        ],
    },
    Rule {
        name: "log-softmax-of-shifted",
        mathematics: "log_softmax(x - m) = log_softmax(x) for m that is one along the axis",
        exactness: A_ROW,
        roots: &["log_softmax"],
        rewrite: Rewrite::Class(log_softmax_of_shifted),
        examples: &[
            "graph (%x: f32[n, 5]) { %m = reduce %x {kind = max, axes = [1], keep = true} ; %b = broadcast %m {shape = [n, 5]} ;
             %d = sub %x, %b ; %y = log_softmax %d {axis = 1} ; return %y }",
        ],
    },
];

fn exponent(view: View, class: Id) -> Option<Id> {
    view.find(class, |op, x| matches!(op, Op::Exp(_)).then(|| x[0]))
}

fn softmax_of_exponentials(view: View, root: Id) -> Option<Term> {
    let product = view.product(root);
    let [a, b] = product.powers.as_slice() else { return None };
    let [power, sum] = if a.1 > b.1 { [a, b] } else { [b, a] };
    let exponents = power.1 == 1.0 && sum.1 == -1.0 && close(product.coefficient, 1.0);
    let (of, axes) = view.spread_reduction(sum.0, ReduceKind::Sum).filter(|(of, _)| *of == power.0 && exponents)?;
    let [axis] = axes.as_slice() else { return None };
    Some(Term::of(Softmax { axis: *axis }, &[exponent(view, of)?]))
}

/// x where a class is x less something that is the same everywhere along the axis.
fn before_shift(view: View, class: Id, axis: usize) -> Option<Id> {
    view.find(class, |op, x| {
        let shift = view.shape(view.before_broadcast(*x.get(1)?));
        let missing = view.ty(class).rank() - shift.len().min(view.ty(class).rank());
        let one = axis < missing || shift.get(axis - missing).is_some_and(|d| d.is(1));
        (matches!(op, Op::Sub(_)) && one && view.uniform(x[0]).is_none()).then(|| x[0])
    })
}

fn softmax_of_shifted(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| match op {
        Op::Softmax(Softmax { axis }) => before_shift(view, x[0], *axis).map(|inner| Term::of(Softmax { axis: *axis }, &[inner])),
        _ => None,
    })
}

fn log_softmax_of_shifted(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| match op {
        Op::LogSoftmax(LogSoftmax { axis }) => before_shift(view, x[0], *axis).map(|inner| Term::of(LogSoftmax { axis: *axis }, &[inner])),
        _ => None,
    })
}

fn log_of_softmax(view: View, root: Id) -> Option<Term> {
    let shares = view.find(root, |op, x| matches!(op, Op::Log(_)).then(|| x[0]))?;
    view.find(shares, |op, x| match op {
        Op::Softmax(Softmax { axis }) => Some(Term::of(LogSoftmax { axis: *axis }, x)),
        _ => None,
    })
}

fn power_of_log_softmax(view: View, root: Id) -> Option<Term> {
    view.find(exponent(view, root)?, |op, x| match op {
        Op::LogSoftmax(LogSoftmax { axis }) => Some(Term::of(Softmax { axis: *axis }, x)),
        _ => None,
    })
}

fn softmax_moved_to_last_axis(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::Transpose(transpose) = op else { return None };
        let (last, moved) = (transpose.perm.len().checked_sub(1)?, *transpose.perm.last()?);
        view.find(x[0], |op, y| match op {
            Op::Softmax(Softmax { axis }) if *axis == moved && moved != last => {
                Some(Term::apply(Softmax { axis: last }, [Term::transposed(view, y[0], &transpose.perm)]))
            }
            _ => None,
        })
    })
}

/// How deep sums are taken apart.
const MAX_TERMS_DEPTH: usize = 3;

/// The logarithm of a sum of exponentials among the terms of a sum: its class, of what, and over which axes.
fn log_of_sum(view: View, class: Id, depth: usize) -> Option<(Id, Id, Vec<usize>)> {
    let class = view.before_broadcast(class);
    let found = view.find(class, |op, x| match op {
        Op::Log(_) => {
            let (powers, axes) = view.spread_reduction(x[0], ReduceKind::Sum)?;
            Some((class, exponent(view, powers)?, axes))
        }
        Op::LogSumExp(op) if op.keep => Some((class, x[0], op.axes.clone())),
        _ => None,
    });
    let deeper = || {
        let depth = depth.checked_sub(1)?;
        view.find(class, |op, x| match op {
            Op::Add(_) | Op::Sub(_) => x.iter().find_map(|term| log_of_sum(view, *term, depth)),
            _ => None,
        })
    };
    found.or_else(deeper)
}

/// The terms of a sum with how often each is added, in order of classes. It is not taken apart within `whole`.
fn terms(view: View, class: Id, whole: &[Id]) -> BTreeMap<Id, i32> {
    fn add(view: View, class: Id, sign: i32, whole: &[Id], depth: usize, terms: &mut BTreeMap<Id, i32>) {
        let class = view.before_broadcast(class);
        let parts = view.find(class, |op, x| match op {
            Op::Add(_) => Some(vec![(x[0], sign), (x[1], sign)]),
            Op::Sub(_) => Some(vec![(x[0], sign), (x[1], -sign)]),
            Op::Neg(_) => Some(vec![(x[0], -sign)]),
            _ => None,
        });
        match parts.filter(|_| depth > 0 && !whole.contains(&class)) {
            Some(parts) => parts.into_iter().for_each(|(part, sign)| add(view, part, sign, whole, depth - 1, terms)),
            None => *terms.entry(class).or_default() += sign,
        }
    }
    let mut found = BTreeMap::new();
    add(view, class, 1, whole, MAX_TERMS_DEPTH, &mut found);
    found.retain(|_, times| *times != 0);
    found
}

fn less_log_of_sum(view: View, root: Id) -> Option<Term> {
    let (log, of, axes) = log_of_sum(view, root, MAX_TERMS_DEPTH)?;
    let [axis] = axes.as_slice() else { return None };
    let is_rest = |rest: &[(Id, i32)]| {
        let whole: Vec<Id> = rest.iter().map(|(class, _)| view.before_broadcast(*class)).chain([log]).collect();
        let expected = whole.iter().copied().zip(rest.iter().map(|(_, times)| *times).chain([-1])).collect();
        terms(view, root, &whole) == expected
    };
    // What was summed over as it is, or as the difference that it is.
    let difference = || view.find(of, |op, x| (matches!(op, Op::Sub(_)) && is_rest(&[(x[0], 1), (x[1], -1)])).then_some(()));
    (is_rest(&[(of, 1)]) || difference().is_some()).then(|| Term::of(LogSoftmax { axis: *axis }, &[of]))
}
