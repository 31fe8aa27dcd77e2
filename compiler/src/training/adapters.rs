//! Low-rank adapters: what is trained in the place of a matrix that stays.
//! ```text
//! y = dot x, %w   →   y = dot x, %w + scale · dot (dot x, %w.lora_A), %w.lora_B
//! ```
//! `lora_A` is drawn, `lora_B` is 0, so that the network begins as it was. Its product with `x` comes first, which never makes a matrix of
//! the size of `w`; where `w` is read otherwise than by a dot, the sum takes its place.
//! *Source*: Hu et al. 2021, §4.1.

use super::pattern::matches;
use crate::frontend::model::context::{Care, ParameterInfo};
use crate::frontend::model::tuning::Adapters;
use crate::frontend::model::{Adapter, Model};
use kiln_ir::graph::Parameter;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::{Dot, Op};
use kiln_ir::{Builder, Diagnostic, Graph, Node, NodeKind, TensorType, Value, ops};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// The network with adapters beside each matrix that the pattern stands for.
///
/// Errors: `fine_tune_adapters` for patterns that fit no matrix that training changes.
pub fn with_adapters(mut model: Model, wanted: &Adapters) -> Result<Model, Diagnostic> {
    let rank = wanted.rank as usize;
    let scale = wanted.alpha.unwrap_or(f64::from(wanted.rank)) / f64::from(wanted.rank);
    let is_matrix = |info: &ParameterInfo| info.ty.rank() == 2 && info.trainable && info.ty.dtype.is_float();
    let matrices = model.parameters.iter().filter(|(_, info)| is_matrix(info));
    let weights: Vec<String> = matrices.clone().filter(|(name, _)| matches(&wanted.pattern, name)).map(|(name, _)| name.clone()).collect();
    if weights.is_empty() {
        let error = Diagnostic::new("fine_tune_adapters", format!("no matrix that could be trained is called `{}`", wanted.pattern));
        let names: Vec<&str> = matrices.map(|(name, _)| name.as_str()).collect();
        return Err(error.help(format!("there are {}; * stands for anything", names.join(", "))));
    }
    for weight in weights {
        let shape = ops::constants(&model.parameters[&weight].ty.shape).map_err(|error| Diagnostic::new("fine_tune_adapters", error))?;
        // What sums the inputs is drawn: the side that dots sum along, the rows where nothing says.
        let rows = summed_axis(&model.training, &weight).unwrap_or(0) == 0;
        let (drawn, zero) = (format!("{weight}.lora_A"), format!("{weight}.lora_B"));
        let (first, second) = if rows { (drawn.clone(), zero) } else { (zero, drawn.clone()) };
        for (name, shape) in [(&first, [shape[0], rank]), (&second, [rank, shape[1]])] {
            let initialiser = if *name == drawn { Initialiser::Normal(1.0 / f64::from(wanted.rank)) } else { Initialiser::Constant(0.0) };
            let ty = TensorType::fixed(model.parameters[&weight].ty.dtype, &shape);
            let fans = (shape[0], shape[1]);
            let info = ParameterInfo { ty: ty.clone(), initialiser, fans, trainable: true, care: Care::default(), incoming: Vec::new() };
            if model.parameters.insert(name.clone(), info).is_some() {
                let message = format!("the network has a parameter `{name}` already: it cannot name what is added to `{weight}`");
                return Err(Diagnostic::new("fine_tune_adapters", message));
            }
            model.module.parameters.insert(name.clone(), Parameter { ty, value: None });
        }
        model.adapters.push(Adapter { weight, first, second, rank, scale });
    }
    model.training = adapted(&model.training, &model.adapters);
    for graph in model.module.functions.values_mut() {
        *graph = adapted(graph, &model.adapters);
    }
    Ok(model)
}

/// Which axis of a matrix a dot sums along.
fn summed_axis(graph: &Graph, weight: &str) -> Option<usize> {
    graph.order().into_iter().find_map(|id| {
        let NodeKind::Op(Op::Dot(dot)) = &graph.node(id).kind else { return None };
        let position = graph.node(id).inputs.iter().position(|input| is_parameter(graph, *input, weight))?;
        summed(dot, position)
    })
}

