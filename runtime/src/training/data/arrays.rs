//! Data as `.npy` files, one for each input and target: `train/x.npy`, `train/y.npy` and the like, or `x_train.npy`, `y_train.npy`, or,
//! to hold back from, `x.npy` and `y.npy` alone.

use super::values::Values;
use super::{Dataset, Splits, Wanted};
use kiln_ir::Diagnostic;
use std::path::{Path, PathBuf};

/// The files of a directory; `None` if the first input has none. Errors: `file`, `npy`; `data` when one is missing or does not fit.
pub fn open(path: &Path, wanted: &Wanted) -> Result<Option<Splits>, Diagnostic> {
    // Where the file of a name is, for each way to write a part.
    let ways = |part: &str| -> [Box<dyn Fn(&str) -> PathBuf>; 2] {
        let (inside, beside, part) = (path.join(part), path.to_path_buf(), part.to_owned());
        [
            Box::new(move |name: &str| inside.join(format!("{name}.npy"))),
            Box::new(move |name: &str| beside.join(format!("{name}_{part}.npy"))),
        ]
    };
    let part = |names: &[&str]| -> Result<Option<Dataset>, Diagnostic> {
        for way in names.iter().flat_map(|name| ways(name)) {
            if let Some(dataset) = read(&way, wanted)? {
                return Ok(Some(dataset));
            }
        }
        Ok(None)
    };
    let found = match part(&["train"])? {
        None => read(&|name: &str| path.join(format!("{name}.npy")), wanted)?.map(Splits::of),
        Some(train) => Some(Splits { validation: part(&["validation", "val"])?, test: part(&["test"])?, ..Splits::of(train) }),
    };
    Ok(found)
}

/// The samples of one part; `None` if there is no file for its first input.
fn read(file_of: &dyn Fn(&str) -> PathBuf, wanted: &Wanted) -> Result<Option<Dataset>, Diagnostic> {
    let mut columns = Vec::new();
    for at in 0..wanted.slots.len() {
        let names = wanted.names(at);
        let Some(file) = names.iter().map(|name| file_of(name)).find(|file| file.is_file()) else {
            if at == 0 {
                return Ok(None);
            }
            let all: Vec<String> = names.iter().map(|name| file_of(name).display().to_string()).collect();
            let message = format!("there is no file for `{}`: {} is missing", wanted.slots[at].name, all.join(" or "));
            return Err(Diagnostic::new("data", message));
        };
        columns.push(wanted.column(at, Values::of_npy(&file)?, wanted.declared_image(at), &file.display().to_string())?);
    }
    let place = file_of(&wanted.names(0)[0]);
    wanted.dataset(columns, &place.parent().unwrap_or(Path::new("")).display().to_string()).map(Some)
}
