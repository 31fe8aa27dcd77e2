//! A graph as a drawing: operators in rows, operands above what uses them. Parameters and constants are left out.
//!
//! Rows are those of the longest way from an input; what depends on parameters alone stands just above its first user. Within a row,
//! operators stand in the order of their operands, so that most lines are short. The work is linear but for sorting rows.

use kiln_ir::{Dim, Graph, NodeId, NodeKind};
use kiln_runtime::training::report::escaped;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const WIDTH: f64 = 168.0;
const HEIGHT: f64 = 28.0;
/// From one operator to the next, and from one row to the next.
const STEP: [f64; 2] = [180.0, 52.0];
/// Letters that fit a box.
const LETTERS: usize = 23;

/// How operators are marked: an additional class, and the number of where each came from.
pub struct Marks<'a> {
    /// The class of an operator, by its name and origin.
    pub class: &'a dyn Fn(&str, &str) -> &'static str,
    /// The number of an origin.
    pub place: &'a dyn Fn(&str) -> Option<usize>,
}

/// The drawing, as SVG.
pub fn drawing(graph: &Graph, marks: &Marks) -> String {
    let rows = rows(graph);
    let widest = rows.iter().map(Vec::len).max().unwrap_or(0) as f64;
    let size = [widest.max(1.0) * STEP[0], rows.len().max(1) as f64 * STEP[1]];
    let mut at: BTreeMap<NodeId, [f64; 2]> = BTreeMap::new();
    for (row, ids) in rows.iter().enumerate() {
        let left = (size[0] - ids.len() as f64 * STEP[0]) / 2.0;
        for (column, id) in ids.iter().enumerate() {
            at.insert(*id, [left + column as f64 * STEP[0] + (STEP[0] - WIDTH) / 2.0, row as f64 * STEP[1] + 8.0]);
        }
    }
    let mut svg = format!("<svg width=\"{:.0}\" height=\"{:.0}\" xmlns=\"http://www.w3.org/2000/svg\">\n", size[0], size[1] + 8.0);
    for (id, [x, y]) in &at {
        for operand in &graph.node(*id).inputs {
            let Some([from_x, from_y]) = at.get(&operand.node) else { continue };
            let (a, b) = (from_x + WIDTH / 2.0, x + WIDTH / 2.0);
            let (top, bottom) = (from_y + HEIGHT, *y);
            let middle = (top + bottom) / 2.0;
            let _ = writeln!(svg, "<path d=\"M{a:.0} {top:.0}C{a:.0} {middle:.0} {b:.0} {middle:.0} {b:.0} {bottom:.0}\"/>");
        }
    }
    for (id, [x, y]) in &at {
        svg += &node(graph, *id, [*x, *y], marks);
    }
    svg + "</svg>\n"
}

fn node(graph: &Graph, id: NodeId, [x, y]: [f64; 2], marks: &Marks) -> String {
    let node = graph.node(id);
    let origin = node.origin.as_ref().map_or("", |origin| origin.text.as_str());
    let (name, class) = match &node.kind {
        NodeKind::Op(op) => (op.name().to_string(), (marks.class)(op.name(), origin)),
        NodeKind::Input(at) => (graph.inputs()[*at].0.clone(), "input"),
        NodeKind::Parameter(_) | NodeKind::Constant(_) => (String::new(), ""),
    };
    let dims: Vec<String> = node.types[0].shape.iter().map(Dim::to_string).collect();
    let label = format!("{name} [{}]", dims.join(", "));
    let shown: String = match label.chars().count() > LETTERS {
        true => label.chars().take(LETTERS - 1).chain(['…']).collect(),
        false => label.clone(),
    };
    let place = (marks.place)(origin).map_or_else(String::new, |place| place.to_string());
    format!(
        "<g class=\"{class}\" data-o=\"{place}\"><title>{}\n{}</title><rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"4\"/>\
         <text x=\"{:.0}\" y=\"{:.0}\">{}</text></g>\n",
        escaped(&label),
        escaped(origin),
        x + 6.0,
        y + 18.0,
        escaped(&shown)
    )
}

/// Inputs and operators by row, from the top.
fn rows(graph: &Graph) -> Vec<Vec<NodeId>> {
    let order: Vec<NodeId> = graph.order().into_iter().filter(|id| is_drawn(graph, *id)).collect();
    let mut level: BTreeMap<NodeId, Option<usize>> = BTreeMap::new();
    for id in &order {
        let node = graph.node(*id);
        let above = node.inputs.iter().filter_map(|x| level.get(&x.node).copied().flatten()).max();
        let is_input = matches!(node.kind, NodeKind::Input(_));
        level.insert(*id, if is_input { Some(0) } else { above.map(|above| above + 1) });
    }
    // What no input leads to, from its users upwards; in a graph without inputs everything is at the bottom.
    let bottom = level.values().flatten().max().copied().unwrap_or(order.len());
    for id in order.iter().rev().filter(|id| level[id].is_none()).copied().collect::<Vec<_>>() {
        let below = graph.users(id).into_iter().filter_map(|(user, _)| level.get(&user).copied().flatten()).min();
        level.insert(id, Some(below.unwrap_or(bottom + 1).saturating_sub(1)));
    }
    let count = level.values().flatten().max().map_or(0, |last| last + 1);
    let mut rows: Vec<Vec<NodeId>> = vec![Vec::new(); count];
    for id in &order {
        rows[level[id].unwrap_or(0)].push(*id);
    }
    let mut place: BTreeMap<NodeId, f64> = BTreeMap::new();
    for row in &mut rows {
        let mean = |id: &NodeId| {
            let above: Vec<f64> = graph.node(*id).inputs.iter().filter_map(|x| place.get(&x.node).copied()).collect();
            if above.is_empty() { 0.0 } else { above.iter().sum::<f64>() / above.len() as f64 }
        };
        let mut keyed: Vec<(f64, NodeId)> = row.iter().map(|id| (mean(id), *id)).collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        *row = keyed.into_iter().map(|(_, id)| id).collect();
        let middle = (row.len() as f64 - 1.0) / 2.0;
        row.iter().enumerate().for_each(|(at, id)| {
            place.insert(*id, at as f64 - middle);
        });
    }
    rows.retain(|row| !row.is_empty());
    rows
}

fn is_drawn(graph: &Graph, id: NodeId) -> bool {
    match &graph.node(id).kind {
        NodeKind::Input(_) | NodeKind::Op(_) => true,
        NodeKind::Parameter(_) | NodeKind::Constant(_) => false,
    }
}
