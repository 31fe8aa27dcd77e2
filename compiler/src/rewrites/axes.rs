//! Axes of size one that come and go, and axes that are merged for a product: exporters of einsum spell heads of attention so.
//!
//! ```text
//! dot of [batch · heads, queries, depth]      →      dot of [batch, heads, queries, depth]
//! ```

use crate::cut::role::{Role, Root, role};
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{Add, Dot, Reshape, Transpose};
use kiln_ir::{Dim, Op};

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "reshape-of-reshaped",
        mathematics: "reshaping what was reshaped reshapes it at once",
        exactness: Exactness::SameBits,
        roots: &["reshape"],
        rewrite: Rewrite::Class(reshape_of_reshaped),
        examples: &[
            "graph (%x: f32[n, 4, 3]) { %r = reshape %x {shape = [n, 12]} ; %y = reshape %r {shape = [4*n, 3]} ; return %y }",
            "graph (%x: f32[n, 4, 3]) { %r = reshape %x {shape = [n, 12, 1]} ; %y = reshape %r {shape = [n, 4, 3]} ; return %y }",
        ],
    },
    Rule {
        name: "ones-before-elements",
        mathematics: "axes of size one may be inserted before a function of elements: f(x)[.., 1] = f(x[.., 1])",
        exactness: Exactness::SameBits,
        roots: &["reshape"],
        rewrite: Rewrite::Class(ones_before_elements),
        examples: &[
            "graph (%x: f32[n, 4]) { %s = reduce %x {kind = sum, axes = [1], keep = false} ; %l = log %s ;
             %y = reshape %l {shape = [n, 1]} ; return %y }",
            "graph (%x: f32[n, 4]) { %m = mean %x {axes = [0], keep = false} ; %e = const f32[] 0.5 ; %b = broadcast %e {shape = [4]} ;
             %a = add %m, %b ; %y = reshape %a {shape = [1, 4]} ; return %y }",
        ],
    },
    Rule {
        name: "sum-between-reshapes",
        mathematics: "splitting axes, adding and merging them again adds what is merged before",
        exactness: Exactness::SameBits,
        roots: &["reshape"],
        rewrite: Rewrite::Class(sum_between_reshapes),
        examples: &[
            "graph (%x: f32[n, 6, 4], %a: f32[n, 3, 2, 2, 1], %b: f32[n, 3, 2, 1, 2]) { %s = reshape %x {shape = [n, 3, 2, 2, 2]} ;
             %u = broadcast %a {shape = [n, 3, 2, 2, 2]} ; %p = add %s, %u ; %v = broadcast %b {shape = [n, 3, 2, 2, 2]} ; %q = add %v, %p ;
             %y = reshape %q {shape = [n, 6, 4]} ; return %y }",
        ],
    },
    Rule {
        name: "transpose-around-ones",
        mathematics: "axes of size one may be inserted behind a transposition",
        exactness: Exactness::SameBits,
        roots: &["transpose"],
        rewrite: Rewrite::Class(transpose_around_ones),
        examples: &[
            "graph (%x: f32[n, 4, 3]) { %r = reshape %x {shape = [n, 1, 4, 3, 1]} ; %y = transpose %r {perm = [1, 3, 0, 4, 2]} ; return %y }",
            "graph (%x: f32[n, 1, 3]) { %r = reshape %x {shape = [n, 1, 1, 3]} ; %y = transpose %r {perm = [2, 0, 1, 3]} ; return %y }",
        ],
    },
    Rule {
        name: "dot-of-merged-batches",
        mathematics: "products for each of merged axes are products for each of these axes, merged",
        exactness: Exactness::SameBits,
        roots: &["dot"],
        rewrite: Rewrite::Class(dot_of_merged_batches),
        examples: &["graph (%a: f32[n, 2, m, 5], %b: f32[n, 2, 5, 3]) { %p = reshape %a {shape = [2*n, m, 5]} ;
             %q = reshape %b {shape = [2*n, 5, 3]} ;
             %y = dot %p, %q {a_batch = [0], b_batch = [0], a_contract = [2], b_contract = [1]} ; return %y }"],
    },
];

fn reshaped(view: View, class: Id, mut accept: impl FnMut(Id) -> Option<Term>) -> Option<Term> {
    view.find(class, |op, x| if matches!(op, Op::Reshape(_)) { accept(x[0]) } else { None })
}

fn reshape_of_reshaped(view: View, root: Id) -> Option<Term> {
    reshaped(view, root, |inner| {
        reshaped(view, inner, |x| {
            let shape = view.shape(root);
            match view.same_dims(view.shape(x), shape) {
                true => Some(Term::Class(x)),
                // What was found to be the class itself says nothing.
                false => (x != inner && x != root).then(|| Term::of(Reshape { shape: shape.to_vec() }, &[x])),
            }
        })
    })
}

/// For each axis of a shape, which axis of another it is; nothing for ones that were inserted between those.
fn inserted_ones(from: &[Dim], to: &[Dim]) -> Option<Vec<Option<usize>>> {
    let mut next = 0;
    let mut found = Vec::new();
    for dim in to {
        if from.get(next) == Some(dim) {
            found.push(Some(next));
            next += 1;
        } else if dim.is(1) {
            found.push(None);
        } else {
            return None;
        }
    }
    (next == from.len() && found.len() > next).then_some(found)
}

