//! Everything of a trainer but machine code.

use super::config::{Loss, TrainingConfig};
use super::evaluation::evaluation;
use super::objective::{Lengths, Term, targets, terms};
use super::states::States;
use super::step::train_step;
use super::summary::summary;
use super::trace::trace;
use crate::frontend::model::Model;
use kiln_ir::artifact::{AudioInput, CtcOutput, ImageInput, Layout};
use kiln_ir::text::{PrintOptions, print_module};
use kiln_ir::{Diagnostic, Dim, Graph, Module, TensorType};
use kiln_runtime::training::recipe::{Adapter, Allowed, DataSlot, MeasuredOutput, Metric, Recipe, Slot, SoundSlot};
use kiln_runtime::weights::hexadecimal;
use sha2::{Digest, Sha256};

/// The functions of a trainer and how they are driven.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// The module whose function is one step; its last inputs are what its last outputs replace.
    pub step: Module,
    /// The module whose function evaluates.
    pub evaluation: Module,
    /// The module whose function tells where numbers stop being finite.
    pub trace: Module,
    /// How they are driven.
    pub recipe: Recipe,
}

/// Plans the training of a network by a configuration.
///
/// Errors: `train_…`; what has no gradient.
pub fn plan(model: &Model, config: &TrainingConfig) -> Result<TrainingPlan, Vec<Diagnostic>> {
    let network = model.module.predict().map_err(|error| vec![Diagnostic::new("no_function", error)])?;
    let terms = terms(network, &config.losses).map_err(|error| vec![error])?;
    let states = States::new(model, config).map_err(|error| vec![error])?;
    let step = train_step(model, config, &terms, &states)?;
    let evaluation = evaluation(network, &terms, &states);
    let (trace, layers) = trace(model, &terms, &states);

    let inputs = network.inputs().iter().map(|(name, value)| (name.as_str(), network.ty(*value), false));
    let targets = targets(&terms);
    let listed = inputs.chain(targets.iter().map(|(name, ty)| (*name, *ty, true)));
    let first_target = network.inputs().len();
    let mut data = Vec::new();
    for (at, (name, ty, is_target)) in listed.enumerate() {
        let batch_axis = batch_axis(ty).ok_or_else(|| {
            let message = format!("`{name}` is {ty}: training needs an axis for the samples of a batch, whose size is named `batch`");
            let help = "leave that size open: without --dim for it, and in files of other programs exported as a dynamic axis";
            vec![Diagnostic::new("train_batch", message).help(help)]
        })?;
        let allowed = match at.checked_sub(first_target).map(|at| terms.get(at)) {
            None => Allowed::Anything,
            Some(None) => Allowed::Lengths,
            Some(Some(term)) => {
                let classes = network.ty(network.outputs()[term.output].1).shape.last().and_then(Dim::as_const);
                match term.term.loss.allowed(classes) {
                    // Of several labels for each sample, −1 are none.
                    Allowed::Classes(0, largest) if ty.rank() >= 2 => Allowed::Classes(-1, largest),
                    allowed => allowed,
                }
            }
        };
        data.push(DataSlot { name: name.to_string(), is_target, batch_axis, allowed });
    }
    let slot_of = |array: &str| first_target + targets.iter().rposition(|(name, _)| *name == array).expect("it is listed");
    let mut metrics = Vec::new();
    for (at, term) in terms.iter().enumerate() {
        let lengths = term.lengths.as_ref().map(|lengths| match lengths {
            Lengths::Array(array, _) => slot_of(array),
            Lengths::Input(input) => data.iter().position(|slot| !slot.is_target && slot.name == *input).expect("inputs are data"),
        });
        let (target, answer) = (first_target + at, term.term.loss.answer());
        let of_output = |metric: Metric| MeasuredOutput { output: term.output, target, lengths, answer, metric };
        match &config.metrics {
            Some(listed) => metrics.extend(listed.iter().copied().map(of_output)),
            None => metrics.push(of_output(term.term.loss.usual_metric())),
        }
    }
    let sounds = sounds(model, &data);
    let varied = |error| vec![error];
    let pictures = match (config.augment.is_none(), sounds) {
        (true, _) => None,
        (false, Some(_)) => check_sounds(config).map(|()| None).map_err(varied)?,
        (false, None) => Some(pictures(model, network, config).map_err(varied)?),
    };
    let spelling = spelling(model, &terms, config).map_err(|error| vec![error])?;
    let place = |slots: &[Slot], name: &str| slots.iter().position(|slot| slot.name == *name).expect("states are all of the network's");
    let adapters = (model.adapters.iter())
        .map(|adapter| Adapter {
            weight: place(&states.fixed, &adapter.weight),
            first: place(&states.changing, &adapter.first),
            second: place(&states.changing, &adapter.second),
            scale: adapter.scale,
        })
        .collect();
    let recipe = Recipe {
        adapters,
        name: model.module.name.clone(),
        seed: model.seed,
        data,
        parameters: states.parameters(),
        fixed: states.fixed,
        states: states.changing,
        layers,
        start: None,
        summary: summary(network),
        schedule: config.schedule.clone(),
        metrics,
        early_stopping: config.early_stopping,
        augment: config.augment,
        pictures,
        sounds,
        spelling,
        text: model.module.metadata.get("kiln.text").and_then(|text| serde_json::from_str(text).ok()),
        step: String::new(),
        validation: config.validation,
    };
    let module = |suffix: &str, graph: Graph| Module {
        name: format!("{}_{suffix}", model.module.name),
        functions: [("predict".to_string(), graph)].into(),
        ..Module::default()
    };
    let step = module("train_step", step);
    let text = print_module(&step, PrintOptions { origins: false }).text;
    let digest = hexadecimal(&Sha256::digest(text));
    let recipe = Recipe { step: digest, ..recipe };
    Ok(TrainingPlan { step, evaluation: module("evaluate", evaluation), trace: module("trace", trace), recipe })
}

