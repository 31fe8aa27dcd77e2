//! Data in files of one sample each: pictures (`.png`, `.jpg`) and sounds (`.wav`).
//!
//! Pictures are made to fit as the network says. Of sounds, channels become their mean, and what is too short is filled with zeros
//! behind, what is too long cut off; all have the same sample rate.

use super::labels::Classes;
use super::stack::Stack;
use super::{Dataset, Wanted};
use crate::pictures::{decode, to_input};
use hound::{SampleFormat, WavReader};
use kiln_ir::artifact::{Extent, ImageInput};
use kiln_ir::{DType, Diagnostic};
use std::path::Path;

/// Whether a file is a sample, by its name.
pub fn is_item(path: &Path) -> bool {
    is_sound(path) || is_picture(path)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    endings.iter().any(|known| ending == *known)
}

fn is_picture(path: &Path) -> bool {
    has_ending(path, &["png", "jpg", "jpeg"])
}

fn is_sound(path: &Path) -> bool {
    has_ending(path, &["wav", "wave"])
}

/// What the samples are.
enum Kind {
    Pictures(ImageInput),
    Sounds { samples: usize, rate: Option<u32> },
}

/// Samples that were read, with their labels.
pub struct Items<'w, 'r> {
    wanted: &'w Wanted<'r>,
    kind: Kind,
    input: usize,
    inputs: Stack,
    /// Sizes of the samples.
    shape: Option<Vec<usize>>,
    /// The slot of labels, if they are wanted.
    labels: Option<(usize, Stack)>,
    names: Vec<String>,
}

impl<'w, 'r> Items<'w, 'r> {
    /// Ready for samples of the kind that the first file is of. Errors: `data` when the network takes no such samples.
    pub fn new(first: &Path, wanted: &'w Wanted<'r>) -> Result<Items<'w, 'r>, Diagnostic> {
        let (input, kind) = if is_sound(first) {
            let (input, samples) = wanted.sound()?;
            (input, Kind::Sounds { samples, rate: None })
        } else {
            let (input, image) = wanted.image()?;
            (input, Kind::Pictures(image))
        };
        let target = wanted.slots.iter().any(|slot| slot.is_target).then(|| wanted.labels()).transpose()?;
        if let Some(other) = (0..wanted.slots.len()).find(|slot| *slot != input && Some(*slot) != target) {
            let message = format!("{}: nothing here is `{}`", first.display(), wanted.slots[other].name);
            return Err(Diagnostic::new("data", message));
        }
        let labels = target.map(|slot| Ok::<_, Diagnostic>((slot, Stack::new(slot, wanted)?))).transpose()?;
        Ok(Items { wanted, kind, input, inputs: Stack::new(input, wanted)?, shape: None, labels, names: Vec::new() })
    }

