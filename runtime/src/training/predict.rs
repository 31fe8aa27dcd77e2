//! What a network says of each sample of data: a table or arrays, with labels where outputs are scores of classes.

use super::data::{DataOptions, Dataset, Wanted, open};
use super::loader::each;
use super::meaning::{Meaning, label};
use super::parts::{PartName, dataset_of};
use super::progress::{bar, grouped, tell_left_out};
use super::recipe::{Allowed, DataSlot};
use super::tags::write_words;
use crate::arrays::{Array, concatenate, first_items};
use crate::files::write_whole;
use crate::npz::write_npz;
use crate::program::Failure;
use crate::program::network::Network;
use crate::report::rank;
use crate::text::text_input;
use crate::transcript::{Greedy, ctc_output, log_probabilities, text_of};
use kiln_ir::artifact::{CtcOutput, Extent, Signature, TensorDecl};
use kiln_ir::{DType, Diagnostic};
use serde_json::json;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// What is asked of a prediction.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PredictOptions {
    /// Where the data are, and how they are read.
    pub data: DataOptions,
    /// Which part of them; else that for tests, or that for validation, or the only one.
    pub part: Option<PartName>,
    /// Where the predictions go: a `.csv`, `.tsv` or `.npz` file.
    pub out: PathBuf,
    /// Samples at once, where the network leaves that open.
    pub batch: u32,
    /// What each output means; `None`: found out from what it gives.
    pub meanings: Vec<Option<Meaning>>,
    /// What the classes are called.
    pub labels: Option<Vec<String>>,
    /// Answer in JSON.
    pub json: bool,
}

/// The answers to one batch.
pub(super) struct Answers {
    /// Names of the samples.
    pub(super) samples: Vec<String>,
    pub(super) outputs: Vec<Array>,
    /// For each output that is one of labels, the labels and how sure they are.
    pub(super) labels: Vec<Option<(Array, Option<Array>)>>,
    /// What the output that spells text says, for each sample, if there is one.
    texts: Vec<String>,
}

/// Runs the network over data and writes what it says.
///
/// Errors: usage for a file of another kind; data that cannot be read or do not fit; what fails while computing; `file`.
pub fn predict(options: &PredictOptions, network: &mut dyn Network, ahead: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let signature = &network.signature().clone();
    let format = match options.out.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Format::Table(b','),
        Some("tsv") => Format::Table(b'\t'),
        Some("npz") => Format::Arrays,
        Some("conll") => Format::Words,
        _ => {
            let message = "predictions go into a .csv, .tsv, .npz or, labels of words, .conll file";
            return Err(Failure::Usage(format!("--out {}: {message}", options.out.display())));
        }
    };
    let slots = signature.inputs.iter().map(slot).collect::<Result<Vec<_>, _>>()?;
    signature.outputs.iter().try_for_each(|output| check_output(output, signature, &slots))?;
    let wanted = Wanted::new(&slots, signature, &options.data).with_text(text_input(signature)?, false);
    let splits = open(&wanted)?;
    let dataset = dataset_of(&splits, options.part)?;
    let mut run =
        Run { options, signature, dataset, fixed: fixed_batch(signature, &slots)?, ctc: ctc_output(signature), meanings: Vec::new() };
    match format {
        Format::Words => write_words(&mut run, network, ahead)?,
        Format::Table(_) | Format::Arrays if labels_words(signature, &slots) => {
            let error = Diagnostic::new("predict_output", "the network labels each word of a text, whose number varies");
            return Err(error.help("--out NAME.conll takes a word a line with its label").into());
        }
        Format::Table(delimiter) => run.write_table(network, ahead, delimiter)?,
        Format::Arrays => run.write_arrays(network, ahead)?,
    }
    match options.json {
        true => {
            let answer = json!({ "samples": dataset.len(), "predictions": options.out, "left_out": wanted.left_out() });
            writeln!(out, "{answer}")?;
        }
        false => {
            tell_left_out(&wanted, out)?;
            writeln!(out, "wrote {} predictions to {}", grouped(dataset.len() as f64), options.out.display())?;
        }
    }
    Ok(())
}

