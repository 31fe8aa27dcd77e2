//! Data as pictures, a directory for each class: `CLASS/*.png`, or `train/CLASS/*.png` with `validation/…` and `test/…` beside it.

use super::{Dataset, Splits, Wanted};
use crate::arrays::Array;
use crate::files::file_error;
use crate::pictures::{decode, to_input};
use kiln_ir::{DType, Diagnostic};
use std::path::{Path, PathBuf};

/// The pictures under a directory; `None` if it has no directories. Errors: `file`; what decoding reports; `data`.
pub fn open(path: &Path, wanted: &Wanted) -> Result<Option<Splits>, Diagnostic> {
    let inner = |names: &[&str]| names.iter().map(|name| path.join(name)).find(|path| path.is_dir());
    let train = inner(&["train"]).unwrap_or_else(|| path.to_path_buf());
    let classes = directories(&train)?;
    if classes.is_empty() {
        return Ok(None);
    }
    let labels = wanted.signature.labels.clone().unwrap_or(classes);
    let part = |place: Option<PathBuf>| place.map(|place| read(&place, &labels, wanted)).transpose();
    let (validation, test) = if train == path { (None, None) } else { (inner(&["validation", "val"]), inner(&["test"])) };
    Ok(Some(Splits { train: read(&train, &labels, wanted)?, validation: part(validation)?, test: part(test)? }))
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

fn read(path: &Path, labels: &[String], wanted: &Wanted) -> Result<Dataset, Diagnostic> {
    let (input, image) = wanted.image()?;
    let target = wanted.labels()?;
    let place = path.display().to_string();
    let (mut bytes, mut classes, mut shape) = (Vec::new(), Vec::new(), None);
    for class in directories(path)? {
        let number = labels.iter().position(|label| *label == class).ok_or_else(|| {
            let error = Diagnostic::new("data", format!("{place}: `{class}` is no class of the network"));
            error.help(format!("its classes are {}", labels.join(", ")))
        })?;
        for file in entries(&path.join(&class))? {
            let extension = file.extension().unwrap_or_default().to_ascii_lowercase();
            if extension != "png" && extension != "jpg" && extension != "jpeg" {
                continue;
            }
            let picture = to_input(&[decode(&file)?], &image, wanted.signature)?;
            let first = shape.get_or_insert_with(|| picture.shape().to_vec());
            if *first != picture.shape() {
                return Err(Diagnostic::new(
                    "data",
                    format!("{}: pictures are of different sizes, and the input's is open", file.display()),
                ));
            }
            bytes.extend_from_slice(picture.bytes());
            classes.extend_from_slice(&(number as i64).to_le_bytes());
        }
    }
    let Some(mut shape) = shape else { return Err(Diagnostic::new("data", format!("{place}: there are no pictures"))) };
    let count = classes.len() / 8;
    shape[0] = count;
    let pictures = Array::from_bytes(wanted.decl(input).dtype, shape, &bytes)?;
    let (mut pictures, mut classes) = (Some(pictures), Some(Array::from_bytes(DType::I64, vec![count], &classes)?));
    let mut columns = Vec::new();
    for slot in 0..wanted.slots.len() {
        let array = if slot == input { pictures.take() } else { classes.take().filter(|_| slot == target) };
        let array = array.ok_or_else(|| Diagnostic::new("data", format!("{place}: nothing here is `{}`", wanted.slots[slot].name)))?;
        columns.push(wanted.column(slot, array, None, &place)?);
    }
    wanted.dataset(columns, &place)
}
