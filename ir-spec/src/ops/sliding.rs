//! What convolution and pooling share: windows that slide over spatial axes.

use super::{Facts, TypeError};
use crate::{Dim, TensorType};

/// How windows slide, one value for each spatial axis.
pub(crate) struct Sliding<'a> {
    /// Input positions between neighbouring windows.
    pub strides: &'a [usize],
    /// Input positions between neighbouring elements of a window.
    pub dilations: &'a [usize],
    /// Input positions between neighbouring elements of the input; those between hold zeros. Empty: 1 everywhere.
    pub lhs_dilations: &'a [usize],
    /// Positions added before the input; negative ones crop.
    pub low: &'a [Dim],
    /// Positions added after the input; negative ones crop.
    pub high: &'a [Dim],
}

impl Sliding<'_> {
    fn lhs_dilation(&self, axis: usize) -> usize {
        self.lhs_dilations.get(axis).copied().unwrap_or(1)
    }

    /// Errors with `label` unless there is a value for each of `rank` axes and strides and dilations are positive.
    pub(crate) fn check(&self, rank: usize, label: &'static str) -> Result<(), TypeError> {
        let lengths = [self.strides.len(), self.dilations.len(), self.low.len(), self.high.len()];
        if lengths != [rank; 4] || !(self.lhs_dilations.is_empty() || self.lhs_dilations.len() == rank) {
            return Err(TypeError::new(label, format!("takes a stride, a dilation and two paddings for each of {rank} spatial axes")));
        }
        let factors = self.strides.iter().chain(self.dilations).chain(self.lhs_dilations);
        // Positions are computed in 64 bits.
        if factors.into_iter().any(|&f| f == 0 || f > u32::MAX as usize) {
            return Err(TypeError::new(label, "strides and dilations are at least 1 and below 2³²"));
        }
        Ok(())
    }

    /// Sizes of the result: how many windows fit into the padded input. Errors with `label` if none fits on an axis.
    pub(crate) fn infer(
        &self,
        input: &[Dim],
        window: &[Dim],
        x: &TensorType,
        facts: &mut Facts,
        label: &'static str,
    ) -> Result<Vec<Dim>, TypeError> {
        let mut output = Vec::new();
        for (axis, (dim, size)) in input.iter().zip(window).enumerate() {
            let lhs = self.lhs_dilation(axis);
            facts.at_most(&Dim::ONE, size, label, format_args!("window on spatial axis {axis}"))?;
            let spread = if lhs == 1 {
                dim.clone()
            } else {
                facts.at_most(&Dim::ONE, dim, label, format_args!("spatial axis {axis} of {x}"))?;
                (dim - Dim::ONE) * Dim::from(lhs) + Dim::ONE
            };
            let padded = &self.low[axis] + spread + &self.high[axis];
            let extent = (size - Dim::ONE) * Dim::from(self.dilations[axis]) + Dim::ONE;
            // A window of one element also fits an empty axis: zero times.
            let least = if extent.is(1) { &Dim::ZERO } else { &extent };
            facts.at_most(least, &padded, label, format_args!("window on spatial axis {axis} of {x} padded"))?;
            output.push((padded - extent).floor_div(&Dim::from(self.strides[axis])) + Dim::ONE);
        }
        Ok(output)
    }

    /// For one element of the window, every pair of a result position and the input position that it meets there,
    /// both row-major; padding and inserted zeros are left out.
    pub(crate) fn pairs(&self, element: &[usize], input: &[usize], output: &[usize]) -> Result<Vec<(usize, usize)>, String> {
        let mut pairs = vec![(0, 0)];
        for axis in 0..input.len() {
            let low = self.low[axis].as_const().ok_or_else(|| format!("padding {} is not known", self.low[axis]))?;
            let lhs = self.lhs_dilation(axis) as i64;
            let meets = |o: usize| {
                let position = (o * self.strides[axis] + element[axis] * self.dilations[axis]) as i64 - low;
                let inside = position >= 0 && position % lhs == 0 && position / lhs < input[axis] as i64;
                inside.then_some((o, (position / lhs) as usize))
            };
            let on_axis: Vec<(usize, usize)> = (0..output[axis]).filter_map(meets).collect();
            let mut product = Vec::with_capacity(pairs.len() * on_axis.len());
            for (o, i) in pairs {
                product.extend(on_axis.iter().map(|(p, j)| (o * output[axis] + p, i * input[axis] + j)));
            }
            pairs = product;
        }
        Ok(pairs)
    }
}