/// What predictions are written as.
enum Format {
    /// Rows, with this between their fields.
    Table(u8),
    /// Arrays of all samples.
    Arrays,
    /// A word a line with its label.
    Words,
}

/// Whether an output has a row for each token of a text, of which each batch has another number.
fn labels_words(signature: &Signature, slots: &[DataSlot]) -> bool {
    let open = |decl: &TensorDecl| decl.shape.get(1).filter(|extent| matches!(extent, Extent::Expression(_))).cloned();
    let time = signature.inputs.iter().zip(slots).find_map(|(input, _)| open(input).filter(|_| signature.text.is_some()));
    time.is_some_and(|time| signature.outputs.iter().any(|output| output.shape.get(1) == Some(&time)))
}

/// An input as a slot of data: samples lie along the axis that is called `batch`, else along the first.
///
/// Errors: `predict_input` for a single number.
pub fn slot(input: &TensorDecl) -> Result<DataSlot, Diagnostic> {
    let named = input.shape.iter().position(|extent| *extent == Extent::Expression("batch".into()));
    let batch_axis = named.unwrap_or(0);
    if input.shape.is_empty() {
        let error = Diagnostic::new("predict_input", format!("input `{}` is a single number, and not one for each sample", input.name));
        return Err(error.help("`kiln run` takes any inputs, once"));
    }
    Ok(DataSlot { name: input.name.clone(), is_target: false, batch_axis, allowed: Allowed::Anything })
}

/// Errors: `predict_output` for an output that does not have its samples in front, as the first input has them.
fn check_output(output: &TensorDecl, signature: &Signature, slots: &[DataSlot]) -> Result<(), Diagnostic> {
    let Some((input, slot)) = signature.inputs.first().zip(slots.first()) else {
        return Err(Diagnostic::new("predict_input", "the network takes no inputs: there is nothing to predict from"));
    };
    let batch = &input.shape[slot.batch_axis];
    if output.shape.first() == Some(batch) {
        return Ok(());
    }
    let message = format!("output {output} has not one row for each sample of {input}");
    Err(Diagnostic::new("predict_output", message).help("`kiln run` takes such networks, once"))
}

/// How many samples the network takes at once, if it says.
fn fixed_batch(signature: &Signature, slots: &[DataSlot]) -> Result<Option<usize>, Diagnostic> {
    let sizes = signature.inputs.iter().zip(slots).map(|(input, slot)| match &input.shape[slot.batch_axis] {
        Extent::Fixed(size) => usize::try_from(*size).ok().filter(|size| *size > 0),
        Extent::Expression(_) => None,
    });
    let sizes: Vec<Option<usize>> = sizes.collect();
    match sizes.iter().all(|size| *size == sizes[0]) {
        true => Ok(sizes[0]),
        false => Err(Diagnostic::new("predict_input", "the inputs take different numbers of samples").help("`kiln run` takes them, once")),
    }
}

/// What a sample's time steps spell.
fn spelled_text(ctc: &CtcOutput, output: &Array, sample: usize) -> String {
    let mut greedy = Greedy::new(ctc.blank as usize);
    log_probabilities(output, sample).iter().for_each(|row| greedy.push(row));
    text_of(ctc, greedy.rest().into_iter().map(|token| token.label))
}

/// A prediction under way.
pub(super) struct Run<'r> {
    pub(super) options: &'r PredictOptions,
    pub(super) signature: &'r Signature,
    pub(super) dataset: &'r Dataset,
    fixed: Option<usize>,
    ctc: Option<CtcOutput>,
    /// What each output means, known from the first batch on.
    meanings: Vec<Meaning>,
}

