//! Model files as structs: what needs no shapes is read and checked here, every mistake of it at once.

use super::audio::{Audio, CtcTable};
use super::context::Care;
use super::layers::{NAMES, Read, read_layer};
use super::read::{read, suggest, word_and_number};
use super::text::Text;
use super::train::read_train;
use super::tree::{Key, Kind, Mistake, Node, Span};
use crate::losses::Penalty;
use crate::optim::Constraint;
use crate::training::config::TrainingConfig;
use kiln_ir::artifact::{ImageInput, Layout, Resize, TextInput};
use kiln_ir::{DType, Dim};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::Path;

/// Groups inside groups.
const MAX_DEPTH: usize = 16;
/// Words that mean something else in the text of programs.
const NO_SIZES: [&str; 5] = ["true", "false", "inf", "nan", "none"];

/// A model file as it was read.
pub struct File {
    pub head: Head,
    /// Each with where its name stands.
    pub inputs: Vec<(Input, Span)>,
    pub layers: Vec<Entry>,
    pub outputs: Vec<(String, Span)>,
    pub train: Option<TrainingConfig>,
    /// How texts become one of the inputs.
    pub text: Option<TextInput>,
    /// What artefacts say about the network: see `kiln_ir::graph::Module::metadata`.
    pub metadata: BTreeMap<String, String>,
}

