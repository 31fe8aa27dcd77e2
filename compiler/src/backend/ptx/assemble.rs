//! Machine code of GPUs: by NVIDIA's assembler, which is looked for when it is needed.

use kiln_ir::Diagnostic;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// How an ELF file begins, as cubins are.
const ELF: &[u8] = b"\x7fELF";

/// What there is to assemble with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// This one.
    Assembler(Assembler),
    /// None, wherever it was looked for.
    Nowhere,
    /// None is to be used: `KILN_PTXAS` is set, but empty.
    Unwanted,
}

impl Found {
    /// Looks for it: what `KILN_PTXAS` names, else that of the toolkit that `CUDA_HOME` or `CUDA_PATH` names, else the one in `PATH`.
    ///
    /// Errors: `ptxas` where `KILN_PTXAS` names no file.
    pub fn here() -> Result<Found, Diagnostic> {
        if let Some(named) = env::var_os("KILN_PTXAS") {
            if named.is_empty() {
                return Ok(Found::Unwanted);
            }
            let path = PathBuf::from(named);
            if !path.is_file() {
                let message = format!("KILN_PTXAS is to name NVIDIA's assembler, but {} is no file", path.display());
                return Err(
                    Diagnostic::new("ptxas", message).help("name the file `ptxas` of a CUDA toolkit, or unset it to look elsewhere")
                );
            }
            return Ok(Found::Assembler(Assembler::at(&path)));
        }
        let name = if cfg!(windows) { "ptxas.exe" } else { "ptxas" };
        let toolkits = ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(env::var_os).map(|home| Path::new(&home).join("bin"));
        let path = env::var_os("PATH").unwrap_or_default();
        let mut places = toolkits.chain(env::split_paths(&path)).map(|folder| folder.join(name));
        Ok(places.find(|place| place.is_file()).map_or(Found::Nowhere, |path| Found::Assembler(Assembler::at(&path))))
    }

    /// The assembler. Errors: `ptxas` where there is none.
    pub fn assembler(&self) -> Result<&Assembler, Diagnostic> {
        let none = |message: &str, help: &str| Err(Diagnostic::new("ptxas", message).help(help));
        match self {
            Found::Assembler(assembler) => Ok(assembler),
            Found::Nowhere => none(
                "there is no `ptxas` here, NVIDIA's assembler: not in KILN_PTXAS, CUDA_HOME, CUDA_PATH and PATH",
                "install the CUDA toolkit, or the Python package nvidia-cuda-nvcc",
            ),
            Found::Unwanted => none("KILN_PTXAS is empty, so that no assembler is used", "let it name NVIDIA's `ptxas`, or unset it"),
        }
    }
}

/// NVIDIA's assembler, `ptxas`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assembler {
    path: PathBuf,
}

impl Assembler {
    /// The one at a path, made absolute: a name alone would be looked for in `PATH`.
    fn at(path: &Path) -> Assembler {
        Assembler { path: std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself: `release 13.0, V13.0.88`.
    ///
    /// Errors: `ptxas` where it does not start, or says nothing.
    pub fn version(&self) -> Result<String, Diagnostic> {
        let ran = self.run(Command::new(&self.path).arg("--version"))?;
        let said = String::from_utf8_lossy(&ran.stdout);
        let line = said.lines().find_map(|line| line.strip_prefix("Cuda compilation tools, "));
        line.map(str::to_string).ok_or_else(|| Diagnostic::new("ptxas", format!("{} does not say its version", self.path.display())))
    }

    /// What tells it from others, older and newer ones in its place included, without starting it: path, size and time of its file.
    pub(super) fn identity(&self) -> String {
        let place = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let file = fs::metadata(&place).ok().map(|file| (file.len(), file.modified().ok()));
        format!("{} {file:?}", place.display())
    }

    /// Assembles the text of a module for an architecture, such as `sm_90a`: the bytes of a cubin.
    ///
    /// Errors: `ptxas` where it does not start, with what it says, or where it makes no cubin; `file`.
    pub fn cubin(&self, text: &str, architecture: &str) -> Result<Vec<u8>, Diagnostic> {
        let failed = |error: std::io::Error| Diagnostic::new("file", format!("cannot keep files for the assembler: {error}"));
        let folder = tempfile::tempdir().map_err(failed)?;
        let (source, made) = (folder.path().join("kernels.ptx"), folder.path().join("kernels.cubin"));
        fs::write(&source, text).map_err(failed)?;
        let ran = self.run(Command::new(&self.path).arg(format!("-arch={architecture}")).arg("-o").arg(&made).arg(&source))?;
        let refused = |what: &str| Diagnostic::new("ptxas", format!("{} {what} for {architecture}", self.path.display()));
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr).trim().to_string();
            return Err(refused("does not take the kernels").help(if said.is_empty() { ran.status.to_string() } else { said }));
        }
        let cubin = fs::read(&made).unwrap_or_default();
        if cubin.starts_with(ELF) { Ok(cubin) } else { Err(refused("has ended without an error, but made no machine code")) }
    }

