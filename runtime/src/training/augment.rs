//! Pictures varied by chance, each epoch anew: `[batch, channels, height, width]`, in place.

use super::recipe::Augment;
use crate::arrays::Array;
use kiln_ir::random::Stream;

/// Varies each picture of a batch by the seed, the epoch and its number in the data.
///
/// Turning, zooming and moving are one resampling, linear between pixels, with the nearest pixel of the edge outside.
pub fn augment(choices: &Augment, batch: &mut Array, samples: &[usize], seed: u64, epoch: u32) {
    let [_, channels, height, width] = *batch.shape() else { return };
    if choices.is_none() || batch.is_empty() {
        return;
    }
    let plane = height * width;
    let stream = Stream::named(seed, &format!("pictures of epoch {epoch}"));
    let mut picture = vec![0.0; channels * plane];
    for (at, sample) in samples.iter().enumerate() {
        let start = at * picture.len();
        (0..picture.len()).for_each(|i| picture[i] = batch.get_f64(start + i));
        // Numbers of one picture: 0 to 6 choose, from 8 on they are noise.
        let numbers = *sample as u64 * (8 + picture.len() as u64);
        let evenly = |n: u64, size: f64| (2.0 * stream.uniform(numbers + n) - 1.0) * size;
        let below = |n: u64, count: usize| ((stream.uniform(numbers + n) * count as f64) as usize).min(count - 1);
        let flip = choices.flip && stream.uniform(numbers) < 0.5;
        let shifts = f64::from(choices.shift);
        let [down, right] = [1, 2].map(|n| (evenly(n, shifts + 0.5)).round().clamp(-shifts, shifts));
        let angle = evenly(3, choices.rotate).to_radians();
        let zoom = 1.0 + evenly(4, choices.zoom);
        if flip || down != 0.0 || right != 0.0 || angle != 0.0 || zoom != 1.0 {
            let placed = Placed { flip, down, right, sin: angle.sin() / zoom, cos: angle.cos() / zoom };
            let old = picture.clone();
            for (new, old) in picture.chunks_mut(plane).zip(old.chunks(plane)) {
                placed.resample(old, new, height, width);
            }
        }
        if choices.cutout > 0 {
            let (middle, side) = ([below(5, height), below(6, width)], choices.cutout as usize);
            let range = |middle: usize, size: usize| middle.saturating_sub(side / 2)..(middle + side.div_ceil(2)).min(size);
            for channel in picture.chunks_mut(plane) {
                for row in range(middle[0], height) {
                    channel[row * width..][range(middle[1], width)].fill(0.0);
                }
            }
        }
        if choices.noise > 0.0 {
            picture.iter_mut().zip(8..).for_each(|(value, n)| *value += choices.noise * stream.normal(numbers + n));
        }
        (0..picture.len()).for_each(|i| batch.set_f64(start + i, picture[i]));
    }
}

/// Where a picture's pixels come from.
struct Placed {
    flip: bool,
    down: f64,
    right: f64,
    sin: f64,
    cos: f64,
}

impl Placed {
    fn resample(&self, from: &[f64], to: &mut [f64], height: usize, width: usize) {
        let middle = [(height as f64 - 1.0) / 2.0, (width as f64 - 1.0) / 2.0];
        for row in 0..height {
            for column in 0..width {
                let (y, x) = (row as f64 - middle[0] - self.down, column as f64 - middle[1] - self.right);
                let source = [y * self.cos - x * self.sin + middle[0], y * self.sin + x * self.cos + middle[1]];
                let x = if self.flip { width as f64 - 1.0 - source[1] } else { source[1] };
                to[row * width + column] = linear(from, [source[0], x], height, width);
            }
        }
    }
}

/// The value between the four pixels around a place.
fn linear(picture: &[f64], place: [f64; 2], height: usize, width: usize) -> f64 {
    let (y, x) = (place[0].clamp(0.0, height as f64 - 1.0), place[1].clamp(0.0, width as f64 - 1.0));
    let (top, left) = (y.floor() as usize, x.floor() as usize);
    let (bottom, right) = ((top + 1).min(height - 1), (left + 1).min(width - 1));
    let (down, across) = (y - top as f64, x - left as f64);
    let at = |row: usize, column: usize| picture[row * width + column];
    let row = |row: usize| at(row, left) * (1.0 - across) + at(row, right) * across;
    row(top) * (1.0 - down) + row(bottom) * down
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_ir::DType;

    fn ramp() -> Array {
        let mut batch = Array::zeroed(DType::F32, vec![20, 1, 5, 5]).expect("small");
        (0..batch.len()).for_each(|i| batch.set_f64(i, (i % 25) as f64 + 1.0));
        batch
    }

    fn varied(choices: Augment, epoch: u32) -> Vec<Vec<f64>> {
        let mut batch = ramp();
        augment(&choices, &mut batch, &(0..20).collect::<Vec<_>>(), 1, epoch);
        (0..20).map(|n| (0..25).map(|i| batch.get_f64(n * 25 + i)).collect()).collect()
    }

    #[test]
    fn mirrored_pictures_are_mirrored_and_about_half_are() {
        let pictures = varied(Augment { flip: true, ..Augment::default() }, 0);
        let flipped = pictures.iter().filter(|p| p[..5] == [5.0, 4.0, 3.0, 2.0, 1.0]).count();
        let kept = pictures.iter().filter(|p| p[..5] == [1.0, 2.0, 3.0, 4.0, 5.0]).count();
        assert_eq!(flipped + kept, 20);
        assert!((4..=16).contains(&flipped));
    }

    #[test]
    fn moved_pictures_repeat_their_edges() {
        let pictures = varied(Augment { shift: 1, ..Augment::default() }, 0);
        let moved_down = pictures.iter().find(|p| p[..5] == p[5..10]).expect("one of twenty moves down");
        assert!(moved_down[5] <= 2.0);
        assert_ne!(pictures, varied(Augment { shift: 1, ..Augment::default() }, 1));
        assert_eq!(pictures, varied(Augment { shift: 1, ..Augment::default() }, 0));
    }

    #[test]
    fn a_square_is_cut_out_and_turning_keeps_the_middle() {
        let cut = varied(Augment { cutout: 2, ..Augment::default() }, 0);
        assert!(cut.iter().all(|p| (1..=4).contains(&p.iter().filter(|v| **v == 0.0).count())));
        let turned = varied(Augment { rotate: 30.0, ..Augment::default() }, 0);
        assert!(turned.iter().all(|p| (p[12] - 13.0).abs() < 1e-5) && turned.iter().any(|p| (p[0] - 1.0).abs() > 0.1));
    }
}
