//! `resize`: samples a tensor on a grid of another size, axis by axis.   y[i..] = Σ weights(i..) · x[taps(i..)]
//!
//! Shapes: `x: [..]` → `sizes`.   On each axis of n elements and m results, with s = `scales` or m/n and l = s·n (m if not given),
//! result i samples position p:
//! half_pixel (i + 1/2)/s − 1/2; half_pixel_symmetric the same + n/2·(1 − m/l); pytorch_half_pixel the same as half_pixel, 0 if l ≤ 1;
//! align_corners i·(n − 1)/(l − 1), 0 if l = 1; asymmetric i/s. With f = ⌊p⌋ and r = p − f:
//! nearest takes f or f + 1 as `nearest` says; linear takes f and f + 1 with weights 1 − r and r; cubic takes f − 1 ..= f + 2 with the
//! convolution kernel of parameter `cubic_a`. Taps outside repeat the edge; with `exclude_outside` their weight is 0 and the others
//! are scaled to sum to 1. Axes that keep their size, with scale 1, are left alone. Positions and weights are f64.
//! 16-bit floats and integers of up to 16 bits are combined in f32, larger integers in f64; integers are rounded to nearest (ties to
//! even) and saturated.
//! Constraints: (C0) one operand. (C1) a size per axis, and a scale per axis if there are any. (C2) sizes are not negative and scales
//! are positive. (C3) linear and cubic need a numeric element type.
//! Source: ONNX Resize-19 without antialias and without tf_crop_and_resize; Keys 1981 (cubic).

use super::expansion::{scaled, shifted, size};
use super::shape::operands;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::attr::Real;
use crate::tensor::{indices, ravel};
use crate::{Builder, DType, Dim, Tensor, TensorType, Value, mode, op};

mode! {
    /// How samples between elements are made.
    pub enum ResizeMode {
        /// One element.
        Nearest = "nearest",
        /// Two per axis.
        Linear = "linear",
        /// Four per axis.
        Cubic = "cubic",
    }
}

mode! {
    /// Which position of the operand a result samples.
    pub enum CoordinateMode {
        /// Centres of elements are at halves.
        HalfPixel = "half_pixel",
        /// The same, keeping the centre where the size was rounded.
        HalfPixelSymmetric = "half_pixel_symmetric",
        /// The same as half_pixel, but 0 for one result.
        PytorchHalfPixel = "pytorch_half_pixel",
        /// The first and last elements keep their places.
        AlignCorners = "align_corners",
        /// Only the first keeps its place.
        Asymmetric = "asymmetric",
    }
}

mode! {
    /// Which element is nearest to a position.
    pub enum NearestMode {
        /// The nearer; the lower of two.
        RoundPreferFloor = "round_prefer_floor",
        /// The nearer; the higher of two.
        RoundPreferCeil = "round_prefer_ceil",
        /// The one below.
        Floor = "floor",
        /// The one above.
        Ceil = "ceil",
    }
}

op! {
    /// See the head of this file.
    pub struct Resize {
        /// How samples between elements are made.
        pub mode: ResizeMode,
        /// Which position a result samples.
        pub coordinates: CoordinateMode,
        /// Which element is nearest.
        pub nearest: NearestMode,
        /// Parameter of the cubic kernel.
        pub cubic_a: Real,
        /// Whether taps outside are left out.
        pub exclude_outside: bool,
        /// The resulting shape.
        pub sizes: Vec<Dim>,
        /// Results per element on each axis; the quotient of the sizes if absent.
        pub scales: Option<Vec<Real>>,
    }
}

impl Resize {
    /// The type that weighted elements are added in.
    fn sum_type(dtype: DType) -> DType {
        match dtype {
            DType::F16 | DType::BF16 | DType::F32 | DType::I8 | DType::U8 | DType::I16 | DType::U16 => DType::F32,
            DType::F64 | DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::Bool => DType::F64,
        }
    }

    /// Whether results on an axis are its elements.
    fn keeps(&self, axis: usize, from: &Dim) -> bool {
        *from == self.sizes[axis] && self.scales.as_ref().is_none_or(|s| s[axis].0 == 1.0)
    }

