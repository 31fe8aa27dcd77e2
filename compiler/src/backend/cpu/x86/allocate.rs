//! Machine registers for virtual ones.
//!
//! Copies are coalesced where both sides are never needed at once, innermost loops first. What remains is assigned by priority:
//! registers used most per position, weighted by loop depth, choose first. One that finds no room lives in a slot of the frame
//! (or, if it is a constant, is made again), is loaded and stored by small registers around each use, and all is assigned anew.
//! Source: Chow & Hennessy 1990, "The priority-based coloring approach to register allocation", with live ranges as lists.

use super::inst::{Base, Class, Division, Function, Inst, Label, Line, Mem, VReg};
use super::liveness::{Ranges, intersect, ranges, union};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What the machine offers, and how spilled registers move.
pub(super) trait Machine {
    /// Machine registers of a class, the preferred ones first.
    fn registers(&self, class: Class) -> &[u8];
    /// The machine registers that a division uses up.
    fn division_registers(&self) -> [u8; 2];
    /// Reads a slot.
    fn load(&self, class: Class, to: VReg, from: Mem) -> Inst;
    /// Writes a slot.
    fn store(&self, class: Class, from: VReg, to: Mem) -> Inst;
}

/// A function whose registers are assigned.
pub(super) struct Allocated {
    pub function: Function,
    /// The machine register of each virtual one that occurs.
    pub registers: HashMap<VReg, u8>,
    /// Where parameters that are kept in the frame go at the start.
    pub param_slots: BTreeMap<VReg, u32>,
    /// Class of each slot.
    pub slots: Vec<Class>,
}

/// Assigns registers. Panics when even single instructions do not fit, which is a bug of selection.
pub(super) fn allocate(mut function: Function, machine: &dyn Machine) -> Allocated {
    let mut slots: Vec<Class> = vec![];
    let mut small: BTreeSet<VReg> = BTreeSet::new();
    let mut param_slots = BTreeMap::new();
    loop {
        let live = ranges(&function);
        let depths = depths(&function.lines);
        let groups = coalesce(&function, &live, &depths, &small);
        let (registers, spilled) = assign(&function, &groups, &depths, &small, machine);
        if spilled.is_empty() {
            return Allocated { function, registers, param_slots, slots };
        }
        let mut spill = Spill { machine, small: &mut small, slots: &mut slots, homes: HashMap::new() };
        for group in spilled {
            spill.find_home(&function, &group);
        }
        for param in function.params.clone() {
            if let Some(Home::Slot(slot)) = spill.homes.get(&param) {
                param_slots.insert(param, *slot);
            }
        }
        spill.rewrite(&mut function);
    }
}

/// How many loops each line is in, from jumps back.
fn depths(lines: &[Line]) -> Vec<u32> {
    let mut labels: HashMap<Label, usize> = HashMap::new();
    let mut changes = vec![0i32; lines.len() + 1];
    for (at, line) in lines.iter().enumerate() {
        match line {
            Line::Label(label) => {
                labels.insert(*label, at);
            }
            Line::JumpIf { to, .. } | Line::Jump(to) => {
                if let Some(start) = labels.get(to) {
                    changes[*start] += 1;
                    changes[at + 1] -= 1;
                }
            }
            _ => {}
        }
    }
    let mut depth = 0;
    changes[..lines.len()]
        .iter()
        .map(|change| {
            depth += change;
            depth as u32
        })
        .collect()
}

/// Registers that share one machine register.
struct Group {
    members: Vec<VReg>,
    ranges: Ranges,
}

