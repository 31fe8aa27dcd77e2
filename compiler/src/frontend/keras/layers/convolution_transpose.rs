//! Transposed convolutions: every element of the input adds its kernel to the output, `strides` apart.
//! `kernel: [kernel.., filters, channels]`, `bias: [filters]`

use super::super::super::model::context::{Weight, product};
use super::super::super::model::tree::Mistake;
use super::super::call::Call;
use super::super::layer::Layer;
use super::convolution::{channels_first, finish};
use super::dense::{GLOROT, dims};
use kiln_ir::ops::{Conv, Slice};
use kiln_ir::{Dim, Value};

/// `Conv1DTranspose` … `Conv3DTranspose`. *Source* of the paddings: keras/src/backend/common/backend_utils.py.
pub fn convolution_transpose<'t, const RANK: usize>(l: &mut Layer<'_, 't>, call: &Call<'t>) -> Result<Value, Mistake> {
    let (x, last) = (call.value()?, l.settings.channels_last()?);
    let x = channels_first::<RANK>(l, x, last)?;
    let (filters, channels) = (l.settings.size("filters")?, l.size(x, 1, "channels")?);
    let kernel = l.settings.per_axis("kernel_size", RANK)?;
    let (strides, dilations) = (l.settings.per_axis_or("strides", RANK, 1)?, l.settings.per_axis_or("dilation_rate", RANK, 1)?);
    if strides.iter().chain(&dilations).chain(&kernel).any(|n| *n == 0) {
        return Err(Mistake::new("a kernel, stride or dilation is 0"));
    }
    let output_padding = match l.settings.get("output_padding") {
        None => vec![None; RANK],
        Some(_) => l.settings.per_axis("output_padding", RANK)?.into_iter().map(Some).collect(),
    };
    let same = match l.settings.word("padding", "valid")? {
        "same" => true,
        "valid" => false,
        other => return Err(Mistake::new(format!("the padding `{other}` is not supported: valid and same are"))),
    };
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for axis in 0..RANK {
        let (span, stride) = (((kernel[axis] - 1) * dilations[axis] + 1) as i64, strides[axis] as i64);
        let more = output_padding[axis].map(|n| n as i64);
        let (before, after) = if same {
            // Without output_padding, stride results an element; with it, (elements − 1)·stride + span mod 2 + output_padding.
            let both = more.map_or(stride + span - 2, |more| span + span % 2 - 2 + more);
            let before = ((both + both % 2) / 2).min(span - 1);
            (before, both - before)
        } else {
            (span - 1, span - 1 + more.unwrap_or((stride - span).max(0)))
        };
        low.push(Dim::from(before));
        high.push(Dim::from(after));
    }
    let taps = product(&kernel);
    let weight = Weight {
        name: "kernel",
        shape: [&kernel[..], &[filters, channels]].concat(),
        initialiser: GLOROT,
        fans: (product(&[taps, filters]), product(&[taps, channels])),
        trainable: true,
        incoming: (0..RANK).chain([RANK + 1]).collect(),
    };
    let weight = l.parameter("kernel", weight)?;
    let perm: Vec<usize> = [RANK, RANK + 1].into_iter().chain(0..RANK).collect();
    let weight = l.transpose(weight, &perm)?;
    // A convolution over the spread input reads the kernel from its end.
    let ends = kernel.iter().map(|size| Dim::from(size - 1));
    let reversed = Slice {
        starts: [Dim::ZERO, Dim::ZERO].into_iter().chain(ends).collect(),
        sizes: dims(&[&[filters, channels][..], &kernel].concat()),
        steps: [1, 1].into_iter().chain([-1; RANK]).collect(),
    };
    let weight = l.op(reversed, &[weight])?;
    let conv = Conv { lhs_dilations: strides, dilations, low, high, ..Conv::plain(RANK) };
    let y = l.op(conv, &[x, weight])?;
    finish::<RANK>(l, y, filters, last)
}
