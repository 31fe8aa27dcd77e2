//! What can be proved of dims: ranges, order, equality. Three-valued: rules fire only on [`Proof::Yes`].

use super::{Atom, Dim, Symbol};
use std::collections::BTreeMap;

/// The answer to a question about symbolic dims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// True for every value of the symbols.
    Yes,
    /// False for every value of the symbols.
    No,
    /// It depends, or we cannot tell.
    Unknown,
}

/// The least and greatest value something can take, both inclusive; the limits of `i64` mean unbounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Least value.
    pub min: i64,
    /// Greatest value.
    pub max: i64,
}

impl Range {
    /// Sizes of which nothing is known: 0 and up.
    pub const SIZE: Range = Range { min: 0, max: i64::MAX };

    fn exactly(value: i64) -> Range {
        Range { min: value, max: value }
    }

    fn add(self, other: Range) -> Range {
        Range { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn mul(self, other: Range) -> Range {
        let corners = [
            self.min.saturating_mul(other.min),
            self.min.saturating_mul(other.max),
            self.max.saturating_mul(other.min),
            self.max.saturating_mul(other.max),
        ];
        Range { min: corners.into_iter().min().unwrap_or(i64::MIN), max: corners.into_iter().max().unwrap_or(i64::MAX) }
    }
}

/// What is known of symbols: a range each, and for loop indices an exclusive symbolic upper bound.
/// A symbol not listed is a size: 0 or more.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Ranges {
    ranges: BTreeMap<Symbol, Range>,
    below: BTreeMap<Symbol, Dim>,
}

impl Ranges {
    /// Declares that `symbol` lies in `range`.
    pub fn set(&mut self, symbol: Symbol, range: Range) {
        self.ranges.insert(symbol, range);
    }

    /// Declares a loop index: `0 ≤ symbol < extent`.
    pub fn set_index(&mut self, symbol: Symbol, extent: Dim) {
        let max = self.range(&extent).max;
        self.ranges.insert(symbol.clone(), Range { min: 0, max: if max == i64::MAX { max } else { max.saturating_sub(1) } });
        self.below.insert(symbol, extent);
    }

    /// The range of one symbol.
    pub fn of_symbol(&self, symbol: &Symbol) -> Range {
        self.ranges.get(symbol).copied().unwrap_or(Range::SIZE)
    }

    /// Declared symbols with their ranges, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Symbol, Range)> {
        self.ranges.iter().map(|(s, r)| (s, *r))
    }

    /// Bounds of a dim by interval arithmetic.
    pub fn range(&self, dim: &Dim) -> Range {
        if let Some(c) = dim.as_const() {
            return Range::exactly(c);
        }
        dim.terms().iter().fold(Range::exactly(0), |sum, term| {
            let product = term.atoms.iter().fold(Range::exactly(term.coefficient), |p, atom| p.mul(self.of_atom(atom)));
            sum.add(product)
        })
    }

    fn of_atom(&self, atom: &Atom) -> Range {
        match atom {
            Atom::Symbol(s) => self.of_symbol(s),
            Atom::FloorDiv(a, b) => {
                let (a, b) = (self.range(a), self.range(b));
                let (low, high) = (b.min.max(1), b.max.max(1));
                let quotient = |x: i64, d: i64| {
                    if x == i64::MAX || x == i64::MIN { x } else { x.div_euclid(d) }
                };
                Range { min: quotient(a.min, low).min(quotient(a.min, high)), max: quotient(a.max, low).max(quotient(a.max, high)) }
            }
            Atom::Mod(_, b) => Range { min: 0, max: self.range(b).max.saturating_sub(1).max(0) },
            Atom::Min(a, b) => {
                let (a, b) = (self.range(a), self.range(b));
                Range { min: a.min.min(b.min), max: a.max.min(b.max) }
            }
            Atom::Max(a, b) => {
                let (a, b) = (self.range(a), self.range(b));
                Range { min: a.min.max(b.min), max: a.max.max(b.max) }
            }
            Atom::Bcast(a, b) => {
                let (a, b) = (self.range(a), self.range(b));
                Range { min: a.min.min(b.min), max: a.max.max(b.max) }
            }
        }
    }

    /// True if `0 ≤ dim < bound` is proved.
    pub fn within(&self, dim: &Dim, bound: &Dim) -> bool {
        if self.range(dim).min < 0 {
            return false;
        }
        match (dim.as_const(), bound.as_const()) {
            (Some(d), Some(b)) => d < b,
            _ => self.at_most(&(dim + Dim::ONE), bound) == Proof::Yes,
        }
    }

    /// Is `a ≤ b`?
    pub fn at_most(&self, a: &Dim, b: &Dim) -> Proof {
        let difference = b - a;
        let r = self.range(&difference);
        if r.min >= 0 || self.range(&self.least(&difference)).min >= 0 {
            Proof::Yes
        } else if r.max < 0 {
            Proof::No
        } else {
            Proof::Unknown
        }
    }

