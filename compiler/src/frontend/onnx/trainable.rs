//! ONNX models as networks that are trained on: their initialisers are the parameters.

use super::head::{NewParameter, replaced};
use super::import::{Imported, Mode, Options, import_all};
use super::load::load;
use crate::frontend::model::Model;
use crate::frontend::model::context::{Care, ParameterInfo};
use crate::frontend::model::tuning::Tuning;
use kiln_ir::initialiser::{Initialiser, Scale, Shape};
use kiln_ir::{Diagnostic, Dim, NodeId, NodeKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Reads the ONNX model at `path` as a network that can be trained.
///
/// Scalars and integers are part of the program, other initialisers parameters, among which running statistics follow no gradient.
///
/// Errors: as [`import`](super::import()); `fine_tune_replace`.
pub fn load_trainable(path: &Path, options: &Options, tuning: &Tuning) -> Result<Model, Vec<Diagnostic>> {
    let read = |mode: Mode, shapes: &BTreeMap<String, Vec<usize>>| -> Result<Imported, Vec<Diagnostic>> {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let name = if options.name.is_empty() { stem } else { options.name.clone() };
        import_all(load(path).map_err(|error| vec![error])?, &Options { mode, name, shapes: shapes.clone(), ..options.clone() })
    };
    let mut imported = read(Mode::Evaluate, &BTreeMap::new())?;
    let mut new = BTreeMap::new();
    if !tuning.replace.is_empty() {
        let predict = imported.module.predict().map_err(|error| vec![Diagnostic::new("no_function", error)])?;
        new = replaced(predict, &tuning.replace).map_err(|error| vec![error])?;
        let shapes = shapes(&new);
        let unfit = |errors: Vec<Diagnostic>| -> Vec<Diagnostic> {
            let note = "what comes behind the new layer is written for another number of units";
            errors.into_iter().map(|error| error.at("with [fine_tune] replace", note)).collect()
        };
        imported = read(Mode::Evaluate, &shapes).map_err(unfit)?;
        // They named the classes of the old head.
        imported.module.metadata.remove("kiln.labels");
    }
    let training = read(Mode::Train, &shapes(&new))?;
    let Imported { mut module, statistics } = imported;
    // A parameter that only training reads is one of the network, too.
    for (name, parameter) in training.module.parameters {
        module.parameters.entry(name).or_insert(parameter);
    }
    let training = training.module.functions.into_values().next().expect("an imported module has its function");
    // What only says sizes is gone from the graph, and no gradient leads to it.
    let name = |node: NodeId| match &training.node(node).kind {
        NodeKind::Parameter(name) => Some(name.to_string()),
        _ => None,
    };
    let live: BTreeSet<String> = training.order().into_iter().filter_map(name).collect();
    let info = |(name, parameter): (&String, &kiln_ir::graph::Parameter)| {
        let fans = new.get(name).and_then(|new| new.fans);
        let initialiser = if fans.is_some() { Initialiser::Scaled(Scale::Glorot, Shape::Uniform) } else { Initialiser::Constant(0.0) };
        let trainable = live.contains(name) && !statistics.contains(name) && parameter.ty.dtype.is_float();
        let (ty, fans) = (parameter.ty.clone(), fans.unwrap_or((1, 1)));
        (name.clone(), ParameterInfo { ty, initialiser, fans, trainable, care: Care::default(), incoming: Vec::new() })
    };
    let parameters = module.parameters.iter().map(info).collect();
    Ok(Model {
        module,
        parameters,
        seed: tuning.seed,
        training,
        config: tuning.train.clone(),
        adapters: Vec::new(),
        writer: None,
        hearer: None,
    })
}

fn shapes(new: &BTreeMap<String, NewParameter>) -> BTreeMap<String, Vec<usize>> {
    new.iter().map(|(name, parameter)| (name.clone(), parameter.shape.clone())).collect()
}

/// Calls the size by which samples are counted `batch`, as training does: that of the first axis of the first input, if it is open and
/// nothing else is called so.
pub fn name_batch(model: &mut Model) {
    let Ok(predict) = model.module.predict() else { return };
    let first = predict.inputs().first().and_then(|(_, value)| predict.ty(*value).shape.first()?.as_symbol().cloned());
    let batch = Dim::symbol("batch");
    let taken = predict.symbols.iter().any(|(symbol, _)| symbol.name() == "batch");
    let (Some(first), false) = (first, taken) else { return };
    let mut rename = |dim: &Dim| dim.substitute(&|symbol| (*symbol == first).then(|| batch.clone()));
    model.training = model.training.map_dims(&mut rename);
    for graph in model.module.functions.values_mut() {
        *graph = graph.map_dims(&mut rename);
    }
}
