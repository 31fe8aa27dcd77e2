//! Which convolutions are computed in tiles with fewer multiplications, and in which tiles.
//!
//! A convolution in tiles multiplies less and moves more: transformed patches, taps and products go through the cache. Both are
//! counted, the bytes in multiply-adds that take as long. What is transformed is kept in the second-level cache where it is more
//! than that holds, by going through images, or rows of tiles, in blocks.
//!
//! Source: Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks".

use super::layout::{SPARE_BYTES, images, spare_channels};
use crate::cut::winograd::{Block, Geometry, MOST_POINTS, Winograd, Winograds};
use crate::tuning::{Asking, Decision, Subject, Tuning};
use kiln_ir::graph::NodeKind;
use kiln_ir::{DType, Dim, Graph, NodeId, Op, Symbol, Value};
use std::collections::{BTreeMap, BTreeSet};

/// When convolutions are computed in tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WinogradUse {
    /// Never: results are those of the direct sums.
    Never,
    /// Where it is expected to be faster.
    #[default]
    WhereFaster,
    /// In these tiles wherever it is possible: for tests.
    Always {
        /// Outputs of a tile along each axis.
        outputs: usize,
        /// Taps of a tile along each axis.
        taps: usize,
        /// In these blocks where sizes allow.
        block: Block,
    },
}

/// Tiles that are tried: those of three taps for small kernels, F(3, 4) for the gradients of these.
const TILES: [(usize, usize); 4] = [(2, 3), (3, 3), (4, 3), (3, 4)];
/// Multiply-adds of a register tile in the time in which one core moves a byte through its second-level cache, and from memory.
const WORK_OF_CLOSE_BYTE: f64 = 1.5;
const WORK_OF_FAR_BYTE: f64 = 6.5;
/// The same where the image lies as the caller has it, whose channels are far apart, measured; and where they do not fill a vector.
const WORK_OF_SCATTERED_BYTE: f64 = 2.75;
const WORK_OF_LONE_BYTE: f64 = 8.0;
/// The same of taps that stay in the second-level cache and are read one after the other.
const WORK_OF_CLOSE_TAP_BYTE: f64 = 1.0;
/// How much of the shorter of multiplying and reading what is multiplied is not hidden behind the longer.
const UNHIDDEN: f64 = 0.3;
/// Weights of a network that stay in the second-level cache from run to run, transformed ones too.
const CLOSE_WEIGHT_BYTES: i64 = 512 << 10;
/// Work is not worth dividing for less than this part of it.
const LEAST_GAIN: f64 = 0.85;
/// Bytes of transformed patches and products that are kept close.
const CLOSE_BYTES: i64 = 512 << 10;
/// Blocks of fewer bytes than this are not worth a turn.
const LEAST_BLOCK_BYTES: i64 = 64 << 10;
/// Patches of fewer channels, and products of fewer features, leave vectors and panels empty.
const LEAST_CHANNELS: f64 = 8.0;
/// What counts as many, where a size is open.
const MANY: i64 = 32;

/// The convolutions of a graph to compute in tiles, and what was asked about them; symbols usually have these sizes.
pub fn winograds(graph: &Graph, when: WinogradUse, usual_sizes: &BTreeMap<Symbol, i64>, tuning: &Tuning) -> (Winograds, Vec<Decision>) {
    let (mut found, mut decisions) = (Winograds::new(), Vec::new());
    let weights_are_close = weight_bytes(graph) <= CLOSE_WEIGHT_BYTES;
    let images = images(graph);
    let mut from_parameters = BTreeMap::new();
    for id in graph.order() {
        let node = graph.node(id);
        let known = match &node.kind {
            NodeKind::Parameter(_) | NodeKind::Constant(_) => true,
            NodeKind::Input(_) => false,
            NodeKind::Op(_) => node.inputs.iter().all(|x| from_parameters[&x.node]),
        };
        from_parameters.insert(id, known);
        if let NodeKind::Op(Op::Conv(op)) = &node.kind
            && let Some(geometry) = Geometry::of(graph, id, op)
        {
            let mut usual = Usual::of(&geometry, from_parameters[&node.inputs[1].node], usual_sizes);
            // Transformed weights are larger: without knowing of how many images, a program stays as small as it can be.
            if weights_are_close && geometry.images.as_const().is_some() {
                usual.work_of_tap_byte = WORK_OF_CLOSE_TAP_BYTE;
            }
            if !images.contains(&node.inputs[0].node) {
                usual.work_of_patch_byte = work_of_scattered_byte(usual.channels);
            }
            if becomes_an_output(graph, id, &images) {
                usual.work_of_product_byte = work_of_scattered_byte(usual.features);
            }
            let mut asking = Asking::about(tuning, format!("{geometry:?} {usual:?}"));
            found.extend(choose(&geometry, when, &usual, &mut asking).map(|how| (id, how)));
            let origins = node.origin.iter().cloned().collect::<Vec<_>>();
            decisions.extend(asking.decisions.into_iter().map(|decision| Decision { origins: origins.clone(), ..decision }));
        }
    }
    (found, decisions)
}

