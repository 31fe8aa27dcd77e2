//! Files: written beside their place and renamed, and errors that name them.

use kiln_ir::Diagnostic;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A diagnostic about `path`: `cannot read in.npz: No such file or directory`.
pub fn file_error(what: &str, path: &Path, error: &io::Error) -> Diagnostic {
    // The operating system's text without Rust's "(os error 2)".
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or_default();
    Diagnostic::new("file", format!("cannot {what} {}: {reason}", path.display()))
}

/// Lets `content` write a file that appears under `path` only when it is complete; see [`replace_whole`].
///
/// Errors: `file`, with the system's reason; the unfinished file is removed.
pub fn write_whole(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Diagnostic> {
    replace_whole(path, content).map_err(|error| file_error("write", path, &error))
}

/// The same, with the system's own error.
///
/// A link is followed, so that its file changes and the link stays. What is no regular file (a pipe, `/dev/stdout`) is written
/// directly.
pub fn replace_whole(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    if is_stream(path) {
        return fill(open_stream(path)?, content).map(drop);
    }
    let place = place_of(path);
    let beside = beside(&place);
    // On the disk before it has its name, so that the name never stands for less than all of it, even if the machine stops.
    let outcome = File::create(&beside).and_then(|file| fill(file, content)?.sync_all()).and_then(|()| fs::rename(&beside, &place));
    if outcome.is_err() {
        // Best effort: the first error is the one worth telling.
        let _ = fs::remove_file(&beside);
    }
    outcome
}

/// Whether this is a device, a pipe or a socket: it is written through, and nothing can lie beside it.
pub fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Opens what [`is_stream`] for writing.
pub fn open_stream(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

/// What a link points to; the path itself where there is nothing yet.
pub fn place_of(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn fill(file: File, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<File> {
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    content(&mut writer)?;
    Ok(writer.into_inner()?)
}

/// Removes what processes that were killed left of a file they were writing.
pub fn remove_unfinished(path: &Path) {
    let Some(Some(name)) = path.file_name().map(|name| name.to_str()) else { return };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_left =
        |found: &str| found.strip_prefix('.').and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.ends_with(".part"));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_left) {
            // Best effort: it is only in the way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A name in the same directory, hence on the same file system, that no other process uses.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A directory of its own for one test, removed when dropped.
    pub(crate) struct Scratch(pub PathBuf);

    impl Scratch {
        pub(crate) fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("kiln-runtime-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary directory");
            Scratch(path)
        }

        pub(crate) fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let scratch = Scratch::new("failed-write");
        let path = scratch.file("out.bin");
        write_whole(&path, |w| w.write_all(b"old")).expect("writes");
        let error = write_whole(&path, |w| w.write_all(b"half").and(Err(io::Error::other("stopped")))).expect_err("fails");
        assert_eq!(error.message, format!("cannot write {}: stopped", path.display()));
        assert_eq!(fs::read(&path).expect("still there"), b"old");
        assert_eq!(fs::read_dir(&scratch.0).expect("readable").count(), 1);
        fs::write(scratch.file(".out.bin.77.part"), b"left").expect("writes");
        remove_unfinished(&path);
        assert_eq!(fs::read_dir(&scratch.0).expect("readable").count(), 1);
    }

    #[test]
    fn a_missing_directory_and_a_full_device_are_errors() {
        let scratch = Scratch::new("no-directory");
        assert!(write_whole(&scratch.file("no/such/file"), |_| Ok(())).is_err());
        if Path::new("/dev/full").exists() {
            let error = write_whole(Path::new("/dev/full"), |w| w.write_all(b"x")).expect_err("full");
            assert_eq!(error.message, "cannot write /dev/full: No space left on device");
        }
    }
}
