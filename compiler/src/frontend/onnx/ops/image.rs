//! Changing the size of pictures.

use super::activation::real;
use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{Results, Row, row};
use kiln_ir::attr::Real;
use kiln_ir::ops::{self, CoordinateMode, NearestMode, ResizeMode};
use kiln_ir::{Diagnostic, Dim};

/// The operators.
pub const ROWS: &[Row] = &[row("Resize", 10, (2, 4), resize), row("Upsample", 7, (1, 2), upsample)];

fn mode(cx: &Context) -> Result<ResizeMode, Diagnostic> {
    Ok(match cx.attributes.string_or("mode", "nearest")? {
        "nearest" => ResizeMode::Nearest,
        // The first spelling is of operator set 1 to 9.
        "bilinear" | "linear" => ResizeMode::Linear,
        "cubic" => ResizeMode::Cubic,
        other => return Err(cx.attributes.refuse("mode", format!("is {other:?}, must be nearest, linear or cubic"))),
    })
}

/// Numbers of an operand that is a constant; `None` when it is left out or empty.
fn numbers(cx: &Context, i: usize, what: &str) -> Result<Option<Vec<f64>>, Diagnostic> {
    if !cx.has(i) {
        return Ok(None);
    }
    match cx.constant(i) {
        Some(tensor) => Ok(Some(tensor.floats()).filter(|v| !v.is_empty())),
        None if cx.operand_type(i)?.elements().is(0) => Ok(None),
        None => Err(cx.error("onnx_data_dependent", format!("{what} of {} depend on data that only the run has", cx.node.op_type))),
    }
}

/// ⌊size · scale⌋, exactly: a float is an integer over a power of two.
fn scaled_size(cx: &Context, size: &Dim, scale: f64) -> Result<Dim, Diagnostic> {
    if !(scale.is_finite() && scale > 0.0 && scale < 1e6) {
        return Err(cx.error("onnx_size", format!("scale {scale} of {}", cx.node.op_type)));
    }
    if let Some(size) = size.as_const() {
        return Ok(Dim::from((size as f64 * scale).floor() as i64));
    }
    let (mut numerator, mut denominator) = (scale, 1i64);
    while numerator.fract() != 0.0 && denominator < 1 << 24 {
        numerator *= 2.0;
        denominator *= 2;
    }
    Ok((size * Dim::from(numerator.round() as i64)).floor_div(&Dim::from(denominator)))
}