    /// The taps of result `i` on an axis: elements with weights.
    fn taps(&self, axis: usize, i: usize, n: usize, m: usize) -> Vec<(usize, f64)> {
        if self.keeps(axis, &Dim::from(n)) {
            return vec![(i, 1.0)];
        }
        let (i, n, m) = (i as f64, n as f64, m as f64);
        let scale = self.scales.as_ref().map_or(m / n, |s| s[axis].0);
        let length = if self.scales.is_some() { scale * n } else { m };
        let half_pixel = (i + 0.5) / scale - 0.5;
        let p = match self.coordinates {
            CoordinateMode::HalfPixel => half_pixel,
            CoordinateMode::HalfPixelSymmetric => half_pixel + n / 2.0 * (1.0 - m / length),
            CoordinateMode::PytorchHalfPixel => if length > 1.0 { half_pixel } else { 0.0 },
            CoordinateMode::AlignCorners => if length == 1.0 { 0.0 } else { i * (n - 1.0) / (length - 1.0) },
            CoordinateMode::Asymmetric => i / scale,
        };
        let (f, r, a) = (p.floor(), p - p.floor(), self.cubic_a.0);
        let mut taps = match self.mode {
            ResizeMode::Nearest => {
                let up = match self.nearest {
                    NearestMode::RoundPreferFloor => r > 0.5,
                    NearestMode::RoundPreferCeil => r >= 0.5,
                    NearestMode::Floor => false,
                    NearestMode::Ceil => r > 0.0,
                };
                return vec![((f + f64::from(u8::from(up))).clamp(0.0, n - 1.0) as usize, 1.0)];
            }
            ResizeMode::Linear => vec![(f, 1.0 - r), (f + 1.0, r)],
            ResizeMode::Cubic => {
                let near = |d: f64| ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
                let far = |d: f64| ((d - 5.0) * d + 8.0) * d * a - 4.0 * a;
                vec![(f - 1.0, far(r + 1.0)), (f, near(r)), (f + 1.0, near(1.0 - r)), (f + 2.0, far(2.0 - r))]
            }
        };
        if self.exclude_outside {
            taps.iter_mut().for_each(|(at, w)| *w = if (0.0..n).contains(at) { *w } else { 0.0 });
            let sum: f64 = taps.iter().map(|(_, w)| w).sum();
            taps.iter_mut().for_each(|(_, w)| *w /= if sum == 0.0 { 1.0 } else { sum });
        }
        taps.into_iter().map(|(at, w)| (at.clamp(0.0, n - 1.0) as usize, w)).collect()
    }

    /// The position each result of an axis samples, `f64[m]`.
    fn positions(&self, b: &mut Builder, axis: usize, from: &Dim) -> Value {
        let to = &self.sizes[axis];
        let i = b.iota(DType::F64, std::slice::from_ref(to), 0);
        let (n, m) = (size(b, from, DType::F64), size(b, to, DType::F64));
        let (scale, length) = match &self.scales {
            Some(scales) => (b.scalar(DType::F64, scales[axis].0), scaled(b, n, scales[axis].0)),
            None => (b.div(m, n), m),
        };
        let one = b.scalar(DType::F64, 1.0);
        let half_pixel = |b: &mut Builder| {
            let centre = shifted(b, i, 0.5);
            let place = b.div(centre, scale);
            shifted(b, place, -0.5)
        };
        match self.coordinates {
            CoordinateMode::HalfPixel => half_pixel(b),
            CoordinateMode::HalfPixelSymmetric => {
                let ratio = b.div(m, length);
                let excess = b.sub(one, ratio);
                let centre = scaled(b, n, 0.5);
                let offset = b.mul(centre, excess);
                let place = half_pixel(b);
                b.add(place, offset)
            }
            CoordinateMode::PytorchHalfPixel => {
                let several = b.greater(length, one);
                let place = half_pixel(b);
                let zero = b.like(place, 0.0);
                b.select(several, place, zero)
            }
            CoordinateMode::AlignCorners => {
                let (last, end) = (shifted(b, n, -1.0), shifted(b, length, -1.0));
                let product = b.mul(i, last);
                let place = b.div(product, end);
                let zero = b.like(place, 0.0);
                let single = b.equal(length, one);
                b.select(single, zero, place)
            }
            CoordinateMode::Asymmetric => b.div(i, scale),
        }
    }

    /// The weights of the taps, given the fraction r: `f64[m]` each, with the tap's distance from ⌊p⌋.
    fn weights(&self, b: &mut Builder, r: Value) -> Vec<(f64, Value)> {
        let one = b.like(r, 1.0);
        let rest = b.sub(one, r);
        match self.mode {
            ResizeMode::Nearest => vec![(0.0, one)],
            ResizeMode::Linear => vec![(0.0, rest), (1.0, r)],
            ResizeMode::Cubic => {
                let a = self.cubic_a.0;
                // (((c3·d) + c2)·d + c1)·d + c0
                let kernel = |b: &mut Builder, d: Value, c: [f64; 4]| {
                    let mut sum = scaled(b, d, c[0]);
                    for term in &c[1..3] {
                        let shifted = shifted(b, sum, *term);
                        sum = b.mul(shifted, d);
                    }
                    shifted(b, sum, c[3])
                };
                let (near, far) = ([a + 2.0, -(a + 3.0), 0.0, 1.0], [a, -5.0 * a, 8.0 * a, -4.0 * a]);
                let (before, after) = (shifted(b, r, 1.0), shifted(b, rest, 1.0));
                vec![
                    (-1.0, kernel(b, before, far)),
                    (0.0, kernel(b, r, near)),
                    (1.0, kernel(b, rest, near)),
                    (2.0, kernel(b, after, far)),
                ]
            }
        }
    }

