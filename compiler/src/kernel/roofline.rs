//! How long kernels take on a machine, roughly: the longer of computing and moving bytes, and a start for each.
//!
//! Only how prices of programs that compute the same compare matters. What a backend does inside a kernel is known as far as it decides
//! between such programs: tiles are filled up, weights come from memory, small buffers stay in the cache.
//!
//! Source: Williams, Waterman & Patterson 2009, "Roofline: An Insightful Visual Performance Model".

use super::{Attention, Body, BufferId, BufferKind, Contract, ExprId, ExprKind, Kernel, Nest, Program, Stage, Step, buffers_touched, cost};
use kiln_ir::{Dim, Symbol};
use std::collections::BTreeMap;

/// A size that nothing is known of counts as this many.
const OPEN: i64 = 32;

/// What a machine can do, all of one core.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Machine {
    /// Floating-point operations of contractions per second, two a multiply-add.
    pub flops_per_second: f64,
    /// Other operations on elements per second, in units of [`super::cost`].
    pub operations_per_second: f64,
    /// Bytes per second from and to the caches.
    pub close_bytes_per_second: f64,
    /// Bytes per second from and to memory.
    pub far_bytes_per_second: f64,
    /// What the caches hold.
    pub close_bytes: f64,
    /// From the end of one kernel to the begin of the next.
    pub launch_seconds: f64,
    /// What each load costs a kernel whose elements may lie outside of what is stored.
    pub bounded_load_seconds: f64,
    /// Rows and columns of the tiles in which contractions are computed.
    pub tile: [f64; 2],
}

/// Bytes that are moved.
#[derive(Clone, Copy, Default, Debug)]
pub struct Traffic {
    /// In the caches.
    pub close: f64,
    /// From and to memory.
    pub far: f64,
}

impl Machine {
    /// Where so many bytes lie: what is not written by the program itself lies far, unless all of that fits the caches.
    pub fn traffic(&self, bytes: f64, stays: bool) -> Traffic {
        match stays && bytes <= self.close_bytes {
            true => Traffic { close: bytes, far: 0.0 },
            false => Traffic { close: 0.0, far: bytes },
        }
    }

    /// Seconds of a contraction, its end and what it moves.
    pub fn contraction(&self, sides: [f64; 2], batch: f64, depth: f64, operations: f64, traffic: Traffic) -> f64 {
        let [short, long] = if sides[0] <= sides[1] { sides } else { [sides[1], sides[0]] };
        // A vector needs no tile of rows.
        let rows = if short < self.tile[0] { short } else { filled(short, self.tile[0]) };
        let flops = 2.0 * batch * rows * filled(long, self.tile[1]) * depth;
        self.longer(flops / self.flops_per_second + operations / self.operations_per_second, traffic)
    }

    /// Seconds of a convolution with so many outputs of each group: they are in lanes, however few, and pixels are rows. With one each,
    /// groups are in lanes.
    pub fn convolution(&self, outputs: f64, pixels: f64, groups: f64, depth: f64, operations: f64, traffic: Traffic) -> f64 {
        if outputs <= 1.0 {
            return self.contraction([outputs, pixels], groups, depth, operations, traffic);
        }
        let flops = 2.0 * groups * filled(outputs, self.tile[1]) * filled(pixels, self.tile[0]) * depth;
        self.longer(flops / self.flops_per_second + operations / self.operations_per_second, traffic)
    }

    /// Seconds of anything else.
    pub fn other(&self, operations: f64, traffic: Traffic) -> f64 {
        self.longer(operations / self.operations_per_second, traffic)
    }

    fn longer(&self, computing: f64, traffic: Traffic) -> f64 {
        let moving = traffic.close / self.close_bytes_per_second + traffic.far / self.far_bytes_per_second;
        computing.max(moving) + self.launch_seconds
    }
}

fn filled(size: f64, tile: f64) -> f64 {
    (size / tile).ceil() * tile
}

