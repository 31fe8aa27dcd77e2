//! Data to train on: what files hold, sample by sample.
//!
//! A place is a directory or a file; [`open`] finds out which kind it is, by what it holds. One file a kind: [`archive`] (`.npz`),
//! [`arrays`] (`.npy`), [`idx`] (the files of MNIST and its like), [`table`] (`.csv`, `.tsv`), [`texts`] (`.txt`), [`tagged`] (`.conll`), [`folders`] (pictures and sounds in a
//! directory for each class) and [`list`] (the same, named in a list), whose files [`items`] reads. They are made to fit what is
//! [`wanted`] and become a [`dataset`] of columns of [`values`]; samples that are read one by one are put together by [`stack`], those of different lengths in [`sequences`], sounds by `sounds`, and
//! [`labels`] makes numbers of class names.

pub mod archive;
pub mod arrays;
mod dataset;
pub mod folders;
pub mod idx;
pub mod items;
pub mod labels;
pub mod list;
pub mod sequences;
mod sounds;
pub mod stack;
pub mod table;
pub mod tagged;
pub mod texts;
pub mod values;
mod wanted;

pub use dataset::Dataset;
pub use wanted::Wanted;

use kiln_ir::Diagnostic;
use labels::Classes;
use std::path::{Path, PathBuf};

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
const KINDS: &str = "train.npz, train.csv or .tsv, train.conll, train.txt (and validation, test beside it), or one such file; \
     train/x.npy and train/y.npy; \
     train-images-idx3-ubyte and the other files of that kind, .gz too; pictures and sounds in a directory for each class, \
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
        if texts::is_text(path) {
            without_columns()?;
            return texts::open_file(path, wanted);
        }
        if tagged::is_tagged(path) {
            without_columns()?;
            return tagged::open_file(path, wanted);
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
    for kind in [tagged::open_directory, texts::open_directory, idx::open, archive::open_directory, arrays::open_directory, folders::open] {
        if let Some(splits) = kind(path, wanted)? {
            return Ok(splits);
        }
    }
    Err(unknown())
}
