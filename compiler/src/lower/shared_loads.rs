//! Points beside each other that share what they load: the pixels of a line under depthwise convolutions.
//!
//! ```text
//! for each line, pixel, vector of channels: Σ taps
//!      →      for each block of channels, line, few pixels, vector of the block: Σ taps of each pixel
//! ```
//!
//! Each multiply-add of such a sum needs an element of the image and a weight, and loading both takes longer than multiplying. Written
//! out one after the other, the sums of neighbouring pixels load weights once, and an element of the image once for all windows that
//! it is in. A vector holds channels, so these are registers as they are. Blocks have as many channels as the first-level cache holds
//! of the lines of a window, so that each line comes from further away once.

use super::context::Context;
use super::dot;
use super::nest::{self, Tasks, Work, split};
use super::parts::even_parts;
use super::stage::{along_axis, has_rest, over, whole_vectors};
use super::tasks::for_each_task;
use crate::kernel::{Axis, Stage};
use crate::tile::Builder;
use kiln_ir::{Dim, Symbol};

/// Pixels that are written out, at most.
const MOST_PIXELS: i64 = 8;
/// Pixels where their number is not known.
const USUAL_PIXELS: i64 = 4;
/// Bytes of the lines of a window that stay in the first-level cache.
const CLOSE_BYTES: i64 = 32 << 10;
/// Vectors of channels of a block at least: fewer are too short a run of memory.
const LEAST_VECTORS: i64 = 4;
/// Lines at least that a thread keeps for all blocks: each of its parts reads some lines of the next.
const LEAST_LINES: i64 = 7;

/// Sums at all points along axes, one of which vectors run along.
pub(super) struct SharedLoads<'a> {
    lines: &'a [Axis],
    pixel: &'a Axis,
    channel: &'a Axis,
    works: &'a [Work],
    /// Depth of the sums.
    taps: &'a [Axis],
    /// Pixels that are written out together.
    group: i64,
}

impl<'a> SharedLoads<'a> {
    /// What these stages are, if that is what they are: sums that are written out and then stored. Lanes are to run along `channel`.
    pub(super) fn of(others: &'a [Axis], channel: &'a Axis, works: &'a [Work]) -> Option<SharedLoads<'a>> {
        let [Work::Dot { axes: taps, chunk, .. }, Work::Stage(Stage::Sweep { axes: inner, .. })] = works else { return None };
        let (pixel, lines) = others.split_last()?;
        let group = match pixel.extent.as_const() {
            Some(0 | 1) => return None,
            Some(n) => group_of(n),
            None => USUAL_PIXELS,
        };
        (dot::is_written_out(taps, *chunk) && inner.is_empty()).then_some(SharedLoads { lines, pixel, channel, works, taps, group })
    }

    /// Emits them, `vectors` of channels at a time; `work` is that of one sum.
    pub(super) fn lower(&self, cx: &mut Context, b: &mut Builder, vectors: (u32, bool), work: &Dim) -> Tasks {
        let all = (&Dim::ZERO, &self.channel.extent);
        if let (Some(channels), Some((line, outer))) = (self.block(vectors.0), self.lines.split_last()) {
            return self.lower_blocks(cx, b, vectors, work, (outer, line), channels);
        }
        let line = work * &self.pixel.extent * &self.channel.extent;
        let (digits, inner) = split(self.lines, &line);
        for_each_task(cx, b, digits, |cx, b| {
            over(cx, b, inner, &[], &mut |cx, b, _| {
                self.line(cx, b, vectors, all);
                vec![]
            });
        });
        let inside = Dim::product(inner.iter().map(|a| &a.extent));
        Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work: line * inside }
    }

