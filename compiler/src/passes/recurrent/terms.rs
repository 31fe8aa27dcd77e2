//! What enters an activation function of a cell, as a sum: products of rows with matrices, biases, and the rest.
//!
//! Sums are followed through slices of gates (one product for all gates, then split) and through steps of time (one product for all
//! steps, then sliced), so that it does not matter where a network splits.

use kiln_ir::ops::{Concat, Dot, Gather, Iota, Op, Reshape, Slice, Transpose};
use kiln_ir::{DType, Dim, Graph, NodeKind, Value};
use std::ops::Range;

/// A part of a matrix: some of the rows of what is computed, from some of the features.
#[derive(Clone, PartialEq, Debug)]
pub struct Weight {
    /// A matrix.
    pub value: Value,
    /// Its axis of features; the other one is that of results.
    pub features_axis: usize,
    /// Results.
    pub rows: Range<usize>,
    /// Features.
    pub features: Range<usize>,
}

/// A part of a vector, along the last axis; the axes before it have size 1.
#[derive(Clone, PartialEq, Debug)]
pub struct Bias {
    /// The vector.
    pub value: Value,
    /// The part.
    pub rows: Range<usize>,
}

/// What a matrix is multiplied with: `[batch, features]`, or one step of a tensor that has an axis of time besides. Of one sample
/// either may be without the axis of the batch.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// All steps, or the only one.
    pub value: Value,
    /// The axis of time, and which step.
    pub step: Option<(usize, Dim)>,
}

/// One addend.
#[derive(Clone, PartialEq, Debug)]
pub enum Term {
    /// A row times a matrix.
    Product(Row, Weight),
    /// A bias.
    Bias(Bias),
    /// Something else.
    Other(Value),
}

/// More addends than this are no cell.
const MAX_TERMS: usize = 32;

/// The addends of part of a value `[batch, rows]`; `None` where that part of an addend cannot be told.
pub fn terms(graph: &Graph, value: Value, part: Range<usize>) -> Option<Vec<Term>> {
    let mut found = Vec::new();
    let mut open = vec![(Spot { value, time: Time::None }, part)];
    while let Some((spot, part)) = open.pop() {
        if open.len() + found.len() > MAX_TERMS {
            return None;
        }
        match &graph.node(spot.value.node).kind {
            NodeKind::Op(Op::Add(_)) => {
                let operands = &graph.node(spot.value.node).inputs;
                open.extend(operands.iter().rev().map(|v| (Spot { value: *v, ..spot.clone() }, part.clone())));
            }
            NodeKind::Op(Op::Dot(dot)) => match product(graph, dot, &spot, &part) {
                Some(products) => found.extend(products),
                None => found.push(other(graph, &spot, &part)?),
            },
            // A product may be a gate times something; whoever knows of none takes it for a bias, where it is one.
            NodeKind::Op(Op::Mul(_)) if other(graph, &spot, &part).is_some() => found.push(Term::Other(spot.value)),
            NodeKind::Op(Op::Broadcast(_)) => found.push(match bias(graph, graph.node(spot.value.node).inputs[0], &part) {
                Some(bias) if is_whole_row(graph, spot.value, graph.node(spot.value.node).inputs[0]) => Term::Bias(bias),
                _ => other(graph, &spot, &part)?,
            }),
            _ => match spot.step(graph) {
                Some((next, offset)) => open.push((next, part.start + offset..part.end + offset)),
                None => found.push(match bias(graph, spot.value, &part) {
                    Some(bias) if matches!(spot.time, Time::None) => Term::Bias(bias),
                    _ => other(graph, &spot, &part)?,
                }),
            },
        }
    }
    Some(found)
}

/// The whole of a value that is no sum.
fn other(graph: &Graph, spot: &Spot, part: &Range<usize>) -> Option<Term> {
    let rows = last(graph, spot.value)?;
    (matches!(spot.time, Time::None) && *part == (0..rows)).then_some(Term::Other(spot.value))
}

