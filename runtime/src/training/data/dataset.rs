//! Samples in memory or in files, and batches of them.

use super::sequences::Sequences;
use super::sounds::SoundColumn;
use super::values::Values;
use crate::arrays::{Array, element};
use crate::pictures::pixel_rule;
use crate::training::vary_sounds::Variation;
use kiln_ir::artifact::{ImageInput, Layout};
use kiln_ir::{DType, Diagnostic};

/// Samples: one column for each slot of the recipe.
pub struct Dataset {
    pub(super) columns: Vec<Column>,
    pub(super) len: usize,
    /// What the samples are called, where they are files.
    pub names: Option<Vec<String>>,
    /// The words of each sample, where the data are cut into words.
    pub words: Option<Vec<Vec<String>>>,
    /// Where in its sample the first piece of each word is, if words may have several.
    pub(super) word_starts: Option<Vec<Vec<u32>>>,
}

/// One slot's values for all samples.
pub enum Column {
    /// As many for each.
    Even(Even),
    /// As many as a sample has.
    Ragged(Sequences),
    /// Sounds of different lengths.
    Sounds(SoundColumn),
}

impl Column {
    /// Number of samples.
    pub(super) fn len(&self) -> usize {
        match self {
            Column::Even(column) => column.values.shape[column.axis],
            Column::Ragged(sequences) => sequences.len(),
            Column::Sounds(sounds) => sounds.count(),
        }
    }

    fn batch(&self, samples: &[usize], spent: Option<Array>, variation: Option<&Variation>) -> Result<Array, Diagnostic> {
        match self {
            Column::Even(column) => column.batch(samples, spent),
            Column::Ragged(sequences) => sequences.batch(samples),
            Column::Sounds(sounds) => sounds.batch(samples, spent, variation),
        }
    }
}

/// Values of samples that have as many each.
pub struct Even {
    /// The values, in the type of the file.
    pub(super) values: Values,
    /// Which axis counts the samples.
    pub(super) axis: usize,
    /// The type that the step takes.
    pub(super) dtype: DType,
    /// How bytes of pictures become numbers.
    pub(super) pixels: Option<Pixels>,
}

impl Dataset {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none, which [`open`](super::open) refuses.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether samples of a batch get something behind them so that they are of one length.
    pub fn fills_up(&self) -> bool {
        self.columns.iter().any(|column| matches!(column, Column::Sounds(sounds) if sounds.fills_up()))
    }

    /// Whether a slot's values are an array.
    pub fn is_array(&self, slot: usize) -> bool {
        matches!(self.columns[slot], Column::Even(_))
    }

    /// Where in a sample the first piece of each word is.
    pub fn first_pieces(&self, sample: usize) -> Vec<usize> {
        match (&self.word_starts, &self.words) {
            (Some(starts), _) => starts[sample].iter().map(|at| *at as usize).collect(),
            (None, Some(words)) => (0..words[sample].len()).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// How long each sample is, where batches are as wide as their longest one.
    pub fn lengths(&self) -> Option<Vec<usize>> {
        self.columns.iter().find_map(|column| match column {
            Column::Ragged(sequences) => Some((0..sequences.len()).map(|at| sequences.sample(at).len()).collect()),
            Column::Even(_) | Column::Sounds(_) => None,
        })
    }

    /// These samples as a batch: one array for each slot, in the types and shapes of the step. A batch that is done with, or none, gives
    /// its memory.
    ///
    /// Sounds are varied where that is asked for.
    ///
    /// Errors: `memory`; `file` when a file that values are in cannot be read any more.
    pub fn batch(&self, samples: &[usize], spent: Vec<Array>, variation: Option<&Variation>) -> Result<Vec<Array>, Diagnostic> {
        let mut spent = spent.into_iter();
        self.columns.iter().map(|column| column.batch(samples, spent.next(), variation)).collect()
    }
}

impl Even {
    fn batch(&self, samples: &[usize], spent: Option<Array>) -> Result<Array, Diagnostic> {
        let shape = &self.values.shape;
        let mut batch_shape = shape.clone();
        batch_shape[self.axis] = samples.len();
        let outer: usize = shape[..self.axis].iter().product();
        let inner: usize = shape[self.axis + 1..].iter().product();
        let fits = |mut array: Array| (array.dtype() == self.dtype && array.reshape_within(&batch_shape)).then_some(array);
        let mut batch = spent.and_then(fits).map_or_else(|| Array::zeroed(self.dtype, batch_shape.clone()), Ok)?;
        let (dtype, size) = (self.values.dtype, self.values.dtype.size_bytes());
        let mut scratch = Vec::new();
        for (at, sample) in samples.iter().enumerate() {
            for row in 0..outer {
                let (from, to) = ((row * shape[self.axis] + sample) * inner, (row * samples.len() + at) * inner);
                let bytes = self.values.read(from, inner, &mut scratch)?;
                match &self.pixels {
                    None if self.dtype == dtype => batch.bytes_mut()[to * size..(to + inner) * size].copy_from_slice(bytes),
                    None => {
                        let numbers = bytes.chunks_exact(size).map(|bytes| element(dtype, bytes));
                        numbers.enumerate().for_each(|(i, number)| batch.set_f64(to + i, number));
                    }
                    Some(pixels) => pixels.write(bytes, &mut batch, to),
                }
            }
        }
        Ok(batch)
    }
}

/// How bytes of pictures become numbers.
pub(super) struct Pixels {
    layout: Layout,
    /// For each channel the number of every byte.
    tables: Vec<Vec<f64>>,
}

impl Pixels {
    pub(super) fn new(image: &ImageInput) -> Pixels {
        let table = |channel| {
            let number = pixel_rule(image, channel);
            (0..=255u8).map(|byte| number(f64::from(byte))).collect()
        };
        Pixels { layout: image.layout, tables: (0..image.channels.max(1) as usize).map(table).collect() }
    }

    /// Writes the numbers of one picture from place `to` on.
    fn write(&self, bytes: &[u8], batch: &mut Array, to: usize) {
        let channels = self.tables.len();
        let plane = (bytes.len() / channels).max(1);
        for (i, byte) in bytes.iter().enumerate() {
            let channel = match self.layout {
                Layout::Nchw => (i / plane).min(channels - 1),
                Layout::Nhwc => i % channels,
            };
            batch.set_f64(to + i, self.tables[channel][usize::from(*byte)]);
        }
    }
}
