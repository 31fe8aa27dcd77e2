//! Files to samples: WAV of 8 to 32 bits or floats here, the rest in [`super::compressed`]; channels averaged.

use super::compressed::{ENDINGS, read_compressed};
use hound::{SampleFormat, WavReader};
use kiln_ir::Diagnostic;
use std::path::Path;

/// A decoded sound.
pub struct Sound {
    /// Its samples, from −1 to 1, the mean of all channels.
    pub samples: Vec<f32>,
    /// Samples of a second.
    pub rate: u32,
}

/// Whether a file is a sound, by its name.
pub fn is_sound(path: &Path) -> bool {
    has_ending(path, &["wav", "wave"]) || has_ending(path, &ENDINGS)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    endings.iter().any(|known| ending == *known)
}

/// Reads the first `most` samples of a file, or all of them: WAV, unless its name says that it is something else.
///
/// Errors: `sound` when it cannot be read, is damaged or another format.
pub fn decode(path: &Path, most: Option<usize>) -> Result<Sound, Diagnostic> {
    let read = if has_ending(path, &ENDINGS) { read_compressed } else { read_wav };
    let sound = read(path, most).and_then(|sound| match sound.samples.is_empty() && most != Some(0) {
        true => Err("there is no sound in it".into()),
        false => Ok(sound),
    });
    sound.map_err(|text| Diagnostic::new("sound", format!("{}: {text}", path.display())))
}

/// The mean of all channels, whose values lie side by side.
pub fn mean_of_channels(values: Vec<f32>, channels: usize) -> Vec<f32> {
    match channels {
        1 => values,
        _ => values.chunks(channels).map(|all| (all.iter().map(|value| f64::from(*value)).sum::<f64>() / channels as f64) as f32).collect(),
    }
}

fn read_wav(path: &Path, most: Option<usize>) -> Result<Sound, String> {
    let mut reader = WavReader::open(path).map_err(|error| format!("no sound that can be read: {error}"))?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels.max(1));
    let take = most.map_or(usize::MAX, |most| most.saturating_mul(channels));
    let damaged = |error: hound::Error| format!("damaged: {error}");
    if spec.sample_rate == 0 {
        return Err("damaged: it has 0 samples a second".into());
    }
    let values: Vec<f32> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().take(take).collect::<Result<_, _>>().map_err(damaged)?,
        SampleFormat::Int => {
            let scale = f64::from(spec.bits_per_sample.clamp(1, 32) - 1).exp2().recip();
            let values = reader.samples::<i32>().take(take).map(|value| value.map(|value| (f64::from(value) * scale) as f32));
            values.collect::<Result<_, _>>().map_err(damaged)?
        }
    };
    Ok(Sound { samples: mean_of_channels(values, channels), rate: spec.sample_rate })
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
            let sound = decode(&path, None).expect("it is whole");
            assert_eq!((sound.rate, sound.samples.len()), (100, 3));
            assert!((sound.samples[0] - 1.0).abs() < 0.01 && sound.samples[1..] == [-0.5, 0.0], "{:?}", sound.samples);
            assert_eq!(decode(&path, Some(2)).expect("it is whole").samples.len(), 2);
        }
        let whole = fs::read(&path).expect("it is there");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("writes");
            // What is left of the last sample is missing; before it, all of the head.
            assert!(decode(&path, None).is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut broken = whole.clone();
                broken[at] ^= 1 << bit;
                fs::write(&path, &broken).expect("writes");
                if let Ok(sound) = decode(&path, Some(3)) {
                    assert!(sound.samples.len() <= 3);
                }
            }
        }
    }
}
