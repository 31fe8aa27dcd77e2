//! Models as the commands read them.

use super::args::ModelArgs;
use kiln::artifact::describe::ModelFacts;
use kiln::frontend::keras;
use kiln::frontend::keras::file::is_keras;
use kiln::frontend::model::generation::writes_nothing;
use kiln::frontend::model::hearing::hears_nothing;
use kiln::frontend::model::tuning::{Tuning, load_tuning};
use kiln::frontend::model::{Language, Model, load};
use kiln::frontend::onnx::trainable::{load_trainable, name_batch};
use kiln::frontend::onnx::{Options, import};
use kiln::training::adapters::with_adapters;
use kiln::training::config::LossTerm;
use kiln::training::{TrainingPlan, plan};
use kiln_ir::text::{ConstantTable, parse_module};
use kiln_ir::{Diagnostic, Dim, Graph, Module, Symbol};
use kiln_runtime::files::file_error;
use kiln_runtime::training::meaning::Meaning;
use kiln_runtime::weights::hexadecimal;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A model that was read.
pub struct Loaded {
    /// The program.
    pub module: Module,
    /// What artefacts say about it besides.
    pub facts: ModelFacts,
    /// What training makes small, where the file says so.
    pub losses: Vec<LossTerm>,
}

impl Loaded {
    /// What each output means by its loss.
    pub fn meanings(&self) -> Result<Vec<Option<Meaning>>, Diagnostic> {
        let outputs = predict(&self.module)?.outputs();
        let loss = |name: &str| self.losses.iter().find(|term| term.output.as_deref().is_none_or(|output| output == name));
        Ok(outputs.iter().map(|(name, _)| loss(name).map(|term| term.loss.meaning())).collect())
    }
}

/// Reads a model: the text form when the file is named `.kiln`, Keras's files when it is named `.keras`, `.h5` or `.hdf5` or is a
/// `.json` file that Keras wrote, a model file when it is named `.toml` or `.json`, whose parameters its seed gives, else ONNX.
///
/// Errors: everything that can be wrong with it.
pub fn read(args: &ModelArgs) -> Result<Loaded, Vec<Diagnostic>> {
    read_function(args, Inference::Predict)
}

/// Reads the function of a network that writes: see [`kiln::frontend::model::generation`].
///
/// Errors: as [`read`]; networks that do not write.
pub fn read_writer(args: &ModelArgs) -> Result<Loaded, Vec<Diagnostic>> {
    read_function(args, Inference::Write)
}

/// Reads the function of a network that hears streams: see [`kiln::frontend::model::hearing`].
///
/// Errors: as [`read`]; networks that do not.
pub fn read_hearer(args: &ModelArgs) -> Result<Loaded, Vec<Diagnostic>> {
    read_function(args, Inference::Hear)
}

/// Functions that go without training.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inference {
    Predict,
    Write,
    Hear,
}

/// Which functions with states a model has.
#[derive(Default)]
pub struct Stateful {
    /// Whether it writes, or why it does not although it scores the next token; `None` for all others.
    pub writes: Option<Result<(), Diagnostic>>,
    /// Whether it hears streams.
    pub hears: bool,
}

impl Stateful {
    /// Those of a model. Errors: as [`read`].
    pub fn of(args: &ModelArgs) -> Result<Stateful, Vec<Diagnostic>> {
        let path = args.model.as_path();
        match Language::of(path).filter(|_| !is_keras(path) && args.config.is_none()) {
            Some(language) => {
                let model = load(path, language)?;
                Ok(Stateful { writes: model.writer.map(|writer| writer.map(drop)), hears: matches!(model.hearer, Some(Ok(_))) })
            }
            None => Ok(Stateful::default()),
        }
    }
}

