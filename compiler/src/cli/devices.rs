//! `kiln devices`: what can compute here.

use super::args::DevicesArgs;
use super::failure::Failure;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::backend::ptx::assemble::Found;
use kiln::backend::ptx::cuda::{Facts, devices as gpus};
use kiln_ir::Diagnostic;
use kiln_runtime::threads::default_workers;
use serde_json::json;
use std::io::Write;

/// Runs the command.
pub fn devices(args: &DevicesArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let features = CpuTarget::host(CpuLevel::Native)?.features().to_vec();
    let gpus = gpus();
    let assembler = assembler();
    if args.json {
        let cpu = json!({ "threads": default_workers(), "features": features });
        let (list, error) = match &gpus {
            Ok(list) => (json!(list), None),
            Err(error) => (json!([]), Some(error.to_string())),
        };
        let (found, none) = match &assembler {
            Ok((path, version)) => (json!({ "path": path, "version": version }), None),
            Err(error) => (json!(null), Some(error.to_string())),
        };
        let told = json!({ "cpu": cpu, "gpus": list, "gpu_error": error, "assembler": found, "assembler_error": none });
        return Ok(writeln!(out, "{told}")?);
    }
    writeln!(out, "cpu      {} threads, {}", default_workers(), features.join(" "))?;
    match gpus {
        Ok(list) => list.iter().try_for_each(|gpu| writeln!(out, "{}", line(gpu)))?,
        Err(error) => writeln!(out, "no gpu   {}", error.message)?,
    }
    match assembler {
        Ok((path, version)) => writeln!(out, "ptxas    {path}, {version}")?,
        Err(error) => writeln!(out, "no ptxas {}", error.message)?,
    }
    Ok(())
}

/// Path and version of the assembler that makes machine code for --backend ptx and --emit cubin.
fn assembler() -> Result<(String, String), Diagnostic> {
    let found = Found::here()?;
    let assembler = found.assembler()?;
    Ok((assembler.path().display().to_string(), assembler.version()?))
}

fn line(gpu: &Facts) -> String {
    let (major, minor) = gpu.compute_capability;
    let gib = gpu.memory_bytes as f64 / f64::from(1 << 30);
    format!("gpu {}    {}, sm_{major}{minor}, {} multiprocessors, {gib:.1} GiB", gpu.number, gpu.name, gpu.multiprocessors)
}
