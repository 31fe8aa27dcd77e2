//! Products in a normal form, so that a rule states its formula once, however a program associates, commutes, divides or squares;
//! and classes as a number times, or plus, another class.
//!
//! ```text
//! 0.5 * (x * (1 + erf(x / 1.4142)))      product: 0.5 · x¹ · s¹        s: 1 plus e
//! (x - m) * pow(v + 1e-5, -0.5)          product: d¹ · u^(-½)          u: 1e-5 plus v
//! ```
//! Sums are not taken apart further: x is often one itself, and rules look for x. A product compares as a whole, so it may be.
//!
//! Factors may be smaller than the whole, as broadcasting is looked through; a right side that forgets it does not type.
//! Roots stay opaque: √(x²) is not x. Factors that cancel inside a class stay, with exponent 0, as x / x is not 1 everywhere; they
//! vanish only where two products are compared.

use super::view::{View, close};
use crate::cut::role::{Role, Root, role};
use egg::Id;
use kiln_ir::Op;

/// More factors than this are of no pattern, and a chain that long is not walked again and again.
const MAX_PARTS: usize = 12;
/// Rules may make a class part of itself (x = 1 · x), so every walk has an end.
const MAX_DEPTH: usize = 16;

/// `coefficient · Π classᵉ`
#[derive(Clone, PartialEq, Debug)]
pub struct Product {
    /// Product of all known factors.
    pub coefficient: f64,
    /// Classes with their exponents, each class once, by id.
    pub powers: Vec<(Id, f64)>,
}

impl Product {
    /// Takes one class out, if it is there with that exponent: the rest.
    pub fn without(&self, class: Id, exponent: f64) -> Option<Product> {
        let at = self.powers.iter().position(|(c, e)| *c == class && *e == exponent)?;
        let mut rest = self.clone();
        rest.powers.remove(at);
        Some(rest)
    }

    /// The only class and its exponent.
    pub fn only(&self) -> Option<(Id, f64)> {
        match self.powers.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// Divides by another product; what cancels vanishes.
    pub fn over(&self, other: &Product) -> Product {
        let mut rest = self.clone();
        rest.coefficient /= other.coefficient;
        other.powers.iter().for_each(|(class, exponent)| add_to(&mut rest.powers, *class, -exponent));
        rest.powers.retain(|(_, exponent)| *exponent != 0.0);
        rest
    }

    /// Whether it is that number.
    pub fn is_number(&self, number: f64) -> bool {
        self.powers.is_empty() && close(self.coefficient, number)
    }

    fn multiply(&mut self, class: Id, exponent: f64) {
        add_to(&mut self.powers, class, exponent);
    }
}

fn add_to(parts: &mut Vec<(Id, f64)>, class: Id, amount: f64) {
    match parts.binary_search_by_key(&class, |(c, _)| *c) {
        Ok(at) => parts[at].1 += amount,
        Err(at) => parts.insert(at, (class, amount)),
    }
}

impl View<'_> {
    /// A class as a product, as far as its operators go.
    pub fn product(self, class: Id) -> Product {
        let mut product = Product { coefficient: 1.0, powers: Vec::new() };
        self.multiply_into(&mut product, class, 1.0, MAX_DEPTH);
        product
    }

    fn multiply_into(self, product: &mut Product, class: Id, exponent: f64, depth: usize) {
        if let Some(value) = self.uniform(class) {
            product.coefficient *= value.powf(exponent);
            return;
        }
        let whole = exponent.fract() == 0.0;
        let is_mean = self.ops(class).any(|(op, _)| matches!(op, Op::Mean(_)));
        let parts = self.find(class, |op, x| match op {
            // A mean is a mean, not a sum times 1/n; and what is 1 · itself is seen by what else it is.
            _ if is_mean || x.contains(&class) => None,
            Op::Mul(_) if whole => Some(vec![(x[0], exponent), (x[1], exponent)]),
            Op::Div(_) if whole => Some(vec![(x[0], exponent), (x[1], -exponent)]),
            Op::Broadcast(_) => Some(vec![(x[0], exponent)]),
            Op::Reciprocal(_) if whole => Some(vec![(x[0], -exponent)]),
            Op::Sqrt(_) if whole => Some(vec![(x[0], exponent / 2.0)]),
            Op::Pow(_) if whole => {
                self.uniform(x[1]).filter(|e| e.abs() <= 4.0 && (2.0 * e).fract() == 0.0).map(|e| vec![(x[0], exponent * e)])
            }
            _ => None,
        });
        let negated = self.find(class, |op, x| matches!(op, Op::Neg(_)).then(|| x[0])).filter(|_| whole);
        match (parts, negated) {
            (Some(parts), _) if product.powers.len() < MAX_PARTS && depth > 0 => {
                parts.into_iter().for_each(|(class, exponent)| self.multiply_into(product, class, exponent, depth - 1));
            }
            (None, Some(inner)) if depth > 0 => {
                product.coefficient *= if exponent % 2.0 == 0.0 { 1.0 } else { -1.0 };
                self.multiply_into(product, inner, exponent, depth - 1);
            }
            _ => product.multiply(class, exponent),
        }
    }

    /// Whether a composite is in a class. No factor is taken out of it: a mean is a mean, not a sum times 1/n.
    fn is_named(self, class: Id) -> bool {
        self.ops(class).any(|(op, _)| matches!(role(op), Role::Composite | Role::Root(Root::Attention(_))))
    }

    /// A class as a class plus a number: `x - 3` is `(x, -3)`.
    pub fn plus_number(self, class: Id) -> Option<(Id, f64)> {
        self.find(class, |op, x| match op {
            Op::Add(_) => match (self.uniform(x[0]), self.uniform(x[1])) {
                (Some(number), None) => Some((x[1], number)),
                (None, Some(number)) => Some((x[0], number)),
                _ => None,
            },
            Op::Sub(_) if self.uniform(x[0]).is_none() => self.uniform(x[1]).map(|number| (x[0], -number)),
            _ => None,
        })
    }

    /// A class as a number times a class that is not so: `x / 8` is `(x, 0.125)`.
    pub fn scaled(self, class: Id) -> (Id, f64) {
        let mut scaled = (class, 1.0);
        for _ in 0..MAX_DEPTH {
            let (class, factor) = scaled;
            match self.factor_out(class) {
                Some((inner, more)) if self.uniform(inner).is_none() && !self.is_named(class) => scaled = (inner, factor * more),
                _ => break,
            }
        }
        scaled
    }

    fn factor_out(self, class: Id) -> Option<(Id, f64)> {
        self.find(class, |op, x| match op {
            _ if x.contains(&class) => None,
            Op::Mul(_) => match (self.uniform(x[0]), self.uniform(x[1])) {
                (Some(factor), None) => Some((x[1], factor)),
                (None, Some(factor)) => Some((x[0], factor)),
                _ => None,
            },
            Op::Div(_) => self.uniform(x[1]).map(|divisor| (x[0], 1.0 / divisor)),
            Op::Neg(_) => Some((x[0], -1.0)),
            _ => None,
        })
    }

    /// What a class is the square of.
    pub fn square_root_of(self, class: Id) -> Option<Id> {
        self.find(class, |op, x| match op {
            Op::Mul(_) => (x[0] == x[1]).then(|| x[0]),
            Op::Pow(_) => self.is_number(x[1], 2.0).then(|| x[0]),
            _ => None,
        })
    }
}
