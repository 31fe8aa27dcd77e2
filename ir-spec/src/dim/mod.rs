//! Dims: integers, or polynomials over named symbols kept in a normal form.
//!
//! A [`Dim`] is a constant or a sum of products of atoms; an atom is a symbol or an opaque
//! `floordiv`, `mod`, `min`, `max` or `bcast` of dims. Equal normal forms are equal for every value of
//! the symbols. The same algebra serves shapes (symbols are sizes) and the kernels' element offsets
//! (symbols are also loop indices), so that reshape, slice and broadcast are simplified in one place.
//!
//! Arithmetic on constants saturates at the limits of `i64`; sizes that large are refused where
//! memory is planned.

mod normal;
mod parse;
mod prove;

pub use parse::{DimError, parse_dim, parse_dim_prefix};
pub use prove::{Proof, Range, Ranges};

use normal::Poly;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// A named unknown size (`batch`) or loop index. Ordered by name, so everything built on it is deterministic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// The symbol of that name.
    pub fn new(name: &str) -> Self {
        Symbol(Arc::from(name))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A size or an element offset: a constant or a polynomial over symbols, in normal form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Const(i64),
    Poly(Arc<Poly>),
}

/// One factor of a product.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Atom {
    /// A symbol.
    Symbol(Symbol),
    /// Division rounding toward −∞. The divisor is positive.
    FloorDiv(Dim, Dim),
    /// Remainder of [`Atom::FloorDiv`]: never negative for a positive divisor.
    Mod(Dim, Dim),
    /// The smaller.
    Min(Dim, Dim),
    /// The larger.
    Max(Dim, Dim),
    /// The size two broadcast axes share: the other one where one is 1, else both are equal.
    Bcast(Dim, Dim),
}

/// A product of atoms times a coefficient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Term {
    /// The factors, sorted; empty for the constant term.
    pub atoms: Vec<Atom>,
    /// The coefficient; never 0.
    pub coefficient: i64,
}

impl Dim {
    /// The constant 0.
    pub const ZERO: Dim = Dim(Repr::Const(0));
    /// The constant 1.
    pub const ONE: Dim = Dim(Repr::Const(1));

    /// The dim that is this symbol.
    pub fn symbol(name: &str) -> Dim {
        Dim::from(Symbol::new(name))
    }

    /// The value, if it is a constant.
    pub fn as_const(&self) -> Option<i64> {
        match &self.0 {
            Repr::Const(c) => Some(*c),
            Repr::Poly(_) => None,
        }
    }

    /// True if it is this constant.
    pub fn is(&self, value: i64) -> bool {
        self.as_const() == Some(value)
    }

    /// The symbol, if it is one alone.
    pub fn as_symbol(&self) -> Option<&Symbol> {
        match &self.0 {
            Repr::Const(_) => None,
            Repr::Poly(p) => p.as_single_symbol(),
        }
    }

    /// The sum's terms: constant term first, then by factors.
    pub fn terms(&self) -> Vec<Term> {
        match &self.0 {
            Repr::Const(0) => Vec::new(),
            Repr::Const(c) => vec![Term { atoms: Vec::new(), coefficient: *c }],
            Repr::Poly(p) => p.terms().map(|(atoms, coefficient)| Term { atoms: atoms.to_vec(), coefficient }).collect(),
        }
    }

    /// The sum of these terms.
    pub fn from_terms(terms: impl IntoIterator<Item = Term>) -> Dim {
        let mut sum = Poly::default();
        for term in terms {
            sum.add_term(term.atoms, term.coefficient);
        }
        sum.into_dim()
    }

