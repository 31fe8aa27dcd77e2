//! Data as a list of files: `list.csv` with the columns `file` and `label`, or `train/list.csv` and the like; files are named from where
//! the list is. Where the network spells text, the column is `text`, and its labels are the network's.

use super::items::{Items, is_item, label_of};
use super::labels::{Classes, at_line};
use super::table::Rows;
use super::{Dataset, Splits, Wanted, of_parts};
use crate::transcript::{ctc_output, spell};
use kiln_ir::Diagnostic;
use std::path::Path;

/// What the list is called.
pub const NAME: &str = "list.csv";

/// One list. Errors: `file`; `data` for what does not fit, with its line.
pub fn open_file(path: &Path, wanted: &Wanted) -> Result<Splits, Diagnostic> {
    let mut classes = None;
    let train = read(path, wanted, &mut classes)?;
    Ok(Splits { classes: classes.and_then(Classes::names), ..Splits::of(train) })
}

/// The lists of a directory; `None` if there are none. Errors: as [`open_file`].
pub fn open_directory(path: &Path, wanted: &Wanted) -> Result<Option<Splits>, Diagnostic> {
    let found =
        of_parts(|part| Some(path.join(part).join(NAME)).filter(|path| path.is_file()), |place, classes| read(place, wanted, classes))?;
    match (found, path.join(NAME)) {
        (None, list) if list.is_file() => open_file(&list, wanted).map(Some),
        (found, _) => Ok(found),
    }
}

/// A line of a list.
struct Line {
    line: u64,
    file: String,
    label: String,
}

fn read(path: &Path, wanted: &Wanted, classes: &mut Option<Classes>) -> Result<Dataset, Diagnostic> {
    let place = path.display().to_string();
    let lines = read_lines(path, wanted)?;
    let has_target = wanted.slots.iter().any(|slot| slot.is_target);
    let spelling = wanted.spelling().and_then(|_| ctc_output(wanted.signature));
    if has_target && spelling.is_none() && classes.is_none() {
        let labels = lines.iter().map(|line| line.label.as_str()).filter(|label| !label.is_empty());
        *classes = Some(wanted.classes_of(wanted.labels()?, labels, &place)?);
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut items: Option<Items> = None;
    for Line { line, file, label } in &lines {
        let item = directory.join(file);
        let mut add = || {
            if !is_item(&item) {
                return Err(at_line(&place, *line, &format!("`{file}` is no picture (.png, .jpg) or sound (.wav, .flac, .mp3, .ogg)")));
            }
            let labels = match &spelling {
                Some(ctc) => spell(ctc, label),
                None => label_of(classes.as_ref().filter(|_| has_target), label).map(|label| vec![label]),
            };
            let labels = labels.map_err(|text| at_line(&place, *line, &text))?;
            let items = match &mut items {
                Some(items) => items,
                none => none.insert(Items::new(&item, wanted)?),
            };
            items.add(&item, file, &labels).map_err(|error| error.at(format!("{place}:{line}"), "here"))
        };
        add().or_else(|error| wanted.leave_out(error))?;
    }
    let items = items.ok_or_else(|| Diagnostic::new("data", format!("{place}: there are no samples")))?;
    items.dataset(&place)
}

fn read_lines(path: &Path, wanted: &Wanted) -> Result<Vec<Line>, Diagnostic> {
    let place = path.display().to_string();
    let has_target = wanted.slots.iter().any(|slot| slot.is_target);
    let mut rows = Rows::open(path)?;
    let header: Vec<String> = rows.next_row()?.map_or(Vec::new(), |(row, _)| row.iter().map(str::to_owned).collect());
    let column = |name: &str| header.iter().position(|field| field == name);
    let usual = if wanted.spelling().is_some() && wanted.signature.ctc.is_some() { "text" } else { "label" };
    let label_name = wanted.options.label.as_deref().unwrap_or(usual);
    let missing = |name: &str| {
        let error = Diagnostic::new("data", format!("{place} has no column `{name}`"));
        error.help(format!(
            "its first line is `file,{usual}`: a file in each row, and its {}",
            if usual == "text" { usual } else { "class" }
        ))
    };
    let file = column("file").ok_or_else(|| missing("file"))?;
    let label = column(label_name);
    if has_target && label.is_none() {
        return Err(missing(label_name));
    }
    let mut lines = Vec::new();
    loop {
        let outcome = match rows.next_row() {
            Ok(None) => return Ok(lines),
            Ok(Some((row, line))) if row.len() != header.len() => {
                Err(at_line(&place, line, &format!("{} fields, and {} are wanted", row.len(), header.len())))
            }
            Ok(Some((row, line))) => {
                let label = label.map_or("", |label| &row[label]).to_owned();
                lines.push(Line { line, file: row[file].to_owned(), label });
                Ok(())
            }
            Err(error) if error.code == "file" => return Err(error),
            Err(error) => Err(error),
        };
        outcome.or_else(|error| wanted.leave_out(error))?;
    }
}
