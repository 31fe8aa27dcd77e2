//! Reductions of what is repeated or reduced already, as gradients of broadcasts write them.

use super::vectors::is_real;
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{Broadcast, Cast, Dims, Mul, Reduce, ReduceKind, Reshape};
use kiln_ir::{Dim, Op};

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "sum-of-repeated",
        mathematics: "the sum of n times x is n x",
        exactness: Exactness::Reassociated { bound: 128.0 },
        roots: &["reduce"],
        rewrite: Rewrite::Class(sum_of_repeated),
        examples: &[
            "graph (%x: f32[4, 1], %z: f32[n, m]) { %b = broadcast %x {shape = [n, 4, m]} ;
             %y = reduce %b {kind = sum, axes = [0, 2], keep = false} ; return %y }",
            "graph (%x: f32[1, 4], %z: f32[n]) { %b = broadcast %x {shape = [n, 4]} ; %y = reduce %b {kind = sum, axes = [0, 1], keep = true} ;
             return %y }",
        ],
    },
    Rule {
        name: "reduction-of-reduction",
        mathematics: "sums of sums, largest of largest, … are taken at once",
        exactness: Exactness::Reassociated { bound: 128.0 },
        roots: &["reduce"],
        rewrite: Rewrite::Class(reduction_of_reduction),
        examples: &[
            "graph (%x: f32[n, 4, 3]) { %r = reduce %x {kind = sum, axes = [1], keep = false} ;
             %y = reduce %r {kind = sum, axes = [1], keep = true} ; return %y }",
            "graph (%x: f32[n, 4, m]) { %r = reduce %x {kind = max, axes = [2], keep = true} ;
             %y = reduce %r {kind = max, axes = [0, 2], keep = false} ; return %y }",
        ],
    },
];

fn sum_of_repeated(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    view.find(root, |op, x| {
        let Op::Reduce(reduce) = op else { return None };
        view.find(x[0], |inner, y| {
            let (Op::Broadcast(_), ReduceKind::Sum) = (inner, reduce.kind) else { return None };
            let (from, to) = (view.shape(y[0]), view.shape(x[0]));
            let missing = to.len() - from.len();
            // Axes that repeat are counted, the others are still summed over.
            let repeats = |axis: &usize| *axis < missing || from[axis - missing].is(1);
            let (counted, summed): (Vec<usize>, Vec<usize>) = reduce.axes.iter().copied().partition(repeats);
            if counted.is_empty() {
                return None;
            }
            let kept: Vec<Dim> = to.iter().enumerate().map(|(at, d)| if counted.contains(&at) { Dim::ONE } else { d.clone() }).collect();
            let once = Term::of(Broadcast { shape: kept }, &[y[0]]);
            let rest = if summed.is_empty() { once } else { Term::apply(Reduce { axes: summed, keep: true, ..reduce.clone() }, [once]) };
            let shape = view.shape(root).to_vec();
            let count = Dim::product(counted.iter().map(|axis| &to[*axis]));
            let number = Term::apply(Cast { dtype: view.ty(root).dtype }, [Term::apply(Dims { values: vec![count] }, [])]);
            let number = Term::apply(Reshape { shape: vec![] }, [number]);
            let rest = Term::apply(Reshape { shape: shape.clone() }, [rest]);
            Some(Term::apply(Mul {}, [rest, Term::apply(Broadcast { shape }, [number])]))
        })
    })
}

fn reduction_of_reduction(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::Reduce(outer) = op else { return None };
        if outer.kind == ReduceKind::Sum && !is_real(view, root) {
            return None;
        }
        view.find(x[0], |op, y| match op {
            Op::Reduce(inner) if inner.kind == outer.kind && inner.kind != ReduceKind::Prod && y[0] != root => {
                let left: Vec<usize> = match inner.keep {
                    true => (0..view.ty(y[0]).rank()).collect(),
                    false => (0..view.ty(y[0]).rank()).filter(|axis| !inner.axes.contains(axis)).collect(),
                };
                let mut axes: Vec<usize> = outer.axes.iter().map(|axis| left[*axis]).chain(inner.axes.iter().copied()).collect();
                axes.sort_unstable();
                axes.dedup();
                let at_once = Term::of(Reduce { axes, ..outer.clone() }, &[y[0]]);
                Some(Term::apply(Reshape { shape: view.shape(root).to_vec() }, [at_once]))
            }
            _ => None,
        })
    })
}