/// The value of a dim where symbols have their usual sizes; [`OPEN`] stands for those that have none.
pub fn usual_size(dim: &Dim, usual: &BTreeMap<Symbol, i64>) -> f64 {
    let size = |s: &Symbol| Some(usual.get(s).copied().unwrap_or(OPEN));
    dim.evaluate(&size).map_or(OPEN as f64, |n| n.max(0) as f64)
}

/// Seconds of a run at the usual sizes, what is prepared once left out.
pub fn seconds(program: &Program, machine: &Machine) -> f64 {
    let size = |dim: &Dim| usual_size(dim, &program.usual_sizes);
    let is_weight = |kind: &BufferKind| matches!(kind, BufferKind::Constant(_) | BufferKind::Parameter(_) | BufferKind::Prepared);
    let width = |id: BufferId| program.buffer(id).dtype.size_bytes() as f64;
    let bytes = |id: BufferId| size(&program.buffer(id).elements()) * width(id);
    let used = buffers_touched(&program.steps).into_iter().filter(|id| is_weight(&program.buffer(*id).kind));
    let weights: f64 = used.map(bytes).sum();
    let pricing = Pricing {
        machine,
        size: &size,
        traffic: &|id, elements| {
            let weight = is_weight(&program.buffer(id).kind);
            machine.traffic(bytes(id).min(width(id) * elements), !weight || weights <= machine.close_bytes)
        },
    };
    pricing.steps(&program.steps)
}

struct Pricing<'a> {
    machine: &'a Machine,
    size: &'a dyn Fn(&Dim) -> f64,
    /// Of a buffer, of which no more than so many elements are touched.
    traffic: &'a dyn Fn(BufferId, f64) -> Traffic,
}

