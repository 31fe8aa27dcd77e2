//! Where the values of a column lie: in memory, or, of large files, where they are, to be read batch by batch.
//!
//! Files are read at places, not mapped: memory then stays that of a batch whatever the system keeps of the file, and a file that is cut
//! meanwhile is an error rather than a signal.

use crate::arrays::{Array, type_text};
use crate::files::file_error;
use crate::npy::Place;
use crate::npz::{Npz, place_npy, read_npy};
use kiln_ir::{DType, Diagnostic};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Larger ones stay in their files.
pub const HELD_BYTES: usize = 64 << 20;

/// An array of which batches are taken.
pub struct Values {
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    source: Source,
}

enum Source {
    Held(Array),
    File { path: PathBuf, file: File, at: u64 },
}

impl From<Array> for Values {
    fn from(array: Array) -> Values {
        Values { dtype: array.dtype(), shape: array.shape().to_vec(), source: Source::Held(array) }
    }
}

impl Values {
    /// Elements of a file that is open, without reading them.
    pub fn in_file(path: &Path, file: File, place: Place) -> Values {
        Values { dtype: place.dtype, shape: place.shape, source: Source::File { path: path.to_owned(), file, at: place.at } }
    }

    /// The array of a `.npy` file. Errors: `file`, `npy`.
    pub fn of_npy(path: &Path) -> Result<Values, Diagnostic> {
        match large(place_npy(path)?) {
            Some(place) => Ok(Values::in_file(path, open(path)?, place)),
            None => read_npy(path).map(Values::from),
        }
    }

    /// The array of that name in an archive. Errors: `file`, `npz`.
    pub fn of_npz(path: &Path, npz: &mut Npz, name: &str) -> Result<Option<Values>, Diagnostic> {
        match large(npz.place(name)?) {
            Some(place) => Ok(Some(Values::in_file(path, open(path)?, place))),
            None => Ok(npz.read(name)?.map(Values::from)),
        }
    }

    /// Type and shape as the compiler prints them: `f32[2, 3]`.
    pub fn type_text(&self) -> String {
        type_text(self.dtype, &self.shape)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The bytes of `count` elements from element `from` on; those of a file come into `scratch`. Errors: `file`.
    pub fn read<'a>(&'a self, from: usize, count: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Diagnostic> {
        let size = self.dtype.size_bytes();
        match &self.source {
            Source::Held(array) => Ok(&array.bytes()[from * size..(from + count) * size]),
            Source::File { path, file, at } => {
                scratch.resize(count * size, 0);
                let place = at + (from * size) as u64;
                read_at(file, scratch, place).map_err(|error| file_error("read", path, &error))?;
                Ok(scratch)
            }
        }
    }
}

fn large(place: Option<Place>) -> Option<Place> {
    place.filter(|place| place.shape.iter().product::<usize>() * place.dtype.size_bytes() > HELD_BYTES)
}

fn open(path: &Path) -> Result<File, Diagnostic> {
    File::open(path).map_err(|error| file_error("read", path, &error))
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (bytes, at) = (&mut bytes[n..], at + n as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::Scratch;
    use crate::npy;
    use crate::npz::write_npz;
    use std::fs;

    #[test]
    fn values_in_files_are_those_in_memory() {
        let scratch = Scratch::new("values");
        let mut array = Array::zeroed(DType::I16, vec![6, 5]).expect("small");
        (0..30).for_each(|i| array.set_f64(i, i as f64 * 100.0));
        let (plain, archive) = (scratch.file("x.npy"), scratch.file("x.npz"));
        fs::write(&plain, [&npy::header(&array).expect("short"), array.bytes()].concat()).expect("writes");
        write_npz(&archive, [("before", &array), ("x", &array)]).expect("writes");
        let places = [
            (&plain, place_npy(&plain).expect("reads").expect("as it is")),
            (&archive, Npz::open(&archive).expect("opens").place("x").expect("reads").expect("as it is")),
        ];
        for (path, place) in places {
            let (filed, held) = (Values::in_file(path, open(path).expect("opens"), place), Values::of_npy(&plain).expect("reads"));
            assert_eq!(filed.type_text(), "i16[6, 5]");
            for (from, count) in [(0, 30), (7, 3), (29, 1), (30, 0)] {
                let (mut a, mut b) = (Vec::new(), Vec::new());
                assert_eq!(filed.read(from, count, &mut a).expect("reads"), held.read(from, count, &mut b).expect("held"));
            }
        }
        let filed = Values::in_file(&plain, open(&plain).expect("opens"), place_npy(&plain).expect("reads").expect("as it is"));
        fs::write(&plain, b"short").expect("writes");
        let error = filed.read(20, 5, &mut Vec::new()).expect_err("it was cut");
        assert!(error.message.starts_with("cannot read ") && error.message.contains("x.npy"), "{}", error.message);
    }
}
