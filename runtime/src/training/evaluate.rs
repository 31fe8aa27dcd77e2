//! A trained network measured: its loss and every metric of its recipe on a part of the data.

use super::checkpoint::load;
use super::data::{DataOptions, Wanted, open};
use super::examined::Examined;
use super::learnt::Learnt;
use super::measure::measure;
use super::parts::{PartName, Parts};
use super::progress::{grouped, tell_left_out};
use super::recipe::Recipe;
use super::report::Report;
use super::stepper::{Evaluator, Function};
use crate::program::Failure;
use crate::threads::ThreadPool;
use kiln_ir::artifact::TextInput;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;

/// What is asked of an evaluation.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct EvaluateOptions {
    /// Where the data are, and how they are read.
    pub data: DataOptions,
    /// Which part of them; else that for tests, or that for validation.
    pub part: Option<PartName>,
    /// What training left.
    pub parameters: PathBuf,
    /// Samples at once, in place of the recipe's.
    pub batch: Option<u32>,
    /// The seed of the training, in place of the recipe's: it says which samples were held back.
    pub seed: Option<u64>,
    /// Where a page about it goes.
    pub report: Option<PathBuf>,
    /// Answer in JSON.
    pub json: bool,
}

/// Measures and says what came out. `evaluation` is the function of the recipe.
///
/// Errors: parameters and data that cannot be read or do not fit; what generated code reports.
pub fn evaluate(
    mut recipe: Recipe,
    evaluation: Box<dyn Function + '_>,
    options: &EvaluateOptions,
    pool: &ThreadPool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let signature = evaluation.signature().clone();
    recipe.schedule.batch = options.batch.unwrap_or(recipe.schedule.batch);
    recipe.seed = options.seed.unwrap_or(recipe.seed);
    let (parameters, learnt) = load(&options.parameters, recipe.fixed.iter().chain(&recipe.states[..recipe.parameters]))?;
    let Learnt { labels, vocabulary, .. } = Learnt::of_text(&learnt);
    let text = recipe.text.clone().map(|text| TextInput { vocabulary, ..text });
    let wanted = Wanted::new(&recipe.data, &signature, &options.data).with_text(text, false).with_labels(labels);
    let splits = open(&wanted)?;
    let part = Parts::new(&recipe, &splits).choose(options.part)?;
    let mut evaluator = Evaluator::new(evaluation, parameters);
    let mut examined = options.report.as_ref().map(|_| Examined::new(&recipe, &part, &signature));
    let names = splits.classes.as_deref();
    let measured =
        measure(&recipe, &mut evaluator, &part, names, pool.workers() > 1, None, examined.as_mut())?.expect("nothing interrupts it");
    let samples = part.samples.len();
    if let (Some(path), Some(examined)) = (&options.report, &examined) {
        let facts = vec![
            ("parameters", options.parameters.display().to_string()),
            ("data", format!("{} samples of {}", grouped(samples as f64), options.data.place.display())),
        ];
        let classes = splits.classes.as_deref().or(signature.labels.as_deref());
        let (history, points) = (&[], &[]);
        let examined = Some((&measured, examined));
        Report { name: &recipe.name, what: "evaluation", facts, history, points, best: None, examined, classes, layers: &recipe.summary }
            .write(path)?;
    }
    if options.json {
        let metrics: Map<String, Value> = measured.metrics.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let left_out = wanted.left_out();
        let answer = json!({ "part": measured.part, "samples": samples, "loss": measured.loss, "metrics": metrics, "left_out": left_out });
        return Ok(writeln!(out, "{answer}")?);
    }
    tell_left_out(&wanted, out)?;
    Ok(writeln!(out, "{}, over {} samples", measured.text(), grouped(samples as f64))?)
}
