//! What is decided about a graph before it is cut into kernels, the bodies of its scans included.

use super::layout::layouts;
use super::winograd::{WinogradUse, winograds};
use crate::cut::Choices;
use kiln_ir::{Graph, NodeId, NodeKind, Op, Symbol};
use std::collections::BTreeMap;

/// The choices for a graph whose symbols usually have these sizes.
pub fn choices(graph: &Graph, winograd: WinogradUse, usual_sizes: &BTreeMap<Symbol, i64>) -> Choices {
    let winograds = winograds(graph, winograd, usual_sizes);
    let body = |id: NodeId| match &graph.node(id).kind {
        NodeKind::Op(Op::Scan(scan)) => Some((id, choices(&scan.body, winograd, usual_sizes))),
        _ => None,
    };
    let bodies = graph.order().into_iter().filter_map(body).collect();
    Choices { layouts: layouts(graph, &winograds), winograds, bodies, ..Choices::default() }
}
