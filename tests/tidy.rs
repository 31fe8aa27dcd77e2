//! Keeps the repository tidy: formatting, sizes of files, words that mean "unfinished", fresh documents.

use kiln_tests::bless::{check_file, repository};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longer files hold two ideas; tables may be longer.
const MAX_LINES: usize = 800;

fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["ir-spec", "compiler", "runtime", "tests", "examples"] {
        collect(&repository().join(folder), &mut found);
    }
    assert!(found.len() > 50, "the source files are not where they are looked for");
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap_or_else(|e| panic!("{}: {e}", folder.display())).path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_are_short_and_finished() {
    // Written in two halves, so that this file does not accuse itself.
    let unfinished = [["todo", "!("], ["unimplemented", "!("], ["dbg", "!("], ["FIX", "ME:"], ["TO", "DO:"]].map(|halves| halves.concat());
    let mut complaints = Vec::new();
    for path in rust_files() {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let lines = text.lines().count();
        if lines > MAX_LINES {
            complaints.push(format!("{}: {lines} lines; past 500 look for two ideas", path.display()));
        }
        if !text.starts_with("//!") {
            complaints.push(format!("{}: begins without a line that says what it is", path.display()));
        }
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = unfinished.iter().find(|w| line.contains(w.as_str())) {
                complaints.push(format!("{}:{}: `{word}`", path.display(), number + 1));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn code_is_formatted() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    match Command::new(cargo).args(["fmt", "--all", "--check", "--", "-l"]).current_dir(repository()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("not installed") => {
            println!("skipped: rustfmt is not installed");
        }
        Ok(output) => panic!("run `cargo fmt`:\n{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        Err(e) => println!("skipped: cargo fmt does not run: {e}"),
    }
}

#[test]
fn the_operator_reference_is_fresh() {
    check_file(&repository().join("ir-spec/OPS.md"), &kiln_ir::ops::ops_markdown());
}
