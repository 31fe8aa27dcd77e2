//! A program as a list of its steps, some of them several times, and what is alive at each.

use super::candidate::{Candidate, Sharing};
use super::work::work;
use super::{evaluate, temporaries};
use crate::kernel::{Buffer, BufferId, BufferKind, Program, Step};
use crate::schedule::memory::{buffer_bytes, live_bytes};
use kiln_ir::Diagnostic;
use kiln_ir::artifact::ALIGNMENT;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What stays true of a step of the program wherever it is done.
struct Facts {
    loads: Vec<BufferId>,
    stores: Vec<BufferId>,
    /// Temporaries that no other step touches, and what they take together.
    own: Vec<BufferId>,
    own_bytes: i64,
    work: f64,
}

/// A step at its place: which one, and what its buffers are called here where they have another name.
#[derive(Clone)]
pub struct Item {
    source: usize,
    names: BTreeMap<BufferId, BufferId>,
}

/// When a buffer is touched, in numbers of items.
#[derive(Clone, Default)]
pub struct Span {
    /// Items that store to it.
    pub stores: Vec<usize>,
    /// Items that load from it.
    pub loads: Vec<usize>,
}

impl Span {
    /// The last item that touches it.
    pub fn last(&self) -> usize {
        self.stores.last().into_iter().chain(self.loads.last()).copied().max().unwrap_or(0)
    }

    fn first(&self) -> usize {
        self.stores.first().into_iter().chain(self.loads.first()).copied().min().unwrap_or(0)
    }
}

/// The buffers of a list of items over time.
pub struct Spans {
    of: Vec<Span>,
    /// Bytes alive at each item.
    alive: Vec<i64>,
}

impl Spans {
    /// When this buffer is touched.
    pub fn of(&self, id: BufferId) -> &Span {
        &self.of[id.0 as usize]
    }

    /// The most bytes alive at once, and at how many items.
    fn height(&self) -> (i64, usize) {
        let most = self.alive.iter().copied().max().unwrap_or(0);
        (most, self.alive.iter().filter(|bytes| **bytes == most).count())
    }
}

/// A program that some of its steps are done again in.
pub struct Timeline {
    facts: Vec<Facts>,
    pub(super) items: Vec<Item>,
    /// Of each buffer, those of the program and copies of them: which one of the program it is.
    origin: Vec<BufferId>,
    /// Bytes of the program's buffers.
    bytes: Vec<i64>,
    is_temporary: Vec<bool>,
    /// States: the buffer of the old value, and that of the new one, which takes its memory.
    states: BTreeMap<BufferId, BufferId>,
}

