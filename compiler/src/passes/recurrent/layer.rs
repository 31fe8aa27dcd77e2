//! A layer in the place of its steps.

use super::cell::{Cell, Kind};
use super::terms::{Bias, Weight};
use kiln_ir::graph::Origin;
use kiln_ir::ops::{Gru, Lstm, Neg, Op, Rnn};
use kiln_ir::{Builder, Dim, Graph, Value};
use std::sync::Arc;

/// What a layer is made of.
pub struct Parts<'a> {
    /// Any of its steps.
    pub cell: &'a Cell,
    /// Which of its rows is the state.
    pub state: usize,
    /// `[time, batch, features]`
    pub input: Value,
    /// Initial state, then memory cell, with or without an axis of the batch.
    pub initial: Vec<Value>,
    /// Whether the last step comes first.
    pub reverse: bool,
    /// Where it comes from.
    pub origin: Option<Arc<Origin>>,
}

/// Adds a layer: outputs of all steps `[time, batch, hidden]`, then the last state and the last memory cell, each with the axes of its
/// first. `None` where it does not type.
pub fn layer(graph: &mut Graph, parts: &Parts) -> Option<Vec<Value>> {
    let cell = parts.cell;
    let mut b = Builder::from_origin(graph, parts.origin.clone());
    let w = matrices(&mut b, cell, 1 - parts.state);
    let r = matrices(&mut b, cell, parts.state);
    let dtype = b.dtype(parts.input);
    let none = |b: &mut Builder| {
        let zero = b.scalar(dtype, 0.0);
        b.broadcast_to(zero, &[Dim::from(cell.hidden)])
    };
    let mut biases = Vec::new();
    for (at, gate) in cell.biases.iter().enumerate() {
        let bias = sum(&mut b, gate, cell.hidden);
        let bias = if is_negated(cell, at) { bias.map(|bias| b.op(Neg {}, &[bias])) } else { bias };
        biases.push(bias.unwrap_or_else(|| none(&mut b)));
    }
    let gates = cell.biases.len();
    for gate in 0..gates {
        // What the reset gate acts on is the bias of the state; all others may be of the input.
        let of_state = if gate + 1 == gates { sum(&mut b, &cell.reset_biases, cell.hidden) } else { None };
        biases.push(of_state.unwrap_or_else(|| none(&mut b)));
    }
    let bias = b.concat(&biases, 0);
    let shapes: Vec<Vec<Dim>> = parts.initial.iter().map(|v| b.shape(*v)).collect();
    let with_batch = |shape: &[Dim]| if shape.len() == 1 { [&[Dim::ONE], shape].concat() } else { shape.to_vec() };
    let initial = parts.initial.iter().zip(&shapes).map(|(v, shape)| b.reshape(*v, &with_batch(shape))).collect::<Vec<_>>();
    let mut operands = [&[parts.input, w, r, bias][..], &initial].concat();
    if cell.peepholes.iter().any(Option::is_some) {
        let vector = |b: &mut Builder, peephole: &Option<Bias>| sum(b, peephole.as_slice(), cell.hidden).unwrap_or_else(|| none(b));
        let peepholes: Vec<Value> = cell.peepholes.iter().map(|peephole| vector(&mut b, peephole)).collect();
        operands.push(b.concat(&peepholes, 0));
    }
    let mut results = b.try_op(operator(cell, parts.reverse), &operands).ok()?;
    results[1..].iter_mut().zip(&shapes).for_each(|(last, shape)| *last = b.reshape(*last, shape));
    Some(results)
}

/// Whether a gate is the mirrored one: the update gate where it is the share of the new state.
fn is_negated(cell: &Cell, gate: usize) -> bool {
    gate == 0 && matches!(cell.kind, Kind::Gru { of_new: true, .. })
}

fn operator(cell: &Cell, reverse: bool) -> Op {
    let hidden = cell.hidden;
    let activations = cell.functions.iter().map(|f| f.0).collect();
    let alphas = cell.functions.iter().map(|f| f.1).collect();
    let betas = cell.functions.iter().map(|f| f.2).collect();
    let (clip, has_lengths) = (cell.clip, false);
    match cell.kind {
        Kind::Rnn => Rnn { hidden, activations, alphas, betas, clip, reverse, has_lengths }.into(),
        Kind::Gru { after_product: linear_before_reset, .. } => {
            Gru { hidden, activations, alphas, betas, clip, linear_before_reset, reverse, has_lengths }.into()
        }
        Kind::Lstm => {
            let (input_forget, has_peepholes) = (false, cell.peepholes.iter().any(Option::is_some));
            Lstm { hidden, activations, alphas, betas, clip, input_forget, reverse, has_lengths, has_peepholes }.into()
        }
    }
}

/// The matrices of all gates for one of the rows.
fn matrices(b: &mut Builder, cell: &Cell, row: usize) -> Value {
    let gates = &cell.weights[row];
    if !is_negated(cell, 0) {
        return stacked(b, gates);
    }
    let (first, others) = (stacked(b, &gates[..1]), stacked(b, &gates[1..]));
    let first = b.op(Neg {}, &[first]);
    b.concat(&[first, others], 0)
}

/// The matrices of gates, `[gates·hidden, features]`. Those that lie side by side already stay where they are.
fn stacked(b: &mut Builder, gates: &[Weight]) -> Value {
    let mut pieces: Vec<Weight> = Vec::new();
    for gate in gates {
        match pieces.last_mut() {
            Some(last)
                if (last.value, last.features_axis, &last.features) == (gate.value, gate.features_axis, &gate.features)
                    && last.rows.end == gate.rows.start =>
            {
                last.rows.end = gate.rows.end;
            }
            _ => pieces.push(gate.clone()),
        }
    }
    let matrices: Vec<Value> = pieces.iter().map(|piece| matrix(b, piece)).collect();
    b.concat(&matrices, 0)
}

fn matrix(b: &mut Builder, weight: &Weight) -> Value {
    let rows_axis = 1 - weight.features_axis;
    let (rows, features) = (&weight.rows, &weight.features);
    let value = b.slice_axis(weight.value, rows_axis, &Dim::from(rows.start), &Dim::from(rows.len()));
    let value = b.slice_axis(value, weight.features_axis, &Dim::from(features.start), &Dim::from(features.len()));
    b.transpose(value, &[rows_axis, weight.features_axis])
}

/// The sum of biases, `[hidden]`; `None` of none.
fn sum(b: &mut Builder, biases: &[Bias], hidden: usize) -> Option<Value> {
    let vector = |b: &mut Builder, bias: &Bias| {
        let axis = b.shape(bias.value).len() - 1;
        let part = b.slice_axis(bias.value, axis, &Dim::from(bias.rows.start), &Dim::from(hidden));
        b.reshape(part, &[Dim::from(hidden)])
    };
    let vectors: Vec<Value> = biases.iter().map(|bias| vector(b, bias)).collect();
    vectors.into_iter().reduce(|x, y| b.add(x, y))
}
