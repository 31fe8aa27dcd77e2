//! The Keras frontend: `.keras` archives, HDF5 files of Keras 2's format, and configs as text (`model.to_json()`).
//!
//! Layers keep Keras's names and shapes of parameters, so that weights map one to one. The graph's convolutions want channels first and
//! Keras has them last; transpositions stand between, which compilation takes out again. `compiler/KERAS.md` lists what is supported.
//!
//! Reading order: [`file`] (what the file is, and its parts), [`config`] and [`settings`] (objects of a config), [`network`] (models,
//! and the order of calls) with [`inputs`] and [`results`], [`call`] and [`layer`] (what a layer sees), [`layers`] and [`operations`] (the tables of classes),
//! [`weights`] (values), [`training`] (what the file says of training), [`initialise`] and [`masks`].
//!
//! Nothing here trusts the file: every refusal is a [`Diagnostic`] that names the layer.

pub mod call;
pub mod config;
pub mod file;
pub mod initialise;
pub mod inputs;
pub mod layer;
pub mod layers;
pub mod masks;
pub mod network;
pub mod operations;
pub mod results;
pub mod settings;
pub mod training;
pub mod weights;

use super::model::Model;
use super::model::tree::{Mistake, Node, read_json};
use super::model::tuning::Replacement;
use crate::training::config::TrainingConfig;
use file::Parts;
use kiln_ir::graph::Parameter;
use kiln_ir::{Diagnostic, Module, TensorType};
use layer::{Import, Release};
use std::collections::BTreeMap;
use std::path::Path;
use training::CompileConfig;

/// A Keras model that was read.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The function `predict` and its parameters, with the values that the file has.
    pub model: Model,
    /// What the file says of training; `model.config` is the same in Kiln's words, where it has them.
    pub training: CompileConfig,
}

impl Imported {
    /// How it is trained. Errors: the file does not say, or says what Kiln has not got.
    pub fn configuration(&self) -> Result<TrainingConfig, Vec<Diagnostic>> {
        let outputs = self.model.module.predict().map(|graph| graph.outputs().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
        let outputs = outputs.map_err(|error| vec![Diagnostic::new("no_function", error)])?;
        self.training.configuration(&outputs).map_err(|mistake| {
            let error = Diagnostic::new("keras_training", mistake.message);
            vec![mistake.help.into_iter().fold(error, Diagnostic::help)]
        })
    }
}

/// Reads the Keras model at `path`.
///
/// Errors: `file`; `keras_file` where the file itself is damaged, `keras_model` where what it describes is wrong or not supported.
pub fn load(path: &Path) -> Result<Imported, Vec<Diagnostic>> {
    load_with(path, &[])
}

/// The same, where `Dense` layers, by the names of their kernels, begin anew with other numbers of units.
///
/// Errors: as [`load`]; no such layer.
pub fn load_with(path: &Path, replace: &[Replacement]) -> Result<Imported, Vec<Diagnostic>> {
    let parts = file::read(path)?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    build(&path.display().to_string(), &stem, parts, replace)
}

/// Reads a config without weights, as `model.to_json()` gives it: parameters get the values of their initialisers. `place` is what
/// diagnostics call it.
///
/// Errors: as [`load`].
pub fn parse(place: &str, name: &str, text: &str) -> Result<Imported, Vec<Diagnostic>> {
    build(place, name, Parts { config: text.to_string(), training: None, version: None, weights: None }, &[])
}

fn build(place: &str, name: &str, parts: Parts, replace: &[Replacement]) -> Result<Imported, Vec<Diagnostic>> {
    let told = |code: &'static str| {
        move |mistake: Mistake| {
            let error = Diagnostic::new(code, mistake.message).at(place, "this Keras model");
            vec![mistake.help.into_iter().fold(error, Diagnostic::help)]
        }
    };
    let root = read_json(&parts.config)
        .map_err(|mistake| told("keras_file")(Mistake::new(format!("its config is no JSON: {}", mistake.message))))?;
    let release = release(&root, parts.version.as_deref());
    let import = |trains: bool| {
        let mut import = Import::new(release, parts.weights.is_some(), trains);
        import.replace = replace.iter().map(|replacement| (replacement.clone(), false)).collect();
        network::build(&root, &mut import)?;
        match import.replace.iter().find(|(_, found)| !found) {
            Some((Replacement { pattern, .. }, _)) => {
                let mistake = Mistake::new(format!("no kernel of a Dense layer is called `{pattern}`"));
                let names = import.parameters.names().filter(|name| name.ends_with("/kernel")).collect::<Vec<_>>();
                Err(mistake.help(format!("`replace` is for Dense layers; kernels here are {}", names.join(", "))))
            }
            None => Ok(import),
        }
    };
    let (import, trainer) = (import(false).map_err(told("keras_model"))?, import(true).map_err(told("keras_model"))?);
    let parameters = import.parameters.into_infos();
    let types: BTreeMap<String, TensorType> = parameters.iter().map(|(name, info)| (name.clone(), info.ty.clone())).collect();
    let mut values = match &parts.weights {
        Some(weights) => weights.values(&import.stored, &import.also, &types).map_err(told("keras_file"))?,
        None => import.fixed,
    };
    let mut module = Module { name: name.to_string(), ..Module::default() };
    module.functions.insert("predict".into(), import.graph);
    for (name, ty) in types {
        let value = values.remove(&name);
        module.parameters.insert(name, Parameter { ty, value });
    }
    let text = parts.training.map(|text| read_json(&text)).transpose().ok().flatten();
    let said = text.as_ref().or_else(|| root.field("compile_config")).map(training::read).unwrap_or_default();
    let left_out = said.left_out.iter().cloned().chain(import.left_out).collect();
    let training = CompileConfig { left_out, ..said };
    let model =
        Model { module, parameters, seed: 0, training: trainer.graph, config: None, adapters: Vec::new(), writer: None, hearer: None };
    let mut imported = Imported { model, training };
    imported.model.config = imported.configuration().ok();
    Ok(imported)
}

/// Which conventions a file follows, by the version that it names, or by how it writes objects.
fn release(root: &Node, version: Option<&str>) -> Release {
    let version = version.or_else(|| root.field("keras_version").and_then(Node::text));
    match version {
        Some(version) if version.starts_with(['1', '2']) => Release::Two,
        Some(_) => Release::Three,
        None if root.field("module").is_some() => Release::Three,
        None => Release::Two,
    }
}
