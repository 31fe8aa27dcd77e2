//! Texts on the command line, or from standard input, one a line: one answer each.

use super::network::Network;
use super::options::Options;
use super::{Failure, Special, print_json, write_outputs};
use crate::arrays::{Array, concatenate, first_items};
use crate::report::{RankedClass, Summary, rank, summarise};
use crate::text::{Token, Tokeniser, text_input, to_array, width};
use kiln_ir::artifact::{Extent, Scores, Signature};
use kiln_ir::{DType, Diagnostic};
use serde::Serialize;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

/// What programs that take texts do with them.
pub const TEXTS: Special = Special { is_meant, answer, read_first, help };

fn is_meant(options: &Options, signature: &Signature) -> bool {
    signature.text.is_some() && !super::inputs::are_given(options)
}

/// Texts are no files, and `--bench` takes none.
fn read_first(_: &[PathBuf], _: &Signature) -> Result<Vec<Array>, Failure> {
    Err(Failure::Usage("--bench times made-up tokens, as many as --dim says, or --inputs".to_owned()))
}

fn help(program: &str, _: &Signature) -> String {
    format!("  {program} TEXT...                         answer texts, one line each\n")
        + &format!("  {program} < FILE                          answer the lines of a file\n")
}

/// Runs the model on each text and prints a line each: the likeliest labels with their confidence, of a tagger each token with its label.
///
/// Errors: a model that takes more than a text; what fails while computing or writing.
fn answer(options: &Options, network: &mut dyn Network, labels: Option<&[String]>, out: &mut dyn Write) -> Result<(), Failure> {
    let signature = network.signature().clone();
    let tokeniser = tokeniser(&signature)?;
    let mut kept: Vec<Vec<Array>> = Vec::new();
    let mut each = |text: &str| -> Result<(), Failure> {
        let outputs = answer_one(options, &signature, &tokeniser, text, network, labels, out)?;
        if options.output.is_some() {
            kept.push(outputs);
        }
        Ok(())
    };
    if options.pictures.is_empty() {
        for (number, line) in io::stdin().lock().lines().enumerate() {
            let line =
                line.map_err(|error| Diagnostic::new("file", format!("cannot read line {} of standard input: {error}", number + 1)))?;
            each(&line)?;
        }
    }
    for text in &options.pictures {
        each(&text.to_string_lossy())?;
    }
    if let Some(path) = &options.output {
        let outputs: Result<Vec<Array>, Diagnostic> =
            (0..signature.outputs.len()).map(|index| concatenate(kept.iter().map(|outputs| &outputs[index]))).collect();
        write_outputs(path, &signature, &outputs?)?;
    }
    Ok(())
}

/// What makes tokens for a model whose only input takes texts.
fn tokeniser(signature: &Signature) -> Result<Tokeniser, Failure> {
    let text = text_input(signature)?.filter(|text| matches!(&signature.inputs[..], [only] if only.name == text.input));
    let text = text.ok_or_else(|| {
        let inputs: Vec<String> = signature.inputs.iter().map(|input| format!("\n  {input}")).collect();
        let message = format!("this model does not take one text; its inputs are{}", inputs.concat());
        Failure::Error(Diagnostic::new("text_input", message).help("give arrays with --inputs FILE.npz or --input NAME=FILE"))
    })?;
    Ok(Tokeniser::new(text)?)
}

#[derive(Serialize)]
struct Answer<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<RankedClass>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<Tagged<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Vec<Summary>>,
    ms: f64,
}

/// A token with its label.
#[derive(Serialize)]
struct Tagged<'a> {
    token: &'a str,
    label: String,
    confidence: f64,
}

