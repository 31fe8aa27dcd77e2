//! The `[train]` table.

use super::read::{read, suggest, word_and_number};
use super::tree::{Kind, Mistake, Node, Span};
use crate::optim::{Adadelta, Adagrad, Adam, AdamW, Lion, Optimiser, RmsProp, Sgd};
use crate::training::config::{Loss, LossTerm, TrainingConfig};
use kiln_ir::DType;
use kiln_runtime::training::recipe::{Augment, EarlyStopping, Metric, RateSchedule, Schedule};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::sync::Arc;

/// Settings that need no words of their own.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
struct Settings {
    epochs: u32,
    batch: u32,
    accumulate: u32,
    learning_rate: Option<f64>,
    warmup: f64,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    ema: Option<f64>,
    precision: Option<Precision>,
    freeze: Vec<String>,
    metrics: Option<Vec<String>>,
    early_stopping: Option<Stopping>,
    #[schemars(with = "Variations")]
    augment: Augment,
    validation: f64,
    #[serde(rename = "loss")]
    #[schemars(skip)]
    _loss: Option<IgnoredAny>,
    #[serde(rename = "optimiser")]
    #[schemars(skip)]
    _optimiser: Option<IgnoredAny>,
    #[serde(rename = "schedule")]
    #[schemars(skip)]
    _schedule: Option<IgnoredAny>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            epochs: 10,
            batch: 32,
            accumulate: 1,
            learning_rate: None,
            warmup: 0.0,
            clip_norm: None,
            clip_value: None,
            ema: None,
            precision: None,
            freeze: Vec::new(),
            metrics: None,
            early_stopping: None,
            augment: Augment::default(),
            validation: 0.1,
            _loss: None,
            _optimiser: None,
            _schedule: None,
        }
    }
}

/// What training computes in.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Precision {
    Bf16,
    F16,
}