fn coalesce(function: &Function, live: &[Ranges], depths: &[u32], small: &BTreeSet<VReg>) -> Vec<Group> {
    let mut group_of: Vec<usize> = (0..live.len()).collect();
    let mut groups: Vec<Option<Group>> = live
        .iter()
        .enumerate()
        .map(|(at, r)| (!r.is_empty()).then(|| Group { members: vec![VReg(at as u32)], ranges: r.clone() }))
        .collect();
    let mut copies: Vec<(u32, usize, VReg, VReg)> = vec![];
    for (at, line) in function.lines.iter().enumerate() {
        if let Line::Copy(pairs) = line {
            copies.extend(pairs.iter().map(|(to, from)| (depths[at], at, *to, *from)));
        }
    }
    copies.sort_by_key(|(depth, at, ..)| (std::cmp::Reverse(*depth), *at));
    for (_, _, to, from) in copies {
        let (a, b) = (group_of[to.0 as usize], group_of[from.0 as usize]);
        // Registers around spilled uses stay small, so that they always find room.
        if a == b || function.class(to) != function.class(from) || small.contains(&to) || small.contains(&from) {
            continue;
        }
        let (Some(x), Some(y)) = (&groups[a], &groups[b]) else { continue };
        if intersect(&x.ranges, &y.ranges) {
            continue;
        }
        let ranges = union(&x.ranges, &y.ranges);
        let mut members = groups[a].take().map(|g| g.members).unwrap_or_default();
        members.extend(groups[b].take().map(|g| g.members).unwrap_or_default());
        members.iter().for_each(|v| group_of[v.0 as usize] = a);
        groups[a] = Some(Group { members, ranges });
    }
    groups.into_iter().flatten().collect()
}

/// What a machine register is taken for: ranges that do not overlap, by their start.
#[derive(Default)]
struct Occupied(BTreeMap<u32, u32>);

impl Occupied {
    fn is_free(&self, ranges: &[(u32, u32)]) -> bool {
        ranges.iter().all(|(start, end)| self.0.range(..end).next_back().is_none_or(|(_, taken)| taken <= start))
    }

    fn take(&mut self, ranges: &[(u32, u32)]) {
        self.0.extend(ranges.iter().copied());
    }
}

/// Assigns groups by priority; those without a register come back.
fn assign(
    function: &Function,
    groups: &[Group],
    depths: &[u32],
    small: &BTreeSet<VReg>,
    machine: &dyn Machine,
) -> (HashMap<VReg, u8>, Vec<Vec<VReg>>) {
    let mut occupied: HashMap<(Class, u8), Occupied> = HashMap::new();
    let mut uses = vec![0f64; function.classes.len()];
    for (at, line) in function.lines.iter().enumerate() {
        let weight = 8f64.powi(depths[at].min(8) as i32);
        let used = std::cell::RefCell::new(&mut uses);
        let count = |v: VReg| used.borrow_mut()[v.0 as usize] += weight;
        line.visit(&mut { count }, &mut { count });
        if matches!(line, Line::Divide(Division { .. })) {
            for register in machine.division_registers() {
                occupied.entry((Class::Int, register)).or_default().take(&[(2 * at as u32, 2 * at as u32 + 2)]);
            }
        }
    }
    let mut order: Vec<(bool, f64, usize)> = groups
        .iter()
        .enumerate()
        .map(|(at, group)| {
            let length: u32 = group.ranges.iter().map(|(start, end)| end - start).sum();
            let weight: f64 = group.members.iter().map(|v| uses[v.0 as usize]).sum();
            (group.members.iter().all(|v| !small.contains(v)), -weight / f64::from(length), at)
        })
        .collect();
    order.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
    let (mut registers, mut spilled) = (HashMap::new(), vec![]);
    for (can_spill, _, at) in order {
        let group = &groups[at];
        let class = function.class(group.members[0]);
        let free = |r: &&u8| occupied.get(&(class, **r)).is_none_or(|o| o.is_free(&group.ranges));
        match machine.registers(class).iter().find(free) {
            Some(&register) => {
                occupied.entry((class, register)).or_default().take(&group.ranges);
                registers.extend(group.members.iter().map(|v| (*v, register)));
            }
            None => {
                assert!(can_spill, "tile: no register for {:?} even alone", group.members);
                spilled.push(group.members.clone());
            }
        }
    }
    (registers, spilled)
}

/// Where a spilled register lives.
#[derive(Clone)]
enum Home {
    Slot(u32),
    /// It is a constant: this line makes it again.
    Remade(Line),
}

struct Spill<'a> {
    machine: &'a dyn Machine,
    small: &'a mut BTreeSet<VReg>,
    slots: &'a mut Vec<Class>,
    homes: HashMap<VReg, Home>,
}

