//! What a sample looks like, and its parts with it.

use super::explain::Attribution;
use super::heat::{Pixels, arranged, enlargement, painted, panels, scaled};
use kiln_ir::Diagnostic;

/// What a sample is, for people to look at.
#[derive(Clone, PartialEq, Debug)]
pub enum Looks {
    /// A picture.
    Picture(Pixels),
    /// A sequence `[time, features]`, drawn as spectrograms are: time to the right, features upwards.
    Sequence(Pixels),
    /// The words of a text, or of other tokens their numbers.
    Tokens(Vec<String>),
    /// Anything else: its values count by their places.
    Numbers,
}

impl Looks {
    /// A sequence in grey, from its smallest number to its largest.
    pub fn sequence(values: &[f64], time: usize, features: usize) -> Looks {
        let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
        let grey = |at: usize| {
            let value = values[at % time * features + features - 1 - at / time];
            ((value - low) / (high - low).max(f64::MIN_POSITIVE) * 255.0).round() as u8
        };
        Looks::Sequence(Pixels { height: features, width: time, components: 1, bytes: (0..time * features).map(grey).collect() })
    }

    /// The parts of each pixel of what is drawn, channels added up; `None` where places are no pixels.
    pub fn pixel_parts(&self, found: &Attribution) -> Option<Vec<f64>> {
        let values = &found.values;
        match self {
            Looks::Picture(picture) => {
                let pixels = picture.height * picture.width;
                let fits = |height: usize, width: usize| (height, width) == (picture.height, picture.width);
                match found.shape[..] {
                    [height, width] if fits(height, width) => Some(values.clone()),
                    [channels, height, width] if fits(height, width) => {
                        Some((0..pixels).map(|at| (0..channels).map(|channel| values[channel * pixels + at]).sum()).collect())
                    }
                    [height, width, channels] if fits(height, width) => {
                        Some(values.chunks(channels.max(1)).map(|all| all.iter().sum()).collect())
                    }
                    _ => None,
                }
            }
            Looks::Sequence(Pixels { height, width, .. }) => {
                let features = match found.shape[..] {
                    [time] if time == *width => 1,
                    [time, features] if (time, features) == (*width, *height) => features,
                    _ => return None,
                };
                // What counts for a time as a whole is told at each of its features.
                let value = |at: usize| values[at % width * features + (height - 1 - at / width) % features];
                Some((0..height * width).map(value).collect())
            }
            Looks::Tokens(_) | Looks::Numbers => None,
        }
    }

    /// A picture of a sample and its parts, as a file: the sample, the parts, both; of attentions a row for each layer and in it a map
    /// for each head; of anything else a strip of its parts. `None` where there are no parts.
    ///
    /// Errors: `picture`.
    pub fn png(&self, found: &Attribution) -> Result<Option<Vec<u8>>, Diagnostic> {
        if found.values.is_empty() {
            return Ok(None);
        }
        if !found.attention.is_empty() {
            let n = found.shape[0];
            let maps: Vec<Pixels> =
                found.attention.iter().flat_map(|layer| layer.chunks(n * n)).map(|map| painted(&scaled(map), n, n)).collect();
            let scale = enlargement(n, 160);
            return arranged(&maps, maps.len() / found.attention.len(), (scale, scale)).map(Some);
        }
        let parts = self.pixel_parts(found).map(|parts| scaled(&parts));
        match (self, parts) {
            (Looks::Picture(picture), Some(parts)) => {
                let scale = enlargement(picture.height.max(picture.width), 224);
                arranged(&panels(picture, &parts), 3, (scale, scale)).map(Some)
            }
            (Looks::Sequence(picture), Some(parts)) => {
                let scale = (enlargement(picture.height, 120), enlargement(picture.width, 600));
                arranged(&panels(picture, &parts), 1, scale).map(Some)
            }
            _ => {
                let (height, width, parts) = strip(found);
                arranged(&[painted(&parts, height, width)], 1, (enlargement(height, 24), enlargement(width, 600))).map(Some)
            }
        }
    }
}

/// Parts of what has no looks of its own, in rows: the last axis to the right; of two axes the first, which is the time.
pub fn strip(found: &Attribution) -> (usize, usize, Vec<f64>) {
    let parts = scaled(&found.values);
    match found.shape[..] {
        [] => (1, 1, parts),
        [n] => (1, n, parts),
        [time, features] => {
            let places = (0..features).rev().flat_map(|feature| (0..time).map(move |t| t * features + feature));
            (features, time, places.map(|at| parts[at]).collect())
        }
        [.., width] => (parts.len() / width.max(1), width, parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::page::tests::found;

    #[test]
    fn sequences_run_to_the_right_and_features_upwards() {
        // Two times of three features.
        let looks = Looks::sequence(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2, 3);
        let Looks::Sequence(picture) = &looks else { panic!("it is one") };
        assert_eq!((picture.height, picture.width, picture.bytes.as_slice()), (3, 2, [102, 255, 51, 204, 0, 153].as_slice()));
        let parts = looks.pixel_parts(&found(&[2, 3], &[0.0, 0.1, 0.2, 0.3, 0.4, 1.0])).expect("places are pixels");
        assert_eq!(parts, [0.2, 1.0, 0.1, 0.4, 0.0, 0.3]);
        assert_eq!(looks.pixel_parts(&found(&[2], &[0.5, 1.0])), Some(vec![0.5, 1.0, 0.5, 1.0, 0.5, 1.0]));
        assert_eq!(looks.pixel_parts(&found(&[4], &[0.5, 1.0, 0.0, 0.0])), None);
        assert_eq!(strip(&found(&[2, 3], &[0.0, 0.1, 0.2, 0.3, 0.4, 1.0])).2, [0.2, 1.0, 0.1, 0.4, 0.0, 0.3]);
    }

    #[test]
    fn channels_of_a_pixel_are_one_part() {
        let looks = Looks::Picture(Pixels { height: 1, width: 2, components: 3, bytes: vec![0; 6] });
        let first = looks.pixel_parts(&found(&[3, 1, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let last = looks.pixel_parts(&found(&[1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!((first, last), (Some(vec![9.0, 12.0]), Some(vec![6.0, 15.0])));
        assert_eq!(looks.pixel_parts(&found(&[2, 1], &[1.0, 2.0])), None);
    }

    #[test]
    fn whatever_has_parts_can_be_drawn() {
        let size = |looks: &Looks, found: &Attribution| {
            let file = looks.png(found).expect("it is drawn").expect("there are parts");
            [16, 20].map(|at| u32::from_be_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]))
        };
        let three = found(&[3], &[1.0, -1.0, 0.5]);
        assert_eq!(size(&Looks::Numbers, &three), [96, 24]);
        assert_eq!(size(&Looks::Tokens(vec!["a".into(); 3]), &three), [96, 24]);
        let mut attention = found(&[2], &[0.5, 0.5]);
        attention.attention = vec![vec![0.5; 12], vec![0.5; 12]];
        // Three heads in two layers, 32 pixels for each place.
        assert_eq!(size(&Looks::Numbers, &attention), [3 * 64 + 8, 2 * 64 + 4]);
        assert_eq!(Looks::Numbers.png(&found(&[0], &[])), Ok(None));
    }
}