#[derive(Deserialize, JsonSchema)]
pub struct Head {
    pub name: Option<String>,
    #[serde(default)]
    pub dtype: Floating,
    #[serde(default)]
    pub seed: u64,
    #[serde(rename = "input")]
    #[schemars(skip)]
    _input: Option<IgnoredAny>,
    #[serde(rename = "layer")]
    #[schemars(skip)]
    _layer: Option<IgnoredAny>,
    #[serde(rename = "outputs")]
    #[schemars(skip)]
    _outputs: Option<IgnoredAny>,
    #[serde(rename = "train")]
    #[schemars(skip)]
    _train: Option<IgnoredAny>,
    /// Names of the classes that the first output scores.
    pub labels: Option<Vec<String>>,
    /// How an output spells text.
    pub ctc: Option<CtcTable>,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
pub enum Floating {
    #[default]
    F32,
    F64,
    F16,
    Bf16,
}

impl Floating {
    pub fn dtype(self) -> DType {
        match self {
            Floating::F32 => DType::F32,
            Floating::F64 => DType::F64,
            Floating::F16 => DType::F16,
            Floating::Bf16 => DType::BF16,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
pub struct Input {
    pub name: String,
    /// Behind the batch, unless the batch is among them; names are sizes that stay open.
    #[schemars(with = "Vec<Size>")]
    pub shape: Vec<Dim>,
    /// The network's, or integers.
    pub dtype: Option<InputType>,
    /// How pictures become this input.
    pub image: Option<Image>,
    /// How sounds become this input.
    pub audio: Option<Audio>,
    /// How texts become this input.
    pub text: Option<Text>,
}

/// How pictures become an input; see [`ImageInput`].
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Image {
    scale: f64,
    mean: Vec<f64>,
    std: Vec<f64>,
    #[schemars(with = "String")]
    resize: Resize,
    shorter_side: Option<u32>,
    invert: bool,
}

impl Default for Image {
    fn default() -> Image {
        let (scale, resize) = (1.0 / 255.0, Resize::default());
        Image { scale, mean: Vec::new(), std: Vec::new(), resize, shorter_side: None, invert: false }
    }
}

impl Image {
    /// In the words of artefacts. Errors: the input's shape is no picture's.
    fn describe(&self, input: &Input) -> Result<ImageInput, Mistake> {
        let [channels, ..] = &input.shape[..] else { return Err(Mistake::new("a picture's shape is [channels, height, width]")) };
        let channels =
            channels.as_const().filter(|c| [1, 3].contains(c) && input.shape.len() == 3).ok_or_else(|| {
                Mistake::new("a picture's shape is [channels, height, width], with 1 channel (grey) or 3 (red, green, blue)")
            })? as u32;
        for (name, list) in [("mean", &self.mean), ("std", &self.std)] {
            if !list.is_empty() && list.len() != channels as usize {
                return Err(Mistake::new(format!("`{name}` has {} numbers for {channels} channels", list.len())));
            }
        }
        Ok(ImageInput {
            input: input.name.clone(),
            layout: Layout::Nchw,
            channels,
            scale: self.scale,
            mean: self.mean.clone(),
            std: self.std.clone(),
            resize: self.resize,
            shorter_side: self.shorter_side,
            invert: self.invert,
        })
    }
}

/// A number, or a name of a size that stays open.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "its schema is what is wanted")]
enum Size {
    Known(u64),
    Open(String),
}

#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    F32,
    F64,
    F16,
    Bf16,
    I32,
    I64,
    U8,
}

impl InputType {
    pub fn dtype(self) -> DType {
        match self {
            InputType::F32 => DType::F32,
            InputType::F64 => DType::F64,
            InputType::F16 => DType::F16,
            InputType::Bf16 => DType::BF16,
            InputType::I32 => DType::I32,
            InputType::I64 => DType::I64,
            InputType::U8 => DType::U8,
        }
    }
}

/// One entry of a list of layers.
pub struct Entry {
    pub word: String,
    pub span: Span,
    pub name: Option<(String, Span)>,
    pub inputs: Option<Vec<(String, Span)>>,
    pub share: Option<(String, Span)>,
    pub repeat: usize,
    pub care: Care,
    /// What its output adds to the loss of training, as its weights do, divided by the number of samples.
    pub activity: Penalty,
    pub body: Body,
}

pub enum Body {
    Layer(Read),
    Group { residual: bool, layers: Vec<Entry> },
}

/// Reads everything that needs no shapes; paths in it begin in `folder`. Errors: all that is wrong with it.
pub fn read_file(root: &Node, folder: &Path) -> Result<File, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let head = read::<Head>(root).map_err(|mistake| vec![mistake])?;
    let Kind::Table(entries) = &root.kind else { return Err(vec![Mistake::new("expected a table").at(root.span)]) };
    let find = |name: &str| entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node);
    // It becomes part of the names of files and symbols.
    mistakes.extend(find("name").and_then(|node| checked_name(node).err()));
    let items = |name: &str, what: &str| match find(name).map(|node| (&node.kind, node.span)) {
        Some((Kind::List(items), _)) if !items.is_empty() => Ok(items.as_slice()),
        Some((_, span)) => Err(Mistake::new(format!("`{name}` lists tables, one at least, {what}")).at(span)),
        None => Err(Mistake::new(format!("`{name}` is missing: tables, {what}")).at((0, 0))),
    };
    let mut inputs = Vec::new();
    match items("input", "each with a name and a shape: [[input]]") {
        Ok(nodes) => nodes.iter().for_each(|node| match read_input(node) {
            Ok(input) => inputs.push(input),
            Err(mistake) => mistakes.push(mistake),
        }),
        Err(mistake) => mistakes.push(mistake),
    }
    let layers = match items("layer", "each with a type: [[layer]]") {
        Ok(nodes) => read_layers(nodes, 0, &mut mistakes),
        Err(mistake) => {
            mistakes.push(mistake);
            Vec::new()
        }
    };
    let outputs = find("outputs").map_or(Ok(Vec::new()), names).unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        Vec::new()
    });
    let train = find("train").map(read_train).transpose().unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        None
    });
    if train.as_ref().is_some_and(|train| train.precision.is_some()) && head.dtype.dtype().size_bytes() == 2 {
        let mistake = Mistake::new("`precision` is for networks whose parameters are wider: their `dtype` is f32 or f64");
        mistakes.push(mistake.at(find("train").map_or((0, 0), |node| node.span)));
    }
    let mut metadata = BTreeMap::new();
    if let Some(labels) = &head.labels {
        metadata.insert("kiln.labels".to_string(), serde_json::json!(labels).to_string());
    }
    for (input, span) in &inputs {
        match input.image.as_ref().map(|image| image.describe(input)).transpose() {
            Ok(Some(_)) if metadata.contains_key("kiln.image") => mistakes.push(Mistake::new("only one input takes pictures").at(*span)),
            Ok(Some(image)) => {
                metadata.insert("kiln.image".to_string(), serde_json::json!(image).to_string());
            }
            Ok(None) => {}
            Err(mistake) => mistakes.push(mistake.at(*span)),
        }
    }
    super::audio::describe(&inputs, &head, find("ctc").map_or((0, 0), |node| node.span), &mut metadata, &mut mistakes);
    let mut text = None;
    for (input, span) in &inputs {
        match input.text.as_ref().map(|text| text.describe(input, folder)).transpose() {
            Ok(Some(_)) if text.is_some() => mistakes.push(Mistake::new("only one input takes texts").at(*span)),
            Ok(Some(_)) if input.image.is_some() => mistakes.push(Mistake::new("an input takes pictures or texts, not both").at(*span)),
            Ok(Some(described)) => {
                metadata.insert("kiln.text".to_string(), serde_json::json!(described).to_string());
                text = Some(described);
            }
            Ok(None) => {}
            Err(mistake) => mistakes.push(mistake.at(*span)),
        }
    }
    let first = outputs.first().map(|(name, _)| name.as_str());
    if let Some(scores) = train.as_ref().and_then(|train| train.first_scores(first)) {
        metadata.insert("kiln.scores".to_string(), serde_json::json!(scores).to_string());
    }
    if mistakes.is_empty() { Ok(File { head, inputs, layers, outputs, train, text, metadata }) } else { Err(mistakes) }
}

