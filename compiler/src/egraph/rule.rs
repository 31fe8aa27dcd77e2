//! What a rewrite rule is: a row with a name, its mathematics, how exact it is, what it makes of a class, and an example.

use super::convert::Embedded;
use super::view::{View, close};
use egg::Id;
use kiln_ir::ops::{Broadcast, Mul, Transpose};
use kiln_ir::{DType, Dim, Op, Tensor};

/// How a right side's values compare with those of the left side.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Exactness {
    /// Every bit, also of zeros, infinities and NaN.
    SameBits,
    /// Equal numbers; zeros may differ in sign.
    SameValue,
    /// The same real function: equal but for rounding, for finite operands, as long as no intermediate value overflows, wherever
    /// the left side is a number. Results differ by at most `bound` · ε · (the largest magnitude among operands and results).
    Reassociated {
        /// The factor of ε.
        bound: f64,
    },
    /// Another function, or the same on a part of its domain: never applied unless asked for.
    Approx {
        /// As for [`Exactness::Reassociated`], within the domain.
        bound: f64,
        /// Where it holds.
        domain: &'static str,
    },
}

/// Which rules apply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Freedom {
    /// Those that keep every value.
    Values,
    /// Those that compute the same real function, too.
    Reassociation,
    /// All.
    Approximation,
}

impl Exactness {
    /// In words, for people.
    pub fn text(self) -> String {
        match self {
            Exactness::SameBits => "to keep every bit".to_string(),
            Exactness::SameValue => "to keep every value".to_string(),
            Exactness::Reassociated { bound } => format!("to round otherwise, by at most {bound} ulps of the largest operand"),
            Exactness::Approx { bound, domain } => format!("to hold where {domain}, within {bound} ulps of the largest operand"),
        }
    }

    /// The freedom that a rule of this exactness needs.
    pub fn needs(self) -> Freedom {
        match self {
            Exactness::SameBits | Exactness::SameValue => Freedom::Values,
            Exactness::Reassociated { .. } => Freedom::Reassociation,
            Exactness::Approx { .. } => Freedom::Approximation,
        }
    }
}

/// A right side: operators with one result on classes of the left side.
#[derive(Clone, Debug)]
pub enum Term {
    /// A class.
    Class(Id),
    /// A constant.
    Constant(Tensor),
    /// An operator.
    Apply(Op, Vec<Term>),
}

impl Term {
    /// An operator on terms.
    pub fn apply(op: impl Into<Op>, operands: impl IntoIterator<Item = Term>) -> Term {
        Term::Apply(op.into(), operands.into_iter().collect())
    }

    /// An operator on classes.
    pub fn of(op: impl Into<Op>, operands: &[Id]) -> Term {
        Term::apply(op, operands.iter().map(|id| Term::Class(*id)))
    }

    /// A number, repeated to a shape.
    pub fn number(dtype: DType, shape: &[Dim], value: f64) -> Term {
        Term::apply(Broadcast { shape: shape.to_vec() }, [Term::Constant(Tensor::scalar(dtype, value))])
    }

    /// A class times a number; the class itself for 1.
    pub fn scaled(view: View, class: Id, factor: f64) -> Term {
        if close(factor, 1.0) {
            return Term::Class(class);
        }
        let ty = view.ty(class);
        Term::apply(Mul {}, [Term::Class(class), Term::number(ty.dtype, &ty.shape, factor)])
    }

    /// A class with its axes in another order; a transposition that made it is undone or joined.
    pub fn transposed(view: View, class: Id, perm: &[usize]) -> Term {
        if perm.is_sorted() {
            return Term::Class(class);
        }
        let inner = view.find(class, |op, x| match op {
            Op::Transpose(inner) => Some((x[0], perm.iter().map(|&a| inner.perm[a]).collect::<Vec<_>>())),
            _ => None,
        });
        match inner {
            Some((inner, joined)) if joined.is_sorted() => Term::Class(inner),
            Some((inner, joined)) => Term::of(Transpose { perm: joined }, &[inner]),
            None => Term::of(Transpose { perm: perm.to_vec() }, &[class]),
        }
    }

    /// Adds the term in the place of `root`; `None` if it does not type without another guard.
    pub fn add_to(&self, program: &mut Embedded, root: Id) -> Option<Id> {
        match self {
            Term::Class(id) => Some(*id),
            Term::Constant(tensor) => Some(program.constant(tensor.clone())),
            Term::Apply(op, operands) => {
                let operands = operands.iter().map(|term| term.add_to(program, root)).collect::<Option<Vec<Id>>>()?;
                program.apply(op, operands, root)
            }
        }
    }
}

/// How a rule looks at the e-graph.
#[derive(Clone, Copy)]
pub enum Rewrite {
    /// At a class with one of the roots: what else it is, if the rule applies.
    Class(fn(View, Id) -> Option<Term>),
    /// At all such classes at once, once a round, in the order of the program: what else several of them are, where that pays only if
    /// all of a set are replaced, as they share what is new. Extraction takes or leaves each set as a whole.
    Together(fn(View, &[Id]) -> Vec<Together>),
}

/// Classes that a rule would replace together, with what else they are.
pub type Together = Vec<(Id, Term)>;

/// A rewrite rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// A unique name, in words joined by `-`.
    pub name: &'static str,
    /// Why both sides are the same, in a line.
    pub mathematics: &'static str,
    /// How the same.
    pub exactness: Exactness,
    /// Operators that a class must have for the rule to look at it.
    pub roots: &'static [&'static str],
    /// What it looks at, and what it makes of it.
    pub rewrite: Rewrite,
    /// Graphs, as text, on whose outputs the rule fires.
    pub examples: &'static [&'static str],
}