impl Run<'_> {
    /// Gives `take` the answers, batch by batch.
    pub(super) fn each(
        &mut self,
        network: &mut dyn Network,
        ahead: bool,
        mut take: impl FnMut(&Self, Answers) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let (dataset, fixed) = (self.dataset, self.fixed);
        // Where a batch fills samples up, one at a time answers as programs do.
        let free = if dataset.fills_up() { 1 } else { self.options.batch.max(1) as usize };
        let size = fixed.unwrap_or(free);
        let batches = dataset.len().div_ceil(size);
        let samples = |at: usize| at * size..((at + 1) * size).min(dataset.len());
        let make = |at: usize, spent| {
            let mut samples: Vec<usize> = samples(at).collect();
            // A fixed batch is filled with its last sample.
            let last = samples[samples.len() - 1];
            samples.resize(fixed.unwrap_or(samples.len()), last);
            dataset.batch(&samples, spent, None)
        };
        let bar = bar(dataset.len() as u64, "predicting".to_owned());
        let outcome = each(0..batches, ahead, make, |at, data| {
            network.prepare(data)?;
            network.run(data)?;
            let samples = samples(at);
            let given = samples.len();
            let outputs = network.outputs().iter().map(|output| first_items(output, size.min(output.shape()[0]), given));
            let answers = self.answers(samples, outputs.collect::<Result<_, _>>()?)?;
            take(self, answers)?;
            bar.inc(given as u64);
            Ok::<_, Diagnostic>(ControlFlow::Continue(()))
        });
        bar.finish_and_clear();
        outcome.map(drop)
    }

    fn answers(&mut self, samples: std::ops::Range<usize>, outputs: Vec<Array>) -> Result<Answers, Diagnostic> {
        if self.meanings.is_empty() {
            let names = self.options.labels.as_deref();
            let guess = |output: &Array| match rank(std::slice::from_ref(output), names, 1) {
                Some(ranking) => Meaning::Classes { logits: !ranking.is_distribution },
                None => Meaning::Values,
            };
            let told = |at: usize| self.options.meanings.get(at).copied().flatten();
            let spelled = self.spelled().map(|(at, _)| at);
            let meaning = |(at, output)| if spelled == Some(at) { Meaning::Values } else { told(at).unwrap_or_else(|| guess(output)) };
            self.meanings = outputs.iter().enumerate().map(meaning).collect();
        }
        let labels = outputs.iter().zip(&self.meanings).map(|(output, meaning)| label(output, *meaning)).collect::<Result<_, _>>()?;
        let name = |at: usize| self.dataset.names.as_ref().map_or_else(|| at.to_string(), |names| names[at].clone());
        let texts = match self.spelled() {
            Some((at, ctc)) => samples.clone().enumerate().map(|(row, _)| spelled_text(ctc, &outputs[at], row)).collect(),
            None => Vec::new(),
        };
        Ok(Answers { samples: samples.map(name).collect(), outputs, labels, texts })
    }

    /// The output that spells text, and how.
    fn spelled(&self) -> Option<(usize, &CtcOutput)> {
        let ctc = self.ctc.as_ref()?;
        Some((self.signature.outputs.iter().position(|output| output.name == ctc.output)?, ctc))
    }

    /// What stands before `label` and `confidence` where several outputs have them.
    fn prefix(&self, output: usize) -> String {
        match self.meanings.iter().filter(|meaning| **meaning != Meaning::Values).count() {
            0 | 1 => String::new(),
            _ => format!("{}.", self.signature.outputs[output].name),
        }
    }

    fn write_table(&mut self, network: &mut dyn Network, ahead: bool, delimiter: u8) -> Result<(), Diagnostic> {
        let mut failed = None;
        let path = &self.options.out;
        let written = write_whole(path, |sink| {
            let mut table = csv::WriterBuilder::new().delimiter(delimiter).from_writer(sink);
            let mut begun = false;
            let outcome = self.each(network, ahead, |run, answers| {
                let wrong = |error: csv::Error| Diagnostic::new("file", format!("cannot write {}: {error}", path.display()));
                if !begun {
                    table.write_record(run.header(&answers)).map_err(wrong)?;
                    begun = true;
                }
                run.rows(&answers).try_for_each(|row| table.write_record(row)).map_err(wrong)
            });
            table.flush()?;
            outcome.map_err(|error| io::Error::other(failed.insert(error).message.clone()))
        });
        match failed {
            Some(error) => Err(error),
            None => written,
        }
    }

    fn header(&self, answers: &Answers) -> Vec<String> {
        let mut header = vec!["sample".to_owned()];
        let numbered = |name: &str, array: &Array| -> Vec<String> {
            match array.len() / answers.samples.len() {
                1 => vec![name.to_owned()],
                n => (0..n).map(|i| format!("{name}[{i}]")).collect(),
            }
        };
        header.extend(self.spelled().map(|_| "text".to_owned()));
        for (at, labels) in answers.labels.iter().enumerate() {
            let Some((labels, sure)) = labels else { continue };
            header.extend(numbered(&format!("{}label", self.prefix(at)), labels));
            header.extend(sure.iter().flat_map(|sure| numbered(&format!("{}confidence", self.prefix(at)), sure)));
        }
        for (at, (output, array)) in self.signature.outputs.iter().zip(&answers.outputs).enumerate() {
            // Scores of each time step are for arrays: there are other numbers of them for each sample.
            if self.spelled().is_none_or(|(spelled, _)| spelled != at) {
                header.extend(numbered(&output.name, array));
            }
        }
        header
    }

    fn rows<'a>(&'a self, answers: &'a Answers) -> impl Iterator<Item = Vec<String>> + 'a {
        let count = answers.samples.len();
        let of_row = move |array: &'a Array, row: usize| {
            let n = array.len() / count;
            (row * n..(row + 1) * n).map(move |i| array.get_f64(i))
        };
        let named = |label: f64| {
            let names = self.options.labels.as_ref();
            names.and_then(|names| names.get(label as usize)).cloned().unwrap_or_else(|| label.to_string())
        };
        answers.samples.iter().enumerate().map(move |(row, sample)| {
            let mut fields = vec![sample.clone()];
            fields.extend(answers.texts.get(row).cloned());
            let told = answers.labels.iter().zip(&self.meanings).filter_map(|(labels, meaning)| Some((labels.as_ref()?, meaning)));
            for ((labels, sure), meaning) in told {
                // A yes or a no is no class.
                let is_class = matches!(meaning, Meaning::Classes { .. });
                fields.extend(of_row(labels, row).map(|label| if is_class { named(label) } else { label.to_string() }));
                fields.extend(sure.iter().flat_map(|sure| of_row(sure, row)).map(|sure| (sure as f32).to_string()));
            }
            let spelled = self.spelled().map(|(at, _)| at);
            for (_, output) in answers.outputs.iter().enumerate().filter(|(at, _)| spelled != Some(*at)) {
                // The shortest text that is read as the same number of its type.
                let text = |number: f64| if output.dtype() == DType::F64 { number.to_string() } else { (number as f32).to_string() };
                let exact = |number: f64| if output.dtype().is_float() { text(number) } else { number.to_string() };
                fields.extend(of_row(output, row).map(exact));
            }
            fields
        })
    }

    fn write_arrays(&mut self, network: &mut dyn Network, ahead: bool) -> Result<(), Diagnostic> {
        let mut all: Vec<Answers> = Vec::new();
        self.each(network, ahead, |_, answers| {
            all.push(answers);
            Ok(())
        })?;
        let mut arrays = Vec::new();
        for (at, output) in self.signature.outputs.iter().enumerate() {
            arrays.push((output.name.clone(), concatenate(all.iter().map(|answers| &answers.outputs[at]))?));
            let labels = || all.iter().filter_map(move |answers| answers.labels[at].as_ref());
            let prefix = self.prefix(at);
            if labels().next().is_some() {
                arrays.push((format!("{prefix}label"), concatenate(labels().map(|(labels, _)| labels))?));
            }
            if labels().any(|(_, sure)| sure.is_some()) {
                arrays.push((format!("{prefix}confidence"), concatenate(labels().filter_map(|(_, sure)| sure.as_ref()))?));
            }
        }
        write_npz(&self.options.out, arrays.iter().map(|(name, array)| (name.as_str(), array)))
    }
}
