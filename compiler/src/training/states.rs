//! What a step takes besides data: parameters, and what is remembered of them from step to step.

use super::config::TrainingConfig;
use super::pattern::matches;
use crate::frontend::model::Model;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::{DType, Diagnostic, NodeKind};
use kiln_runtime::training::recipe::{Initial, Slot};
use std::cmp::Reverse;

/// The factor of the loss, where gradients are kept in f16.
pub const LOSS_SCALE: &str = "loss_scale/factor";
/// Updates since that factor changed.
pub const LOSS_SCALE_UPDATES: &str = "loss_scale/updates";

/// Parameters by what training does to them, and all states.
pub struct States {
    /// Names of the parameters that follow their gradients.
    pub trained: Vec<String>,
    /// Names of those that layers keep count in.
    pub statistics: Vec<String>,
    /// Those that stay.
    pub fixed: Vec<Slot>,
    /// All that changes: `trained`, `statistics`, then what is remembered.
    pub changing: Vec<Slot>,
}

impl States {
    /// What the training of a network remembers.
    ///
    /// Errors: `train_freeze` for patterns that fit no parameter; `train_nothing` when nothing is left to train.
    pub fn new(model: &Model, config: &TrainingConfig) -> Result<States, Diagnostic> {
        if let Some(pattern) = config.freeze.iter().find(|p| !model.parameters.keys().any(|name| matches(p, name))) {
            let error = Diagnostic::new("train_freeze", format!("no parameter is called `{pattern}`"));
            let names: Vec<&str> = model.parameters.keys().map(String::as_str).collect();
            return Err(error.help(format!("there are {}; * stands for anything", names.join(", "))));
        }
        let mut states = States { trained: Vec::new(), statistics: Vec::new(), fixed: Vec::new(), changing: Vec::new() };
        for (name, info) in &model.parameters {
            let held = model.adapters.iter().any(|adapter| adapter.weight == *name);
            let adapts = model.adapters.iter().any(|adapter| [&adapter.first, &adapter.second].contains(&name));
            if held || !adapts && config.freeze.iter().any(|pattern| matches(pattern, name)) {
                states.fixed.push(info.slot(name));
            } else {
                let list = if info.trainable { &mut states.trained } else { &mut states.statistics };
                list.push(name.clone());
            }
        }
        // Gradients come last layer first. States in that order are updated as soon as they can be, and what only their gradients need
        // lives no longer than it must.
        let order = model.training.order();
        let place = |name: &String| {
            order.iter().position(|node| matches!(&model.training.node(*node).kind, NodeKind::Parameter(n) if **n == **name))
        };
        states.trained.sort_by_cached_key(|name| Reverse(place(name)));
        if states.trained.is_empty() {
            return Err(Diagnostic::new("train_nothing", "the network has no parameter to train").help("do not `freeze` all of them"));
        }
        let slot = |name: &String| model.parameters[name].slot(name);
        states.changing = states.trained.iter().chain(&states.statistics).map(slot).collect();
        for name in &states.trained {
            for tensor in config.optimiser.state() {
                states.changing.push(Slot { name: remembered(config, name, tensor.name), initial: constant(tensor.initial), ..slot(name) });
            }
        }
        for (at, name) in states.trained.iter().enumerate() {
            if config.schedule.accumulate > 1 {
                states.changing.push(Slot { name: gradient_sum(name), initial: constant(0.0), ..slot(name) });
            }
            if config.ema.is_some() {
                states.changing.push(Slot { name: average(name), initial: Initial::Of(at), ..slot(name) });
            }
        }
        if config.precision == Some(DType::F16) {
            let scalar = |name: &str, dtype, value| Slot { name: name.into(), dtype, shape: Vec::new(), initial: constant(value) };
            states.changing.push(scalar(LOSS_SCALE, DType::F32, 65536.0));
            states.changing.push(scalar(LOSS_SCALE_UPDATES, DType::I64, 0.0));
        }
        Ok(states)
    }

    /// How many of `changing` are parameters.
    pub fn parameters(&self) -> usize {
        self.trained.len() + self.statistics.len()
    }
}

/// Name of what the optimiser remembers of a parameter.
pub fn remembered(config: &TrainingConfig, parameter: &str, tensor: &str) -> String {
    format!("{parameter}/{}.{tensor}", config.optimiser_name)
}

/// Name of the sum of gradients of several steps.
pub fn gradient_sum(parameter: &str) -> String {
    format!("{parameter}/gradient")
}

/// Name of the running mean of a parameter.
pub fn average(parameter: &str) -> String {
    format!("{parameter}/average")
}

fn constant(value: f64) -> Initial {
    Initial::Drawn { initialiser: Initialiser::Constant(value), fans: (1, 1) }
}