/// More additions between two reshapes are of no pattern.
const MAX_SUMS: usize = 4;

/// A sum with one addend that was reshaped from a shape, in that shape.
fn merged_sum(view: View, class: Id, shape: &[Dim], steps: usize) -> Option<Term> {
    view.find(class, |op, x| match op {
        Op::Reshape(_) => view.same_dims(view.shape(x[0]), shape).then(|| Term::Class(x[0])),
        Op::Add(_) => {
            let steps = steps.checked_sub(1)?;
            [(x[0], x[1]), (x[1], x[0])].into_iter().find_map(|(inner, other)| {
                let inner = merged_sum(view, inner, shape, steps)?;
                Some(Term::apply(Add {}, [inner, Term::of(Reshape { shape: shape.to_vec() }, &[other])]))
            })
        }
        _ => None,
    })
}

fn sum_between_reshapes(view: View, root: Id) -> Option<Term> {
    let shape = view.shape(root);
    reshaped(view, root, |inner| {
        // With its last two axes as they are, a sum of scores is told as it stands.
        let last_two = |shape: &[Dim]| shape.len().checked_sub(2).map(|at| shape[at..].to_vec());
        let kept = matches!((last_two(shape), last_two(view.shape(inner))), (Some(a), Some(b)) if view.same_dims(&a, &b));
        let is_sum = view.ops(inner).any(|(op, _)| matches!(op, Op::Add(_)));
        if kept || !is_sum { None } else { merged_sum(view, inner, shape, MAX_SUMS).filter(|term| matches!(term, Term::Apply(..))) }
    })
}

/// Whether a class is elements of a reduction, a few operators further on.
fn is_reduced(view: View, class: Id, steps: usize) -> bool {
    view.ops(class).any(|(op, x)| match role(op) {
        Role::Root(Root::Reduce(_)) => true,
        Role::Composite => matches!(op, Op::Mean(_)),
        Role::Unary(_) | Role::Binary(_) => steps > 0 && x.iter().any(|class| is_reduced(view, *class, steps - 1)),
        _ => false,
    })
}

fn ones_before_elements(view: View, root: Id) -> Option<Term> {
    reshaped(view, root, |inner| {
        let shape = view.shape(root);
        inserted_ones(view.shape(inner), shape)?;
        view.find(inner, |op, x| {
            // Statistics alone: of other values it would make nothing plainer.
            let elements = matches!(role(op), Role::Unary(_) | Role::Binary(_)) && !x.contains(&inner) && is_reduced(view, inner, 3);
            let operand = |class: &Id| match view.uniform(*class) {
                Some(number) => Term::number(view.ty(*class).dtype, shape, number),
                None => Term::of(Reshape { shape: shape.to_vec() }, &[*class]),
            };
            let numbers = x.iter().filter(|class| view.uniform(**class).is_some()).count();
            (elements && x.len() - numbers == 1).then(|| Term::apply(op.clone(), x.iter().map(operand)))
        })
    })
}

fn transpose_around_ones(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::Transpose(transpose) = op else { return None };
        reshaped(view, x[0], |inner| {
            let axes = inserted_ones(view.shape(inner), view.shape(x[0]))?;
            let perm: Vec<usize> = transpose.perm.iter().filter_map(|axis| axes[*axis]).collect();
            let turned = if perm.is_sorted() { Term::Class(inner) } else { Term::of(Transpose { perm }, &[inner]) };
            Some(Term::apply(Reshape { shape: view.shape(root).to_vec() }, [turned]))
        })
    })
}

fn dot_of_merged_batches(view: View, root: Id) -> Option<Term> {
    // The operands of reshapes that merged the first axes of a class of three.
    let apart = |class: Id| {
        let operands = view.ops(class).filter(|(op, _)| matches!(op, Op::Reshape(_))).map(|(_, x)| x[0]);
        let merges = move |inner: &Id| {
            let (from, to) = (view.shape(*inner), view.shape(class));
            from.len() > 3 && view.same_dims(&from[from.len() - 2..], &to[1..])
        };
        operands.filter(merges)
    };
    view.find(root, |op, x| {
        let Op::Dot(dot) = op else { return None };
        let three = x.iter().all(|class| view.ty(*class).rank() == 3);
        if !three || dot.a_batch != [0] || dot.b_batch != [0] || dot.a_contract.len() != 1 {
            return None;
        }
        apart(x[0]).find_map(|a| {
            let lead = view.ty(a).rank() - 2;
            let fits = |b: &Id| view.ty(*b).rank() == lead + 2 && view.same_dims(&view.shape(a)[..lead], &view.shape(*b)[..lead]);
            let b = apart(x[1]).find(fits)?;
            let batch: Vec<usize> = (0..lead).collect();
            let moved = |axes: &[usize]| axes.iter().map(|axis| axis + lead - 1).collect();
            let (a_contract, b_contract) = (moved(&dot.a_contract), moved(&dot.b_contract));
            let product = Term::of(Dot { a_batch: batch.clone(), b_batch: batch, a_contract, b_contract }, &[a, b]);
            Some(Term::apply(Reshape { shape: view.shape(root).to_vec() }, [product]))
        })
    })
}
