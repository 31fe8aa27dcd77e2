//! PNG and JPEG files to 8-bit samples.

use crate::files::file_error;
use kiln_ir::Diagnostic;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// More pixels than any camera takes; beyond, a header is taken for an attack on memory.
const MAX_PIXELS: usize = 1 << 28;

/// A decoded picture.
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Samples per pixel: 1 grey, 2 grey and alpha, 3 colour, 4 colour and alpha.
    pub components: usize,
    /// Rows from the top, pixels from the left, samples together.
    pub samples: Vec<u8>,
}

/// Reads a PNG or JPEG file, told apart by content.
///
/// Errors: `file` when it cannot be read; `picture` when it is damaged or another format.
pub fn decode(path: &Path) -> Result<Picture, Diagnostic> {
    let bytes = fs::read(path).map_err(|error| file_error("read", path, &error))?;
    let picture = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        decode_png(&bytes)
    } else if bytes.starts_with(&[0xff, 0xd8]) {
        decode_jpeg(&bytes)
    } else {
        Err("neither PNG nor JPEG".to_owned())
    };
    picture.map_err(|text| Diagnostic::new("picture", format!("{}: {text}", path.display())))
}

fn decode_png(bytes: &[u8]) -> Result<Picture, String> {
    let text = |error: png::DecodingError| format!("not a readable PNG: {error}");
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(text)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    check_size(width, height)?;
    let mut samples = vec![0; reader.output_buffer_size().ok_or("too large")?];
    let frame = reader.next_frame(&mut samples).map_err(text)?;
    samples.truncate(frame.buffer_size());
    let components = frame.color_type.samples();
    (samples.len() == width * height * components)
        .then_some(Picture { width, height, components, samples })
        .ok_or_else(|| "not a whole picture".to_owned())
}

fn decode_jpeg(bytes: &[u8]) -> Result<Picture, String> {
    let text = |error: zune_jpeg::errors::DecodeErrors| format!("not a readable JPEG: {error}");
    let mut decoder = JpegDecoder::new(ZCursor::new(bytes));
    decoder.decode_headers().map_err(text)?;
    let info = decoder.info().ok_or("not a readable JPEG: no header")?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    check_size(width, height)?;
    let (space, components) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (ColorSpace::Luma, 1),
        _ => (ColorSpace::RGB, 3),
    };
    // Strict: a picture that ends early is an error, not half grey.
    decoder.set_options(DecoderOptions::default().jpeg_set_out_colorspace(space).set_strict_mode(true));
    let samples = decoder.decode().map_err(text)?;
    (samples.len() == width * height * components)
        .then_some(Picture { width, height, components, samples })
        .ok_or_else(|| "not a whole picture".to_owned())
}

fn check_size(width: usize, height: usize) -> Result<(), String> {
    match width.checked_mul(height) {
        Some(1..=MAX_PIXELS) => Ok(()),
        _ => Err(format!("{width} × {height} pixels; from 1 to {MAX_PIXELS} are possible")),
    }
}

impl Picture {
    /// One plane per channel, 0 to 255: grey for 1 (ITU-R BT.601 luma of colours), else red, green, blue.
    /// Transparent parts show white paper.
    pub fn planes(&self, channels: usize) -> Vec<Vec<f32>> {
        let mut planes = vec![Vec::with_capacity(self.width * self.height); channels];
        for pixel in self.samples.chunks_exact(self.components) {
            let (colour, alpha) = match *pixel {
                [grey] => ([grey; 3], 255),
                [grey, alpha] => ([grey; 3], alpha),
                [red, green, blue] => ([red, green, blue], 255),
                [red, green, blue, alpha] => ([red, green, blue], alpha),
                _ => continue,
            };
            let [red, green, blue] = colour.map(|sample| 255.0 + (f32::from(sample) - 255.0) * f32::from(alpha) / 255.0);
            match planes.as_mut_slice() {
                [grey] => grey.push(if self.components < 3 { red } else { 0.299 * red + 0.587 * green + 0.114 * blue }),
                [reds, greens, blues] => {
                    reds.push(red);
                    greens.push(green);
                    blues.push(blue);
                }
                _ => {}
            }
        }
        planes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::Scratch;

    fn png_bytes(color: png::ColorType, depth: png::BitDepth, width: u32, height: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.write_header().and_then(|mut writer| writer.write_image_data(data)).expect("in memory");
        bytes
    }

    #[test]
    fn every_png_colour_type_becomes_8_bit_samples() {
        use png::{BitDepth, ColorType};
        let cases = [
            (ColorType::Grayscale, BitDepth::One, vec![0b0100_0000], 1, vec![0, 255]),
            (ColorType::Grayscale, BitDepth::Sixteen, vec![1, 2, 3, 4], 1, vec![1, 3]),
            (ColorType::GrayscaleAlpha, BitDepth::Eight, vec![1, 2, 3, 4], 2, vec![1, 2, 3, 4]),
            (ColorType::Rgb, BitDepth::Eight, vec![1, 2, 3, 4, 5, 6], 3, vec![1, 2, 3, 4, 5, 6]),
            (ColorType::Rgba, BitDepth::Eight, vec![1, 2, 3, 4, 5, 6, 7, 8], 4, vec![1, 2, 3, 4, 5, 6, 7, 8]),
        ];
        for (color, depth, data, components, samples) in cases {
            let picture = decode_png(&png_bytes(color, depth, 2, 1, &data)).expect("decodes");
            assert_eq!((picture.width, picture.height, picture.components), (2, 1, components));
            assert_eq!(picture.samples, samples);
        }
    }

    #[test]
    fn cut_and_foreign_files_are_errors() {
        let whole = png_bytes(png::ColorType::Rgb, png::BitDepth::Eight, 4, 4, &[9; 48]);
        for length in 0..whole.len() - 12 {
            assert!(decode_png(&whole[..length]).is_err(), "cut at {length}");
        }
        let scratch = Scratch::new("pictures");
        let path = scratch.file("a.gif");
        fs::write(&path, b"GIF89a").expect("writes");
        let error = decode(&path).err().expect("refused");
        assert_eq!(error.message, format!("{}: neither PNG nor JPEG", path.display()));
        assert!(decode_jpeg(&[0xff, 0xd8, 0xff, 0xe0, 0, 16]).is_err());
        assert!(decode(&scratch.file("none.png")).is_err());
    }

    #[test]
    fn grey_of_grey_is_exact() {
        let picture = Picture { width: 2, height: 1, components: 1, samples: vec![77, 255] };
        assert_eq!(picture.planes(1), [[77.0, 255.0]]);
        assert_eq!(picture.planes(3), [[77.0, 255.0]; 3]);
    }
}