fn is_parameter(graph: &Graph, value: Value, name: &str) -> bool {
    matches!(&graph.node(value.node).kind, NodeKind::Parameter(other) if **other == *name)
}

/// The axis of the matrix at that operand that is summed along, if the dot is a plain product with it.
fn summed(dot: &Dot, position: usize) -> Option<usize> {
    let (batch, contract) = if position == 0 { (&dot.a_batch, &dot.a_contract) } else { (&dot.b_batch, &dot.b_contract) };
    match contract[..] {
        [axis] if batch.is_empty() => Some(axis),
        _ => None,
    }
}

/// The factors in a graph under construction, and their product added to the weight, once something needs that.
struct Factors {
    first: Value,
    second: Value,
    sum: Option<Value>,
}

fn adapted(graph: &Graph, adapters: &[Adapter]) -> Graph {
    let mut factors: BTreeMap<usize, Factors> = BTreeMap::new();
    let of = |value: Value| adapters.iter().position(|adapter| is_parameter(graph, value, &adapter.weight));
    let mut rewrite = |out: &mut Graph, _: kiln_ir::NodeId, node: &Node, op: &Op, operands: &[Value]| -> Result<Vec<Value>, Infallible> {
        let mut operands = operands.to_vec();
        let mut beside = None;
        for (position, input) in node.inputs.iter().enumerate() {
            let Some(at) = of(*input) else { continue };
            let weight = operands[position];
            let parts = factors.entry(at).or_insert_with(|| parts(out, &adapters[at], weight));
            let summed = if let Op::Dot(dot) = op { summed(dot, position) } else { None };
            match summed {
                Some(axis) if beside.is_none() => beside = Some((position, axis, parts.first, parts.second, adapters[at].scale)),
                _ => operands[position] = sum(out, weight, parts, adapters[at].scale),
            }
        }
        let mut b = Builder::from_origin(out, node.origin.clone());
        let results = b.ops(op.clone(), &operands);
        let (Op::Dot(dot), Some((position, axis, first, second, scale))) = (op, beside) else { return Ok(results) };
        let (inner, outer) = if axis == 0 { (first, second) } else { (second, first) };
        let plain = |a: Vec<usize>, b: Vec<usize>| Dot { a_batch: vec![], b_batch: vec![], a_contract: a, b_contract: b };
        let other = operands[1 - position];
        let low = if position == 0 {
            let low = b.op(plain(vec![axis], dot.b_contract.clone()), &[inner, other]);
            b.op(plain(vec![axis], vec![0]), &[outer, low])
        } else {
            let low = b.op(plain(dot.a_contract.clone(), vec![axis]), &[other, inner]);
            let last = b.shape(low).len() - 1;
            b.op(plain(vec![last], vec![axis]), &[low, outer])
        };
        let scale = b.like(low, scale);
        let added = b.mul(low, scale);
        Ok(vec![b.add(results[0], added)])
    };
    graph.rebuild(&mut rewrite).unwrap_or_else(|never| match never {})
}

fn parts(out: &mut Graph, adapter: &Adapter, weight: Value) -> Factors {
    // What is computed may be narrower than what is stored.
    let (dtype, shape) = (out.ty(weight).dtype, out.ty(weight).shape.clone());
    let rank = kiln_ir::Dim::from(adapter.rank);
    let first = out.add_parameter(&adapter.first, TensorType::new(dtype, vec![shape[0].clone(), rank.clone()]));
    let second = out.add_parameter(&adapter.second, TensorType::new(dtype, vec![rank, shape[1].clone()]));
    Factors { first, second, sum: None }
}

/// The weight with what its adapter adds.
fn sum(out: &mut Graph, weight: Value, parts: &mut Factors, scale: f64) -> Value {
    *parts.sum.get_or_insert_with(|| {
        let mut b = Builder::new(out);
        let product = b.op(Dot::matrix(), &[parts.first, parts.second]);
        let scale = b.like(product, scale);
        let product = b.mul(product, scale);
        b.add(weight, product)
    })
}
