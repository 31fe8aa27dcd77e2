//! Makes one `#[test]` of every file under tests/files, named after it, so that one can be run alone.

use std::path::{Path, PathBuf};

fn main() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("files");
    println!("cargo::rerun-if-changed={}", files.display());
    let mut found = Vec::new();
    collect(&files, &mut found);
    found.sort();
    let mut out = String::new();
    for path in found {
        let relative = path.strip_prefix(&files).expect("found below files").to_string_lossy().replace('\\', "/");
        let name: String = relative.trim_end_matches(".kiln").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        out.push_str(&format!("#[test]\nfn {name}() {{\n    kiln_tests::filetest::check({relative:?});\n}}\n"));
    }
    let target = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("filetests.rs");
    std::fs::write(&target, out).expect("OUT_DIR is writable");
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in std::fs::read_dir(folder).expect("tests/files can be read") {
        let path = entry.expect("tests/files can be read").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "kiln") {
            found.push(path);
        }
    }
}
