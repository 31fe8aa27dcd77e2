//! Convolutions over `[batch, spatial.., channels]`, or `[batch, channels, spatial..]` with `data_format` "channels_first".
//! Keras's kernels have channels last, `[kernel.., channels/groups, filters]`; the graph's convolution has them first, so values and
//! kernels are transposed around it. Compilation chooses the order of axes anew.

use super::super::super::model::context::{Weight, product};
use super::super::super::model::layers::pooling::Padding;
use super::super::super::model::tree::Mistake;
use super::super::call::Call;
use super::super::layer::Layer;
use super::activation::Activation;
use super::dense::{GLOROT, ZEROS, dims};
use kiln_ir::ops::{Add, Conv, Reshape};
use kiln_ir::{Dim, Value};

/// `[batch, spatial.., channels]` as `[batch, channels, spatial..]`. Errors: another number of axes.
pub fn channels_first<const RANK: usize>(l: &mut Layer, x: Value, last: bool) -> Result<Value, Mistake> {
    let spatial = &["depth", "height", "width"][3 - RANK..];
    let axes = if last { [&["batch"][..], spatial, &["channels"]].concat() } else { [&["batch", "channels"][..], spatial].concat() };
    l.expect(x, &axes)?;
    if !last {
        return Ok(x);
    }
    let perm: Vec<usize> = [0, RANK + 1].into_iter().chain(1..RANK + 1).collect();
    l.transpose(x, &perm)
}

/// The reverse.
pub fn channels_back<const RANK: usize>(l: &mut Layer, x: Value, last: bool) -> Result<Value, Mistake> {
    if !last {
        return Ok(x);
    }
    let perm: Vec<usize> = [0].into_iter().chain(2..RANK + 2).chain([1]).collect();
    l.transpose(x, &perm)
}

/// Zeros before and after each spatial axis of `[batch, channels, spatial..]`. Errors: no such padding.
pub fn padding(l: &mut Layer, x: Value, window: &[usize], strides: &[usize], dilations: &[usize]) -> Result<(Vec<Dim>, Vec<Dim>), Mistake> {
    let rank = window.len();
    if strides.iter().chain(dilations).chain(window).any(|n| *n == 0) {
        return Err(Mistake::new("a window, stride or dilation is 0"));
    }
    match l.settings.word("padding", "valid")? {
        "valid" => Ok((vec![Dim::ZERO; rank], vec![Dim::ZERO; rank])),
        "same" => {
            let sizes = l.shape(x)[2..].to_vec();
            Padding::Same.amounts(&sizes, window, strides, dilations)
        }
        // No result sees a later element.
        "causal" if rank == 1 => Ok((vec![Dim::from((window[0] - 1) * dilations[0])], vec![Dim::ZERO])),
        other => Err(Mistake::new(format!("the padding `{other}` is not supported: valid and same are"))),
    }
}

/// The kernel's settings and the convolution over `x`, `[batch, channels, spatial..]`.
fn plain<const RANK: usize>(l: &mut Layer, x: Value, groups: usize) -> Result<(Vec<usize>, Conv), Mistake> {
    let kernel = l.settings.per_axis("kernel_size", RANK)?;
    let (strides, dilations) = (l.settings.per_axis_or("strides", RANK, 1)?, l.settings.per_axis_or("dilation_rate", RANK, 1)?);
    let (low, high) = padding(l, x, &kernel, &strides, &dilations)?;
    Ok((kernel, Conv { strides, dilations, low, high, groups, ..Conv::plain(RANK) }))
}

/// `Conv1D` … `Conv3D`.   `kernel: [kernel.., channels/groups, filters]`, `bias: [filters]`
pub fn convolution<'t, const RANK: usize>(l: &mut Layer<'_, 't>, call: &Call<'t>) -> Result<Value, Mistake> {
    let (x, last) = (call.value()?, l.settings.channels_last()?);
    l.settings.refuse("lora_rank", "merge the low-rank matrices into the kernel first")?;
    l.settings.ignore(&["lora_alpha"]);
    let x = channels_first::<RANK>(l, x, last)?;
    let (filters, groups) = (l.settings.size("filters")?, l.settings.size_or("groups", 1)?);
    let channels = l.size(x, 1, "channels")?;
    if groups == 0 || channels % groups != 0 || filters % groups != 0 {
        return Err(Mistake::new(format!("{groups} groups do not divide {channels} channels and {filters} filters")));
    }
    let (kernel, conv) = plain::<RANK>(l, x, groups)?;
    let taps = product(&kernel);
    let weight = Weight {
        name: "kernel",
        shape: [&kernel[..], &[channels / groups, filters]].concat(),
        initialiser: GLOROT,
        fans: (product(&[taps, channels / groups]), product(&[taps, filters])),
        trainable: true,
        incoming: (0..RANK + 1).collect(),
    };
    let weight = l.parameter("kernel", weight)?;
    let perm: Vec<usize> = [RANK + 1, RANK].into_iter().chain(0..RANK).collect();
    let weight = l.transpose(weight, &perm)?;
    let y = l.op(conv, &[x, weight])?;
    finish::<RANK>(l, y, filters, last)
}

