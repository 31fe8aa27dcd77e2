//! Data to train on: what files hold, sample by sample.
//!
//! A place is a directory or an archive; [`open`] finds out which kind it is, by what it holds. One file a kind: [`archive`] (`.npz`),
//! [`idx`] (the files of MNIST and its like), [`folders`] (pictures in a directory for each class).

pub mod archive;
pub mod folders;
pub mod idx;

use super::recipe::DataSlot;
use crate::arrays::Array;
use crate::pictures::{image_input_named, pixel_rule};
use kiln_ir::artifact::{Extent, ImageInput, Layout, Signature, TensorDecl};
use kiln_ir::{DType, Diagnostic};
use std::path::Path;

/// What a network is trained on and measured by.
pub struct Splits {
    /// What it learns from.
    pub train: Dataset,
    /// What decides when to stop, if the data say so themselves.
    pub validation: Option<Dataset>,
    /// What it is measured by in the end.
    pub test: Option<Dataset>,
}

/// Samples: one column for each slot of the recipe.
pub struct Dataset {
    columns: Vec<Column>,
    len: usize,
}

/// One slot's values for all samples.
pub struct Column {
    /// The values, in the type of the file.
    array: Array,
    /// Which axis counts the samples.
    axis: usize,
    /// The type that the step takes.
    dtype: DType,
    /// How bytes of pictures become numbers.
    pixels: Option<Pixels>,
}

/// What the data must fit: the slots of a recipe as the compiled step declares them.
pub struct Wanted<'r> {
    /// The slots.
    pub slots: &'r [DataSlot],
    /// The step's signature, whose first inputs are the slots.
    pub signature: &'r Signature,
}

impl Wanted<'_> {
    fn decl(&self, slot: usize) -> &TensorDecl {
        &self.signature.inputs[slot]
    }

    /// The slot that takes pictures: one input, and how.
    fn image(&self) -> Result<(usize, ImageInput), Diagnostic> {
        let inputs = (0..self.slots.len()).filter(|slot| !self.slots[*slot].is_target);
        let mut found = inputs.filter_map(|slot| Some((slot, image_input_named(self.signature, &self.slots[slot].name)?)));
        let only = found.next().filter(|_| found.next().is_none());
        only.ok_or_else(|| {
            let inputs: Vec<String> = (0..self.slots.len()).map(|slot| self.decl(slot).to_string()).collect();
            Diagnostic::new("data", "the data are pictures, but no input, or more than one, takes pictures")
                .at("the network takes", inputs.join(", "))
                .help("name it with an `image` table in [[input]]")
        })
    }

    /// The slot that takes numbers of classes.
    fn labels(&self) -> Result<usize, Diagnostic> {
        let mut found = (0..self.slots.len()).filter(|slot| self.slots[*slot].is_target && self.decl(*slot).dtype == DType::I64);
        let only = found.next().filter(|_| found.next().is_none());
        only.ok_or_else(|| {
            Diagnostic::new("data", "the data are pictures of classes, but no loss, or more than one, takes numbers of classes")
                .help("loss = \"sparse_cross_entropy\"")
        })
    }

    /// How bytes become numbers of a slot, if the network says so.
    fn declared_image(&self, slot: usize) -> Option<ImageInput> {
        self.signature.image.clone().filter(|image| image.input == self.slots[slot].name)
    }

    /// A column for a slot, whose bytes become numbers as `image` says. Errors: `data` when the array does not fit.
    fn column(&self, slot: usize, mut array: Array, image: Option<ImageInput>, place: &str) -> Result<Column, Diagnostic> {
        let (decl, axis) = (self.decl(slot), self.slots[slot].batch_axis);
        let wrong = |text: String| Diagnostic::new("data", format!("{place}: {text}")).at("the network takes", decl.to_string());
        // Targets without their axis of size 1, or with one, and pictures without their channel are common.
        let mut shape = array.shape().to_vec();
        if shape.len() + 1 == decl.shape.len() {
            let is_one = |at: &usize| *at != axis && matches!(decl.shape[*at], Extent::Fixed(1));
            (0..decl.shape.len()).find(is_one).into_iter().for_each(|at| shape.insert(at, 1));
        } else if shape.len() == decl.shape.len() + 1 && shape.last() == Some(&1) {
            shape.pop();
        }
        array.reshape_within(&shape);
        if array.shape().len() != decl.shape.len() {
            return Err(wrong(format!("`{}` is {}, of another rank", decl.name, array.type_text())));
        }
        for (at, (extent, size)) in decl.shape.iter().zip(array.shape()).enumerate() {
            if at != axis && matches!(extent, Extent::Fixed(n) if usize::try_from(*n) != Ok(*size)) {
                return Err(wrong(format!("`{}` is {}: axis {at} must be {extent}", decl.name, array.type_text())));
            }
        }
        if array.dtype() != decl.dtype && !decl.dtype.is_float() {
            let mut one = Array::zeroed(decl.dtype, vec![1])?;
            let changed = (0..array.len()).map(|i| array.get_f64(i)).find(|value| {
                one.set_f64(0, *value);
                one.get_f64(0) != *value
            });
            if let Some(value) = changed {
                return Err(wrong(format!("`{}` has {value}, which is no {}", decl.name, decl.dtype)));
            }
        }
        let allowed = self.slots[slot].allowed;
        if let Some(i) = (0..array.len()).find(|i| !allowed.has(array.get_f64(*i))) {
            let sample = i / array.shape()[axis + 1..].iter().product::<usize>() % array.shape()[axis];
            let error = wrong(format!("`{}` of sample {sample} is {}", decl.name, array.get_f64(i)));
            return Err(error.help(format!("its loss takes {}", allowed.text())));
        }
        let image = image.filter(|_| array.dtype() == DType::U8 && decl.dtype.is_float() && !self.slots[slot].is_target);
        Ok(Column { array, axis, dtype: decl.dtype, pixels: image.as_ref().map(Pixels::new) })
    }

    /// Columns as a dataset. Errors: `data` when their numbers of samples differ.
    fn dataset(&self, columns: Vec<Column>, place: &str) -> Result<Dataset, Diagnostic> {
        let count = |column: &Column| column.array.shape()[column.axis];
        let len = columns.first().map_or(0, count);
        if let Some((slot, column)) = columns.iter().enumerate().find(|(_, column)| count(column) != len) {
            let (first, other) = (&self.slots[0].name, &self.slots[slot].name);
            let message = format!("{place}: {len} samples of `{first}`, but {} of `{other}`", count(column));
            return Err(Diagnostic::new("data", message));
        }
        if len == 0 {
            return Err(Diagnostic::new("data", format!("{place}: there are no samples")));
        }
        Ok(Dataset { columns, len })
    }
}

