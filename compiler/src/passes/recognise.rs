//! Replaces spellings of composites by the composites, so that what follows sees a softmax instead of exponentials and sums.
//! ```text
//! %e = exp %x ; %s = reduce %e … ; %y = div %e, %s      →      %y = softmax %x
//! ```
//! Needs: nothing; values of parameters help.  Keeps: what the rules' exactness says; interface, guards, origins.
//! Skips: rules beyond the freedom of the configuration; what something else needs, when computing it twice would cost more.
//!
//! The graph becomes an e-graph, [`crate::rewrites`] add what they know, and the cheapest graph is taken out.

use crate::egraph::convert::Embedded;
use crate::egraph::extract::{Extraction, extract};
use crate::egraph::provenance::{Replacement, replacements};
use crate::egraph::rule::Freedom;
use crate::egraph::saturate::{Limits, Outcome, Report, saturate};
use crate::pipeline::Context;
use crate::rewrites::rules;
use kiln_ir::Graph;
use std::collections::{BTreeMap, BTreeSet};

/// How far recognising may go.
#[derive(Clone, Debug)]
pub struct Recognition {
    /// Which rules apply.
    pub freedom: Freedom,
    /// Rules that are left out, by name.
    pub without: BTreeSet<String>,
    /// When it stops before nothing changes.
    pub limits: Limits,
}

impl Default for Recognition {
    fn default() -> Recognition {
        Recognition { freedom: Freedom::Reassociation, without: BTreeSet::new(), limits: Limits::default() }
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
}

/// See the head of this file.
pub fn recognise(graph: &Graph, context: &Context) -> Graph {
    match &context.config.recognise {
        None => graph.clone(),
        Some(how) => Saturated::new(graph, context, how).graph(graph),
    }
}

/// The same, with an account of what was done.
pub fn recognised(graph: &Graph, context: &Context, how: &Recognition) -> Recognised {
    let done = Saturated::new(graph, context, how);
    Recognised {
        graph: done.graph(graph),
        outcome: done.report.outcome,
        rounds: done.report.rounds,
        nodes: done.report.nodes,
        cost_before: done.extraction.cost_before,
        cost_after: done.extraction.cost_after,
        replacements: replacements(&done.program, &done.extraction.choice, &done.report),
    }
}

struct Saturated {
    program: Embedded,
    report: Report,
    extraction: Extraction,
}

impl Saturated {
    fn new(graph: &Graph, context: &Context, how: &Recognition) -> Saturated {
        let use_values = context.config.fold.is_some_and(|fold| fold.parameters);
        let nothing = BTreeMap::new();
        let mut program = Embedded::new(graph, if use_values { context.parameters } else { &nothing });
        let mut rules = rules(how.freedom);
        rules.retain(|rule| !how.without.contains(rule.name));
        let report = saturate(&mut program, &rules, &how.limits);
        let extraction = extract(&program);
        Saturated { program, report, extraction }
    }

    /// The cheapest graph; the one given, with its equal nodes, if none is cheaper.
    fn graph(&self, given: &Graph) -> Graph {
        match self.extraction.cost_after < self.extraction.cost_before {
            true => self.program.graph(&self.extraction.choice),
            false => given.clone(),
        }
    }
}