fn read_function(args: &ModelArgs, function: Inference) -> Result<Loaded, Vec<Diagnostic>> {
    let path = args.model.as_path();
    let (mut losses, mut stateful) = (Vec::new(), (None, None));
    let mut module = if path.extension().is_some_and(|extension| extension == "kiln") {
        if args.parameters.is_some() || args.config.is_some() {
            let error = Diagnostic::new("usage_parameters", format!("{} is a program, with values of its own", path.display()));
            return Err(vec![error.help("--parameters and --config are for networks")]);
        }
        let text = std::fs::read_to_string(path).map_err(|error| vec![file_error("read", path, &error)])?;
        let mut module = parse_module(&path.display().to_string(), &text, &ConstantTable::new())?;
        bind(&mut module, &args.dims).map_err(|error| vec![error])?;
        module
    } else if is_onnx(path) && args.parameters.is_none() && args.config.is_none() {
        import(path, &options(args))?
    } else {
        let tuning = tuning(args)?;
        let model = network(args, &tuning)?;
        losses = tuning.train.as_ref().or(model.config.as_ref()).map_or(Vec::new(), |config| config.losses.clone());
        stateful = (model.writer.clone(), model.hearer.clone());
        let mut module = args.parameters.as_deref().map_or_else(|| model.initialised(), |file| model.trained(file))?;
        if !is_onnx(path) && function == Inference::Predict {
            bind(&mut module, &args.dims).map_err(|error| vec![error])?;
        }
        module
    };
    let (writer, hearer) = stateful;
    let set = match function {
        Inference::Predict => Ok(0),
        Inference::Write => writer.unwrap_or_else(|| Err(writes_nothing(&module.name))).and_then(|writer| writer.set_in(&mut module)),
        // What it remembers changes its size, so that no memory is the same before and after.
        Inference::Hear => {
            hearer.unwrap_or_else(|| Err(hears_nothing(&module.name))).and_then(|hearer| hearer.set_in(&mut module)).map(|()| 0)
        }
    };
    let states = set.map_err(|error| vec![error])?;
    if function != Inference::Predict {
        bind(&mut module, &args.dims).map_err(|error| vec![error])?;
    }
    predict(&module).map_err(|error| vec![error])?;
    let facts = facts(&module, path).map_err(|error| vec![error])?;
    Ok(Loaded { module, facts: ModelFacts { states, ..facts }, losses })
}

fn is_onnx(path: &Path) -> bool {
    Language::of(path).is_none() && !is_keras(path)
}

fn options(args: &ModelArgs) -> Options {
    Options { dims: args.dims.iter().cloned().collect(), ..Options::default() }
}

/// What `--config` says.
fn tuning(args: &ModelArgs) -> Result<Tuning, Vec<Diagnostic>> {
    args.config.as_deref().map_or_else(|| Ok(Tuning::default()), load_tuning)
}

/// A network with its parameters, as a file of tuning changes it. Adapters are no part of it: their file has what they add up to.
fn network(args: &ModelArgs, tuning: &Tuning) -> Result<Model, Vec<Diagnostic>> {
    let path = args.model.as_path();
    match Language::of(path) {
        _ if is_keras(path) => {
            let imported = keras::load_with(path, &tuning.replace)?;
            // A file that does not say how it is trained is one to run.
            Ok(Model { seed: tuning.seed, config: imported.configuration().ok(), ..imported.model })
        }
        Some(_) if !tuning.replace.is_empty() => {
            let error = Diagnostic::new("fine_tune_replace", format!("{} says itself how many `units` its layers have", path.display()));
            Err(vec![error.help("change them there; `replace` is for files of other programs")])
        }
        Some(language) => load(path, language),
        None => load_trainable(path, &options(args), tuning),
    }
}

/// A model file that says how it is trained.
pub struct Trainable {
    /// The network.
    pub model: Model,
    /// What artefacts say about it besides.
    pub facts: ModelFacts,
    /// What the file asks of training that it goes without.
    pub left_out: Vec<String>,
    /// Whether it is another network than that of its file.
    pub is_changed: bool,
}

impl Trainable {
    /// Whether the file of the network has values.
    fn has_values(&self) -> bool {
        self.model.module.parameters.values().any(|parameter| parameter.value.is_some())
    }

    /// The file of the parameters that training begins with: the one that was asked for, else one in `folder` with the values of the
    /// network's own file; with adapters, which no such file has, always one in `folder`. None where nothing has values.
    ///
    /// Errors: `file`, `memory`; `checkpoint` for a file of another network.
    pub fn start(&self, args: &ModelArgs, folder: &Path) -> Result<Option<PathBuf>, Vec<Diagnostic>> {
        if let Some(path) = args.parameters.as_ref().filter(|_| self.model.adapters.is_empty()) {
            self.model.trained(path)?;
            return Ok(Some(path.clone()));
        }
        if !self.has_values() {
            return Ok(None);
        }
        let path = folder.join("start.safetensors");
        self.model.save_initialised(&path)?;
        Ok(Some(path))
    }

