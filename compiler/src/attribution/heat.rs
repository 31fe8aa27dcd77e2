//! Colours of attributions: red speaks for the class, blue against it; and pictures of them.

use kiln_ir::Diagnostic;
use kiln_runtime::pictures::png;

const FOR: [f64; 3] = [214.0, 39.0, 40.0];
const AGAINST: [f64; 3] = [31.0, 90.0, 200.0];
/// Pixels between pictures that stand side by side.
const GAP: usize = 4;

/// Values as parts of the largest one, −1 to 1. Few extremes are cut, so that the rest is seen: 1 in 100 of many.
pub fn scaled(values: &[f64]) -> Vec<f64> {
    let mut sizes: Vec<f64> = values.iter().map(|value| value.abs()).filter(|size| size.is_finite()).collect();
    sizes.sort_by(f64::total_cmp);
    let at = sizes.len().saturating_sub(1 + sizes.len() / 100);
    let most = sizes.get(at).copied().filter(|most| *most > 0.0).or(sizes.last().copied()).unwrap_or(0.0);
    let part = |value: &f64| if most > 0.0 && value.is_finite() { (value / most).clamp(-1.0, 1.0) } else { 0.0 };
    values.iter().map(part).collect()
}

/// The colour of a part on white, as pages write it.
pub fn css(part: f64) -> String {
    let [r, g, b] = over([255.0; 3], part, 1.0);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The colour of letters that are read on that.
pub fn ink(part: f64) -> &'static str {
    if part.abs() > 0.55 { "#fff" } else { "#222" }
}

fn over(background: [f64; 3], part: f64, strength: f64) -> [u8; 3] {
    let colour = if part >= 0.0 { FOR } else { AGAINST };
    let opacity = part.abs() * strength;
    std::array::from_fn(|i| (background[i] * (1.0 - opacity) + colour[i] * opacity).round() as u8)
}

/// A picture in bytes, `components` to a pixel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pixels {
    /// Rows.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// 1 or 3.
    pub components: usize,
    /// All of them.
    pub bytes: Vec<u8>,
}

impl Pixels {
    fn grey(&self, at: usize) -> f64 {
        let pixel = &self.bytes[at * self.components..(at + 1) * self.components];
        pixel.iter().map(|byte| f64::from(*byte)).sum::<f64>() / self.components as f64
    }

    fn colour(&self, at: usize) -> [u8; 3] {
        let pixel = &self.bytes[at * self.components..(at + 1) * self.components];
        if let [r, g, b] = *pixel { [r, g, b] } else { [pixel[0]; 3] }
    }
}

/// The picture, the parts on white, and the parts over the picture in grey, all of its size. One part a pixel.
pub fn panels(picture: &Pixels, parts: &[f64]) -> [Pixels; 3] {
    let painted = |colour: &dyn Fn(usize) -> [u8; 3]| Pixels {
        components: 3,
        bytes: (0..picture.height * picture.width).flat_map(colour).collect(),
        ..*picture
    };
    [
        painted(&|at| picture.colour(at)),
        painted(&|at| over([255.0; 3], parts[at], 1.0)),
        painted(&|at| over([picture.grey(at) * 0.75 + 40.0; 3], parts[at], 0.8)),
    ]
}

/// Parts on white, `[height, width]`.
pub fn painted(parts: &[f64], height: usize, width: usize) -> Pixels {
    Pixels { height, width, components: 3, bytes: parts.iter().flat_map(|part| over([255.0; 3], *part, 1.0)).collect() }
}

/// Pictures of one size in rows of so many, each pixel enlarged so many times, on white.
///
/// Errors: `picture`.
pub fn arranged(pictures: &[Pixels], across: usize, scale: (usize, usize)) -> Result<Vec<u8>, Diagnostic> {
    let Some(first) = pictures.first() else { return Err(Diagnostic::new("picture", "there is nothing to draw")) };
    let (tall, wide, across) = (first.height * scale.0, first.width * scale.1, across.clamp(1, pictures.len()));
    let (height, width) = (pictures.len().div_ceil(across) * (tall + GAP) - GAP, across * (wide + GAP) - GAP);
    let mut bytes = vec![255u8; height * width * 3];
    for (number, picture) in pictures.iter().enumerate() {
        let (top, left) = (number / across * (tall + GAP), number % across * (wide + GAP));
        for y in 0..tall {
            for x in 0..wide {
                let to = ((top + y) * width + left + x) * 3;
                bytes[to..to + 3].copy_from_slice(&picture.colour(y / scale.0 * picture.width + x / scale.1));
            }
        }
    }
    png(width, height, 3, &bytes)
}

/// How often a pixel is repeated so that so many become at least so large.
pub fn enlargement(pixels: usize, least: usize) -> usize {
    least.div_ceil(pixels.max(1)).clamp(1, 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_sign_and_extremes_do_not_drown_the_rest() {
        assert_eq!(scaled(&[1.0, -2.0, 0.0]), [0.5, -1.0, 0.0]);
        assert_eq!(scaled(&[0.0, 0.0]), [0.0, 0.0]);
        assert!(scaled(&[]).is_empty());
        let mut many = vec![1.0; 200];
        many[7] = 1000.0;
        assert!(scaled(&many).iter().all(|part| *part == 1.0));
        assert_eq!(scaled(&[f64::NAN, 1.0]), [0.0, 1.0]);
        assert_eq!((css(1.0).as_str(), css(-0.5).as_str(), css(0.0).as_str()), ("#d62728", "#8fade4", "#ffffff"));
        assert_eq!((ink(-0.9), ink(0.2)), ("#fff", "#222"));
    }

    #[test]
    fn pictures_are_as_large_as_they_say() {
        let picture = Pixels { height: 2, width: 3, components: 1, bytes: vec![0, 50, 100, 150, 200, 250] };
        let [whole, alone, both] = panels(&picture, &[0.0, 0.5, -1.0, 1.0, 0.0, 0.2]);
        assert_eq!(whole.bytes[..6], [0, 0, 0, 50, 50, 50]);
        assert_eq!((&alone.bytes[..3], &alone.bytes[6..9]), ([255, 255, 255].as_slice(), [31, 90, 200].as_slice()));
        let file = arranged(&[whole, alone, both], 2, (2, 5)).expect("it is drawn");
        // Width and height, as the head of the file says.
        assert_eq!((&file[16..20], &file[20..24]), ([0, 0, 0, 34].as_slice(), [0, 0, 0, 12].as_slice()));
        assert_eq!((enlargement(28, 224), enlargement(0, 10), enlargement(1000, 224)), (8, 10, 1));
        assert!(arranged(&[], 3, (1, 1)).is_err());
        assert_eq!(painted(&[1.0], 1, 1).bytes, [214, 39, 40]);
    }
}
