//! What training minimises, written behind a network.

use super::config::{Loss, LossTerm, TrainingConfig};
use super::states::LOSS_SCALE;
use super::step::target_name;
use crate::frontend::model::{ACTIVITY, Model};
use crate::losses::{
    CrossEntropy, Ctc, LossReduction, Penalty, Scores, binary_cross_entropy, ctc_loss, dense_cross_entropy, hinge, huber, kl_divergence,
    mean_absolute_error, mean_squared_error, refused_below_zero, smooth_l1, sparse_cross_entropy, weight_penalty,
};
use kiln_ir::diagnostic::nearest;
use kiln_ir::graph::{Guard, Relation};
use kiln_ir::{Builder, DType, Diagnostic, Dim, Graph, NodeKind, Origin, Tensor, TensorType, Value};
use kiln_runtime::training::recipe::Slot;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the loss and what is minimised are called as outputs. Names of a model file have no space, so none is called so.
pub const LOSS: &str = "training loss";
/// See [`LOSS`].
pub const OBJECTIVE: &str = "training objective";

/// What the training of a network makes small, as a function: the one that training differentiates, with targets as further inputs,
/// and the outputs [`LOSS`] and, with what weights and activities cost, [`OBJECTIVE`].
///
/// Errors: `train_loss` for outputs that do not exist, or that a loss does not fit.
pub fn objective(model: &Model, config: &TrainingConfig) -> Result<Graph, Vec<Diagnostic>> {
    let network = model.module.predict().map_err(|error| vec![Diagnostic::new("no_function", error)])?;
    let terms = terms(network, &config.losses).map_err(|error| vec![error])?;
    Ok(with_objective(model, &terms, None))
}

/// The same with its losses found; the objective is multiplied by `scale`, an input, if there is one.
pub fn with_objective(model: &Model, terms: &[Term], scale: Option<&Slot>) -> Graph {
    let mut graph = model.training.clone();
    let targets = inputs_of_targets(&mut graph, terms);
    let outputs: Vec<Value> = graph.outputs().iter().map(|(_, v)| *v).collect();
    let value = loss(&mut graph, terms, &outputs, &targets);
    let mut objective = with_penalties(&mut graph, model, value);
    if let Some(slot) = scale {
        let scale = graph.add_input(LOSS_SCALE, TensorType::fixed(slot.dtype, &[]));
        objective = Builder::new(&mut graph).mul(objective, scale);
    }
    graph.add_output(LOSS, value);
    graph.add_output(OBJECTIVE, objective);
    graph
}

/// A loss with the output it is of.
pub struct Term<'c> {
    /// Position of the output.
    pub output: usize,
    /// Name of the output, which is that of its target.
    pub name: String,
    /// Type of the target.
    pub target: TensorType,
    /// Which time steps count, if only some do.
    pub lengths: Option<Lengths>,
    /// What the configuration says.
    pub term: &'c LossTerm,
}

/// Which time steps of an output count.
pub enum Lengths {
    /// So many, as an array of the data of that name and type says.
    Array(String, TensorType),
    /// The part that an input of the network says.
    Input(String),
}

