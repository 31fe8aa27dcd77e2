//! What convolutions and poolings share: strides, dilations and the margins that `auto_pad` asks for.

use crate::frontend::onnx::context::Context;
use kiln_ir::{Diagnostic, Dim};

/// The window attributes of a node, one entry per spatial axis.
pub struct Window {
    /// Steps between windows.
    pub strides: Vec<usize>,
    /// Steps inside a window.
    pub dilations: Vec<usize>,
    /// Margins before, from `pads` alone.
    pub low: Vec<Dim>,
    /// Margins after, from `pads` alone.
    pub high: Vec<Dim>,
    /// How `auto_pad` replaces the margins.
    pub auto: AutoPad,
}

/// The values of `auto_pad`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AutoPad {
    /// Margins as given.
    Given,
    /// Just enough that every stride gets a window, the odd one after.
    SameUpper,
    /// The same, the odd one before.
    SameLower,
    /// None.
    Valid,
}

impl Window {
    /// Reads `strides`, `dilations`, `pads` and `auto_pad`. Errors: `onnx_attribute`.
    pub fn read(cx: &Context, spatial: usize) -> Result<Window, Diagnostic> {
        let pads = match cx.attributes.ints("pads")? {
            Some(pads) if pads.len() != 2 * spatial => {
                return Err(cx.attributes.refuse("pads", format!("has {} entries, must have {}", pads.len(), 2 * spatial)));
            }
            Some(pads) => pads.iter().map(|&p| Dim::from(p)).collect(),
            None => vec![Dim::ZERO; 2 * spatial],
        };
        let auto = match cx.attributes.string_or("auto_pad", "NOTSET")? {
            "NOTSET" | "" => AutoPad::Given,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            other => {
                return Err(cx.attributes.refuse("auto_pad", format!("is {other:?}, must be NOTSET, SAME_UPPER, SAME_LOWER or VALID")));
            }
        };
        let (low, high) = pads.split_at(spatial);
        let (low, high) =
            if auto == AutoPad::Given { (low.to_vec(), high.to_vec()) } else { (vec![Dim::ZERO; spatial], vec![Dim::ZERO; spatial]) };
        let ones = || vec![1; spatial];
        let strides = positive(cx, "strides", spatial)?.unwrap_or_else(ones);
        let dilations = positive(cx, "dilations", spatial)?.unwrap_or_else(ones);
        Ok(Window { strides, dilations, low, high, auto })
    }

    /// How far the window reaches on an axis: (kernel − 1) · dilation + 1.
    pub fn reach(&self, axis: usize, kernel: &Dim) -> Dim {
        (kernel - Dim::ONE) * Dim::from(self.dilations[axis]) + Dim::ONE
    }

    /// Margins with `auto_pad` worked out for these input sizes.
    pub fn margins(&self, sizes: &[Dim], kernel: &[Dim]) -> (Vec<Dim>, Vec<Dim>) {
        if !matches!(self.auto, AutoPad::SameUpper | AutoPad::SameLower) {
            return (self.low.clone(), self.high.clone());
        }
        let margin = |axis: usize| {
            let (size, stride) = (&sizes[axis], Dim::from(self.strides[axis]));
            let covered = (size.ceil_div(&stride) - Dim::ONE) * stride + self.reach(axis, &kernel[axis]);
            self.auto.divide(&Dim::maximum(&(covered - size), &Dim::ZERO))
        };
        (0..sizes.len()).map(margin).unzip()
    }
}

impl AutoPad {
    /// A total margin as before and after.
    pub fn divide(self, total: &Dim) -> (Dim, Dim) {
        let smaller = total.floor_div(&Dim::from(2));
        let larger = total - &smaller;
        if self == AutoPad::SameUpper { (smaller, larger) } else { (larger, smaller) }
    }
}

/// An attribute of positive sizes, one per spatial axis. Errors: `onnx_attribute`.
pub fn positive(cx: &Context, name: &str, spatial: usize) -> Result<Option<Vec<usize>>, Diagnostic> {
    let Some(values) = cx.attributes.ints(name)? else { return Ok(None) };
    // Larger values overflow sizes and cannot be meant.
    let size = |&v: &i64| usize::try_from(v).ok().filter(|&v| v > 0 && v < 1 << 31);
    match values.iter().map(size).collect::<Option<Vec<usize>>>() {
        Some(sizes) if sizes.len() == spatial => Ok(Some(sizes)),
        Some(sizes) => Err(cx.attributes.refuse(name, format!("has {} entries, must have {spatial}", sizes.len()))),
        None => Err(cx.attributes.refuse(name, format!("is {values:?}, must be positive"))),
    }
}
