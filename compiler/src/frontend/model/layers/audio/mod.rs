//! Sounds to features, as layers: spectra, mel filter banks, normalisation, deltas and SpecAugment.
//!
//! Sounds are `[batch, samples]` or `[batch, 1, samples]`, features `[batch, time, features]`. Names of settings are torchaudio's.

mod features;
mod mel;
mod spectrum;

pub use features::{Deltas, Normalise, SpecAugment};
pub use mel::{LogMel, Mel};
pub use spectrum::{Spectrogram, Stft};
