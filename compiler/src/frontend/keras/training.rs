//! How a model was to be trained: `compile_config` of `.keras` archives, `training_config` of files of Keras 2's format.

use super::super::model::tree::{Kind, Node};
use std::collections::BTreeMap;

/// What the file says of training.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TrainingConfig {
    /// How parameters follow their gradients.
    pub optimiser: Option<Named>,
    /// What is made small: for each output that has one, by its name where the file names it.
    pub losses: Vec<(Option<String>, Loss)>,
    /// Factors of the losses, in their order.
    pub loss_weights: Vec<f64>,
    /// What is measured besides, by name.
    pub metrics: Vec<String>,
    /// What the model asks of training that is not imported: regularisers and constraints of some kinds, noise.
    pub left_out: Vec<String>,
}

/// Something of Keras's with its settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Named {
    /// Its class: `Adam`.
    pub class: String,
    /// Its settings that are set.
    pub settings: BTreeMap<String, Setting>,
}

/// A setting.
#[derive(Clone, PartialEq, Debug)]
pub enum Setting {
    /// A number.
    Number(f64),
    /// A truth value.
    Flag(bool),
    /// Text.
    Text(String),
    /// Numbers in a list.
    Numbers(Vec<f64>),
    /// An object with settings of its own, such as a schedule of learning rates.
    Object(Named),
}

/// A loss.
#[derive(Clone, PartialEq, Debug)]
pub struct Loss {
    /// Its name in small letters: `sparse_categorical_crossentropy`.
    pub name: String,
    /// Whether it takes scores before the softmax or the logistic function.
    pub from_logits: bool,
    /// How much of the target is spread over all classes.
    pub label_smoothing: f64,
    /// Its other settings.
    pub settings: BTreeMap<String, Setting>,
}

/// Reads what a file says; nothing of it is needed for predictions, so what is not understood is left out.
pub fn read(node: &Node) -> TrainingConfig {
    let optimiser = node.field("optimizer").or_else(|| node.field("optimizer_config")).and_then(named);
    let loss_weights = match node.field("loss_weights").map(|node| &node.kind) {
        Some(Kind::List(items)) => items.iter().filter_map(Node::number).collect(),
        Some(Kind::Table(entries)) => entries.iter().filter_map(|(_, value)| value.number()).collect(),
        _ => Vec::new(),
    };
    let mut metrics = Vec::new();
    for name in ["metrics", "weighted_metrics"] {
        node.field(name).into_iter().for_each(|node| collect_names(node, &mut metrics));
    }
    TrainingConfig { optimiser, losses: node.field("loss").map(losses).unwrap_or_default(), loss_weights, metrics, left_out: Vec::new() }
}

/// A word, or an object with its settings.
fn named(node: &Node) -> Option<Named> {
    if let Some(word) = node.text() {
        return Some(Named { class: word.to_string(), settings: BTreeMap::new() });
    }
    let class = node.field("class_name")?.text()?;
    let config = node.field("config")?;
    // A function is an object whose config is its name.
    if let Some(word) = config.text() {
        return Some(Named { class: word.to_string(), settings: BTreeMap::new() });
    }
    let settings = config.table()?.iter().filter_map(|(key, value)| Some((key.name.clone(), setting(value)?)));
    Some(Named { class: class.to_string(), settings: settings.collect() })
}

fn setting(node: &Node) -> Option<Setting> {
    match &node.kind {
        Kind::Bool(value) => Some(Setting::Flag(*value)),
        Kind::Integer(_) | Kind::Float(_) => node.number().map(Setting::Number),
        Kind::Text(text) => Some(Setting::Text(text.clone())),
        Kind::List(items) => Some(Setting::Numbers(items.iter().map(Node::number).collect::<Option<_>>()?)),
        Kind::Table(_) => named(node).map(Setting::Object),
        Kind::Null => None,
    }
}

fn losses(node: &Node) -> Vec<(Option<String>, Loss)> {
    match &node.kind {
        Kind::List(items) => items.iter().filter_map(loss).map(|loss| (None, loss)).collect(),
        Kind::Table(entries) if node.field("class_name").is_none() => {
            entries.iter().filter_map(|(key, value)| Some((Some(key.name.clone()), loss(value)?))).collect()
        }
        _ => loss(node).map(|loss| (None, loss)).into_iter().collect(),
    }
}

fn loss(node: &Node) -> Option<Loss> {
    let Named { class, mut settings } = named(node)?;
    let flag = |setting: Option<Setting>| setting == Some(Setting::Flag(true));
    let number = |setting: Option<Setting>| if let Some(Setting::Number(number)) = setting { number } else { 0.0 };
    let (from_logits, label_smoothing) = (flag(settings.remove("from_logits")), number(settings.remove("label_smoothing")));
    settings.remove("name");
    Some(Loss { name: super::network::snake_case(&class), from_logits, label_smoothing, settings })
}

/// Names of metrics in lists, and lists by output.
fn collect_names(node: &Node, out: &mut Vec<String>) {
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| collect_names(item, out)),
        Kind::Table(entries) if node.field("class_name").is_none() => entries.iter().for_each(|(_, value)| collect_names(value, out)),
        _ => {
            let own = node.field("config").and_then(|config| config.field("name")).and_then(Node::text).map(str::to_string);
            out.extend(own.or_else(|| named(node).map(|named| named.class)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::model::tree::read_json;

    #[test]
    fn what_keras_writes_is_read() {
        let text = r#"{"optimizer": {"module": "keras.optimizers", "class_name": "SGD",
            "config": {"learning_rate": 0.1, "weight_decay": null, "nesterov": true}}, "metrics": ["accuracy", {"class_name": "Precision",
            "config": {"name": "precision"}}], "loss": {"class_name": "CategoricalCrossentropy", "config": {"from_logits": true,
            "label_smoothing": 0.1, "name": "x"}}, "loss_weights": null}"#;
        let config = read(&read_json(text).expect("it is JSON"));
        let optimiser = config.optimiser.expect("it has one");
        assert_eq!((optimiser.class.as_str(), optimiser.settings.len()), ("SGD", 2));
        assert_eq!(optimiser.settings["learning_rate"], Setting::Number(0.1));
        let (_, loss) = &config.losses[0];
        assert_eq!((loss.name.as_str(), loss.from_logits, loss.label_smoothing), ("categorical_crossentropy", true, 0.1));
        assert_eq!(config.metrics, ["accuracy", "precision"]);
        let by_output = read(&read_json(r#"{"loss": {"a": "mse", "b": "mae"}, "optimizer": "adam"}"#).expect("it is JSON"));
        assert_eq!(
            by_output.losses.iter().map(|(output, loss)| (output.as_deref(), loss.name.as_str())).collect::<Vec<_>>(),
            [(Some("a"), "mse"), (Some("b"), "mae")]
        );
    }
}