impl Timeline {
    /// The program as it is. Errors: `memory_open`; `arena_too_large`.
    pub fn new(program: &Program, states: usize) -> Result<Timeline, Diagnostic> {
        let wanted = temporaries(program);
        let mut bytes = vec![0; program.buffers.len()];
        for id in &wanted {
            let size = evaluate(&buffer_bytes(program, *id)?, program)?;
            bytes[id.0 as usize] = (size.max(0) as u64).next_multiple_of(ALIGNMENT as u64) as i64;
        }
        let sizes = |symbol: &kiln_ir::Symbol| program.usual_sizes.get(symbol).copied();
        let mut facts = Vec::new();
        let mut touched_by: BTreeMap<BufferId, usize> = BTreeMap::new();
        for step in &program.steps {
            let (mut loads, mut stores) = (BTreeSet::new(), BTreeSet::new());
            step.visit_kernels(&mut |kernel| {
                loads.extend(kernel.loads());
                stores.extend(kernel.stores().iter().map(|store| store.buffer));
            });
            loads.union(&stores).for_each(|id| *touched_by.entry(*id).or_default() += 1);
            let (loads, stores) = (loads.into_iter().collect(), stores.into_iter().collect());
            facts.push(Facts { loads, stores, own: Vec::new(), own_bytes: 0, work: work(step, &sizes) });
        }
        for (step, facts) in program.steps.iter().zip(&mut facts) {
            let is_own = |id: &BufferId| touched_by[id] == 1 && wanted.contains(id);
            let own: BTreeSet<BufferId> = facts.loads.iter().chain(&facts.stores).copied().filter(is_own).collect();
            facts.own_bytes = live_bytes(program, std::slice::from_ref(step), &own, &sizes).unwrap_or(0);
            facts.loads.retain(|id| !own.contains(id));
            facts.stores.retain(|id| !own.contains(id));
            facts.own = own.into_iter().collect();
        }
        let tail = |list: &[(String, BufferId)]| list[list.len() - states..].iter().map(|(_, id)| *id).collect::<Vec<_>>();
        Ok(Timeline {
            items: (0..facts.len()).map(|source| Item { source, names: BTreeMap::new() }).collect(),
            facts,
            origin: (0..program.buffers.len() as u32).map(BufferId).collect(),
            bytes,
            is_temporary: program.buffers.iter().map(|buffer| buffer.kind == BufferKind::Temporary).collect(),
            states: tail(&program.inputs).into_iter().zip(tail(&program.outputs)).collect(),
        })
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Operations of all of them.
    pub fn work(&self) -> f64 {
        self.items.iter().map(|item| self.facts[item.source].work).sum()
    }

    /// The most bytes alive at once.
    pub fn peak(&self) -> i64 {
        self.spans(&self.items).height().0
    }

    /// Does steps again until at most so many bytes are alive at once; whether it came there.
    pub fn reduce(&mut self, bytes: i64) -> bool {
        let mut spans = self.spans(&self.items);
        while spans.height().0 > bytes {
            let Some((items, origin)) = self.better(&spans) else { return false };
            self.items = items;
            self.origin = origin;
            spans = self.spans(&self.items);
        }
        true
    }

    /// The items with one buffer less alive where most are, and nowhere more than now.
    fn better(&self, spans: &Spans) -> Option<(Vec<Item>, Vec<BufferId>)> {
        let height = spans.height();
        let peak = spans.alive.iter().position(|bytes| *bytes == height.0)?;
        let waits = |id: &BufferId| {
            let span = spans.of(*id);
            self.is_temporary(*id)
                && span.first() < peak
                && span.last() > peak
                && !span.loads.contains(&peak)
                && !span.stores.contains(&peak)
        };
        let waiting: Vec<BufferId> = (0..self.origin.len() as u32).map(BufferId).filter(waits).collect();
        let mut candidates: Vec<Candidate> = (waiting.into_iter())
            .flat_map(|id| [Sharing::WithLater, Sharing::Alone].map(|sharing| Candidate::find(self, spans, id, peak, sharing)))
            .flatten()
            .collect();
        let worth = |candidate: &Candidate| self.bytes_of(candidate.buffer) as f64 / candidate.work.max(1.0);
        candidates.sort_by(|a, b| worth(b).total_cmp(&worth(a)).then(Reverse(a.before).cmp(&Reverse(b.before))));
        candidates.into_iter().find_map(|candidate| {
            let (items, origin) = candidate.apply(self, spans);
            let after = self.spans_of(&items, &origin);
            (after.height() < height).then_some((items, origin))
        })
    }

    /// The program that these items are, made of the one that they were made of.
    pub fn program(&self, program: &Program) -> Program {
        let mut made = Program { steps: Vec::new(), ..program.clone() };
        for origin in &self.origin[program.buffers.len()..] {
            made.add_buffer(program.buffer(*origin).clone());
        }
        let mut seen = BTreeSet::new();
        for item in &self.items {
            let mut names = item.names.clone();
            if !seen.insert(item.source) {
                for own in &self.facts[item.source].own {
                    let buffer: Buffer = program.buffer(*own).clone();
                    names.insert(*own, made.add_buffer(buffer));
                }
            }
            let step: &Step = &program.steps[item.source];
            made.steps.push(step.with_buffers(&names));
        }
        made
    }

    /// Which of the program's buffers it is or is a copy of.
    pub fn origin(&self, id: BufferId) -> BufferId {
        self.origin[id.0 as usize]
    }

    pub(super) fn origins(&self) -> Vec<BufferId> {
        self.origin.clone()
    }

    pub fn bytes_of(&self, id: BufferId) -> i64 {
        self.bytes[self.origin(id).0 as usize]
    }

    pub fn is_temporary(&self, id: BufferId) -> bool {
        self.is_temporary[self.origin(id).0 as usize]
    }

    pub fn work_of(&self, item: &Item) -> f64 {
        self.facts[item.source].work
    }

    pub fn loads<'a>(&'a self, item: &'a Item) -> impl Iterator<Item = BufferId> + 'a {
        self.facts[item.source].loads.iter().map(|id| item.name(*id))
    }

    pub fn stores<'a>(&'a self, item: &'a Item) -> impl Iterator<Item = BufferId> + 'a {
        self.facts[item.source].stores.iter().map(|id| item.name(*id))
    }

    /// The item that overwrites this input, if one does.
    pub fn overwritten(&self, spans: &Spans, id: BufferId) -> Option<usize> {
        self.states.get(&id).and_then(|new| spans.of(*new).stores.first().copied())
    }

    /// The item with other names for buffers.
    pub fn renamed(&self, item: &Item, names: &BTreeMap<BufferId, BufferId>) -> Item {
        let facts = &self.facts[item.source];
        let mut renamed = item.clone();
        for id in facts.loads.iter().chain(&facts.stores) {
            if let Some(name) = names.get(&item.name(*id)) {
                renamed.names.insert(*id, *name);
            }
        }
        renamed
    }

    fn spans(&self, items: &[Item]) -> Spans {
        self.spans_of(items, &self.origin)
    }

    /// When the buffers of these items are touched.
    pub fn spans_of(&self, items: &[Item], origin: &[BufferId]) -> Spans {
        let mut of = vec![Span::default(); origin.len()];
        for (at, item) in items.iter().enumerate() {
            self.loads(item).for_each(|id| of[id.0 as usize].loads.push(at));
            self.stores(item).for_each(|id| of[id.0 as usize].stores.push(at));
        }
        let mut changes = vec![0; items.len() + 1];
        for (span, origin) in of.iter().zip(origin) {
            let touched = !span.loads.is_empty() || !span.stores.is_empty();
            if touched && self.is_temporary[origin.0 as usize] {
                changes[span.first()] += self.bytes[origin.0 as usize];
                changes[span.last() + 1] -= self.bytes[origin.0 as usize];
            }
        }
        let mut alive = 0;
        let alive = items.iter().zip(changes).map(|(item, change)| {
            alive += change;
            alive + self.facts[item.source].own_bytes
        });
        Spans { alive: alive.collect(), of }
    }
}

impl Item {
    fn name(&self, id: BufferId) -> BufferId {
        self.names.get(&id).copied().unwrap_or(id)
    }
}
