//! Products and convolutions of the same operand as one, with weights beside each other.

use super::vectors::{along, vector};
use crate::egraph::rule::{Term, Together};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{Add, Concat, Reshape, Slice};
use kiln_ir::{Dim, Op};
use std::collections::BTreeMap;

/// One of several products of the same operand.
pub struct Member {
    class: Id,
    /// Its weights as they are put beside others.
    weights: Term,
    shape: Vec<Dim>,
    /// Its offset: the sum, and the offset as a vector.
    offset: Option<(Id, Term)>,
}

impl Member {
    /// A product without an offset, with weights of a shape.
    pub fn new(class: Id, weights: Term, shape: &[Dim]) -> Member {
        Member { class, weights, shape: shape.to_vec(), offset: None }
    }
}

/// Products that may be one: the operator on the data, weights beside each other along an axis, parts of the result along another.
pub struct Group {
    /// The operator.
    pub op: Op,
    /// What all of them read.
    pub data: Id,
    /// Which operand the weights are.
    pub side: usize,
    /// The axis of the weights along which they are put beside each other.
    pub weights_axis: usize,
    /// The axis of the result along which parts lie.
    pub place: usize,
    /// Groups of channels, in each of which are parts of every member.
    pub groups: usize,
    /// The products.
    pub members: Vec<Member>,
}

/// Whether shapes are equal but for one axis.
fn same_but(view: View, a: &[Dim], b: &[Dim], axis: usize) -> bool {
    a.len() == b.len() && view.same_dims(&a[..axis], &b[..axis]) && view.same_dims(&a[axis + 1..], &b[axis + 1..])
}

/// Puts a product where it belongs: with those of the same data.
pub fn join(view: View, groups: &mut BTreeMap<(Id, usize), Vec<Group>>, found: Group) {
    let same = groups.entry((found.data, found.side)).or_default();
    let fits = |group: &&mut Group| {
        let fits = group.op == found.op && group.weights_axis == found.weights_axis;
        fits && same_but(view, &group.members[0].shape, &found.members[0].shape, found.weights_axis)
    };
    match same.iter_mut().find(fits) {
        Some(group) => group.members.extend(found.members),
        None => same.push(found),
    }
}

/// Members of every group as parts of one product; an offset that is added to a member is taken with it.
pub fn joined(view: View, roots: &[Id], groups: BTreeMap<(Id, usize), Vec<Group>>) -> Vec<Together> {
    let mut groups: Vec<Group> = groups.into_values().flatten().filter(|group| group.members.len() > 1).collect();
    let mut members: BTreeMap<Id, (usize, &mut Member)> = BTreeMap::new();
    for group in &mut groups {
        members.extend(group.members.iter_mut().map(|member| (member.class, (group.place, member))));
    }
    for sum in roots {
        let Some((Op::Add(_), x)) = view.only(*sum) else { continue };
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
        let weights_of = |member: &Member| (member.weights.clone(), member.shape.clone());
        let weights = self.beside(self.weights_axis, self.members.iter().map(weights_of).collect());
        let mut operands = [Term::Class(self.data), Term::Class(self.data)];
        operands[self.side] = weights;
        let mut whole = Term::apply(self.op.clone(), operands);
        if self.members.iter().any(|member| member.offset.is_some()) {
            let dtype = view.ty(self.members[0].class).dtype;
            let offset = |member: &Member| match &member.offset {
                Some((_, offset)) => (offset.clone(), vec![size(member)]),
                None => (Term::number(dtype, &[size(member)], 0.0), vec![size(member)]),
            };
            let offsets = self.beside(0, self.members.iter().map(offset).collect());
            whole = Term::apply(Add {}, [whole, along(offsets, self.place, &shape)]);
        }
        let (whole, place, _) = self.split(whole, self.place, &shape);
        let mut start = Dim::ZERO;
        let of_member = |member: &Member| {
            let begin = start.clone();
            let (_, _, split) = self.split(Term::Class(member.class), self.place, view.shape(member.class));
            start = &start + &split[place];
            let class = member.offset.as_ref().map_or(member.class, |(sum, _)| *sum);
            let own = part(whole.clone(), place, begin, &split);
            let whole_again = || Term::apply(Reshape { shape: view.shape(class).to_vec() }, [own.clone()]);
            (class, if self.groups == 1 { own.clone() } else { whole_again() })
        };
        self.members.iter().map(of_member).collect()
    }

    /// Terms with their shapes, one behind the other along an axis in each group of channels.
    fn beside(&self, axis: usize, terms: Vec<(Term, Vec<Dim>)>) -> Term {
        if self.groups == 1 {
            return Term::apply(Concat { axis }, terms.into_iter().map(|(term, _)| term));
        }
        let mut shape = terms[0].1.clone();
        shape[axis] = terms.iter().fold(Dim::ZERO, |sum, (_, shape)| sum + &shape[axis]);
        let apart = Term::apply(Concat { axis: axis + 1 }, terms.into_iter().map(|(term, shape)| self.split(term, axis, &shape).0));
        Term::apply(Reshape { shape }, [apart])
    }

    /// A term with groups and channels of a group as axes of their own, the axis of the channels, and the shape.
    fn split(&self, term: Term, axis: usize, shape: &[Dim]) -> (Term, usize, Vec<Dim>) {
        if self.groups == 1 {
            return (term, axis, shape.to_vec());
        }
        let groups = Dim::from(self.groups as i64);
        let inside = shape[axis].floor_div(&groups);
        let split = [&shape[..axis], &[groups, inside], &shape[axis + 1..]].concat();
        (Term::apply(Reshape { shape: split.clone() }, [term]), axis + 1, split)
    }
}

/// A part along an axis, of that shape.
pub fn part(whole: Term, axis: usize, start: Dim, shape: &[Dim]) -> Term {
    let mut starts = vec![Dim::ZERO; shape.len()];
    starts[axis] = start;
    Term::apply(Slice { starts, sizes: shape.to_vec(), steps: vec![1; shape.len()] }, [whole])
}
