//! Pictures written: as PNG files, and inside pages.

use super::pixel_rule;
use crate::arrays::Array;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{ImageInput, Layout};
use png::{BitDepth, ColorType, Encoder};

/// A PNG file of bytes in rows, 1 (grey), 3 (colours) or 4 (with opacity) to a pixel.
///
/// Errors: `picture` for sizes that do not fit the bytes.
pub fn png(width: usize, height: usize, components: usize, bytes: &[u8]) -> Result<Vec<u8>, Diagnostic> {
    let failed = |text: String| Diagnostic::new("picture", format!("cannot write a picture of {width} by {height}: {text}"));
    let colour = match components {
        1 => ColorType::Grayscale,
        4 => ColorType::Rgba,
        _ => ColorType::Rgb,
    };
    let size = |size: usize| u32::try_from(size).map_err(|_| failed("it is too large".to_owned()));
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, size(width)?, size(height)?);
    encoder.set_color(colour);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(|error| failed(error.to_string()))?;
    writer.write_image_data(bytes).map_err(|error| failed(error.to_string()))?;
    writer.finish().map_err(|error| failed(error.to_string()))?;
    Ok(file)
}

/// One picture of a batch `[batch, channels, height, width]`, or as its layout says, as bytes in rows; with height, width and
/// components. `None` where it has no pixels. Numbers that the input's own rule does not give are spread from black to white.
pub fn pixels_of(batch: &Array, item: usize, image: &ImageInput) -> Option<(usize, usize, usize, Vec<u8>)> {
    let [_, a, b, c] = *batch.shape() else { return None };
    let (channels, height, width) = match image.layout {
        Layout::Nchw => (a, b, c),
        Layout::Nhwc => (c, a, b),
    };
    if ![1, 3].contains(&channels) || height * width == 0 {
        return None;
    }
    let value = |y: usize, x: usize, channel: usize| {
        let at = match image.layout {
            Layout::Nchw => (channel * height + y) * width + x,
            Layout::Nhwc => (y * width + x) * channels + channel,
        };
        batch.get_f64(item * channels * height * width + at)
    };
    let places = || (0..height).flat_map(move |y| (0..width).flat_map(move |x| (0..channels).map(move |channel| (y, x, channel))));
    // The rule is a straight line, so two points of it say how to come back.
    let back: Vec<(f64, f64)> = (0..channels)
        .map(|channel| {
            let rule = pixel_rule(image, channel);
            (rule(0.0), (rule(255.0) - rule(0.0)) / 255.0)
        })
        .collect();
    let mut numbers: Vec<f64> = places().map(|(y, x, channel)| (value(y, x, channel) - back[channel].0) / back[channel].1).collect();
    if numbers.iter().any(|number| !(-2.0..=257.0).contains(number)) {
        let (low, high) = numbers.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), n| (low.min(*n), high.max(*n)));
        numbers.iter_mut().for_each(|number| *number = (*number - low) / (high - low).max(f64::MIN_POSITIVE) * 255.0);
    }
    // Conversions saturate, and make nothing of what is no number.
    Some((height, width, channels, numbers.into_iter().map(|number| number.round() as u8).collect()))
}

/// One picture of a batch as a PNG file; `None` where it has no pixels. Errors: `picture`.
pub fn png_of(batch: &Array, item: usize, image: &ImageInput) -> Result<Option<Vec<u8>>, Diagnostic> {
    pixels_of(batch, item, image).map(|(height, width, components, bytes)| png(width, height, components, &bytes)).transpose()
}

/// The file as an address that pages can show.
pub fn data_address(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64(png))
}

/// *Source*: RFC 4648, §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let is_there = digit <= three.len();
            text.push(if is_there { char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_model::signature;
    use crate::pictures::{decode, image_input};
    use kiln_ir::DType;

    #[test]
    fn bytes_are_spelled_as_the_standard_does() {
        // The examples of RFC 4648, §10.
        let spelled = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(spelled, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn a_picture_comes_back_as_it_went_in() {
        let scratch = crate::files::tests::Scratch::new("encode");
        let path = scratch.file("p.png");
        let bytes = [0, 10, 20, 250, 255, 128];
        std::fs::write(&path, png(2, 1, 3, &bytes).expect("it fits")).expect("writes");
        let picture = decode(&path).expect("it is whole");
        assert_eq!((picture.width, picture.height, picture.samples), (2, 1, bytes.to_vec()));
        assert!(png(2, 2, 3, &bytes).is_err());
    }

    #[test]
    fn numbers_go_back_to_bytes_by_the_rule_of_the_input() {
        let declared = signature(&[("x", DType::F32, &[1, 3, 1, 2])], &[]);
        let mut image = image_input(&declared).expect("rank 4");
        (image.mean, image.std) = (vec![0.5], vec![0.25]);
        let bytes = [0u8, 255, 51, 102, 7, 200];
        let mut array = Array::zeroed(DType::F32, vec![1, 3, 1, 2]).expect("small");
        bytes.iter().enumerate().for_each(|(i, byte)| array.set_f64(i, (f64::from(*byte) / 255.0 - 0.5) / 0.25));
        let (height, width, channels, pixels) = pixels_of(&array, 0, &image).expect("pixels");
        assert_eq!((height, width, channels), (1, 2, 3));
        assert_eq!(pixels, [0, 51, 7, 255, 102, 200]);
        // Far out of the rule: from black to white.
        (0..6).for_each(|i| array.set_f64(i, i as f64 * 100.0));
        let (.., pixels) = pixels_of(&array, 0, &image).expect("pixels");
        assert_eq!((pixels[0], pixels[5]), (0, 255));
    }
}
