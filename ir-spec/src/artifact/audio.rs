//! What an artefact says about sounds: how they become an input, and how an output spells what was said.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a decoded sound becomes an input tensor `[batch, samples]` or `[batch, 1, samples]`: channels are averaged, another sample rate
/// is resampled, and samples are numbers from −1 to 1. Where the number of samples is fixed, short sounds get zeros behind, long ones
/// are cut; where it is open, sounds of a batch get zeros behind up to the longest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AudioInput {
    /// Name of the input that takes sounds.
    pub input: String,
    /// Samples of a second.
    pub sample_rate: u32,
    /// Name of an input `[batch]` that gets, for each sound, which part of its samples is the sound rather than zeros behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<String>,
    /// Where the function takes the samples of a stream piece by piece, how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<SoundStream>,
}

/// How a stream is given to a function that remembers what it has heard.
///
/// Its inputs are the new samples; [`Signature::END`](super::Signature::END), whose only axis is 1 with the last samples and else 0; and
/// states, which are zeros before the first samples and else what the last outputs, as many, were before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SoundStream {
    /// Samples that the first piece has at least.
    pub first: u64,
    /// Samples that each other piece has at least.
    pub least: u64,
    /// Samples from one time step of the first output to the next.
    pub step: u64,
    /// The sample that its first time step begins at: before 0 where windows begin with zeros.
    pub begin: i64,
    /// Open sizes of states, as they are before the first samples.
    pub past: BTreeMap<String, u32>,
}

/// How an output `[batch, time, classes]` spells text: a class for each time step, of which repetitions are merged and blanks left out.
/// *Source*: Graves et al. 2006.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CtcOutput {
    /// Name of the output.
    pub output: String,
    /// What each class stands for, by its number; what the blank is called does not matter.
    pub labels: Vec<String>,
    /// The class that stands for nothing.
    pub blank: u32,
    /// What stands between labels in the text: nothing between characters, a space between words.
    #[serde(default)]
    pub separator: String,
}
