//! Convolutions with fewer multiplications: in tiles, by way of transforms.
//!
//! ```text
//! y = conv x, w      →      u = G w Gᵀ (per tile of taps) ; v = Bᵀ x B (per tile) ; products = dot v, u (per point) ;
//!                           y = Aᵀ products A and what follows
//! ```
//!
//! Outputs are cut in tiles of m along each axis, taps in tiles of r: many outputs and few taps in the forward pass and in the
//! gradient by the input, few outputs and many taps in the gradient by the kernel. What is read of the input under both is a patch
//! of n = m + r − 1 along each axis; the products of one point of all patches are one dot over channels and tiles of taps.
//! Which convolutions, and with which tiles, is decided in `schedule/winograd.rs`.
//!
//! Keeps: the function; results are rounded differently.  Needs: what [`Geometry::of`] says.

mod choice;
mod toom_cook;

pub use choice::{Block, Geometry, Winograd, Winograds};
pub use toom_cook::MOST_POINTS;

use super::nest::{dims, position};
use super::value::{Failure, KernelBuilder};
use super::{Cutter, Place, Region, row_major_strides, value_name};
use crate::kernel::{
    Access, Axis, BinaryFn, Body, Bound, Buffer, BufferKind, Contract, DEPTH_CHUNK, ExprId, ExprKind, Kernel, LoopKind, Nest, Stage, Step,
    Store,
};
use choice::ceil_div;
use kiln_ir::ops::Conv;
use kiln_ir::{DType, Diagnostic, Dim, Symbol, Value};
use std::collections::BTreeMap;
use toom_cook::ToomCook;

/// All positions of a cube, row-major.
fn positions(rank: usize, size: usize) -> Vec<Vec<i64>> {
    (0..size.pow(rank as u32)).map(|at| (0..rank).map(|axis| (at / size.pow((rank - 1 - axis) as u32) % size) as i64).collect()).collect()
}

/// What the kernels of one convolution share.
struct Tiled {
    how: Winograd,
    scheme: ToomCook,
    geometry: Geometry,
    head: Value,
    /// Where transformed taps `[point, tap tile.., channel, feature]` lie.
    taps: Place,
    /// Where transformed patches `[point, image, output tile.., tap tile.., channel]` lie: those of one block.
    patches: Place,
    /// Where products `[point, image, output tile.., feature]` lie: those of one block.
    products: Place,
}

/// Which images, tiles and channels a step is about.
#[derive(Clone)]
struct Part {
    images: Dim,
    first_image: Dim,
    /// Output tiles along each axis.
    tiles: Vec<i64>,
    first_row: Dim,
    channels: Dim,
    first_channel: Dim,
}

/// Turns of a loop over parts of an axis.
struct Turns {
    index: Symbol,
    count: Dim,
    /// Of the axis, in one turn.
    size: Dim,
    /// The first position of a turn.
    first: Dim,
}

impl Part {
    /// Which tile along an axis the one at `within` of this part is.
    fn tile(&self, axis: usize, within: Dim) -> Dim {
        if axis == 0 { within + &self.first_row } else { within }
    }
}

