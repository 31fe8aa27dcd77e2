//! Data as `.npy` files, one for each input and target: `train/x.npy`, `train/y.npy` and the like, or `x_train.npy`, `y_train.npy`, or,
//! to hold back from, `x.npy` and `y.npy` alone.

use super::values::Values;
use super::{Dataset, Splits, Wanted};
use kiln_ir::Diagnostic;
use std::path::{Path, PathBuf};

/// Where the files of a part are, and what stands behind their names.
struct Part {
    directory: PathBuf,
    suffix: String,
}

impl Part {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}{}.npy", self.suffix))
    }
}

/// One file: all that a network takes, where no targets are wanted. Errors: `data` where it is not; as [`open_directory`].
pub fn open_file(path: &Path, wanted: &Wanted) -> Result<Splits, Diagnostic> {
    let place = path.display().to_string();
    if wanted.slots.len() != 1 {
        let names: Vec<&str> = wanted.slots.iter().map(|slot| slot.name.as_str()).collect();
        let error = Diagnostic::new("data", format!("{place} is one array, and {} are wanted", names.join(", ")));
        return Err(error.help("give the directory with the files of all of them, or an .npz archive"));
    }
    let column = wanted.column(0, Values::of_npy(path)?, wanted.declared_image(0), &place)?;
    wanted.dataset(vec![column], &place).map(Splits::of)
}

/// The files of a directory; `None` if the first input has none. Errors: `file`, `npy`; `data` when one is missing or does not fit.
pub fn open_directory(path: &Path, wanted: &Wanted) -> Result<Option<Splits>, Diagnostic> {
    let part = |names: &[&str]| -> Result<Option<Dataset>, Diagnostic> {
        for name in names {
            let inside = Part { directory: path.join(name), suffix: String::new() };
            let beside = Part { directory: path.to_path_buf(), suffix: format!("_{name}") };
            for part in [inside, beside] {
                if let Some(dataset) = read(&part, wanted)? {
                    return Ok(Some(dataset));
                }
            }
        }
        Ok(None)
    };
    match part(&["train"])? {
        None => Ok(read(&Part { directory: path.to_path_buf(), suffix: String::new() }, wanted)?.map(Splits::of)),
        Some(train) => Ok(Some(Splits { validation: part(&["validation", "val"])?, test: part(&["test"])?, ..Splits::of(train) })),
    }
}

/// The samples of one part; `None` if there is no file for its first input.
fn read(part: &Part, wanted: &Wanted) -> Result<Option<Dataset>, Diagnostic> {
    let mut columns = Vec::new();
    for at in 0..wanted.slots.len() {
        let files: Vec<PathBuf> = wanted.names(at).iter().map(|name| part.file(name)).collect();
        let Some(file) = files.iter().find(|file| file.is_file()) else {
            if at == 0 {
                return Ok(None);
            }
            let all: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            let message = format!("there is no file for `{}`: {} is missing", wanted.slots[at].name, all.join(" or "));
            return Err(Diagnostic::new("data", message));
        };
        columns.push(wanted.column(at, Values::of_npy(file)?, wanted.declared_image(at), &file.display().to_string())?);
    }
    wanted.dataset(columns, &part.directory.display().to_string()).map(Some)
}
