//! Replaces spellings of composites by the composites, so that what follows sees a softmax instead of exponentials and sums.
//! ```text
//! %e = exp %x ; %s = reduce %e … ; %y = div %e, %s      →      %y = softmax %x
//! ```
//! Needs: nothing; values of parameters help.  Keeps: what the rules' exactness says; interface, guards, origins.
//! Skips: rules beyond the freedom of the configuration; what something else needs, when computing it twice would cost more.
//!
//! The graph becomes an e-graph, [`crate::rewrites`] add what they know, and the cheapest graph is taken out.

use crate::egraph::convert::Embedded;
use crate::egraph::extract::extract;
use crate::egraph::provenance::{Replacement, replacements};
use crate::egraph::rule::Freedom;
use crate::egraph::saturate::{Limits, Outcome, saturate};
use crate::pipeline::Context;
use crate::rewrites::rules;
use kiln_ir::Graph;
use std::collections::BTreeMap;

/// How far recognising may go.
#[derive(Clone, Debug)]
pub struct Recognition {
    /// Which rules apply.
    pub freedom: Freedom,
    /// When it stops before nothing changes.
    pub limits: Limits,
}

impl Default for Recognition {
    fn default() -> Recognition {
        Recognition { freedom: Freedom::Reassociation, limits: Limits::default() }
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
        Some(how) => recognised(graph, context, how).graph,
    }
}

/// The same, with an account of what was done.
pub fn recognised(graph: &Graph, context: &Context, how: &Recognition) -> Recognised {
    let use_values = context.config.fold.is_some_and(|fold| fold.parameters);
    let nothing = BTreeMap::new();
    let mut program = Embedded::new(graph, if use_values { context.parameters } else { &nothing });
    let report = saturate(&mut program, &rules(how.freedom), &how.limits);
    let extraction = extract(&program);
    let changed = extraction.cost_after < extraction.cost_before;
    Recognised {
        graph: if changed { program.graph(&extraction.choice) } else { graph.clone() },
        outcome: report.outcome,
        rounds: report.rounds,
        nodes: report.nodes,
        cost_before: extraction.cost_before,
        cost_after: extraction.cost_after,
        replacements: replacements(&program, &extraction.choice, &report),
    }
}
