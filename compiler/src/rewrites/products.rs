//! The algebra of products: sums of products, products of products, and scales and offsets that go into weights.

use super::vectors::{along, is_real, vector};
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::Op;
use kiln_ir::ops::Dot;

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "sum-of-dots",
        mathematics: "A B + A C = A (B + C), and B A + C A = (B + C) A",
        exactness: Exactness::Reassociated { bound: 64.0 },
        roots: &["add", "sub"],
        rewrite: Rewrite::Class(sum_of_dots),
        examples: &[
            "graph (%a: f32[n, 5], %b: f32[5, m], %c: f32[5, m]) {
             %p = dot %a, %b {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ;
             %q = dot %a, %c {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ; %y = add %p, %q ; return %y }",
            "graph (%a: f32[2, n, 5], %b: f32[2, m, 5], %c: f32[2, m, 5]) {
             %p = dot %b, %a {a_batch = [0], b_batch = [0], a_contract = [2], b_contract = [2]} ;
             %q = dot %c, %a {a_batch = [0], b_batch = [0], a_contract = [2], b_contract = [2]} ; %y = sub %p, %q ; return %y }",
        ],
    },
    Rule {
        name: "dot-of-dot",
        mathematics: "(A B) C = A (B C)",
        exactness: Exactness::Reassociated { bound: 256.0 },
        roots: &["dot"],
        rewrite: Rewrite::Class(dot_of_dot),
        examples: &[
            "graph (%a: f32[n, 5], %b: f32[5, 3], %c: f32[3, m]) {
             %p = dot %a, %b {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ;
             %y = dot %p, %c {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ; return %y }",
            "graph (%a: f32[n, 2, 5], %b: f32[3, 5, 4], %c: f32[m, 4, 3]) {
             %p = dot %a, %b {a_batch = [], b_batch = [], a_contract = [2], b_contract = [1]} ;
             %y = dot %p, %c {a_batch = [], b_batch = [], a_contract = [2, 3], b_contract = [2, 1]} ; return %y }",
        ],
    },
    Rule {
        name: "dot-with-dot",
        mathematics: "A (B C) = (A B) C",
        exactness: Exactness::Reassociated { bound: 256.0 },
        roots: &["dot"],
        rewrite: Rewrite::Class(dot_with_dot),
        examples: &[
            "graph (%a: f32[n, 5], %b: f32[5, 3], %c: f32[3, m]) {
             %p = dot %b, %c {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ;
             %y = dot %a, %p {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ; return %y }",
            "graph (%a: f32[4, n, 2], %b: f32[2, 4, 3, 5], %c: f32[m, 3]) {
             %p = dot %b, %c {a_batch = [], b_batch = [], a_contract = [2], b_contract = [1]} ;
             %y = dot %a, %p {a_batch = [], b_batch = [], a_contract = [2, 0], b_contract = [0, 1]} ; return %y }",
        ],
    },
    Rule {
        name: "scale-of-dot",
        mathematics: "(X W) s = X (W s), s a factor of each feature",
        exactness: Exactness::Reassociated { bound: 64.0 },
        roots: &["mul", "div"],
        rewrite: Rewrite::Class(scale_of_dot),
        examples: &[
            "graph (%x: f32[n, 5]) { %w = parameter w: f32[5, 3] ; %s = parameter s: f32[3] ; %b = broadcast %s {shape = [n, 3]} ;
             %p = dot %x, %w {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ; %y = mul %p, %b ; return %y }",
            "graph (%x: f32[n, 5, m]) { %w = parameter w: f32[3, 5] ; %s = const f32[] 4.0 ; %b = broadcast %s {shape = [3, n, m]} ;
             %p = dot %w, %x {a_batch = [], b_batch = [], a_contract = [1], b_contract = [1]} ; %y = div %p, %b ; return %y }",
        ],
    },
    Rule {
        name: "scale-of-sum",
        mathematics: "(x + b) s = x s + b s, b and s fixed",
        exactness: Exactness::Reassociated { bound: 16.0 },
        roots: &["mul", "div"],
        rewrite: Rewrite::Class(scale_of_sum),
        examples: &["graph (%x: f32[n, 3]) { %s = parameter s: f32[3] ; %t = broadcast %s {shape = [n, 3]} ; %b = parameter b: f32[3] ;
             %c = broadcast %b {shape = [n, 3]} ; %a = sub %x, %c ; %y = mul %t, %a ; return %y }"],
    },
    Rule {
        name: "dot-of-scaled",
        mathematics: "(X s) W = X (s W), s a factor of each feature that is summed over",
        exactness: Exactness::Reassociated { bound: 64.0 },
        roots: &["dot"],
        rewrite: Rewrite::Class(dot_of_scaled),
        examples: &["graph (%x: f32[n, 5]) { %w = parameter w: f32[5, 3] ; %s = parameter s: f32[5] ; %b = broadcast %s {shape = [n, 5]} ;
             %z = mul %x, %b ; %y = dot %z, %w {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ; return %y }"],
    },
    Rule {
        name: "dot-of-offset",
        mathematics: "(X + b) W = X W + b W, b and W fixed",
        exactness: Exactness::Reassociated { bound: 64.0 },
        roots: &["dot"],
        rewrite: Rewrite::Class(dot_of_offset),
        examples: &[
            "graph (%x: f32[n, m, 5]) { %w = parameter w: f32[5, 3] ; %b = parameter b: f32[5] ; %c = broadcast %b {shape = [n, m, 5]} ;
             %z = add %x, %c ; %y = dot %z, %w {a_batch = [], b_batch = [], a_contract = [2], b_contract = [0]} ; return %y }",
            "graph (%x: f32[5, n]) { %w = parameter w: f32[3, 5] ; %b = parameter b: f32[5, 1] ; %c = broadcast %b {shape = [5, n]} ;
             %z = sub %c, %x ; %y = dot %w, %z {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ; return %y }",
        ],
    },
];

