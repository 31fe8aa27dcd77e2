//! Updates in place: the last inputs and outputs of a function may be the same memory.
//! ```text
//! a: w' ← w − g            b: y ← w · x                b: y ← w · x            a: w' ← w − g
//! b: y ← w · x        →    a: w' ← w − g     (w' overwrites w, so what reads w comes first)
//! ```
//! Where that cannot be, or a kernel reads other elements of the old value than it writes of the new one, the new value is made
//! beside it and copied at the end.

use crate::kernel::{
    Access, Axis, Body, Buffer, BufferId, BufferKind, ExprKind, Exprs, Kernel, Nest, Program, Stage, Step, Store, row_major,
};
use kiln_ir::Symbol;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Lets each of the last `states` outputs overwrite the input at the same place from the end.
pub fn update_in_place(program: &mut Program, states: usize) {
    let tail = |list: &[(String, BufferId)]| list[list.len() - states..].iter().map(|(_, id)| *id).collect::<Vec<_>>();
    let pairs: Vec<(BufferId, BufferId)> = tail(&program.inputs).into_iter().zip(tail(&program.outputs)).collect();
    let mut order = Order::new(&program.steps);
    let mut copied = Vec::new();
    for (old, new) in &pairs {
        let writers: Vec<usize> = order.of(new, |touch| &touch.stores);
        let readers: Vec<usize> = order.of(old, |touch| &touch.loads);
        let inside = writers.iter().filter(|w| readers.contains(w)).all(|w| point_by_point(&program.steps[*w], *old, *new));
        let later = writers.iter().all(|w| readers.iter().all(|r| r == w || !order.depends(*r, *w)));
        if inside && later {
            for writer in writers {
                readers.iter().filter(|r| **r != writer).for_each(|reader| order.before(*reader, writer));
            }
        } else {
            copied.push(*new);
        }
    }
    let mut steps: Vec<Option<Step>> = std::mem::take(&mut program.steps).into_iter().map(Some).collect();
    program.steps = order.sorted().into_iter().filter_map(|at| steps[at].take()).collect();
    for new in copied {
        let made = &mut program.buffers[new.0 as usize];
        let kind = std::mem::replace(&mut made.kind, BufferKind::Temporary);
        let output = Buffer { kind, ..made.clone() };
        let output = program.add_buffer(output);
        program.outputs.iter_mut().filter(|(_, id)| *id == new).for_each(|(_, id)| *id = output);
        program.steps.push(copy(program, new, output));
    }
}

/// What a step reads and writes.
struct Touch {
    loads: BTreeSet<BufferId>,
    stores: BTreeSet<BufferId>,
}

/// Steps and which of them must come before which.
struct Order {
    touches: Vec<Touch>,
    after: Vec<BTreeSet<usize>>,
}

impl Order {
    fn new(steps: &[Step]) -> Order {
        let touch = |step: &Step| {
            let mut touch = Touch { loads: BTreeSet::new(), stores: BTreeSet::new() };
            step.visit_kernels(&mut |kernel| {
                touch.loads.extend(kernel.loads());
                touch.stores.extend(kernel.stores().iter().map(|store| store.buffer));
            });
            touch
        };
        let touches: Vec<Touch> = steps.iter().map(touch).collect();
        let mut after = vec![BTreeSet::new(); steps.len()];
        let mut written: BTreeMap<BufferId, usize> = BTreeMap::new();
        let mut read: BTreeMap<BufferId, Vec<usize>> = BTreeMap::new();
        for (at, touch) in touches.iter().enumerate() {
            for buffer in touch.loads.iter().chain(&touch.stores) {
                if let Some(writer) = written.get(buffer) {
                    after[*writer].insert(at);
                }
            }
            for buffer in &touch.stores {
                read.remove(buffer).into_iter().flatten().for_each(|reader| {
                    after[reader].insert(at);
                });
                written.insert(*buffer, at);
            }
            touch.loads.iter().for_each(|buffer| read.entry(*buffer).or_default().push(at));
        }
        Order { touches, after }
    }

    fn of(&self, buffer: &BufferId, list: impl Fn(&Touch) -> &BTreeSet<BufferId>) -> Vec<usize> {
        (0..self.touches.len()).filter(|at| list(&self.touches[*at]).contains(buffer)).collect()
    }

    /// Whether step `b` must come before step `a`.
    fn depends(&self, a: usize, b: usize) -> bool {
        let (mut left, mut seen) = (vec![b], BTreeSet::new());
        while let Some(at) = left.pop() {
            if at == a {
                return true;
            }
            left.extend(self.after[at].iter().filter(|next| seen.insert(**next)));
        }
        false
    }

    fn before(&mut self, first: usize, second: usize) {
        self.after[first].insert(second);
    }

    /// All steps, each after what it must come after, else in the order they were in.
    fn sorted(&self) -> Vec<usize> {
        let mut waits = vec![0; self.after.len()];
        self.after.iter().flatten().for_each(|at| waits[*at] += 1);
        let mut ready: BinaryHeap<Reverse<usize>> = (0..waits.len()).filter(|at| waits[*at] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(waits.len());
        while let Some(Reverse(at)) = ready.pop() {
            order.push(at);
            for next in &self.after[at] {
                waits[*next] -= 1;
                if waits[*next] == 0 {
                    ready.push(Reverse(*next));
                }
            }
        }
        order
    }
}

/// Whether a step reads an element of `old` only at the point that makes the element of `new` at the same place: all values of a
/// point are there before the first is stored.
fn point_by_point(step: &Step, old: BufferId, new: BufferId) -> bool {
    let Step::Run(kernel @ Kernel { body: Body::Nest(Nest { stages, .. }), .. }) = step else { return false };
    let [Stage::Sweep { stores, .. }] = &stages[..] else { return false };
    let same_place = |access: &Access| {
        let is_made = |store: &Store| store.buffer == new && store.offset == access.offset && store.combine.is_none();
        access.bounds.is_empty() && stores.iter().any(is_made)
    };
    kernel.live_exprs().into_iter().all(|id| match &kernel.exprs.get(id).kind {
        ExprKind::Load(access) if access.buffer == old => same_place(access),
        _ => true,
    })
}

/// A kernel that copies one buffer to another of its shape.
fn copy(program: &Program, from: BufferId, to: BufferId) -> Step {
    let buffer = program.buffer(to);
    let parallel: Vec<Axis> = (buffer.shape.iter().enumerate())
        .map(|(axis, extent)| Axis { index: Symbol::new(&format!("i{axis}")), extent: extent.clone() })
        .collect();
    let offset = row_major(&parallel);
    let mut exprs = Exprs::default();
    let access = Access { buffer: from, offset: offset.clone(), bounds: Vec::new(), otherwise: None };
    let value = exprs.add(buffer.dtype, ExprKind::Load(access));
    let stage = Stage::Sweep { axes: Vec::new(), stores: vec![Store { buffer: to, offset, value, combine: None }] };
    let body = Body::Nest(Nest { parallel, stages: vec![stage], serial: false });
    Step::Run(Kernel { name: format!("{} in place", buffer.name), origins: Vec::new(), exprs, body })
}
