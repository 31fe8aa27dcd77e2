//! Output files: written beside their place and renamed, so that nobody ever sees half of one. Links are followed; devices and
//! pipes are written through, never replaced.

use kiln_ir::Diagnostic;
pub use kiln_runtime::files::is_stream;
use kiln_runtime::files::{open_stream, place_of, replace_whole};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Writes a file through `fill`, all or nothing.
///
/// Errors: `file`, with the path and what the system says.
pub fn write_file(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Diagnostic> {
    replace_whole(path, fill).map_err(|error| file_error("write", path, &error))
}

/// A directory beside `path`, for what becomes that file; removed with everything in it when dropped.
///
/// Errors: `file`.
pub fn directory_beside(path: &Path) -> Result<TempDir, Diagnostic> {
    let parent = if is_stream(path) { std::env::temp_dir() } else { directory_of(&place_of(path)) };
    let made = tempfile::Builder::new().prefix(".kiln-").tempdir_in(parent);
    made.map_err(|error| file_error("write", path, &error))
}

/// Puts a finished file in its place.
///
/// Errors: `file`.
pub fn rename_into_place(from: &Path, to: &Path) -> Result<(), Diagnostic> {
    let put = || match is_stream(to) {
        true => io::copy(&mut File::open(from)?, &mut open_stream(to)?).map(drop),
        false => fs::rename(from, place_of(to)),
    };
    put().map_err(|error| file_error("write", to, &error))
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

    #[cfg(unix)]
    #[test]
    fn links_stay_and_their_files_change() {
        let directory = tempfile::tempdir().expect("the system has a place for temporary files");
        let (file, link) = (directory.path().join("model.o"), directory.path().join("link"));
        fs::write(&file, b"old").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        write_file(&link, |out| out.write_all(b"new")).expect("written");
        assert_eq!(fs::read(&file).expect("readable"), b"new");
        let made = directory_beside(&link).expect("a directory");
        let finished = made.path().join("finished");
        fs::write(&finished, b"newer").expect("written");
        rename_into_place(&finished, &link).expect("moved");
        assert_eq!(fs::read(&file).expect("readable"), b"newer");
        assert!(fs::symlink_metadata(&link).expect("still there").is_symlink());
    }

    /// A socket stands for whatever is no file: replacing it would hurt nobody, unlike a device.
    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_never_replaced() {
        let directory = tempfile::tempdir().expect("the system has a place for temporary files");
        let path = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        assert!(is_stream(&path));
        write_file(&path, |out| out.write_all(b"new")).expect_err("sockets cannot be opened");
        let made = directory_beside(&path).expect("a directory elsewhere");
        assert!(!made.path().starts_with(directory.path()));
        let finished = made.path().join("finished");
        fs::write(&finished, b"new").expect("written");
        rename_into_place(&finished, &path).expect_err("sockets cannot be opened");
        assert!(is_stream(&path), "still the socket");
    }
}