    /// A lower bound of `dim` in which loop indices with symbolic extents are replaced by their extremes, so that
    /// `n - 1 - i` for an index `i < n` becomes 0 rather than an unbounded difference.
    fn least(&self, dim: &Dim) -> Dim {
        if self.below.is_empty() {
            return dim.clone();
        }
        let mut bound = Dim::ZERO;
        for term in dim.terms() {
            let mut product = Dim::from(term.coefficient);
            let others_are_sizes = term.atoms.iter().all(|a| self.of_atom(a).min >= 0);
            for atom in &term.atoms {
                let extreme = match atom {
                    Atom::Symbol(s) if others_are_sizes => match self.below.get(s) {
                        Some(extent) if term.coefficient < 0 => extent - Dim::ONE,
                        Some(_) => Dim::ZERO,
                        None => atom.to_dim(),
                    },
                    _ => atom.to_dim(),
                };
                product = product * extreme;
            }
            bound = bound + product;
        }
        bound
    }

    /// Is `a = b`? Equal normal forms are; a difference whose range excludes 0 is not, nor one that is never a multiple of what all
    /// of it but a number is: 2·n − 1 is odd.
    pub fn provably_equal(&self, a: &Dim, b: &Dim) -> Proof {
        if a == b {
            return Proof::Yes;
        }
        let difference = (a - b).simplify(self);
        let r = self.range(&difference);
        if r.min == 0 && r.max == 0 {
            Proof::Yes
        } else if r.min > 0 || r.max < 0 || leaves_remainder(&difference) {
            Proof::No
        } else {
            Proof::Unknown
        }
    }
}

/// Whether a number divides every term but the constant one, and not that.
fn leaves_remainder(dim: &Dim) -> bool {
    let (constant, others): (Vec<_>, Vec<_>) = dim.terms().into_iter().partition(|term| term.atoms.is_empty());
    let divisor = others.iter().fold(0, |divisor, term| gcd(divisor, term.coefficient.unsigned_abs()));
    divisor > 1 && constant.first().is_some_and(|term| term.coefficient.unsigned_abs() % divisor != 0)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(ranges: &mut Ranges, name: &str, extent: &Dim) -> Dim {
        ranges.set_index(Symbol::new(name), extent.clone());
        Dim::symbol(name)
    }

    #[test]
    fn splitting_an_offset_and_joining_it_again_gives_the_offset() {
        let (n, m) = (Dim::symbol("n"), Dim::symbol("m"));
        let mut ranges = Ranges::default();
        let i = index(&mut ranges, "i", &(&n * &m));
        let (row, column) = (i.floor_div(&m), i.modulo(&m));
        assert_eq!(row * &m + column, i);
    }

    #[test]
    fn the_least_extent_does_not_overflow() {
        let mut ranges = Ranges::default();
        ranges.set_index(Symbol::new("i"), Dim::from(i64::MIN));
        assert_eq!(ranges.of_symbol(&Symbol::new("i")).max, i64::MIN);
    }

    #[test]
    fn an_index_within_its_extent_divides_away() {
        let (c, w) = (Dim::symbol("c"), Dim::symbol("w"));
        let mut ranges = Ranges::default();
        let (i, j) = (index(&mut ranges, "i", &c), index(&mut ranges, "j", &w));
        let offset = &i * &w + &j;
        assert_eq!(offset.floor_div(&w).simplify(&ranges), i);
        assert_eq!(offset.modulo(&w).simplify(&ranges), j);
        let k = index(&mut ranges, "k", &Dim::from(4));
        let fixed = &i * Dim::from(4) + &k;
        assert_eq!(fixed.floor_div(&Dim::from(4)).simplify(&ranges), i);
    }

    #[test]
    fn equality_is_three_valued() {
        let ranges = Ranges::default();
        let n = Dim::symbol("n");
        assert_eq!(ranges.provably_equal(&(&n + Dim::ONE), &(Dim::ONE + &n)), Proof::Yes);
        assert_eq!(ranges.provably_equal(&(&n + Dim::ONE), &n), Proof::No);
        assert_eq!(ranges.provably_equal(&n, &Dim::from(3)), Proof::Unknown);
        assert_eq!(ranges.provably_equal(&n, &Dim::from(-3)), Proof::No);
        let even = &n * Dim::from(4) + Dim::symbol("m") * Dim::from(6);
        assert_eq!(ranges.provably_equal(&even, &Dim::from(9)), Proof::No);
        assert_eq!(ranges.provably_equal(&even, &Dim::from(10)), Proof::Unknown);
        assert_eq!(ranges.provably_equal(&even, &(&n * Dim::from(3) + Dim::ONE)), Proof::Unknown);
    }

    #[test]
    fn constants_saturate_and_evaluation_checks() {
        let huge = Dim::from(i64::MAX);
        assert_eq!(&huge * &huge, huge);
        let square = Dim::symbol("n") * Dim::symbol("n");
        assert_eq!(square.evaluate(&|_| Some(i64::MAX)), None);
        assert_eq!(Dim::from(7).floor_div(&Dim::symbol("n")).evaluate(&|_| Some(0)), None);
    }
}
