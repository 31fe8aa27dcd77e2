//! Machine code of GPUs: by NVIDIA's assembler, which is looked for when it is needed.

use super::generation::Generation;
use kiln_ir::Diagnostic;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Assembles the text of a module for one generation of GPUs: the bytes of a cubin.
///
/// Errors: `ptxas` without an assembler, or with what it says; `file`.
pub fn cubin(text: &str, generation: Generation) -> Result<Vec<u8>, Diagnostic> {
    let assembler = find()?;
    let failed = |error: std::io::Error| Diagnostic::new("file", format!("cannot keep files for the assembler: {error}"));
    let folder = tempfile::tempdir().map_err(failed)?;
    let (source, made) = (folder.path().join("kernels.ptx"), folder.path().join("kernels.cubin"));
    fs::write(&source, text).map_err(failed)?;
    let ran = Command::new(&assembler).arg(format!("-arch={generation}")).arg("-o").arg(&made).arg(&source).output();
    let ran = ran.map_err(|error| Diagnostic::new("ptxas", format!("cannot start {}: {error}", assembler.display())))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr).trim().to_string();
        return Err(Diagnostic::new("ptxas", format!("{} does not take the kernels for {generation}", assembler.display())).help(said));
    }
    fs::read(&made).map_err(failed)
}

/// Where the assembler is: what `KILN_PTXAS` names, else that of the toolkit that `CUDA_HOME` or `CUDA_PATH` names, else the one in `PATH`.
fn find() -> Result<PathBuf, Diagnostic> {
    if let Some(named) = env::var_os("KILN_PTXAS").filter(|named| !named.is_empty()) {
        return Ok(PathBuf::from(named));
    }
    let name = if cfg!(windows) { "ptxas.exe" } else { "ptxas" };
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(env::var_os).map(|home| Path::new(&home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = toolkits.chain(env::split_paths(&path)).map(|folder| folder.join(name));
    places.find(|place| place.is_file()).ok_or_else(|| {
        let message = "there is no `ptxas` here, NVIDIA's assembler: not in KILN_PTXAS, CUDA_HOME, CUDA_PATH and PATH";
        Diagnostic::new("ptxas", message).help("install the CUDA toolkit, or the Python package nvidia-cuda-nvcc, or write --emit ptx")
    })
}
