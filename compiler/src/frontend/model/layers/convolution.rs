//! Convolutions over `[batch, channels, spatial..]`: `conv1d` … `conv3d`, depthwise and transposed.
//! `weight: [filters, channels/groups, kernel..]`, transposed `[channels, filters, kernel..]`; `bias: [filters]`

use super::super::context::{Context, Weight, product};
use super::super::hearing::Sliding;
use super::super::initialise::initialiser;
use super::super::read::PerAxis;
use super::super::tree::Mistake;
use super::Layer;
use super::activation::Activation;
use super::dense::{glorot, linear, yes, zeros};
use super::pooling::{Padding, spatial_sizes};
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::{Conv, Slice};
use kiln_ir::{Dim, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// `conv1d`, `conv2d`, `conv3d`.
#[derive(Deserialize, JsonSchema)]
pub struct Convolution<const RANK: usize> {
    filters: u32,
    kernel: PerAxis,
    #[serde(default = "one")]
    strides: PerAxis,
    #[serde(default = "one")]
    dilation: PerAxis,
    #[serde(default = "single")]
    groups: u32,
    #[serde(default)]
    padding: Padding,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "linear")]
    activation: Activation,
    #[serde(default = "glorot", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    initialiser: Initialiser,
    #[serde(default = "zeros", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    bias_initialiser: Initialiser,
}

impl<const RANK: usize> Layer for Convolution<RANK> {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let channels = c.size(x[0], 1, "channels")?;
        let (filters, groups) = (self.filters as usize, self.groups as usize);
        if groups == 0 || channels % groups != 0 || filters % groups != 0 {
            return Err(Mistake::new(format!("{groups} groups do not divide {channels} channels and {filters} filters")));
        }
        let kernel = self.kernel.on(RANK, "kernel")?;
        let window = Window { kernel: &kernel, strides: &self.strides, dilation: &self.dilation, padding: &self.padding };
        let (conv, operand) = window.convolution::<RANK>(c, x[0], groups)?;
        let taps = product(&kernel);
        let weight = c.parameter(Weight {
            name: "weight",
            shape: [&[filters, channels / groups][..], &kernel].concat(),
            initialiser: self.initialiser,
            fans: (product(&[channels / groups, taps]), product(&[filters, taps])),
            trainable: true,
            incoming: (1..RANK + 2).collect(),
        })?;
        let y = c.op(conv, &[operand, weight])?;
        finish(c, y, filters, self.bias.then_some(self.bias_initialiser), self.activation)
    }
}

/// `depthwise_conv1d`, `depthwise_conv2d`: each channel has `multiplier` kernels of its own.
#[derive(Deserialize, JsonSchema)]
pub struct Depthwise<const RANK: usize> {
    kernel: PerAxis,
    #[serde(default = "single")]
    multiplier: u32,
    #[serde(default = "one")]
    strides: PerAxis,
    #[serde(default = "one")]
    dilation: PerAxis,
    #[serde(default)]
    padding: Padding,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "linear")]
    activation: Activation,
    #[serde(default = "glorot", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    initialiser: Initialiser,
    #[serde(default = "zeros", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    bias_initialiser: Initialiser,
}

impl<const RANK: usize> Layer for Depthwise<RANK> {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let channels = c.size(x[0], 1, "channels")?;
        let kernel = self.kernel.on(RANK, "kernel")?;
        let window = Window { kernel: &kernel, strides: &self.strides, dilation: &self.dilation, padding: &self.padding };
        let (conv, operand) = window.convolution::<RANK>(c, x[0], channels)?;
        let (filters, taps) = (product(&[channels, self.multiplier as usize]), product(&kernel));
        let weight = c.parameter(Weight {
            name: "weight",
            shape: [&[filters, 1][..], &kernel].concat(),
            initialiser: self.initialiser,
            fans: (taps, product(&[taps, self.multiplier as usize])),
            trainable: true,
            incoming: (1..RANK + 2).collect(),
        })?;
        let y = c.op(conv, &[operand, weight])?;
        finish(c, y, filters, self.bias.then_some(self.bias_initialiser), self.activation)
    }
}

