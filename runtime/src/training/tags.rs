//! Labels of words, written a word a line in the manner of CoNLL.

use super::predict::Run;
use crate::files::write_whole;
use crate::program::network::Network;
use kiln_ir::Diagnostic;
use std::io;

/// Writes each word of the samples with its label, an empty line behind each sample; words behind the length of a text have `O`.
///
/// Errors: `predict_output` when data are not cut into words, or the network gives no labels for them; `file`.
pub(super) fn write_words(run: &mut Run, network: &mut dyn Network, ahead: bool) -> Result<(), Diagnostic> {
    let mut failed = None;
    let path = &run.options.out.clone();
    let mut at = 0;
    let written = write_whole(path, |sink| {
        let outcome = run.each(network, ahead, |run, answers| {
            let unfit = || {
                let error = Diagnostic::new("predict_output", "there are no labels of words");
                error.help("a .conll file is for networks that give scores [batch, time, labels], and data in .conll files")
            };
            let words = run.dataset.words.as_ref().ok_or_else(unfit)?;
            let labels = answers.labels.iter().flatten().map(|(labels, _)| labels).find(|labels| labels.shape().len() == 2);
            let labels = labels.ok_or_else(unfit)?;
            let width = labels.shape()[1];
            let named = |label: f64| {
                let names = run.options.labels.as_ref();
                names.and_then(|names| names.get(label as usize)).cloned().unwrap_or_else(|| label.to_string())
            };
            let mut text = String::new();
            for row in 0..answers.samples.len() {
                let pieces = run.dataset.first_pieces(at);
                for (word, at) in words[at].iter().zip(pieces.into_iter().map(Some).chain(std::iter::repeat(None))) {
                    let label = at.filter(|at| *at < width).map_or("O".to_owned(), |at| named(labels.get_f64(row * width + at)));
                    text += &format!("{word}\t{label}\n");
                }
                text.push('\n');
                at += 1;
            }
            sink.write_all(text.as_bytes()).map_err(|error| Diagnostic::new("file", format!("cannot write {}: {error}", path.display())))
        });
        outcome.map_err(|error| io::Error::other(failed.insert(error).message.clone()))
    });
    match failed {
        Some(error) => Err(error),
        None => written,
    }
}