/// Whether what is computed of a convolution alone, or of it and other values, is an output.
fn becomes_an_output(graph: &Graph, id: NodeId, images: &BTreeSet<NodeId>) -> bool {
    let mut at = id;
    loop {
        if graph.outputs().iter().any(|(_, value)| value.node == at) {
            return true;
        }
        let [(user, _)] = graph.users(at)[..] else { return false };
        let node = graph.node(user);
        let is_image = images.contains(&user) && node.types[0].shape == graph.node(id).types[0].shape;
        if !is_image || matches!(node.kind, NodeKind::Op(Op::Conv(_))) {
            return false;
        }
        at = user;
    }
}

/// Bytes of all values that are there before a run.
fn weight_bytes(graph: &Graph) -> i64 {
    let bytes = |id: NodeId| match &graph.node(id).kind {
        NodeKind::Parameter(_) | NodeKind::Constant(_) => {
            let ty = graph.ty(Value { node: id, result: 0 });
            Dim::product(&ty.shape).as_const().map_or(i64::MAX, |n| n.saturating_mul(ty.dtype.size_bytes() as i64))
        }
        NodeKind::Input(_) | NodeKind::Op(_) => 0,
    };
    graph.order().into_iter().map(bytes).fold(0, i64::saturating_add)
}

fn choose(geometry: &Geometry, when: WinogradUse, usual: &Usual, asking: &mut Asking) -> Option<Winograd> {
    let is_empty = geometry.outputs.iter().chain(&geometry.taps).any(|n| *n <= 0);
    let spare = [&geometry.channels, &geometry.features].map(|n| spare_channels(n, DType::F32));
    let tiles = |(outputs, taps)| Winograd { outputs, taps, block: Block::Whole, spare };
    match when {
        _ if is_empty => None,
        WinogradUse::Never => None,
        WinogradUse::Always { outputs, taps, block } => {
            assert!(outputs + taps - 1 <= MOST_POINTS, "more points than there are");
            let how = tiles((outputs, taps));
            let allowed = match block {
                Block::Rows(size) => geometry.outputs[0] % outputs as i64 == 0 && how.output_tiles(geometry)[0] % size == 0,
                Block::Whole | Block::Images(_) | Block::Channels(_) => true,
            };
            Some(if allowed { Winograd { block, ..how } } else { how })
        }
        WinogradUse::WhereFaster => {
            let work = |how: &Winograd| Costs::of(how, geometry, usual).work();
            let best = TILES.map(tiles).into_iter().min_by(|a, b| work(a).total_cmp(&work(b)))?;
            let pays = usual.fills_vectors() && work(&best) < LEAST_GAIN * direct_work(geometry, usual);
            let in_blocks = |how: Winograd| Winograd { block: block(&how, geometry, usual), ..how };
            let others = || TILES.map(tiles).map(in_blocks).map(Some).into_iter().chain([None]).collect();
            let name = |how: &Option<Winograd>| match how {
                Some(Winograd { outputs, taps, block, .. }) => format!("F({outputs}, {taps}) {block:?}"),
                None => "as it is written".to_string(),
            };
            asking.choose(Subject::Convolution, pays.then(|| in_blocks(best)), others, name)
        }
    }
}