    /// Product of all; 1 when there are none.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
        dims.into_iter().fold(Dim::ONE, |acc, d| acc * d)
    }

    /// Sum of all; 0 when there are none.
    pub fn sum<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
        dims.into_iter().fold(Dim::ZERO, |acc, d| acc + d)
    }

    /// `⌊self / divisor⌋`. A divisor that is the constant 0 gives 0.
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        normal::floor_div(self, divisor, &Ranges::default())
    }

    /// `⌈self / divisor⌉`, for a positive divisor.
    pub fn ceil_div(&self, divisor: &Dim) -> Dim {
        (self + divisor - Dim::ONE).floor_div(divisor)
    }

    /// `self − divisor·⌊self / divisor⌋`. A divisor that is the constant 0 gives 0.
    pub fn modulo(&self, divisor: &Dim) -> Dim {
        normal::modulo(self, divisor, &Ranges::default())
    }

    /// The smaller of two.
    pub fn minimum(&self, other: &Dim) -> Dim {
        normal::minimum(self, other, &Ranges::default())
    }

    /// The larger of two.
    pub fn maximum(&self, other: &Dim) -> Dim {
        normal::maximum(self, other, &Ranges::default())
    }

    /// The size of an axis on which `self` and `other` broadcast: the other one where one is 1, else both are equal
    /// (which a guard must ensure when it is not provable).
    pub fn bcast(&self, other: &Dim) -> Dim {
        normal::bcast(self, other)
    }

    /// Every symbol in it, also inside opaque atoms.
    pub fn symbols(&self) -> BTreeSet<Symbol> {
        let mut found = BTreeSet::new();
        self.visit_symbols(&mut |s| {
            found.insert(s.clone());
        });
        found
    }

    /// Calls `f` on each occurrence of a symbol.
    pub fn visit_symbols(&self, f: &mut dyn FnMut(&Symbol)) {
        if let Repr::Poly(p) = &self.0 {
            for (atoms, _) in p.terms() {
                for atom in atoms {
                    atom.visit_symbols(f);
                }
            }
        }
    }

    /// True if the symbol occurs anywhere in it.
    pub fn mentions(&self, symbol: &Symbol) -> bool {
        let mut found = false;
        self.visit_symbols(&mut |s| found |= s == symbol);
        found
    }

    /// Replaces symbols by dims and normalises again; symbols for which `f` gives `None` stay.
    pub fn substitute(&self, f: &dyn Fn(&Symbol) -> Option<Dim>) -> Dim {
        normal::rebuild(self, f, &Ranges::default())
    }

    /// Normalises with what is known of the symbols, which may remove `floordiv`, `mod`, `min` and `max`.
    pub fn simplify(&self, ranges: &Ranges) -> Dim {
        normal::rebuild(self, &|_| None, ranges)
    }

    /// The value under these symbol values; `None` if a symbol is unknown, a division is by zero or a result leaves `i64`.
    pub fn evaluate(&self, f: &dyn Fn(&Symbol) -> Option<i64>) -> Option<i64> {
        match &self.0 {
            Repr::Const(c) => Some(*c),
            Repr::Poly(p) => p.evaluate(f),
        }
    }

    /// Splits `self = coefficient · symbol + rest` where neither part mentions the symbol; `None` if it is not linear in it.
    pub fn linear_in(&self, symbol: &Symbol) -> Option<(Dim, Dim)> {
        let (mut coefficient, mut rest) = (Poly::default(), Poly::default());
        for term in self.terms() {
            let position = term.atoms.iter().position(|a| matches!(a, Atom::Symbol(s) if s == symbol));
            let mut others = term.atoms.clone();
            if let Some(p) = position {
                others.remove(p);
            }
            if others.iter().any(|a| a.mentions(symbol)) {
                return None;
            }
            match position {
                Some(_) => coefficient.add_term(others, term.coefficient),
                None => rest.add_term(others, term.coefficient),
            }
        }
        Some((coefficient.into_dim(), rest.into_dim()))
    }
}

impl Atom {
    /// The two operands of an opaque atom.
    pub fn operands(&self) -> Option<(&Dim, &Dim)> {
        match self {
            Atom::Symbol(_) => None,
            Atom::FloorDiv(a, b) | Atom::Mod(a, b) | Atom::Min(a, b) | Atom::Max(a, b) | Atom::Bcast(a, b) => Some((a, b)),
        }
    }

