//! Axes before queries and keys: heads that queries share, before they were repeated, and batches that are split in several axes.

use crate::egraph::rule::Term;
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{Broadcast, Gather, Reshape, Transpose};
use kiln_ir::{Dim, Op};
use std::ops::Range;

/// An operand with the axes that it has in attention.
pub(super) struct Operand {
    /// What it is.
    pub class: Id,
    /// Batch axes, then the two others.
    pub perm: Vec<usize>,
}

/// Keys or values before each head was repeated for the queries that share it, `[b, h, m, d]`, and how many heads there are. Heads are
/// repeated by a broadcast, `[.., h, 1, ..]` → `[.., h, g, ..]` → `[.., h·g, ..]`, with more axes of one element anywhere before the last, or
/// picked, `0, .., 0, 1, .., 1, ..`, wherever their axis is.
pub(super) fn before_repeat(view: View, operand: &Operand, batch: &[Dim; 2]) -> Option<(Term, Dim)> {
    let turned = view.find(operand.class, |op, x| match op {
        Op::Transpose(inner) => Some((x[0], operand.perm.iter().map(|&a| inner.perm[a]).collect::<Vec<_>>())),
        _ => None,
    });
    let (class, perm) = turned.unwrap_or((operand.class, operand.perm.clone()));
    let [lead, heads, ..] = perm[..] else { return None };
    let shape = view.shape(class);
    if perm.len() != 4 || !view.same_dims(&[shape[lead].clone(), shape[heads].clone()], batch) {
        return None;
    }
    let broadcast = || {
        let repeated = view.find(class, |op, x| matches!(op, Op::Reshape(_)).then(|| x[0]))?;
        let single = view.find(repeated, |op, x| matches!(op, Op::Broadcast(_)).then(|| x[0]))?;
        let (from, single_shape) = (view.shape(repeated), view.shape(single));
        let counts = split(view, shape, from).filter(|_| single_shape.len() == from.len())?;
        let (start, stop) = (counts[..heads].iter().sum::<usize>(), counts[..=heads].iter().sum::<usize>());
        let same = |axes: Range<usize>| view.same_dims(&single_shape[axes.clone()], &from[axes]);
        // Where the heads end, and what they are repeated along begins.
        let end = (start..stop).find(|axis| !same(*axis..*axis + 1))?;
        if !same(0..start) || !same(stop..from.len()) || !single_shape[end..stop].iter().all(|size| size.is(1)) {
            return None;
        }
        let own = Dim::product(&single_shape[start..end]);
        let to = [&shape[..heads], &[own], &shape[heads + 1..]].concat();
        let before = view.find(single, |op, x| (matches!(op, Op::Reshape(_)) && view.same_dims(view.shape(x[0]), &to)).then(|| x[0]));
        let term = match before {
            Some(before) => Term::transposed(view, before, &perm),
            None if perm.is_sorted() => Term::of(Reshape { shape: to.clone() }, &[single]),
            None => Term::apply(Transpose { perm: perm.clone() }, [Term::of(Reshape { shape: to.clone() }, &[single])]),
        };
        Some((term, to[heads].clone()))
    };
    let picked = || {
        view.find(class, |op, x| match op {
            Op::Gather(Gather { axis }) if *axis == heads && view.ty(x[1]).rank() == 1 => {
                let (count, places) = (view.shape(x[0])[heads].as_const()?, view.constant(x[1])?.ints());
                let group = i128::try_from(places.len()).ok()?.checked_div(i128::from(count)).filter(|group| *group > 0)?;
                let in_order = (0..).zip(&places).all(|(at, place)| *place == at / group);
                let whole = group * i128::from(count) == places.len() as i128;
                (in_order && whole).then(|| (Term::transposed(view, x[0], &perm), Dim::from(count)))
            }
            _ => None,
        })
    };
    broadcast().or_else(picked)
}

/// How many axes of `to` each axis of `from` was split in, if each was split or left as it is.
pub(super) fn split(view: View, from: &[Dim], to: &[Dim]) -> Option<Vec<usize>> {
    let mut rest = to;
    let mut counts = Vec::new();
    for (at, size) in from.iter().enumerate() {
        let most = rest.len().checked_sub(from.len() - at - 1)?;
        // An axis of size 1 is one of those, not the end of the axis before.
        let count = (1..=most).find(|count| view.same_dims(&[Dim::product(&rest[..*count])], std::slice::from_ref(size)))?;
        counts.push(count);
        rest = &rest[count..];
    }
    rest.is_empty().then_some(counts)
}

/// Something that repeats along axes `from`, with them split as counted into `to`; what is before the last two of both alone.
pub(super) fn regrouped(term: Term, shape: &[Dim], from: &[Dim], to: &[Dim], counts: &[usize]) -> Option<(Term, Vec<Dim>)> {
    let missing = (from.len() + 2).checked_sub(shape.len())?;
    let at = |axis: usize| axis.checked_sub(missing).map_or(Dim::ONE, |axis| shape[axis].clone());
    let mut new = Vec::new();
    let mut rest = to;
    for (axis, count) in counts.iter().enumerate() {
        let (own, others) = rest.split_at(*count);
        if at(axis).is(1) {
            new.extend(vec![Dim::ONE; *count]);
        } else if at(axis) == from[axis] {
            new.extend(own.iter().cloned());
        } else {
            return None;
        }
        rest = others;
    }
    new.extend([at(from.len()), at(from.len() + 1)]);
    let term = if new == shape { term } else { Term::apply(Reshape { shape: new.clone() }, [term]) };
    Some((term, new))
}

/// The same with all axes but the first and the last two as one, of which there are more than two before those: `[b, c, d, ..]` → `[b, c·d, ..]`.
pub(super) fn with_two_batches(term: Term, shape: &[Dim], batch: &[Dim]) -> Option<(Term, Vec<Dim>)> {
    let rank = batch.len() + 2;
    let missing = rank.checked_sub(shape.len())?;
    let full: Vec<Dim> = std::iter::repeat_n(Dim::ONE, missing).chain(shape.iter().cloned()).collect();
    let (middle, last) = (&full[1..rank - 2], &full[rank - 2..]);
    let spread: Vec<Dim> = if middle.iter().all(|d| d.is(1)) { middle.to_vec() } else { batch[1..].to_vec() };
    let wide = [&full[..1], &spread, last].concat();
    let to = [&full[..1], &[Dim::product(&spread)], last].concat();
    let term = if wide == shape { term } else { Term::apply(Broadcast { shape: wide }, [term]) };
    Some((Term::apply(Reshape { shape: to.clone() }, [term]), to))
}