/// Sizes that count, also where they are open: one image is usual where a network is used, many where it is trained.
#[derive(Debug)]
struct Usual {
    images: f64,
    channels: f64,
    features: f64,
    /// Taps are transformed once for all runs.
    is_prepared: bool,
    /// Multiply-adds in the time in which a byte of them is read.
    work_of_tap_byte: f64,
    /// The same of patches, and of products.
    work_of_patch_byte: f64,
    work_of_product_byte: f64,
}

impl Usual {
    fn of(geometry: &Geometry, is_prepared: bool, sizes: &BTreeMap<Symbol, i64>) -> Usual {
        let size = |dim: &Dim, open: i64| dim.evaluate(&|s| sizes.get(s).copied()).unwrap_or(open) as f64;
        Usual {
            images: size(&geometry.images, if is_prepared { 1 } else { MANY }),
            channels: size(&geometry.channels, MANY),
            features: size(&geometry.features, MANY),
            is_prepared,
            work_of_tap_byte: WORK_OF_FAR_BYTE,
            work_of_patch_byte: WORK_OF_CLOSE_BYTE,
            work_of_product_byte: WORK_OF_CLOSE_BYTE,
        }
    }

    /// Whether vectors run along something long enough.
    fn fills_vectors(&self) -> bool {
        self.channels.max(self.images) >= LEAST_CHANNELS && self.features >= LEAST_CHANNELS
    }
}

/// Of an image of so many channels.
fn work_of_scattered_byte(channels: f64) -> f64 {
    if channels < in_vectors(1.0) { WORK_OF_LONE_BYTE } else { WORK_OF_SCATTERED_BYTE }
}

/// What vectors compute of so many channels.
fn in_vectors(channels: f64) -> f64 {
    let lanes = (SPARE_BYTES / DType::F32.size_bytes()) as f64;
    (channels / lanes).ceil() * lanes
}

/// Multiply-adds of the sums as they are written, and of the time in which their taps are read.
fn direct_work(geometry: &Geometry, usual: &Usual) -> f64 {
    let points = |list: &[i64]| list.iter().map(|n| *n as f64).product::<f64>();
    let taps = points(&geometry.taps) * usual.channels;
    let pixels = points(&geometry.outputs) * usual.images;
    // An image that lies otherwise is copied with its padding, and results are stored apart.
    let moved = |work: f64, channels: f64| if work > WORK_OF_CLOSE_BYTE { work * 4.0 * pixels * channels } else { 0.0 };
    let moving = moved(usual.work_of_patch_byte, usual.channels) + moved(usual.work_of_product_byte, usual.features);
    overlapped(pixels * taps * in_vectors(usual.features), usual.work_of_tap_byte * 4.0 * taps * usual.features) + moving
}

/// The work of products and of reading the taps for them.
fn overlapped(products: f64, reading: f64) -> f64 {
    products.max(reading) + UNHIDDEN * products.min(reading)
}

/// What tiles cost.
struct Costs {
    /// Multiply-adds.
    products: f64,
    /// Bytes of transformed patches of one image.
    patch_bytes: f64,
    /// Bytes of products of one image.
    product_bytes: f64,
    /// Bytes of transformed taps.
    tap_bytes: f64,
    images: f64,
    channels: f64,
    is_prepared: bool,
    work_of_tap_byte: f64,
    work_of_patch_byte: f64,
    work_of_product_byte: f64,
}

