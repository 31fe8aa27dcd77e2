//! How failures look: diagnostics with their source lines where there are any, plain otherwise; colours on terminals only.

use super::failure::Failure;
use codespan_reporting::diagnostic::{Diagnostic as Report, Label as Mark};
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term::{Config, emit_into_string};
use kiln_ir::Diagnostic;
use kiln_runtime::training::interruption::exit_status;
use std::io::{self, IsTerminal, Write};

/// At most this many diagnostics are printed; the rest is counted.
const MAX_PRINTED: usize = 20;

/// Prints a failure to standard error and gives the exit code.
pub fn failure(failure: &Failure) -> u8 {
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut err = io::stderr().lock();
    // If nobody can read the message, the exit code must do.
    let _ = match failure {
        Failure::Usage(text) => {
            writeln!(err, "{}: {text}\n  help: `kiln --help` and `kiln COMMAND --help` say what is possible", paint("error", color))
        }
        Failure::Errors(errors) => err.write_all(diagnostics(errors, color).as_bytes()),
        Failure::Interrupted(_, left) => err.write_all(plain(left, color).as_bytes()),
        Failure::Told | Failure::Unread => Ok(()),
    };
    match failure {
        Failure::Usage(_) => 2,
        // A wrong value of an option is a wrong usage, wherever it was noticed.
        Failure::Errors(errors) if errors.first().is_some_and(|error| error.code.starts_with("usage_")) => 2,
        Failure::Errors(_) | Failure::Told => 1,
        Failure::Interrupted(signal, _) => u8::try_from(exit_status(*signal)).unwrap_or(1),
        Failure::Unread => 0,
    }
}

/// The diagnostics as text, a line break at the end of each.
pub fn diagnostics(errors: &[Diagnostic], color: bool) -> String {
    let mut text = String::new();
    for error in errors.iter().take(MAX_PRINTED) {
        text += &with_source(error).unwrap_or_else(|| plain(error, color));
    }
    if errors.len() > MAX_PRINTED {
        text += &format!("and {} more errors\n", errors.len() - MAX_PRINTED);
    }
    text
}

fn plain(error: &Diagnostic, color: bool) -> String {
    let text = error.to_string();
    let colored = text.strip_prefix("error").map(|rest| format!("{}{rest}", paint("error", color)));
    colored.unwrap_or(text) + "\n"
}

fn paint(word: &str, color: bool) -> String {
    if color { format!("\x1b[1;31m{word}\x1b[0m") } else { word.to_string() }
}

/// The diagnostic under the lines it is about, if all its places are spans of files that can be read.
fn with_source(error: &Diagnostic) -> Option<String> {
    let mut files = SimpleFiles::new();
    let mut marks = Vec::new();
    for (position, label) in error.labels.iter().enumerate() {
        let (start, end) = label.span?;
        let source = std::fs::read_to_string(&label.place).ok()?;
        let file = files.add(label.place.clone(), source);
        let mark = if position == 0 { Mark::primary(file, start..end) } else { Mark::secondary(file, start..end) };
        marks.push(mark.with_message(&label.text));
    }
    if marks.is_empty() {
        return None;
    }
    let report = Report::error().with_code(&error.code).with_message(&error.message).with_labels(marks);
    let report = report.with_notes(error.help.iter().map(|help| format!("help: {help}")).collect());
    emit_into_string(&Config::default(), &files, &report).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_shown_in_its_line_and_a_place_by_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("m.kiln");
        std::fs::write(&path, "first line\nsecond lime\n").expect("writes");
        let error = Diagnostic::new("word", "no such word").at_span(path.display().to_string(), (18, 22), "here").help("write `line`");
        let text = diagnostics(&[error], false);
        assert!(text.contains("error[word]: no such word") && text.contains(":2:8") && text.contains("^^^^ here"), "{text}");
        assert!(text.contains("help: write `line`"), "{text}");
        let error = Diagnostic::new("x", "wrong").at("node \"a\"", "here");
        assert_eq!(diagnostics(&[error], false), "error[x]: wrong\n  at node \"a\": here\n");
    }

    #[test]
    fn a_long_list_is_cut() {
        let errors = vec![Diagnostic::new("x", "wrong"); 25];
        assert!(diagnostics(&errors, false).ends_with("and 5 more errors\n"));
    }
}