/// `conv_transpose1d` … `conv_transpose3d`: the transpose of a convolution with those strides; `padding` crops as many elements at
/// both ends, `output_padding` adds some at the end.
#[derive(Deserialize, JsonSchema)]
pub struct Transposed<const RANK: usize> {
    filters: u32,
    kernel: PerAxis,
    #[serde(default = "one")]
    strides: PerAxis,
    #[serde(default = "none")]
    padding: PerAxis,
    #[serde(default = "none")]
    output_padding: PerAxis,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "linear")]
    activation: Activation,
    #[serde(default = "glorot", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    initialiser: Initialiser,
    #[serde(default = "zeros", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    bias_initialiser: Initialiser,
}

impl<const RANK: usize> Layer for Transposed<RANK> {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        spatial_sizes::<RANK>(c, x[0])?;
        let channels = c.size(x[0], 1, "channels")?;
        let (filters, kernel) = (self.filters as usize, self.kernel.on(RANK, "kernel")?);
        let taps = product(&kernel);
        let weight = c.parameter(Weight {
            name: "weight",
            shape: [&[channels, filters][..], &kernel].concat(),
            initialiser: self.initialiser,
            fans: (product(&[channels, taps]), product(&[filters, taps])),
            trainable: true,
            incoming: [0].into_iter().chain(2..RANK + 2).collect(),
        })?;
        // The convolution that this is the transpose of reads its kernel in the other direction.
        let turned = c.b().transpose(weight, &[1, 0].into_iter().chain(2..2 + RANK).collect::<Vec<_>>());
        let sizes: Vec<Dim> = [filters, channels].iter().chain(&kernel).map(|&d| Dim::from(d)).collect();
        let starts = sizes.iter().enumerate().map(|(axis, d)| if axis < 2 { Dim::ZERO } else { d - Dim::ONE }).collect();
        let steps = (0..sizes.len()).map(|axis| if axis < 2 { 1 } else { -1 }).collect();
        let turned = c.op(Slice { starts, sizes, steps }, &[turned])?;
        let (padding, more) = (self.padding.on(RANK, "padding")?, self.output_padding.on(RANK, "output_padding")?);
        let low: Vec<Dim> = kernel.iter().zip(&padding).map(|(k, p)| Dim::from(*k) - Dim::ONE - Dim::from(*p)).collect();
        let high = low.iter().zip(&more).map(|(low, more)| low + Dim::from(*more)).collect();
        let y = c.op(Conv { lhs_dilations: self.strides.on(RANK, "strides")?, low, high, ..Conv::plain(RANK) }, &[x[0], turned])?;
        finish(c, y, filters, self.bias.then_some(self.bias_initialiser), self.activation)
    }
}

/// How a kernel slides.
struct Window<'a> {
    kernel: &'a [usize],
    strides: &'a PerAxis,
    dilation: &'a PerAxis,
    padding: &'a Padding,
}

impl Window<'_> {
    /// The convolution, and what it slides over.
    fn convolution<const RANK: usize>(&self, c: &mut Context, x: Value, groups: usize) -> Result<(Conv, Value), Mistake> {
        let sizes = spatial_sizes::<RANK>(c, x)?;
        let (strides, dilations) = (self.strides.on(RANK, "strides")?, self.dilation.on(RANK, "dilation")?);
        let (mut low, mut high) = self.padding.amounts(&sizes, self.kernel, &strides, &dilations)?;
        let sliding = Sliding { window: self.kernel, strides: &strides, dilations: &dilations, low: &mut low, high: &mut high };
        let x = c.slid(x, true, sliding)?;
        Ok((Conv { strides, dilations, low, high, groups, ..Conv::plain(RANK) }, x))
    }
}

/// Adds a bias for each channel and applies the activation function.
fn finish(c: &mut Context, y: Value, filters: usize, bias: Option<Initialiser>, activation: Activation) -> Result<Value, Mistake> {
    let y = match bias {
        None => y,
        Some(initialiser) => {
            let bias = c.parameter(Weight::vector("bias", filters, initialiser))?;
            let mut shape = vec![Dim::ONE; c.graph.ty(y).rank() - 1];
            shape[0] = Dim::from(filters);
            let mut b = c.b();
            let bias = b.reshape(bias, &shape);
            b.add(y, bias)
        }
    };
    activation.apply(c, y)
}

pub(super) fn one() -> PerAxis {
    PerAxis::all(1)
}

fn none() -> PerAxis {
    PerAxis::all(0)
}

fn single() -> u32 {
    1
}