    /// Channels of a block: a whole number of vectors, of which a whole number are all there are.
    fn block(&self, lanes: u32) -> Option<i64> {
        let (lanes, channels, pixels) = (i64::from(lanes), self.channel.extent.as_const()?, self.pixel.extent.as_const()?);
        let windows = Dim::product(self.taps.iter().rev().skip(1).map(|axis| &axis.extent)).as_const()?;
        let bytes = windows.max(1).saturating_mul(pixels).saturating_mul(lanes * 4).max(1);
        let vectors = channels / lanes;
        let block = (LEAST_VECTORS..=vectors.min(CLOSE_BYTES / bytes)).rev().find(|block| vectors % block == 0)?;
        (channels % lanes == 0 && block < vectors).then_some(block * lanes)
    }

    /// Block by block, each over some lines one after the other.
    fn lower_blocks(
        &self,
        cx: &mut Context,
        b: &mut Builder,
        vectors: (u32, bool),
        work: &Dim,
        (outer, line): (&[Axis], &Axis),
        channels: i64,
    ) -> Tasks {
        let parts = line.extent.as_const().and_then(|n| even_parts(n, |parts| n / parts >= LEAST_LINES)).unwrap_or(1);
        let axis = |name: &str, extent: Dim| Axis { index: Symbol::new(name), extent };
        let lines = line.extent.floor_div(&Dim::from(parts));
        let (part, block) = (axis("#part", Dim::from(parts)), axis("#block", self.channel.extent.floor_div(&Dim::from(channels))));
        let within = axis("#line", lines.clone());
        let at = Dim::from(part.index.clone()) * &lines + Dim::from(within.index.clone());
        let first = Dim::from(block.index.clone()) * Dim::from(channels);
        let end = &first + Dim::from(channels);
        let digits = [outer, &[part, block, within]].concat();
        for_each_task(cx, b, &digits, |cx, b| {
            cx.replaced(&line.index, at.clone(), |cx| self.line(cx, b, vectors, (&first, &end)));
        });
        Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work: work * &self.pixel.extent * Dim::from(channels) }
    }

    /// All pixels of one line: in groups, then those that are left.
    fn line(&self, cx: &mut Context, b: &mut Builder, vectors: (u32, bool), channels: (&Dim, &Dim)) {
        let extent = &self.pixel.extent;
        let index = Symbol::new("#pixels");
        cx.ranges.set_index(index.clone(), extent.clone());
        let whole = whole_vectors(cx, b, extent, self.group as u32);
        if extent.as_const().is_none_or(|n| n >= self.group) {
            let start = cx.index(b, &Dim::ZERO);
            cx.counted(b, &index, start, whole, self.group, &[], |cx, b, _| {
                self.pixels(cx, b, vectors, channels, &Dim::from(index.clone()), self.group);
                vec![]
            });
        }
        match extent.as_const() {
            Some(n) if n % self.group == 0 => {}
            Some(n) => self.pixels(cx, b, vectors, channels, &Dim::from(n - n % self.group), n % self.group),
            None if has_rest(cx, extent, self.group as u32) => {
                let end = cx.index(b, extent);
                cx.counted(b, &index, whole, end, 1, &[], |cx, b, _| {
                    self.pixels(cx, b, vectors, channels, &Dim::from(index.clone()), 1);
                    vec![]
                });
            }
            None => {}
        }
    }

    /// So many pixels from `first` on.
    fn pixels(&self, cx: &mut Context, b: &mut Builder, vectors: (u32, bool), channels: (&Dim, &Dim), first: &Dim, count: i64) {
        along_axis(cx, b, self.channel, channels, vectors, &mut |cx, b| {
            cx.sharing_loads(|cx| {
                for pixel in 0..count {
                    cx.replaced(&self.pixel.index, first + Dim::from(pixel), |cx| nest::run(cx, b, self.works, None));
                }
            });
        });
    }
}

/// The largest number of pixels of which there is a whole number in all, or many if that is small.
fn group_of(all: i64) -> i64 {
    let most = MOST_PIXELS.min(all);
    (most / 2 + 1..=most).rev().find(|group| all % group == 0).unwrap_or(most)
}