impl Pricing<'_> {
    fn steps(&self, steps: &[Step]) -> f64 {
        let step = |step: &Step| match step {
            Step::Run(kernel) => self.kernel(kernel),
            Step::Loop { extent, body, .. } => (self.size)(extent) * self.steps(body),
        };
        steps.iter().map(step).sum()
    }

    fn product<'d>(&self, dims: impl IntoIterator<Item = &'d Dim>) -> f64 {
        dims.into_iter().map(self.size).product()
    }

    fn kernel(&self, kernel: &Kernel) -> f64 {
        let traffic = self.touched(kernel).into_iter().map(|(id, elements)| (self.traffic)(id, elements));
        let traffic = traffic.fold(Traffic::default(), |sum, one| Traffic { close: sum.close + one.close, far: sum.far + one.far });
        let inside = match &kernel.body {
            Body::Contract(contract) => self.contract(kernel, contract, traffic),
            Body::Nest(nest) => self.machine.other(self.nest_operations(kernel, nest), traffic),
            Body::Attention(attention) => self.attention(kernel, attention, traffic),
        };
        inside + self.machine.bounded_load_seconds * self.bounded_loads(kernel) as f64
    }

    /// How many elements of each buffer are loaded or stored, at most: one for each point of the indices in the offset.
    fn touched(&self, kernel: &Kernel) -> BTreeMap<BufferId, f64> {
        let axes = kernel.axes();
        let points = |offset: &Dim| {
            let known = |symbol: &Symbol| ExprId::of_symbol(symbol).is_none();
            match offset.symbols().iter().all(known) {
                true => self.product(axes.iter().filter(|axis| offset.mentions(&axis.index)).map(|axis| &axis.extent)),
                // Wherever an index that was read says.
                false => self.product(axes.iter().map(|axis| &axis.extent)),
            }
        };
        let mut touched: BTreeMap<BufferId, f64> = BTreeMap::new();
        for id in kernel.live_exprs() {
            if let ExprKind::Load(access) = &kernel.exprs.get(id).kind {
                *touched.entry(access.buffer).or_default() += points(&access.offset);
            }
        }
        for store in kernel.stores() {
            *touched.entry(store.buffer).or_default() += points(&store.offset);
        }
        touched
    }

    /// Loads whose elements may lie outside, as images without margins have it: each is a case of its own at every edge.
    fn bounded_loads(&self, kernel: &Kernel) -> usize {
        let is_bounded = |id: &ExprId| matches!(&kernel.exprs.get(*id).kind, ExprKind::Load(access) if !access.bounds.is_empty());
        kernel.live_exprs().into_iter().filter(is_bounded).count()
    }

    fn contract(&self, kernel: &Kernel, contract: &Contract, traffic: Traffic) -> f64 {
        let extent = |axes: &[super::Axis]| self.product(axes.iter().map(|axis| &axis.extent));
        let [batch, rows, columns, depth] = [&contract.batch, &contract.rows, &contract.columns, &contract.depth].map(|axes| extent(axes));
        let ends: Vec<ExprId> = contract.stores.iter().map(|store| store.value).collect();
        let operations = batch * rows * columns * cost(&kernel.exprs, &ends) as f64;
        // Pixels of two axes or more, summed over channels and as many axes of taps: nothing else looks so.
        let convolves = contract.rows.len() == 1 && contract.columns.len() > 1 && contract.depth.len() == contract.columns.len() + 1;
        match convolves {
            true => self.machine.convolution(rows, columns, batch, depth, operations, traffic),
            false => self.machine.contraction([rows, columns], batch, depth, operations, traffic),
        }
    }

    /// Both products; the scores between them are a row's end of the first.
    fn attention(&self, kernel: &Kernel, attention: &Attention, traffic: Traffic) -> f64 {
        let extent = |axes: &[super::Axis]| self.product(axes.iter().map(|axis| &axis.extent));
        let [batch, rows, columns, keys, depth] =
            [&attention.batch, &attention.rows, &attention.columns, &attention.keys, &attention.depth].map(|axes| extent(axes));
        let score = (cost(&kernel.exprs, &[attention.score]) + super::UnaryFn::Exp.operations()) as f64;
        let scores = self.machine.contraction([rows, keys], batch, depth, batch * rows * keys * score, traffic);
        scores + self.machine.contraction([rows, columns], batch, keys, 0.0, Traffic::default())
    }

    fn nest_operations(&self, kernel: &Kernel, nest: &Nest) -> f64 {
        let points = self.product(nest.parallel.iter().map(|axis| &axis.extent));
        let stage = |stage: &Stage| {
            let (axes, values): (Vec<&Dim>, Vec<ExprId>) = match stage {
                Stage::Reduce { axes, reductions } => {
                    (axes.iter().map(|axis| &axis.extent).collect(), reductions.iter().map(|r| r.value).collect())
                }
                Stage::Sweep { axes, stores } => (axes.iter().map(|axis| &axis.extent).collect(), stores.iter().map(|s| s.value).collect()),
                Stage::Running { axis, reduction, store, .. } => (vec![&axis.extent], vec![reduction.value, store.value]),
            };
            self.product(axes) * (1 + cost(&kernel.exprs, &values)) as f64
        };
        points * nest.stages.iter().map(stage).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        flops_per_second: 1e9,
        operations_per_second: 1e9,
        close_bytes_per_second: 1e9,
        far_bytes_per_second: 1e9,
        close_bytes: 1e6,
        launch_seconds: 0.0,
        bounded_load_seconds: 0.0,
        tile: [6.0, 16.0],
    };

    /// As measured: 96 groups of one channel, 5 × 5 taps, 28 × 28 pixels take 0.21 ms with one output each and 0.58 to 0.94 with 2 to 16.
    #[test]
    fn outputs_of_a_group_fill_lanes_unless_there_is_one() {
        let seconds = |outputs| MACHINE.convolution(outputs, 786.0, 96.0, 25.0, 0.0, Traffic::default());
        assert_eq!(seconds(2.0), seconds(16.0));
        assert_eq!(2.0 * seconds(16.0), seconds(17.0));
        assert!(2.0 * seconds(1.0) < seconds(2.0));
    }
}
