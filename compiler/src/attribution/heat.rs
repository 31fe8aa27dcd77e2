//! Colours of attributions: red speaks for the class, blue against it; and pictures of them.

use kiln_ir::Diagnostic;
use kiln_runtime::pictures::png;

const FOR: [f64; 3] = [214.0, 39.0, 40.0];
const AGAINST: [f64; 3] = [31.0, 90.0, 200.0];

/// Values as parts of the largest one, −1 to 1. Few extremes are cut, so that the rest is seen: 1 in 100 of many.
pub fn scaled(values: &[f64]) -> Vec<f64> {
    let mut sizes: Vec<f64> = values.iter().map(|value| value.abs()).filter(|size| size.is_finite()).collect();
    sizes.sort_by(f64::total_cmp);
    let at = sizes.len().saturating_sub(1 + sizes.len() / 100);
    let most = sizes.get(at).copied().filter(|most| *most > 0.0).or(sizes.last().copied()).unwrap_or(0.0);
    let part = |value: &f64| if most > 0.0 && value.is_finite() { (value / most).clamp(-1.0, 1.0) } else { 0.0 };
    values.iter().map(part).collect()
}

/// The colour of a part on a background, as pages write it.
pub fn css(part: f64) -> String {
    let [r, g, b] = if part >= 0.0 { FOR } else { AGAINST };
    format!("rgba({r},{g},{b},{:.3})", part.abs() * 0.85)
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

/// The picture, the parts on white, and the parts over the picture in grey, side by side, enlarged to be seen. One part a pixel.
///
/// Errors: `picture`.
pub fn panels(picture: &Pixels, parts: &[f64]) -> Result<Vec<u8>, Diagnostic> {
    let (height, width) = (picture.height, picture.width);
    let scale = 224usize.div_ceil(height.max(width).max(1)).max(1);
    let gap = 4;
    let total = (3 * width * scale + 2 * gap, height * scale);
    let mut bytes = vec![255u8; total.0 * total.1 * 3];
    let panel: [&dyn Fn(usize) -> [u8; 3]; 3] =
        [&|at: usize| picture.colour(at), &|at: usize| over([255.0; 3], parts[at], 1.0), &|at: usize| {
            over([picture.grey(at) * 0.75 + 40.0; 3], parts[at], 0.8)
        }];
    for y in 0..height * scale {
        for (number, colour) in panel.iter().enumerate() {
            for x in 0..width * scale {
                let at = (y * total.0 + number * (width * scale + gap) + x) * 3;
                bytes[at..at + 3].copy_from_slice(&colour(y / scale * width + x / scale));
            }
        }
    }
    png(total.0, total.1, 3, &bytes)
}

/// Parts alone, `[height, width]`, as a picture on white of at least this many pixels a side.
///
/// Errors: `picture`.
pub fn strip(parts: &[f64], height: usize, width: usize) -> Result<Vec<u8>, Diagnostic> {
    let scale = |size: usize, least: usize| least.div_ceil(size.max(1)).clamp(1, 16);
    let (down, across) = (scale(height, 96), scale(width, 480));
    let mut bytes = Vec::with_capacity(height * down * width * across * 3);
    for y in 0..height * down {
        for x in 0..width * across {
            bytes.extend(over([255.0; 3], parts[y / down * width + x / across], 1.0));
        }
    }
    png(width * across, height * down, 3, &bytes)
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
        assert_eq!((css(1.0).as_str(), css(-0.5).as_str()), ("rgba(214,39,40,0.850)", "rgba(31,90,200,0.425)"));
    }

    #[test]
    fn pictures_are_as_large_as_they_say() {
        let picture = Pixels { height: 2, width: 3, components: 1, bytes: vec![0, 50, 100, 150, 200, 250] };
        assert!(panels(&picture, &[0.0, 0.5, -1.0, 1.0, 0.0, 0.2]).is_ok_and(|file| file.starts_with(b"\x89PNG")));
        assert!(strip(&[0.1, -0.2, 0.3], 1, 3).is_ok());
    }
}
