//! Data as pictures or sounds, a directory for each class: `CLASS/*.png`, or `train/CLASS/*.png` with `validation/…` and `test/…` beside
//! it. To predict, files without classes do as well.

use super::items::{Items, is_item, label_of};
use super::labels::Classes;
use super::{Dataset, Splits, Wanted, of_parts};
use crate::files::file_error;
use kiln_ir::Diagnostic;
use std::path::{Path, PathBuf};

/// The files under a directory; `None` if it has no directories, nor files where no classes are wanted. Errors: `file`; what decoding
/// reports; `data`.
pub fn open(path: &Path, wanted: &Wanted) -> Result<Option<Splits>, Diagnostic> {
    let has_target = wanted.slots.iter().any(|slot| slot.is_target);
    let has_samples = |path: &Path| {
        let own = !has_target && entries(path)?.iter().any(|entry| is_item(entry));
        Ok::<_, Diagnostic>(own || !directories(path)?.is_empty())
    };
    let split = path.join("train").is_dir();
    if !has_samples(&if split { path.join("train") } else { path.to_path_buf() })? {
        return Ok(None);
    }
    let find = |part: &str| match split {
        true => Some(path.join(part)).filter(|path| path.is_dir()),
        false => Some(path.to_path_buf()).filter(|_| part == "train"),
    };
    of_parts(find, |place, classes| {
        if classes.is_none() {
            let names = wanted.known_labels().map_or_else(|| directories(place), |names| Ok(names.to_vec()))?;
            if has_target {
                wanted.check_classes(wanted.labels()?, &names, &place.display().to_string())?;
            }
            *classes = Some(Classes::Names(names));
        }
        read(place, wanted, classes.as_ref().filter(|_| has_target))
    })
}

/// Names of the directories in a directory, in order. Errors: `file`.
fn directories(path: &Path) -> Result<Vec<String>, Diagnostic> {
    let found = entries(path)?.into_iter().filter(|entry| entry.is_dir());
    Ok(found.filter_map(|entry| Some(entry.file_name()?.to_str()?.to_owned())).collect())
}

/// What lies in a directory, in order of names, without what is hidden. Errors: `file`.
fn entries(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let failed = |error: std::io::Error| file_error("read", path, &error);
    let listed = std::fs::read_dir(path).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
    let mut found = listed.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    found.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    found.sort_unstable();
    Ok(found)
}

/// The samples of a part, with the numbers of their classes if those are wanted.
fn read(path: &Path, wanted: &Wanted, classes: Option<&Classes>) -> Result<Dataset, Diagnostic> {
    let place = path.display().to_string();
    let mut files: Vec<(PathBuf, i64)> = Vec::new();
    let add = |files: &mut Vec<(PathBuf, i64)>, directory: &Path, label: i64| {
        files.extend(entries(directory)?.into_iter().filter(|file| is_item(file)).map(|file| (file, label)));
        Ok::<_, Diagnostic>(())
    };
    if classes.is_none() {
        add(&mut files, path, 0)?;
    }
    for class in directories(path)? {
        let number = label_of(classes, &class).map_err(|text| Diagnostic::new("data", format!("{place}: {text}")))?;
        add(&mut files, &path.join(&class), number)?;
    }
    let nothing = || Diagnostic::new("data", format!("{place}: there are no pictures or sounds"));
    let mut items = Items::new(&files.first().ok_or_else(nothing)?.0, wanted)?;
    for (file, label) in &files {
        let name = file.strip_prefix(path).unwrap_or(file).display().to_string();
        items.add(file, &name, &[*label]).or_else(|error| wanted.leave_out(error))?;
    }
    items.dataset(&place)
}
