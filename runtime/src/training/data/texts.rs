//! Texts without labels: `train.txt` (and `validation.txt`, `test.txt`), or one such file.
//!
//! A network that scores the next token for each token, as those that write do, learns from running text, cut into windows of as many
//! tokens as its input takes. For others each line is a sample.

use super::sequences::Sequences;
use super::tagged::UNCOUNTED;
use super::{Dataset, Splits, Wanted, of_parts};
use crate::files::file_error;
use kiln_ir::Diagnostic;
use std::path::Path;

/// Whether a file holds lines of text, by its name.
pub fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "txt")
}

/// Tokens of a sample of running text where the network says nothing of it.
const WINDOW: usize = 128;

/// The samples of a file. Errors: `file`; `data` for networks that take something else.
pub fn open_file(path: &Path, wanted: &Wanted) -> Result<Splits, Diagnostic> {
    read(path, wanted).map(Splits::of)
}

/// The files `train.txt`, `validation.txt` and `test.txt` of a directory; `None` if there is none to train on. Errors: as [`open_file`].
pub fn open_directory(path: &Path, wanted: &Wanted) -> Result<Option<Splits>, Diagnostic> {
    let find = |part: &str| Some(path.join(format!("{part}.txt"))).filter(|path| path.is_file());
    of_parts(find, |place, _| read(place, wanted))
}

fn read(path: &Path, wanted: &Wanted) -> Result<Dataset, Diagnostic> {
    let place = path.display().to_string();
    let unfit =
        || wanted.takes(Diagnostic::new("data", format!("{place} holds texts without labels, and the network takes something else")));
    let (slot, input) = wanted.text().ok_or_else(unfit)?;
    let target = match (0..wanted.slots.len()).filter(|at| *at != slot).collect::<Vec<_>>()[..] {
        [] => None,
        [only] if wanted.is_label(only) && wanted.decl(only).shape.len() == 2 => Some(only),
        _ => return Err(unfit()),
    };
    let text = read_text(path)?;
    let tokeniser = wanted.tokeniser(|counts, input| {
        match target {
            Some(_) => counts.add(&text, input),
            None => text.lines().for_each(|line| counts.add(line, input)),
        }
        Ok(())
    })?;
    let mut samples = Sequences::new(wanted.decl(slot), &input, input.padding);
    let Some(target) = target else {
        for line in text.lines() {
            samples.push(tokeniser.tokens(line)?.into_iter().map(|token| token.number));
        }
        return wanted.dataset(vec![samples.column()], &place);
    };
    let classes = wanted.slots[target].classes().unwrap_or(0);
    if classes < input.size as usize {
        let message = format!("{place}: the network tells {classes} tokens apart that may come next, and the text has {}", input.size);
        return Err(Diagnostic::new("data", message).help("what scores the next token has as many `units` as the vocabulary"));
    }
    // What follows each token is what is to be found out; windows do not overlap.
    let numbers: Vec<i64> = tokeniser.all_tokens(&text)?.into_iter().map(|token| token.number).collect();
    let window = input.length.map_or(WINDOW, |length| length as usize);
    let mut next = Sequences::new(wanted.decl(target), &input, UNCOUNTED);
    for from in (0..numbers.len().saturating_sub(1)).step_by(window) {
        let to = (from + window).min(numbers.len() - 1);
        samples.push(numbers[from..to].iter().copied());
        next.push(numbers[from + 1..to + 1].iter().copied());
    }
    let mut columns = vec![samples.column()];
    columns.insert(usize::from(target > slot), next.column());
    wanted.dataset(columns, &place)
}

/// A whole file. Errors: `file`; `data` when it is no UTF-8.
pub(super) fn read_text(path: &Path) -> Result<String, Diagnostic> {
    let bytes = std::fs::read(path).map_err(|error| file_error("read", path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Diagnostic::new("data", format!("{}:{line}: this is no text in UTF-8", path.display()))
    })
}