impl Cutter {
    /// Makes the kernels of a convolution in tiles, and stores the end of its epilogue.
    pub(super) fn winograd(
        &mut self,
        region: &mut Region,
        (head, op): (Value, &Conv),
        value: Value,
        how: Winograd,
        wanted: &mut BTreeMap<Value, Place>,
    ) -> Result<(), Diagnostic> {
        let geometry = Geometry::of(region.graph, head.node, op).expect("only such convolutions are chosen");
        let place = self.destination(region, value, wanted);
        region.places.remove(&value);

        let whole = Part {
            images: geometry.images.clone(),
            first_image: Dim::ZERO,
            tiles: how.output_tiles(&geometry),
            first_row: Dim::ZERO,
            channels: geometry.channels.clone(),
            first_channel: Dim::ZERO,
        };
        let mut block = whole.clone();
        match how.block {
            Block::Whole => {}
            Block::Images(size) => block.images = Dim::from(size),
            Block::Rows(size) => (block.images, block.tiles[0]) = (Dim::ONE, size),
            Block::Channels(size) => block.channels = Dim::from(size),
        }
        let tiled = self.tiled(region, head, value, how, geometry, &block);
        let name = value_name(region.graph, value);
        let taps = |cutter: &mut Self, region: &mut Region, part: &Part| {
            cutter.build(region, |region, checked| tiled.transform_taps(region, part, checked))
        };
        let multiply = |cutter: &mut Self, region: &mut Region, part: &Part| -> Result<(), Diagnostic> {
            cutter.build(region, |region, checked| tiled.transform_patches(region, part, checked))?;
            region.push(tiled.multiply(format!("{name}_multiply"), region, part));
            Ok(())
        };
        let outputs = |cutter: &mut Self, region: &mut Region, part: &Part| -> Result<(), Diagnostic> {
            for spans in tiled.spans(part) {
                cutter.build(region, |region, checked| tiled.outputs(region, part, &spans, value, &place, checked))?;
            }
            Ok(())
        };
        if !matches!(how.block, Block::Channels(_)) {
            taps(self, region, &whole)?;
        }
        match how.block {
            Block::Whole => {
                multiply(self, region, &whole)?;
                outputs(self, region, &whole)?;
            }
            Block::Images(size) => {
                for turns in self.turns(&whole.images, size) {
                    let part = Part { images: turns.size.clone(), first_image: turns.first.clone(), ..whole.clone() };
                    self.repeated(region, turns, true, |cutter, region| {
                        multiply(cutter, region, &part)?;
                        outputs(cutter, region, &part)
                    })?;
                }
            }
            Block::Rows(size) => {
                for images in self.turns(&whole.images, 1) {
                    let first_image = images.first.clone();
                    self.repeated(region, images, false, |cutter, region| {
                        for turns in cutter.turns(&Dim::from(whole.tiles[0]), size) {
                            let part = Part { first_image: first_image.clone(), first_row: turns.first.clone(), ..block.clone() };
                            cutter.repeated(region, turns, true, |cutter, region| {
                                multiply(cutter, region, &part)?;
                                outputs(cutter, region, &part)
                            })?;
                        }
                        Ok(())
                    })?;
                }
            }
            Block::Channels(size) => {
                self.build(region, |region, checked| Ok(tiled.clear(region, &whole, checked)))?;
                for turns in self.turns(&whole.channels, size) {
                    let part = Part { channels: turns.size.clone(), first_channel: turns.first.clone(), ..whole.clone() };
                    self.repeated(region, turns, false, |cutter, region| {
                        taps(cutter, region, &part)?;
                        multiply(cutter, region, &part)
                    })?;
                }
                outputs(self, region, &whole)?;
            }
        }
        region.places.insert(value, place);
        Ok(())
    }

    /// With memory for one block.
    fn tiled(&mut self, region: &Region, head: Value, value: Value, how: Winograd, geometry: Geometry, block: &Part) -> Tiled {
        let scheme = ToomCook::new(how.outputs, how.taps);
        let points = Dim::from(scheme.points.pow(geometry.outputs.len() as u32));
        let known = |sizes: &[i64]| sizes.iter().map(|n| Dim::from(*n)).collect::<Vec<_>>();
        let (tap_tiles, tiles) = (known(&how.tap_tiles(&geometry)), known(&block.tiles));
        let (channels, features, images) = (block.channels.clone(), geometry.features.clone(), block.images.clone());
        let name = value_name(region.graph, value);
        let shape = [tap_tiles.clone(), vec![channels.clone(), features.clone()]].concat();
        let taps = self.planes(format!("{name}_taps"), &points, &shape, (0..shape.len()).collect(), 0);
        let shape = [vec![images.clone()], tiles.clone(), tap_tiles, vec![channels]].concat();
        let patches = self.planes(format!("{name}_patches"), &points, &shape, patch_order(region, head, shape.len()), how.spare[0]);
        let shape = [vec![images], tiles, vec![features]].concat();
        let products = self.planes(format!("{name}_products"), &points, &shape, (0..shape.len()).collect(), how.spare[1]);
        Tiled { how, scheme, geometry, head, taps, patches, products }
    }

    /// Turns over an axis: of `size` while so many are left, then one by one.
    fn turns(&mut self, extent: &Dim, size: i64) -> Vec<Turns> {
        let whole = extent.floor_div(&Dim::from(size));
        let parts = [(whole.clone(), size, Dim::ZERO), (extent.modulo(&Dim::from(size)), 1, whole * Dim::from(size))];
        let used = parts.into_iter().filter(|(count, ..)| !count.is(0));
        used.map(|(count, size, start)| {
            let index = self.loop_index();
            let first = Dim::from(index.clone()) * Dim::from(size) + start;
            Turns { index, count, size: Dim::from(size), first }
        })
        .collect()
    }

