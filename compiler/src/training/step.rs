//! One step of training as a function: forward pass, loss, gradients, updates.
//! ```text
//! step (data.., %key: u64[], %learning_rate: f64[], %count: i64[], fixed.., states..) { … return loss, states.. }
//! ```

use super::config::TrainingConfig;
use super::objective::{Term, loss, with_penalties};
use crate::autodiff::{Variable, differentiate};
use crate::frontend::model::{Model, STATISTIC};
use crate::optim::{Step, clip_by_norm, clip_by_value};
use kiln_ir::initialiser::Initialiser;
use kiln_ir::{Builder, DType, Diagnostic, Graph, NodeKind, TensorType, Value};
use kiln_runtime::training::recipe::{Initial, Slot};
use std::collections::BTreeMap;

/// A step and what it takes besides data.
pub struct TrainStep {
    /// The function.
    pub graph: Graph,
    /// Parameters that stay.
    pub fixed: Vec<Slot>,
    /// What changes: parameters first.
    pub states: Vec<Slot>,
    /// How many of the states are parameters.
    pub parameters: usize,
}

/// Whether a name is one that `*` patterns stand for.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Builds the step of a network.
///
/// Errors: `train_freeze` for patterns that fit no parameter, `train_nothing` when nothing is left to train; what has no gradient.
pub fn train_step(model: &Model, config: &TrainingConfig, terms: &[Term]) -> Result<TrainStep, Vec<Diagnostic>> {
    let roles = Roles::new(model, config).map_err(|error| vec![error])?;
    let gradient = gradient(model, terms, &roles.trained)?;
    let mut build = Build { step: gradient.without_nodes(), held: BTreeMap::new(), fixed: Vec::new(), states: Vec::new() };

    let mut map: BTreeMap<Value, Value> = BTreeMap::new();
    // The key stands behind the network's inputs there, behind the targets here.
    let key = gradient.inputs().len() - 1 - terms.len();
    let (data, targets) = (&gradient.inputs()[..key], &gradient.inputs()[key + 1..]);
    for (name, value) in data.iter().chain(targets).chain([&gradient.inputs()[key]]) {
        map.insert(*value, build.step.add_input(name, gradient.ty(*value).clone()));
    }
    let learning_rate = build.step.add_input("learning_rate", TensorType::fixed(DType::F64, &[]));
    let count = build.step.add_input("count", TensorType::fixed(DType::I64, &[]));
    let accumulate = config.schedule.accumulate > 1;
    let applies = accumulate.then(|| build.step.add_input("applies", TensorType::fixed(DType::Bool, &[])));

    for name in &roles.fixed {
        build.parameter(model, name, false);
    }
    for name in roles.trained.iter().chain(&roles.statistics) {
        build.parameter(model, name, true);
    }
    let parameters = build.states.len();
    for node in gradient.order() {
        if let NodeKind::Parameter(name) = &gradient.node(node).kind {
            map.insert(Value { node, result: 0 }, build.held[&**name]);
        }
    }
    let state_tensors = config.optimiser.state();
    let constant = |value| Initial::Drawn { initialiser: Initialiser::Constant(value), fans: (1, 1) };
    let mut remembered: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for name in &roles.trained {
        let info = &model.parameters[name];
        let tensors = state_tensors.iter().map(|t| {
            let what = format!("{}.{}", config.optimiser_name, t.name);
            build.state(info.slot(name), &what, &info.ty, constant(t.initial))
        });
        let tensors = tensors.collect();
        remembered.insert(name, tensors);
    }
    let mut sums: BTreeMap<&str, Value> = BTreeMap::new();
    let mut averages: BTreeMap<&str, Value> = BTreeMap::new();
    for (at, name) in roles.trained.iter().enumerate() {
        let info = &model.parameters[name];
        if accumulate {
            sums.insert(name, build.state(info.slot(name), "gradient", &info.ty, constant(0.0)));
        }
        if config.ema.is_some() {
            averages.insert(name, build.state(info.slot(name), "average", &info.ty, Initial::Of(at)));
        }
    }

    let outputs = gradient.outputs();
    let named = |name: &str| outputs.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
    let mut wanted = vec![named("loss").expect("it is an output")];
    wanted.extend(roles.trained.iter().map(|name| named(&format!("gradient.{name}")).expect("differentiated by it")));
    let updated: Vec<Option<Value>> = roles.statistics.iter().map(|name| named(&format!("{STATISTIC}{name}"))).collect();
    wanted.extend(updated.iter().flatten());
    let Build { mut step, held, fixed, states } = build;
    let computed = step.copy_from(&gradient, &wanted, &mut map);
    let (loss, gradients) = (computed[0], &computed[1..=roles.trained.len()]);
    let mut statistics = computed[1 + roles.trained.len()..].iter();

    let mut b = Builder::new(&mut step);
    // States by name, as they are afterwards.
    let mut after: BTreeMap<String, Value> = BTreeMap::new();
    let mut gradients = gradients.to_vec();
    if accumulate {
        for (name, gradient) in roles.trained.iter().zip(&mut gradients) {
            let share = b.scalar(b.dtype(*gradient), 1.0 / f64::from(config.schedule.accumulate));
            let share = b.mul(*gradient, share);
            *gradient = b.add(sums[&**name], share);
        }
    }
    let whole = gradients.clone();
    if let Some(limit) = config.clip_value {
        gradients = clip_by_value(&mut b, &gradients, limit);
    }
    if let Some(limit) = config.clip_norm {
        gradients = clip_by_norm(&mut b, &gradients, limit).0;
    }
    for ((name, gradient), whole) in roles.trained.iter().zip(gradients).zip(whole) {
        let (info, parameter, state) = (&model.parameters[name], held[name], remembered[&**name].clone());
        let inputs = Step { parameter, gradient, state: state.clone(), learning_rate, count };
        let update = config.optimiser.update(&mut b, &inputs);
        let mut value = update.parameter;
        if let Some(constraint) = info.care.constraint {
            value = constraint.apply(&mut b, value, &info.incoming);
        }
        let mut changes = vec![(name.clone(), parameter, value)];
        for ((tensor, old), new) in state_tensors.iter().zip(&state).zip(&update.state) {
            changes.push((format!("{name}/{}.{}", config.optimiser_name, tensor.name), *old, *new));
        }
        if let (Some(kept), Some(average)) = (config.ema, averages.get(&**name)) {
            let (part, rest) = (b.scalar(b.dtype(value), kept), b.scalar(b.dtype(value), 1.0 - kept));
            let (old, new) = (b.mul(*average, part), b.mul(value, rest));
            changes.push((format!("{name}/average"), *average, b.add(old, new)));
        }
        if let Some(applies) = applies {
            for (_, old, new) in &mut changes {
                *new = b.select(applies, *new, *old);
            }
            let zero = b.like(whole, 0.0);
            changes.push((format!("{name}/gradient"), sums[&**name], b.select(applies, zero, whole)));
        }
        after.extend(changes.into_iter().map(|(name, _, new)| (name, new)));
    }
    for (name, value) in roles.statistics.iter().zip(updated) {
        let value = if value.is_some() { statistics.next().copied() } else { None };
        after.insert(name.clone(), value.unwrap_or(held[name]));
    }
    step.add_output("loss", loss);
    for slot in &states {
        step.add_output(&slot.name, after[&slot.name]);
    }
    Ok(TrainStep { graph: step, fixed, states, parameters })
}

