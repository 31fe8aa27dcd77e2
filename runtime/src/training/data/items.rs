//! Data in files of one sample each: pictures (`.png`, `.jpg`) and sounds (`.wav`, `.flac`, `.mp3`, `.ogg`).
//!
//! Pictures are made to fit as the network says, and sounds, too: they are brought to its sample rate. Where it says none, all have the
//! same. What is shorter than the input gets zeros behind, what is longer is cut; where any length is taken, zeros fill batches up.

use super::dataset::Column;
use super::labels::Classes;
use super::sounds::{Recordings, SoundColumn};
use super::stack::Stack;
use super::{Dataset, Wanted};
use crate::audio::{at_rate, audio_input, decode as decode_sound, fixed_samples, is_sound, sound_input};
use crate::pictures::{decode, to_input};
use kiln_ir::artifact::{AudioInput, Extent, ImageInput};
use kiln_ir::{DType, Diagnostic};
use std::path::Path;
use std::sync::Arc;

/// Whether a file is a sample, by its name.
pub fn is_item(path: &Path) -> bool {
    is_sound(path) || is_picture(path)
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    ["png", "jpg", "jpeg"].iter().any(|known| ending == *known)
}

/// What the samples are.
enum Kind {
    Pictures(ImageInput),
    Sounds(SoundKind),
}

/// Sounds while they are read.
struct SoundKind {
    /// What the network says of them.
    audio: Option<AudioInput>,
    /// How many samples it takes; `None`: any number.
    fixed: Option<usize>,
    /// The rate of the files so far.
    rate: Option<u32>,
    recordings: Recordings,
}

/// Samples that were read, with their labels.
pub struct Items<'w, 'r> {
    wanted: &'w Wanted<'r>,
    kind: Kind,
    input: usize,
    inputs: Stack,
    /// Sizes of the samples.
    shape: Option<Vec<usize>>,
    /// The slot of labels, if they are wanted, and those of each sample.
    labels: Option<(usize, Vec<Vec<i64>>)>,
    /// The slot of the parts of sounds that are not padding.
    parts: Option<usize>,
    names: Vec<String>,
}

impl<'w, 'r> Items<'w, 'r> {
    /// Ready for samples of the kind that the first file is of. Errors: `data` when the network takes no such samples.
    pub fn new(first: &Path, wanted: &'w Wanted<'r>) -> Result<Items<'w, 'r>, Diagnostic> {
        let (input, kind) = if is_sound(first) {
            let (input, kind) = wanted.sound()?;
            (input, Kind::Sounds(kind))
        } else {
            let (input, image) = wanted.image()?;
            (input, Kind::Pictures(image))
        };
        let target = wanted.slots.iter().any(|slot| slot.is_target).then(|| wanted.labels()).transpose()?;
        let lengths = match &kind {
            Kind::Sounds(SoundKind { audio: Some(audio), .. }) => audio.lengths.as_ref(),
            _ => None,
        };
        let parts = lengths.and_then(|name| wanted.slots.iter().position(|slot| !slot.is_target && slot.name == *name));
        let mut all = 0..wanted.slots.len();
        if let Some(other) = all.find(|slot| *slot != input && Some(*slot) != target && Some(*slot) != parts) {
            let message = format!("{}: nothing here is `{}`", first.display(), wanted.slots[other].name);
            return Err(Diagnostic::new("data", message));
        }
        let labels = target.map(|slot| (slot, Vec::new()));
        Ok(Items { wanted, kind, input, inputs: Stack::new(input, wanted)?, shape: None, labels, parts, names: Vec::new() })
    }