    /// The steps that `inside` makes, in a loop.
    fn repeated(
        &mut self,
        region: &mut Region,
        turns: Turns,
        is_independent: bool,
        inside: impl FnOnce(&mut Self, &mut Region) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let ranges = region.ranges.clone();
        region.ranges.set_index(turns.index.clone(), turns.count.clone());
        let before = region.steps.len();
        inside(self, region)?;
        let body = region.steps.split_off(before);
        let kind = if is_independent { LoopKind::Independent } else { LoopKind::Sequential };
        region.steps.push(Step::Loop { index: turns.index, extent: turns.count, kind, body });
        region.ranges = ranges;
        Ok(())
    }

    /// A temporary `[point, ..shape]`, its axes after the first in that order, with elements to spare behind each run of the last.
    fn planes(&mut self, name: String, points: &Dim, shape: &[Dim], order: Vec<usize>, spare: usize) -> Place {
        let mut sizes: Vec<Dim> = order.iter().map(|axis| shape[*axis].clone()).collect();
        if let Some(last) = sizes.last_mut() {
            *last = &*last + Dim::from(spare);
        }
        let plane = Dim::product(&sizes);
        let plane = &plane + apart(&plane);
        let mut strides = vec![Dim::ONE; shape.len()];
        for (stride, axis) in row_major_strides(&sizes).into_iter().zip(order) {
            strides[axis] = stride;
        }
        let buffer = self.program.add_buffer(Buffer {
            name,
            dtype: DType::F32,
            shape: vec![points.clone(), plane.clone()],
            kind: BufferKind::Temporary,
        });
        strides.insert(0, plane);
        Place { buffer, base: Dim::ZERO, margins: vec![(0, 0); strides.len()], strides }
    }
}

/// Elements of 64 bytes, a line of caches.
const LINE: i64 = 16;

/// What is left unused behind a plane of so many elements, so that the same place of all planes falls into different sets of a cache:
/// planes are an odd number of lines apart.
fn apart(plane: &Dim) -> Dim {
    match plane.as_const() {
        Some(n) => Dim::from((ceil_div(n, LINE) | 1) * LINE - n),
        None => Dim::from(LINE),
    }
}

/// The order of the axes of patches in memory: last what runs along the memory of the input, its channels or its images.
fn patch_order(region: &Region, head: Value, rank: usize) -> Vec<usize> {
    let x = region.graph.node(head.node).inputs[0];
    let mut b = KernelBuilder::new(region, 0);
    let axes = b.axes(&region.graph.ty(x).shape);
    let by_images = b.element(x, &dims(&axes)).is_ok_and(|element| match &b.exprs.get(element).kind {
        ExprKind::Load(access) => access.offset.linear_in(&axes[0].index).is_some_and(|(step, _)| step.is(1)),
        _ => false,
    });
    let spatial = region.graph.ty(x).rank() - 2;
    match by_images {
        // [tap tile.., channel, output tile.., image]
        true => [&(1 + spatial..rank).collect::<Vec<_>>()[..], &(1..1 + spatial).collect::<Vec<_>>(), &[0]].concat(),
        false => (0..rank).collect(),
    }
}

/// Neighbouring tiles of which as many positions exist each.
#[derive(Clone, Debug)]
struct Span {
    first: i64,
    count: i64,
    positions: i64,
}

type Built = Result<(Kernel, Vec<String>), Failure>;

impl Tiled {
    fn rank(&self) -> usize {
        self.geometry.outputs.len()
    }

    /// u[point, tile, c, o] = (G w Gᵀ)[point], w the taps of the tile.
    fn transform_taps(&self, region: &Region, part: &Part, checked: usize) -> Built {
        let mut b = KernelBuilder::new(region, checked);
        b.touch(self.head.node);
        let w = region.graph.node(self.head.node).inputs[1];
        let tiles = self.axes(&mut b, &self.how.tap_tiles(&self.geometry));
        let (channel, feature) = (b.axis(&part.channels), b.axis(&self.geometry.features));
        let mut taps = Vec::new();
        for at in positions(self.rank(), self.how.taps) {
            let mut index = vec![position(&feature), position(&channel) + &part.first_channel];
            index.extend(tiles.iter().zip(at).map(|(tile, k)| position(tile) * Dim::from(self.how.taps) + Dim::from(k)));
            taps.push(existing(&mut b, region, w, &index)?);
        }
        let values = self.scheme.of_taps(&mut b.exprs, DType::F32, self.rank(), taps);
        let parallel = [tiles, vec![channel, feature]].concat();
        Ok(self.finish(b, &self.taps, parallel, values))
    }