/// A vector that is the same for all samples, as it is or repeated for each of them.
pub fn as_bias(graph: &Graph, value: Value) -> Option<Bias> {
    let part = 0..last(graph, value)?;
    match &graph.node(value.node).kind {
        NodeKind::Op(Op::Broadcast(_)) => {
            let narrow = graph.node(value.node).inputs[0];
            bias(graph, narrow, &part).filter(|_| is_whole_row(graph, value, narrow))
        }
        _ => bias(graph, value, &part),
    }
}

/// A vector: its last axis, the axes before having size 1.
fn bias(graph: &Graph, value: Value, part: &Range<usize>) -> Option<Bias> {
    let (last, before) = graph.ty(value).shape.split_last()?;
    let fits = last.as_const().is_some_and(|n| part.end <= n as usize) && before.iter().all(|d| d.is(1));
    fits.then(|| Bias { value, rows: part.clone() })
}

/// Whether a broadcast leaves the last axis as it is.
fn is_whole_row(graph: &Graph, wide: Value, narrow: Value) -> bool {
    graph.ty(wide).shape.last() == graph.ty(narrow).shape.last()
}

/// Rows times a matrix, one product for each tensor that the rows are joined of.
fn product(graph: &Graph, dot: &Dot, spot: &Spot, part: &Range<usize>) -> Option<Vec<Term>> {
    let &[a, b] = graph.node(spot.value.node).inputs.as_slice() else { return None };
    let (&[of_a], &[of_b]) = (dot.a_contract.as_slice(), dot.b_contract.as_slice()) else { return None };
    // A matrix times a vector is that row times the matrix.
    let swapped = graph.ty(a).rank() == 2 && graph.ty(b).rank() == 1;
    let (rows, matrix, features, features_axis) = if swapped { (b, a, of_b, of_a) } else { (a, b, of_a, of_b) };
    if !dot.a_batch.is_empty() || features + 1 != graph.ty(rows).rank() || graph.ty(matrix).rank() != 2 {
        return None;
    }
    let (mut value, mut features_axis) = (matrix, features_axis);
    while let NodeKind::Op(Op::Transpose(_)) = &graph.node(value.node).kind {
        // Of a matrix there is one.
        value = graph.node(value.node).inputs[0];
        features_axis = 1 - features_axis;
    }
    let weight = |features| Weight { value, features_axis, rows: part.clone(), features };
    let width = graph.ty(value).shape[features_axis].as_const()? as usize;
    if let (NodeKind::Op(Op::Concat(Concat { axis })), Time::None) = (&graph.node(rows.node).kind, &spot.time)
        && *axis == features
    {
        let mut start = 0;
        let piece = |piece: &Value| {
            let size = last(graph, *piece)?;
            start += size;
            Some(Term::Product(Spot { value: *piece, time: Time::None }.row(graph), weight(start - size..start)))
        };
        return graph.node(rows.node).inputs.iter().map(piece).collect();
    }
    Some(vec![Term::Product(Spot { value: rows, time: spot.time.clone() }.row(graph), weight(0..width))])
}

fn last(graph: &Graph, value: Value) -> Option<usize> {
    graph.ty(value).shape.last()?.as_const().map(|n| n as usize)
}