/// Answers one text, and gives what the model gave for it.
fn answer_one(
    options: &Options,
    signature: &Signature,
    tokeniser: &Tokeniser,
    text: &str,
    network: &mut dyn Network,
    labels: Option<&[String]>,
    out: &mut dyn Write,
) -> Result<Vec<Array>, Failure> {
    let decl = &signature.inputs[0];
    let tokens = tokeniser.tokens(text)?;
    let numbers: Vec<i64> = tokens.iter().map(|token| token.number).collect();
    let batch = if let Some(Extent::Fixed(n)) = decl.shape.first() { usize::try_from(*n).unwrap_or(1).max(1) } else { 1 };
    let width = width(numbers.len(), decl, tokeniser.input());
    let inputs = [to_array(&vec![numbers; batch], width, tokeniser.input().padding, decl.dtype)?];
    network.prepare(&inputs)?;
    let begin = Instant::now();
    network.run(&inputs)?;
    let ms = begin.elapsed().as_secs_f64() * 1e3;
    let first = |output: &Array| first_items(output, batch, 1);
    let outputs = network.outputs().iter().map(first).collect::<Result<Vec<_>, Diagnostic>>()?;
    let mut answer = Answer { text, top: None, tokens: None, outputs: None, ms };
    let meant = outputs.first().map(|output| probabilities(output, signature.scores)).transpose()?;
    let several = matches!(signature.scores, Some(Scores::YesOrNo | Scores::YesOrNoLogits));
    match meant {
        Some(scores) if several => answer.top = Some(yes(&scores, labels, options.top)),
        Some(scores) => {
            let is_tagger = matches!(scores.shape(), [1, time, _] if *time == width);
            let top = if is_tagger { 1 } else { options.top.unwrap_or(1) };
            match rank(std::slice::from_ref(&scores), labels, top) {
                Some(ranking) if is_tagger => answer.tokens = Some(tagged(text, &tokens, ranking.rows)),
                Some(mut ranking) if ranking.rows.len() == 1 => answer.top = ranking.rows.pop(),
                _ => answer.outputs = Some(summarise(signature, &outputs)),
            }
        }
        None => {}
    }
    match options.json {
        true => print_json(out, &answer)?,
        false => writeln!(out, "{}", line(&answer))?,
    }
    Ok(outputs)
}

/// Scores as probabilities.
fn probabilities(output: &Array, scores: Option<Scores>) -> Result<Array, Diagnostic> {
    let mut result = Array::zeroed(DType::F32, output.shape().to_vec())?;
    let classes = output.shape().last().copied().unwrap_or(1).max(1);
    for row in (0..output.len()).step_by(classes) {
        let values: Vec<f64> = (row..row + classes).map(|i| output.get_f64(i)).collect();
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = values.iter().map(|value| (value - largest).exp()).sum();
        for (i, value) in values.into_iter().enumerate() {
            let value = match scores {
                Some(Scores::Logits) => (value - largest).exp() / sum,
                Some(Scores::YesOrNoLogits) => 1.0 / (1.0 + (-value).exp()),
                Some(Scores::YesOrNo) | None => value,
            };
            result.set_f64(row + i, value);
        }
    }
    Ok(result)
}

/// The labels that are more likely than not, the likeliest first, or as many as are asked for.
fn yes(scores: &Array, labels: Option<&[String]>, top: Option<usize>) -> Vec<RankedClass> {
    let class = |class: usize| RankedClass {
        class,
        label: labels.and_then(|labels| labels.get(class)).cloned(),
        confidence: scores.get_f64(class),
    };
    let mut classes: Vec<RankedClass> = (0..scores.len()).map(class).collect();
    classes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    match top {
        Some(top) => classes.truncate(top),
        None => classes.retain(|class| class.confidence > 0.5),
    }
    classes
}

fn tagged<'a>(text: &'a str, tokens: &[Token], rows: Vec<Vec<RankedClass>>) -> Vec<Tagged<'a>> {
    let tagged = |(token, row): (&Token, Vec<RankedClass>)| {
        let class = row.into_iter().next()?;
        Some(Tagged { token: &text[token.place.clone()], label: class.name(), confidence: class.confidence })
    };
    tokens.iter().zip(rows).filter_map(tagged).collect()
}

fn line(answer: &Answer) -> String {
    let class = |class: &RankedClass| format!("{}  {}", class.name(), class.confidence_text(true));
    if let Some(classes) = &answer.top {
        return if classes.is_empty() { "none".to_owned() } else { classes.iter().map(class).collect::<Vec<_>>().join("  ") };
    }
    if let Some(tokens) = &answer.tokens {
        return tokens.iter().map(|token| format!("{}/{}", token.token, token.label)).collect::<Vec<_>>().join(" ");
    }
    answer.outputs.iter().flatten().map(Summary::text).collect::<Vec<_>>().join("; ")
}