    fn run(&self, command: &mut Command) -> Result<Output, Diagnostic> {
        command.output().map_err(|error| Diagnostic::new("ptxas", format!("cannot start {}: {error}", self.path.display())))
    }
}

/// Programs in place of NVIDIA's.
#[cfg(all(test, unix))]
pub(super) mod tests {
    use super::*;
    use std::process::Stdio;

    /// An assembler that is a script of the shell, in a directory. Its cubin is `$out`, the text is `$text`, the architecture `$arch`; each
    /// start adds a line to the file `started` beside it.
    pub(in super::super) fn script(directory: &Path, body: &str) -> Assembler {
        let path = directory.join("ptxas");
        let head = "#!/bin/sh\necho start >> \"$(dirname \"$0\")/started\"\narch=${1#-arch=} out=$3 text=$4\n";
        // Another process writes it: a file that is open for writing cannot be started, and children of this process's other threads
        // have its files open for a moment.
        let mut writer = Command::new("sh");
        writer.args(["-c", "printf '%s' \"$1\" > \"$0\" && chmod +x \"$0\""]).arg(&path).arg(format!("{head}{body}\n"));
        assert!(writer.stdin(Stdio::null()).status().expect("a shell").success());
        Assembler::at(&path)
    }

    /// How often it was started.
    pub(in super::super) fn starts(directory: &Path) -> usize {
        fs::read_to_string(directory.join("started")).map_or(0, |lines| lines.lines().count())
    }

    #[test]
    fn what_an_assembler_makes_and_says_is_passed_on() {
        let place = tempfile::tempdir().expect("a directory");
        let told = |body: &str| script(place.path(), body).cubin("text", "sm_90a").map_err(|error| error.to_string());
        let made = told("{ printf '\\177ELF'; printf '%s ' \"$arch\"; cat \"$text\"; } > \"$out\"");
        assert_eq!(made.expect("made"), b"\x7fELFsm_90a text");
        let path = place.path().join("ptxas");
        let path = path.display();
        let error = told("echo 'line 3: no' >&2; exit 1").expect_err("refused");
        assert_eq!(error, format!("error[ptxas]: {path} does not take the kernels for sm_90a\n  help: line 3: no"));
        for body in ["exit 0", "echo text > \"$out\""] {
            let error = told(body).expect_err("no machine code");
            assert_eq!(error, format!("error[ptxas]: {path} has ended without an error, but made no machine code for sm_90a"));
        }
        let says = |body: &str| script(place.path(), body).version().map_err(|error| error.to_string());
        assert_eq!(says("echo ptxas; echo 'Cuda compilation tools, release 13.0, V13.0.88'").expect("told"), "release 13.0, V13.0.88");
        assert_eq!(says("exit 1").expect_err("silent"), format!("error[ptxas]: {path} does not say its version"));
        let none = Assembler { path: place.path().join("none") };
        assert!(none.cubin("text", "sm_80").is_err_and(|error| error.message.starts_with("cannot start ")));
    }

    #[test]
    fn another_assembler_in_the_same_place_is_another() {
        let place = tempfile::tempdir().expect("a directory");
        let assembler = script(place.path(), "exit 0");
        let identity = assembler.identity();
        assert_eq!(assembler.identity(), identity);
        let newer = script(place.path(), "exit 10");
        assert_eq!(newer.path(), assembler.path());
        assert_ne!(newer.identity(), identity);
    }
}