impl Spill<'_> {
    fn find_home(&mut self, function: &Function, group: &[VReg]) {
        if let [only] = group
            && function.constants.contains(only)
            && let Some(line) = function.lines.iter().find(|line| writes(line, *only))
        {
            self.homes.insert(*only, Home::Remade(line.clone()));
            return;
        }
        let slot = self.slots.len() as u32;
        self.slots.push(function.class(group[0]));
        self.homes.extend(group.iter().map(|v| (*v, Home::Slot(slot))));
    }

    /// A fresh register for one use.
    fn small(&mut self, function: &mut Function, class: Class) -> VReg {
        let register = function.register(class);
        self.small.insert(register);
        register
    }

    fn read(&self, class: Class, to: VReg, home: &Home) -> Line {
        match home {
            Home::Slot(slot) => Line::Inst(self.machine.load(class, to, Mem::of(Base::Slot(*slot)))),
            Home::Remade(line) => {
                let mut line = line.clone();
                line.map(&mut |v| v, &mut |_| to);
                line
            }
        }
    }

    fn write(&self, class: Class, from: VReg, slot: u32) -> Line {
        Line::Inst(self.machine.store(class, from, Mem::of(Base::Slot(slot))))
    }

    fn rewrite(&mut self, function: &mut Function) {
        let lines = std::mem::take(&mut function.lines);
        let mut result = Vec::with_capacity(lines.len() * 2);
        for line in lines {
            match line {
                Line::Copy(pairs) => self.copy(function, &pairs, &mut result),
                line => self.line(function, line, &mut result),
            }
        }
        function.lines = result;
    }

    fn line(&mut self, function: &mut Function, mut line: Line, result: &mut Vec<Line>) {
        let (mut reads, mut written) = (vec![], vec![]);
        line.visit(&mut |v| reads.push(v), &mut |v| written.push(v));
        if let [def] = written[..]
            && matches!(self.homes.get(&def), Some(Home::Remade(_)))
        {
            // The constant's own definition: every use makes it again.
            return;
        }
        let mut replaced: BTreeMap<VReg, VReg> = BTreeMap::new();
        for v in reads.iter().chain(&written) {
            if self.homes.contains_key(v) && !replaced.contains_key(v) {
                let class = function.class(*v);
                let register = self.small(function, class);
                replaced.insert(*v, register);
            }
        }
        for (v, register) in &replaced {
            if reads.contains(v) {
                result.push(self.read(function.class(*v), *register, &self.homes[v]));
            }
        }
        let other = |v: VReg| replaced.get(&v).copied().unwrap_or(v);
        line.map(&mut { other }, &mut { other });
        result.push(line);
        for v in written {
            if let Some(Home::Slot(slot)) = self.homes.get(&v) {
                result.push(self.write(function.class(v), replaced[&v], *slot));
            }
        }
    }

    /// All at once, with slots among the places: first what goes to slots moves aside, then registers, then what comes from slots,
    /// then what stood aside.
    fn copy(&mut self, function: &mut Function, pairs: &[(VReg, VReg)], result: &mut Vec<Line>) {
        let slot = |homes: &HashMap<VReg, Home>, v: &VReg| match homes.get(v) {
            Some(Home::Slot(slot)) => Some(*slot),
            _ => None,
        };
        let (mut plain, mut loads, mut last) = (smallvec::SmallVec::new(), vec![], vec![]);
        for (to, from) in pairs {
            let class = function.class(*to);
            match (slot(&self.homes, to), self.homes.get(from).cloned()) {
                (None, None) => plain.push((*to, *from)),
                (None, Some(home)) => loads.push(self.read(class, *to, &home)),
                (Some(to), Some(Home::Slot(from))) if to == from => {}
                (Some(to), home) => {
                    let aside = self.slots.len() as u32;
                    self.slots.push(class);
                    let mut value = *from;
                    if let Some(home) = home {
                        value = self.small(function, class);
                        result.push(self.read(class, value, &home));
                    }
                    result.push(self.write(class, value, aside));
                    let moved = self.small(function, class);
                    last.push(Line::Inst(self.machine.load(class, moved, Mem::of(Base::Slot(aside)))));
                    last.push(self.write(class, moved, to));
                }
            }
        }
        if !plain.is_empty() {
            result.push(Line::Copy(plain));
        }
        result.extend(loads);
        result.extend(last);
    }
}

fn writes(line: &Line, register: VReg) -> bool {
    let mut found = false;
    line.visit(&mut |_| {}, &mut |v| found |= v == register);
    found
}
