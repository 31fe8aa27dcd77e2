//! What this machine can do at best: floating-point operations, bytes from caches and from memory, and what it costs to start a kernel.
//!
//! A kernel that takes no longer than its work at these rates is at the *roofline*: nothing can be gained by computing the same
//! otherwise. *Source*: Williams, Waterman & Patterson 2009.

mod measure;

pub use measure::cpu_name;

use crate::caches;
use kiln_ir::Diagnostic;
use kiln_runtime::threads::ThreadPool;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Rates of this machine, with a number of threads.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Calibration {
    /// What the rates are of: the CPU and its features.
    pub cpu: String,
    /// Threads together.
    pub threads: usize,
    /// Floating-point operations in f32 a second, two a multiply-add.
    pub flops_per_second: f64,
    /// Bytes read from memory a second.
    pub memory_bytes_per_second: f64,
    /// Bytes read from the second-level caches a second.
    pub cache_bytes_per_second: f64,
    /// Seconds from the start of work on all threads to its end, where there is nothing to do.
    pub fork_join_seconds: f64,
    /// Bytes that the last-level cache holds.
    pub cache_bytes: u64,
}

impl Calibration {
    /// Measures, for about a second. The machine should do nothing else meanwhile.
    pub fn measure(pool: &ThreadPool) -> Calibration {
        Calibration {
            cpu: measure::cpu(),
            threads: pool.workers(),
            flops_per_second: measure::flops_per_second(pool),
            memory_bytes_per_second: measure::bytes_per_second(pool, measure::FAR_BYTES / pool.workers()),
            cache_bytes_per_second: measure::bytes_per_second(pool, measure::CLOSE_BYTES),
            fork_join_seconds: measure::fork_join_seconds(pool),
            cache_bytes: measure::last_level_cache_bytes(),
        }
    }

    /// What was measured before on this machine with as many threads, else what is measured now, which is kept if it can be.
    pub fn here(pool: &ThreadPool) -> Calibration {
        let known = Calibration::load_all();
        let cpu = measure::cpu();
        if let Some(found) = known.into_iter().find(|known| known.cpu == cpu && known.threads == pool.workers()) {
            return found;
        }
        let measured = Calibration::measure(pool);
        // Without a place to keep it, it is measured again the next time.
        let _ = measured.save();
        measured
    }

    /// Keeps it for later, in the user's directory of caches. Errors: `file`; there is no such directory.
    pub fn save(&self) -> Result<PathBuf, Diagnostic> {
        let path = place().ok_or_else(|| Diagnostic::new("file", "no directory for caches: set XDG_CACHE_HOME or HOME"))?;
        let mut all = Calibration::load_all();
        all.retain(|known| known.cpu != self.cpu || known.threads != self.threads);
        all.push(self.clone());
        let text = serde_json::to_string_pretty(&all).unwrap_or_else(|error| panic!("calibration: {error}"));
        caches::keep(&path, text.as_bytes())?;
        Ok(path)
    }

    /// What is kept; nothing where that cannot be read.
    fn load_all() -> Vec<Calibration> {
        let text = place().and_then(|path| std::fs::read_to_string(path).ok());
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// The least seconds for so many operations, and bytes that lie in caches and in memory.
    pub fn least_seconds(&self, flops: f64, close_bytes: f64, far_bytes: f64) -> f64 {
        let moving = close_bytes / self.cache_bytes_per_second + far_bytes / self.memory_bytes_per_second;
        moving.max(flops / self.flops_per_second)
    }
}

/// The file of what was measured.
fn place() -> Option<PathBuf> {
    Some(caches::directory()?.join("calibration.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_time_is_the_longer_of_computing_and_moving() {
        let rates = Calibration {
            cpu: "a".into(),
            threads: 1,
            flops_per_second: 100.0,
            memory_bytes_per_second: 10.0,
            cache_bytes_per_second: 40.0,
            fork_join_seconds: 0.0,
            cache_bytes: 1,
        };
        assert_eq!(rates.least_seconds(200.0, 40.0, 5.0), 2.0);
        assert_eq!(rates.least_seconds(0.0, 40.0, 5.0), 1.5);
        assert_eq!(rates.least_seconds(0.0, 0.0, 0.0), 0.0);
    }

    #[test]
    fn every_rate_is_measured() {
        // How large they are is this machine's business, and that of what else it does.
        let measured = Calibration::measure(&ThreadPool::new(2));
        for rate in [measured.flops_per_second, measured.memory_bytes_per_second, measured.cache_bytes_per_second] {
            assert!(rate.is_finite() && rate > 0.0, "{measured:?}");
        }
        assert!(measured.fork_join_seconds >= 0.0 && measured.cache_bytes >= 1 << 16, "{measured:?}");
    }
}
