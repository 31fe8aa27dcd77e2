//! Output files: written beside their place and renamed, so that nobody ever sees half of one.

use kiln_ir::Diagnostic;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempDir};

/// Buffer in front of a file.
const BUFFER_BYTES: usize = 1 << 16;

/// Writes a file through `fill`, all or nothing.
///
/// Errors: `file`, with the path and what the system says.
pub fn write_file(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Diagnostic> {
    let write = || {
        let temporary = temporary_file(&directory_of(path))?;
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, temporary.as_file());
        fill(&mut writer)?;
        writer.flush()?;
        drop(writer);
        temporary.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error: io::Error| file_error("write", path, &error))
}

/// A directory beside `path`, for what becomes that file; removed with everything in it when dropped.
///
/// Errors: `file`.
pub fn directory_beside(path: &Path) -> Result<TempDir, Diagnostic> {
    let made = tempfile::Builder::new().prefix(".kiln-").tempdir_in(directory_of(path));
    made.map_err(|error| file_error("write", path, &error))
}

/// Puts a finished file in its place.
///
/// Errors: `file`.
pub fn rename_into_place(from: &Path, to: &Path) -> Result<(), Diagnostic> {
    fs::rename(from, to).map_err(|error| file_error("write", to, &error))
}

/// What the system says about a file, with a next step where one is known.
pub fn file_error(action: &str, path: &Path, error: &io::Error) -> Diagnostic {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory".to_string(),
        io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        io::ErrorKind::StorageFull => "the disk is full".to_string(),
        io::ErrorKind::IsADirectory => "it is a directory".to_string(),
        _ => error.to_string(),
    };
    let diagnostic = Diagnostic::new("file", format!("cannot {action} {}: {reason}", path.display()));
    match error.kind() {
        io::ErrorKind::StorageFull => diagnostic.help("make room, or write to another disk"),
        _ => diagnostic,
    }
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// A temporary file with the permissions of any new file: the process's mask applies to these.
#[cfg(unix)]
fn temporary_file(directory: &Path) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new().prefix(".kiln-").permissions(fs::Permissions::from_mode(0o666)).tempfile_in(directory)
}

#[cfg(not(unix))]
fn temporary_file(directory: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".kiln-").tempfile_in(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().expect("the system has a place for temporary files");
        let path = directory.path().join("model.o");
        write_file(&path, |out| out.write_all(b"old")).expect("written");
        let full = |_: &mut dyn Write| Err(io::Error::from(io::ErrorKind::StorageFull));
        let error = write_file(&path, full).expect_err("refused");
        assert!(error.message.ends_with("model.o: the disk is full"), "{error}");
        assert_eq!(fs::read(&path).expect("still there"), b"old");
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1);
        let missing = write_file(Path::new("/no/such/place"), |_| Ok(())).expect_err("refused");
        insta::assert_snapshot!(missing, @"error[file]: cannot write /no/such/place: there is no such file or directory");
    }
}
