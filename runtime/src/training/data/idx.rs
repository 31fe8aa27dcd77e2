//! Data in IDX files, as MNIST and its like come: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and `t10k-…` to test with,
//! plain or with `.gz` behind.
//!
//! *Source*: LeCun, Cortes & Burges, "The MNIST database of handwritten digits", file formats.

use super::values::{HELD_BYTES, Values};
use super::{Dataset, Splits, Wanted};
use crate::arrays::Array;
use crate::files::file_error;
use crate::npy::Place;
use flate2::read::MultiGzDecoder;
use kiln_ir::{DType, Diagnostic};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// The files of a directory; `None` if there are no `train-images`. Errors: `file`; `data` when they are damaged or do not fit.
pub fn open(path: &Path, wanted: &Wanted) -> Result<Option<Splits>, Diagnostic> {
    let Some(train) = part(path, "train", wanted)? else { return Ok(None) };
    let validation = part(path, "validation", wanted)?;
    let test = if let Some(found) = part(path, "t10k", wanted)? { Some(found) } else { part(path, "test", wanted)? };
    Ok(Some(Splits { validation, test, ..Splits::of(train) }))
}

fn part(directory: &Path, name: &str, wanted: &Wanted) -> Result<Option<Dataset>, Diagnostic> {
    let Some(images) = find(directory, &[format!("{name}-images-idx3-ubyte"), format!("{name}-images.idx3-ubyte")]) else {
        return Ok(None);
    };
    let place = images.display().to_string();
    let (input, image) = wanted.image()?;
    let target = wanted.slots.iter().any(|slot| slot.is_target).then(|| wanted.labels()).transpose()?;
    let mut columns = Vec::new();
    for slot in 0..wanted.slots.len() {
        let path = match slot {
            _ if slot == input => images.clone(),
            _ if Some(slot) == target => find(directory, &[format!("{name}-labels-idx1-ubyte"), format!("{name}-labels.idx1-ubyte")])
                .ok_or_else(|| Diagnostic::new("data", format!("{place} has no {name}-labels-idx1-ubyte beside it")))?,
            _ => return Err(Diagnostic::new("data", format!("{place}: nothing here is `{}`", wanted.slots[slot].name))),
        };
        let image = Some(image.clone()).filter(|_| slot == input);
        columns.push(wanted.column(slot, read(&path)?, image, &path.display().to_string())?);
    }
    wanted.dataset(columns, &place).map(Some)
}

fn find(directory: &Path, names: &[String]) -> Option<PathBuf> {
    let candidates = names.iter().flat_map(|name| [directory.join(name), directory.join(format!("{name}.gz"))]);
    candidates.into_iter().find(|path| path.is_file())
}

/// Reads one file of bytes, or leaves those of a large one where they are. Errors: `file`; `data`.
fn read(path: &Path) -> Result<Values, Diagnostic> {
    let file = File::open(path).map_err(|error| file_error("read", path, &error))?;
    let length = file.metadata().map_err(|error| file_error("read", path, &error))?.len();
    let file = BufReader::new(file);
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let mut source: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let damaged = |text: &str| Diagnostic::new("data", format!("{} is no IDX file of bytes: {text}", path.display()));
    let mut word = [0u8; 4];
    source.read_exact(&mut word).map_err(|_| damaged("it is too short"))?;
    let [0, 0, 8, rank @ 1..=4] = word else { return Err(damaged("it does not begin with 0, 0, 8 and a rank from 1 to 4")) };
    let mut shape = Vec::new();
    for _ in 0..rank {
        source.read_exact(&mut word).map_err(|_| damaged("it is too short"))?;
        shape.push(u32::from_be_bytes(word) as usize);
    }
    let bytes = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size)).ok_or_else(|| damaged("its sizes overflow"))?;
    let at = 4 + 4 * u64::from(rank);
    if !packed && bytes > HELD_BYTES && bytes as u64 <= length.saturating_sub(at) {
        let file = File::open(path).map_err(|error| file_error("read", path, &error))?;
        return Ok(Values::in_file(path, file, Place { dtype: DType::U8, shape, at }));
    }
    // What is there decides how much memory is taken, not what the header promises.
    let mut data = Vec::new();
    source.take(bytes as u64).read_to_end(&mut data).map_err(|error| damaged(&error.to_string()))?;
    if data.len() != bytes {
        return Err(damaged(&format!("{bytes} bytes are promised, {} are there", data.len())));
    }
    Array::from_bytes(DType::U8, shape, &data).map(Values::from)
}
