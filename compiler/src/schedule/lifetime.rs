//! From which step to which step a buffer's contents matter.
//!
//! Kernels are numbered in order through all loops. A buffer that a loop touches lives for the whole loop, because the next
//! turn may need it, unless it is made anew and used up inside one turn. A loop that one kernel takes counts as one kernel: its blocks
//! are not all in the same place of a turn.

use crate::kernel::{BufferId, Kernel, LoopKind, Step};
use kiln_ir::Symbol;
use std::collections::BTreeMap;

/// The first and the last kernel that touch a buffer, both inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetime {
    /// Number of the first kernel.
    pub first: usize,
    /// Number of the last kernel.
    pub last: usize,
}

impl Lifetime {
    /// Whether both are alive at some kernel.
    pub fn overlaps(self, other: Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Lifetimes of all buffers that the steps touch.
pub fn lifetimes(steps: &[Step]) -> BTreeMap<BufferId, Lifetime> {
    let mut walk = Walk::default();
    walk.steps(steps);
    walk.touches.iter().map(|(id, touches)| (*id, walk.lifetime(touches))).collect()
}

/// One kernel touching one buffer.
struct Touch {
    kernel: usize,
    /// Enclosing loops, outermost first.
    path: Vec<usize>,
    /// For each loop of `path`: the kernel only stores, and the same elements in every turn of that loop.
    renews: Vec<bool>,
}

#[derive(Default)]
struct Walk {
    kernels: usize,
    /// Span of each loop met so far.
    loops: Vec<Lifetime>,
    /// Loops around the current step and their indices.
    open: Vec<(usize, Symbol)>,
    /// Whether all kernels that are met are parts of one.
    is_one_kernel: bool,
    touches: BTreeMap<BufferId, Vec<Touch>>,
}

impl Walk {
    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Run(kernel) => self.kernel(kernel),
                Step::Loop { index, kind, body, .. } => {
                    let id = self.loops.len();
                    self.loops.push(Lifetime { first: self.kernels, last: self.kernels });
                    self.open.push((id, index.clone()));
                    self.is_one_kernel = matches!(kind, LoopKind::Persistent { .. });
                    self.steps(body);
                    if std::mem::take(&mut self.is_one_kernel) {
                        self.kernels += 1;
                    }
                    self.open.pop();
                    self.loops[id].last = self.kernels.saturating_sub(1).max(self.loops[id].first);
                }
            }
        }
    }

    fn kernel(&mut self, kernel: &Kernel) {
        let path: Vec<usize> = self.open.iter().map(|(id, _)| *id).collect();
        let regardless: Vec<bool> = self.open.iter().map(|(_, index)| kernel.stores_regardless_of(index)).collect();
        let loads = kernel.loads();
        let mut touched = loads.clone();
        touched.extend(kernel.stores().iter().map(|store| store.buffer));
        for id in touched {
            let renews = if loads.contains(&id) { vec![false; path.len()] } else { regardless.clone() };
            self.touches.entry(id).or_default().push(Touch { kernel: self.kernels, path: path.clone(), renews });
        }
        self.kernels += usize::from(!self.is_one_kernel);
    }

    fn lifetime(&self, touches: &[Touch]) -> Lifetime {
        let common = touches.iter().map(|touch| touch.path.as_slice()).reduce(common_prefix).unwrap_or(&[]);
        // Inside its innermost common loop, a buffer whose first kernel renews it needs nothing of the turn before.
        let made_in_turn = common.len().checked_sub(1).is_some_and(|innermost| touches[0].renews[innermost]);
        let depth = if made_in_turn { common.len() } else { 0 };
        let span = |touch: &Touch| match touch.path.get(depth) {
            Some(inner) => self.loops[*inner],
            None => Lifetime { first: touch.kernel, last: touch.kernel },
        };
        let spans = touches.iter().map(span);
        spans.reduce(|a, b| Lifetime { first: a.first.min(b.first), last: a.last.max(b.last) }).expect("a touched buffer has a touch")
    }
}

fn common_prefix<'a>(a: &'a [usize], b: &'a [usize]) -> &'a [usize] {
    let length = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    &a[..length]
}