impl Costs {
    fn of(how: &Winograd, geometry: &Geometry, usual: &Usual) -> Costs {
        let count = |list: Vec<i64>| list.iter().map(|n| *n as f64).product::<f64>();
        let points = ((how.outputs + how.taps - 1) as f64).powi(geometry.outputs.len() as i32);
        let (tiles, tap_tiles) = (count(how.output_tiles(geometry)), count(how.tap_tiles(geometry)));
        let Usual { images, channels, features, is_prepared, work_of_tap_byte, work_of_patch_byte, work_of_product_byte } = *usual;
        Costs {
            products: points * images * tiles * tap_tiles * channels * in_vectors(features),
            patch_bytes: 4.0 * points * tiles * tap_tiles * in_vectors(channels),
            product_bytes: 4.0 * points * tiles * in_vectors(features),
            tap_bytes: 4.0 * points * tap_tiles * channels * features,
            images,
            channels,
            is_prepared,
            work_of_tap_byte,
            work_of_patch_byte,
            work_of_product_byte,
        }
    }

    /// Channels whose patches and taps stay close.
    fn close_channels(&self) -> i64 {
        let of_channel = (self.images * self.patch_bytes + self.tap_bytes) / self.channels;
        (CLOSE_BYTES as f64 / of_channel).max(1.0) as i64
    }

    fn work(&self) -> f64 {
        let patches = self.work_of_patch_byte * 2.0 * self.images * self.patch_bytes;
        let products = self.work_of_product_byte * 2.0 * self.images * self.product_bytes;
        if self.is_prepared {
            return overlapped(self.products, self.work_of_tap_byte * self.tap_bytes) + patches + products;
        }
        // What was just transformed is still close; products of blocks of channels are added up.
        let turns =
            if self.tap_bytes > self.images * self.product_bytes { (self.channels / self.close_channels() as f64).max(1.0) } else { 1.0 };
        self.products + patches + turns * products + WORK_OF_CLOSE_BYTE * 3.0 * self.tap_bytes
    }
}

/// Blocks that stay close, where all at once would not.
fn block(how: &Winograd, geometry: &Geometry, usual: &Usual) -> Block {
    let costs = Costs::of(how, geometry, usual);
    let image_bytes = (costs.patch_bytes + costs.product_bytes).max(1.0) as i64;
    if how.tap_tiles(geometry).iter().any(|n| *n > 1) {
        // Many taps and channels, few products: the gradient by a kernel.
        let size = even(costs.close_channels(), usual.channels);
        return if geometry.channels.as_const().is_some_and(|all| all <= size) { Block::Whole } else { Block::Channels(size) };
    }
    let (rows, whole) = (how.output_tiles(geometry)[0], geometry.outputs[0] % how.outputs as i64 == 0);
    if image_bytes > 2 * CLOSE_BYTES && whole && costs.tap_bytes < 2.0 * CLOSE_BYTES as f64 {
        let fits = |size: &i64| rows % size == 0 && image_bytes / rows * size <= CLOSE_BYTES;
        return Block::Rows((1..rows).rev().find(fits).unwrap_or(1));
    }
    let size = even((CLOSE_BYTES / image_bytes).max(1), usual.images);
    match geometry.images.as_const() {
        Some(all) if all <= size => Block::Whole,
        _ if image_bytes.saturating_mul(size) < LEAST_BLOCK_BYTES => Block::Whole,
        _ => Block::Images(size),
    }
}

/// A size near the largest that fits, of which there is a whole number in all if that is possible: what is left over goes one by one.
fn even(most: i64, all: f64) -> i64 {
    let all = all as i64;
    (most / 2 + 1..=most.min(all)).rev().find(|size| all % size == 0).unwrap_or(most)
}

/// How far the taps of a convolution's tiles reach, and its patches, beyond the operand along each axis.
pub fn margins(graph: &Graph, id: NodeId, how: &Winograd, operand: usize) -> Vec<usize> {
    let node = graph.node(id);
    let NodeKind::Op(Op::Conv(op)) = &node.kind else { return vec![] };
    let Some(geometry) = Geometry::of(graph, id, op) else { return vec![] };
    let sizes = &graph.ty(node.inputs[operand]).shape[2..];
    let reach = match operand {
        0 => how.reach(&geometry),
        _ => how.tap_tiles(&geometry).iter().map(|n| n * how.taps as i64).collect(),
    };
    let beyond = |(reach, size): (i64, &Dim)| size.as_const().map_or(0, |size| (reach - size).max(0) as usize);
    reach.into_iter().zip(sizes).map(beyond).collect()
}
