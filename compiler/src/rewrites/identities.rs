//! Operators that change nothing where an operand is known: exporters leave them where weights or conditions could have been given.

use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::Op;

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "times-one",
        mathematics: "x * 1 = x",
        exactness: Exactness::SameBits,
        roots: &["mul"],
        rewrite: Rewrite::Class(times_one),
        examples: &["graph (%x: f32[n, 3]) { %1 = const f32[] 1.0 ; %b = broadcast %1 {shape = [n, 3]} ; %y = mul %b, %x ; return %y }"],
    },
    Rule {
        name: "known-choice",
        mathematics: "select(true, x, y) = x, select(false, x, y) = y",
        exactness: Exactness::SameBits,
        roots: &["select"],
        rewrite: Rewrite::Class(known_choice),
        examples: &[
            "graph (%x: f32[n, 3], %z: f32[n, 3]) { %c = const bool[] false ; %b = broadcast %c {shape = [n, 3]} ; %y = select %b, %x, %z ;
             return %y }",
        ],
    },
    Rule {
        name: "square-of-root",
        mathematics: "sqrt(x)^2 = x",
        exactness: Exactness::Reassociated { bound: 4.0 },
        roots: &["mul", "pow"],
        rewrite: Rewrite::Class(square_of_root),
        examples: &["graph (%x: f32[n, 3]) { %r = sqrt %x ; %y = mul %r, %r ; return %y }"],
    },
];

fn square_of_root(view: View, root: Id) -> Option<Term> {
    let inside = view.find(view.square_root_of(root)?, |op, x| matches!(op, Op::Sqrt(_)).then(|| x[0]));
    inside.filter(|x| *x != root).map(Term::Class)
}

fn times_one(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| match op {
        Op::Mul(_) => [(x[0], x[1]), (x[1], x[0])]
            .into_iter()
            .find_map(|(x, one)| (view.uniform(one) == Some(1.0) && x != root).then_some(Term::Class(x))),
        _ => None,
    })
}

fn known_choice(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| match op {
        Op::Select(_) => {
            let chosen = if view.uniform(x[0])? == 0.0 { x[2] } else { x[1] };
            (chosen != root).then_some(Term::Class(chosen))
        }
        _ => None,
    })
}