    /// The operand with one axis resized.
    fn along(&self, b: &mut Builder, x: Value, axis: usize) -> Value {
        let shape = b.shape(x);
        let p = self.positions(b, axis, &shape[axis]);
        let f = b.floor(p);
        let r = b.sub(p, f);
        let n = size(b, &shape[axis], DType::F64);
        let (first, last) = (b.scalar(DType::F64, 0.0), shifted(b, n, -1.0));
        let element = |b: &mut Builder, place: Value| {
            let above = b.max(place, first);
            let inside = b.min(above, last);
            let index = b.cast(inside, DType::I64);
            b.gather(x, index, axis)
        };
        if self.mode == ResizeMode::Nearest {
            let half = b.like(r, 0.5);
            let up = match self.nearest {
                NearestMode::RoundPreferFloor => Some(b.greater(r, half)),
                NearestMode::RoundPreferCeil => Some(b.greater_equal(r, half)),
                NearestMode::Floor => None,
                NearestMode::Ceil => Some(b.greater(r, first)),
            };
            let place = up.map_or(f, |up| {
                let step = b.cast(up, DType::F64);
                b.add(f, step)
            });
            return element(b, place);
        }
        let mut taps: Vec<(Value, Value)> = Vec::new();
        for (distance, weight) in self.weights(b, r) {
            taps.push((shifted(b, f, distance), weight));
        }
        if self.exclude_outside {
            for (place, weight) in &mut taps {
                let (from, to) = (b.greater_equal(*place, first), b.less_equal(*place, last));
                let inside = b.and(from, to);
                *weight = b.select(inside, *weight, first);
            }
            let sum = taps.iter().skip(1).fold(taps[0].1, |sum, (_, w)| b.add(sum, *w));
            let none = b.equal(sum, first);
            let one = b.like(sum, 1.0);
            let divisor = b.select(none, one, sum);
            taps.iter_mut().for_each(|(_, w)| *w = b.div(*w, divisor));
        }
        // The weights stand along the axis.
        let mut column = vec![Dim::ONE; shape.len() - axis];
        column[0] = self.sizes[axis].clone();
        let mut sum: Option<Value> = None;
        for (place, weight) in taps {
            let part = element(b, place);
            let weight = b.cast(weight, b.dtype(x));
            let weight = b.reshape(weight, &column);
            let term = b.mul(part, weight);
            sum = Some(sum.map_or(term, |sum| b.add(sum, term)));
        }
        sum.unwrap_or(x)
    }
}

