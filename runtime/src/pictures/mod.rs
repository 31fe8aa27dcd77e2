//! Pictures become input tensors as the signature says, or as its shape suggests.

mod decode;
mod encode;
mod resample;

pub use decode::{Picture, decode};
pub use encode::{data_address, pixels_of, png, png_of};

use crate::arrays::Array;
use kiln_ir::artifact::{Extent, ImageInput, Layout, Resize, Signature, TensorDecl};
use kiln_ir::{DType, Diagnostic};
use resample::{Region, resample};

/// How pictures become an input: as declared, or guessed when exactly one input could take them.
pub fn image_input(signature: &Signature) -> Option<ImageInput> {
    if let Some(declared) = &signature.image {
        return Some(declared.clone());
    }
    let mut candidates = signature.inputs.iter().filter_map(guess);
    let only = candidates.next()?;
    candidates.next().is_none().then_some(only)
}

/// How pictures become this very input; `None` when it cannot take any.
pub fn image_input_named(signature: &Signature, name: &str) -> Option<ImageInput> {
    let declared = signature.image.as_ref().filter(|image| image.input == name);
    declared.cloned().or_else(|| signature.inputs.iter().find(|input| input.name == name).and_then(guess))
}

/// An input of rank 4 with 1 or 3 channels takes pictures: floats scaled to 0..1, integers 0..255, stretched to fit.
fn guess(input: &TensorDecl) -> Option<ImageInput> {
    let [_, second, _, fourth] = input.shape.as_slice() else { return None };
    let channels = |extent: &Extent| match extent {
        Extent::Fixed(1) => Some(1),
        Extent::Fixed(3) => Some(3),
        Extent::Fixed(_) | Extent::Expression(_) => None,
    };
    let first = channels(second).map(|n| (Layout::Nchw, n));
    let (layout, channels) = first.or_else(|| channels(fourth).map(|n| (Layout::Nhwc, n)))?;
    let scale = if input.dtype.is_float() { 1.0 / 255.0 } else { 1.0 };
    Some(ImageInput {
        input: input.name.clone(),
        layout,
        channels,
        scale,
        mean: Vec::new(),
        std: Vec::new(),
        resize: Resize::Stretch,
        shorter_side: None,
        invert: false,
    })
}

/// Makes one input tensor of these pictures, one per batch item; if there are fewer than the input's fixed batch,
/// the last is repeated.
///
/// Where height or width is not fixed, the first picture's is taken and the others are resized to it.
/// Errors: `picture_input` when the input is not one that takes pictures; `memory`.
pub fn to_input(pictures: &[Picture], image: &ImageInput, signature: &Signature) -> Result<Array, Diagnostic> {
    let wrong = |text: String| Diagnostic::new("picture_input", format!("input `{}` takes no pictures: {text}", image.input));
    let declared = signature.inputs.iter().find(|input| input.name == image.input);
    let declared = declared.ok_or_else(|| wrong("the model has no such input".to_owned()))?;
    let [batch, a, b, c] = declared.shape.as_slice() else {
        return Err(wrong(format!("its rank is {}, not 4", declared.shape.len())));
    };
    let (channels, height, width) = match image.layout {
        Layout::Nchw => (a, b, c),
        Layout::Nhwc => (c, a, b),
    };
    let (Some(first), 1 | 3) = (pictures.first(), image.channels) else {
        return Err(wrong(format!("it wants {} channels; 1 and 3 are possible", image.channels)));
    };
    if matches!(channels, Extent::Fixed(n) if *n != i64::from(image.channels)) {
        return Err(wrong(format!("it has {channels} channels, its preprocessing {}", image.channels)));
    }
    let size = |extent: &Extent, own: usize| match extent {
        Extent::Fixed(n) => usize::try_from(*n).unwrap_or(0),
        Extent::Expression(_) => own,
    };
    let (n_items, height, width) = (size(batch, pictures.len()), size(height, first.height), size(width, first.width));
    let n_channels = image.channels as usize;
    let shape = match image.layout {
        Layout::Nchw => vec![n_items, n_channels, height, width],
        Layout::Nhwc => vec![n_items, height, width, n_channels],
    };
    let mut array = Array::zeroed(declared.dtype, shape)?;
    if array.is_empty() {
        return Ok(array);
    }
    for (item, picture) in pictures.iter().chain(std::iter::repeat(&pictures[pictures.len() - 1])).take(n_items).enumerate() {
        for (channel, plane) in picture.planes(n_channels).iter().enumerate() {
            let fitted = fit(plane, picture, image, height, width);
            let number = pixel_rule(image, channel);
            let (start, step) = match image.layout {
                Layout::Nchw => ((item * n_channels + channel) * height * width, 1),
                Layout::Nhwc => (item * n_channels * height * width + channel, n_channels),
            };
            store(&mut array, start, step, fitted.iter().map(|&p| number(f64::from(p))));
        }
    }
    Ok(array)
}

