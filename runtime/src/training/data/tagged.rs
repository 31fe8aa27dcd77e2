//! Words with labels, in the manner of CoNLL: `train.conll` (and `validation.conll` or `dev.conll`, `test.conll`), or one such file. A word
//! a line, its label in the last column behind a tab (or white space); an empty line ends a sentence, which is a sample.

use super::labels::{Classes, at_line};
use super::sequences::Sequences;
use super::texts::read_text;
use super::{Dataset, Splits, Wanted, of_parts};
use crate::text::vocabulary::Counts;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{TextInput, Tokens};
use std::path::Path;

/// Endings of such files.
const ENDINGS: [&str; 3] = ["conll", "bio", "iob"];

/// Whether a file is one, by its name.
pub fn is_tagged(path: &Path) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| ENDINGS.contains(&extension))
}

/// One file. Errors: `file`; `data` for what does not fit, with its line.
pub fn open_file(path: &Path, wanted: &Wanted) -> Result<Splits, Diagnostic> {
    let mut classes = None;
    let train = read(path, wanted, &mut classes)?;
    Ok(Splits { classes: classes.and_then(Classes::names), ..Splits::of(train) })
}

/// The files of a directory; `None` if there is none to train on. Errors: as [`open_file`].
pub fn open_directory(path: &Path, wanted: &Wanted) -> Result<Option<Splits>, Diagnostic> {
    let find = |part: &str| {
        let names = if part == "validation" { vec!["validation", "dev"] } else { vec![part] };
        let files = names.into_iter().flat_map(|name| ENDINGS.map(|ending| path.join(format!("{name}.{ending}"))));
        files.into_iter().find(|path| path.is_file())
    };
    of_parts(find, |place, classes| read(place, wanted, classes))
}

/// A word with its label, if it has one, and its line.
struct Word<'t> {
    word: &'t str,
    label: Option<&'t str>,
    line: u64,
}

fn read(path: &Path, wanted: &Wanted, classes: &mut Option<Classes>) -> Result<Dataset, Diagnostic> {
    let place = path.display().to_string();
    let (slot, input) = wanted.text().ok_or_else(|| {
        let error = Diagnostic::new("data", format!("{place} holds words with labels, and no input takes texts"));
        wanted.takes(error).help("name it with a `text` table in [[input]]")
    })?;
    let target = match (0..wanted.slots.len()).filter(|at| *at != slot).collect::<Vec<_>>()[..] {
        [] => None,
        [only] if wanted.is_label(only) && wanted.decl(only).shape.len() == 2 => Some(only),
        _ => {
            let error = Diagnostic::new("data", format!("{place} holds words with labels, and the network is trained on something else"));
            return Err(wanted.takes(error).help("a tagger gives scores of labels for each word, [batch, time, labels]"));
        }
    };
    let text = read_text(path)?;
    let sentences = sentences(&text);
    let words = || sentences.iter().flatten();
    let count = |counts: &mut Counts, input: &TextInput| {
        words().for_each(|word| match input.tokens {
            Tokens::Word => counts.add_word(word.word, input),
            _ => counts.add(word.word, input),
        });
        Ok(())
    };
    let tokeniser = wanted.tokeniser(count)?;
    if let (Some(target), None) = (target, &classes) {
        *classes = Some(wanted.classes_of(target, words().filter_map(|word| word.label), &place)?);
    }
    let most = input.length.map_or(usize::MAX, |length| length as usize);
    let mut tokens = Sequences::new(wanted.decl(slot), &input, input.padding);
    let mut labels = target.map(|target| Sequences::new(wanted.decl(target), &input, UNCOUNTED));
    let (mut kept, mut starts) = (Vec::new(), Vec::new());
    for sentence in &sentences {
        let (mut numbers, mut classes_of, mut starts_of) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |word: &Word| -> Result<(), Diagnostic> {
            let label = match (classes.as_ref().filter(|_| target.is_some()), word.label) {
                (None, _) => UNCOUNTED,
                (Some(_), None) => return Err(at_line(&place, word.line, "a label is missing behind the word")),
                (Some(classes), Some(label)) => classes.number(label).map_err(|text| at_line(&place, word.line, &text))?,
            };
            // Of a word in several pieces, the first one has its label.
            let pieces = tokeniser.pieces_of_word(word.word)?;
            starts_of.push(numbers.len() as u32);
            classes_of.extend((0..pieces.len()).map(|at| if at == 0 { label } else { UNCOUNTED }));
            numbers.extend(pieces);
            Ok(())
        };
        match sentence.iter().try_for_each(&mut add) {
            Err(error) => wanted.leave_out(error)?,
            Ok(()) => {
                numbers.truncate(most);
                classes_of.truncate(most);
                tokens.push(numbers);
                if let Some(labels) = &mut labels {
                    labels.push(classes_of);
                }
                starts.push(starts_of);
                kept.push(sentence.iter().map(|word| word.word.to_owned()).collect());
            }
        }
    }
    let mut columns = vec![tokens.column()];
    if let Some(labels) = labels {
        columns.insert(target.map_or(1, |target| usize::from(target > slot)), labels.column());
    }
    let mut dataset = wanted.dataset(columns, &place)?;
    dataset.words = Some(kept);
    dataset.word_starts = (input.tokens != Tokens::Word).then_some(starts);
    Ok(dataset)
}

/// The label of what no loss and no metric counts.
pub const UNCOUNTED: i64 = -1;

fn sentences(text: &str) -> Vec<Vec<Word<'_>>> {
    let mut sentences = vec![Vec::new()];
    for (line, number) in text.lines().zip(1..) {
        let columns: Vec<&str> = match line.contains('\t') {
            true => line.trim_end_matches(['\r', '\n']).split('\t').map(str::trim).collect(),
            false => line.split_whitespace().collect(),
        };
        match columns[..] {
            [word, ..] if !word.is_empty() && word != "-DOCSTART-" => {
                let label = columns.last().copied().filter(|label| columns.len() > 1 && !label.is_empty());
                if let Some(sentence) = sentences.last_mut() {
                    sentence.push(Word { word, label, line: number });
                }
            }
            _ => sentences.push(Vec::new()),
        }
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}
