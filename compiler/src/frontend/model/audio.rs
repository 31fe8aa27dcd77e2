//! What model files say of sounds: how they become an input, and how an output spells what was said.

use super::file::{Head, Input};
use super::read::suggest;
use super::tree::{Mistake, Span};
use kiln_ir::Graph;
use kiln_ir::artifact::{AudioInput, CtcOutput};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Samples of a second: what files may have.
const RATES: std::ops::RangeInclusive<u32> = 1000..=384_000;

/// How sounds become an input; see [`AudioInput`].
#[derive(Deserialize, JsonSchema)]
pub struct Audio {
    /// Samples of a second, into which others are resampled.
    pub sample_rate: u32,
    /// The input, of shape [], that gets which part of the samples of each sound is not padding.
    pub lengths: Option<String>,
}

impl Audio {
    /// In the words of artefacts. Errors: the input's shape is no sound's; the other input is none, or of another shape.
    fn describe(&self, input: &Input, inputs: &[(Input, Span)]) -> Result<AudioInput, Mistake> {
        let is_sound = matches!(&input.shape[..], [_]) || matches!(&input.shape[..], [one, _] if one.is(1));
        let is_float = |input: &Input| input.dtype.is_none_or(|dtype| dtype.dtype().is_float());
        if !is_sound || !is_float(input) {
            return Err(Mistake::new("a sound's shape is [samples] or [1, samples], of floating numbers"));
        }
        if !RATES.contains(&self.sample_rate) {
            let (least, most) = (RATES.start(), RATES.end());
            return Err(Mistake::new(format!(
                "`sample_rate` is {}, but {least} to {most} samples a second are possible",
                self.sample_rate
            )));
        }
        if let Some(name) = &self.lengths {
            let other = inputs.iter().map(|(other, _)| other).find(|other| other.name == *name);
            if !other.is_some_and(|other| other.shape.is_empty() && is_float(other)) {
                let mistake = Mistake::new(format!("`lengths` names `{name}`, which is no input of shape [] of floating numbers"));
                return Err(mistake.help(format!("[[input]] name = \"{name}\", shape = []")));
            }
        }
        Ok(AudioInput { input: input.name.clone(), sample_rate: self.sample_rate, lengths: self.lengths.clone(), stream: None })
    }
}

/// How an output spells text, by the network's `labels`; see [`CtcOutput`].
#[derive(Deserialize, JsonSchema)]
pub struct CtcTable {
    /// The output; the only one if left out.
    output: Option<String>,
    /// The class that stands for nothing.
    #[serde(default)]
    blank: u32,
    /// What stands between labels: "" between characters, " " between words.
    #[serde(default)]
    separator: String,
}

impl CtcTable {
    /// In the words of artefacts; without an output's name, the first one's. Errors: there are no labels, or not that blank.
    fn describe(&self, labels: Option<&[String]>) -> Result<CtcOutput, Mistake> {
        let labels = labels.ok_or_else(|| {
            Mistake::new("an output that spells text needs `labels`: what each class stands for").help("labels = [\"\", \"yes\", \"no\"]")
        })?;
        let blank = self.blank as usize;
        if blank >= labels.len() {
            return Err(Mistake::new(format!("`blank` is {blank}, but there are {} labels, numbered from 0 on", labels.len())));
        }
        let spelled = || labels.iter().enumerate().filter(|(class, _)| *class != blank);
        if let Some((class, _)) = spelled().find(|(_, label)| label.is_empty()) {
            return Err(Mistake::new(format!("label {class} is empty, and only that of the blank, {blank}, may be")));
        }
        let words = !self.separator.is_empty();
        let wrong = |label: &str| {
            if words { label.contains(&self.separator) || label.contains(char::is_whitespace) } else { label.chars().count() != 1 }
        };
        if let Some((class, label)) = spelled().find(|(_, label)| wrong(label)) {
            let wanted = if words { "a word" } else { "one character, as nothing stands between labels" };
            return Err(Mistake::new(format!("label {class} is `{label}`, but {wanted} is wanted")).help("separator = \" \" is for words"));
        }
        if let Some((class, label)) = spelled().find(|(class, label)| spelled().any(|(other, same)| other < *class && same == *label)) {
            return Err(Mistake::new(format!("label {class} is `{label}`, which is another label already")));
        }
        let output = self.output.clone().unwrap_or_default();
        Ok(CtcOutput { output, labels: labels.to_vec(), blank: self.blank, separator: self.separator.clone() })
    }
}

/// Writes what inputs and outputs say of sounds into the metadata `kiln.audio` and `kiln.ctc`.
pub fn describe(
    inputs: &[(Input, Span)],
    head: &Head,
    ctc_span: Span,
    metadata: &mut BTreeMap<String, String>,
    mistakes: &mut Vec<Mistake>,
) {
    for (input, span) in inputs {
        match input.audio.as_ref().map(|audio| audio.describe(input, inputs)).transpose() {
            Ok(Some(_)) if input.image.is_some() => mistakes.push(Mistake::new("an input takes pictures or sounds, not both").at(*span)),
            Ok(Some(_)) if metadata.contains_key("kiln.audio") => mistakes.push(Mistake::new("only one input takes sounds").at(*span)),
            Ok(Some(audio)) => {
                metadata.insert("kiln.audio".to_string(), serde_json::json!(audio).to_string());
            }
            Ok(None) => {}
            Err(mistake) => mistakes.push(mistake.at(*span)),
        }
    }
    match head.ctc.as_ref().map(|ctc| ctc.describe(head.labels.as_deref())).transpose() {
        Ok(Some(ctc)) => {
            metadata.insert("kiln.ctc".to_string(), serde_json::json!(ctc).to_string());
        }
        Ok(None) => {}
        Err(mistake) => mistakes.push(mistake.at(ctc_span)),
    }
}

/// Completes the metadata `kiln.ctc`, if there is any, by the output that it is about.
///
/// Errors: there is no such output; it is not `[batch, time, classes]` with a label for each class.
pub fn find_output(network: &Graph, metadata: &mut BTreeMap<String, String>) -> Result<(), Mistake> {
    let Some(text) = metadata.get_mut("kiln.ctc") else { return Ok(()) };
    let mut ctc: CtcOutput = serde_json::from_str(text).expect("it was just written");
    let names: Vec<&str> = network.outputs().iter().map(|(name, _)| name.as_str()).collect();
    let found = match (ctc.output.as_str(), &names[..]) {
        ("", [_]) => Some(0),
        ("", _) => {
            let mistake = Mistake::new(format!("the network has {} outputs, so `ctc` says which of them spells text", names.len()));
            return Err(mistake.help(format!("output = one of {}", names.join(", "))));
        }
        (name, _) => names.iter().position(|other| *other == name),
    };
    let at = found
        .ok_or_else(|| suggest(Mistake::new(format!("`ctc`: there is no output `{}`", ctc.output)), &ctc.output, names.iter().copied()))?;
    let ty = network.ty(network.outputs()[at].1);
    if !(ty.rank() == 3 && ty.shape[2].is(ctc.labels.len() as i64) && ty.dtype.is_float()) {
        let message = format!(
            "`ctc`: output `{}` is {ty}, and [batch, time, {}] is wanted: as many classes as `labels`",
            names[at],
            ctc.labels.len()
        );
        return Err(Mistake::new(message));
    }
    ctc.output = names[at].to_string();
    *text = serde_json::json!(ctc).to_string();
    Ok(())
}
