//! What is decided about a graph before it is cut into kernels, the bodies of its scans included.

use super::layout::layouts;
use super::winograd::{WinogradUse, winograds};
use crate::cut::Choices;
use crate::tuning::Tuning;
use kiln_ir::{Graph, NodeId, NodeKind, Op, Symbol};
use std::collections::BTreeMap;

/// The choices for a graph whose symbols usually have these sizes.
pub fn choices(graph: &Graph, winograd: WinogradUse, usual_sizes: &BTreeMap<Symbol, i64>, tuning: &Tuning) -> Choices {
    let (winograds, mut decisions) = winograds(graph, winograd, usual_sizes, tuning);
    let body = |id: NodeId| match &graph.node(id).kind {
        NodeKind::Op(Op::Scan(scan)) => Some((id, choices(&scan.body, winograd, usual_sizes, tuning))),
        _ => None,
    };
    let bodies: BTreeMap<NodeId, Choices> = graph.order().into_iter().filter_map(body).collect();
    decisions.extend(bodies.values().flat_map(|body| body.decisions.clone()));
    Choices { layouts: layouts(graph, &winograds), winograds, decisions, bodies, ..Choices::default() }
}
