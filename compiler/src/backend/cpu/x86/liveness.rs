//! Where registers hold values that are still needed.
//!
//! Line `i` reads at `2i` and writes at `2i + 1`; a range includes its start and excludes its end. A register written over and
//! over (a loop's carried value) has one range for each stretch, so that what is written last may share its machine register.

use super::inst::{Function, Label, Line, VReg};
use std::collections::HashMap;

/// Half-open ranges of positions, ascending, apart from each other.
pub(super) type Ranges = Vec<(u32, u32)>;

/// The ranges of every register.
pub(super) fn ranges(function: &Function) -> Vec<Ranges> {
    let blocks = blocks(&function.lines);
    let live_out = live_out(function, &blocks);
    let mut ranges: Vec<Ranges> = vec![vec![]; function.classes.len()];
    for (block, live) in blocks.iter().zip(&live_out).rev() {
        // Where each live register's range ends; 0 for those that are not live.
        let block_end = 2 * block.end as u32;
        let mut ends: HashMap<VReg, u32> = live.iter().map(|v| (v, block_end)).collect();
        for at in (block.start..block.end).rev() {
            let position = 2 * at as u32;
            let (mut reads, mut writes) = (vec![], vec![]);
            function.lines[at].visit(&mut |v| reads.push(v), &mut |v| writes.push(v));
            for v in writes {
                // A value that nobody reads still occupies its register when it is written.
                let end = ends.remove(&v).unwrap_or(position + 2);
                push(&mut ranges[v.0 as usize], (position + 1, end));
            }
            for v in reads {
                ends.entry(v).or_insert(position + 1);
            }
        }
        let mut rest: Vec<(VReg, u32)> = ends.into_iter().collect();
        rest.sort_unstable();
        for (v, end) in rest {
            push(&mut ranges[v.0 as usize], (2 * block.start as u32, end));
        }
    }
    for list in &mut ranges {
        list.reverse();
    }
    ranges
}

/// Adds a range in front of later ones, joining neighbours; lists are in descending order while they grow.
fn push(list: &mut Ranges, range: (u32, u32)) {
    match list.last_mut() {
        Some(last) if last.0 <= range.1 => {
            last.0 = range.0.min(last.0);
            last.1 = range.1.max(last.1);
        }
        _ => list.push(range),
    }
}

/// Whether two lists have a position in common.
pub(super) fn intersect(a: &[(u32, u32)], b: &[(u32, u32)]) -> bool {
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if a[i].0 < b[j].1 && b[j].0 < a[i].1 {
            return true;
        }
        if a[i].1 <= b[j].1 { i += 1 } else { j += 1 }
    }
    false
}

/// Both lists as one.
pub(super) fn union(a: &[(u32, u32)], b: &[(u32, u32)]) -> Ranges {
    let mut all: Ranges = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    let mut joined: Ranges = vec![];
    for range in all {
        match joined.last_mut() {
            Some(last) if last.1 >= range.0 => last.1 = last.1.max(range.1),
            _ => joined.push(range),
        }
    }
    joined
}

/// Lines without a jump or label inside.
struct Block {
    start: usize,
    end: usize,
    next: Vec<usize>,
}

fn blocks(lines: &[Line]) -> Vec<Block> {
    let mut blocks: Vec<Block> = vec![];
    let mut start = 0;
    let mut labels: HashMap<Label, usize> = HashMap::new();
    for (at, line) in lines.iter().enumerate() {
        if let Line::Label(label) = line {
            if at > start {
                blocks.push(Block { start, end: at, next: vec![] });
                start = at;
            }
            labels.insert(*label, blocks.len());
        }
        if matches!(line, Line::Jump(_) | Line::JumpIf { .. } | Line::Return) {
            blocks.push(Block { start, end: at + 1, next: vec![] });
            start = at + 1;
        }
    }
    if start < lines.len() {
        blocks.push(Block { start, end: lines.len(), next: vec![] });
    }
    let count = blocks.len();
    for (number, block) in blocks.iter_mut().enumerate() {
        let falls_through = number + 1 < count;
        block.next = match &lines[block.end - 1] {
            Line::Jump(label) => vec![labels[label]],
            Line::JumpIf { to, .. } => [labels[to]].into_iter().chain(falls_through.then_some(number + 1)).collect(),
            Line::Return => vec![],
            _ => falls_through.then_some(number + 1).into_iter().collect(),
        };
    }
    blocks
}

/// A set of registers.
#[derive(Clone, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    fn new(registers: usize) -> Set {
        Set(vec![0; registers.div_ceil(64)])
    }

    fn insert(&mut self, v: VReg) {
        self.0[v.0 as usize / 64] |= 1 << (v.0 % 64);
    }

    fn contains(&self, v: VReg) -> bool {
        self.0[v.0 as usize / 64] >> (v.0 % 64) & 1 != 0
    }

    /// Adds those of `other` that are not in `except`; true if any was new.
    fn add(&mut self, other: &Set, except: Option<&Set>) -> bool {
        let mut grown = false;
        for (word, bits) in self.0.iter_mut().enumerate() {
            let added = other.0[word] & !except.map_or(0, |e| e.0[word]);
            grown |= added & !*bits != 0;
            *bits |= added;
        }
        grown
    }

    fn iter(&self) -> impl Iterator<Item = VReg> + '_ {
        let bits = |(word, bits): (usize, &u64)| {
            let bits = *bits;
            (0..64).filter(move |b| bits >> b & 1 != 0).map(move |b| VReg((64 * word + b) as u32))
        };
        self.0.iter().enumerate().flat_map(bits)
    }
}

/// Registers that are needed after each block: the usual equations, iterated to their least solution.
fn live_out(function: &Function, blocks: &[Block]) -> Vec<Set> {
    let registers = function.classes.len();
    let mut live_in: Vec<Set> = vec![];
    let mut written: Vec<Set> = vec![];
    for block in blocks {
        let (mut needs, mut writes) = (Set::new(registers), Set::new(registers));
        for line in &function.lines[block.start..block.end] {
            let mut written_here = vec![];
            line.visit(
                &mut |v| {
                    if !writes.contains(v) {
                        needs.insert(v);
                    }
                },
                &mut |v| written_here.push(v),
            );
            written_here.into_iter().for_each(|v| writes.insert(v));
        }
        live_in.push(needs);
        written.push(writes);
    }
    let mut live_out = vec![Set::new(registers); blocks.len()];
    loop {
        let mut changed = false;
        for number in (0..blocks.len()).rev() {
            for next in &blocks[number].next {
                live_out[number].add(&live_in[*next], None);
            }
            changed |= live_in[number].add(&live_out[number], Some(&written[number]));
        }
        if !changed {
            return live_out;
        }
    }
}
