//! Data to train on: what files hold, sample by sample.
//!
//! A place is a directory or a file; [`open`] finds out which kind it is, by what it holds. One file a kind: [`archive`] (`.npz`),
//! [`arrays`] (`.npy`), [`idx`] (the files of MNIST and its like), [`table`] (`.csv`, `.tsv`), [`folders`] (pictures and sounds in a
//! directory for each class) and [`list`] (the same, named in a list), whose files [`items`] reads. Samples are columns of
//! [`values`]; those that are read one by one are put together by [`stack`], and [`labels`] makes numbers of class names.

pub mod archive;
pub mod arrays;
pub mod folders;
pub mod idx;
pub mod items;
pub mod labels;
pub mod list;
pub mod stack;
pub mod table;
pub mod values;

use super::recipe::DataSlot;
use crate::arrays::{Array, element};
use crate::pictures::{image_input_named, pixel_rule};
use kiln_ir::artifact::{Extent, ImageInput, Layout, Signature, TensorDecl};
use kiln_ir::{DType, Diagnostic};
use labels::{Classes, shortened};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use values::Values;

/// Which data, and how they are read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DataOptions {
    /// Where they are.
    pub place: PathBuf,
    /// The column of a table or a list that has the labels, in place of the usual one.
    pub label: Option<String>,
    /// How many rows or files that cannot be used may be left out.
    pub skip_bad: usize,
}

/// What a network is trained on and measured by.
pub struct Splits {
    /// What it learns from.
    pub train: Dataset,
    /// What decides when to stop, if the data say so themselves.
    pub validation: Option<Dataset>,
    /// What it is measured by in the end.
    pub test: Option<Dataset>,
    /// What the classes are called, if the data say so.
    pub classes: Option<Vec<String>>,
}

impl Splits {
    /// Data without parts.
    pub fn of(train: Dataset) -> Splits {
        Splits { train, validation: None, test: None, classes: None }
    }
}

/// Samples: one column for each slot of the recipe.
pub struct Dataset {
    columns: Vec<Column>,
    len: usize,
    /// What the samples are called, where they are files.
    pub names: Option<Vec<String>>,
}

/// One slot's values for all samples.
pub struct Column {
    /// The values, in the type of the file.
    values: Values,
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
    /// How data are read.
    pub options: &'r DataOptions,
    left_out: RefCell<Vec<Diagnostic>>,
}

impl<'r> Wanted<'r> {
    /// Data for these slots, which are the first inputs of the signature.
    pub fn new(slots: &'r [DataSlot], signature: &'r Signature, options: &'r DataOptions) -> Wanted<'r> {
        Wanted { slots, signature, options, left_out: RefCell::default() }
    }

    /// What was left out so far, and why.
    pub fn left_out(&self) -> Vec<String> {
        self.left_out.borrow().iter().map(|error| error.message.clone()).collect()
    }

    /// Leaves a row or a file out that cannot be used. Errors: what is wrong with it, when no more may be left out.
    pub fn leave_out(&self, error: Diagnostic) -> Result<(), Diagnostic> {
        let (allowed, mut before) = (self.options.skip_bad, self.left_out.borrow_mut());
        if before.len() < allowed {
            before.push(error);
            return Ok(());
        }
        Err(match allowed {
            0 => error.help("mend it, or let N such rows or files at most be left out by --skip-bad N"),
            _ => error.help(format!("{allowed} were left out before it, as many as --skip-bad allows")),
        })
    }

    fn decl(&self, slot: usize) -> &TensorDecl {
        &self.signature.inputs[slot]
    }

    /// An error with what the network takes.
    fn takes(&self, error: Diagnostic) -> Diagnostic {
        let inputs: Vec<String> = (0..self.slots.len()).map(|slot| self.decl(slot).to_string()).collect();
        error.at("the network takes", inputs.join(", "))
    }

    /// Names under which files may have the values of a slot.
    fn names(&self, at: usize) -> Vec<String> {
        let targets = self.slots.iter().filter(|slot| slot.is_target).count();
        let slot = &self.slots[at];
        let (alone, short) = match slot.is_target {
            true => (targets == 1, ["Y", "y"]),
            false => (self.slots.len() - targets == 1, ["X", "x"]),
        };
        let mut names = vec![slot.name.clone(), self.decl(at).name.clone()];
        names.extend(short.into_iter().filter(|_| alone).map(str::to_owned));
        names
    }

    /// How many numbers a sample has, if the network says.
    fn sample_size(&self, slot: usize) -> Option<usize> {
        let axes = self.decl(slot).shape.iter().enumerate().filter(|(axis, _)| *axis != self.slots[slot].batch_axis);
        axes.map(|(_, extent)| if let Extent::Fixed(size) = extent { usize::try_from(*size).ok() } else { None }).product()
    }

    /// Whether a slot takes numbers of classes.
    fn is_label(&self, slot: usize) -> bool {
        self.slots[slot].is_target && self.decl(slot).dtype == DType::I64
    }

    /// The slot that takes pictures: one input, and how.
    fn image(&self) -> Result<(usize, ImageInput), Diagnostic> {
        let inputs = (0..self.slots.len()).filter(|slot| !self.slots[*slot].is_target);
        let mut found = inputs.filter_map(|slot| Some((slot, image_input_named(self.signature, &self.slots[slot].name)?)));
        let only = found.next().filter(|_| found.next().is_none());
        only.ok_or_else(|| {
            let error = Diagnostic::new("data", "the data are pictures, but no input, or more than one, takes pictures");
            self.takes(error).help("name it with an `image` table in [[input]]")
        })
    }

    /// The slot that takes numbers of classes.
    fn labels(&self) -> Result<usize, Diagnostic> {
        let mut found = (0..self.slots.len()).filter(|slot| self.is_label(*slot));
        let only = found.next().filter(|_| found.next().is_none());
        only.ok_or_else(|| {
            Diagnostic::new("data", "the data are samples of classes, but no loss, or more than one, takes numbers of classes")
                .help("loss = \"sparse_cross_entropy\"")
        })
    }

    /// What the labels of a slot are. Errors: `data` when they are of more classes than the network tells apart.
    fn classes_of<'t>(&self, slot: usize, labels: impl Iterator<Item = &'t str> + Clone, place: &str) -> Result<Classes, Diagnostic> {
        let classes = Classes::of(labels, self.signature.labels.as_deref(), self.slots[slot].classes);
        if let Classes::Names(names) = &classes {
            self.check_classes(slot, names, place)?;
        }
        Ok(classes)
    }

