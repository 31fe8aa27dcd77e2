//! Spectra of short stretches of sound: `stft` and `spectrogram`.
//!
//! A frame's transform is a product with cosines and sines, into which the window is folded, so all frames together are a convolution
//! whose kernel is constant: it is compiled, fused and differentiated as any other.

use super::super::super::context::Context;
use super::super::super::hearing::Sliding;
use super::super::super::tree::Mistake;
use super::super::Layer;
use super::super::dense::yes;
use super::super::embedding::wide;
use kiln_ir::ops::{Conv, Pad, PadMode};
use kiln_ir::{Dim, Tensor, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use std::f64::consts::TAU;

/// The most samples of a frame: its kernel has as many numbers as the square of that.
const LARGEST: u32 = 4096;

/// What frames are weighted by: periodic windows, as for spectra. *Source*: Harris 1978.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// ½ − ½·cos(2πn/N)
    #[default]
    Hann,
    /// 0.54 − 0.46·cos(2πn/N)
    Hamming,
    /// 0.42 − ½·cos(2πn/N) + 0.08·cos(4πn/N)
    Blackman,
    /// 1
    Rectangular,
}

impl Window {
    fn at(self, n: usize, length: usize) -> f64 {
        let turn = TAU * n as f64 / length as f64;
        match self {
            Window::Hann => 0.5 - 0.5 * turn.cos(),
            Window::Hamming => 0.54 - 0.46 * turn.cos(),
            Window::Blackman => 0.42 - 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos(),
            Window::Rectangular => 1.0,
        }
    }
}

/// How sound is cut into frames and each of them transformed.
pub struct Frames {
    pub n_fft: u32,
    pub win_length: Option<u32>,
    pub hop_length: Option<u32>,
    pub window: Window,
    pub center: bool,
}

impl Frames {
    /// Real and imaginary parts, `[batch, 2·bins, frames]`, the real ones of all bins first, with the number of bins. In f32 or f64.
    fn transform(&self, c: &mut Context, x: Value) -> Result<(Value, usize), Mistake> {
        c.expect_floats(x)?;
        let shape = c.graph.ty(x).shape.clone();
        let samples = match &shape[..] {
            [_, samples] => samples.clone(),
            [_, one, samples] if one.is(1) => samples.clone(),
            _ => {
                return Err(Mistake::new(format!("takes [batch, samples] or [batch, 1, samples], but what comes in is {}", c.graph.ty(x))));
            }
        };
        let size = self.n_fft as usize;
        if !(2..=LARGEST).contains(&self.n_fft) {
            return Err(Mistake::new(format!("`n_fft` is {size}, but a number from 2 to {LARGEST} is wanted")));
        }
        let length = self.win_length.unwrap_or(self.n_fft) as usize;
        if !(1..=size).contains(&length) {
            return Err(Mistake::new(format!("`win_length` is {length}, but a number from 1 to `n_fft`, {size}, is wanted")));
        }
        let hop = self.hop_length.map_or(length / 2, |hop| hop as usize);
        if hop == 0 {
            return Err(Mistake::new("`hop_length` is 0, but frames lie at least one sample apart"));
        }
        if self.center && c.hearing().is_some() {
            let mistake = Mistake::new("frames about their places mirror the ends of a sound, which a stream does not have");
            return Err(mistake.help("`center = false` begins them at their places"));
        }
        let dtype = wide(c.graph.ty(x).dtype);
        let mut b = c.b();
        let x = b.cast(x, dtype);
        let mut x = b.reshape(x, &[shape[0].clone(), Dim::ONE, samples]);
        if self.center {
            let (half, zero) = (Dim::from(size / 2), b.scalar(dtype, 0.0));
            let amounts = vec![Dim::ZERO, Dim::ZERO, half];
            x = c.op(Pad { low: amounts.clone(), high: amounts, mode: PadMode::Reflect }, &[x, zero])?;
        }
        let bins = size / 2 + 1;
        let kernel = Tensor::from_floats(dtype, vec![2 * bins, 1, size], self.kernel(size, length));
        let kernel = c.b().constant(kernel);
        let mut conv = Conv { strides: vec![hop], ..Conv::plain(1) };
        let sliding = Sliding { window: &[size], strides: &[hop], dilations: &[1], low: &mut conv.low, high: &mut conv.high };
        let x = c.slid(x, true, sliding)?;
        let y = c.op(conv, &[x, kernel])?;
        Ok((y, bins))
    }

