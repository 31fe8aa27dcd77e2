//! How a model was to be trained: `compile_config` of `.keras` archives, `training_config` of files of Keras 2's format; and what that is
//! in Kiln's words.

use super::super::model::tree::{Kind, Mistake, Node};
use crate::optim::{Adadelta, Adagrad, Adam, AdamW, Lion, Optimiser, RmsProp, Sgd};
use crate::training::config::{self, LossTerm, TrainingConfig};
use kiln_runtime::training::recipe::{Augment, Metric, RateSchedule, Schedule};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the file says of training.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CompileConfig {
    /// How parameters follow their gradients.
    pub optimiser: Option<Named>,
    /// What is made small: for each output that has one, by its name where the file names it.
    pub losses: Vec<(Option<String>, Option<Loss>)>,
    /// Factors of the losses: in their order, or by output.
    pub loss_weights: Vec<(Option<String>, f64)>,
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

impl Named {
    fn number(&self, name: &str) -> Option<f64> {
        if let Some(Setting::Number(number)) = self.settings.get(name) { Some(*number) } else { None }
    }

    fn flag(&self, name: &str) -> bool {
        self.settings.get(name) == Some(&Setting::Flag(true))
    }
}

impl CompileConfig {
    /// The same in Kiln's words; `outputs` are those of the network. Errors: it says nothing of training, or what Kiln has not got.
    pub fn configuration(&self, outputs: &[String]) -> Result<TrainingConfig, Mistake> {
        let Some(optimiser) = self.optimiser.as_ref().filter(|_| self.losses.iter().any(|(_, loss)| loss.is_some())) else {
            let mistake = Mistake::new("the file does not say how the model is trained");
            return Err(mistake.help("compile it with an optimizer and a loss before saving: model.compile(\"adam\", loss)"));
        };
        let weights = |at: usize, output: &Option<String>| {
            let weight =
                self.loss_weights.iter().enumerate().find(|(n, (name, _))| name.as_ref().map_or(*n == at, |n| Some(n) == output.as_ref()));
            weight.map_or(1.0, |(_, (_, weight))| *weight)
        };
        let mut losses = Vec::new();
        for (at, (name, loss)) in self.losses.iter().enumerate() {
            let Some(loss) = loss else { continue };
            let output = name.clone().or_else(|| outputs.get(at).filter(|_| outputs.len() > 1).cloned());
            losses.push(LossTerm { weight: weights(at, &output), output, loss: loss.in_our_words()? });
        }
        if optimiser.number("clipnorm").is_some() {
            let mistake = Mistake::new("`clipnorm` bounds each gradient by itself, which is not supported");
            return Err(mistake.help("global_clipnorm and clipvalue are"));
        }
        let (optimiser_name, rule, usual_rate) = rule(optimiser)?;
        let rate = match optimiser.settings.get("learning_rate") {
            Some(Setting::Object(schedule)) => schedule.number("initial_learning_rate").or_else(|| schedule.number("learning_rate")),
            _ => optimiser.number("learning_rate").or_else(|| optimiser.number("lr")),
        };
        let metrics: Vec<Metric> = self.metrics.iter().filter_map(|name| metric(name)).collect();
        Ok(TrainingConfig {
            losses,
            optimiser: rule,
            optimiser_name,
            clip_norm: optimiser.number("global_clipnorm"),
            clip_value: optimiser.number("clipvalue"),
            ema: optimiser.number("ema_momentum").filter(|_| optimiser.flag("use_ema")),
            precision: None,
            freeze: Vec::new(),
            schedule: Schedule {
                epochs: 10,
                batch: 32,
                accumulate: optimiser.number("gradient_accumulation_steps").map_or(1, |n| n as u32),
                learning_rate: rate.filter(|rate| rate.is_finite() && *rate > 0.0).map_or(usual_rate, shortest),
                rate: RateSchedule::Constant,
                warmup: 0.0,
            },
            metrics: (!metrics.is_empty()).then_some(metrics),
            early_stopping: None,
            augment: Augment::default(),
            validation: 0.1,
        })
    }
}

/// 0.1 where Keras writes the f32 next to it in more digits.
fn shortest(number: f64) -> f64 {
    let narrow = number as f32;
    if f64::from(narrow) == number { narrow.to_string().parse().unwrap_or(number) } else { number }
}

/// Kiln's optimiser, its name in checkpoints, and the learning rate that Keras has where none is set.
fn rule(keras: &Named) -> Result<(&'static str, Arc<dyn Optimiser>, f64), Mistake> {
    let number = |name: &str, default: f64| keras.number(name).unwrap_or(default);
    // Keras takes it from the parameter, not into the gradient.
    let decay = number("weight_decay", 0.0);
    let adam = Adam {
        beta1: number("beta_1", 0.9),
        beta2: number("beta_2", 0.999),
        epsilon: number("epsilon", 1e-7),
        epsilon_hat: true,
        amsgrad: keras.flag("amsgrad"),
        weight_decay: 0.0,
    };
    let word = keras.class.to_lowercase();
    if decay != 0.0 && !["adam", "adamw", "lion"].contains(&word.as_str()) {
        return Err(Mistake::new(format!("`weight_decay` with the optimiser `{}` is not supported", keras.class)).help("with AdamW it is"));
    }
    Ok(match word.as_str() {
        "sgd" => ("sgd", Arc::new(Sgd { momentum: number("momentum", 0.0), nesterov: keras.flag("nesterov"), weight_decay: 0.0 }), 1e-2),
        "adam" if decay == 0.0 => ("adam", Arc::new(adam), 1e-3),
        "adam" | "adamw" => {
            let weight_decay = if word == "adam" { decay } else { number("weight_decay", 0.004) };
            ("adamw", Arc::new(AdamW { adam: Adam { weight_decay, ..adam } }), 1e-3)
        }
        "rmsprop" => {
            let (decay, momentum, epsilon) = (number("rho", 0.9), number("momentum", 0.0), number("epsilon", 1e-7));
            let centred = keras.flag("centered");
            ("rmsprop", Arc::new(RmsProp { decay, epsilon, epsilon_in_root: true, centred, momentum, weight_decay: 0.0 }), 1e-3)
        }
        "adagrad" => {
            let (initial, epsilon) = (number("initial_accumulator_value", 0.1), number("epsilon", 1e-7));
            ("adagrad", Arc::new(Adagrad { initial, rate_decay: 0.0, epsilon, epsilon_in_root: true, weight_decay: 0.0 }), 1e-3)
        }
        "adadelta" => {
            let (decay, epsilon) = (number("rho", 0.95), number("epsilon", 1e-7));
            ("adadelta", Arc::new(Adadelta { decay, epsilon, weight_decay: 0.0 }), 1e-3)
        }
        "lion" => ("lion", Arc::new(Lion { beta1: adam.beta1, beta2: number("beta_2", 0.99), weight_decay: decay }), 1e-3),
        _ => {
            let mistake = Mistake::new(format!("the optimiser `{}` is not supported", keras.class));
            return Err(mistake.help("SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta and Lion are"));
        }
    })
}

/// Kiln's metric of that name.
fn metric(name: &str) -> Option<Metric> {
    Some(match name.to_lowercase().as_str() {
        "accuracy" | "acc" | "sparse_categorical_accuracy" | "categorical_accuracy" | "binary_accuracy" => Metric::Accuracy,
        "top_k_categorical_accuracy" | "sparse_top_k_categorical_accuracy" => Metric::TopK(5),
        "precision" => Metric::Precision,
        "recall" => Metric::Recall,
        "f1_score" => Metric::F1,
        "auc" => Metric::Auc,
        "mae" | "mean_absolute_error" => Metric::MeanAbsoluteError,
        "mse" | "mean_squared_error" => Metric::MeanSquaredError,
        _ => return None,
    })
}

impl Loss {
    fn in_our_words(&self) -> Result<config::Loss, Mistake> {
        let (logits, label_smoothing) = (self.from_logits, self.label_smoothing);
        if !(0.0..1.0).contains(&label_smoothing) {
            return Err(Mistake::new(format!("`label_smoothing` is {label_smoothing}, but a part from 0 up to 1 is wanted")));
        }
        if let Some(Setting::Text(reduction)) =
            self.settings.get("reduction").filter(|r| **r == Setting::Text("sum".into()) || **r == Setting::Text("none".into()))
        {
            return Err(Mistake::new(format!("the reduction `{reduction}` of losses is not supported")).help("losses are averaged"));
        }
        if let Some(Setting::Number(class)) = self.settings.get("ignore_class") {
            return Err(Mistake::new(format!("a loss that ignores the class {class} is not supported"))
                .help("give samples a class, or leave them out"));
        }
        if let Some(Setting::Number(axis)) = self.settings.get("axis").filter(|axis| **axis != Setting::Number(-1.0)) {
            return Err(
                Mistake::new(format!("classes of a loss along axis {axis} are not supported")).help("along the last one, -1, they are")
            );
        }
        Ok(match self.name.as_str() {
            "sparse_categorical_crossentropy" => config::Loss::SparseCrossEntropy { logits, label_smoothing, class_weights: Vec::new() },
            "categorical_crossentropy" => config::Loss::CrossEntropy { logits, label_smoothing },
            "binary_crossentropy" => config::Loss::BinaryCrossEntropy { logits, label_smoothing },
            "mse" | "mean_squared_error" => config::Loss::MeanSquaredError,
            "mae" | "mean_absolute_error" => config::Loss::MeanAbsoluteError,
            "huber" | "huber_loss" => match self.settings.get("delta") {
                Some(Setting::Number(delta)) if *delta > 0.0 => config::Loss::Huber(*delta),
                _ => config::Loss::Huber(1.0),
            },
            "hinge" => config::Loss::Hinge,
            _ => {
                let mistake = Mistake::new(format!("the loss `{}` is not supported", self.name));
                return Err(mistake.help("crossentropies, mean_squared_error, mean_absolute_error, huber and hinge are"));
            }
        })
    }
}

/// Reads what a file says; nothing of it is needed for predictions, so what is not understood is left out.
pub fn read(node: &Node) -> CompileConfig {
    let optimiser = node.field("optimizer").or_else(|| node.field("optimizer_config")).and_then(named);
    let loss_weights = match node.field("loss_weights").map(|node| &node.kind) {
        Some(Kind::List(items)) => items.iter().map(|item| (None, item.number().unwrap_or(1.0))).collect(),
        Some(Kind::Table(entries)) => entries.iter().filter_map(|(key, value)| Some((Some(key.name.clone()), value.number()?))).collect(),
        _ => Vec::new(),
    };
    let mut metrics = Vec::new();
    for name in ["metrics", "weighted_metrics"] {
        node.field(name).into_iter().for_each(|node| collect_names(node, &mut metrics));
    }
    let mut left_out: Vec<String> =
        metrics.iter().filter(|name| metric(name).is_none()).map(|name| format!("the metric `{name}`")).collect();
    if let Some(Setting::Object(schedule)) = optimiser.as_ref().and_then(|optimiser: &Named| optimiser.settings.get("learning_rate")) {
        left_out.push(format!("the schedule `{}` of the learning rate, which counts steps", schedule.class));
    }
    CompileConfig { optimiser, losses: node.field("loss").map(losses).unwrap_or_default(), loss_weights, metrics, left_out }
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

/// A loss for each output, by name or by place; none where there is none.
fn losses(node: &Node) -> Vec<(Option<String>, Option<Loss>)> {
    match &node.kind {
        Kind::List(items) => items.iter().map(|item| (None, loss(item))).collect(),
        Kind::Table(entries) if node.field("class_name").is_none() => {
            entries.iter().map(|(key, value)| (Some(key.name.clone()), loss(value))).collect()
        }
        _ => loss(node).map(|loss| (None, Some(loss))).into_iter().collect(),
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
    fn losses_that_are_other_functions_are_refused() {
        let told = |class: &str, setting: &str| {
            let text = format!(r#"{{"loss": {{"class_name": "{class}", "config": {{{setting}}}}}, "optimizer": "sgd"}}"#);
            let config = read(&read_json(&text).expect("it is JSON")).configuration(&["y".to_string()]);
            config.map(|config| format!("{:?}", config.losses[0].loss)).unwrap_or_else(|mistake| mistake.message)
        };
        let sparse = "SparseCategoricalCrossentropy";
        assert_eq!(told(sparse, r#""ignore_class": 0"#), "a loss that ignores the class 0 is not supported");
        assert!(told(sparse, r#""ignore_class": null"#).starts_with("SparseCrossEntropy"));
        assert_eq!(told("CategoricalCrossentropy", r#""axis": 1"#), "classes of a loss along axis 1 are not supported");
        assert!(told("BinaryCrossentropy", r#""axis": -1, "reduction": "sum_over_batch_size""#).starts_with("BinaryCrossEntropy"));
        assert_eq!(told("Hinge", r#""reduction": "sum""#), "the reduction `sum` of losses is not supported");
        assert_eq!(told("Dice", ""), "the loss `dice` is not supported");
    }

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
        let loss = config.losses[0].1.as_ref().expect("there is one");
        assert_eq!((loss.name.as_str(), loss.from_logits, loss.label_smoothing), ("categorical_crossentropy", true, 0.1));
        assert_eq!(config.metrics, ["accuracy", "precision"]);
        let by_output = read(&read_json(r#"{"loss": {"a": "mse", "b": "mae"}, "optimizer": "adam"}"#).expect("it is JSON"));
        assert_eq!(
            by_output
                .losses
                .iter()
                .map(|(output, loss)| (output.as_deref(), loss.as_ref().map_or("", |loss| loss.name.as_str())))
                .collect::<Vec<_>>(),
            [(Some("a"), "mse"), (Some("b"), "mae")]
        );
    }
}
