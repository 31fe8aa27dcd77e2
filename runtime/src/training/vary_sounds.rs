//! Sounds varied by chance, each epoch anew.

use super::recipe::Augment;
use crate::arrays::Array;
use kiln_ir::random::Stream;

/// Random numbers of one sound: the first few choose, the others are noise.
const NUMBERS: u64 = 1 << 32;

/// How the sounds of an epoch are varied: by the seed, the epoch and their numbers in the data.
pub struct Variation {
    choices: Augment,
    /// Samples of a second.
    rate: f64,
    stream: Stream,
}

impl Variation {
    /// What is chosen, for an epoch of sounds of that rate; `None` where nothing varies.
    pub fn new(choices: Augment, rate: u32, seed: u64, epoch: u32) -> Option<Variation> {
        let varies = choices.speed > 0.0 || choices.time_shift > 0.0 || choices.gain > 0.0 || choices.noise > 0.0;
        varies.then(|| Variation { choices, rate: f64::from(rate), stream: Stream::named(seed, &format!("sounds of epoch {epoch}")) })
    }

    fn evenly(&self, at: usize, number: u64, size: f64) -> f64 {
        (2.0 * self.stream.uniform(at as u64 * NUMBERS + number) - 1.0) * size
    }

    /// How much faster a sound is played.
    fn speed(&self, at: usize) -> f64 {
        1.0 + self.evenly(at, 0, self.choices.speed)
    }

    /// By how many samples a sound is moved.
    fn shift(&self, at: usize) -> i64 {
        self.evenly(at, 1, self.choices.time_shift * self.rate).round() as i64
    }

    /// How many samples a sound of that length has when it is played faster or slower.
    fn played(&self, at: usize, length: usize) -> usize {
        (length as f64 / self.speed(at)).round() as usize
    }

    /// Up to where a sound of that length reaches when it is varied, before the network's length makes it fit.
    pub fn length(&self, at: usize, length: usize, fixed: Option<usize>) -> usize {
        let played = self.played(at, length);
        fixed.map_or(played, |fixed| (played as i64 + self.shift(at)).clamp(0, fixed as i64) as usize)
    }

    /// The sound, varied: played faster or slower, moved, louder or softer, with noise. Where the network takes a fixed number of
    /// samples, what moves out of them is lost; else nothing moves.
    pub fn apply(&self, at: usize, sound: &[f32], fixed: Option<usize>) -> Vec<f32> {
        let length = self.played(at, sound.len());
        let speed = sound.len() as f64 / length.max(1) as f64;
        let mut varied: Vec<f32> = match self.choices.speed > 0.0 {
            true => (0..length).map(|i| cubic(sound, i as f64 * speed)).collect(),
            false => sound.to_vec(),
        };
        let shift = self.shift(at);
        if let (Some(fixed), true) = (fixed, shift != 0) {
            let from = |i: usize| usize::try_from(i as i64 - shift).ok().and_then(|i| varied.get(i)).copied().unwrap_or(0.0);
            varied = (0..fixed).map(from).collect();
        }
        let gain = 10f64.powf(self.evenly(at, 2, self.choices.gain) / 20.0);
        let loudness = (sound.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / sound.len().max(1) as f64).sqrt();
        let noise = self.choices.noise * self.stream.uniform(at as u64 * NUMBERS + 3) * loudness;
        for (value, number) in varied.iter_mut().zip(8..) {
            let added = if noise > 0.0 { noise * self.stream.normal(at as u64 * NUMBERS + number) } else { 0.0 };
            *value = ((f64::from(*value) + added) * gain) as f32;
        }
        varied
    }

    /// The same of arrays whose rows, along the last axis, are the sounds of these samples: they keep their length.
    pub fn apply_to_rows(&self, batch: &mut Array, samples: &[usize]) {
        let length = batch.shape().last().copied().unwrap_or(0);
        for (row, at) in samples.iter().enumerate() {
            let sound: Vec<f32> = (0..length).map(|i| batch.get_f64(row * length + i) as f32).collect();
            let varied = self.apply(*at, &sound, Some(length));
            (0..length).for_each(|i| batch.set_f64(row * length + i, varied.get(i).copied().map_or(0.0, f64::from)));
        }
    }
}