/// Finds the outputs of losses, of which `network` is the function that predicts.
///
/// Errors: `train_loss` for outputs that do not exist, or that a loss does not fit.
pub fn terms<'c>(network: &Graph, losses: &'c [LossTerm]) -> Result<Vec<Term<'c>>, Diagnostic> {
    let names: Vec<&str> = network.outputs().iter().map(|(name, _)| name.as_str()).collect();
    let wrong = |text: String| Diagnostic::new("train_loss", text);
    let mut seen = BTreeSet::new();
    losses
        .iter()
        .map(|term| {
            let output = match &term.output {
                Some(name) => names.iter().position(|n| n == name).ok_or_else(|| {
                    let error = wrong(format!("the network has no output `{name}` to train"));
                    match nearest(name, names.iter().copied()) {
                        Some(near) => error.help(format!("did you mean `{near}`?")),
                        None => error.help(format!("it has {}; `outputs` lists what it gives", names.join(", "))),
                    }
                })?,
                None if names.len() == 1 => 0,
                None => {
                    let error = wrong(format!("the network has {} outputs, so each loss says which it is of", names.len()));
                    return Err(error.help(format!("output = one of {}", names.join(", "))));
                }
            };
            if !seen.insert(output) {
                return Err(wrong(format!("output `{}` has two losses, and one is possible", names[output])));
            }
            let ty = network.ty(network.outputs()[output].1);
            if !ty.dtype.is_float() {
                return Err(wrong(format!("output `{}` is {ty}: losses are of floating numbers", names[output])));
            }
            let target = if let Loss::Ctc { blank, .. } = &term.loss {
                let [batch, _, classes] = &ty.shape[..] else {
                    return Err(wrong(format!("output `{}` is {ty}: ctc takes [batch, time, classes]", names[output])));
                };
                if classes.as_const().is_some_and(|classes| classes <= *blank as i64) {
                    return Err(wrong(format!("`blank` is {blank}, output `{}` is {ty}", names[output])));
                }
                TensorType::new(DType::I64, vec![batch.clone(), Dim::symbol(&format!("labels_{}", names[output]))])
            } else if term.loss.takes_labels() {
                let Some((classes, shape)) = ty.shape.split_last() else {
                    return Err(wrong(format!("output `{}` is {ty}, which has no axis of classes", names[output])));
                };
                if let Loss::SparseCrossEntropy { class_weights, .. } = &term.loss
                    && !class_weights.is_empty()
                    && classes.as_const() != Some(class_weights.len() as i64)
                {
                    let message = format!("`class_weights` has {} numbers, output `{}` is {ty}", class_weights.len(), names[output]);
                    return Err(wrong(message));
                }
                TensorType::new(DType::I64, shape.to_vec())
            } else {
                let dtype = if ty.dtype.size_bytes() == 2 { DType::F32 } else { ty.dtype };
                TensorType::new(dtype, ty.shape.clone())
            };
            let lengths = match &term.loss {
                Loss::Ctc { input_lengths: Some(array), .. } if names.contains(&array.as_str()) => {
                    return Err(wrong(format!("`input_lengths` names the array `{array}`, which has the targets of that output")));
                }
                Loss::Ctc { input_lengths: Some(name), .. } => {
                    let batch = vec![ty.shape[0].clone()];
                    match network.inputs().iter().find(|(input, _)| input == name).map(|(_, value)| network.ty(*value)) {
                        None => Some(Lengths::Array(name.clone(), TensorType::new(DType::I64, batch))),
                        Some(ty) if ty.shape == batch && ty.dtype.is_float() => Some(Lengths::Input(name.clone())),
                        Some(ty) => {
                            let message = format!("`input_lengths` names the input `{name}`, which is {ty}");
                            return Err(wrong(message).help("an input of parts from 0 to 1 has shape [], and floating numbers"));
                        }
                    }
                }
                _ => None,
            };
            Ok(Term { output, name: names[output].to_string(), target: with_symbols(target, names[output]), lengths, term })
        })
        .collect()
}

/// What the data have besides inputs, by name, in the order in which a step takes it: a target for each loss, then lengths, each once.
pub fn targets<'t>(terms: &'t [Term]) -> Vec<(&'t str, &'t TensorType)> {
    let mut list: Vec<(&str, &TensorType)> = terms.iter().map(|term| (term.name.as_str(), &term.target)).collect();
    for lengths in terms.iter().filter_map(|term| term.lengths.as_ref()) {
        let Lengths::Array(name, ty) = lengths else { continue };
        if !list[terms.len()..].iter().any(|(other, _)| other == name) {
            list.push((name, ty));
        }
    }
    list
}

/// Adds an input for each of [`targets`].
pub fn inputs_of_targets(graph: &mut Graph, terms: &[Term]) -> Vec<Value> {
    targets(terms).into_iter().map(|(name, ty)| graph.add_input(target_name(name), ty.clone())).collect()
}

/// The type with names for sizes that are computed from others: data say what such a size is, not what it is made of.
fn with_symbols(ty: TensorType, output: &str) -> TensorType {
    let plain = |dim: &Dim| dim.as_const().is_some() || dim.as_symbol().is_some();
    let named = |(axis, dim): (usize, &Dim)| if plain(dim) { dim.clone() } else { Dim::symbol(&format!("target_{output}_{axis}")) };
    TensorType::new(ty.dtype, ty.shape.iter().enumerate().map(named).collect::<Vec<_>>())
}

