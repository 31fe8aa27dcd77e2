//! One buffer that is dropped and made again, with the steps that this takes.

use super::timeline::{Item, Spans, Timeline};
use crate::kernel::BufferId;
use std::collections::{BTreeMap, BTreeSet};

/// Steps that one buffer may take to be made again.
const MOST_STEPS: usize = 256;
/// A buffer so many times smaller than the one that is dropped is kept for it rather than made again.
const SMALL: i64 = 8;

/// Whether values that are made again further on anyway are made here for both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// They are: nothing is done three times, and more is alive in between.
    WithLater,
    /// They are made each time.
    Alone,
}

/// A buffer to drop.
pub struct Candidate {
    /// Which.
    pub buffer: BufferId,
    /// The item before which it is made again.
    pub before: usize,
    /// Operations that this takes.
    pub work: f64,
    /// Items that are done again.
    again: BTreeSet<usize>,
    /// Buffers that they store.
    made: BTreeSet<BufferId>,
    sharing: Sharing,
}

impl Candidate {
    /// What it takes to drop `buffer` at item `peak`; nothing where it cannot be made again.
    pub fn find(timeline: &Timeline, spans: &Spans, buffer: BufferId, peak: usize, sharing: Sharing) -> Option<Candidate> {
        let before = spans.of(buffer).loads.iter().copied().find(|at| *at > peak)?;
        let mut found = Candidate { buffer, before, work: 0.0, again: BTreeSet::new(), made: BTreeSet::new(), sharing };
        let mut left = vec![buffer];
        let mut read: Vec<(BufferId, usize)> = Vec::new();
        loop {
            while let Some(id) = left.pop() {
                if !timeline.is_temporary(id) || spans.of(id).stores.is_empty() {
                    return None;
                }
                if !found.made.insert(id) {
                    continue;
                }
                for &at in &spans.of(id).stores {
                    if at >= before || found.again.len() >= MOST_STEPS {
                        return None;
                    }
                    if found.again.insert(at) {
                        let item = &timeline.items[at];
                        left.extend(timeline.stores(item));
                        read.extend(timeline.loads(item).map(|id| (id, at)));
                    }
                }
            }
            let Some((id, at)) = read.pop() else { break };
            if found.made.contains(&id) {
                continue;
            }
            // It must hold then what it held before.
            let span = spans.of(id);
            if span.stores.iter().any(|store| *store >= at) || timeline.overwritten(spans, id).is_some_and(|store| store < before) {
                return None;
            }
            let stays = span.last() >= peak || timeline.bytes_of(id) * SMALL <= timeline.bytes_of(buffer);
            if timeline.is_temporary(id) && !stays {
                left.push(id);
            }
        }
        found.work = found.again.iter().map(|at| timeline.work_of(&timeline.items[*at])).sum();
        if sharing == Sharing::WithLater {
            let origins: BTreeSet<BufferId> = found.made.iter().map(|id| timeline.origin(*id)).collect();
            let later =
                timeline.items[before..].iter().filter(|item| timeline.stores(item).any(|id| origins.contains(&timeline.origin(id))));
            let saved: f64 = later.map(|item| timeline.work_of(item)).sum();
            if saved == 0.0 {
                return None;
            }
            found.work -= saved;
        }
        Some(found)
    }

    /// The items with it made again, and the origins of their buffers.
    pub fn apply(&self, timeline: &Timeline, spans: &Spans) -> (Vec<Item>, Vec<BufferId>) {
        let mut origin = timeline.origins();
        let mut names: BTreeMap<BufferId, BufferId> = BTreeMap::new();
        for id in &self.made {
            names.insert(*id, BufferId(origin.len() as u32));
            origin.push(timeline.origin(*id));
        }
        let by_origin: BTreeMap<BufferId, BufferId> = names.iter().map(|(id, name)| (timeline.origin(*id), *name)).collect();
        let mut items = timeline.items[..self.before].to_vec();
        items.extend(self.again.iter().map(|at| timeline.renamed(&timeline.items[*at], &names)));
        for (at, item) in timeline.items.iter().enumerate().skip(self.before) {
            let name = |id: BufferId| match self.sharing {
                Sharing::Alone => names.get(&id),
                Sharing::WithLater => by_origin.get(&timeline.origin(id)),
            };
            // Those that read it before all of it is there are part of making it.
            let whole = |id: &BufferId| spans.of(*id).stores.iter().all(|store| *store < at);
            let names = timeline.loads(item).filter(whole).filter_map(|id| Some((id, *name(id)?))).collect();
            items.push(timeline.renamed(item, &names));
        }
        remove_unused(timeline, &mut items, &origin);
        (items, origin)
    }
}

/// Removes items whose results nothing reads any more.
fn remove_unused(timeline: &Timeline, items: &mut Vec<Item>, origin: &[BufferId]) {
    loop {
        let mut readers = vec![0usize; origin.len()];
        items.iter().for_each(|item| timeline.loads(item).for_each(|id| readers[id.0 as usize] += 1));
        let is_temporary = |id: BufferId| timeline.is_temporary(origin[id.0 as usize]);
        let unused = |item: &Item| {
            // A loop reads what it stores itself: that alone is no use, but what others stored for it is used.
            let own: BTreeSet<BufferId> = timeline.loads(item).collect();
            let mut stores = timeline.stores(item).peekable();
            stores.peek().is_some() && stores.all(|id| is_temporary(id) && readers[id.0 as usize] == usize::from(own.contains(&id)))
        };
        let before = items.len();
        items.retain(|item| !unused(item));
        if items.len() == before {
            return;
        }
    }
}