/// An input and where its name stands.
fn read_input(node: &Node) -> Result<(Input, Span), Mistake> {
    let input: Input = read(node)?;
    let Kind::Table(entries) = &node.kind else { return Err(Mistake::new("an input is a table").at(node.span)) };
    let value = |name: &str| entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node);
    let name = value("name").expect("what was read has a name");
    checked_name(name)?;
    for dim in &input.shape {
        let fits = dim.as_const().is_some_and(|c| c >= 0) || dim.as_symbol().is_some_and(|s| !NO_SIZES.contains(&s.name()));
        if !fits {
            let mistake = Mistake::new(format!("{dim} is no size: numbers from 0 on and names of open sizes are"));
            return Err(mistake.at(value("shape").map_or(node.span, |shape| shape.span)));
        }
    }
    Ok((input, name.span))
}

/// A name or a list of names.
fn names(node: &Node) -> Result<Vec<(String, Span)>, Mistake> {
    match &node.kind {
        Kind::Text(name) => Ok(vec![(name.clone(), node.span)]),
        Kind::List(items) => items.iter().map(|item| Ok((read(item)?, item.span))).collect(),
        _ => Err(Mistake::new("expected a name, or a list of names").at(node.span)),
    }
}

fn read_layers(nodes: &[Node], depth: usize, mistakes: &mut Vec<Mistake>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for node in nodes {
        match read_entry(node, depth, mistakes) {
            Ok(entry) => entries.push(entry),
            Err(mistake) => mistakes.push(mistake.at(node.span)),
        }
    }
    entries
}