    /// Errors: `data` when there are more of them than the network tells apart.
    fn check_classes(&self, slot: usize, names: &[String], place: &str) -> Result<(), Diagnostic> {
        match self.slots[slot].classes.filter(|most| names.len() > *most) {
            None => Ok(()),
            Some(most) => {
                let slot = &self.slots[slot].name;
                let message = format!("{place}: there are {} classes, and `{slot}` tells {most} apart", names.len());
                Err(Diagnostic::new("data", message).at("the classes are", shortened(names)))
            }
        }
    }

    /// How bytes become numbers of a slot, if the network says so.
    fn declared_image(&self, slot: usize) -> Option<ImageInput> {
        self.signature.image.clone().filter(|image| image.input == self.slots[slot].name)
    }

    /// A column for a slot, whose bytes become numbers as `image` says. Errors: `data` when the values do not fit.
    fn column(&self, slot: usize, mut values: Values, image: Option<ImageInput>, place: &str) -> Result<Column, Diagnostic> {
        let (decl, axis) = (self.decl(slot), self.slots[slot].batch_axis);
        let wrong = |text: String| Diagnostic::new("data", format!("{place}: {text}")).at("the network takes", decl.to_string());
        // Targets without their axis of size 1, or with one, and pictures without their channel are common.
        let shape = &mut values.shape;
        if shape.len() + 1 == decl.shape.len() {
            let is_one = |at: &usize| *at != axis && matches!(decl.shape[*at], Extent::Fixed(1));
            (0..decl.shape.len()).find(is_one).into_iter().for_each(|at| shape.insert(at, 1));
        } else if shape.len() == decl.shape.len() + 1 && shape.last() == Some(&1) {
            shape.pop();
        }
        if values.shape.len() != decl.shape.len() {
            return Err(wrong(format!("`{}` is {}, of another rank", decl.name, values.type_text())));
        }
        for (at, (extent, size)) in decl.shape.iter().zip(&values.shape).enumerate() {
            if at != axis && matches!(extent, Extent::Fixed(n) if usize::try_from(*n) != Ok(*size)) {
                return Err(wrong(format!("`{}` is {}: axis {at} must be {extent}", decl.name, values.type_text())));
            }
        }
        if values.dtype != decl.dtype
            && !decl.dtype.is_float()
            && let Some(value) = first_changed(&values, decl.dtype)?
        {
            return Err(wrong(format!("`{}` has {value}, which is no {}", decl.name, decl.dtype)));
        }
        if let Some(most) = self.slots[slot].classes
            && let Some(value) = first(&values, |value| !(0.0..most as f64).contains(&value))?
        {
            return Err(wrong(format!("`{}` has class {value}, which is out of range: {most} are told apart, from 0 on", decl.name)));
        }
        let image = image.filter(|_| values.dtype == DType::U8 && decl.dtype.is_float() && !self.slots[slot].is_target);
        Ok(Column { values, axis, dtype: decl.dtype, pixels: image.as_ref().map(Pixels::new) })
    }