fn resize(cx: &mut Context) -> Results {
    let mode = mode(cx)?;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let first = if cx.opset < 11 { 1 } else { 2 };
    // Before operator set 11 there was one way to place the samples.
    let (default_place, default_nearest) = if cx.opset < 11 { ("asymmetric", "floor") } else { ("half_pixel", "round_prefer_floor") };
    let coordinates = match cx.attributes.string_or("coordinate_transformation_mode", default_place)? {
        "half_pixel" => CoordinateMode::HalfPixel,
        "half_pixel_symmetric" => CoordinateMode::HalfPixelSymmetric,
        "pytorch_half_pixel" => CoordinateMode::PytorchHalfPixel,
        "align_corners" => CoordinateMode::AlignCorners,
        "asymmetric" => CoordinateMode::Asymmetric,
        other => return Err(cx.unsupported(format!("with coordinates {other:?}"))),
    };
    let nearest = match cx.attributes.string_or("nearest_mode", default_nearest)? {
        "round_prefer_floor" => NearestMode::RoundPreferFloor,
        "round_prefer_ceil" => NearestMode::RoundPreferCeil,
        "floor" => NearestMode::Floor,
        "ceil" => NearestMode::Ceil,
        other => return Err(cx.attributes.refuse("nearest_mode", format!("is {other:?}"))),
    };
    if cx.attributes.flag_or("antialias", false)? {
        return Err(cx.unsupported("with antialias"));
    }
    // Only used where coordinates come from a region, which is refused above.
    cx.attributes.ignore(&["extrapolation_value"]);
    let exclude_outside = cx.attributes.flag_or("exclude_outside", false)?;
    let cubic_a = real(cx, "cubic_coeff_a", -0.75)?;
    let policy = cx.attributes.string_or("keep_aspect_ratio_policy", "stretch")?;
    let axes = match cx.attributes.ints("axes")? {
        Some(axes) => axes.iter().map(|&a| cx.axis(a, shape.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..shape.len()).collect(),
    };
    let sizes_given = cx.opset >= 11 && cx.has(3) && !cx.operand_type(3)?.elements().is(0);
    let mut sizes = shape.clone();
    let mut scales = None;
    if sizes_given {
        let given = cx.required_dims(3, "the sizes")?;
        if given.len() != axes.len() {
            return Err(cx.error("onnx_size", format!("{} sizes for {} axes of Resize", given.len(), axes.len())));
        }
        for (&axis, size) in axes.iter().zip(&given) {
            sizes[axis] = size.clone();
        }
        if policy != "stretch" {
            scales = Some(keep_aspect(cx, &shape, &mut sizes, &axes, policy)?);
        }
    } else {
        let given = numbers(cx, first, "the scales")?;
        let Some(given) = given.filter(|g| g.len() == axes.len()) else {
            return Err(cx.error("onnx_size", format!("Resize needs a scale for each of {} axes", axes.len())));
        };
        let mut all = vec![1.0; shape.len()];
        for (&axis, scale) in axes.iter().zip(given) {
            all[axis] = scale;
            sizes[axis] = scaled_size(cx, &shape[axis], scale)?;
        }
        scales = Some(all);
    }
    let scales = scales.map(|s| s.into_iter().map(Real).collect());
    Ok(vec![cx.op(ops::Resize { mode, coordinates, nearest, cubic_a, exclude_outside, sizes, scales }, &[x])?])
}

/// One scale for all axes: the smallest (or largest) that the wanted sizes ask for.
fn keep_aspect(cx: &Context, shape: &[Dim], sizes: &mut [Dim], axes: &[usize], policy: &str) -> Result<Vec<f64>, Diagnostic> {
    let larger = match policy {
        "not_larger" => false,
        "not_smaller" => true,
        other => return Err(cx.attributes.refuse("keep_aspect_ratio_policy", format!("is {other:?}"))),
    };
    let mut scale: Option<f64> = None;
    for &axis in axes {
        let (Some(from), Some(to)) = (shape[axis].as_const(), sizes[axis].as_const()) else {
            return Err(cx.unsupported("that keeps the aspect ratio of sizes known only to the run"));
        };
        let ratio = to as f64 / from as f64;
        scale = Some(scale.map_or(ratio, |s| if larger { s.max(ratio) } else { s.min(ratio) }));
    }
    let scale = scale.unwrap_or(1.0);
    let mut scales = vec![1.0; shape.len()];
    for &axis in axes {
        scales[axis] = scale;
        if let Some(from) = shape[axis].as_const() {
            sizes[axis] = Dim::from((scale * from as f64 + 0.5).floor() as i64);
        }
    }
    Ok(scales)
}

/// What `Resize` was before operator set 10.
fn upsample(cx: &mut Context) -> Results {
    let mode = mode(cx)?;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let scales: Vec<f64> = if cx.opset < 9 {
        cx.attributes.floats("scales")?.unwrap_or_default().iter().map(|&s| f64::from(s)).collect()
    } else {
        numbers(cx, 1, "the scales")?.unwrap_or_default()
    };
    if scales.len() != shape.len() {
        return Err(cx.error("onnx_size", format!("Upsample needs a scale for each of {} axes", shape.len())));
    }
    let sizes = shape.iter().zip(&scales).map(|(d, &s)| scaled_size(cx, d, s)).collect::<Result<Vec<_>, _>>()?;
    let op = ops::Resize {
        mode,
        coordinates: CoordinateMode::Asymmetric,
        nearest: NearestMode::Floor,
        cubic_a: Real(-0.75),
        exclude_outside: false,
        sizes,
        scales: Some(scales.into_iter().map(Real).collect()),
    };
    Ok(vec![cx.op(op, &[x])?])
}