/// The value at a place between samples, of the cubic through the four around it. *Source*: Catmull & Rom 1974.
fn cubic(sound: &[f32], place: f64) -> f32 {
    let whole = place.floor();
    let part = place - whole;
    let at = |offset: i64| usize::try_from(whole as i64 + offset).ok().and_then(|i| sound.get(i)).map_or(0.0, |x| f64::from(*x));
    let [a, b, c, d] = [-1, 0, 1, 2].map(at);
    let value = b + 0.5 * part * (c - a + part * (2.0 * a - 5.0 * b + 4.0 * c - d + part * (3.0 * (b - c) + d - a)));
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Vec<f32> {
        (0..400).map(|i| (i as f32 * 0.05).sin()).collect()
    }

    fn varied(choices: Augment, epoch: u32, fixed: Option<usize>) -> Vec<Vec<f32>> {
        let variation = Variation::new(choices, 100, 1, epoch).expect("something varies");
        (0..20).map(|at| variation.apply(at, &sound(), fixed)).collect()
    }

    #[test]
    fn nothing_varies_unless_it_is_asked_for() {
        assert!(Variation::new(Augment::default(), 100, 1, 0).is_none());
        assert!(Variation::new(Augment { flip: true, ..Augment::default() }, 100, 1, 0).is_none());
    }

    #[test]
    fn faster_sounds_are_shorter_and_go_through_the_same_values() {
        let choices = Augment { speed: 0.2, ..Augment::default() };
        let variation = Variation::new(choices, 100, 1, 0).expect("speed varies");
        for (at, sound) in varied(choices, 0, None).iter().enumerate() {
            assert_eq!(sound.len(), variation.length(at, 400, None));
            assert!((333..=500).contains(&sound.len()), "{}", sound.len());
            let speed = 400.0 / sound.len() as f64;
            let apart = |i: usize| (f64::from(sound[i]) - (i as f64 * speed * 0.05).sin()).abs();
            assert!((5..sound.len() - 5).all(|i| apart(i) < 1e-3));
        }
        assert_eq!(varied(choices, 0, None), varied(choices, 0, None));
        assert_ne!(varied(choices, 0, None), varied(choices, 1, None));
    }

    #[test]
    fn moved_sounds_keep_their_values_and_others_are_zero() {
        let moved = varied(Augment { time_shift: 0.5, ..Augment::default() }, 0, Some(450));
        let begins = |sound: &Vec<f32>| sound.iter().position(|value| *value == sound_at(1)).map(|at| at as i64 - 1);
        assert!(moved.iter().all(|sound| sound.len() == 450));
        let shifts: Vec<i64> = moved.iter().filter_map(begins).collect();
        assert!(shifts.iter().all(|shift| shift.abs() <= 50) && shifts.iter().any(|shift| *shift > 10), "{shifts:?}");
    }

    fn sound_at(i: usize) -> f32 {
        sound()[i]
    }

    #[test]
    fn noise_and_gain_are_as_large_as_is_said() {
        let noisy = varied(Augment { noise: 0.5, ..Augment::default() }, 0, None);
        let added = |sound: &Vec<f32>| (sound.iter().zip(self::sound()).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / 400.0).sqrt();
        let sizes: Vec<f32> = noisy.iter().map(added).collect();
        assert!(sizes.iter().all(|size| *size < 0.42) && sizes.iter().any(|size| *size > 0.15), "{sizes:?}");
        let loud = varied(Augment { gain: 6.0, ..Augment::default() }, 0, None);
        assert!(loud.iter().all(|sound| (0.5..=2.0).contains(&(sound[30] / sound_at(30)))));
    }
}