/// The products in a class.
pub fn dot_of<'e, T>(view: View<'e>, class: Id, mut accept: impl FnMut(&'e Dot, &'e [Id]) -> Option<T>) -> Option<T> {
    view.find(class, |op, x| match op {
        Op::Dot(dot) => accept(dot, x),
        _ => None,
    })
}

/// The same product with another operand on one side.
pub fn with_side(dot: &Dot, x: &[Id], side: usize, operand: Term) -> Term {
    let mut operands = [Term::Class(x[0]), Term::Class(x[1])];
    operands[side] = operand;
    Term::apply(dot.clone(), operands)
}

/// Where the free axes of a side are in the result: pairs of axis and place.
pub fn free_places(view: View, dot: &Dot, x: &[Id], side: usize) -> Vec<(usize, usize)> {
    let free = |side: usize| {
        let (batch, contract) = if side == 0 { (&dot.a_batch, &dot.a_contract) } else { (&dot.b_batch, &dot.b_contract) };
        Dot::free_axes(view.ty(x[side]).rank(), batch, contract)
    };
    let before = dot.a_batch.len() + if side == 1 { free(0).len() } else { 0 };
    free(side).into_iter().enumerate().map(|(at, axis)| (axis, before + at)).collect()
}

/// The axes that a side sums over.
fn contracted(dot: &Dot, side: usize) -> &[usize] {
    if side == 0 { &dot.a_contract } else { &dot.b_contract }
}

fn sum_of_dots(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    view.find(root, |op, sum| {
        if !matches!(op, Op::Add(_) | Op::Sub(_)) || sum[0] == sum[1] {
            return None;
        }
        dot_of(view, sum[0], |dot, x| {
            dot_of(view, sum[1], |other, z| {
                let side = [0, 1].into_iter().find(|side| dot == other && x[1 - side] == z[1 - side])?;
                Some(with_side(dot, x, side, Term::of(op.clone(), &[x[side], z[side]])))
            })
        })
    })
}

fn plain(dot: &Dot) -> bool {
    dot.a_batch.is_empty()
}

/// Places of axes in a list.
fn positions(axes: &[usize], of: &[usize]) -> Option<Vec<usize>> {
    axes.iter().map(|axis| of.iter().position(|a| a == axis)).collect()
}

fn dot_of_dot(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    dot_of(view, root, |outer, x| {
        dot_of(view, x[0], |inner, y| {
            if !plain(outer) || !plain(inner) || outer.a_contract.is_empty() || y.contains(&root) {
                return None;
            }
            // What the outer product sums over must all come from the inner one's second operand.
            let places = free_places(view, inner, y, 1);
            let axis = |at: &usize| places.iter().find(|(_, place)| place == at).map(|(axis, _)| *axis);
            let a_contract: Vec<usize> = outer.a_contract.iter().map(axis).collect::<Option<_>>()?;
            let left = Dot::free_axes(view.ty(y[1]).rank(), &[], &a_contract);
            let b_contract = positions(&inner.b_contract, &left)?;
            let first = Dot { a_batch: vec![], b_batch: vec![], a_contract, b_contract: outer.b_contract.clone() };
            let second = Dot { a_batch: vec![], b_batch: vec![], a_contract: inner.a_contract.clone(), b_contract };
            Some(Term::apply(second, [Term::Class(y[0]), Term::of(first, &[y[1], x[1]])]))
        })
    })
}

