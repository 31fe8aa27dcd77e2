//! Files that are kept between runs in the user's directory of caches. Whoever removes one loses time, nothing else.

use kiln_ir::Diagnostic;
use kiln_runtime::files::file_error;
use std::cmp::Reverse;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Kiln's part of the user's caches; none where neither `XDG_CACHE_HOME` nor `HOME` says where they are.
///
/// *Source*: XDG Base Directory Specification 0.8.
pub fn directory() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(caches.join("kiln"))
}

/// Writes a file whole or not at all, also where several processes do so, and makes its directory.
///
/// Errors: `file`.
pub fn keep(path: &Path, content: &[u8]) -> Result<(), Diagnostic> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(|error| file_error("make", directory, &error))?;
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(|error| file_error("write to", directory, &error))?;
    file.write_all(content).map_err(|error| file_error("write", file.path(), &error))?;
    file.persist(path).map_err(|error| file_error("write", path, &error.error))?;
    Ok(())
}

/// Removes the files of a directory that were written longest ago, until what is left has at most so many bytes. Other processes may
/// remove some meanwhile.
///
/// Errors: the directory cannot be read.
pub fn bound(directory: &Path, most_bytes: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if let Ok(found) = fs::metadata(&path)
            && found.is_file()
        {
            files.push((Reverse(found.modified()?), path, found.len()));
        }
    }
    files.sort();
    let mut bytes = 0u64;
    for (_, path, length) in files {
        bytes = bytes.saturating_add(length);
        if bytes > most_bytes {
            // What cannot be removed is as good as kept.
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn files_are_replaced_whole_and_the_oldest_go() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = place.path().join("made/for/it");
        for (name, age) in [("old", 30), ("newest", 1), ("newer", 2)] {
            let path = directory.join(name);
            keep(&path, b"another").expect("kept");
            keep(&path, b"0123456789").expect("replaced");
            assert_eq!(fs::read(&path).expect("there"), b"0123456789");
            let written = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(written)).expect("older");
        }
        let left = |most_bytes| {
            bound(&directory, most_bytes).expect("readable");
            let names = fs::read_dir(&directory).expect("readable").map(|entry| entry.expect("there").file_name());
            let mut names: Vec<String> = names.map(|name| name.into_string().expect("text")).collect();
            names.sort();
            names
        };
        assert_eq!(left(30), ["newer", "newest", "old"]);
        assert_eq!(left(29), ["newer", "newest"]);
        assert_eq!(left(9), [""; 0]);
        assert!(bound(&place.path().join("none"), 1).is_err());
        // A file stands where the directory would be.
        fs::write(place.path().join("file"), "").expect("writes");
        assert_eq!(keep(&place.path().join("file/cubin"), b"").expect_err("refused").code, "file");
    }
}
