//! Replaces spellings of composites by the composites, so that what follows sees a softmax instead of exponentials and sums.
//! ```text
//! %e = exp %x ; %s = reduce %e … ; %y = div %e, %s      →      %y = softmax %x
//! ```
//! Needs: nothing; values of parameters help.  Keeps: what the rules' exactness says; interface, guards, origins.
//! Skips: rules beyond the freedom of the configuration; what something else needs, when computing it twice would cost more.
//!
//! Recurrent layers that are written step by step become layers first ([`recurrent`]), so that what follows is small. Then the graph becomes an e-graph, [`crate::rewrites`] add what they know, and the cheapest graph is taken out. With `--opt 1` nothing
//! is kept beside the graph: each round takes those matches that make it cheaper by themselves, and forgets the others.

use crate::egraph::convert::Embedded;
use crate::egraph::cost::ByKind;
use crate::egraph::extract::{Extraction, extract};
use crate::egraph::provenance::{Applied, Replacement, applied, replacements};
use crate::egraph::rule::{Freedom, Rule};
use crate::egraph::saturate::{Limits, Outcome, saturate};
use crate::passes::recurrent;
use crate::pipeline::{Context, OptLevel};
use crate::rewrites::rules;
use kiln_ir::Graph;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How far recognising may go.
#[derive(Clone, Debug)]
pub struct Recognition {
    /// The rules of a freedom.
    pub rules: fn(Freedom) -> Vec<&'static Rule>,
    /// Which of them apply.
    pub freedom: Freedom,
    /// Rules that are left out, by name.
    pub without: BTreeSet<String>,
    /// When it stops before nothing changes.
    pub limits: Limits,
}

impl Default for Recognition {
    fn default() -> Recognition {
        Recognition { rules, freedom: Freedom::Reassociation, without: BTreeSet::new(), limits: Limits::default() }
    }
}

/// A graph in which composites were recognised, and how.
pub struct Recognised {
    /// The graph.
    pub graph: Graph,
    /// Why saturation ended.
    pub outcome: Outcome,
    /// Its rounds.
    pub rounds: usize,
    /// E-nodes in the end.
    pub nodes: usize,
    /// Cost of the graph given, in the steps of [`crate::egraph::cost`].
    pub cost_before: u64,
    /// Cost of the graph that was taken out.
    pub cost_after: u64,
    /// What became what, by which rules.
    pub replacements: Vec<Replacement>,
    /// Every use of a rule, in order.
    pub log: Vec<Applied>,
    /// How long it took.
    pub time: Duration,
}

/// See the head of this file.
pub fn recognise(graph: &Graph, context: &Context) -> Graph {
    match &context.config.recognise {
        None => graph.clone(),
        Some(how) => recognised(graph, context, how).graph,
    }
}

/// The same, with an account of what was done.
pub fn recognised(graph: &Graph, context: &Context, how: &Recognition) -> Recognised {
    let mut rules = (how.rules)(how.freedom);
    rules.retain(|rule| !how.without.contains(rule.name));
    let run = |graph: &Graph, limits: &Limits| match context.config.level {
        OptLevel::Unchanged | OptLevel::Saturated => saturated(graph, context, &rules, limits),
        OptLevel::Directed => directed(graph, context, &rules, limits),
    };
    let start = Instant::now();
    let may = how.freedom >= Freedom::Reassociation && how.limits.applications > 0 && !how.without.contains(recurrent::NAME);
    let Some((layers, mut found)) = may.then(|| recurrent::layers(graph)).flatten() else { return run(graph, &how.limits) };
    let time = start.elapsed();
    // All layers together count as one use of a rule.
    let mut all = run(&layers, &Limits { applications: how.limits.applications - 1, ..how.limits });
    let place = found.first().map_or(String::new(), |replacement| replacement.origin.clone());
    all.log.insert(0, Applied { rule: recurrent::NAME, round: 1, origin: place });
    found.append(&mut all.replacements);
    Recognised { replacements: found, time: time + all.time, ..all }
}

/// The cheapest graph of all that the rules know; the one given if none is cheaper.
fn saturated(graph: &Graph, context: &Context, rules: &[&Rule], limits: &Limits) -> Recognised {
    let start = Instant::now();
    let use_values = context.config.fold.is_some_and(|fold| fold.parameters);
    let nothing = BTreeMap::new();
    let mut program = Embedded::new(graph, if use_values { context.parameters } else { &nothing });
    let report = saturate(&mut program, rules, limits);
    let Extraction { choice, cost_before, cost_after } = extract(&program, &report, &ByKind, &BTreeSet::new());
    Recognised {
        graph: if cost_after < cost_before { program.graph(&choice) } else { graph.clone() },
        outcome: report.outcome,
        rounds: report.rounds,
        nodes: report.nodes,
        cost_before,
        cost_after,
        replacements: replacements(&program, &choice, &report),
        log: applied(&program, &report),
        time: start.elapsed(),
    }
}

/// What is left when each round takes the matches that make the graph cheaper by themselves.
fn directed(graph: &Graph, context: &Context, rules: &[&Rule], limits: &Limits) -> Recognised {
    let step = |graph: &Graph, used: usize| {
        let applications = limits.applications.saturating_sub(used);
        saturated(graph, context, rules, &Limits { rounds: 1, applications, ..*limits })
    };
    let mut all = step(graph, 0);
    all.outcome = match all.outcome {
        Outcome::RoundLimit => Outcome::Saturated,
        other => other,
    };
    let mut cheaper = all.cost_after < all.cost_before;
    while cheaper {
        if all.rounds == limits.rounds {
            all.outcome = Outcome::RoundLimit;
            break;
        }
        let mut next = step(&all.graph, all.log.len());
        cheaper = next.cost_after < next.cost_before;
        all.rounds += 1;
        all.time += next.time;
        if cheaper {
            next.replacements.iter_mut().flat_map(|r| &mut r.rules).for_each(|(_, round)| *round = all.rounds);
            next.log.iter_mut().for_each(|applied| applied.round = all.rounds);
            all.replacements.append(&mut next.replacements);
            all.log.append(&mut next.log);
            (all.graph, all.cost_after, all.nodes) = (next.graph, next.cost_after, all.nodes.max(next.nodes));
        }
    }
    all
}
