//! Mel filter banks: `mel` takes spectra, `log_mel` sound.

use super::super::super::context::Context;
use super::super::super::tree::Mistake;
use super::super::Layer;
use super::super::dense::yes;
use super::super::embedding::wide;
use super::spectrum::{Frames, Window, of_frames, squared};
use kiln_ir::ops::Dot;
use kiln_ir::{Tensor, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// The most filters: a bank has so many columns.
const MOST_FILTERS: u32 = 4096;

/// Where pitches that are heard as evenly spaced lie.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum MelScale {
    /// 2595·log₁₀(1 + f/700). *Source*: O'Shaughnessy 1987; Young et al., The HTK Book, §5.4.
    #[default]
    Htk,
    /// Straight up to 1 kHz, logarithmic above. *Source*: Slaney 1998, Auditory Toolbox.
    Slaney,
}

/// Slaney's scale: hertz a mel below 1 kHz, mels at 1 kHz, and the ratio of frequencies one mel apart above it as a logarithm.
const SLANEY: (f64, f64) = (200.0 / 3.0, 15.0);

impl MelScale {
    fn mel(self, hertz: f64) -> f64 {
        let (below, knee) = SLANEY;
        match self {
            MelScale::Htk => 2595.0 * (1.0 + hertz / 700.0).log10(),
            MelScale::Slaney if hertz < 1000.0 => hertz / below,
            MelScale::Slaney => knee + (hertz / 1000.0).ln() / slaney_step(),
        }
    }

    fn hertz(self, mel: f64) -> f64 {
        let (below, knee) = SLANEY;
        match self {
            MelScale::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
            MelScale::Slaney if mel < knee => mel * below,
            MelScale::Slaney => 1000.0 * (slaney_step() * (mel - knee)).exp(),
        }
    }
}

fn slaney_step() -> f64 {
    6.4f64.ln() / 27.0
}

/// What the filters are scaled by.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Each is 1 at its top.
    #[default]
    None,
    /// Each has area 1 over hertz.
    Slaney,
}

/// A bank of triangles.
pub struct Bank {
    pub n_mels: u32,
    pub sample_rate: Option<u32>,
    pub f_min: f64,
    pub f_max: Option<f64>,
    pub mel_scale: MelScale,
    pub norm: Norm,
}

impl Bank {
    /// `[.., bins]` → `[.., n_mels]`, in f32 or f64.
    fn apply(&self, c: &mut Context, x: Value) -> Result<Value, Mistake> {
        c.expect_floats(x)?;
        let last = c.graph.ty(x).rank().checked_sub(1).ok_or_else(|| Mistake::new("a single number is no spectrum"))?;
        let bins = c.size(x, last, "frequencies")?;
        let dtype = wide(c.graph.ty(x).dtype);
        let filters = Tensor::from_floats(dtype, vec![bins, self.n_mels as usize], self.filters(c, bins)?);
        let mut b = c.b();
        let (x, filters) = (b.cast(x, dtype), b.constant(filters));
        c.op(Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![last], b_contract: vec![0] }, &[x, filters])
    }

    /// The weight of each bin in each filter, `[bins, n_mels]`. *Source*: torchaudio `melscale_fbanks`.
    fn filters(&self, c: &Context, bins: usize) -> Result<Vec<f64>, Mistake> {
        let rate = match (self.sample_rate, c.sample_rate) {
            (Some(own), Some(sound)) if own != sound => {
                return Err(Mistake::new(format!("`sample_rate` is {own}, but that of the input's `audio` is {sound}")));
            }
            (own, sound) => own.or(sound).ok_or_else(|| {
                Mistake::new("`sample_rate` is missing: nothing says how many samples a second has")
                    .help("here, or as audio = { sample_rate = 16000 } of the input")
            })?,
        };
        let highest = f64::from(rate) / 2.0;
        let (low, high) = (self.f_min, self.f_max.unwrap_or(highest));
        if !(0.0 <= low && low < high && high <= highest) {
            let message = format!("filters lie from `f_min` {low} to `f_max` {high}, but 0 ≤ f_min < f_max ≤ {highest} is wanted");
            return Err(Mistake::new(message).help("`f_max` is at most half the sample rate"));
        }
        if !(1..=MOST_FILTERS).contains(&self.n_mels) || bins < 2 {
            return Err(Mistake::new(format!(
                "{} filters over {bins} frequencies: 1 to {MOST_FILTERS} over 2 or more are possible",
                self.n_mels
            )));
        }
        let count = self.n_mels as usize;
        let (first, last) = (self.mel_scale.mel(low), self.mel_scale.mel(high));
        let corner = |n: usize| self.mel_scale.hertz(first + (last - first) * n as f64 / (count + 1) as f64);
        let corners: Vec<f64> = (0..count + 2).map(corner).collect();
        let weight = |bin: usize, filter: usize| {
            let hertz = highest * bin as f64 / (bins - 1) as f64;
            let [left, top, right] = [0, 1, 2].map(|n| corners[filter + n]);
            let scale = if self.norm == Norm::Slaney { 2.0 / (right - left) } else { 1.0 };
            ((hertz - left) / (top - left)).min((right - hertz) / (right - top)).max(0.0) * scale
        };
        Ok((0..bins * count).map(|at| weight(at / count, at % count)).collect())
    }
}

