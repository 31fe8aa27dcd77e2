//! Sounds into inputs: read ([`decode`]), brought to a sample rate ([`resample`]), and laid into a tensor.

pub mod compressed;
mod decode;
pub mod hearing;
mod resample;

pub use decode::{Sound, decode, is_sound};
pub use resample::resample;

use crate::arrays::Array;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{AudioInput, Extent, Signature, TensorDecl};
use std::path::Path;

/// How sounds become an input, if the model says so.
pub fn audio_input(signature: &Signature) -> Option<AudioInput> {
    serde_json::from_str(signature.audio.as_deref()?).ok()
}

/// The input that takes sounds, as the network says.
///
/// Errors: `sound_input` when it says so of an input that there is not, or that is no row of floats a sound.
pub fn sound_input<'s>(audio: &AudioInput, signature: &'s Signature) -> Result<&'s TensorDecl, Diagnostic> {
    let wrong = |text: String| Diagnostic::new("sound_input", format!("input `{}` takes no sounds: {text}", audio.input));
    let declared = signature.inputs.iter().find(|input| input.name == audio.input);
    let declared = declared.ok_or_else(|| wrong("the model has no such input".to_owned()))?;
    match &declared.shape[..] {
        [_, _] | [_, Extent::Fixed(1), _] if declared.dtype.is_float() => Ok(declared),
        _ => Err(wrong(format!("it is {declared}, not [batch, samples] or [batch, 1, samples] of floats"))),
    }
}

/// How many samples an input takes, if it says.
pub fn fixed_samples(declared: &TensorDecl) -> Option<usize> {
    match declared.shape.last() {
        Some(Extent::Fixed(size)) => usize::try_from(*size).ok(),
        Some(Extent::Expression(_)) | None => None,
    }
}

/// Makes inputs of one sound, whose samples have the network's rate, in signature order: the sound, with zeros behind or cut where the
/// number of samples is fixed, and which part of them counts.
///
/// Errors: `sound_input` when the network takes something else as well, or more than one sound at once; `memory`.
pub fn to_inputs(samples: &[f32], audio: &AudioInput, signature: &Signature) -> Result<Vec<Array>, Diagnostic> {
    let declared = sound_input(audio, signature)?;
    let taken = fixed_samples(declared).unwrap_or(samples.len());
    let batch_of_one = |extent: Option<&Extent>| !matches!(extent, Some(Extent::Fixed(n)) if *n != 1);
    let mut inputs = Vec::with_capacity(signature.inputs.len());
    for input in &signature.inputs {
        let is_part = audio.lengths.as_deref() == Some(input.name.as_str());
        if !batch_of_one(input.shape.first()) || !(is_part || input.name == audio.input) {
            let message = format!("input {input} takes no single sound");
            return Err(Diagnostic::new("sound_input", message).help("give arrays with --inputs FILE.npz or --input NAME=FILE"));
        }
        if is_part {
            let mut part = Array::zeroed(input.dtype, vec![1; input.shape.len()])?;
            part.set_f64(0, samples.len().min(taken) as f64 / taken.max(1) as f64);
            inputs.push(part);
        } else {
            inputs.push(row_of(samples, taken, input)?);
        }
    }
    Ok(inputs)
}

/// One sound as an input, cut or with zeros behind so that so many samples are taken. Errors: `memory`.
fn row_of(samples: &[f32], taken: usize, input: &TensorDecl) -> Result<Array, Diagnostic> {
    let mut shape = vec![1; input.shape.len()];
    shape[input.shape.len() - 1] = taken;
    let mut array = Array::zeroed(input.dtype, shape)?;
    samples.iter().take(taken).enumerate().for_each(|(at, sample)| array.set_f64(at, f64::from(*sample)));
    Ok(array)
}

/// Rates that are brought to others: beyond, a header is taken for damaged.
const RATES: std::ops::RangeInclusive<u32> = 1000..=768_000;
/// More samples than any recording has; beyond, a header is taken for an attack on memory.
const MOST_SAMPLES: u64 = 1 << 31;

/// Reads a sound at the network's rate.
///
/// Errors: as [`decode`]; `sound` for a rate that no recording has.
pub fn read(path: &Path, audio: &AudioInput) -> Result<Vec<f32>, Diagnostic> {
    at_rate(decode(path, None)?, audio.sample_rate).map_err(|text| Diagnostic::new("sound", format!("{}: {text}", path.display())))
}

/// The samples of a sound at another rate. Errors: a text about a rate that no recording has.
pub fn at_rate(sound: Sound, wanted: u32) -> Result<Vec<f32>, String> {
    let Sound { samples, rate } = sound;
    if rate == wanted {
        return Ok(samples);
    }
    if !RATES.contains(&rate) || samples.len() as u64 * u64::from(wanted) / u64::from(rate) > MOST_SAMPLES {
        let (least, most) = (RATES.start(), RATES.end());
        return Err(format!("{} samples, {rate} a second: {least} to {most} a second are brought to {wanted}", samples.len()));
    }
    Ok(resample(&samples, rate, wanted))
}