/// The input that takes sounds, if one says so.
fn sounds(model: &Model, data: &[DataSlot]) -> Option<SoundSlot> {
    let audio: AudioInput = serde_json::from_str(model.module.metadata.get("kiln.audio")?).ok()?;
    let slot = data.iter().position(|slot| !slot.is_target && slot.name == audio.input)?;
    Some(SoundSlot { slot, rate: audio.sample_rate })
}

/// Errors: `train_augment` for what only pictures have.
fn check_sounds(config: &TrainingConfig) -> Result<(), Diagnostic> {
    match config.augment.of_pictures() {
        None => Ok(()),
        Some(name) => {
            let error = Diagnostic::new("train_augment", format!("`augment` has `{name}`, and the network takes sounds"));
            Err(error.help("sounds have `speed`, `time_shift`, `gain` and `noise`; `spec_augment` is a layer"))
        }
    }
}

/// How labels become text, where a loss is of labels that are spelled.
///
/// Errors: `train_metric` for a metric of text when nothing says how.
fn spelling(model: &Model, terms: &[Term], config: &TrainingConfig) -> Result<Option<CtcOutput>, Diagnostic> {
    let ctc: Option<CtcOutput> = model.module.metadata.get("kiln.ctc").and_then(|text| serde_json::from_str(text).ok());
    let of_text = |metric: &&Metric| matches!(metric, Metric::WordErrorRate | Metric::CharacterErrorRate);
    let metric = config.metrics.iter().flatten().find(of_text);
    let is_spelled = |term: &Term| matches!(&term.term.loss, Loss::Ctc { .. });
    if let Some(ctc) = &ctc
        && let Some(Loss::Ctc { blank, .. }) = terms.iter().find(|term| term.name == ctc.output).map(|term| &term.term.loss)
        && *blank != ctc.blank as usize
    {
        let message = format!("the loss has `blank` {blank}, and the table `ctc` has {}", ctc.blank);
        return Err(Diagnostic::new("train_loss", message));
    }
    match metric {
        Some(metric) if ctc.is_none() || !terms.iter().all(is_spelled) => {
            let message = format!("the metric `{}` is of text, and nothing says which text the output spells", metric.name());
            Err(Diagnostic::new("train_metric", message).help("loss = \"ctc\", `labels` and a table [ctc]; `error_rate` is of labels"))
        }
        _ => Ok(ctc),
    }
}

/// The input whose pictures are varied.
///
/// Errors: `train_augment` when no input, or several, have pictures with channels first; for what only sounds have.
fn pictures(model: &Model, network: &Graph, config: &TrainingConfig) -> Result<usize, Diagnostic> {
    if let Some(name) = config.augment.of_sounds() {
        let error = Diagnostic::new("train_augment", format!("`augment` has `{name}`, and no input takes sounds"));
        return Err(error.help("audio = { sample_rate = 16000 } in [[input]]"));
    }
    let declared: Option<ImageInput> = model.module.metadata.get("kiln.image").and_then(|text| serde_json::from_str(text).ok());
    let fits = |at: &usize| {
        let (name, ty) = (&network.inputs()[*at].0, network.ty(network.inputs()[*at].1));
        let channels = ty.shape.get(1).is_some_and(|channels| channels.is(1) || channels.is(3));
        match &declared {
            Some(image) => image.input == *name && image.layout == Layout::Nchw && ty.rank() == 4,
            None => ty.rank() == 4 && channels && ty.dtype.is_float(),
        }
    };
    let found: Vec<usize> = (0..network.inputs().len()).filter(fits).collect();
    let [only] = found[..] else {
        let message = "`augment` varies pictures [batch, channels, height, width], and not exactly one input takes such";
        return Err(Diagnostic::new("train_augment", message).help("name it with an `image` table in [[input]]"));
    };
    Ok(only)
}

/// Where the batch is among the axes.
fn batch_axis(ty: &TensorType) -> Option<usize> {
    ty.shape.iter().position(|dim| *dim == Dim::symbol("batch"))
}
