//! What outlives the process: states and progress in one file, parameters in another, both in the safetensors format.
//!
//! A file is written beside its place and renamed when it is whole and on the disk, so that there is always a whole one, whenever the
//! process dies. *Source*: <https://github.com/huggingface/safetensors#format>.

use super::history::{EpochRecord, Point};
use super::rate::Plateau;
use super::recipe::Slot;
use crate::arrays::Array;
use crate::files::{file_error, write_whole};
use kiln_ir::{DType, Diagnostic};
use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

/// The only key of the files' metadata: one, as their order would be by chance.
const KEY: &str = "kiln";

/// How far training is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Digest of what must be the same to go on: recipe, seed, number of samples.
    pub run: String,
    /// Epochs that are complete.
    pub epochs: u32,
    /// Steps of the epoch that is not.
    pub steps_in_epoch: u64,
    /// All steps.
    pub steps: u64,
    /// Sum of the losses of the samples of the epoch that is not complete.
    pub loss_sum: f64,
    /// Number of those samples.
    pub samples: u64,
    /// The epochs so far.
    pub history: Vec<EpochRecord>,
    /// The course of the loss.
    pub points: Vec<Point>,
    /// What the learning rate depends on.
    pub plateau: Plateau,
    /// The smallest loss of validation, and of which epoch.
    pub best: Option<(f64, u32)>,
    /// The tokens of texts, where the data or the parameters to begin with said which there are.
    #[serde(default)]
    pub vocabulary: Option<Vec<String>>,
}

/// Writes tensors by name with a text. Errors: `file`; what was there before stays.
pub fn save<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a Slot, &'a Array)>, text: &str) -> Result<(), Diagnostic> {
    let mut tensors: Vec<(&Slot, &Array)> = tensors.into_iter().collect();
    // Wide elements first, so that each lies at a multiple of its size.
    tensors.sort_by_key(|(slot, _)| (Reverse(slot.dtype.size_bytes()), &slot.name));
    let mut end = 0;
    let infos = tensors.iter().map(|(slot, array)| {
        let start = end;
        end += array.bytes().len();
        let info = TensorInfo { dtype: stored_type(slot.dtype), shape: slot.shape.clone(), data_offsets: (start, end) };
        (slot.name.clone(), info)
    });
    let metadata = Metadata::new(Some(HashMap::from([(KEY.to_owned(), text.to_owned())])), infos.collect());
    let header = metadata.map_err(io::Error::other).and_then(|metadata| Ok(serde_json::to_vec(&metadata)?));
    let mut header = header.map_err(|error| file_error("write", path, &error))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    write_whole(path, |sink| {
        sink.write_all(&(header.len() as u64).to_le_bytes())?;
        sink.write_all(&header)?;
        tensors.iter().try_for_each(|(_, array)| sink.write_all(array.bytes()))
    })
}

/// Reads the tensors of slots, and the text. Errors: `file`; `checkpoint` when it is damaged, or has other tensors.
pub fn load<'a>(path: &Path, slots: impl IntoIterator<Item = &'a Slot>) -> Result<(Vec<Array>, String), Diagnostic> {
    let file = File::open(path).map_err(|error| file_error("read", path, &error))?;
    // SAFETY: what Kiln writes is replaced by renaming, never changed; as with every mapped file, no other program may shorten it
    // while it is read, which takes no longer than this function.
    let bytes = unsafe { Mmap::map(&file) }.map_err(|error| file_error("read", path, &error))?;
    read(&path.display().to_string(), &bytes, slots)
}

/// Reads them from the bytes of such a file, which diagnostics call `place`. Errors: `checkpoint`.
pub fn read<'a>(place: &str, bytes: &[u8], slots: impl IntoIterator<Item = &'a Slot>) -> Result<(Vec<Array>, String), Diagnostic> {
    let wrong = |text: String| Diagnostic::new("checkpoint", format!("{place}: {text}"));
    let damaged = |error: safetensors::SafeTensorError| wrong(format!("this is no whole safetensors file: {error}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut arrays = Vec::new();
    for slot in slots {
        let view = tensors.tensor(&slot.name).map_err(|_| {
            let mut names = tensors.names();
            names.sort_unstable();
            wrong(format!("there is no tensor `{}`", slot.name)).help(format!("it has {}", names.join(", ")))
        })?;
        if view.dtype() != stored_type(slot.dtype) || view.shape() != slot.shape {
            let expected = format!("{}{:?}", slot.dtype, slot.shape);
            return Err(wrong(format!("`{}` is {:?}{:?}, {expected} is needed", slot.name, view.dtype(), view.shape())));
        }
        arrays.push(Array::from_bytes(slot.dtype, slot.shape.clone(), view.data())?);
    }
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY)).cloned().unwrap_or_default();
    Ok((arrays, text))
}

/// The format's name of an element type.
fn stored_type(dtype: DType) -> Dtype {
    match dtype {
        DType::Bool => Dtype::BOOL,
        DType::I8 => Dtype::I8,
        DType::U8 => Dtype::U8,
        DType::I16 => Dtype::I16,
        DType::U16 => Dtype::U16,
        DType::I32 => Dtype::I32,
        DType::U32 => Dtype::U32,
        DType::I64 => Dtype::I64,
        DType::U64 => Dtype::U64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::Scratch;
    use crate::training::recipe::Initial;
    use kiln_ir::initialiser::Initialiser;
    use std::fs;

    fn slot(name: &str, shape: &[usize]) -> Slot {
        let initial = Initial::Drawn { initialiser: Initialiser::Constant(0.0), fans: (1, 1) };
        Slot { name: name.into(), dtype: DType::F32, shape: shape.to_vec(), initial }
    }

    #[test]
    fn what_is_saved_is_read_again_and_the_same_state_gives_the_same_bytes() {
        let scratch = Scratch::new("checkpoint");
        let path = scratch.file("c.safetensors");
        let slots = [slot("b", &[2]), slot("a", &[0, 3]), slot("c", &[])];
        let arrays: Vec<Array> = slots.iter().map(|slot| Array::zeroed(DType::F32, slot.shape.clone()).expect("small")).collect();
        let save = || save(&path, slots.iter().zip(&arrays), "text").expect("writes");
        save();
        let first = fs::read(&path).expect("it is there");
        save();
        assert_eq!(fs::read(&path).expect("it is there"), first);
        let (read, text) = load(&path, &slots).expect("reads");
        assert_eq!((read.len(), text.as_str()), (3, "text"));
        assert!(load(&path, &[slot("b", &[3])]).err().expect("refused").message.contains("`b` is F32[2], f32[3] is needed"));
        assert!(load(&path, &[slot("d", &[3])]).err().expect("refused").message.contains("no tensor `d`"));
        for length in 0..first.len() {
            fs::write(&path, &first[..length]).expect("writes");
            assert!(load(&path, &slots).is_err(), "{length} bytes of {}", first.len());
        }
    }
}