/// `mel`: spectra `[.., bins]` summed by triangles that are evenly spaced by pitch, `[.., n_mels]`. *Source*: torchaudio `MelScale`.
#[derive(Deserialize, JsonSchema)]
pub struct Mel {
    n_mels: u32,
    /// That of the input's `audio` if left out.
    sample_rate: Option<u32>,
    /// The lowest frequency, in hertz.
    #[serde(default)]
    f_min: f64,
    /// The highest frequency, in hertz; half the sample rate if left out.
    f_max: Option<f64>,
    #[serde(default)]
    mel_scale: MelScale,
    #[serde(default)]
    norm: Norm,
}

impl Layer for Mel {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let Mel { n_mels, sample_rate, f_min, f_max, mel_scale, norm } = *self;
        let dtype = c.graph.ty(x[0]).dtype;
        let y = Bank { n_mels, sample_rate, f_min, f_max, mel_scale, norm }.apply(c, x[0])?;
        Ok(c.b().cast(y, dtype))
    }
}

/// Which logarithm.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// Base e.
    #[default]
    Natural,
    /// Base 10.
    Log10,
    /// Decibels: 10·log₁₀ of powers, 20·log₁₀ of magnitudes.
    Decibel,
}

of_frames! {
    /// `log_mel`: log(max(mel spectrum, floor)) of sound, `[batch, frames, n_mels]`. *Source*: torchaudio `MelSpectrogram`.
    LogMel {
        /// 1: magnitudes, 2: their squares.
        #[serde(default = "squared")]
        power: f64,
        n_mels: u32,
        /// That of the input's `audio` if left out.
        sample_rate: Option<u32>,
        /// The lowest frequency, in hertz.
        #[serde(default)]
        f_min: f64,
        /// The highest frequency, in hertz; half the sample rate if left out.
        f_max: Option<f64>,
        #[serde(default)]
        mel_scale: MelScale,
        #[serde(default)]
        norm: Norm,
        /// What less than this counts as.
        #[serde(default = "floor")]
        floor: f64,
        #[serde(default)]
        log: Log,
    }
}

impl Layer for LogMel {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let LogMel { power, n_mels, sample_rate, f_min, f_max, mel_scale, norm, floor, log, .. } = *self;
        if !(floor.is_finite() && floor >= f64::from(f32::MIN_POSITIVE)) {
            return Err(Mistake::new(format!("`floor` is {floor}, but a number of at least {:e} is wanted", f32::MIN_POSITIVE)));
        }
        let dtype = c.graph.ty(x[0]).dtype;
        let spectra = self.frames().spectrogram(c, x[0], power)?;
        let y = Bank { n_mels, sample_rate, f_min, f_max, mel_scale, norm }.apply(c, spectra)?;
        let mut b = c.b();
        let least = b.like(y, floor);
        let y = b.max(y, least);
        let mut y = b.log(y);
        let factor = match log {
            Log::Natural => 1.0,
            Log::Log10 => std::f64::consts::LOG10_E,
            Log::Decibel => 20.0 / power * std::f64::consts::LOG10_E,
        };
        if factor != 1.0 {
            let factor = b.like(y, factor);
            y = b.mul(y, factor);
        }
        Ok(b.cast(y, dtype))
    }
}

fn floor() -> f64 {
    1e-10
}
