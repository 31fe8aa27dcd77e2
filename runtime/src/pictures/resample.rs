//! Resizing one plane with a triangle filter that widens when scaling down, so that no pixel is skipped.
//!
//! The same filter as Pillow's `BILINEAR`, without its rounding to 8 bits in between.

use std::ops::Range;

/// A rectangle of the source, in pixels; edges may fall between pixels.
#[derive(Clone, Copy)]
pub struct Region {
    /// Distance from the left edge.
    pub left: f64,
    /// Distance from the top edge.
    pub top: f64,
    /// Size, above 0.
    pub width: f64,
    /// Size, above 0.
    pub height: f64,
}

/// The region of `plane` (rows of `row` samples) scaled to `height` × `width`; the same size gives the same samples.
pub fn resample(plane: &[f32], row: usize, region: Region, height: usize, width: usize) -> Vec<f32> {
    let columns = taps(row, region.left, region.width, width);
    let rows = taps(plane.len() / row, region.top, region.height, height);
    let mut narrow: Vec<f32> = Vec::with_capacity(plane.len() / row * width);
    for samples in plane.chunks_exact(row) {
        for tap in &columns {
            narrow.push(tap.range.clone().zip(&tap.weights).map(|(x, weight)| samples[x] * weight).sum());
        }
    }
    let mut out: Vec<f32> = Vec::with_capacity(height * width);
    for tap in &rows {
        for x in 0..width {
            out.push(tap.range.clone().zip(&tap.weights).map(|(y, weight)| narrow[y * width + x] * weight).sum());
        }
    }
    out
}

/// Which source samples make one output sample, with weights that sum to 1.
struct Tap {
    range: Range<usize>,
    weights: Vec<f32>,
}

fn taps(source: usize, begin: f64, extent: f64, target: usize) -> Vec<Tap> {
    let scale = extent / target as f64;
    let support = scale.max(1.0);
    let tap = |index: usize| {
        let centre = begin + (index as f64 + 0.5) * scale;
        // Never empty: at least the sample below the centre counts.
        let low = ((centre - support + 0.5).max(0.0) as usize).min(source - 1);
        let high = ((centre + support + 0.5).max(0.0) as usize).clamp(low + 1, source);
        let weight = |x: usize| (1.0 - ((x as f64 + 0.5 - centre) / support).abs()).max(0.0);
        let sum: f64 = (low..high).map(weight).sum();
        let weights = match sum > 0.0 {
            true => (low..high).map(|x| (weight(x) / sum) as f32).collect(),
            false => vec![1.0 / (high - low) as f32; high - low],
        };
        Tap { range: low..high, weights }
    };
    (0..target).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(width: usize, height: usize) -> Region {
        Region { left: 0.0, top: 0.0, width: width as f64, height: height as f64 }
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let plane: Vec<f32> = (0..35).map(|n| (n * 7 % 31) as f32).collect();
        assert_eq!(resample(&plane, 7, whole(7, 5), 5, 7), plane);
    }

    /// Pillow 13, `Image.fromarray(row).resize((n, 1), Image.BILINEAR)` in mode `F`.
    #[test]
    fn agrees_with_pillow() {
        let close = |got: Vec<f32>, expected: &[f32]| {
            assert_eq!(got.len(), expected.len());
            assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{got:?} {expected:?}");
        };
        let row = [0.0, 10.0, 50.0, 20.0, 30.0];
        close(resample(&row, 5, whole(5, 1), 1, 2), &[16.363_636, 29.545_454]);
        close(resample(&row, 5, whole(5, 1), 1, 3), &[4.285_714, 34.444_443, 25.714_285]);
        close(resample(&row, 5, whole(5, 1), 1, 8), &[0.0, 4.375, 12.5, 37.5, 40.625, 21.875, 25.625, 30.0]);
    }

    #[test]
    fn extreme_sizes_stay_inside() {
        for (from, to) in [(1, 1), (1, 9), (1000, 1), (3, 1000)] {
            let plane = vec![5.0; from];
            assert!(resample(&plane, from, whole(from, 1), 1, to).iter().all(|v| (v - 5.0).abs() < 1e-4));
        }
    }
}
