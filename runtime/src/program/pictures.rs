//! Pictures on the command line: one answer each.

use super::network::Network;
use super::options::Options;
use super::{Failure, print_json, write_outputs};
use crate::arrays::{Array, concatenate, first_items};
use crate::pictures::{Picture, decode, image_input, to_input};
use crate::report::{RankedClass, Ranking, Summary, rank, summarise};
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{Extent, ImageInput, Layout, Signature};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Runs the model on each picture (as many at a time as a fixed batch holds) and prints a line each.
///
/// The time printed is that of the network alone, divided by the pictures of its batch.
pub fn classify(options: &Options, network: &mut dyn Network, labels: Option<&[String]>, out: &mut dyn Write) -> Result<(), Failure> {
    let signature = &network.signature().clone();
    let image = only_input(signature)?;
    let batch = batch_size(&image, signature);
    let width = options.pictures.iter().map(|path| path.to_string_lossy().chars().count()).max().unwrap_or(0);
    let mut kept: Vec<Vec<Array>> = Vec::new();
    for paths in options.pictures.chunks(batch) {
        let pictures: Vec<Picture> = paths.iter().map(|path| decode(path)).collect::<Result<_, _>>()?;
        let inputs = [to_input(&pictures, &image, signature)?];
        network.prepare(&inputs)?;
        let begin = Instant::now();
        network.run(&inputs)?;
        let ms = begin.elapsed().as_secs_f64() * 1e3 / paths.len() as f64;
        // One row per picture, else this is no classifier.
        let ranking =
            rank(network.outputs(), labels, options.top.unwrap_or(1)).filter(|ranking| ranking.rows.len() == inputs[0].shape()[0]);
        let summaries = summarise(signature, network.outputs());
        for (row, path) in paths.iter().enumerate() {
            let classes = ranking.as_ref().map(|ranking| (ranking, ranking.rows[row].as_slice()));
            let name = path.to_string_lossy();
            if options.json {
                let outputs = if classes.is_none() { Some(summaries.as_slice()) } else { None };
                print_json(out, &Answer { picture: &name, top: classes.map(|(_, row)| row), outputs, ms })?;
            } else {
                let padding = width - name.chars().count();
                writeln!(out, "{name}{:padding$}  {}  {ms:.3} ms", "", classes_text(classes, &summaries))?;
            }
        }
        if options.output.is_some() {
            kept.push(
                network.outputs().iter().map(|output| first_items(output, inputs[0].shape()[0], paths.len())).collect::<Result<_, _>>()?,
            );
        }
    }
    if let Some(path) = &options.output {
        let outputs: Result<Vec<Array>, Diagnostic> =
            (0..signature.outputs.len()).map(|index| concatenate(kept.iter().map(|o| &o[index]))).collect();
        write_outputs(path, signature, &outputs?)?;
    }
    Ok(())
}

/// The input for the first batch of pictures.
pub fn read_first(paths: &[PathBuf], signature: &Signature) -> Result<Vec<Array>, Failure> {
    let image = only_input(signature)?;
    let pictures: Vec<Picture> = paths.iter().take(batch_size(&image, signature)).map(|path| decode(path)).collect::<Result<_, _>>()?;
    Ok(vec![to_input(&pictures, &image, signature)?])
}

/// What `--help` says of pictures.
pub fn help(program: &str) -> String {
    format!("  {program} PICTURE...                      classify PNG or JPEG files, one line each\n")
}

#[derive(Serialize)]
struct Answer<'a> {
    picture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<&'a [RankedClass]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<&'a [Summary]>,
    ms: f64,
}

/// The likeliest classes as text, or the outputs where they are none of classes.
pub(super) fn classes_text(classes: Option<(&Ranking, &[RankedClass])>, summaries: &[Summary]) -> String {
    match classes {
        Some((ranking, classes)) => {
            let classes: Vec<String> =
                classes.iter().map(|class| format!("{:<12} {:>8}", class.name(), class.confidence_text(ranking.is_distribution))).collect();
            classes.join("  ")
        }
        None => summaries.iter().map(Summary::text).collect::<Vec<_>>().join("; "),
    }
}

fn only_input(signature: &Signature) -> Result<ImageInput, Failure> {
    let image = image_input(signature).filter(|_| signature.inputs.len() == 1);
    image.ok_or_else(|| {
        let inputs: Vec<String> = signature.inputs.iter().map(|input| format!("\n  {input}")).collect();
        let message = format!("this model does not take one picture; its inputs are{}", inputs.concat());
        Failure::Error(Diagnostic::new("picture_input", message).help("give arrays with --inputs FILE.npz or --input NAME=FILE"))
    })
}

/// Pictures per run: a fixed batch, else one by one.
fn batch_size(image: &ImageInput, signature: &Signature) -> usize {
    let declared = signature.inputs.iter().find(|input| input.name == image.input).and_then(|input| input.shape.first());
    debug_assert!(matches!(image.layout, Layout::Nchw | Layout::Nhwc), "the batch is the first axis");
    match declared {
        Some(Extent::Fixed(n)) => usize::try_from(*n).unwrap_or(1).max(1),
        Some(Extent::Expression(_)) | None => 1,
    }
}
