//! `.npz`: named arrays in a zip archive, stored or deflated.
//!
//! Archives are written stored, like `numpy.savez` does, and without a date: the same arrays give the same bytes.

use crate::arrays::Array;
use crate::files::{file_error, write_whole};
use crate::npy;
use crate::zip::{Archive, Writer};
use kiln_ir::Diagnostic;
use std::fs::File;
use std::path::{Path, PathBuf};

/// An open `.npz` file; arrays are read when asked for.
pub struct Npz {
    path: PathBuf,
    archive: Archive,
}

impl Npz {
    /// Reads the table of contents.
    ///
    /// Errors: `file` when it cannot be read; `npz` when it is no archive.
    pub fn open(path: &Path) -> Result<Npz, Diagnostic> {
        let file = File::open(path).map_err(|error| file_error("read", path, &error))?;
        let archive = Archive::open(file).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => Diagnostic::new("npz", format!("{}: {error}", path.display())),
            _ => file_error("read", path, &error),
        })?;
        Ok(Npz { path: path.to_owned(), archive })
    }

    /// Names of the arrays, in the order of the archive.
    pub fn names(&self) -> Vec<&str> {
        self.archive.entries.iter().map(|entry| array_name(&entry.name)).collect()
    }

    /// Reads the array of that name; `None` when there is none.
    ///
    /// Errors: `npz` with file and array when it is damaged or of an unsupported type.
    pub fn read(&mut self, name: &str) -> Result<Option<Array>, Diagnostic> {
        let Some(index) = self.index(name) else { return Ok(None) };
        let available = self.archive.entries[index].bytes;
        let array = self.archive.read(index, |source| npy::read(source, available));
        array.map(Some).map_err(|text| self.damaged(name, &text))
    }

    /// Finds the elements of the array of that name in the file, if it is stored and needs no conversion; see [`npy::place`].
    ///
    /// Errors: as [`Npz::read`], but for its checksum, which nobody knows without reading all of it.
    pub fn place(&mut self, name: &str) -> Result<Option<npy::Place>, Diagnostic> {
        let Some(index) = self.index(name) else { return Ok(None) };
        let Some((at, bytes)) = self.archive.stored(index).map_err(|text| self.damaged(name, &text))? else { return Ok(None) };
        let place = npy::place(self.archive.stored_content(), bytes).map_err(|text| self.damaged(name, &text))?;
        Ok(place.map(|place| npy::Place { at: at + place.at, ..place }))
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.archive.entries.iter().position(|entry| array_name(&entry.name) == name)
    }

    fn damaged(&self, name: &str, text: &str) -> Diagnostic {
        Diagnostic::new("npz", format!("{}, array `{name}`: {text}", self.path.display()))
    }
}

/// Finds the elements of the array in a file; see [`npy::place`].
///
/// Errors: as [`read_npy`].
pub fn place_npy(path: &Path) -> Result<Option<npy::Place>, Diagnostic> {
    let file = File::open(path).map_err(|error| file_error("read", path, &error))?;
    let available = file.metadata().map_err(|error| file_error("read", path, &error))?.len();
    npy::place(file, available).map_err(|text| Diagnostic::new("npy", format!("{}: {text}", path.display())))
}

/// Reads a file with one array.
///
/// Errors: `file` when it cannot be read; `npy` when it is damaged or of an unsupported type.
pub fn read_npy(path: &Path) -> Result<Array, Diagnostic> {
    let file = File::open(path).map_err(|error| file_error("read", path, &error))?;
    let available = file.metadata().map_err(|error| file_error("read", path, &error))?.len();
    npy::read(file, available).map_err(|text| Diagnostic::new("npy", format!("{}: {text}", path.display())))
}

/// Writes named arrays; the file appears when it is complete.
///
/// Errors: `file`.
pub fn write_npz<'a>(path: &Path, arrays: impl IntoIterator<Item = (&'a str, &'a Array)>) -> Result<(), Diagnostic> {
    write_whole(path, |sink| {
        let mut archive = Writer::new(sink);
        for (name, array) in arrays {
            archive.add(&format!("{name}.npy"), &[&npy::header(array)?, array.bytes()])?;
        }
        archive.finish()
    })
}

