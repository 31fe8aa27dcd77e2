//! `kiln calibrate`: what this machine can do at best.

use super::args::CalibrateArgs;
use super::engine::threads;
use super::failure::Failure;
use kiln::calibration::Calibration;
use kiln_runtime::threads::ThreadPool;
use std::io::Write;

/// Runs the command.
pub fn calibrate(args: &CalibrateArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let measured = Calibration::measure(&ThreadPool::new(threads(args.threads)));
    let kept = measured.save()?;
    if args.json {
        let text = serde_json::to_string(&measured).unwrap_or_else(|error| panic!("calibration: {error}"));
        return Ok(writeln!(out, "{text}")?);
    }
    writeln!(out, "{}", measured.cpu)?;
    writeln!(out, "threads      {}", measured.threads)?;
    writeln!(out, "f32          {:.1} GFLOP/s", measured.flops_per_second / 1e9)?;
    writeln!(
        out,
        "caches       {:.1} GB/s, {:.1} MiB at the last level",
        measured.cache_bytes_per_second / 1e9,
        measured.cache_bytes as f64 / f64::from(1 << 20)
    )?;
    writeln!(out, "memory       {:.1} GB/s", measured.memory_bytes_per_second / 1e9)?;
    writeln!(out, "fork, join   {:.2} µs", measured.fork_join_seconds * 1e6)?;
    Ok(writeln!(out, "kept in {}", kept.display())?)
}