impl Operator for Resize {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "resize_c0")?;
        let rank = x[0].rank();
        if self.sizes.len() != rank || self.scales.as_ref().is_some_and(|s| s.len() != rank) {
            return Err(TypeError::new("resize_c1", format!("needs a size, and if any a scale, for each axis of {}", x[0])));
        }
        for (axis, size) in self.sizes.iter().enumerate() {
            facts.at_most(&Dim::ZERO, size, "resize_c2", format_args!("size of axis {axis}"))?;
        }
        if self.scales.iter().flatten().any(|s| !s.0.is_finite() || s.0 <= 0.0) {
            return Err(TypeError::new("resize_c2", "a scale is not positive"));
        }
        if self.mode != ResizeMode::Nearest && !super::is_number(x[0].dtype) {
            return Err(TypeError::new("resize_c3", format!("{} cannot be weighted", x[0])));
        }
        Ok(vec![x[0].with_shape(self.sizes.clone())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (from, to) = (x[0].shape(), super::constants(&self.sizes)?);
        let empty = from.iter().zip(&to).find(|(n, m)| **n == 0 && **m > 0);
        if empty.is_some() && !to.contains(&0) {
            return Err(format!("an axis of {from:?} has nothing to sample for {to:?}"));
        }
        let dtype = x[0].dtype();
        let taps = |index: &[usize]| (0..from.len()).map(|axis| self.taps(axis, index[axis], from[axis], to[axis])).collect::<Vec<_>>();
        if self.mode == ResizeMode::Nearest {
            let item = dtype.size_bytes();
            let mut bytes = Vec::new();
            for index in indices(&to) {
                let place: Vec<usize> = taps(&index).iter().map(|t| t[0].0).collect();
                let at = ravel(&place, from) * item;
                bytes.extend_from_slice(&x[0].bytes()[at..at + item]);
            }
            return Ok(vec![Tensor::from_vec(dtype, to, bytes)]);
        }
        let values = x[0].floats();
        let sample = |index: Vec<usize>| {
            let taps = taps(&index);
            let counts: Vec<usize> = taps.iter().map(Vec::len).collect();
            let term = |choice: Vec<usize>| {
                let chosen: Vec<(usize, f64)> = taps.iter().zip(&choice).map(|(t, &c)| t[c]).collect();
                let place: Vec<usize> = chosen.iter().map(|(at, _)| *at).collect();
                values[ravel(&place, from)] * chosen.iter().map(|(_, w)| w).product::<f64>()
            };
            let sum: f64 = indices(&counts).map(term).sum();
            if dtype.is_float() { sum } else { sum.round_ties_even() }
        };
        Ok(vec![Tensor::from_floats(dtype, to.clone(), indices(&to).map(sample))])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let ty = b.ty(x[0]);
        let nearest = self.mode == ResizeMode::Nearest;
        let mut y = if nearest { x[0] } else { b.cast(x[0], Resize::sum_type(ty.dtype)) };
        for (axis, from) in ty.shape.iter().enumerate() {
            if !self.keeps(axis, from) {
                y = self.along(b, y, axis);
            }
        }
        if !nearest && !ty.dtype.is_float() {
            y = b.round(y);
        }
        Meaning::Composite(vec![b.cast(y, ty.dtype)])
    }

    fn examples() -> Vec<Example> {
        let to = |mode, coordinates, sizes: &[i64]| Resize {
            mode,
            coordinates,
            nearest: NearestMode::RoundPreferFloor,
            cubic_a: Real(-0.75),
            exclude_outside: false,
            sizes: sizes.iter().map(|&d| Dim::from(d)).collect(),
            scales: None,
        };
        let (nearest, linear, cubic) = (ResizeMode::Nearest, ResizeMode::Linear, ResizeMode::Cubic);
        let half = CoordinateMode::HalfPixel;
        let accepted = |op, x: &str| Example::accepted(op, &[x]).with_values(0, -4.0, 4.0);
        let mut examples = Vec::new();
        for coordinates in CoordinateMode::ALL {
            for mode in [nearest, linear, cubic] {
                examples.push(accepted(to(mode, *coordinates, &[1, 5, 2]), "f32[1, 3, 5]"));
                examples.push(accepted(to(mode, *coordinates, &[2, 1]), "f64[2, 4]"));
            }
            let scales = Some(vec![Real(2.0), Real(0.6)]);
            examples.push(accepted(Resize { scales, ..to(linear, *coordinates, &[8, 2]) }, "f32[4, 4]"));
        }
        for nearest in NearestMode::ALL {
            examples.push(accepted(Resize { nearest: *nearest, ..to(ResizeMode::Nearest, half, &[7, 2]) }, "i16[4, 4]"));
            examples.push(accepted(Resize { nearest: *nearest, ..to(ResizeMode::Nearest, CoordinateMode::Asymmetric, &[8]) }, "f32[4]"));
        }
        let doubled = || vec![Dim::symbol("n"), Dim::symbol("h") * Dim::from(2)];
        examples.extend([
            accepted(Resize { exclude_outside: true, cubic_a: Real(-0.5), ..to(cubic, half, &[9, 3]) }, "f32[4, 5]"),
            accepted(Resize { exclude_outside: true, ..to(linear, half, &[3]) }, "f32[1]"),
            accepted(Resize { sizes: doubled(), ..to(linear, CoordinateMode::AlignCorners, &[]) }, "f32[n, h]"),
            accepted(Resize { sizes: doubled(), ..to(nearest, half, &[]) }, "bool[n, h]").with_values(0, 0.0, 1.0),
            accepted(Resize { sizes: doubled(), scales: Some(vec![Real(1.0), Real(2.0)]), ..to(cubic, half, &[]) }, "bf16[n, h]"),
            accepted(to(linear, half, &[3, 4]), "u8[2, 3]").with_values(0, 0.0, 255.0),
            accepted(to(cubic, half, &[7]), "i32[4]"),
            Example::rejected("resize_c0", to(nearest, half, &[2]), &[]),
            Example::rejected("resize_c1", to(nearest, half, &[2]), &["f32[2, 2]"]),
            Example::rejected("resize_c1", Resize { scales: Some(vec![]), ..to(nearest, half, &[2]) }, &["f32[2]"]),
            Example::rejected("resize_c2", to(nearest, half, &[-2]), &["f32[2]"]),
            Example::rejected("resize_c2", Resize { scales: Some(vec![Real(0.0)]), ..to(nearest, half, &[2]) }, &["f32[2]"]),
            Example::rejected("resize_c3", to(linear, half, &[2]), &["bool[2]"]),
        ]);
        examples
    }
}