impl Precision {
    fn dtype(self) -> DType {
        match self {
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
struct Stopping {
    patience: u32,
    #[serde(default)]
    least_gain: f64,
}

/// Reads the table. Errors: the first thing that is wrong with it.
pub fn read_train(node: &Node) -> Result<TrainingConfig, Mistake> {
    let settings: Settings = read(node)?;
    let at = |name: &str| entry(node, name).map_or(node.span, |value| value.span);
    let wrong = |name: &str, text: String| Mistake::new(format!("`{name}` {text}")).at(at(name));
    for (name, value) in [("epochs", settings.epochs), ("batch", settings.batch), ("accumulate", settings.accumulate)] {
        if value == 0 {
            return Err(wrong(name, "is at least 1".into()));
        }
    }
    let positive = [("learning_rate", settings.learning_rate), ("clip_norm", settings.clip_norm), ("clip_value", settings.clip_value)];
    for (name, value) in positive {
        if let Some(value) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
            return Err(wrong(name, format!("is {value}, but a number above 0 is wanted")));
        }
    }
    for (name, value) in [("ema", settings.ema), ("validation", Some(settings.validation))] {
        if let Some(value) = value.filter(|v| !(0.0..1.0).contains(v)) {
            return Err(wrong(name, format!("is {value}, but a part from 0 up to 1 is wanted")));
        }
    }
    if !(settings.warmup.is_finite() && settings.warmup >= 0.0) {
        return Err(wrong("warmup", format!("is {}, but a number of epochs is wanted", settings.warmup)));
    }
    let augment = settings.augment;
    let sizes = [augment.rotate, augment.zoom, augment.noise, augment.speed, augment.time_shift, augment.gain];
    if sizes.iter().any(|size| !(size.is_finite() && *size >= 0.0)) || augment.zoom >= 1.0 || augment.speed >= 1.0 {
        return Err(wrong("augment", "has a size below 0 or, of `zoom` and `speed`, from 1 on".into()));
    }
    if settings.early_stopping.as_ref().is_some_and(|stopping| !(stopping.least_gain.is_finite() && stopping.least_gain >= 0.0)) {
        return Err(wrong("early_stopping", "has a `least_gain` that is no number from 0 on".into()));
    }
    let losses = match entry(node, "loss") {
        None => {
            let mistake = Mistake::new("`loss` is missing: what training makes small").at(node.span);
            return Err(mistake.help(format!("one of {}", LOSSES.join(", "))));
        }
        Some(Node { kind: Kind::List(items), .. }) => items.iter().map(loss).collect::<Result<Vec<_>, _>>()?,
        Some(one) => vec![loss(one)?],
    };
    if losses.is_empty() {
        return Err(wrong("loss", "lists one at least".into()));
    }
    let (optimiser_name, optimiser, usual_rate) = match entry(node, "optimiser") {
        None => ("adam", Arc::new(Adam::default()) as Arc<dyn Optimiser>, 1e-3),
        Some(value) => optimiser(value)?,
    };
    let rate = entry(node, "schedule").map_or(Ok(RateSchedule::Constant), rate_schedule)?;
    let metrics = settings.metrics.map(|list| list.iter().map(|text| metric(text)).collect::<Result<Vec<_>, _>>());
    let schedule = Schedule {
        epochs: settings.epochs,
        batch: settings.batch,
        accumulate: settings.accumulate,
        learning_rate: settings.learning_rate.unwrap_or(usual_rate),
        rate,
        warmup: settings.warmup,
    };
    Ok(TrainingConfig {
        losses,
        optimiser,
        optimiser_name,
        clip_norm: settings.clip_norm,
        clip_value: settings.clip_value,
        ema: settings.ema,
        precision: settings.precision.map(Precision::dtype),
        freeze: settings.freeze,
        schedule,
        metrics: metrics.transpose().map_err(|mistake| mistake.at(at("metrics")))?,
        early_stopping: settings.early_stopping.map(|s| EarlyStopping { patience: s.patience, least_gain: s.least_gain }),
        augment: settings.augment,
        validation: settings.validation,
    })
}

fn entry<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Kind::Table(entries) = &node.kind else { return None };
    entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
}

/// A word, or a table whose `type` is the word: the word, where it stands, and the other settings.
fn word_and_settings(node: &Node) -> Result<(String, Span, Node), Mistake> {
    match &node.kind {
        Kind::Text(word) => Ok((word.clone(), node.span, Node { span: node.span, kind: Kind::Table(Vec::new()) })),
        Kind::Table(entries) => {
            let word = entry(node, "type").ok_or_else(|| Mistake::new("a `type` is missing").at(node.span))?;
            let rest = entries.iter().filter(|(key, _)| key.name != "type").cloned().collect();
            Ok((read(word)?, word.span, Node { span: node.span, kind: Kind::Table(rest) }))
        }
        _ => Err(Mistake::new("expected a word, or a table with a `type`").at(node.span)),
    }
}

fn unknown(what: &str, word: &str, span: Span, words: &[&str]) -> Mistake {
    suggest(Mistake::new(format!("there is no {what} `{word}`")).at(span), word, words.iter().copied())
}

/// Every loss.
pub const LOSSES: &[&str] =
    &["sparse_cross_entropy", "cross_entropy", "binary_cross_entropy", "kl_divergence", "mse", "mae", "huber", "smooth_l1", "hinge", "ctc"];

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
struct OfClasses {
    logits: bool,
    label_smoothing: f64,
    class_weights: Vec<f64>,
}

impl Default for OfClasses {
    fn default() -> OfClasses {
        OfClasses { logits: true, label_smoothing: 0.0, class_weights: Vec::new() }
    }
}

/// What [`OfClasses`] has for losses without weights.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "its schema is what is wanted")]
struct OfDistributions {
    logits: Option<bool>,
    label_smoothing: Option<f64>,
}

#[derive(Deserialize, JsonSchema)]
struct OfLabels {
    #[serde(default)]
    blank: u32,
    #[serde(default)]
    drop_impossible: bool,
    /// The array of the data that has the number of time steps of each sample.
    input_lengths: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Delta {
    #[serde(default = "one")]
    delta: f64,
}

#[derive(Deserialize, JsonSchema)]
struct Beta {
    #[serde(default = "one")]
    beta: f64,
}

#[derive(Deserialize, JsonSchema)]
struct NoSettings {}

fn one() -> f64 {
    1.0
}

fn loss(node: &Node) -> Result<LossTerm, Mistake> {
    let (word, span, mut settings) = word_and_settings(node)?;
    let Kind::Table(entries) = &mut settings.kind else { return Err(Mistake::new("expected a table").at(node.span)) };
    let mut take = |name: &str| entries.iter().position(|(key, _)| key.name == name).map(|at| entries.remove(at).1);
    let output = take("output").map(|value| read::<String>(&value).map_err(|m| m.at(value.span))).transpose()?;
    let weight = take("weight").map_or(Ok(1.0), |value| read::<f64>(&value).map_err(|m| m.at(value.span)))?;
    if !(weight.is_finite() && weight >= 0.0) {
        return Err(Mistake::new(format!("`weight` is {weight}, but a number from 0 on is wanted")).at(node.span));
    }
    let positive = |name: &str, value: f64| match value.is_finite() && value > 0.0 {
        true => Ok(value),
        false => Err(Mistake::new(format!("`{name}` is {value}, but a number above 0 is wanted")).at(node.span)),
    };
    let of_classes = || -> Result<OfClasses, Mistake> {
        let read: OfClasses = read(&settings)?;
        if !(0.0..1.0).contains(&read.label_smoothing) {
            return Err(Mistake::new("`label_smoothing` is a part from 0 up to 1").at(node.span));
        }
        if !read.class_weights.iter().all(|w| w.is_finite() && *w >= 0.0) {
            return Err(Mistake::new("`class_weights` are numbers from 0 on").at(node.span));
        }
        if !read.class_weights.is_empty() && word != "sparse_cross_entropy" {
            return Err(Mistake::new("only a `sparse_cross_entropy` has `class_weights`").at(node.span));
        }
        Ok(read)
    };
    let none = || read::<NoSettings>(&settings).map(drop);
    let loss = match word.as_str() {
        "sparse_cross_entropy" => {
            let OfClasses { logits, label_smoothing, class_weights } = of_classes()?;
            Loss::SparseCrossEntropy { logits, label_smoothing, class_weights }
        }
        "cross_entropy" => of_classes().map(|s| Loss::CrossEntropy { logits: s.logits, label_smoothing: s.label_smoothing })?,
        "binary_cross_entropy" => {
            of_classes().map(|s| Loss::BinaryCrossEntropy { logits: s.logits, label_smoothing: s.label_smoothing })?
        }
        "kl_divergence" => none().map(|()| Loss::KlDivergence)?,
        "mse" => none().map(|()| Loss::MeanSquaredError)?,
        "mae" => none().map(|()| Loss::MeanAbsoluteError)?,
        "huber" => Loss::Huber(positive("delta", read::<Delta>(&settings)?.delta)?),
        "smooth_l1" => Loss::SmoothL1(positive("beta", read::<Beta>(&settings)?.beta)?),
        "hinge" => none().map(|()| Loss::Hinge)?,
        "ctc" => {
            let OfLabels { blank, drop_impossible, input_lengths } = read(&settings)?;
            if input_lengths.as_ref().is_some_and(String::is_empty) {
                return Err(Mistake::new("`input_lengths` names an array of the data").at(node.span));
            }
            Loss::Ctc { blank: blank as usize, drop_impossible, input_lengths }
        }
        _ => return Err(unknown("loss", &word, span, LOSSES)),
    };
    Ok(LossTerm { output, weight, loss })
}

/// Every optimiser.
pub const OPTIMISERS: &[&str] = &["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "lion"];

/// The optimiser, and the learning rate that is usual for it.
fn optimiser(node: &Node) -> Result<(&'static str, Arc<dyn Optimiser>, f64), Mistake> {
    let (word, span, settings) = word_and_settings(node)?;
    check_numbers(&settings)?;
    Ok(match word.as_str() {
        "sgd" => ("sgd", Arc::new(read::<Sgd>(&settings)?), 1e-2),
        "rmsprop" => ("rmsprop", Arc::new(read::<RmsProp>(&settings)?), 1e-3),
        "adagrad" => ("adagrad", Arc::new(read::<Adagrad>(&settings)?), 1e-2),
        "adadelta" => ("adadelta", Arc::new(read::<Adadelta>(&settings)?), 1.0),
        "adam" => ("adam", Arc::new(read::<Adam>(&settings)?), 1e-3),
        "adamw" => {
            let decays = entry(&settings, "weight_decay").is_some();
            let adam: Adam = read(&settings)?;
            let usual = AdamW::default().adam.weight_decay;
            ("adamw", Arc::new(AdamW { adam: Adam { weight_decay: if decays { adam.weight_decay } else { usual }, ..adam } }), 1e-3)
        }
        "lion" => ("lion", Arc::new(read::<Lion>(&settings)?), 1e-4),
        _ => return Err(unknown("optimiser", &word, span, OPTIMISERS)),
    })
}

/// Errors unless the numbers of an optimiser lie where its formula is defined.
fn check_numbers(settings: &Node) -> Result<(), Mistake> {
    let Kind::Table(entries) = &settings.kind else { return Ok(()) };
    for (key, value) in entries {
        let number = match value.kind {
            Kind::Integer(number) => number as f64,
            Kind::Float(number) => number,
            _ => continue,
        };
        let (fits, wanted) = match key.name.as_str() {
            "beta1" | "beta2" | "decay" | "momentum" => ((0.0..1.0).contains(&number), "a part from 0 up to 1"),
            "epsilon" => (number > 0.0 && number.is_finite(), "a number above 0"),
            _ => (number >= 0.0 && number.is_finite(), "a number from 0 on"),
        };
        if !fits {
            return Err(Mistake::new(format!("`{}` is {number}, but {wanted} is wanted", key.name)).at(value.span));
        }
    }
    Ok(())
}

/// Every schedule of the learning rate.
pub const SCHEDULES: &[&str] = &["constant", "step", "exponential", "cosine", "linear", "one_cycle", "reduce_on_plateau"];

#[derive(Deserialize, JsonSchema)]
struct Steps {
    every: u32,
    #[serde(default = "tenth")]
    factor: f64,
}

#[derive(Deserialize, JsonSchema)]
struct Factor {
    factor: f64,
}

#[derive(Deserialize, JsonSchema)]
struct Last {
    #[serde(default)]
    last: f64,
}

#[derive(Deserialize, JsonSchema)]
struct Cycle {
    #[serde(default = "twenty_fifth")]
    first: f64,
    #[serde(default = "three_tenths")]
    peak: f64,
    #[serde(default = "nearly_nothing")]
    last: f64,
}

#[derive(Deserialize, JsonSchema)]
struct Plateau {
    #[serde(default = "three")]
    patience: u32,
    #[serde(default = "tenth")]
    factor: f64,
    #[serde(default)]
    least: f64,
}

fn tenth() -> f64 {
    0.1
}

fn twenty_fifth() -> f64 {
    0.04
}

fn three_tenths() -> f64 {
    0.3
}

fn nearly_nothing() -> f64 {
    4e-6
}

fn three() -> u32 {
    3
}

fn rate_schedule(node: &Node) -> Result<RateSchedule, Mistake> {
    let (word, span, settings) = word_and_settings(node)?;
    let parts = |values: &[f64]| match values.iter().all(|v| (0.0..=1.0).contains(v)) {
        true => Ok(()),
        false => Err(Mistake::new("parts of the learning rate and of the time are from 0 to 1").at(node.span)),
    };
    Ok(match word.as_str() {
        "constant" => read::<NoSettings>(&settings).map(|_| RateSchedule::Constant)?,
        "step" => {
            let Steps { every, factor } = read(&settings)?;
            parts(&[factor])?;
            RateSchedule::Step { every: every.max(1), factor }
        }
        "exponential" => {
            let Factor { factor } = read(&settings)?;
            parts(&[factor])?;
            RateSchedule::Exponential { factor }
        }
        "cosine" | "linear" => {
            let Last { last } = read(&settings)?;
            parts(&[last])?;
            if word == "cosine" { RateSchedule::Cosine { last } } else { RateSchedule::Linear { last } }
        }
        "one_cycle" => {
            let Cycle { first, peak, last } = read(&settings)?;
            parts(&[first, peak, last])?;
            RateSchedule::OneCycle { first, peak, last }
        }
        "reduce_on_plateau" => {
            let Plateau { patience, factor, least } = read(&settings)?;
            parts(&[factor, least])?;
            RateSchedule::ReduceOnPlateau { patience, factor, least }
        }
        _ => return Err(unknown("schedule", &word, span, SCHEDULES)),
    })
}

/// The metrics; `top_k` takes its number.
pub const METRICS: &[(&str, Option<f64>)] = &[
    ("accuracy", None),
    ("top_k", Some(5.0)),
    ("precision", None),
    ("recall", None),
    ("f1", None),
    ("auc", None),
    ("mae", None),
    ("mse", None),
    ("error_rate", None),
    ("wer", None),
    ("cer", None),
    ("entity_f1", None),
];

fn metric(text: &str) -> Result<Metric, Mistake> {
    let (word, number) = word_and_number(text, "metric", METRICS)?;
    Ok(match word {
        "accuracy" => Metric::Accuracy,
        "top_k" if number >= 1.0 && number.fract() == 0.0 => Metric::TopK(number as u32),
        "top_k" => return Err(Mistake::new("`top_k` takes a whole number from 1 on")),
        "precision" => Metric::Precision,
        "recall" => Metric::Recall,
        "f1" => Metric::F1,
        "auc" => Metric::Auc,
        "mae" => Metric::MeanAbsoluteError,
        "error_rate" => Metric::ErrorRate,
        "wer" => Metric::WordErrorRate,
        "cer" => Metric::CharacterErrorRate,
        "entity_f1" => Metric::EntityF1,
        _ => Metric::MeanSquaredError,
    })
}

/// How pictures and sounds are varied: the fields of [`Augment`].
#[derive(JsonSchema)]
#[allow(dead_code, reason = "its schema is what is wanted")]
struct Variations {
    /// Mirrored from left to right, every second one.
    flip: Option<bool>,
    /// Moved by up to so many pixels each way.
    shift: Option<u32>,
    /// Turned by up to so many degrees each way.
    rotate: Option<f64>,
    /// Made larger or smaller by up to this part.
    zoom: Option<f64>,
    /// A square of this side blackened.
    cutout: Option<u32>,
    /// Normal noise added: of this deviation; to sounds, of a deviation up to this part of their loudness.
    noise: Option<f64>,
    /// Of sounds: played faster or slower by up to this part.
    speed: Option<f64>,
    /// Of sounds: moved by up to so many seconds each way.
    time_shift: Option<f64>,
    /// Of sounds: louder or softer by up to so many decibels.
    gain: Option<f64>,
}

/// Words with the schemas of their settings.
pub type Words = Vec<(&'static str, Schema)>;

/// Settings of the table by schema: those without words of their own, then for each setting with words the words with their settings.
pub fn schemas(generator: &mut SchemaGenerator) -> (Schema, Vec<(&'static str, Words)>) {
    let none = NoSettings::json_schema(generator);
    let losses = LOSSES.iter().map(|word| {
        let schema = match *word {
            "sparse_cross_entropy" => OfClasses::json_schema(generator),
            "cross_entropy" | "binary_cross_entropy" => OfDistributions::json_schema(generator),
            "ctc" => OfLabels::json_schema(generator),
            "huber" => Delta::json_schema(generator),
            "smooth_l1" => Beta::json_schema(generator),
            _ => none.clone(),
        };
        (*word, schema)
    });
    let losses = losses.collect();
    let optimisers = OPTIMISERS.iter().map(|word| {
        let schema = match *word {
            "sgd" => Sgd::json_schema(generator),
            "rmsprop" => RmsProp::json_schema(generator),
            "adagrad" => Adagrad::json_schema(generator),
            "adadelta" => Adadelta::json_schema(generator),
            "lion" => Lion::json_schema(generator),
            _ => Adam::json_schema(generator),
        };
        (*word, schema)
    });
    let optimisers = optimisers.collect();
    let schedules = SCHEDULES.iter().map(|word| {
        let schema = match *word {
            "step" => Steps::json_schema(generator),
            "exponential" => Factor::json_schema(generator),
            "cosine" | "linear" => Last::json_schema(generator),
            "one_cycle" => Cycle::json_schema(generator),
            "reduce_on_plateau" => Plateau::json_schema(generator),
            _ => none.clone(),
        };
        (*word, schema)
    });
    let schedules = schedules.collect();
    (Settings::json_schema(generator), vec![("loss", losses), ("optimiser", optimisers), ("schedule", schedules)])
}