fn array_name(entry: &str) -> &str {
    entry.strip_suffix(".npy").unwrap_or(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::Scratch;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use kiln_ir::DType;
    use std::fs;
    use std::io::Write as _;

    fn counting(dtype: DType, shape: Vec<usize>) -> Array {
        let mut array = Array::zeroed(dtype, shape).expect("small");
        (0..array.len()).for_each(|index| array.set_f64(index, index as f64));
        array
    }

    #[test]
    fn arrays_round_trip_under_any_name_and_bytes_are_the_same_twice() {
        let scratch = Scratch::new("npz-round-trip");
        let (path, again) = (scratch.file("a.npz"), scratch.file("b.npz"));
        let arrays = [
            ("x", counting(DType::F16, vec![3])),
            ("/fc/Gemm_0:1", counting(DType::I64, vec![2, 2])),
            ("größe", counting(DType::Bool, vec![])),
        ];
        let named = || arrays.iter().map(|(name, array)| (*name, array));
        write_npz(&path, named()).expect("writes");
        write_npz(&again, named()).expect("writes");
        assert_eq!(fs::read(&path).expect("reads"), fs::read(&again).expect("reads"));
        let mut npz = Npz::open(&path).expect("opens");
        assert_eq!(npz.names(), ["x", "/fc/Gemm_0:1", "größe"]);
        for (name, array) in &arrays {
            let read = npz.read(name).expect("reads").expect("is there");
            assert_eq!((read.type_text(), read.bytes()), (array.type_text(), array.bytes()));
        }
        assert!(npz.read("y").expect("reads").is_none());
    }

    /// An archive with one deflated entry, as `numpy.savez_compressed` writes it.
    fn deflated(content: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).expect("in memory");
        let packed = encoder.finish().expect("in memory");
        let mut file = Vec::new();
        let mut archive = Writer::new(&mut file);
        archive.add("x.npy", &[&packed]).expect("in memory");
        archive.finish().expect("in memory");
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let directory = file.len() - 22 - 46 - 5;
        for (at, method_at) in [(14, 8), (directory + 16, directory + 10)] {
            file[method_at] = 8;
            file[at..at + 4].copy_from_slice(&crc.sum().to_le_bytes());
            file[at + 8..at + 12].copy_from_slice(&(content.len() as u32).to_le_bytes());
        }
        file
    }

    #[test]
    fn deflated_archives_are_read_and_every_damage_is_an_error() {
        let scratch = Scratch::new("npz-deflated");
        let path = scratch.file("a.npz");
        let array = counting(DType::F32, vec![100]);
        let content = [npy::header(&array).expect("short"), array.bytes().to_vec()].concat();
        let file = deflated(&content);
        fs::write(&path, &file).expect("writes");
        let read = |path: &Path| Npz::open(path).and_then(|mut npz| npz.read("x")).map(|array| array.map(|a| a.bytes().to_vec()));
        assert_eq!(read(&path).expect("reads").as_deref(), Some(array.bytes()));
        for length in 0..file.len() {
            fs::write(&path, &file[..length]).expect("writes");
            assert!(read(&path).is_err(), "cut at {length}");
        }
        for at in 0..file.len() {
            let mut broken = file.clone();
            broken[at] ^= 0x55;
            fs::write(&path, &broken).expect("writes");
            // Flags, dates and attributes may change; what is read must not.
            if let Ok(Some(bytes)) = read(&path) {
                assert_eq!(bytes, array.bytes(), "byte {at} changed");
            }
        }
    }

    #[test]
    fn missing_files_and_other_files_are_named() {
        let scratch = Scratch::new("npz-missing");
        let path = scratch.file("none.npz");
        let error = Npz::open(&path).err().expect("missing");
        assert_eq!(error.message, format!("cannot read {}: No such file or directory", path.display()));
        fs::write(&path, b"hello").expect("writes");
        let error = Npz::open(&path).err().expect("no archive");
        assert_eq!(error.message, format!("{}: not a zip archive, or truncated: it has no end record", path.display()));
    }
}