    /// Windowed cosines of all bins, then negative sines. A shorter window stands in the middle of the frame.
    fn kernel(&self, size: usize, length: usize) -> Vec<f64> {
        let start = (size - length) / 2;
        let weight = |n: usize| if (start..start + length).contains(&n) { self.window.at(n - start, length) } else { 0.0 };
        let window: Vec<f64> = (0..size).map(weight).collect();
        let mut kernel = Vec::with_capacity(2 * (size / 2 + 1) * size);
        for wave in [f64::cos as fn(f64) -> f64, |angle| -angle.sin()] {
            for bin in 0..=size / 2 {
                // Whole turns are taken off first, as integers: they would cost digits.
                kernel.extend((0..size).map(|n| window[n] * wave(TAU * (bin * n % size) as f64 / size as f64)));
            }
        }
        kernel
    }

    /// |spectrum|², or |spectrum| whose slope at 0 is 0: `[batch, frames, bins]`, in f32 or f64.
    pub fn spectrogram(&self, c: &mut Context, x: Value, power: f64) -> Result<Value, Mistake> {
        if power != 1.0 && power != 2.0 {
            return Err(Mistake::new(format!("`power` is {power}, but 1 (magnitudes) or 2 (powers) is wanted")));
        }
        let (y, bins) = self.transform(c, x)?;
        let mut b = c.b();
        let squares = b.mul(y, y);
        let bins = Dim::from(bins);
        let (real, imaginary) = (b.slice_axis(squares, 1, &Dim::ZERO, &bins), b.slice_axis(squares, 1, &bins, &bins));
        let powers = b.add(real, imaginary);
        let powers = b.transpose(powers, &[0, 2, 1]);
        if power == 2.0 {
            return Ok(powers);
        }
        let (zero, one) = (b.like(powers, 0.0), b.like(powers, 1.0));
        let positive = b.greater(powers, zero);
        let inside = b.select(positive, powers, one);
        let root = b.sqrt(inside);
        Ok(b.select(positive, root, zero))
    }
}

/// A layer's settings with those of [`Frames`] before them.
macro_rules! of_frames {
    ($(#[$doc:meta])* $layer:ident { $($(#[$meta:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Deserialize, JsonSchema)]
        pub struct $layer {
            /// Samples of a frame, and of its Fourier transform.
            n_fft: u32,
            /// Samples of the window, in the middle of the frame; as `n_fft` if left out.
            win_length: Option<u32>,
            /// Samples between frames; half a window if left out.
            hop_length: Option<u32>,
            #[serde(default)]
            window: Window,
            /// Whether frames are about their places, with the sound mirrored at its ends, rather than behind them.
            #[serde(default = "yes")]
            center: bool,
            $($(#[$meta])* $field: $ty,)*
        }

        impl $layer {
            fn frames(&self) -> Frames {
                let Self { n_fft, win_length, hop_length, window, center, .. } = *self;
                Frames { n_fft, win_length, hop_length, window, center }
            }
        }
    };
}

pub(super) use of_frames;

of_frames! {
    /// `stft`: the short-time Fourier transform, `[batch, frames, bins, 2]`: real and imaginary part. *Source*: PyTorch `stft`.
    Stft {}
}

impl Layer for Stft {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let dtype = c.graph.ty(x[0]).dtype;
        let (y, bins) = self.frames().transform(c, x[0])?;
        let mut b = c.b();
        let shape = b.shape(y);
        let y = b.reshape(y, &[shape[0].clone(), Dim::from(2), Dim::from(bins), shape[2].clone()]);
        let y = b.transpose(y, &[0, 3, 2, 1]);
        Ok(b.cast(y, dtype))
    }
}

of_frames! {
    /// `spectrogram`: magnitudes of the short-time Fourier transform, or their squares, `[batch, frames, bins]`.
    /// *Source*: torchaudio `Spectrogram`.
    Spectrogram {
        /// 1: magnitudes, 2: their squares.
        #[serde(default = "squared")]
        power: f64,
    }
}

impl Layer for Spectrogram {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let dtype = c.graph.ty(x[0]).dtype;
        let y = self.frames().spectrogram(c, x[0], self.power)?;
        Ok(c.b().cast(y, dtype))
    }
}

pub(super) fn squared() -> f64 {
    2.0
}
