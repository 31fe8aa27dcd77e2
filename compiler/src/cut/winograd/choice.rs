//! What is chosen of a convolution in tiles, and the sizes that it has to have.

use kiln_ir::ops::Conv;
use kiln_ir::{DType, Dim, Graph, NodeId};
use std::collections::BTreeMap;

/// How a convolution is computed in tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Winograd {
    /// Outputs of a tile along each axis.
    pub outputs: usize,
    /// Taps of a tile along each axis.
    pub taps: usize,
    /// What goes through all steps before the next does.
    pub block: Block,
    /// Elements left unused behind the channels of a patch, and behind those of products.
    pub spare: [usize; 2],
}

/// The part of a convolution that is transformed and multiplied at a time, so that it stays in the cache meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block {
    /// Everything.
    Whole,
    /// So many images.
    Images(i64),
    /// So many rows of tiles, a divisor of all, of one image. Needs whole tiles along the first axis.
    Rows(i64),
    /// So many channels of the input; their products are added up.
    Channels(i64),
}

/// The convolutions that are computed in tiles.
pub type Winograds = BTreeMap<NodeId, Winograd>;

/// Sizes of a convolution that can be computed in tiles.
#[derive(Clone, PartialEq, Debug)]
pub struct Geometry {
    /// Outputs along each spatial axis.
    pub outputs: Vec<i64>,
    /// Taps along each spatial axis.
    pub taps: Vec<i64>,
    /// Input positions before the first one.
    pub low: Vec<i64>,
    /// Of the input.
    pub channels: Dim,
    /// Images.
    pub images: Dim,
    /// Channels of the output.
    pub features: Dim,
}

/// Along an axis, as positions of images go: sums of such sizes do not overflow.
const LARGEST: i64 = 1 << 20;

impl Geometry {
    /// The sizes of a convolution along one or two axes of known extent, without strides, dilation and groups, of f32.
    pub fn of(graph: &Graph, node: NodeId, op: &Conv) -> Option<Geometry> {
        let inputs = &graph.node(node).inputs;
        let (input, weight, output) = (graph.ty(inputs[0]), graph.ty(inputs[1]), &graph.node(node).types[0]);
        let ones = |list: &[usize]| list.iter().all(|n| *n == 1);
        let is_plain = ones(&op.strides) && ones(&op.dilations) && ones(&op.lhs_dilations) && op.groups == 1;
        let rank = output.shape.len() - 2;
        if !is_plain || rank > 2 || output.dtype != DType::F32 {
            return None;
        }
        let is_usual = |n: &i64| (-LARGEST..=LARGEST).contains(n);
        let known = |dims: &[Dim]| dims.iter().map(|d| d.as_const().filter(is_usual)).collect::<Option<Vec<i64>>>();
        Some(Geometry {
            outputs: known(&output.shape[2..])?,
            taps: known(&weight.shape[2..])?,
            low: known(&op.low)?,
            channels: input.shape[1].clone(),
            images: input.shape[0].clone(),
            features: output.shape[1].clone(),
        })
    }
}

impl Winograd {
    /// Tiles of outputs along each axis.
    pub fn output_tiles(&self, geometry: &Geometry) -> Vec<i64> {
        geometry.outputs.iter().map(|n| ceil_div(*n, self.outputs as i64)).collect()
    }

    /// Tiles of taps along each axis.
    pub fn tap_tiles(&self, geometry: &Geometry) -> Vec<i64> {
        geometry.taps.iter().map(|n| ceil_div(*n, self.taps as i64)).collect()
    }

    /// Along each axis, how far patches reach: the end of the input's positions that they read.
    pub fn reach(&self, geometry: &Geometry) -> Vec<i64> {
        let (outputs, taps) = (self.output_tiles(geometry), self.tap_tiles(geometry));
        (0..outputs.len())
            .map(|axis| outputs[axis] * self.outputs as i64 + taps[axis] * self.taps as i64 - 1 - geometry.low[axis])
            .collect()
    }
}

pub(super) fn ceil_div(n: i64, by: i64) -> i64 {
    (n + by - 1) / by
}