    /// The file of its parameters: the one that was asked for, else one in `folder` with the values in the network's own file.
    ///
    /// Errors: there are none; `file`, `memory`.
    pub fn parameters(&self, args: &ModelArgs, folder: &Path) -> Result<PathBuf, Vec<Diagnostic>> {
        let file = match &args.parameters {
            Some(path) => Some(path.clone()),
            None => self.start(args, folder)?,
        };
        file.ok_or_else(|| {
            let error = Diagnostic::new("usage_parameters", format!("{} has no parameters of its own", args.model.display()));
            vec![error.help("--parameters trained/model.safetensors names those that training left")]
        })
    }

    /// The functions of its trainer. Errors: there is no `[train]` table; what is wrong with it.
    pub fn plan(&self) -> Result<TrainingPlan, Vec<Diagnostic>> {
        let config = self.model.config.as_ref().ok_or_else(|| {
            let error = Diagnostic::new("no_train_table", format!("`{}` does not say how it is trained", self.model.module.name));
            vec![error.help("write a table [train] with a `loss` into its file: MODELS.md says what else belongs there")]
        })?;
        plan(&self.model, config)
    }
}

/// Reads a network in order to train it.
///
/// Errors: everything that can be wrong with it; files that do not say how.
pub fn read_trainable(args: &ModelArgs) -> Result<Trainable, Vec<Diagnostic>> {
    let path = args.model.as_path();
    let tuning = tuning(args)?;
    let mut left_out = Vec::new();
    let mut model = if is_keras(path) {
        let imported = keras::load_with(path, &tuning.replace)?;
        let config = match tuning.train {
            Some(_) => None,
            None => Some(imported.configuration()?),
        };
        left_out.clone_from(&imported.training.left_out);
        Model { config, seed: tuning.seed, ..imported.model }
    } else if is_onnx(path) && tuning.train.is_none() {
        let error = Diagnostic::new("not_trainable", format!("{} does not say how it is trained", path.display()));
        let help = "write a table [train] with a `loss` into a file and name it: --config tune.toml (MODELS.md, \"Fine-tuning\")";
        return Err(vec![error.help(help)]);
    } else {
        network(args, &tuning)?
    };
    model.config = tuning.train.clone().or(model.config);
    if is_onnx(path) {
        name_batch(&mut model);
    } else {
        bind(&mut model.module, &args.dims).map_err(|error| vec![error])?;
        let sizes: BTreeMap<Symbol, Dim> = args.dims.iter().map(|(name, size)| (Symbol::new(name), Dim::from(*size))).collect();
        model.training = model.training.map_dims(&mut |dim| dim.substitute(&|symbol: &Symbol| sizes.get(symbol).cloned()));
    }
    if let Some(adapters) = &tuning.adapters {
        // They begin beside the parameters that are given.
        if let Some(file) = &args.parameters {
            model.module = Module { functions: model.module.functions.clone(), ..model.trained(file)? };
        }
        model = with_adapters(model, adapters).map_err(|error| vec![error])?;
    }
    let facts = facts(&model.module, path).map_err(|error| vec![error])?;
    Ok(Trainable { model, facts, left_out, is_changed: !tuning.replace.is_empty() })
}

fn bind(module: &mut Module, dims: &[(String, i64)]) -> Result<(), Diagnostic> {
    let known: Vec<String> = predict(module)?.symbols.iter().map(|(symbol, _)| symbol.name().to_string()).collect();
    if let Some((name, _)) = dims.iter().find(|(name, _)| !known.contains(name)) {
        let error = Diagnostic::new("usage_dim", format!("the model has no size named \"{name}\""));
        return Err(error.help(format!("it has {}", known.join(", "))));
    }
    module.specialise(&dims.iter().map(|(name, size)| (kiln_ir::Symbol::new(name), *size)).collect());
    Ok(())
}

fn facts(module: &Module, path: &Path) -> Result<ModelFacts, Diagnostic> {
    let mut digest = HashWriter(Sha256::new());
    let hashed = File::open(path).and_then(|mut file| io::copy(&mut file, &mut digest));
    hashed.map_err(|error| file_error("read", path, &error))?;
    ModelFacts::new(&module.name, &hexadecimal(&digest.0.finalize()), &module.metadata)
}

struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The inference function. Errors: `no_function` when there is none, which only a text can bring about.
pub fn predict(module: &Module) -> Result<&Graph, Diagnostic> {
    module.predict().map_err(|error| Diagnostic::new("no_function", error).help("name a function `predict`"))
}
