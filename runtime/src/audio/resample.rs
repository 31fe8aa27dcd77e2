//! Another sample rate, by a windowed sinc.   y[m] = (b/o)·Σⱼ x[j]·sinc(t)·cos²(πt/2w), t = (j − m·o/n)·b/o, |t| < w
//!
//! o and n are the old and the new rate without their common factor, b = 0.99·min(o, n) and w = 6: what lies above half the lower rate
//! is left out. *Source*: Smith, Digital Audio Resampling; torchaudio `resample`, whose defaults these are.

use std::f64::consts::PI;

/// Zero crossings of the sinc on either side.
const WIDTH: f64 = 6.0;
/// Where the filter falls off, as a part of half the lower rate.
const ROLLOFF: f64 = 0.99;
/// Weights that are kept at most; rates with more phases compute theirs each time.
const MOST_KEPT: usize = 1 << 20;

/// Samples at `rate` as samples at `wanted`, as many as they last: ⌈length · wanted / rate⌉. Rates are above 0.
pub fn resample(samples: &[f32], rate: u32, wanted: u32) -> Vec<f32> {
    let common = greatest_common_divisor(rate, wanted);
    let (old, new) = (u64::from(rate / common), u64::from(wanted / common));
    if old == new {
        return samples.to_vec();
    }
    let filter = Filter { old: old as f64, new: new as f64, base: ROLLOFF * old.min(new) as f64 };
    let reach = (WIDTH * filter.old / filter.base).ceil() as i64;
    let taps = (2 * reach + 2) as usize;
    // Weights depend on the place between samples alone, of which there are `new`.
    let kept: Vec<f64> = match (new as usize).checked_mul(taps).filter(|count| *count <= MOST_KEPT) {
        Some(_) => (0..new).flat_map(|phase| filter.weights(phase * old % new, reach)).collect(),
        None => Vec::new(),
    };
    let length = (samples.len() as u64 * new).div_ceil(old);
    let mut own = Vec::new();
    let at = |place: i64| usize::try_from(place).ok().and_then(|place| samples.get(place)).copied().map_or(0.0, f64::from);
    (0..length)
        .map(|m| {
            let weights = if kept.is_empty() {
                own.clear();
                own.extend(filter.weights(m * old % new, reach));
                &own[..]
            } else {
                &kept[(m % new) as usize * taps..][..taps]
            };
            let first = (m * old / new) as i64 - reach;
            weights.iter().zip(first..).map(|(weight, place)| weight * at(place)).sum::<f64>() as f32
        })
        .collect()
}

struct Filter {
    old: f64,
    new: f64,
    base: f64,
}

impl Filter {
    /// Weights of the samples from `reach` before to `reach` + 1 behind the one at or before a place, which is `part`/`new` behind it.
    fn weights(&self, part: u64, reach: i64) -> impl Iterator<Item = f64> {
        let behind = part as f64 / self.new;
        let scale = self.base / self.old;
        (-reach..=reach + 1).map(move |tap| {
            let t = ((tap as f64 - behind) * scale).clamp(-WIDTH, WIDTH);
            let window = (t * PI / WIDTH / 2.0).cos().powi(2);
            let sinc = if t == 0.0 { 1.0 } else { (t * PI).sin() / (t * PI) };
            sinc * window * scale
        })
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a.max(1) } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What torchaudio 2.11 gives: `torchaudio.functional.resample(x, rate, wanted)` of x = sin(0.3·n) + 0.5·cos(1.1·n), n below 40, in
    /// f64; the first, the eleventh and the last sample.
    #[test]
    fn samples_are_those_of_torchaudio() {
        let x: Vec<f32> = (0..40).map(|n| ((0.3 * f64::from(n)).sin() + 0.5 * (1.1 * f64::from(n)).cos()) as f32).collect();
        for (rate, wanted, length, expected) in RESAMPLED {
            let y = resample(&x, rate, wanted);
            assert_eq!(y.len(), length, "{rate} to {wanted}");
            for (place, value) in [0, 10, length - 1].into_iter().zip(expected) {
                assert!((f64::from(y[place]) - value).abs() < 2e-6, "{rate} to {wanted}: {} is {}, not {value}", place, y[place]);
            }
        }
    }

    const RESAMPLED: [(u32, u32, usize, [f64; 3]); 4] = [
        (8000, 16_000, 80, [0.498285723, 1.351753790, -0.197582822]),
        (48_000, 44_100, 37, [0.485015174, 0.291404423, -0.392108022]),
        (16_000, 8000, 20, [0.424541664, -0.780815421, -1.190133814]),
        (8000, 11_025, 56, [0.498285723, 0.757560779, -0.023911598]),
    ];

    #[test]
    fn lengths_fit_and_kept_weights_change_nothing() {
        let x: Vec<f32> = (0..50).map(|n| (n as f32 * 0.2).sin()).collect();
        assert_eq!(resample(&x, 8000, 8000), x);
        assert!(resample(&[], 8000, 16_000).is_empty());
        assert_eq!(resample(&x, 44_100, 8000).len(), 10);
        // Rates without a common factor compute their weights each time, and are nearly those beside them.
        let (near, far) = (resample(&x, 44_100, 88_200), resample(&x, 44_101, 88_201));
        assert!(near.iter().zip(&far).all(|(a, b)| (a - b).abs() < 1e-3));
    }
}
