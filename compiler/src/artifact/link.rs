//! Linking with the system's C compiler: executables and shared libraries.

use super::output::{directory_beside, file_error, rename_into_place};
use crate::runtime_object::{LINK_FLAGS, RUNTIME_OBJECT};
use kiln_ir::Diagnostic;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;

/// Writes the object into a stream.
pub type WriteObject<'a> = &'a dyn Fn(&mut dyn Write) -> io::Result<()>;

/// Links objects, one of which has a `main`, with the runtime, appends what `append` writes, and puts the program at `out`.
///
/// Errors: `file`, `linker`.
pub fn link_executable(out: &Path, objects: &[WriteObject], append: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Diagnostic> {
    let directory = directory_beside(out)?;
    let (runtime, program) = (directory.path().join("kiln_runtime.o"), directory.path().join("program"));
    let mut arguments: Vec<OsString> = Vec::new();
    let mut write = || {
        for (number, object) in objects.iter().enumerate() {
            let path = directory.path().join(format!("model{number}.o"));
            write_object(&path, *object)?;
            arguments.push(path.into());
        }
        fs::write(&runtime, RUNTIME_OBJECT)
    };
    write().map_err(|error| file_error("write", out, &error))?;
    arguments.extend([runtime.into(), "-o".into(), program.clone().into(), "-s".into()]);
    arguments.extend(LINK_FLAGS.map(OsString::from));
    run_linker(&arguments)?;
    let finish = File::options().append(true).read(true).open(&program).and_then(|mut file| append(&mut file));
    finish.map_err(|error| file_error("write", out, &error))?;
    rename_into_place(&program, out)
}

/// Links an object into a shared library that exports these symbols alone.
///
/// Errors: `file`, `linker`.
pub fn link_shared(out: &Path, object: WriteObject, exports: &[String]) -> Result<(), Diagnostic> {
    let directory = directory_beside(out)?;
    let (model, script, library) =
        (directory.path().join("model.o"), directory.path().join("exports.map"), directory.path().join("library"));
    let write = || {
        write_object(&model, object)?;
        fs::write(&script, format!("{{ global: {}; local: *; }};\n", exports.join("; ")))
    };
    write().map_err(|error| file_error("write", out, &error))?;
    let mut version_script = OsString::from("-Wl,--version-script=");
    version_script.push(&script);
    let mut soname = OsString::from("-Wl,-soname,");
    soname.push(out.file_name().unwrap_or(OsStr::new("model.so")));
    let flags = ["-shared", "-nostdlib", "-s", "-Wl,--build-id=none", "-Wl,-z,noexecstack"].map(OsString::from);
    let mut arguments: Vec<OsString> = vec![model.into(), "-o".into(), library.clone().into(), version_script, soname];
    arguments.extend(flags);
    run_linker(&arguments)?;
    rename_into_place(&library, out)
}

fn write_object(path: &Path, object: WriteObject) -> io::Result<()> {
    let mut writer = BufWriter::new(File::create(path)?);
    object(&mut writer)?;
    writer.flush()
}

/// Runs `cc`, or what the variable `CC` names, as every build tool does.
fn run_linker(arguments: &[OsString]) -> Result<(), Diagnostic> {
    run(&std::env::var_os("CC").filter(|name| !name.is_empty()).unwrap_or_else(|| "cc".into()), arguments)
}

fn run(linker: &OsStr, arguments: &[OsString]) -> Result<(), Diagnostic> {
    let name = linker.to_string_lossy();
    let output = Command::new(linker).args(arguments).output().map_err(|error| {
        let reason = if error.kind() == io::ErrorKind::NotFound { "it is not installed".to_string() } else { error.to_string() };
        Diagnostic::new("linker", format!("cannot run the linker `{name}`: {reason}"))
            .help("install a C compiler (Debian: `apt install gcc`), or write an object with `--emit obj`, which needs none")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = text.lines().rev().take(8).collect();
    let said = last.into_iter().rev().collect::<Vec<_>>().join("\n");
    Err(Diagnostic::new("linker", format!("the linker `{name}` failed ({})", output.status)).at("it says", said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_linker_is_told_with_what_works_without() {
        insta::assert_snapshot!(run(OsStr::new("no-such-cc"), &[]).expect_err("refused"), @"
        error[linker]: cannot run the linker `no-such-cc`: it is not installed
          help: install a C compiler (Debian: `apt install gcc`), or write an object with `--emit obj`, which needs none
        ");
        let failed = run(OsStr::new("cc"), &["/no/such/object.o".into()]).expect_err("refused");
        assert!(failed.to_string().contains("/no/such/object.o"), "{failed}");
    }
}
