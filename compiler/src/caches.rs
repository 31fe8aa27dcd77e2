//! The user's directory of caches: what is kept there saves time, and nothing is lost with it.

use kiln_ir::Diagnostic;
use kiln_runtime::files::file_error;
use std::path::{Path, PathBuf};

/// The directory, which may not exist yet; none where the environment names none. *Source*: XDG Base Directory Specification 0.8.
pub fn directory() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(caches.join("kiln"))
}

/// Writes a file, whole or not at all, also where several processes do so. Errors: `file`.
pub fn write(path: &Path, content: &[u8]) -> Result<(), Diagnostic> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).map_err(|error| file_error("make", directory, &error))?;
    let file = tempfile::NamedTempFile::new_in(directory).map_err(|error| file_error("write to", directory, &error))?;
    std::fs::write(file.path(), content).map_err(|error| file_error("write", file.path(), &error))?;
    file.persist(path).map_err(|error| file_error("write", path, &error.error))?;
    Ok(())
}
