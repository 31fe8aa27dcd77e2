//! The rewrite rules, by subject. README.md beside this file says how to write one.

mod activations;
mod attention;
mod conv;
mod dot;
mod movement;
mod norms;
mod softmax;

use crate::egraph::rule::{Freedom, Rule};

/// All rules, by subject.
pub const SUBJECTS: &[(&str, &[Rule])] = &[
    ("activations", activations::RULES),
    ("softmax", softmax::RULES),
    ("norms", norms::RULES),
    ("attention", attention::RULES),
    ("movement", movement::RULES),
    ("dot", dot::RULES),
    ("conv", conv::RULES),
];

/// The rules that may apply, in order.
pub fn rules(freedom: Freedom) -> Vec<&'static Rule> {
    SUBJECTS.iter().flat_map(|(_, rules)| *rules).filter(|rule| rule.exactness.needs() <= freedom).collect()
}
