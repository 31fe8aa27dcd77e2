//! The rewrite rules, by subject. README.md beside this file says how to write one.

mod activations;
mod apart;
mod attention;
mod axes;
mod conv;
mod convolutions;
mod dot;
mod groups;
mod heads;
mod identities;
mod joined;
mod movement;
mod norms;
mod parallel;
mod parts;
mod pooling;
mod products;
mod reductions;
mod softmax;
mod statistics;
mod vectors;

use crate::egraph::rule::{Freedom, Rule};

/// The rules of the first saturation, by subject: what a network is, before gradients are taken and a target is known.
pub const SUBJECTS: &[(&str, &[Rule])] = &[
    ("identities", identities::RULES),
    ("activations", activations::RULES),
    ("softmax", softmax::RULES),
    ("norms", norms::RULES),
    ("groups", groups::RULES),
    ("statistics", statistics::RULES),
    ("attention", attention::RULES),
    ("movement", movement::RULES),
    ("axes", axes::RULES),
    ("dot", dot::RULES),
    ("conv", conv::RULES),
];

/// The rules of the second saturation, by subject: how what is computed is computed soonest. Those of products and movement without
/// transpositions are among them.
pub const OPTIMISING: &[(&str, &[Rule])] = &[
    ("parallel", parallel::RULES),
    ("products", products::RULES),
    ("convolutions", convolutions::RULES),
    ("apart", apart::RULES),
    ("pooling", pooling::RULES),
    ("parts", parts::RULES),
    ("reductions", reductions::RULES),
    ("movement", movement::RULES),
    ("dot", dot::RULES),
];

/// The rules of the first saturation that may apply, in order.
pub fn rules(freedom: Freedom) -> Vec<&'static Rule> {
    of_subjects(SUBJECTS, freedom)
}

/// The rules of the second saturation that may apply, in order.
pub fn optimising_rules(freedom: Freedom) -> Vec<&'static Rule> {
    of_subjects(OPTIMISING, freedom)
}

/// Every rule, each once.
pub fn all_rules() -> Vec<&'static Rule> {
    let first = SUBJECTS.iter().map(|(subject, _)| subject);
    let is_new = |subject: &&str| !first.clone().any(|known| known == subject);
    let second = OPTIMISING.iter().filter(|(subject, _)| is_new(subject)).flat_map(|(_, rules)| *rules);
    rules(Freedom::Approximation).into_iter().chain(second).collect()
}

fn of_subjects(subjects: &'static [(&str, &[Rule])], freedom: Freedom) -> Vec<&'static Rule> {
    subjects.iter().flat_map(|(_, rules)| *rules).filter(|rule| rule.exactness.needs() <= freedom).collect()
}
