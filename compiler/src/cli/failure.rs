//! Why a command ends without success.

use kiln_ir::Diagnostic;
use kiln_runtime::files::file_error;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Why a command ends without success.
#[derive(Debug)]
pub enum Failure {
    /// The arguments do not go together: exit code 2.
    Usage(String),
    /// The user's input is wrong: exit code 1.
    Errors(Vec<Diagnostic>),
    /// A signal asked it to end before it was done: the exit code is that of its signal.
    Interrupted(i32, Diagnostic),
    /// The command has already said what failed: exit code 1.
    Told,
    /// Nobody reads the output any more: silence, exit code 0.
    Unread,
}

impl From<Diagnostic> for Failure {
    fn from(error: Diagnostic) -> Failure {
        Failure::Errors(vec![error])
    }
}

impl From<Vec<Diagnostic>> for Failure {
    fn from(errors: Vec<Diagnostic>) -> Failure {
        Failure::Errors(errors)
    }
}

impl From<kiln_runtime::program::Failure> for Failure {
    fn from(failure: kiln_runtime::program::Failure) -> Failure {
        match failure {
            kiln_runtime::program::Failure::Usage(text) => Failure::Usage(text),
            kiln_runtime::program::Failure::Error(error) => error.into(),
            kiln_runtime::program::Failure::Interrupted(signal, left) => Failure::Interrupted(signal, left),
        }
    }
}

impl From<io::Error> for Failure {
    /// Only writing to standard output gives bare I/O errors here.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            ErrorKind::BrokenPipe => Failure::Unread,
            _ => file_error("write to", Path::new("standard output"), &error).into(),
        }
    }
}
