//! Data in `.npz` archives: `train.npz`, `validation.npz` and `test.npz` in a directory, or one archive.
//!
//! Arrays are found by the names of inputs and outputs. With one input and one target, X and Y (or x and y) do as well; one archive
//! may hold several parts: `x_train`, `y_train`, `x_validation`, …, `x_test`, `y_test`.

use super::{Dataset, Splits, Wanted};
use crate::npz::Npz;
use crate::training::recipe::Allowed;
use kiln_ir::Diagnostic;
use std::path::Path;

/// One archive. Errors: `file`, `npz`; `data` when an array is missing or does not fit.
pub fn open_file(path: &Path, wanted: &Wanted) -> Result<Splits, Diagnostic> {
    let mut npz = Npz::open(path)?;
    let names: Vec<String> = npz.names().iter().map(|name| (*name).to_owned()).collect();
    if !names.iter().any(|name| name.ends_with("_train")) {
        return Ok(Splits { train: read(path, &mut npz, wanted, "")?, validation: None, test: None });
    }
    let mut part = |suffix: &str| match names.iter().any(|name| name.ends_with(suffix)) {
        true => read(path, &mut npz, wanted, suffix).map(Some),
        false => Ok(None),
    };
    let train = part("_train")?.expect("there is one");
    let validation = if let Some(found) = part("_validation")? { Some(found) } else { part("_val")? };
    Ok(Splits { train, validation, test: part("_test")? })
}

/// A directory with one archive a part; `None` if there is no `train.npz`. Errors: as [`open_file`].
pub fn open_directory(path: &Path, wanted: &Wanted) -> Result<Option<Splits>, Diagnostic> {
    let part = |name: &str| {
        let path = path.join(name);
        match path.is_file() {
            true => read(&path, &mut Npz::open(&path)?, wanted, "").map(Some),
            false => Ok(None),
        }
    };
    let Some(train) = part("train.npz")? else { return Ok(None) };
    let validation = if let Some(found) = part("validation.npz")? { Some(found) } else { part("val.npz")? };
    Ok(Some(Splits { train, validation, test: part("test.npz")? }))
}

/// The samples of one archive, or of one part of it.
fn read(path: &Path, npz: &mut Npz, wanted: &Wanted, suffix: &str) -> Result<Dataset, Diagnostic> {
    let place = path.display().to_string();
    let targets = wanted.slots.iter().filter(|slot| slot.is_target && slot.allowed != Allowed::Lengths).count();
    let inputs = wanted.slots.iter().filter(|slot| !slot.is_target).count();
    let mut columns = Vec::with_capacity(wanted.slots.len());
    for (at, slot) in wanted.slots.iter().enumerate() {
        let has_lengths = slot.allowed == Allowed::Lengths;
        let (alone, short) = if slot.is_target { (targets == 1 && !has_lengths, ["Y", "y"]) } else { (inputs == 1, ["X", "x"]) };
        let mut names = vec![slot.name.as_str(), wanted.decl(at).name.as_str()];
        names.extend(if alone { &short[..] } else { &[] });
        let mut array = None;
        for name in names {
            array = npz.read(&format!("{name}{suffix}"))?;
            if array.is_some() {
                break;
            }
        }
        let array = array.ok_or_else(|| {
            let what = match (slot.is_target, has_lengths) {
                (_, true) => "lengths",
                (true, false) => "targets of output",
                (false, false) => "input",
            };
            let held = npz.names().join(", ");
            Diagnostic::new("data", format!("{place} has no array for the {what} `{}`: it holds {held}", slot.name))
        })?;
        columns.push(wanted.column(at, array, wanted.declared_image(at), &place)?);
    }
    wanted.dataset(columns, &place)
}