fn dot_with_dot(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    dot_of(view, root, |outer, x| {
        dot_of(view, x[1], |inner, y| {
            if !plain(outer) || !plain(inner) || outer.a_contract.is_empty() || y.contains(&root) {
                return None;
            }
            // What the outer product sums over must all come from the inner one's first operand.
            let places = free_places(view, inner, y, 0);
            let axis = |at: &usize| places.iter().find(|(_, place)| place == at).map(|(axis, _)| *axis);
            let b_contract: Vec<usize> = outer.b_contract.iter().map(axis).collect::<Option<_>>()?;
            let before = view.ty(x[0]).rank() - outer.a_contract.len();
            let left = Dot::free_axes(view.ty(y[0]).rank(), &[], &b_contract);
            let a_contract = positions(&inner.a_contract, &left)?.into_iter().map(|at| before + at).collect();
            let first = Dot { a_batch: vec![], b_batch: vec![], a_contract: outer.a_contract.clone(), b_contract };
            let second = Dot { a_batch: vec![], b_batch: vec![], a_contract, b_contract: inner.b_contract.clone() };
            Some(Term::apply(second, [Term::of(first, &[x[0], y[0]]), Term::Class(y[1])]))
        })
    })
}

/// A class times, or by, something fixed: the operator, the class and the factor.
pub fn fixed_scale<'e, T>(view: View<'e>, class: Id, mut accept: impl FnMut(&'e Op, Id, Id) -> Option<T>) -> Option<T> {
    view.find(class, |op, x| match op {
        Op::Mul(_) => {
            let orders = [(x[0], x[1]), (x[1], x[0])];
            orders.into_iter().filter(|(y, s)| view.is_fixed(*s) && !view.is_fixed(*y)).find_map(|(y, s)| accept(op, y, s))
        }
        Op::Div(_) if view.is_fixed(x[1]) && !view.is_fixed(x[0]) => accept(op, x[0], x[1]),
        _ => None,
    })
}

fn scale_of_dot(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    fixed_scale(view, root, |scaling, product, scale| {
        dot_of(view, product, |dot, x| {
            let side = [1, 0].into_iter().find(|side| view.is_fixed(x[*side]))?;
            let shape = view.shape(x[side]);
            let (factor, axis) = (free_places(view, dot, x, side).into_iter())
                .find_map(|(axis, place)| vector(view, scale, place).map(|factor| (factor, axis)))?;
            Some(with_side(dot, x, side, Term::apply(scaling.clone(), [Term::Class(x[side]), along(factor, axis, shape)])))
        })
    })
}

fn scale_of_sum(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    fixed_scale(view, root, |scaling, sum, scale| {
        view.find(sum, |op, x| {
            if !matches!(op, Op::Add(_) | Op::Sub(_)) || view.is_fixed(x[0]) == view.is_fixed(x[1]) {
                return None;
            }
            let scaled = |x: Id| Term::of(scaling.clone(), &[x, scale]);
            Some(Term::apply(op.clone(), [scaled(x[0]), scaled(x[1])]))
        })
    })
}

fn dot_of_scaled(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    dot_of(view, root, |dot, x| {
        let side = [1, 0].into_iter().find(|side| view.is_fixed(x[*side]) && !view.is_fixed(x[1 - side]))?;
        fixed_scale(view, x[1 - side], |scaling, data, scale| {
            let pairs = contracted(dot, 1 - side).iter().zip(contracted(dot, side));
            let (factor, axis) = pairs.into_iter().find_map(|(from, to)| vector(view, scale, *from).map(|factor| (factor, *to)))?;
            let weights = Term::apply(scaling.clone(), [Term::Class(x[side]), along(factor, axis, view.shape(x[side]))]);
            let mut operands = [Term::Class(data), Term::Class(data)];
            operands[side] = weights;
            Some(Term::apply(dot.clone(), operands))
        })
    })
}

fn dot_of_offset(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    dot_of(view, root, |dot, x| {
        let side = [1, 0].into_iter().find(|side| view.is_fixed(x[*side]) && !view.is_fixed(x[1 - side]))?;
        let ([from], [to], true) = (contracted(dot, 1 - side), contracted(dot, side), plain(dot)) else { return None };
        let [(_, place)] = free_places(view, dot, x, side)[..] else { return None };
        view.find(x[1 - side], |op, sum| {
            if !matches!(op, Op::Add(_) | Op::Sub(_)) || view.is_fixed(sum[0]) == view.is_fixed(sum[1]) {
                return None;
            }
            let at = usize::from(view.is_fixed(sum[1]));
            let offset = vector(view, sum[at], *from)?;
            let offset = Term::apply(
                Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![0], b_contract: vec![*to] },
                [offset, Term::Class(x[side])],
            );
            let mut parts = [Term::Class(root), Term::Class(root)];
            parts[at] = along(offset, place, view.shape(root));
            parts[1 - at] = with_side(dot, x, 1 - side, Term::Class(sum[1 - at]));
            Some(Term::apply(op.clone(), parts))
        })
    })
}