    /// Columns as a dataset. Errors: `data` when their numbers of samples differ.
    fn dataset(&self, columns: Vec<Column>, place: &str) -> Result<Dataset, Diagnostic> {
        let count = |column: &Column| column.values.shape[column.axis];
        let len = columns.first().map_or(0, count);
        if let Some((slot, column)) = columns.iter().enumerate().find(|(_, column)| count(column) != len) {
            let (first, other) = (&self.slots[0].name, &self.slots[slot].name);
            let message = format!("{place}: {len} samples of `{first}`, but {} of `{other}`", count(column));
            return Err(Diagnostic::new("data", message));
        }
        if len == 0 {
            return Err(Diagnostic::new("data", format!("{place}: there are no samples")));
        }
        Ok(Dataset { columns, len, names: None })
    }
}

/// The first value that is another one in that type.
fn first_changed(values: &Values, dtype: DType) -> Result<Option<f64>, Diagnostic> {
    let mut one = Array::zeroed(dtype, vec![1])?;
    first(values, |value| {
        one.set_f64(0, value);
        one.get_f64(0) != value
    })
}

/// The first value that is so.
fn first(values: &Values, mut is: impl FnMut(f64) -> bool) -> Result<Option<f64>, Diagnostic> {
    const AT_ONCE: usize = 1 << 16;
    let mut scratch = Vec::new();
    for from in (0..values.elements()).step_by(AT_ONCE) {
        let bytes = values.read(from, AT_ONCE.min(values.elements() - from), &mut scratch)?;
        let mut numbers = bytes.chunks_exact(values.dtype.size_bytes()).map(|bytes| element(values.dtype, bytes));
        if let Some(found) = numbers.find(|number| is(*number)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
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

    /// These samples as a batch: one array for each slot, in the types and shapes of the step. A batch that is done with, or none, gives
    /// its memory.
    ///
    /// Errors: `memory`; `file` when a file that values are in cannot be read any more.
    pub fn batch(&self, samples: &[usize], spent: Vec<Array>) -> Result<Vec<Array>, Diagnostic> {
        let mut spent = spent.into_iter();
        self.columns.iter().map(|column| column.batch(samples, spent.next())).collect()
    }
}

impl Column {
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

/// The parts that are where `find` finds them, all with the classes that the first one decides on; `None` if there is none to train on.
fn of_parts(
    find: impl Fn(&str) -> Option<PathBuf>,
    read: impl Fn(&Path, &mut Option<Classes>) -> Result<Dataset, Diagnostic>,
) -> Result<Option<Splits>, Diagnostic> {
    let mut classes = None;
    let Some(train) = find("train") else { return Ok(None) };
    let train = read(&train, &mut classes)?;
    let mut part = |names: &[&str]| names.iter().find_map(|name| find(name)).map(|place| read(&place, &mut classes)).transpose();
    let (validation, test) = (part(&["validation", "val"])?, part(&["test"])?);
    Ok(Some(Splits { train, validation, test, classes: classes.and_then(Classes::names) }))
}

/// What data may be, for messages.
const KINDS: &str = "train.npz, train.csv or .tsv (and validation, test beside it), or one such file; train/x.npy and train/y.npy; \
     train-images-idx3-ubyte and the other files of that kind, .gz too; pictures and .wav files in a directory for each class, \
     train/CLASS/*, or named in train/list.csv";

/// Reads the data at a place.
///
/// Errors: `file`; `data` when it holds nothing that is known, or what does not fit; `usage_label` when a column is named and there are
/// no columns.
pub fn open(wanted: &Wanted) -> Result<Splits, Diagnostic> {
    let path = wanted.options.place.as_path();
    if !path.exists() {
        return Err(Diagnostic::new("file", format!("cannot read {}: there is no such file or directory", path.display())));
    }
    let without_columns = || match &wanted.options.label {
        None => Ok(()),
        Some(label) => {
            let error = Diagnostic::new("usage_label", format!("{} has no columns, so none is `{label}`", path.display()));
            Err(error.help("--label names a column of a table or of a list of files"))
        }
    };
    let unknown = || {
        let error = Diagnostic::new("data", format!("{} holds no data that Kiln knows", path.display()));
        error.help(format!("it reads {KINDS}"))
    };
    if path.is_file() {
        if path.file_name().is_some_and(|name| name == list::NAME) {
            return list::open_file(path, wanted);
        }
        if table::is_table(path) {
            return table::open_file(path, wanted);
        }
        without_columns()?;
        return match path.extension().and_then(|extension| extension.to_str()) {
            Some("npz") => archive::open_file(path, wanted),
            Some("npy") => arrays::open_file(path, wanted),
            _ => Err(unknown()),
        };
    }
    for kind in [table::open_directory, list::open_directory] {
        if let Some(splits) = kind(path, wanted)? {
            return Ok(splits);
        }
    }
    without_columns()?;
    for kind in [idx::open, archive::open_directory, arrays::open_directory, folders::open] {
        if let Some(splits) = kind(path, wanted)? {
            return Ok(splits);
        }
    }
    Err(unknown())
}
