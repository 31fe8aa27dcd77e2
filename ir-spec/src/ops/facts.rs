//! What type rules may rely on and what they must leave to run time.

use crate::dim::Proof;
use crate::graph::{Guard, Origin, Relation};
use crate::{Dim, Ranges, TensorType};
use std::collections::BTreeSet;
use std::fmt;

/// A use of an operator that its type rule rejects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypeError {
    /// The constraint, as in the operator's docs: `dot_c2`.
    pub label: &'static str,
    /// What was expected and what is there.
    pub message: String,
}

impl TypeError {
    /// A rejection.
    pub fn new(label: &'static str, message: impl Into<String>) -> TypeError {
        TypeError { label, message: message.into() }
    }
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.label)
    }
}

impl std::error::Error for TypeError {}

/// Ranges of symbols, and the conditions a type rule could not prove.
pub struct Facts<'a> {
    /// What is known of the symbols.
    pub ranges: &'a Ranges,
    unproved: BTreeSet<(Dim, Relation, Dim)>,
}

impl<'a> Facts<'a> {
    /// Facts of a graph.
    pub fn new(ranges: &'a Ranges) -> Facts<'a> {
        Facts { ranges, unproved: BTreeSet::new() }
    }

    /// Requires `a = b`: fine if proved, a guard if unknown. Errors: `label` with `what` if they always differ.
    pub fn equal(&mut self, a: &Dim, b: &Dim, label: &'static str, what: impl fmt::Display) -> Result<(), TypeError> {
        match self.ranges.provably_equal(a, b) {
            Proof::Yes => Ok(()),
            Proof::No => Err(TypeError::new(label, format!("{what}: {a} and {b} differ"))),
            Proof::Unknown => {
                self.unproved.insert((a.clone(), Relation::Equal, b.clone()));
                Ok(())
            }
        }
    }

    /// Requires `a ≤ b` in the same manner.
    pub fn at_most(&mut self, a: &Dim, b: &Dim, label: &'static str, what: impl fmt::Display) -> Result<(), TypeError> {
        match self.ranges.at_most(a, b) {
            Proof::Yes => Ok(()),
            Proof::No => Err(TypeError::new(label, format!("{what}: {a} exceeds {b}"))),
            Proof::Unknown => {
                self.unproved.insert((a.clone(), Relation::AtMost, b.clone()));
                Ok(())
            }
        }
    }

    /// The size two axes share under broadcasting. Errors: `label` if they never broadcast.
    pub fn broadcast(&mut self, a: &Dim, b: &Dim, label: &'static str, what: impl fmt::Display) -> Result<Dim, TypeError> {
        if a == b || a.is(1) || b.is(1) {
            return Ok(a.bcast(b));
        }
        if self.ranges.provably_equal(a, b) == Proof::No
            && self.ranges.provably_equal(a, &Dim::ONE) == Proof::No
            && self.ranges.provably_equal(b, &Dim::ONE) == Proof::No
        {
            return Err(TypeError::new(label, format!("{what}: {a} and {b} do not broadcast")));
        }
        self.unproved.insert((a.clone(), Relation::Broadcasts, b.clone()));
        Ok(a.bcast(b))
    }

    /// Requires that both shapes are the same, axis by axis. Errors: `label`.
    pub fn same_shape(&mut self, a: &TensorType, b: &TensorType, label: &'static str) -> Result<(), TypeError> {
        if a.rank() != b.rank() {
            return Err(TypeError::new(label, format!("shapes differ: {a} and {b}")));
        }
        for (x, y) in a.shape.iter().zip(&b.shape) {
            self.equal(x, y, label, format_args!("shapes of {a} and {b}"))?;
        }
        Ok(())
    }

    /// Requires what the guards of a region require.
    pub fn require_all<'g>(&mut self, guards: impl IntoIterator<Item = &'g Guard>) {
        self.unproved.extend(guards.into_iter().map(|g| (g.left.clone(), g.relation, g.right.clone())));
    }

    /// The conditions as guards that name the operator.
    pub fn into_guards(self, op: &str, origin: Option<&Origin>) -> Vec<Guard> {
        let why = match origin {
            Some(origin) => format!("{op}, from {}", origin.text),
            None => op.to_string(),
        };
        self.unproved.into_iter().map(|(left, relation, right)| Guard { left, relation, right, why: why.clone() }).collect()
    }
}