/// How a value of 0 to 255 in a channel becomes a number of the input.
pub(crate) fn pixel_rule(image: &ImageInput, channel: usize) -> impl Fn(f64) -> f64 {
    let mean = image.mean.get(channel).or(image.mean.first()).copied().unwrap_or(0.0);
    let std = image.std.get(channel).or(image.std.first()).copied().unwrap_or(1.0);
    let (scale, invert) = (image.scale, image.invert);
    move |p| (if invert { 255.0 - p } else { p } * scale - mean) / std
}

/// Resizes one plane to `height` × `width` as declared.
fn fit(plane: &[f32], picture: &Picture, image: &ImageInput, height: usize, width: usize) -> Vec<f32> {
    let (source_width, source_height) = (picture.width as f64, picture.height as f64);
    let (to_width, to_height) = (width as f64, height as f64);
    let whole = Region { left: 0.0, top: 0.0, width: source_width, height: source_height };
    match image.resize {
        Resize::Stretch => resample(plane, picture.width, whole, height, width),
        Resize::Crop => {
            let cover = (to_width / source_width).max(to_height / source_height);
            let wanted = image.shorter_side.map_or(0.0, |side| f64::from(side) / source_width.min(source_height));
            let scale = cover.max(wanted);
            let (cut_width, cut_height) = ((to_width / scale).min(source_width), (to_height / scale).min(source_height));
            let region = Region {
                left: (source_width - cut_width) / 2.0,
                top: (source_height - cut_height) / 2.0,
                width: cut_width,
                height: cut_height,
            };
            resample(plane, picture.width, region, height, width)
        }
        Resize::Pad => {
            let scale = (to_width / source_width).min(to_height / source_height);
            let inner_width = ((source_width * scale).round() as usize).clamp(1, width);
            let inner_height = ((source_height * scale).round() as usize).clamp(1, height);
            let inner = resample(plane, picture.width, whole, inner_height, inner_width);
            let (left, top) = ((width - inner_width) / 2, (height - inner_height) / 2);
            let mut padded = vec![0.0; width * height];
            for (row, values) in inner.chunks_exact(inner_width).enumerate() {
                let begin = (top + row) * width + left;
                padded[begin..begin + inner_width].copy_from_slice(values);
            }
            padded
        }
    }
}