fn read_entry(node: &Node, depth: usize, mistakes: &mut Vec<Mistake>) -> Result<Entry, Mistake> {
    let Kind::Table(entries) = &node.kind else { return Err(Mistake::new("a layer is a table with a `type`")) };
    let mut entry = Entry {
        word: String::new(),
        span: node.span,
        name: None,
        inputs: None,
        share: None,
        repeat: 1,
        care: Care::default(),
        activity: Penalty::default(),
        body: Body::Group { residual: false, layers: Vec::new() },
    };
    let mut settings: Vec<(Key, Node)> = Vec::new();
    let mut inner = None;
    for (key, value) in entries {
        match key.name.as_str() {
            "type" => (entry.word, entry.span) = (read(value)?, value.span),
            "name" => entry.name = Some((checked_name(value)?, value.span)),
            "inputs" => entry.inputs = Some(names(value)?),
            "share" => entry.share = Some((read(value)?, value.span)),
            "repeat" => entry.repeat = read::<u32>(value)? as usize,
            "l1" => entry.care.penalty.l1 = factor(value)?,
            "l2" => entry.care.penalty.l2 = factor(value)?,
            "activity_l1" => entry.activity.l1 = factor(value)?,
            "activity_l2" => entry.activity.l2 = factor(value)?,
            "constraint" => entry.care.constraint = Some(constraint(value)?),
            "layers" => inner = Some(value),
            _ => settings.push((key.clone(), value.clone())),
        }
    }
    if !entries.iter().any(|(key, _)| key.name == "type") {
        return Err(Mistake::new("a layer needs a `type`").help(format!("one of {}", NAMES.join(", "))));
    }
    if entry.repeat == 0 {
        return Err(Mistake::new("`repeat` is at least 1").at(entry.span));
    }
    let residual = entry.word == "residual";
    if entry.care != Care::default() && (residual || entry.word == "sequence") {
        return Err(Mistake::new(format!("a `{}` has no weights of its own: `l1`, `l2` and `constraint` are its layers'", entry.word)));
    }
    entry.body = if residual || entry.word == "sequence" {
        if let Some((key, _)) = settings.first() {
            let mistake = Mistake::new(format!("nothing here is called `{}`", key.name)).at(key.span);
            return Err(suggest(mistake, &key.name, ["name", "inputs", "repeat", "layers"]));
        }
        let Some(Node { kind: Kind::List(inner), .. }) = inner else {
            return Err(Mistake::new(format!("a `{}` holds `layers`", entry.word)).at(entry.span));
        };
        if depth == MAX_DEPTH {
            return Err(Mistake::new(format!("groups lie in one another more than {MAX_DEPTH} deep")).at(entry.span));
        }
        Body::Group { residual, layers: read_layers(inner, depth + 1, mistakes) }
    } else {
        if let Some(inner) = inner {
            return Err(Mistake::new("only a `sequence` and a `residual` hold `layers`").at(inner.span));
        }
        match read_layer(&entry.word, &Node { span: entry.span, kind: Kind::Table(settings) }) {
            Some(layer) => Body::Layer(layer?),
            None => {
                let mistake = Mistake::new(format!("there is no layer of type `{}`", entry.word)).at(entry.span);
                return Err(suggest(mistake, &entry.word, NAMES.iter().copied().chain(["sequence", "residual"])));
            }
        }
    };
    Ok(entry)
}

/// A factor of a penalty.
fn factor(node: &Node) -> Result<f64, Mistake> {
    let factor: f64 = read(node)?;
    if factor >= 0.0 && factor.is_finite() {
        Ok(factor)
    } else {
        Err(Mistake::new(format!("{factor} is no factor of a penalty: numbers from 0 on are")).at(node.span))
    }
}

/// `max_norm(c)`, `unit_norm` or `non_negative`.
fn constraint(node: &Node) -> Result<Constraint, Mistake> {
    const WORDS: &[(&str, Option<f64>)] = &[("max_norm", Some(2.0)), ("unit_norm", None), ("non_negative", None)];
    let text: String = read(node)?;
    let (word, number) = word_and_number(&text, "constraint", WORDS).map_err(|mistake| mistake.at(node.span))?;
    Ok(match word {
        "max_norm" if number > 0.0 => Constraint::MaxNorm(number),
        "max_norm" => return Err(Mistake::new("a norm is at most a number above 0").at(node.span)),
        "unit_norm" => Constraint::UnitNorm,
        _ => Constraint::NonNegative,
    })
}

/// A name of letters, digits and underscores: names become those of parameters, whose parts are separated by dots.
fn checked_name(node: &Node) -> Result<String, Mistake> {
    let name: String = read(node)?;
    let fits = |ch: char| ch.is_ascii_alphanumeric() || ch == '_';
    if name.is_empty() || !name.chars().all(fits) {
        return Err(Mistake::new(format!("`{name}` is no name: letters, digits and `_` are")).at(node.span));
    }
    Ok(name)
}
