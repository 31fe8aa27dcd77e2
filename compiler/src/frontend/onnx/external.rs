//! External data: tensors whose bytes are in files beside the model.
//!
//! A model may name only files inside its own directory. The check is made on resolved paths, so neither `..` nor a
//! symbolic link leads out; a model that is itself a link may also use the directory that the link leads to, because
//! download caches keep both files there under other names.

use super::proto::TensorProto;
use bytes::Bytes;
use kiln_ir::Diagnostic;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// The files beside one model, each mapped once.
#[derive(Debug, Default)]
pub struct ExternalFiles {
    /// Resolved directories that files may be in; empty when the model came from memory.
    directories: Vec<PathBuf>,
    mapped: BTreeMap<PathBuf, Bytes>,
}

impl ExternalFiles {
    /// Files may come from the directory of `model`.
    pub fn beside(model: &Path) -> Self {
        let parent = |path: &Path| match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
            Some(parent) => Some(parent.to_path_buf()),
            None => None,
        };
        let mut directories = Vec::new();
        let as_given = parent(model).and_then(|p| p.canonicalize().ok());
        let behind_link = model.canonicalize().ok().and_then(|m| parent(&m));
        for directory in as_given.into_iter().chain(behind_link) {
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        ExternalFiles { directories, mapped: BTreeMap::new() }
    }

    /// The bytes that `tensor.external_data` describes: a slice of the mapped file.
    ///
    /// Errors: `onnx_external_location`, `onnx_external_file`, `onnx_external_range`.
    pub fn slice(&mut self, tensor: &TensorProto) -> Result<Bytes, Diagnostic> {
        let place = format!("tensor \"{}\"", tensor.name);
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let Some(location) = entry("location").filter(|l| !l.is_empty()) else {
            return Err(Diagnostic::new("onnx_external_location", "external data without a location")
                .at(place, "its data is in another file, but no file is named"));
        };
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => text.trim().parse::<u64>().map(Some).map_err(|_| {
                Diagnostic::new("onnx_external_range", format!("external data has a bad {key}"))
                    .at(place.clone(), format!("`{key}` is {text:?}, not a number of bytes"))
            }),
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let file = self.file(location, &place)?;
        let size = file.len() as u64;
        let length = length.unwrap_or(size.saturating_sub(offset));
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(file.slice(offset as usize..end as usize)),
            _ => Err(Diagnostic::new("onnx_external_range", "external data ends too early")
                .at(place, format!("needs {length} bytes at {offset} of {location:?}, which has {size}"))
                .help("the data file is incomplete or belongs to another version of the model")),
        }
    }

    fn file(&mut self, location: &str, place: &str) -> Result<Bytes, Diagnostic> {
        let refuse = |what: &str| {
            Diagnostic::new("onnx_external_location", "external data outside the model's directory")
                .at(place, format!("location {location:?} {what}"))
                .help("put the data file beside the model and name it without a path")
        };
        let relative = Path::new(location);
        let plain = |c: Component| matches!(c, Component::Normal(_) | Component::CurDir);
        if !relative.components().all(plain) || location.contains(['\\', '\0']) {
            return Err(refuse("is not a plain path inside that directory"));
        }
        let Some(base) = self.directories.first() else {
            return Err(refuse("cannot be found: this model did not come from a file"));
        };
        let missing = |error: std::io::Error, base: &Path| {
            Diagnostic::new("onnx_external_file", format!("cannot open external data {location:?}"))
                .at(place, error.to_string())
                .help(format!("it is expected in {}", base.display()))
        };
        let resolved = base.join(relative).canonicalize().map_err(|e| missing(e, base))?;
        if !self.directories.iter().any(|d| resolved.starts_with(d)) {
            return Err(refuse("is a link that leads out of that directory"));
        }
        if let Some(bytes) = self.mapped.get(&resolved) {
            return Ok(bytes.clone());
        }
        let bytes = map_file(&resolved).map_err(|e| missing(e, base))?;
        self.mapped.insert(resolved, bytes.clone());
        Ok(bytes)
    }
}

/// Maps a file read-only; slices of the result keep the mapping alive.
pub fn map_file(path: &Path) -> std::io::Result<Bytes> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is read-only and private to this process. Another process that truncates the file while it
    // is being compiled can end this one with a bus error, as with every mapped file; no copy would be affordable.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::super::proto::StringStringEntryProto;
    use super::*;

    fn tensor(entries: &[(&str, &str)]) -> TensorProto {
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto { key: key.into(), value: value.into() };
        TensorProto { name: "w".into(), data_location: 1, external_data: entries.iter().map(entry).collect(), ..Default::default() }
    }

    fn directory() -> (tempfile::TempDir, ExternalFiles) {
        let outer = tempfile::tempdir().expect("temporary directory");
        let inner = outer.path().join("model");
        std::fs::create_dir(&inner).expect("create");
        std::fs::write(inner.join("m.onnx"), b"x").expect("write");
        std::fs::write(inner.join("w.bin"), b"0123456789").expect("write");
        std::fs::write(outer.path().join("secret"), b"secret").expect("write");
        let files = ExternalFiles::beside(&inner.join("m.onnx"));
        (outer, files)
    }

    #[test]
    fn slices_by_offset_and_length() {
        let (_keep, mut files) = directory();
        let whole = files.slice(&tensor(&[("location", "w.bin")])).expect("whole file");
        assert_eq!(&whole[..], b"0123456789");
        let part = files.slice(&tensor(&[("location", "./w.bin"), ("offset", "3"), ("length", "4")]));
        assert_eq!(&part.expect("part")[..], b"3456");
    }

    #[test]
    fn refuses_what_leads_outside_or_is_not_there() {
        let (outer, mut files) = directory();
        #[cfg(unix)]
        std::os::unix::fs::symlink(outer.path().join("secret"), outer.path().join("model/link")).expect("link");
        let absolute = outer.path().join("secret").display().to_string();
        let mut code = |entries: &[(&str, &str)]| files.slice(&tensor(entries)).expect_err("must be refused").code;
        assert_eq!(code(&[("location", "../secret")]), "onnx_external_location");
        assert_eq!(code(&[("location", &absolute)]), "onnx_external_location");
        #[cfg(unix)]
        assert_eq!(code(&[("location", "link")]), "onnx_external_location");
        assert_eq!(code(&[("location", "")]), "onnx_external_location");
        assert_eq!(code(&[("location", "absent.bin")]), "onnx_external_file");
        assert_eq!(code(&[("location", ".")]), "onnx_external_file");
        let range = |offset: &'static str, length: &'static str| [("location", "w.bin"), ("offset", offset), ("length", length)];
        assert_eq!(code(&range("8", "3")), "onnx_external_range");
        assert_eq!(code(&range("11", "0")), "onnx_external_range");
        assert_eq!(code(&range("18446744073709551615", "2")), "onnx_external_range");
        assert_eq!(code(&range("-1", "2")), "onnx_external_range");
    }
}