/// The only element of a tensor that is known: a constant, or a place in a range.
fn index(graph: &Graph, value: Value) -> Option<Dim> {
    let node = graph.node(value.node);
    let shape = &graph.ty(value).shape;
    match &node.kind {
        _ if shape.iter().any(|d| !d.is(1)) => None,
        NodeKind::Constant(tensor) if tensor.dtype().is_int() => {
            Some(Dim::from(i64::try_from(*tensor.ints().first()?).ok().filter(|i| *i >= 0)?))
        }
        NodeKind::Op(Op::Reshape(_) | Op::Cast(_)) => index(graph, node.inputs[0]),
        NodeKind::Op(Op::Add(_)) => Some(index(graph, node.inputs[0])? + index(graph, node.inputs[1])?),
        NodeKind::Op(Op::Slice(Slice { starts, .. })) => match &graph.node(node.inputs[0].node).kind {
            NodeKind::Op(Op::Iota(Iota { axis, dtype: DType::I64, .. })) => Some(starts[*axis].clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Where in a tensor a value `[batch, rows]` lies.
#[derive(Clone)]
struct Spot {
    value: Value,
    time: Time,
}

#[derive(Clone)]
enum Time {
    /// It is the tensor.
    None,
    /// The tensor has one axis more, of size 1.
    Only(usize),
    /// It is one step of that axis.
    Step(usize, Dim),
}

impl Spot {
    /// The row that a product takes, as far back as it goes on.
    fn row(self, graph: &Graph) -> Row {
        let mut best = self.clone();
        let mut at = self;
        while let Some((next, 0)) = at.step(graph)
            && last(graph, next.value) == last(graph, at.value)
        {
            if matches!(next.time, Time::Step(..)) {
                best = next.clone();
            }
            at = next;
        }
        let step = match best.time {
            Time::None => None,
            Time::Only(axis) => Some((axis, Dim::ZERO)),
            Time::Step(axis, index) => Some((axis, index)),
        };
        Row { value: best.value, step }
    }

    /// What the value is a part of, by one operator that moves elements, and where the part begins on the last axis.
    fn step(&self, graph: &Graph) -> Option<(Spot, usize)> {
        let node = graph.node(self.value.node);
        let NodeKind::Op(op) = &node.kind else { return None };
        let source = *node.inputs.first()?;
        let (from, to) = (&graph.ty(source).shape, &graph.ty(self.value).shape);
        let time = match (op, &self.time) {
            // One sample, as a batch of one.
            (Op::Reshape(_), Time::None) if from.len() == 1 && to.len() == 2 && to[0].is(1) => Time::None,
            (Op::Reshape(Reshape { .. }), Time::None) => {
                let is_left_out = |axis: &usize| from[*axis].is(1) && [&from[..*axis], &from[axis + 1..]].concat() == *to;
                let candidates: Vec<usize> = (0..from.len().saturating_sub(1)).filter(is_left_out).collect();
                // Of several axes of size 1 the one that was cut to it.
                let was_cut = |axis: &&usize| match &graph.node(source.node).kind {
                    NodeKind::Op(Op::Slice(_) | Op::Gather(_)) => !graph.ty(graph.node(source.node).inputs[0]).shape[**axis].is(1),
                    _ => false,
                };
                Time::Only(*candidates.iter().find(was_cut).or(candidates.first())?)
            }
            (Op::Slice(Slice { starts, sizes, steps }), time) => {
                let mut time = time.clone();
                let mut offset = 0;
                for axis in (0..from.len()).filter(|a| !(starts[*a].is(0) && sizes[*a] == from[*a] && steps[*a] == 1)) {
                    time = match time {
                        Time::Only(of_time) if of_time == axis => Time::Step(axis, starts[axis].clone()),
                        // One sample, whose step is a batch of one.
                        Time::None if axis == 0 && from.len() == 2 && sizes[0].is(1) && steps[0] == 1 => Time::Step(0, starts[0].clone()),
                        Time::Step(of_time, index) if of_time == axis && steps[axis] == 1 => Time::Step(axis, &starts[axis] + &index),
                        time if axis + 1 == from.len() && steps[axis] == 1 => {
                            offset = usize::try_from(starts[axis].as_const()?).ok()?;
                            time
                        }
                        _ => return None,
                    };
                }
                return Some((Spot { value: source, time }, offset));
            }
            (Op::Gather(Gather { axis }), time) => {
                let index = index(graph, node.inputs[1]).filter(|_| *axis + 1 < from.len())?;
                match (graph.ty(node.inputs[1]).rank(), time) {
                    (0, Time::None) => Time::Step(*axis, index),
                    (1, Time::Only(of_time)) if of_time == axis => Time::Step(*axis, index),
                    _ => return None,
                }
            }
            (Op::Transpose(Transpose { perm }), Time::Only(axis)) if perm.last() == Some(&(perm.len() - 1)) => Time::Only(perm[*axis]),
            (Op::Transpose(Transpose { perm }), Time::Step(axis, index)) if perm.last() == Some(&(perm.len() - 1)) => {
                Time::Step(perm[*axis], index.clone())
            }
            _ => return None,
        };
        Some((Spot { value: source, time }, 0))
    }
}