/// Adds a bias for each channel of `[batch, channels, spatial..]`, applies the activation function and turns the axes back.
pub fn finish<const RANK: usize>(l: &mut Layer, y: Value, filters: usize, last: bool) -> Result<Value, Mistake> {
    let mut y = y;
    if l.settings.flag("use_bias", true)? {
        let bias = l.parameter("bias", Weight::vector("bias", filters, ZEROS))?;
        let bias = l.op(Reshape { shape: [&dims(&[filters])[..], &vec![Dim::ONE; RANK]].concat() }, &[bias])?;
        y = l.broadcast_op(Add {}, &[y, bias])?;
    }
    let activation = Activation::read(&l.settings, "activation", "linear")?;
    if activation.is_elementwise() {
        let y = activation.apply(l, y)?;
        return channels_back::<RANK>(l, y, last);
    }
    let y = channels_back::<RANK>(l, y, last)?;
    activation.apply(l, y)
}

/// The kernel `[kernel.., channels, multiplier]` as the graph's `[channels·multiplier, 1, kernel..]`, and the convolution of each channel
/// alone.
fn each_channel<const RANK: usize>(l: &mut Layer, x: Value, prefix: &str, name: &str) -> Result<(Value, usize), Mistake> {
    let channels = l.size(x, 1, "channels")?;
    let multiplier = l.settings.size_or("depth_multiplier", 1)?;
    let (kernel, conv) = plain::<RANK>(l, x, channels)?;
    let taps = product(&kernel);
    let weight = Weight {
        name,
        shape: [&kernel[..], &[channels, multiplier]].concat(),
        initialiser: GLOROT,
        fans: (product(&[taps, channels]), product(&[taps, multiplier])),
        trainable: true,
        incoming: (0..RANK).collect(),
    };
    let weight = l.parameter(prefix, weight)?;
    let perm: Vec<usize> = [RANK, RANK + 1].into_iter().chain(0..RANK).collect();
    let weight = l.transpose(weight, &perm)?;
    let filters = channels.saturating_mul(multiplier);
    let weight = l.op(Reshape { shape: [&dims(&[filters, 1])[..], &dims(&kernel)].concat() }, &[weight])?;
    Ok((l.op(conv, &[x, weight])?, filters))
}

/// `DepthwiseConv1D`, `DepthwiseConv2D`.   `kernel: [kernel.., channels, depth_multiplier]`, `bias: [channels·depth_multiplier]`
pub fn depthwise<'t, const RANK: usize>(l: &mut Layer<'_, 't>, call: &Call<'t>) -> Result<Value, Mistake> {
    let (x, last) = (call.value()?, l.settings.channels_last()?);
    // Keras 2 writes these whatever they are.
    l.settings.ignore(&["groups", "filters"]);
    let x = channels_first::<RANK>(l, x, last)?;
    let (y, filters) = each_channel::<RANK>(l, x, "depthwise", "kernel")?;
    finish::<RANK>(l, y, filters, last)
}

/// `SeparableConv1D`, `SeparableConv2D`: each channel alone, then all at each place.
/// `depthwise_kernel: [kernel.., channels, depth_multiplier]`, `pointwise_kernel: [1.., channels·depth_multiplier, filters]`
pub fn separable<'t, const RANK: usize>(l: &mut Layer<'_, 't>, call: &Call<'t>) -> Result<Value, Mistake> {
    let (x, last) = (call.value()?, l.settings.channels_last()?);
    let x = channels_first::<RANK>(l, x, last)?;
    let filters = l.settings.size("filters")?;
    l.settings.ignore(&["groups"]);
    let (y, channels) = each_channel::<RANK>(l, x, "depthwise", "depthwise_kernel")?;
    let weight = Weight {
        name: "pointwise_kernel",
        shape: [&[1; RANK][..], &[channels, filters]].concat(),
        initialiser: GLOROT,
        fans: (channels, filters),
        trainable: true,
        incoming: (0..RANK + 1).collect(),
    };
    let weight = l.parameter("pointwise", weight)?;
    let perm: Vec<usize> = [RANK + 1, RANK].into_iter().chain(0..RANK).collect();
    let weight = l.transpose(weight, &perm)?;
    let y = l.op(Conv::plain(RANK), &[y, weight])?;
    finish::<RANK>(l, y, filters, last)
}