    /// Reads a file and takes it in, with its label where labels are wanted. Errors: what cannot be read or does not fit.
    pub fn add(&mut self, file: &Path, name: &str, label: i64) -> Result<(), Diagnostic> {
        let wrong = |text: String| Diagnostic::new("data", format!("{}: {text}", file.display()));
        match &mut self.kind {
            Kind::Pictures(_) if is_sound(file) => return Err(wrong("this is a sound among pictures".into())),
            Kind::Sounds { .. } if is_picture(file) => return Err(wrong("this is a picture among sounds".into())),
            Kind::Pictures(image) => {
                let picture = to_input(&[decode(file)?], image, self.wanted.signature)?;
                let first = self.shape.get_or_insert_with(|| picture.shape()[1..].to_vec());
                if *first != picture.shape()[1..] {
                    return Err(wrong("pictures are of different sizes, and the input's is open".into()));
                }
                self.inputs.push_bytes(picture.bytes());
            }
            Kind::Sounds { samples, rate } => {
                let sound = read_wav(file, *samples).map_err(wrong)?;
                let first = rate.get_or_insert(sound.rate);
                if *first != sound.rate {
                    return Err(wrong(format!("it has {} samples a second, those before have {first}", sound.rate)));
                }
                let missing = *samples - sound.samples.len();
                self.inputs.push(sound.samples.into_iter().chain(std::iter::repeat_n(0.0, missing)));
            }
        }
        if let Some((_, labels)) = &mut self.labels {
            labels.push([label as f64].into_iter());
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
        let input = match (self.kind, self.shape) {
            (Kind::Sounds { samples, .. }, _) => self.inputs.column(samples, wanted, place)?,
            (Kind::Pictures(_), shape) => self.inputs.column_of([vec![count], shape.unwrap_or_default()].concat(), wanted, place)?,
        };
        let mut columns = vec![(self.input, input)];
        if let Some((slot, labels)) = self.labels {
            columns.push((slot, labels.column(1, wanted, place)?));
        }
        columns.sort_by_key(|(slot, _)| *slot);
        let dataset = wanted.dataset(columns.into_iter().map(|(_, column)| column).collect(), place)?;
        Ok(Dataset { names: Some(self.names), ..dataset })
    }
}

/// The number of a label; `0` where none is wanted. Errors: a text.
pub fn label_of(classes: Option<&Classes>, label: &str) -> Result<i64, String> {
    classes.map_or(Ok(0), |classes| classes.number(label))
}

struct Sound {
    samples: Vec<f64>,
    rate: u32,
}

/// The first `wanted` samples of a file, between −1 and 1. Errors: a text.
fn read_wav(path: &Path, wanted: usize) -> Result<Sound, String> {
    let mut reader = WavReader::open(path).map_err(|error| format!("no sound that can be read: {error}"))?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels.max(1));
    let take = wanted.saturating_mul(channels);
    let damaged = |error: hound::Error| format!("damaged: {error}");
    let values: Vec<f64> = match spec.sample_format {
        SampleFormat::Float => {
            reader.samples::<f32>().take(take).map(|value| value.map(f64::from)).collect::<Result<_, _>>().map_err(damaged)?
        }
        SampleFormat::Int => {
            let scale = f64::from(spec.bits_per_sample.clamp(1, 32) - 1).exp2().recip();
            let values = reader.samples::<i32>().take(take).map(|value| value.map(|value| f64::from(value) * scale));
            values.collect::<Result<_, _>>().map_err(damaged)?
        }
    };
    let samples = values.chunks(channels).map(|all| all.iter().sum::<f64>() / channels as f64).collect();
    Ok(Sound { samples, rate: spec.sample_rate })
}

impl Wanted<'_> {
    /// The slot that takes sounds, and how long they are: the only input, floats along one axis.
    fn sound(&self) -> Result<(usize, usize), Diagnostic> {
        let inputs: Vec<usize> = (0..self.slots.len()).filter(|slot| !self.slots[*slot].is_target).collect();
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
            [only] if length(only).is_some() => Ok((only, length(only).unwrap_or_default())),
            _ => {
                let error = Diagnostic::new("data", "the data are sounds, and the network does not take one row of floats a sample");
                Err(self.takes(error).help("an input of shape [samples], or [1, samples], whose number is fixed"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::Scratch;
    use hound::{WavSpec, WavWriter};
    use std::fs;

    #[test]
    fn sounds_are_between_minus_one_and_one_and_damaged_ones_are_errors() {
        let scratch = Scratch::new("sounds");
        let path = scratch.file("s.wav");
        for bits_per_sample in [8, 16, 24, 32] {
            let spec = WavSpec { channels: 2, sample_rate: 100, bits_per_sample, sample_format: SampleFormat::Int };
            let mut writer = WavWriter::create(&path, spec).expect("it is made");
            let most = (1i64 << (bits_per_sample - 1)) - 1;
            for value in [most, most, -most - 1, 0, 0, 0] {
                writer.write_sample(value as i32).expect("it is written");
            }
            writer.finalize().expect("it is written");
            let sound = read_wav(&path, 9).expect("it is whole");
            assert_eq!((sound.rate, sound.samples.len()), (100, 3));
            assert!((sound.samples[0] - 1.0).abs() < 0.01 && sound.samples[1..] == [-0.5, 0.0], "{:?}", sound.samples);
            assert_eq!(read_wav(&path, 2).expect("it is whole").samples.len(), 2);
        }
        let whole = fs::read(&path).expect("it is there");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("writes");
            // What is left of the last sample is missing; before it, all of the head.
            assert!(read_wav(&path, 3).is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut broken = whole.clone();
                broken[at] ^= 1 << bit;
                fs::write(&path, &broken).expect("writes");
                if let Ok(sound) = read_wav(&path, 3) {
                    assert!(sound.samples.len() <= 3);
                }
            }
        }
    }
}
