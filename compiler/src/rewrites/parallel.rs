//! Products and convolutions that read the same, and what follows the parts of one.
//!
//! ```text
//! q = x · Wq + bq ; k = x · Wk + bk ; v = x · Wv + bv      →      p = x · [Wq Wk Wv] + [bq bk bv] ; q, k, v = parts of p
//! ```
//! Weights are put beside each other only where they depend on parameters alone, so that it is done once. A class that is more than
//! the one product is left out: what rules add later would be merged with what it came from.

use super::products::free_places;
use super::vectors::{along, vector};
use crate::cut::role::{Role, role};
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term, Together};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{Add, Concat, Dot, Slice};
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
        examples: &["graph (%x: f32[n, 3, 6, 6]) { %a = parameter a: f32[4, 3, 3, 3] ; %b = parameter b: f32[2, 3, 3, 3] ;
             %o = parameter o: f32[2, 1, 1] ; %oo = broadcast %o {shape = [n, 2, 3, 3]} ;
             %p = conv %x, %a {strides = [2, 2], dilations = [1, 1], lhs_dilations = [1, 1], low = [1, 1], high = [1, 1], groups = 1} ;
             %q = conv %x, %b {strides = [2, 2], dilations = [1, 1], lhs_dilations = [1, 1], low = [1, 1], high = [1, 1], groups = 1} ;
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

/// One of several products of the same operand.
struct Member {
    class: Id,
    weights: Id,
    /// Its offset: the sum, and the offset as a vector.
    offset: Option<(Id, Term)>,
}

/// Products that may be one: the operator on the data, weights beside each other along an axis, parts of the result along another.
struct Group {
    op: Op,
    data: Id,
    /// Which operand the weights are.
    side: usize,
    weights_axis: usize,
    place: usize,
    members: Vec<Member>,
}

/// Whether two classes have equal shapes but for one axis.
fn same_but(view: View, a: Id, b: Id, axis: usize) -> bool {
    let (a, b) = (view.shape(a), view.shape(b));
    a.len() == b.len() && view.same_dims(&a[..axis], &b[..axis]) && view.same_dims(&a[axis + 1..], &b[axis + 1..])
}

/// Puts a product where it belongs: with those of the same data.
fn join(view: View, groups: &mut BTreeMap<(Id, usize), Vec<Group>>, found: Group) {
    let same = groups.entry((found.data, found.side)).or_default();
    let weights = found.members[0].weights;
    let fits = |group: &&mut Group| {
        let fits = group.op == found.op && group.weights_axis == found.weights_axis;
        fits && same_but(view, group.members[0].weights, weights, found.weights_axis)
    };
    match same.iter_mut().find(fits) {
        Some(group) => group.members.extend(found.members),
        None => same.push(found),
    }
}

/// Whether the class is that operator and nothing else.
fn only<'e>(view: View<'e>, class: Id) -> Option<(&'e Op, &'e [Id])> {
    let mut ops = view.ops(class);
    let first = ops.next()?;
    ops.next().is_none().then_some(first)
}

/// Weights that may be put beside others: not what that gives.
fn are_weights(view: View, class: Id) -> bool {
    view.is_fixed(class) && !view.ops(class).any(|(op, _)| matches!(op, Op::Concat(_)))
}

fn parallel_dots(view: View, roots: &[Id]) -> Vec<Together> {
    let mut groups = BTreeMap::new();
    for class in roots {
        let Some((Op::Dot(dot), x)) = only(view, *class) else { continue };
        let Some(side) = [1, 0].into_iter().find(|side| are_weights(view, x[*side]) && !view.is_fixed(x[1 - side])) else { continue };
        let Some((weights_axis, place)) = free_places(view, dot, x, side).first().copied() else { continue };
        let members = vec![Member { class: *class, weights: x[side], offset: None }];
        join(view, &mut groups, Group { op: Dot::into(dot.clone()), data: x[1 - side], side, weights_axis, place, members });
    }
    merged(view, roots, groups)
}

fn parallel_convs(view: View, roots: &[Id]) -> Vec<Together> {
    let mut groups = BTreeMap::new();
    for class in roots {
        let Some((op @ Op::Conv(conv), x)) = only(view, *class) else { continue };
        if conv.groups == 1 && are_weights(view, x[1]) && !view.is_fixed(x[0]) {
            let members = vec![Member { class: *class, weights: x[1], offset: None }];
            join(view, &mut groups, Group { op: op.clone(), data: x[0], side: 1, weights_axis: 0, place: 1, members });
        }
    }
    merged(view, roots, groups)
}

fn merged(view: View, roots: &[Id], groups: BTreeMap<(Id, usize), Vec<Group>>) -> Vec<Together> {
    let mut groups: Vec<Group> = groups.into_values().flatten().filter(|group| group.members.len() > 1).collect();
    let mut members: BTreeMap<Id, (usize, &mut Member)> = BTreeMap::new();
    for group in &mut groups {
        members.extend(group.members.iter_mut().map(|member| (member.class, (group.place, member))));
    }
    for sum in roots {
        let Some((Op::Add(_), x)) = only(view, *sum) else { continue };
        for (product, added) in [(x[0], x[1]), (x[1], x[0])] {
            if let Some((place, member)) = members.get_mut(&product).filter(|_| view.is_fixed(added))
                && member.offset.is_none()
                && let Some(offset) = vector(view, added, *place)
            {
                member.offset = Some((*sum, offset));
            }
        }
    }
    groups.iter().map(|group| group.parts(view)).collect()
}

impl Group {
    /// The members as parts of one product.
    fn parts(&self, view: View) -> Together {
        let size = |member: &Member| view.shape(member.class)[self.place].clone();
        let mut shape = view.shape(self.members[0].class).to_vec();
        shape[self.place] = self.members.iter().fold(Dim::ZERO, |sum, member| sum + size(member));
        let weights = Term::apply(Concat { axis: self.weights_axis }, self.members.iter().map(|member| Term::Class(member.weights)));
        let mut operands = [Term::Class(self.data), Term::Class(self.data)];
        operands[self.side] = weights;
        let mut whole = Term::apply(self.op.clone(), operands);
        if self.members.iter().any(|member| member.offset.is_some()) {
            let dtype = view.ty(self.members[0].class).dtype;
            let offset = |member: &Member| match &member.offset {
                Some((_, offset)) => offset.clone(),
                None => Term::number(dtype, &[size(member)], 0.0),
            };
            let offsets = Term::apply(Concat { axis: 0 }, self.members.iter().map(offset));
            whole = Term::apply(Add {}, [whole, along(offsets, self.place, &shape)]);
        }
        let mut start = Dim::ZERO;
        let part = |member: &Member| {
            let begin = start.clone();
            start = &start + size(member);
            let class = member.offset.as_ref().map_or(member.class, |(sum, _)| *sum);
            (class, part(whole.clone(), self.place, begin, view.shape(class)))
        };
        self.members.iter().map(part).collect()
    }
}

/// A part along an axis, of that shape.
fn part(whole: Term, axis: usize, start: Dim, shape: &[Dim]) -> Term {
    let mut starts = vec![Dim::ZERO; shape.len()];
    starts[axis] = start;
    Term::apply(Slice { starts, sizes: shape.to_vec(), steps: vec![1; shape.len()] }, [whole])
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
    let (op, x) = only(view, class)?;
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
