//! Sounds of different lengths as a column: a batch gets zeros behind, up to the length that the network takes, or to the longest.

use crate::arrays::Array;
use crate::training::vary_sounds::Variation;
use kiln_ir::{DType, Diagnostic};
use std::sync::Arc;

/// Lengths that batches of open length have: so many, up to the longest sound, so that memory is made for a few sizes alone.
const STEPS: usize = 6;

/// Sounds one behind the other.
#[derive(Default)]
pub struct Recordings {
    samples: Vec<f32>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Recordings {
    /// Puts a sound behind those there are.
    pub fn push(&mut self, samples: &[f32]) {
        self.samples.extend_from_slice(samples);
        self.ends.push(self.samples.len());
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, at: usize) -> &[f32] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.samples[start..self.ends[at]]
    }

    fn longest(&self) -> usize {
        (0..self.count()).map(|at| self.get(at).len()).max().unwrap_or(0)
    }
}

/// A column of sounds, or of the parts of a batch's length that they are.
pub struct SoundColumn {
    recordings: Arc<Recordings>,
    /// How many samples the network takes; `None`: any number.
    fixed: Option<usize>,
    /// Axes of a batch: 2, or 3 with an axis of one channel; 1 for parts.
    rank: usize,
    dtype: DType,
}

impl SoundColumn {
    /// Sounds for an input of that rank.
    pub fn new(recordings: Arc<Recordings>, fixed: Option<usize>, rank: usize, dtype: DType) -> SoundColumn {
        SoundColumn { recordings, fixed, rank, dtype }
    }

    /// Which parts of batches of these sounds are not padding, for an input of that type.
    pub fn parts(&self, dtype: DType) -> SoundColumn {
        SoundColumn { recordings: self.recordings.clone(), fixed: self.fixed, rank: 1, dtype }
    }

    /// Whether batches are as long as their longest sound.
    pub fn fills_up(&self) -> bool {
        self.fixed.is_none()
    }

    /// Number of sounds.
    pub fn count(&self) -> usize {
        self.recordings.count()
    }

    /// These sounds as a batch, varied where that is asked for. Errors: `memory`.
    pub fn batch(&self, samples: &[usize], spent: Option<Array>, variation: Option<&Variation>) -> Result<Array, Diagnostic> {
        let length_of = |at: usize| {
            let length = self.recordings.get(at).len();
            variation.map_or(length, |variation| variation.length(at, length, self.fixed))
        };
        let longest = samples.iter().map(|at| length_of(*at)).max().unwrap_or(0);
        // One sound alone is as long as it is.
        let step = if samples.len() == 1 { 1 } else { self.recordings.longest().div_ceil(STEPS).max(1) };
        let length = self.fixed.unwrap_or_else(|| longest.next_multiple_of(step));
        let shape = match self.rank {
            1 => vec![samples.len()],
            2 => vec![samples.len(), length],
            _ => vec![samples.len(), 1, length],
        };
        let fits = |mut array: Array| (array.dtype() == self.dtype && array.reshape_within(&shape)).then_some(array);
        let mut batch = spent.and_then(fits).map_or_else(|| Array::zeroed(self.dtype, shape.clone()), Ok)?;
        for (row, at) in samples.iter().enumerate() {
            if self.rank == 1 {
                batch.set_f64(row, length_of(*at).min(length) as f64 / length.max(1) as f64);
                continue;
            }
            let own = self.recordings.get(*at);
            let varied = variation.map(|variation| variation.apply(*at, own, self.fixed));
            let sound = varied.as_deref().unwrap_or(own);
            let padded = sound.iter().copied().chain(std::iter::repeat(0.0)).take(length);
            padded.enumerate().for_each(|(i, value)| batch.set_f64(row * length + i, f64::from(value)));
        }
        Ok(batch)
    }
}