/// The network with its loss and the gradients of what is minimised.
fn gradient(model: &Model, terms: &[Term], by: &[String]) -> Result<Graph, Vec<Diagnostic>> {
    let mut graph = model.training.clone();
    let targets: Vec<Value> = terms.iter().map(|t| graph.add_input(target_name(&t.name), t.target.clone())).collect();
    let outputs: Vec<Value> = graph.outputs().iter().map(|(_, v)| *v).collect();
    let value = loss(&mut graph, terms, &outputs, &targets);
    let objective = with_penalties(&mut graph, model, value);
    graph.add_output("loss", value);
    graph.add_output("objective", objective);
    let variables: Vec<Variable> = by.iter().cloned().map(Variable::Parameter).collect();
    differentiate(&graph, &["objective"], &variables)
}

/// What the target of an output is called as an input.
pub fn target_name(output: &str) -> String {
    format!("target.{output}")
}

/// Parameters by what training does to them.
struct Roles {
    trained: Vec<String>,
    statistics: Vec<String>,
    fixed: Vec<String>,
}

impl Roles {
    fn new(model: &Model, config: &TrainingConfig) -> Result<Roles, Diagnostic> {
        if let Some(pattern) = config.freeze.iter().find(|p| !model.parameters.keys().any(|name| matches(p, name))) {
            let error = Diagnostic::new("train_freeze", format!("no parameter is called `{pattern}`"));
            let names: Vec<&str> = model.parameters.keys().map(String::as_str).collect();
            return Err(error.help(format!("there are {}; * stands for anything", names.join(", "))));
        }
        let (mut trained, mut statistics, mut fixed) = (Vec::new(), Vec::new(), Vec::new());
        for (name, info) in &model.parameters {
            let list = match config.freeze.iter().any(|pattern| matches(pattern, name)) {
                true => &mut fixed,
                false if info.trainable => &mut trained,
                false => &mut statistics,
            };
            list.push(name.clone());
        }
        if trained.is_empty() {
            return Err(Diagnostic::new("train_nothing", "the network has no parameter to train").help("do not `freeze` all of them"));
        }
        Ok(Roles { trained, statistics, fixed })
    }
}

struct Build {
    step: Graph,
    /// Parameters by name.
    held: BTreeMap<String, Value>,
    fixed: Vec<Slot>,
    states: Vec<Slot>,
}

impl Build {
    fn parameter(&mut self, model: &Model, name: &str, changes: bool) {
        let info = &model.parameters[name];
        let slot = info.slot(name);
        self.held.insert(name.to_string(), self.step.add_input(name, info.ty.clone()));
        if changes { self.states.push(slot) } else { self.fixed.push(slot) }
    }

    /// Something to remember of a parameter.
    fn state(&mut self, parameter: Slot, what: &str, ty: &TensorType, initial: Initial) -> Value {
        let name = format!("{}/{what}", parameter.name);
        let value = self.step.add_input(&name, ty.clone());
        self.states.push(Slot { name, initial, ..parameter });
        value
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_anything() {
        let cases = [
            ("conv.weight", "conv.weight", true),
            ("conv.weight", "conv.weights", false),
            ("conv*", "conv2d_2.bias", true),
            ("*.bias", "conv2d_2.bias", true),
            ("*.bias", "conv2d_2.bias.x", false),
            ("*2*b*", "conv2d.bias", true),
            ("*", "", true),
            ("a*a", "a", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }
}