/// A target in the sizes of its output: where it has names of its own for them, they must be the same.
fn fitted(graph: &mut Graph, term: &Term, output: Value, target: Value) -> Value {
    if matches!(term.term.loss, Loss::Ctc { .. }) {
        return target;
    }
    let (made, given) = (graph.ty(output).shape.clone(), graph.ty(target).shape.clone());
    if given.iter().zip(&made).all(|(given, made)| given == made) {
        return target;
    }
    let text = format!("the targets of `{}`", term.name);
    for (left, right) in given.iter().zip(&made).filter(|(given, made)| given != made) {
        graph.require(Guard { left: left.clone(), relation: Relation::Equal, right: right.clone(), why: text.clone() });
    }
    Builder::from_origin(graph, Some(Arc::new(Origin::new(text)))).reshape(target, &made[..given.len()])
}

/// Writes the weighted sum of the losses of `outputs` against what the data have, as [`targets`] lists it: a scalar, f64 if an output
/// is, else f32.
pub fn loss(graph: &mut Graph, terms: &[Term], outputs: &[Value], given: &[Value]) -> Value {
    let list = targets(terms);
    let at = |name: &str| terms.len() + list[terms.len()..].iter().position(|(other, _)| *other == name).expect("all are listed");
    let mut lengths_of = |term: &Term| {
        Some(match term.lengths.as_ref()? {
            Lengths::Array(name, _) => given[at(name)],
            Lengths::Input(name) => steps_of_part(graph, name, outputs[term.output]),
        })
    };
    let lengths: Vec<Option<Value>> = terms.iter().map(&mut lengths_of).collect();
    let targets: Vec<Value> = terms.iter().zip(given).map(|(term, target)| fitted(graph, term, outputs[term.output], *target)).collect();
    let mut b = Builder::new(graph);
    let wide = outputs.iter().any(|output| b.dtype(*output) == DType::F64);
    let dtype = if wide { DType::F64 } else { DType::F32 };
    let mut total: Option<Value> = None;
    for ((term, target), lengths) in terms.iter().zip(targets).zip(lengths) {
        let value = term_loss(&mut b, &term.term.loss, outputs[term.output], target, lengths);
        let value = b.cast(value, dtype);
        let value = match term.term.weight {
            1.0 => value,
            weight => {
                let weight = b.scalar(dtype, weight);
                b.mul(value, weight)
            }
        };
        total = Some(total.map_or(value, |sum| b.add(sum, value)));
    }
    total.unwrap_or_else(|| b.scalar(dtype, 0.0))
}

/// How many time steps of an output count where the input of that name says which part: the step that it ends in, too, and one at least.
fn steps_of_part(graph: &mut Graph, input: &str, output: Value) -> Value {
    let part = graph.inputs().iter().find(|(name, _)| name == input).map(|(_, value)| *value).expect("it was found before");
    let time = graph.ty(output).shape[1].clone();
    let mut b = Builder::new(graph);
    let part = b.cast(part, DType::F64);
    let time = b.dims(&[time]);
    let time = b.cast(time, DType::F64);
    let steps = b.mul(part, time);
    let steps = b.ceil(steps);
    let one = b.scalar(DType::F64, 1.0);
    let steps = b.max(steps, one);
    b.cast(steps, DType::I64)
}

