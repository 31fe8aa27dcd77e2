//! The model file frontend: a network written down layer by layer, in TOML or in the same words in JSON.
//! ```toml
//! name = "digits"
//! [[input]]
//! name = "image"
//! shape = [1, 28, 28]                    # the batch is understood
//! [[layer]]
//! type = "conv2d"
//! filters = 32
//! kernel = 3
//! activation = "relu"
//! [[layer]]
//! type = "flatten"
//! [[layer]]
//! type = "dense"
//! units = 10
//! ```
//! A layer takes what the one before it gives, or what `inputs` names. `name` names it, `share` lets it use another one's parameters,
//! `repeat` stands for several of it in a row; `sequence` and `residual` hold `layers` of their own. `outputs` names what the network
//! gives; without it, that is what the last layer gives. Parameters get their first values from `seed`.
//!
//! `compiler/MODELS.md` lists every layer and setting.
//!
//! Reading order: [`tree`] (text → values with places), [`read`] (values → structs), [`layers`] (the table of layers), `file`
//! (the whole of a file, with `audio`), [`context`] (what a layer sees) with `sequences` (what it knows of texts) and `states` (what functions remember): [`generation`] (the function that writes) and [`hearing`] (the one that hears), `network` (layers → graph), [`initialise`] (first values), [`schema`] (what editors know of all that),
//! [`tuning`] (files that say how a network of another file is trained on).

mod audio;
pub mod context;
mod file;
pub mod generation;
pub mod hearing;
pub mod initialise;
pub mod layers;
mod network;
pub mod read;
pub mod schema;
mod sequences;
mod states;
mod text;
mod train;
pub mod tree;
pub mod tuning;

pub use network::{ACTIVITY, STATISTIC};

use crate::arrays::to_tensor;
use crate::training::config::TrainingConfig;
use context::ParameterInfo;
use generation::Writer;
use hearing::Hearer;
use kiln_ir::artifact::TextInput;
use kiln_ir::graph::Parameter;
use kiln_ir::{Diagnostic, Graph, Module, Tensor, ops};
use kiln_runtime::arrays::Array;
use kiln_runtime::files::file_error;
use kiln_runtime::training::checkpoint;
use kiln_runtime::training::learnt::Learnt;
use std::collections::BTreeMap;
use std::path::Path;
use tree::{Mistake, Node};

/// The languages of model files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

impl Language {
    /// By the ending of a file's name; `None` for others.
    pub fn of(path: &Path) -> Option<Language> {
        match path.extension()?.to_str()? {
            "toml" => Some(Language::Toml),
            "json" => Some(Language::Json),
            _ => None,
        }
    }
}

/// What is added to a matrix that stays: `scale` · `first` · `second`, of which the second axis of one and the first of the other are short.
#[derive(Clone, PartialEq, Debug)]
pub struct Adapter {
    /// The parameter that stays.
    pub weight: String,
    /// The parameter with its rows.
    pub first: String,
    /// The parameter with its columns.
    pub second: String,
    /// The length of the short axes.
    pub rank: usize,
    /// The factor.
    pub scale: f64,
}

/// A network that was read.
#[derive(Clone, Debug)]
pub struct Model {
    /// The function `predict` and its parameters; those of a model file have no values yet.
    pub module: Module,
    /// How each parameter begins, and whether training changes it.
    pub parameters: BTreeMap<String, ParameterInfo>,
    /// What random numbers depend on.
    pub seed: u64,
    /// The function that training differentiates: like `predict`, but it draws what is dropped out by its last input, `key: u64[]`,
    /// normalises batches by their own statistics, and gives, behind what the network gives, parameters that no gradient changes
    /// as they are after the step, under names that begin with [`STATISTIC`], and before those [`ACTIVITY`] if that costs something.
    pub training: Graph,
    /// How it is trained, if that was said.
    pub config: Option<TrainingConfig>,
    /// What is trained in the place of matrices that stay.
    pub adapters: Vec<Adapter>,
    /// The function that writes token by token, of a network that scores the next token of a text, or why it has none.
    pub writer: Option<Result<Writer, Diagnostic>>,
    /// The function that hears a stream piece by piece, of a network that takes a sound, or why it has none.
    pub hearer: Option<Result<Hearer, Diagnostic>>,
}

