//! The normal form: a sorted sum of sorted products, and the rewriting that keeps it small.

use super::{Atom, Dim, Proof, Ranges, Repr, Symbol, Term};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sorted products with non-zero coefficients.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Poly(BTreeMap<Vec<Atom>, i64>);

impl Poly {
    pub(super) fn terms(&self) -> impl Iterator<Item = (&[Atom], i64)> {
        self.0.iter().map(|(atoms, c)| (atoms.as_slice(), *c))
    }

    pub(super) fn add_term(&mut self, mut atoms: Vec<Atom>, coefficient: i64) {
        atoms.sort_unstable();
        let entry = self.0.entry(atoms);
        match entry {
            std::collections::btree_map::Entry::Vacant(slot) => {
                if coefficient != 0 {
                    slot.insert(coefficient);
                }
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => {
                let sum = slot.get().saturating_add(coefficient);
                if sum == 0 {
                    slot.remove();
                } else {
                    slot.insert(sum);
                }
            }
        }
    }

    pub(super) fn into_dim(self) -> Dim {
        match self.0.len() {
            0 => Dim::ZERO,
            1 if self.0.contains_key(&Vec::new()) => Dim(Repr::Const(self.0[&Vec::new()])),
            _ => Dim(Repr::Poly(Arc::new(self))),
        }
    }

    pub(super) fn as_single_symbol(&self) -> Option<&Symbol> {
        match self.0.iter().next() {
            Some((atoms, 1)) if self.0.len() == 1 => match atoms.as_slice() {
                [Atom::Symbol(s)] => Some(s),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn evaluate(&self, f: &dyn Fn(&Symbol) -> Option<i64>) -> Option<i64> {
        let mut sum: i64 = 0;
        for (atoms, coefficient) in self.terms() {
            let mut product = coefficient;
            for atom in atoms {
                product = product.checked_mul(atom_value(atom, f)?)?;
            }
            sum = sum.checked_add(product)?;
        }
        Some(sum)
    }
}

fn atom_value(atom: &Atom, f: &dyn Fn(&Symbol) -> Option<i64>) -> Option<i64> {
    Some(match atom {
        Atom::Symbol(s) => f(s)?,
        Atom::FloorDiv(a, b) => a.evaluate(f)?.checked_div_euclid(positive(b.evaluate(f)?)?)?,
        Atom::Mod(a, b) => a.evaluate(f)?.checked_rem_euclid(positive(b.evaluate(f)?)?)?,
        Atom::Min(a, b) => a.evaluate(f)?.min(b.evaluate(f)?),
        Atom::Max(a, b) => a.evaluate(f)?.max(b.evaluate(f)?),
        Atom::Bcast(a, b) => match (a.evaluate(f)?, b.evaluate(f)?) {
            (1, b) => b,
            (a, _) => a,
        },
    })
}

fn positive(divisor: i64) -> Option<i64> {
    (divisor > 0).then_some(divisor)
}

fn poly(dim: &Dim) -> Poly {
    match &dim.0 {
        Repr::Const(c) => {
            let mut p = Poly::default();
            p.add_term(Vec::new(), *c);
            p
        }
        Repr::Poly(p) => (**p).clone(),
    }
}

pub(super) fn add(a: &Dim, b: &Dim) -> Dim {
    match (&a.0, &b.0) {
        (Repr::Const(x), Repr::Const(y)) => Dim(Repr::Const(x.saturating_add(*y))),
        (Repr::Const(0), _) => b.clone(),
        (_, Repr::Const(0)) => a.clone(),
        _ => add_scaled(a, b, 1),
    }
}

pub(super) fn subtract(a: &Dim, b: &Dim) -> Dim {
    match (&a.0, &b.0) {
        (Repr::Const(x), Repr::Const(y)) => Dim(Repr::Const(x.saturating_sub(*y))),
        (_, Repr::Const(0)) => a.clone(),
        _ => add_scaled(a, b, -1),
    }
}

fn add_scaled(a: &Dim, b: &Dim, scale: i64) -> Dim {
    let mut sum = poly(a);
    for (atoms, coefficient) in poly(b).terms() {
        sum.add_term(atoms.to_vec(), coefficient.saturating_mul(scale));
    }
    join_divisions(sum).into_dim()
}

pub(super) fn multiply(a: &Dim, b: &Dim) -> Dim {
    match (&a.0, &b.0) {
        (Repr::Const(x), Repr::Const(y)) => return Dim(Repr::Const(x.saturating_mul(*y))),
        (Repr::Const(0), _) | (_, Repr::Const(0)) => return Dim::ZERO,
        (Repr::Const(1), _) => return b.clone(),
        (_, Repr::Const(1)) => return a.clone(),
        _ => {}
    }
    let (left, right) = (poly(a), poly(b));
    let mut product = Poly::default();
    for (atoms, c) in left.terms() {
        for (other, d) in right.terms() {
            product.add_term([atoms, other].concat(), c.saturating_mul(d));
        }
    }
    join_divisions(product).into_dim()
}

/// `d·⌊x/d⌋ + x mod d → x`, also under a common factor. Undoes what splitting an offset into indices left behind.
fn join_divisions(mut sum: Poly) -> Poly {
    loop {
        let mut replacement = None;
        'search: for (atoms, coefficient) in sum.terms() {
            for (position, atom) in atoms.iter().enumerate() {
                let Atom::Mod(x, d) = atom else { continue };
                let mut factor = atoms.to_vec();
                factor.remove(position);
                // In normal form, as the sum has it: ⌊⌊x/3⌋/3⌋ is ⌊x/9⌋ there.
                let quotient = Dim::from_terms([Term { atoms: factor.clone(), coefficient }]) * floor_div(x, d, &Ranges::default()) * d;
                let [partner] = &quotient.terms()[..] else {
                    continue;
                };
                if sum.0.get(&partner.atoms) == Some(&partner.coefficient) {
                    let whole = Dim::from_terms([Term { atoms: factor, coefficient }]) * x;
                    replacement = Some((atoms.to_vec(), partner.atoms.clone(), whole));
                    break 'search;
                }
            }
        }
        let Some((remainder, quotient, whole)) = replacement else {
            return sum;
        };
        sum.0.remove(&remainder);
        sum.0.remove(&quotient);
        for term in whole.terms() {
            sum.add_term(term.atoms, term.coefficient);
        }
    }
}

/// Splits `a = d·quotient + remainder` term by term, for a divisor that is one product.
fn split_by(a: &Dim, d: &Dim) -> Option<(Dim, Dim)> {
    let divisor_terms = d.terms();
    let [divisor] = &divisor_terms[..] else {
        return None;
    };
    let (mut quotient, mut remainder) = (Poly::default(), Poly::default());
    for term in a.terms() {
        let mut left = term.atoms.clone();
        let divides = term.coefficient % divisor.coefficient == 0
            && divisor.atoms.iter().all(|atom| match left.iter().position(|x| x == atom) {
                Some(p) => {
                    left.remove(p);
                    true
                }
                None => false,
            });
        if divides {
            quotient.add_term(left, term.coefficient / divisor.coefficient);
        } else {
            remainder.add_term(term.atoms, term.coefficient);
        }
    }
    // A constant multiple of the divisor hidden in a constant remainder: 7 = 2·3 + 1.
    let mut remainder = remainder.into_dim();
    if let (Some(r), Some(c)) = (constant_part(&remainder), d.as_const())
        && (r >= c || r < 0)
    {
        let q = r.div_euclid(c);
        quotient.add_term(Vec::new(), q);
        remainder = remainder - Dim::from(q.saturating_mul(c));
    }
    Some((quotient.into_dim(), remainder))
}

fn constant_part(dim: &Dim) -> Option<i64> {
    dim.terms().iter().find(|t| t.atoms.is_empty()).map(|t| t.coefficient)
}

pub(super) fn floor_div(a: &Dim, d: &Dim, ranges: &Ranges) -> Dim {
    match (a.as_const(), d.as_const()) {
        (_, Some(0)) | (Some(0), _) => return Dim::ZERO,
        (_, Some(1)) => return a.clone(),
        (Some(x), Some(y)) if y > 0 => return Dim::from(x.div_euclid(y)),
        _ => {}
    }
    if a == d {
        return Dim::ONE;
    }
    let Some((quotient, remainder)) = split_by(a, d) else {
        return Atom::FloorDiv(a.clone(), d.clone()).to_dim();
    };
    if ranges.within(&remainder, d) {
        return quotient;
    }
    if remainder != *a {
        return quotient + floor_div(&remainder, d, ranges);
    }
    // ⌊⌊x/a⌋/b⌋ = ⌊x/(a·b)⌋
    if let ([Term { atoms, coefficient: 1 }], Some(_)) = (&a.terms()[..], d.as_const())
        && let [Atom::FloorDiv(x, inner)] = &atoms[..]
        && inner.as_const().is_some()
    {
        return floor_div(x, &(inner * d), ranges);
    }
    if let Some(c) = d.as_const() {
        let r = ranges.range(a);
        if r.min.div_euclid(c) == r.max.div_euclid(c) {
            return Dim::from(r.min.div_euclid(c));
        }
    }
    Atom::FloorDiv(a.clone(), d.clone()).to_dim()
}

pub(super) fn modulo(a: &Dim, d: &Dim, ranges: &Ranges) -> Dim {
    match (a.as_const(), d.as_const()) {
        (_, Some(0 | 1)) | (Some(0), _) => return Dim::ZERO,
        (Some(x), Some(y)) if y > 0 => return Dim::from(x.rem_euclid(y)),
        _ => {}
    }
    if a == d {
        return Dim::ZERO;
    }
    let remainder = match split_by(a, d) {
        Some((_, remainder)) => remainder,
        None => a.clone(),
    };
    if remainder != *a {
        return modulo(&remainder, d, ranges);
    }
    if ranges.within(&remainder, d) {
        return remainder;
    }
    // (x mod (d·k)) mod d = x mod d
    if let [Term { atoms, coefficient: 1 }] = &a.terms()[..]
        && let [Atom::Mod(x, outer)] = &atoms[..]
        && let (Some(o), Some(c)) = (outer.as_const(), d.as_const())
        && o % c == 0
    {
        return modulo(x, d, ranges);
    }
    if let Some(c) = d.as_const() {
        let r = ranges.range(a);
        let q = r.min.div_euclid(c);
        if q == r.max.div_euclid(c) {
            return a - Dim::from(q.saturating_mul(c));
        }
    }
    Atom::Mod(remainder, d.clone()).to_dim()
}

pub(super) fn minimum(a: &Dim, b: &Dim, ranges: &Ranges) -> Dim {
    if let (Some(x), Some(y)) = (a.as_const(), b.as_const()) {
        return Dim::from(x.min(y));
    }
    if ranges.at_most(a, b) == Proof::Yes {
        return a.clone();
    }
    if ranges.at_most(b, a) == Proof::Yes {
        return b.clone();
    }
    let (a, b) = sorted(a, b);
    Atom::Min(a, b).to_dim()
}

pub(super) fn maximum(a: &Dim, b: &Dim, ranges: &Ranges) -> Dim {
    if let (Some(x), Some(y)) = (a.as_const(), b.as_const()) {
        return Dim::from(x.max(y));
    }
    if ranges.at_most(a, b) == Proof::Yes {
        return b.clone();
    }
    if ranges.at_most(b, a) == Proof::Yes {
        return a.clone();
    }
    let (a, b) = sorted(a, b);
    Atom::Max(a, b).to_dim()
}

pub(super) fn bcast(a: &Dim, b: &Dim) -> Dim {
    if a == b || b.is(1) {
        return a.clone();
    }
    if a.is(1) {
        return b.clone();
    }
    // One side is a constant other than 1: the other side is 1 or that constant.
    if a.as_const().is_some() {
        return a.clone();
    }
    if b.as_const().is_some() {
        return b.clone();
    }
    // bcast is associative and idempotent: bcast(a, bcast(a, b)) = bcast(a, b).
    for (x, y) in [(a, b), (b, a)] {
        if let [Term { atoms, coefficient: 1 }] = &y.terms()[..]
            && let [Atom::Bcast(l, r)] = &atoms[..]
            && (l == x || r == x)
        {
            return y.clone();
        }
    }
    let (a, b) = sorted(a, b);
    Atom::Bcast(a, b).to_dim()
}

fn sorted(a: &Dim, b: &Dim) -> (Dim, Dim) {
    if a <= b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}

/// Rebuilds from the atoms up, with symbols replaced by `f` and opaque atoms simplified under `ranges`.
pub(super) fn rebuild(dim: &Dim, f: &dyn Fn(&Symbol) -> Option<Dim>, ranges: &Ranges) -> Dim {
    let Repr::Poly(p) = &dim.0 else {
        return dim.clone();
    };
    let mut sum = Dim::ZERO;
    for (atoms, coefficient) in p.terms() {
        let mut product = Dim::from(coefficient);
        for atom in atoms {
            let value = match atom {
                Atom::Symbol(s) => f(s).unwrap_or_else(|| atom.to_dim()),
                Atom::FloorDiv(a, b) => floor_div(&rebuild(a, f, ranges), &rebuild(b, f, ranges), ranges),
                Atom::Mod(a, b) => modulo(&rebuild(a, f, ranges), &rebuild(b, f, ranges), ranges),
                Atom::Min(a, b) => minimum(&rebuild(a, f, ranges), &rebuild(b, f, ranges), ranges),
                Atom::Max(a, b) => maximum(&rebuild(a, f, ranges), &rebuild(b, f, ranges), ranges),
                Atom::Bcast(a, b) => bcast(&rebuild(a, f, ranges), &rebuild(b, f, ranges)),
            };
            product = product * value;
        }
        sum = sum + product;
    }
    sum
}
