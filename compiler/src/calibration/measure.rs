//! How rates are measured: loops that do nothing but multiply and add, or nothing but read, on all threads at once; the best of several.

use kiln_runtime::threads::ThreadPool;
use std::hint::black_box;
use std::time::Instant;

/// Bytes that all threads together read from memory: more than caches hold.
pub const FAR_BYTES: usize = 256 << 20;
/// Bytes that each thread reads from its second-level cache: more than the first level holds, less than the second.
pub const CLOSE_BYTES: usize = 192 << 10;
/// Times that each loop is measured.
const TRIES: usize = 8;
/// Multiply-adds of one accumulator in a try.
const TURNS: usize = 1 << 20;
/// Where the system does not say how large the last-level cache is.
const USUAL_CACHE_BYTES: u64 = 8 << 20;

/// What the CPU is called.
pub fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_string()
}

/// The CPU by its name and features.
pub fn cpu() -> String {
    let features = crate::backend::cpu::target::CpuTarget::host(crate::backend::cpu::target::CpuLevel::Native);
    let features = features.map(|target| target.features().join(" ")).unwrap_or_default();
    format!("{}: {features}", cpu_name())
}

/// The least seconds that `work`, done once by every thread, each with a number of its own, takes.
fn best(pool: &ThreadPool, work: impl Fn(usize) + Sync) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let begin = Instant::now();
        pool.for_each_chunk(pool.workers() as i64, 1, |_, tasks| tasks.for_each(|task| work(task as usize)));
        best = best.min(begin.elapsed().as_secs_f64());
    }
    best
}

/// Multiply-adds in f32 on all threads.
pub fn flops_per_second(pool: &ThreadPool) -> f64 {
    let mut best_rate = 0f64;
    for (lanes, accumulators, run) in peaks() {
        let seconds = best(pool, |_| run());
        let flops = 2 * lanes * accumulators * TURNS * pool.workers();
        best_rate = best_rate.max(flops as f64 / seconds);
    }
    best_rate
}

/// A loop: lanes of an accumulator, how many of them, and what runs it [`TURNS`] times.
type Peak = (usize, usize, fn());

/// The loops that this CPU can run.
fn peaks() -> Vec<Peak> {
    let mut found: Vec<Peak> = vec![(LANES, ACCUMULATORS, plain)];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            found.push((8, ACCUMULATORS, x86::wide));
        }
        if is_x86_feature_detected!("avx512f") {
            found.push((16, ACCUMULATORS, x86::widest));
        }
    }
    found
}

/// Accumulators: enough for two units of a latency of five, and few enough for sixteen registers.
const ACCUMULATORS: usize = 12;
/// Lanes that every CPU has.
const LANES: usize = 4;

/// What the compiler makes for any CPU of the architecture. Where it has no fused multiply-add, two instructions do.
fn plain() {
    let (factor, addend) = (black_box([0.999_f32; LANES]), black_box([1e-3_f32; LANES]));
    let mut sums = black_box([[0f32; LANES]; ACCUMULATORS]);
    for _ in 0..TURNS {
        for sum in &mut sums {
            for lane in 0..LANES {
                sum[lane] = if cfg!(target_arch = "x86_64") {
                    sum[lane] * factor[lane] + addend[lane]
                } else {
                    sum[lane].mul_add(factor[lane], addend[lane])
                };
            }
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{ACCUMULATORS, TURNS, sum_of_streams};
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
    use std::hint::black_box;

    pub fn wide() {
        // SAFETY: `peaks` lists it only where the CPU has both features.
        unsafe { wide_here() }
    }

    pub fn widest() {
        // SAFETY: as `wide`.
        unsafe { widest_here() }
    }

    #[target_feature(enable = "avx2,fma")]
    fn wide_here() {
        let (factor, addend) = (black_box(_mm256_set1_ps(0.999)), black_box(_mm256_set1_ps(1e-3)));
        let mut sums = [addend; ACCUMULATORS];
        for _ in 0..TURNS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, addend);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2")]
    pub fn sum_wide(values: &[u64]) -> u64 {
        sum_of_streams(values)
    }

    #[target_feature(enable = "avx512f")]
    fn widest_here() {
        let (factor, addend) = (black_box(_mm512_set1_ps(0.999)), black_box(_mm512_set1_ps(1e-3)));
        let mut sums = [addend; ACCUMULATORS];
        for _ in 0..TURNS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, addend);
            }
        }
        black_box(sums);
    }
}

/// Bytes that all threads read, each so many of its own, again and again.
pub fn bytes_per_second(pool: &ThreadPool, bytes: usize) -> f64 {
    let turns = (FAR_BYTES / bytes / pool.workers() / 4).max(1);
    let own: Vec<Vec<u64>> = (0..pool.workers()).map(|_| vec![1; bytes / 8]).collect();
    let seconds = best(pool, |thread| {
        for _ in 0..turns {
            black_box(sum(black_box(&own[thread])));
        }
    });
    (turns * own.iter().map(|list| list.len() * 8).sum::<usize>()) as f64 / seconds
}

/// The sum of all, by the widest vectors that the CPU has.
fn sum(values: &[u64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has it.
        return unsafe { x86::sum_wide(values) };
    }
    sum_of_streams(values)
}

/// Neighbouring numbers that are added at once.
const STEP: usize = 16;

/// The sum of all, in four streams far apart, as memory is read fastest.
#[inline(always)]
fn sum_of_streams(values: &[u64]) -> u64 {
    let part = values.len() / 4 / STEP * STEP;
    let mut sums = [0u64; STEP];
    let mut streams = values.chunks_exact(part.max(STEP)).map(|stream| stream.chunks_exact(STEP));
    let [Some(a), Some(b), Some(c), Some(d)] = [streams.next(), streams.next(), streams.next(), streams.next()] else { return 0 };
    for ((a, b), (c, d)) in a.zip(b).zip(c.zip(d)) {
        for lane in 0..STEP {
            sums[lane] = sums[lane].wrapping_add(a[lane]).wrapping_add(b[lane]).wrapping_add(c[lane].wrapping_add(d[lane]));
        }
    }
    sums.iter().fold(0, |sum, next| sum.wrapping_add(*next))
}

/// Work on all threads that is none: the least time.
pub fn fork_join_seconds(pool: &ThreadPool) -> f64 {
    const TURNS: u32 = 2000;
    let turn = || {
        let begin = Instant::now();
        pool.for_each_chunk(pool.workers() as i64, 1, |_, tasks| {
            black_box(tasks);
        });
        begin.elapsed().as_secs_f64()
    };
    let mut times: Vec<f64> = (0..TURNS).map(|_| turn()).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// What the system says of the largest cache.
pub fn last_level_cache_bytes() -> u64 {
    let size = |index: usize| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size")).ok()?;
        let (number, unit) = text.trim().split_at(text.trim().len().checked_sub(1)?);
        let factor = match unit {
            "K" => 1 << 10,
            "M" => 1 << 20,
            _ => return text.trim().parse().ok(),
        };
        Some(number.parse::<u64>().ok()? * factor)
    };
    (0..5).filter_map(size).max().unwrap_or(USUAL_CACHE_BYTES)
}