impl Model {
    /// The module with the values that the seed gives to parameters without any. Errors: they do not fit into memory.
    pub fn initialised(&self) -> Result<Module, Vec<Diagnostic>> {
        let mut module = self.module.clone();
        for (name, info) in &self.parameters {
            if module.parameters.get(name).is_some_and(|parameter| parameter.value.is_some()) {
                continue;
            }
            let shape = ops::constants(&info.ty.shape).map_err(|error| vec![Diagnostic::new("model_parameter", error)])?;
            let values = info.initialiser.values(self.seed, name, &shape, info.fans).ok_or_else(|| {
                let message = format!("parameter `{name}` is {}, which does not fit into memory", info.ty);
                vec![Diagnostic::new("model_parameter", message)]
            })?;
            let value = Tensor::from_floats(info.ty.dtype, shape, values);
            module.parameters.insert(name.clone(), Parameter { ty: info.ty.clone(), value: Some(value) });
        }
        Ok(module)
    }
}

impl Model {
    /// Writes the parameters that training begins with: those of the network's file, and those that the seed gives. Errors: `file`,
    /// `memory`.
    pub fn save_initialised(&self, path: &Path) -> Result<(), Vec<Diagnostic>> {
        let module = self.initialised()?;
        let mut tensors = Vec::new();
        for (name, info) in &self.parameters {
            let value = module.parameters[name].value.as_ref().expect("it was initialised");
            let array = Array::from_bytes(value.dtype(), value.shape().to_vec(), value.bytes()).map_err(|error| vec![error])?;
            tensors.push((info.slot(name), array));
        }
        checkpoint::save(path, tensors.iter().map(|(slot, array)| (slot, array)), "").map_err(|error| vec![error])
    }

    /// The module with the values that a file of training has. Errors: `file`; `checkpoint` when it is damaged or of another network.
    pub fn trained(&self, path: &Path) -> Result<Module, Vec<Diagnostic>> {
        let slots = self.parameters.iter().map(|(name, info)| info.slot(name)).collect::<Vec<_>>();
        let (arrays, learnt) = checkpoint::load(path, &slots).map_err(|error| vec![error])?;
        let mut module = self.module.clone();
        add_learnt(&mut module, Learnt::of_text(&learnt));
        for ((name, info), array) in self.parameters.iter().zip(arrays) {
            module.parameters.insert(name.clone(), Parameter { ty: info.ty.clone(), value: Some(to_tensor(&array)) });
        }
        Ok(module)
    }
}

/// Lets metadata say what training found out about its data, where the network does not say so itself.
fn add_learnt(module: &mut Module, learnt: Learnt) {
    if let Some(labels) = learnt.labels {
        module.metadata.entry("kiln.labels".into()).or_insert_with(|| serde_json::json!(labels).to_string());
    }
    let text: Option<TextInput> = module.metadata.get("kiln.text").and_then(|text| serde_json::from_str(text).ok());
    if let (Some(text), Some(vocabulary)) = (text, learnt.vocabulary) {
        let text = TextInput { vocabulary: Some(vocabulary), ..text };
        module.metadata.insert("kiln.text".into(), serde_json::json!(text).to_string());
    }
}

/// Reads the model file at `path`, whose ending says its language.
///
/// Errors: `file`; everything that can be wrong with a model file, with line and column.
pub fn load(path: &Path, language: Language) -> Result<Model, Vec<Diagnostic>> {
    let text = std::fs::read_to_string(path).map_err(|error| vec![file_error("read", path, &error)])?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    parse(&path.display().to_string(), &stem, &text, language)
}

/// Reads the text of a model file; `place` is what diagnostics call it, `name` the network's unless it says its own.
///
/// Errors: as [`load`].
pub fn parse(place: &str, name: &str, text: &str, language: Language) -> Result<Model, Vec<Diagnostic>> {
    let root = read_tree(place, text, language)?;
    let told = |mistakes: Vec<Mistake>| mistakes.into_iter().map(|mistake| mistake.told("model_value", place)).collect::<Vec<_>>();
    let file = file::read_file(&root, Path::new(place).parent().unwrap_or(Path::new(""))).map_err(told)?;
    let line_of = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    network::build(file, name, place, &line_of).map_err(|mistake| vec![mistake.told("model_layer", place)])
}

/// The text as values with places. Errors: its syntax.
fn read_tree(place: &str, text: &str, language: Language) -> Result<Node, Vec<Diagnostic>> {
    let root = match language {
        Language::Toml => tree::read_toml(text),
        Language::Json => tree::read_json(text),
    };
    root.map_err(|mistake| vec![mistake.told("model_syntax", place)])
}
