//! What an artefact says about sounds: how they become an input, and how an output spells what was said.

use serde::{Deserialize, Serialize};

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
