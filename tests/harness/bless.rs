//! Texts that are checked in and compared byte for byte: snapshots and generated documents. `cargo bless` accepts what is there now.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Whether `cargo bless` runs: texts are written instead of compared. The switch is that of `insta`.
pub fn blessing() -> bool {
    std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always")
}

/// Compares a file with what it should contain; when blessing, writes it. Panics with the first line that differs.
pub fn check_file(path: &Path, expected: &str) {
    let found = std::fs::read_to_string(path).unwrap_or_default();
    if found == expected {
        return;
    }
    if blessing() {
        std::fs::write(path, expected).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        return;
    }
    panic!("{} is not what it should be; `cargo bless` accepts this:\n{}", path.display(), difference(&found, expected));
}

/// The lines around the first difference.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let mut out = format!("first difference in line {}\n", same + 1);
    for (sign, lines) in [("  ", &old[same.saturating_sub(3)..same]), ("- ", &old[same..]), ("+ ", &new[same..])] {
        for line in lines.iter().take(12) {
            out.push_str(&format!("{sign}{line}\n"));
        }
    }
    out
}
