//! An operand on its way to shared memory, or results on their way from there, by the tensor copy engine of Hopper: a thread asks for boxes,
//! which are panels.
//!
//! They lie there as [`Chunks`](super::chunks::Chunks) in panels do: the engine exchanges chunks of lines of 128 bytes alike.
//! *Source*: PTX ISA 9.0, §5.5.3 to §5.5.6 (tensors, bounding boxes, swizzling).

use super::chunks::{PANEL_BYTES, chunk_elements};
use super::strides::is_multiple;
use crate::kernel::{Axis, BufferId};
use crate::lower::context::Context;
use crate::lower::{Arg, TensorMap};
use crate::tile::{Builder, Lane, MOST_TENSOR_AXES, PipelineStmt, Reg};
use kiln_ir::{DType, Dim};

/// Boxes of one operand, or of results.
#[derive(Clone)]
pub(super) struct Boxes {
    /// What they are of.
    pub map: TensorMap,
    /// Where a box begins along the first two axes: the one that lines run along, and the other.
    pub first: [Dim; 2],
    /// Axes of the map behind these.
    pub others: Vec<Axis>,
    /// Boxes of a step, which follow each other along the first axis.
    pub count: i64,
    /// Elements from one to the next.
    pub length: i64,
    /// Bytes of shared memory of each.
    pub bytes: i64,
    /// Blocks of a cluster that want the same: each asks for a part of the lines of every box, for all of them.
    pub blocks: i64,
}

impl Boxes {
    /// Panels of so many lines, `count` of them, of what an offset in a buffer names: along the first axis their lines run, the second is
    /// the other one, each with where they begin; `batch` are the axes beside these.
    ///
    /// None where the engine does not know them: elements that are not equally far apart, strides or a first element that are no
    /// multiples of 16 bytes or negative, more axes or longer boxes than it takes.
    pub(super) fn new(
        cx: &Context,
        place: (BufferId, &Dim),
        dtype: DType,
        [(along, first), (across, second)]: [(&Axis, Dim); 2],
        batch: &[Axis],
        (lines, count): (i64, i64),
    ) -> Option<Boxes> {
        let length = PANEL_BYTES / dtype.size_bytes() as i64;
        let axes: Vec<&Axis> = [along, across].into_iter().chain(batch).collect();
        let (map, kept) = TensorMap::of(cx.program, place, dtype, &axes, [length, lines])?;
        let chunk = chunk_elements(dtype);
        let aligned = map.strides.iter().chain([&map.first]).all(|dim| is_multiple(dim, chunk) && cx.ranges.range(dim).min >= 0);
        let is_known = aligned && map.boxes.len() <= MOST_TENSOR_AXES && map.boxes.iter().all(|length| (1..=256).contains(length));
        let others = kept[2..].iter().map(|at| axes[*at].clone()).collect();
        is_known.then(|| Boxes { map, first: [first, second], others, count, length, bytes: lines * PANEL_BYTES, blocks: 1 })
    }

    /// The same for all blocks of a cluster.
    pub(super) fn for_all(mut self, blocks: i64) -> Boxes {
        self.blocks = blocks;
        self.map.boxes[1] /= blocks;
        self
    }

    /// Bytes of a step.
    pub(super) fn total(&self) -> i64 {
        self.count * self.bytes
    }

    /// Asks for all boxes of a step, which come to `to` and tell `barrier`; `rank` is the number of the block in its cluster.
    pub(super) fn ask(&self, cx: &mut Context, b: &mut Builder, (to, barrier): (Reg, Reg), rank: Reg) {
        let blocks = self.blocks as u32;
        let lines = (blocks > 1).then(|| b.mul_int(rank, self.map.boxes[1]));
        let to = lines.map_or(to, |lines| {
            let skipped = b.mul_int(lines, PANEL_BYTES);
            b.add(to, skipped)
        });
        self.each(cx, b, to, lines, |b, to, map, first| b.pipeline(PipelineStmt::CopyBox { to, map, first, barrier, blocks }));
    }

    /// Begins to store all boxes, which lie at `from` and have been shown to the engine.
    pub(super) fn store(&self, cx: &mut Context, b: &mut Builder, from: Reg) {
        self.each(cx, b, from, None, |b, from, map, first| b.pipeline(PipelineStmt::StoreBox { from, map, first }));
        b.pipeline(PipelineStmt::EndStores);
    }

    /// Each box by its place in shared memory, the map, and its first element, which lies so many lines further.
    fn each(
        &self,
        cx: &mut Context,
        b: &mut Builder,
        place: Reg,
        lines: Option<Reg>,
        mut emit: impl FnMut(&mut Builder, Reg, Reg, [Option<Reg>; MOST_TENSOR_AXES]),
    ) {
        let map = cx.argument(b, Arg::TensorMap(self.map.clone()));
        for number in 0..self.count {
            let [along, across] = &self.first;
            let along = along + Dim::from(number * self.length);
            let indices = [along, across.clone()].into_iter().chain(self.others.iter().map(|axis| Dim::from(axis.index.clone())));
            let mut first = [None; MOST_TENSOR_AXES];
            for (at, index) in indices.enumerate() {
                let index = cx.index(b, &index);
                let index = lines.filter(|_| at == 1).map_or(index, |lines| b.add(index, lines));
                first[at] = Some(b.wrap(index, Lane::I32));
            }
            let place = b.add_int(place, number * self.bytes);
            emit(b, place, map, first);
        }
    }
}