fn term_loss(b: &mut Builder, loss: &Loss, output: Value, target: Value, lengths: Option<Value>) -> Value {
    let scores = |logits: bool| if logits { Scores::Logits } else { Scores::Probabilities };
    let mean = LossReduction::Mean;
    let choices = |logits, label_smoothing, reduction| CrossEntropy { scores: scores(logits), label_smoothing, reduction };
    match loss {
        Loss::SparseCrossEntropy { logits, label_smoothing, class_weights } if b.ty(target).rank() >= 2 => {
            let choices = choices(*logits, *label_smoothing, LossReduction::None);
            counted_cross_entropy(b, output, target, choices, class_weights)
        }
        Loss::SparseCrossEntropy { logits, label_smoothing, class_weights } if class_weights.is_empty() => {
            sparse_cross_entropy(b, output, target, choices(*logits, *label_smoothing, mean))
        }
        Loss::SparseCrossEntropy { logits, label_smoothing, class_weights } => {
            let losses = sparse_cross_entropy(b, output, target, choices(*logits, *label_smoothing, LossReduction::None));
            let weights = Tensor::from_floats(b.dtype(losses), vec![class_weights.len()], class_weights.iter().copied());
            let weights = b.constant(weights);
            let target = refused_below_zero(b, target, &Dim::from(class_weights.len()));
            let weights = b.gather(weights, target, 0);
            let weighted = b.mul(losses, weights);
            let axes: Vec<usize> = (0..b.shape(losses).len()).collect();
            let (sum, whole) = (b.reduce_sum(weighted, &axes, false), b.reduce_sum(weights, &axes, false));
            // A batch may have classes of weight 0 alone.
            let least = b.scalar(b.dtype(whole), 1e-30);
            let whole = b.max(whole, least);
            b.div(sum, whole)
        }
        Loss::CrossEntropy { logits, label_smoothing } => dense_cross_entropy(b, output, target, choices(*logits, *label_smoothing, mean)),
        Loss::BinaryCrossEntropy { logits, label_smoothing } => {
            binary_cross_entropy(b, output, target, choices(*logits, *label_smoothing, mean))
        }
        Loss::KlDivergence => kl_divergence(b, output, target, mean),
        Loss::MeanSquaredError => mean_squared_error(b, output, target, mean),
        Loss::MeanAbsoluteError => mean_absolute_error(b, output, target, mean),
        Loss::Huber(delta) => huber(b, output, target, *delta, mean),
        Loss::SmoothL1(beta) => smooth_l1(b, output, target, *beta, mean),
        Loss::Hinge => hinge(b, output, target, mean),
        Loss::Ctc { blank, drop_impossible, .. } => {
            ctc_loss(b, output, target, lengths, Ctc { blank: *blank, drop_impossible: *drop_impossible, reduction: mean })
        }
    }
}

/// The mean of the cross-entropies of several labels for each sample, of which those of −1 count nowhere: 0 where none counts.
fn counted_cross_entropy(b: &mut Builder, output: Value, target: Value, choices: CrossEntropy, class_weights: &[f64]) -> Value {
    let target = b.cast(target, DType::I64);
    let (padding, zero) = (b.like(target, -1.0), b.like(target, 0.0));
    let is_padding = b.equal(target, padding);
    let labels = b.select(is_padding, zero, target);
    let losses = sparse_cross_entropy(b, output, labels, choices);
    let mut weights = b.like(losses, 1.0);
    if !class_weights.is_empty() {
        let of_classes = Tensor::from_floats(b.dtype(losses), vec![class_weights.len()], class_weights.iter().copied());
        let of_classes = b.constant(of_classes);
        let labels = refused_below_zero(b, labels, &Dim::from(class_weights.len()));
        weights = b.gather(of_classes, labels, 0);
    }
    let nothing = b.like(losses, 0.0);
    let weights = b.select(is_padding, nothing, weights);
    let weighted = b.mul(losses, weights);
    let weighted = b.select(is_padding, nothing, weighted);
    let axes: Vec<usize> = (0..b.shape(losses).len()).collect();
    let (sum, whole) = (b.reduce_sum(weighted, &axes, false), b.reduce_sum(weights, &axes, false));
    let least = b.scalar(b.dtype(whole), 1e-30);
    let whole = b.max(whole, least);
    b.div(sum, whole)
}

/// Writes the loss with what weights and outputs of layers cost added.
fn with_penalties(graph: &mut Graph, model: &Model, loss: Value) -> Value {
    let parameters: Vec<(Value, Penalty)> = (graph.order().into_iter())
        .filter_map(|node| {
            let NodeKind::Parameter(name) = &graph.node(node).kind else { return None };
            let penalty = model.parameters.get(&**name)?.care.penalty;
            (penalty != Penalty::default()).then_some((Value { node, result: 0 }, penalty))
        })
        .collect();
    let activity = graph.outputs().iter().find(|(name, _)| name == ACTIVITY).map(|(_, value)| *value);
    let mut b = Builder::new(graph);
    let loss = activity.map_or(loss, |activity| {
        let activity = b.cast(activity, b.dtype(loss));
        b.add(loss, activity)
    });
    parameters.into_iter().fold(loss, |sum, (weights, penalty)| {
        let cost = weight_penalty(&mut b, weights, penalty);
        let cost = b.cast(cost, b.dtype(sum));
        b.add(sum, cost)
    })
}