    /// Reads a file and takes it in, with its labels where labels are wanted. Errors: what cannot be read or does not fit.
    pub fn add(&mut self, file: &Path, name: &str, labels: &[i64]) -> Result<(), Diagnostic> {
        let wrong = |text: String| Diagnostic::new("data", format!("{}: {text}", file.display()));
        match &mut self.kind {
            Kind::Pictures(_) if is_sound(file) => return Err(wrong("this is a sound among pictures".into())),
            Kind::Sounds(_) if is_picture(file) => return Err(wrong("this is a picture among sounds".into())),
            Kind::Pictures(image) => {
                let picture = to_input(&[decode(file)?], image, self.wanted.signature)?;
                let first = self.shape.get_or_insert_with(|| picture.shape()[1..].to_vec());
                if *first != picture.shape()[1..] {
                    return Err(wrong("pictures are of different sizes, and the input's is open".into()));
                }
                self.inputs.push_bytes(picture.bytes());
            }
            Kind::Sounds(kind) => kind.add(file).map_err(|error| Diagnostic { code: "data".into(), ..error })?,
        }
        if let Some((_, all)) = &mut self.labels {
            all.push(labels.to_vec());
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    /// What was taken in. Errors: `data` when that is nothing.
    pub fn dataset(self, place: &str) -> Result<Dataset, Diagnostic> {
        let (wanted, count) = (self.wanted, self.names.len());
        if count == 0 {
            return Err(Diagnostic::new("data", format!("{place}: there are no samples")));
        }
        let mut columns = Vec::new();
        match self.kind {
            Kind::Sounds(kind) => {
                let decl = wanted.decl(self.input);
                let sounds = SoundColumn::new(Arc::new(kind.recordings), kind.fixed, decl.shape.len(), decl.dtype);
                columns.extend(self.parts.map(|slot| (slot, Column::Sounds(sounds.parts(wanted.decl(slot).dtype)))));
                columns.push((self.input, Column::Sounds(sounds)));
            }
            Kind::Pictures(_) => {
                let shape = [vec![count], self.shape.unwrap_or_default()].concat();
                columns.push((self.input, self.inputs.column_of(shape, wanted, place)?));
            }
        }
        if let Some((slot, labels)) = self.labels {
            // Spellings are padded to the longest.
            let longest = labels.iter().map(Vec::len).max().unwrap_or(0).max(1);
            let mut stack = Stack::new(slot, wanted)?;
            labels.iter().for_each(|labels| stack.push(labels.iter().map(|l| *l as f64).chain(std::iter::repeat(-1.0)).take(longest)));
            columns.push((slot, stack.column(longest, wanted, place)?));
        }
        columns.sort_by_key(|(slot, _)| *slot);
        let dataset = wanted.dataset(columns.into_iter().map(|(_, column)| column).collect(), place)?;
        Ok(Dataset { names: Some(self.names), ..dataset })
    }
}

impl SoundKind {
    /// Reads a sound. Errors: what [`decode_sound`] reports; another sample rate than before where the network says none.
    fn add(&mut self, file: &Path) -> Result<(), Diagnostic> {
        // More is read where it becomes less.
        let most = self.fixed.filter(|_| self.audio.is_none());
        let sound = decode_sound(file, most)?;
        let first = *self.rate.get_or_insert(sound.rate);
        let wrong = |text: String| Diagnostic::new("data", format!("{}: {text}", file.display()));
        let samples = match &self.audio {
            Some(audio) => at_rate(sound, audio.sample_rate).map_err(wrong)?,
            None if sound.rate != first => {
                let error = wrong(format!("it has {} samples a second, those before have {first}", sound.rate));
                return Err(error.help("a network that says its rate takes any: audio = { sample_rate = 16000 } in [[input]]"));
            }
            None => sound.samples,
        };
        self.recordings.push(&samples[..samples.len().min(self.fixed.unwrap_or(usize::MAX))]);
        Ok(())
    }
}

/// The number of a label; `0` where none is wanted. Errors: a text.
pub fn label_of(classes: Option<&Classes>, label: &str) -> Result<i64, String> {
    classes.map_or(Ok(0), |classes| classes.number(label))
}

impl Wanted<'_> {
    /// The slot that takes sounds, and how: the one that the network names, else the only input, floats of a fixed number along one axis.
    fn sound(&self) -> Result<(usize, SoundKind), Diagnostic> {
        let of = |audio: Option<AudioInput>, fixed| SoundKind { audio, fixed, rate: None, recordings: Recordings::default() };
        let inputs: Vec<usize> = (0..self.slots.len()).filter(|slot| !self.slots[*slot].is_target).collect();
        if let Some(audio) = audio_input(self.signature) {
            let fixed = fixed_samples(sound_input(&audio, self.signature)?);
            let slot = inputs.iter().copied().find(|slot| self.slots[*slot].name == audio.input);
            let slot = slot.ok_or_else(|| self.takes(Diagnostic::new("data", format!("the data have nothing for `{}`", audio.input))))?;
            return Ok((slot, of(Some(audio), fixed)));
        }
        let length = |slot: usize| {
            let decl = self.decl(slot);
            let axes =
                decl.shape.iter().enumerate().filter(|(axis, extent)| *axis != self.slots[slot].batch_axis && **extent != Extent::Fixed(1));
            match axes.map(|(_, extent)| extent).collect::<Vec<_>>()[..] {
                [Extent::Fixed(length)] if decl.dtype.is_float() && decl.dtype != DType::F16 => usize::try_from(*length).ok(),
                _ => None,
            }
        };
        match inputs[..] {
            [only] if length(only).is_some() => Ok((only, of(None, length(only)))),
            _ => {
                let error = Diagnostic::new("data", "the data are sounds, and the network does not take one row of floats a sample");
                Err(self
                    .takes(error)
                    .help("an input of shape [samples], or [1, samples], with audio = { sample_rate = 16000 }, or whose number is fixed"))
            }
        }
    }
}