    /// v[point, image, output tile, tap tile, c] = (Bᵀ x B)[point], x the patch under both tiles.
    fn transform_patches(&self, region: &Region, part: &Part, checked: usize) -> Built {
        let mut b = KernelBuilder::new(region, checked);
        b.touch(self.head.node);
        let x = region.graph.node(self.head.node).inputs[0];
        let image = b.axis(&part.images);
        let (outputs, taps) = (self.axes(&mut b, &part.tiles), self.axes(&mut b, &self.how.tap_tiles(&self.geometry)));
        let channel = b.axis(&part.channels);
        let mut patch = Vec::new();
        for at in positions(self.rank(), self.scheme.points) {
            let mut index = vec![position(&image) + &part.first_image, position(&channel) + &part.first_channel];
            for (axis, i) in at.iter().enumerate() {
                let output = part.tile(axis, position(&outputs[axis])) * Dim::from(self.how.outputs);
                let tap = position(&taps[axis]) * Dim::from(self.how.taps);
                index.push(output + tap + Dim::from(i - self.geometry.low[axis]));
            }
            patch.push(existing(&mut b, region, x, &index)?);
        }
        let values = self.scheme.of_input(&mut b.exprs, DType::F32, self.rank(), patch);
        Ok(self.finish(b, &self.patches, [vec![image], outputs, taps, vec![channel]].concat(), values))
    }

    /// products[point, image, tile, o] = Σ over tap tiles and channels of v · u.
    fn multiply(&self, name: String, region: &Region, part: &Part) -> Kernel {
        let mut b = KernelBuilder::new(region, 0);
        b.touch(self.head.node);
        let points = Dim::from(self.scheme.points.pow(self.rank() as u32));
        let batch = vec![b.axis(&points)];
        let rows = [vec![b.axis(&part.images)], self.axes(&mut b, &part.tiles)].concat();
        let columns = vec![b.axis(&self.geometry.features)];
        let depth = [self.axes(&mut b, &self.how.tap_tiles(&self.geometry)), vec![b.axis(&part.channels)]].concat();
        let lhs = load(&mut b, &self.patches, &dims(&[&batch[..], &rows, &depth].concat()));
        let rhs = load(&mut b, &self.taps, &dims(&[&batch[..], &depth, &columns].concat()));
        let mut value = b.exprs.add(DType::F32, ExprKind::Accumulator(0));
        let index = dims(&[&batch[..], &rows, &columns].concat());
        if let Block::Channels(_) = self.how.block {
            let before = load(&mut b, &self.products, &index);
            value = b.exprs.add(DType::F32, ExprKind::Binary(BinaryFn::Add, before, value));
        }
        let offset = self.products.offset(&index);
        let stores = vec![Store { buffer: self.products.buffer, offset, value, combine: None }];
        let body = Body::Contract(Contract { batch, rows, columns, depth, chunk: DEPTH_CHUNK, lhs, rhs, stores });
        let (kernel, _) = b.finish(self.head, body);
        Kernel { name, ..kernel }
    }

    /// Tiles along each axis in groups of which as many outputs exist: whole ones, and the last where it is not whole.
    fn spans(&self, part: &Part) -> Vec<Vec<Span>> {
        let size = self.how.outputs as i64;
        (0..self.rank()).fold(vec![vec![]], |known: Vec<Vec<Span>>, axis| {
            let whole = self.geometry.outputs[axis] / size;
            let rest = self.geometry.outputs[axis] % size;
            // A block of rows is cut where all are whole.
            let count = whole.min(part.tiles[axis]);
            let spans = [Span { first: 0, count, positions: size }, Span { first: whole, count: 1, positions: rest }];
            let used = spans.into_iter().filter(|span| span.count > 0 && span.positions > 0);
            used.flat_map(|span| known.iter().map(move |before| [&before[..], std::slice::from_ref(&span)].concat())).collect()
        })
    }

