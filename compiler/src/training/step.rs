//! One step of training as a function: forward pass, loss, gradients, updates.
//! ```text
//! step (data.., %key: u64[], %learning_rate: f64[], %count: i64[], fixed.., states..) { … return loss, states.. }
//! ```

use super::config::TrainingConfig;
use super::objective::{LOSS, OBJECTIVE, Term, with_objective};
use super::states::{LOSS_SCALE, States};
use super::update::{Reads, is_finite, updates};
use crate::autodiff::{Variable, differentiate};
use crate::frontend::model::{Model, STATISTIC};
use kiln_ir::{Builder, DType, Diagnostic, Graph, TensorType, Value};
use kiln_runtime::training::recipe::Slot;
use std::collections::BTreeMap;

/// Builds the step of a network.
///
/// Errors: what has no gradient.
pub fn train_step(model: &Model, config: &TrainingConfig, terms: &[Term], states: &States) -> Result<Graph, Vec<Diagnostic>> {
    let gradient = gradient(model, terms, states)?;
    let mut step = gradient.without_nodes();
    let mut map: BTreeMap<Value, Value> = BTreeMap::new();
    // There the key, and the factor of the loss, stand elsewhere.
    let network = model.training.inputs().len() - 1;
    let (data, rest) = gradient.inputs().split_at(network);
    let (key, targets) = (&rest[0], &rest[1..=terms.len()]);
    for (name, value) in data.iter().chain(targets).chain([key]) {
        map.insert(*value, step.add_input(name, gradient.ty(*value).clone()));
    }
    let learning_rate = step.add_input("step/learning_rate", TensorType::fixed(DType::F64, &[]));
    let count = step.add_input("step/count", TensorType::fixed(DType::I64, &[]));
    let accumulates = config.schedule.accumulate > 1;
    let applies = accumulates.then(|| step.add_input("step/applies", TensorType::fixed(DType::Bool, &[])));
    let before = inputs_of(&mut step, states.fixed.iter().chain(&states.changing));
    if let Some(scale) = before.get(LOSS_SCALE) {
        map.insert(rest[1 + terms.len()].1, *scale);
    }
    map.extend(parameters_as(&mut step, &gradient, &before));

    let outputs: BTreeMap<&str, Value> = gradient.outputs().iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let mut wanted = vec![outputs[LOSS]];
    wanted.extend(states.trained.iter().map(|name| outputs[format!("gradient.{name}").as_str()]));
    let kept: Vec<(&String, Option<Value>)> =
        states.statistics.iter().map(|name| (name, outputs.get(format!("{STATISTIC}{name}").as_str()).copied())).collect();
    wanted.extend(kept.iter().filter_map(|(_, value)| *value));
    let computed = step.copy_from(&gradient, &wanted, &mut map);
    let (gradients, loss) = (&computed[1..=states.trained.len()], computed[0]);

    let mut b = Builder::new(&mut step);
    let sound = is_finite(&mut b, loss);
    let reads = Reads { before: &before, sound, learning_rate, count, applies };
    let mut after = updates(&mut b, model, config, states, &reads, gradients);
    for (name, value) in kept {
        let old = before[name];
        after.insert(name.clone(), value.map_or(old, |value| b.select(sound, map[&value], old)));
    }
    step.add_output("loss", loss);
    for slot in &states.changing {
        step.add_output(&slot.name, after[&slot.name]);
    }
    Ok(step)
}

/// Adds an input for each slot.
pub fn inputs_of<'s>(graph: &mut Graph, slots: impl IntoIterator<Item = &'s Slot>) -> BTreeMap<String, Value> {
    let input = |slot: &Slot| (slot.name.clone(), graph.add_input(&slot.name, TensorType::fixed(slot.dtype, &slot.shape)));
    slots.into_iter().map(input).collect()
}

/// What takes the place of each parameter of `from` in `graph`: the input of its name, in the type that is computed in.
pub fn parameters_as(graph: &mut Graph, from: &Graph, inputs: &BTreeMap<String, Value>) -> Vec<(Value, Value)> {
    let mut b = Builder::new(graph);
    let parameters = from.order().into_iter().filter_map(|node| match &from.node(node).kind {
        kiln_ir::NodeKind::Parameter(name) => Some((Value { node, result: 0 }, inputs[&**name])),
        _ => None,
    });
    parameters.map(|(value, input)| (value, b.cast(input, from.ty(value).dtype))).collect()
}

/// The network with its loss and the gradients of what is minimised.
fn gradient(model: &Model, terms: &[Term], states: &States) -> Result<Graph, Vec<Diagnostic>> {
    let scale = states.changing.iter().find(|slot| slot.name == LOSS_SCALE);
    let graph = with_objective(model, terms, scale);
    let variables: Vec<Variable> = states.trained.iter().cloned().map(Variable::Parameter).collect();
    differentiate(&graph, &[OBJECTIVE], &variables)
}

/// What the target of an output is called as an input. Names of a model file have no slash, so none is called so.
pub fn target_name(output: &str) -> String {
    format!("target/{output}")
}