impl Dataset {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none, which [`open`] refuses.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// These samples as a batch: one array for each slot, in the types and shapes of the step.
    ///
    /// Errors: `memory`.
    pub fn batch(&self, samples: &[usize]) -> Result<Vec<Array>, Diagnostic> {
        self.columns.iter().map(|column| column.batch(samples)).collect()
    }
}

impl Column {
    fn batch(&self, samples: &[usize]) -> Result<Array, Diagnostic> {
        let shape = self.array.shape();
        let mut batch_shape = shape.to_vec();
        batch_shape[self.axis] = samples.len();
        let outer: usize = shape[..self.axis].iter().product();
        let inner: usize = shape[self.axis + 1..].iter().product();
        let mut batch = Array::zeroed(self.dtype, batch_shape)?;
        let size = self.array.dtype().size_bytes();
        for (at, sample) in samples.iter().enumerate() {
            for row in 0..outer {
                let (from, to) = ((row * shape[self.axis] + sample) * inner, (row * samples.len() + at) * inner);
                match &self.pixels {
                    None if self.dtype == self.array.dtype() => {
                        let bytes = &self.array.bytes()[from * size..(from + inner) * size];
                        batch.bytes_mut()[to * size..(to + inner) * size].copy_from_slice(bytes);
                    }
                    None => (0..inner).for_each(|i| batch.set_f64(to + i, self.array.get_f64(from + i))),
                    Some(pixels) => pixels.write(&self.array.bytes()[from..from + inner], &mut batch, to),
                }
            }
        }
        Ok(batch)
    }
}

/// How bytes of pictures become numbers.
struct Pixels {
    layout: Layout,
    /// For each channel the number of every byte.
    tables: Vec<Vec<f64>>,
}

impl Pixels {
    fn new(image: &ImageInput) -> Pixels {
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

/// Reads the data at a place.
///
/// Errors: `file`; `data` when it holds nothing that is known, or what does not fit.
pub fn open(path: &Path, wanted: &Wanted) -> Result<Splits, Diagnostic> {
    if !path.exists() {
        return Err(Diagnostic::new("file", format!("cannot read {}: there is no such file or directory", path.display())));
    }
    if path.is_file() {
        return archive::open_file(path, wanted);
    }
    if let Some(splits) = idx::open(path, wanted)? {
        return Ok(splits);
    }
    if let Some(splits) = archive::open_directory(path, wanted)? {
        return Ok(splits);
    }
    if let Some(splits) = folders::open(path, wanted)? {
        return Ok(splits);
    }
    Err(Diagnostic::new("data", format!("{} holds no data that Kiln knows", path.display())).help(
        "it reads train.npz (and validation.npz, test.npz); train-images-idx3-ubyte and the other files of that kind, .gz too; \
         and directories of pictures, one for each class: train/CLASS/*.png",
    ))
}