    /// The outputs of tiles with all that follows.
    fn outputs(&self, region: &Region, part: &Part, spans: &[Span], value: Value, place: &Place, checked: usize) -> Built {
        let mut b = KernelBuilder::new(region, checked);
        b.touch(self.head.node);
        let image = b.axis(&part.images);
        let tiles = self.axes(&mut b, &spans.iter().map(|s| s.count).collect::<Vec<_>>());
        let feature = b.axis(&self.geometry.features);
        let within: Vec<Dim> = tiles.iter().zip(spans).map(|(tile, span)| position(tile) + Dim::from(span.first)).collect();
        let mut products = Vec::new();
        for point in 0..self.scheme.points.pow(self.rank() as u32) {
            let index = [&[Dim::from(point), position(&image)], &within[..], &[position(&feature)]].concat();
            products.push(load(&mut b, &self.products, &index));
        }
        let values = self.scheme.of_products(&mut b.exprs, DType::F32, self.rank(), products);
        let mut stores = Vec::new();
        for (at, output) in positions(self.rank(), self.how.outputs).iter().zip(values) {
            if at.iter().zip(spans).any(|(i, span)| *i >= span.positions) {
                continue;
            }
            let mut index = vec![position(&image) + &part.first_image, position(&feature)];
            for (axis, i) in at.iter().enumerate() {
                index.push(part.tile(axis, within[axis].clone()) * Dim::from(self.how.outputs) + Dim::from(*i));
            }
            b.hold(self.head, index.clone(), output);
            let element = b.element(value, &index)?;
            stores.push(Store { buffer: place.buffer, offset: place.offset(&index), value: element, combine: None });
        }
        let stages = vec![Stage::Sweep { axes: vec![], stores }];
        Ok(b.finish(value, Body::Nest(Nest { parallel: [vec![image], tiles, vec![feature]].concat(), stages, serial: false })))
    }

    /// products = 0.
    fn clear(&self, region: &Region, part: &Part, checked: usize) -> (Kernel, Vec<String>) {
        let mut b = KernelBuilder::new(region, checked);
        b.touch(self.head.node);
        let zero = b.exprs.constant(DType::F32, 0.0);
        let parallel = [vec![b.axis(&part.images)], self.axes(&mut b, &part.tiles), vec![b.axis(&self.geometry.features)]].concat();
        let points = self.scheme.points.pow(self.rank() as u32);
        self.finish(b, &self.products, parallel, vec![zero; points])
    }

    fn axes(&self, b: &mut KernelBuilder, extents: &[i64]) -> Vec<Axis> {
        extents.iter().map(|n| b.axis(&Dim::from(*n))).collect()
    }

    /// A kernel that stores a value for each point, at the place's `[point, ..parallel]`.
    fn finish(&self, b: KernelBuilder, place: &Place, parallel: Vec<Axis>, values: Vec<ExprId>) -> (Kernel, Vec<String>) {
        let at = dims(&parallel);
        let stores = values.into_iter().enumerate().map(|(point, value)| {
            let index = [&[Dim::from(point)], &at[..]].concat();
            Store { buffer: place.buffer, offset: place.offset(&index), value, combine: None }
        });
        let stages = vec![Stage::Sweep { axes: vec![], stores: stores.collect() }];
        b.finish(self.head, Body::Nest(Nest { parallel, stages, serial: false }))
    }
}

fn load(b: &mut KernelBuilder, place: &Place, index: &[Dim]) -> ExprId {
    let offset = place.offset(index).simplify(&b.ranges);
    b.exprs.add(DType::F32, ExprKind::Load(Access { buffer: place.buffer, offset, bounds: vec![], otherwise: None }))
}

/// The element of `value` at an index, or 0 where there is none along the spatial axes.
fn existing(b: &mut KernelBuilder, region: &Region, value: Value, index: &[Dim]) -> Result<ExprId, Failure> {
    let shape = &region.graph.ty(value).shape;
    let zero = b.exprs.constant(DType::F32, 0.0);
    let mut bounds = Vec::new();
    for (index, extent) in index.iter().zip(shape).skip(2) {
        if b.ranges.range(index).max < 0 || b.ranges.range(&(index - extent)).min >= 0 {
            return Ok(zero);
        }
        if !b.ranges.within(index, extent) {
            bounds.push(Bound { index: index.clone(), extent: extent.clone() });
        }
    }
    if bounds.is_empty() { b.element(value, index) } else { b.guarded(value, index, &[], bounds, zero) }
}