    /// The dim that is this atom alone.
    pub fn to_dim(&self) -> Dim {
        Dim::from_terms([Term { atoms: vec![self.clone()], coefficient: 1 }])
    }

    fn visit_symbols(&self, f: &mut dyn FnMut(&Symbol)) {
        match self {
            Atom::Symbol(s) => f(s),
            _ => {
                if let Some((a, b)) = self.operands() {
                    a.visit_symbols(f);
                    b.visit_symbols(f);
                }
            }
        }
    }

    fn mentions(&self, symbol: &Symbol) -> bool {
        let mut found = false;
        self.visit_symbols(&mut |s| found |= s == symbol);
        found
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Dim {
        Dim(Repr::Const(value))
    }
}

impl From<i32> for Dim {
    fn from(value: i32) -> Dim {
        Dim(Repr::Const(i64::from(value)))
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Dim {
        Dim(Repr::Const(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<Symbol> for Dim {
    fn from(symbol: Symbol) -> Dim {
        Atom::Symbol(symbol).to_dim()
    }
}

macro_rules! arithmetic {
    ($trait:ident, $method:ident, $function:path) => {
        impl std::ops::$trait<&Dim> for &Dim {
            type Output = Dim;
            fn $method(self, other: &Dim) -> Dim {
                $function(self, other)
            }
        }
        impl std::ops::$trait<Dim> for &Dim {
            type Output = Dim;
            fn $method(self, other: Dim) -> Dim {
                $function(self, &other)
            }
        }
        impl std::ops::$trait<&Dim> for Dim {
            type Output = Dim;
            fn $method(self, other: &Dim) -> Dim {
                $function(&self, other)
            }
        }
        impl std::ops::$trait<Dim> for Dim {
            type Output = Dim;
            fn $method(self, other: Dim) -> Dim {
                $function(&self, &other)
            }
        }
    };
}
arithmetic!(Add, add, normal::add);
arithmetic!(Sub, sub, normal::subtract);
arithmetic!(Mul, mul, normal::multiply);

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `2*batch*floordiv(t + 1, 2) + 3`; [`parse_dim`] reads it back.
impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = match &self.0 {
            Repr::Const(c) => return write!(f, "{c}"),
            Repr::Poly(_) => self.terms(),
        };
        // The constant term reads better last.
        let (constant, products): (Vec<_>, Vec<_>) = terms.into_iter().partition(|t| t.atoms.is_empty());
        for (i, term) in products.iter().chain(&constant).enumerate() {
            let magnitude = term.coefficient.unsigned_abs();
            match (i, term.coefficient < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            if magnitude != 1 || term.atoms.is_empty() {
                write!(f, "{magnitude}")?;
            }
            for (j, atom) in term.atoms.iter().enumerate() {
                if j > 0 || magnitude != 1 {
                    f.write_str("*")?;
                }
                match atom {
                    Atom::Symbol(s) => write!(f, "{s}")?,
                    Atom::FloorDiv(a, b) => write!(f, "floordiv({a}, {b})")?,
                    Atom::Mod(a, b) => write!(f, "mod({a}, {b})")?,
                    Atom::Min(a, b) => write!(f, "min({a}, {b})")?,
                    Atom::Max(a, b) => write!(f, "max({a}, {b})")?,
                    Atom::Bcast(a, b) => write!(f, "bcast({a}, {b})")?,
                }
            }
        }
        Ok(())
    }
}

impl serde::Serialize for Dim {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_const() {
            Some(c) => serializer.serialize_i64(c),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Dim {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Dim, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged, expecting = "expected a whole number, or text that is a size")]
        enum Either {
            Number(i64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(n) => Ok(Dim::from(n)),
            Either::Text(text) => parse_dim(&text).map_err(serde::de::Error::custom),
        }
    }
}