fn store(array: &mut Array, start: usize, step: usize, values: impl Iterator<Item = f64>) {
    if array.dtype() == DType::F32 {
        // Nearly every network; the general way below looks the type up for each element.
        let places = array.bytes_mut().chunks_exact_mut(4).skip(start).step_by(step);
        places.zip(values).for_each(|(place, value)| place.copy_from_slice(&(value as f32).to_le_bytes()));
    } else {
        values.enumerate().for_each(|(index, value)| array.set_f64(start + index * step, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_model::signature;

    fn input(dtype: DType, shape: &[i64]) -> Signature {
        signature(&[("x", dtype, shape)], &[])
    }

    fn grey(width: usize, height: usize, samples: &[u8]) -> Picture {
        Picture { width, height, components: 1, samples: samples.to_vec() }
    }

    fn values(array: &Array) -> Vec<f64> {
        (0..array.len()).map(|index| (array.get_f64(index) * 1000.0).round() / 1000.0).collect()
    }

    #[test]
    fn the_shape_suggests_layout_and_channels() {
        let guess = |dtype, shape: &[i64]| image_input(&input(dtype, shape)).map(|image| (image.layout, image.channels, image.scale));
        assert_eq!(guess(DType::F32, &[1, 3, 8, 8]), Some((Layout::Nchw, 3, 1.0 / 255.0)));
        assert_eq!(guess(DType::F32, &[-1, 28, 28, 1]), Some((Layout::Nhwc, 1, 1.0 / 255.0)));
        assert_eq!(guess(DType::U8, &[1, 1, 28, 28]), Some((Layout::Nchw, 1, 1.0)));
        assert_eq!(guess(DType::F32, &[1, 4, 8, 8]), None);
        assert_eq!(guess(DType::F32, &[1, 784]), None);
        let two = signature(&[("x", DType::F32, &[1, 3, 8, 8]), ("y", DType::F32, &[1, 3, 8, 8])], &[]);
        assert!(image_input(&two).is_none());
    }

    #[test]
    fn colours_land_in_their_layout_and_mean_and_std_apply() {
        let picture = Picture { width: 2, height: 1, components: 3, samples: vec![255, 0, 51, 0, 255, 102] };
        let nchw = input(DType::F32, &[1, 3, 1, 2]);
        let mut image = image_input(&nchw).expect("rank 4");
        let array = to_input(std::slice::from_ref(&picture), &image, &nchw).expect("fits");
        assert_eq!(values(&array), [1.0, 0.0, 0.0, 1.0, 0.2, 0.4]);
        image.layout = Layout::Nhwc;
        image.mean = vec![0.0, 0.5, 0.0];
        image.std = vec![1.0, 0.5, 2.0];
        let array = to_input(&[picture], &image, &input(DType::F16, &[1, 1, 2, 3])).expect("fits");
        assert_eq!(values(&array), [1.0, -1.0, 0.1, 0.0, 1.0, 0.2]);
    }

    #[test]
    fn invert_alpha_and_grey() {
        let signature = input(DType::U8, &[1, 1, 1, 2]);
        let mut image = image_input(&signature).expect("rank 4");
        image.invert = true;
        // Transparent becomes paper, hence 0 after inverting.
        let picture = Picture { width: 2, height: 1, components: 4, samples: vec![0, 0, 0, 255, 9, 9, 9, 0] };
        assert_eq!(values(&to_input(&[picture], &image, &signature).expect("fits")), [255.0, 0.0]);
    }

    #[test]
    fn crop_takes_the_middle_and_pad_adds_borders() {
        let signature = input(DType::U8, &[1, 1, 2, 2]);
        let mut image = image_input(&signature).expect("rank 4");
        let wide = [grey(4, 2, &[1, 2, 3, 4, 5, 6, 7, 8])];
        image.resize = Resize::Crop;
        assert_eq!(values(&to_input(&wide, &image, &signature).expect("fits")), [2.0, 3.0, 6.0, 7.0]);
        image.resize = Resize::Pad;
        let tall = [grey(1, 2, &[10, 20])];
        assert_eq!(values(&to_input(&tall, &image, &signature).expect("fits")), [10.0, 0.0, 20.0, 0.0]);
    }

    #[test]
    fn open_sizes_follow_the_first_picture_and_fixed_batches_are_filled() {
        let open = input(DType::U8, &[-1, 1, -1, -1]);
        let image = image_input(&open).expect("rank 4");
        let pictures = [grey(2, 1, &[1, 2]), grey(1, 1, &[7])];
        let array = to_input(&pictures, &image, &open).expect("fits");
        assert_eq!((array.shape(), values(&array)), ([2, 1, 1, 2].as_slice(), vec![1.0, 2.0, 7.0, 7.0]));
        let fixed = input(DType::U8, &[3, 1, 1, 1]);
        assert_eq!(values(&to_input(&pictures[1..], &image, &fixed).expect("fits")), [7.0, 7.0, 7.0]);
    }

    #[test]
    fn inputs_of_another_rank_say_so() {
        let signature = input(DType::F32, &[1, 784]);
        let image = image_input(&input(DType::F32, &[1, 1, 28, 28])).expect("rank 4");
        let error = to_input(&[grey(1, 1, &[0])], &image, &signature).err().expect("refused");
        assert_eq!(error.message, "input `x` takes no pictures: its rank is 2, not 4");
    }
}
