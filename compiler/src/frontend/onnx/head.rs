//! Which parameters are a dense layer, so that the layer can begin anew with another number of units.
//! ```text
//! y = dot x, %weight + broadcast %bias      `weight: [in, 5]`, `bias: [5]`   →   with 10 units `[in, 10]`, `[10]`
//! ```
//! Graphs have no layers: a matrix is one's where all that reads it, transposed or not, is a dot that sums along one of its axes; the
//! other axis is that of the units. What is then added along it is the bias.

use crate::frontend::model::tuning::Replacement;
use crate::training::pattern::matches;
use kiln_ir::ops::{Dot, Op};
use kiln_ir::{Diagnostic, Graph, NodeKind, Value, ops};
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a parameter.
#[derive(Clone, PartialEq, Debug)]
pub struct NewParameter {
    /// Its shape.
    pub shape: Vec<usize>,
    /// For a matrix, how many inputs each unit sums and how many units there are.
    pub fans: Option<(usize, usize)>,
}

/// The parameters that replacements give another shape, by name.
///
/// Errors: `fine_tune_replace` for patterns that fit no parameter, or one that is no dense layer's.
pub fn replaced(graph: &Graph, replacements: &[Replacement]) -> Result<BTreeMap<String, NewParameter>, Diagnostic> {
    let live = Live::new(graph);
    let mut found = BTreeMap::new();
    for Replacement { pattern, units } in replacements {
        let wrong = |text: String| Diagnostic::new("fine_tune_replace", text);
        let matched: Vec<&(String, Value)> = live.parameters.iter().filter(|(name, _)| matches(pattern, name)).collect();
        if matched.is_empty() {
            let names: Vec<&str> = live.parameters.iter().map(|(name, _)| name.as_str()).collect();
            return Err(wrong(format!("no parameter is called `{pattern}`")).help(format!("there are {}", names.join(", "))));
        }
        let units = *units as usize;
        for (name, value) in matched.iter().filter(|(_, value)| graph.ty(*value).rank() == 2) {
            let dots = live.dots(*value).map_err(|reader| {
                let error = wrong(format!("`{name}` goes into `{reader}`: it is not the weight of a dense layer"));
                error.help("`replace` is for matrices that inputs are multiplied by, with the bias behind them")
            })?;
            let axis = dots[0].1;
            if dots.iter().any(|(_, other)| *other != axis) {
                return Err(wrong(format!("`{name}` is multiplied along both of its axes: it has no axis of units")));
            }
            let mut shape = live.shape(*value);
            let old = shape[axis];
            shape[axis] = units;
            found.insert(name.clone(), NewParameter { fans: Some((shape[1 - axis], units)), shape });
            for (bias, axis) in dots.iter().filter_map(|(dot, _)| live.bias(*dot, old)) {
                let mut shape = live.shape(bias);
                shape[axis] = units;
                found.insert(live.name(bias), NewParameter { shape, fans: None });
            }
        }
        if let Some((name, value)) = matched.iter().find(|(name, _)| !found.contains_key(name)) {
            let ty = graph.ty(*value);
            let error = wrong(format!("`{name}`, {ty}, is neither the weight nor the bias of a dense layer that `{pattern}` stands for"));
            return Err(error.help("name the weight; the bias that is added behind it comes along"));
        }
    }
    Ok(found)
}

/// The part of a graph that outputs need.
struct Live<'g> {
    graph: &'g Graph,
    nodes: BTreeSet<kiln_ir::graph::NodeId>,
    parameters: Vec<(String, Value)>,
}

impl Live<'_> {
    fn new(graph: &Graph) -> Live<'_> {
        let order = graph.order();
        let parameter = |node: &kiln_ir::graph::NodeId| match &graph.node(*node).kind {
            NodeKind::Parameter(name) => Some((name.to_string(), Value { node: *node, result: 0 })),
            _ => None,
        };
        Live { graph, parameters: order.iter().filter_map(parameter).collect(), nodes: order.into_iter().collect() }
    }

    fn name(&self, value: Value) -> String {
        self.parameters.iter().find(|(_, other)| *other == value).map(|(name, _)| name.clone()).expect("it is a parameter")
    }

    fn shape(&self, value: Value) -> Vec<usize> {
        ops::constants(&self.graph.ty(value).shape).expect("parameters have known sizes")
    }

    fn users(&self, value: Value) -> Vec<(kiln_ir::graph::NodeId, usize)> {
        let users = self.graph.users(value.node).into_iter().map(|(node, position)| (node, position as usize));
        users.filter(|(node, position)| self.nodes.contains(node) && self.graph.node(*node).inputs[*position] == value).collect()
    }

    /// The products that a matrix is a factor of, each with the axis of the matrix that it does not sum along. Errors: what else reads it.
    fn dots(&self, matrix: Value) -> Result<Vec<(Value, usize)>, String> {
        let mut found = Vec::new();
        // Values with the axis of the matrix that each of their axes is.
        let mut open = vec![(matrix, [0, 1])];
        while let Some((value, axes)) = open.pop() {
            for (node, position) in self.users(value) {
                let NodeKind::Op(op) = &self.graph.node(node).kind else { continue };
                let result = Value { node, result: 0 };
                match op {
                    Op::Cast(_) => open.push((result, axes)),
                    Op::Transpose(transpose) => open.push((result, [axes[transpose.perm[0]], axes[transpose.perm[1]]])),
                    Op::Dot(dot) => {
                        let (batch, contract) =
                            if position == 0 { (&dot.a_batch, &dot.a_contract) } else { (&dot.b_batch, &dot.b_contract) };
                        match Dot::free_axes(2, batch, contract)[..] {
                            [free] if batch.is_empty() => found.push((result, axes[free])),
                            _ => return Err(op.name().to_string()),
                        }
                    }
                    _ => return Err(op.name().to_string()),
                }
            }
        }
        if found.is_empty() { Err("an output".into()) } else { Ok(found) }
    }

    /// The parameter that is added to a product of so many units, and its axis of that size.
    fn bias(&self, dot: Value, units: usize) -> Option<(Value, usize)> {
        let mut value = dot;
        loop {
            let [(node, position)] = self.users(value)[..] else { return None };
            let NodeKind::Op(op) = &self.graph.node(node).kind else { return None };
            let inputs = &self.graph.node(node).inputs;
            match op {
                Op::Cast(_) | Op::Mul(_) => value = Value { node, result: 0 },
                Op::Add(_) => {
                    let mut other = inputs[1 - position];
                    while let NodeKind::Op(Op::Broadcast(_) | Op::Reshape(_) | Op::Cast(_)) = &self.graph.node(other.node).kind {
                        other = self.graph.node(other.node).inputs[0];
                    }
                    if !matches!(self.graph.node(other.node).kind, NodeKind::Parameter(_)) {
                        return None;
                    }
                    let shape = self.shape(other);
                    let axis = shape.iter().position(|size| *size == units)?;
                    return (shape.iter().product::<usize>() == units).then_some((other, axis));
                }
                _ => return None,
            }
        }
    }
}
