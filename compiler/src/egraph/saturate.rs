//! Applies rules until nothing changes, within limits, and keeps a log of what was applied.
//!
//! Each round first looks, with every rule at every class, then adds what was found: what a rule sees does not depend on its place
//! in the list.

use super::convert::Embedded;
use super::rule::{Rewrite, Rule, Term};
use super::view::View;
use egg::Id;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// When to stop before nothing changes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rounds at most.
    pub rounds: usize,
    /// E-nodes at most, checked after each application.
    pub nodes: usize,
    /// Time at most, checked after each round. A clock makes the result depend on the machine, so there is no limit by default.
    pub time: Option<Duration>,
    /// Applications at most: what a prefix of the log leads to.
    pub applications: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { rounds: 16, nodes: 200_000, time: None, applications: usize::MAX }
    }
}

/// Why saturation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// No rule has anything to add.
    Saturated,
    /// The rounds were used up.
    RoundLimit,
    /// The e-nodes were used up.
    NodeLimit,
    /// The time was used up.
    TimeLimit,
    /// The applications were used up.
    ApplicationLimit,
}

impl Outcome {
    /// In words, for people.
    pub fn text(self) -> &'static str {
        match self {
            Outcome::Saturated => "saturated",
            Outcome::RoundLimit => "stopped by the limit on rounds",
            Outcome::NodeLimit => "stopped by the limit on e-nodes",
            Outcome::TimeLimit => "stopped by the limit on time",
            Outcome::ApplicationLimit => "stopped by the limit on applications",
        }
    }
}

/// One use of a rule that made two classes one.
#[derive(Clone, Debug)]
pub struct Application {
    /// Name of the rule.
    pub rule: &'static str,
    /// Operators that the rule starts from.
    pub roots: &'static [&'static str],
    /// In which round, from 1.
    pub round: usize,
    /// An id of the class it looked at.
    pub root: Id,
    /// The id of what it made.
    pub made: Id,
    /// The set it belongs to, if classes are replaced together.
    pub set: Option<usize>,
}

/// What saturation did.
#[derive(Clone, Debug)]
pub struct Report {
    /// Why it ended.
    pub outcome: Outcome,
    /// Rounds, the last one that changed nothing included.
    pub rounds: usize,
    /// E-nodes in the end.
    pub nodes: usize,
    /// Every application, in order.
    pub log: Vec<Application>,
    /// How long it took.
    pub time: Duration,
}

/// Applies the rules; see the head of this file.
pub fn saturate(program: &mut Embedded, rules: &[&Rule], limits: &Limits) -> Report {
    let start = Instant::now();
    let mut log = Vec::new();
    let mut outcome = Outcome::RoundLimit;
    let mut rounds = 0;
    let mut sets = 0;
    'rounds: while rounds < limits.rounds {
        rounds += 1;
        let before = log.len();
        for Match { rule, root, term, set } in matches(program, rules, &mut sets) {
            if log.len() == limits.applications {
                outcome = Outcome::ApplicationLimit;
                break 'rounds;
            }
            let first_new = program.egraph.nodes().len();
            let Some(made) = term.add_to(program, root) else { continue };
            let types = |id: Id| &program.egraph[id].data.types;
            if !program.egraph.analysis.same_types(types(root), types(made)) {
                continue;
            }
            // An id of the e-node itself, which says later who made it.
            let made = if program.egraph.nodes().len() > first_new { Id::from(program.egraph.nodes().len() - 1) } else { made };
            if program.unite(root, made) {
                log.push(Application { rule: rule.name, roots: rule.roots, round: rounds, root, made, set });
            }
            if program.egraph.total_size() > limits.nodes {
                outcome = Outcome::NodeLimit;
                break 'rounds;
            }
        }
        program.egraph.rebuild();
        if log.len() == before {
            outcome = Outcome::Saturated;
            break;
        }
        if limits.time.is_some_and(|most| start.elapsed() > most) {
            outcome = Outcome::TimeLimit;
            break;
        }
    }
    program.egraph.rebuild();
    Report { outcome, rounds, nodes: program.egraph.total_size(), log, time: start.elapsed() }
}

/// What a rule makes of a class.
struct Match<'r> {
    rule: &'r Rule,
    root: Id,
    term: Term,
    set: Option<usize>,
}

/// What the rules make of the classes as they are, by rule, then by class. `sets` counts classes that are replaced together.
fn matches<'r>(program: &Embedded, rules: &[&'r Rule], sets: &mut usize) -> Vec<Match<'r>> {
    let view = View(&program.egraph);
    let mut found = Vec::new();
    for rule in rules {
        let roots: BTreeSet<Id> =
            rule.roots.iter().filter_map(|name| view.0.classes_for_op(name)).flatten().map(|id| view.0.find(id)).collect();
        match rule.rewrite {
            Rewrite::Class(rewrite) => {
                let at = |root| rewrite(view, root).map(|term| Match { rule, root, term, set: None });
                found.extend(roots.into_iter().filter_map(at));
            }
            Rewrite::Together(rewrite) => {
                for together in rewrite(view, &roots.into_iter().collect::<Vec<Id>>()) {
                    *sets += 1;
                    let set = Some(*sets);
                    found.extend(together.into_iter().map(|(root, term)| Match { rule, root, term, set }));
                }
            }
        }
    }
    found
}
