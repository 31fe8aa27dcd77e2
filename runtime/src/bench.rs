//! Timing repeated runs.

use kiln_ir::Diagnostic;
use serde::Serialize;
use std::time::{Duration, Instant};

/// When to stop: whichever comes first, but after one run at least.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Number of timed runs.
    pub runs: u64,
    /// Time for all timed runs together, in seconds.
    pub seconds: f64,
}

/// What was measured. Times are wall-clock microseconds of one run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measurement {
    /// Half of the runs took less.
    pub median_us: f64,
    /// The quickest run.
    pub min_us: f64,
    /// The slowest run.
    pub max_us: f64,
    /// How many runs were timed.
    pub runs: u64,
}

/// Times `run`, after a warm-up of at least one run and at most 10 runs or a tenth of the time.
///
/// Errors: the first one of `run`.
pub fn measure(limits: Limits, mut run: impl FnMut() -> Result<(), Diagnostic>) -> Result<Measurement, Diagnostic> {
    let seconds = limits.seconds;
    let warm_up = Instant::now();
    for _ in 0..10 {
        run()?;
        if warm_up.elapsed().as_secs_f64() > seconds / 10.0 {
            break;
        }
    }
    // Room up front, so that growing it does not fall into a timed run.
    let mut times = Vec::with_capacity(limits.runs.clamp(1, 1 << 20) as usize);
    let begin = Instant::now();
    loop {
        let before = Instant::now();
        run()?;
        let after = Instant::now();
        times.push(after - before);
        if times.len() as u64 >= limits.runs || (after - begin).as_secs_f64() >= seconds {
            break;
        }
    }
    times.sort_unstable();
    let microseconds = |time: Duration| time.as_nanos() as f64 / 1e3;
    let (low, high) = (times[(times.len() - 1) / 2], times[times.len() / 2]);
    Ok(Measurement {
        median_us: (microseconds(low) + microseconds(high)) / 2.0,
        min_us: microseconds(times[0]),
        max_us: microseconds(times[times.len() - 1]),
        runs: times.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_at_runs_or_seconds_and_runs_at_least_once() {
        let mut count = 0;
        let mut run = |limits| {
            measure(limits, || {
                count += 1;
                std::thread::sleep(Duration::from_millis(1));
                Ok(())
            })
            .expect("nothing fails")
        };
        assert_eq!(run(Limits { runs: 5, seconds: 60.0 }).runs, 5);
        assert!(run(Limits { runs: 1_000_000, seconds: 0.05 }).runs < 100);
        let once = run(Limits { runs: 0, seconds: 0.0 });
        assert_eq!(once.runs, 1);
        assert!(once.min_us >= 1000.0 && once.min_us <= once.median_us && once.median_us <= once.max_us);
        assert!(run(Limits { runs: 1, seconds: f64::NAN }).runs == 1);
    }

    #[test]
    fn the_first_error_ends_it() {
        assert!(measure(Limits { runs: 5, seconds: 1.0 }, || Err(Diagnostic::new("x", "x"))).is_err());
    }
}
