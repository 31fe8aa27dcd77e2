//! Data in `.npz` archives: `train.npz`, `validation.npz` and `test.npz` in a directory, or one archive.
//!
//! Arrays are found by the names of inputs and outputs. With one input and one target, X and Y (or x and y) do as well; one archive
//! may hold several parts: `x_train`, `y_train`, `x_validation`, …, `x_test`, `y_test`.

use super::values::Values;
use super::{Dataset, Splits, Wanted, of_parts};
use crate::npz::Npz;
use crate::training::recipe::Allowed;
use kiln_ir::Diagnostic;
use std::path::Path;

/// One archive. Errors: `file`, `npz`; `data` when an array is missing or does not fit.
pub fn open_file(path: &Path, wanted: &Wanted) -> Result<Splits, Diagnostic> {
    let mut npz = Npz::open(path)?;
    let names: Vec<String> = npz.names().iter().map(|name| (*name).to_owned()).collect();
    if !names.iter().any(|name| name.ends_with("_train")) {
        return read(path, &mut npz, wanted, "").map(Splits::of);
    }
    let mut part = |suffix: &str| match names.iter().any(|name| name.ends_with(suffix)) {
        true => read(path, &mut npz, wanted, suffix).map(Some),
        false => Ok(None),
    };
    let train = part("_train")?.expect("there is one");
    let validation = if let Some(found) = part("_validation")? { Some(found) } else { part("_val")? };
    Ok(Splits { validation, test: part("_test")?, ..Splits::of(train) })
}

/// A directory with one archive a part; `None` if there is no `train.npz`. Errors: as [`open_file`].
pub fn open_directory(path: &Path, wanted: &Wanted) -> Result<Option<Splits>, Diagnostic> {
    let find = |part: &str| Some(path.join(format!("{part}.npz"))).filter(|path| path.is_file());
    of_parts(find, |place, _| read(place, &mut Npz::open(place)?, wanted, ""))
}

/// The samples of one archive, or of one part of it.
fn read(path: &Path, npz: &mut Npz, wanted: &Wanted, suffix: &str) -> Result<Dataset, Diagnostic> {
    let place = path.display().to_string();
    let mut columns = Vec::with_capacity(wanted.slots.len());
    for (at, slot) in wanted.slots.iter().enumerate() {
        let mut found = None;
        for name in wanted.names(at) {
            found = Values::of_npz(path, npz, &format!("{name}{suffix}"))?;
            if found.is_some() {
                break;
            }
        }
        let values = found.ok_or_else(|| {
            let what = match (slot.is_target, slot.allowed) {
                (_, Allowed::Lengths) => "lengths",
                (true, _) => "targets of output",
                (false, _) => "input",
            };
            let held = npz.names().join(", ");
            Diagnostic::new("data", format!("{place} has no array for the {what} `{}`: it holds {held}", slot.name))
        })?;
        columns.push(wanted.column(at, values, wanted.declared_image(at), &place)?);
    }
    wanted.dataset(columns, &place)
}
