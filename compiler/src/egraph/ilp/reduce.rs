//! Makes a program smaller without changing what its best solutions cost.
//!
//! - What a class needs, whatever is taken, is the class and what all its options need. So an option that needs its own class is none,
//!   what the roots need is a root, and an operand that another operand needs anyway is left out.
//! - An option goes if another one of the class costs no more together with what only that one needs.
//! - A root with one option is settled: all pay for it. So are its operands.
//! - A class with one option becomes part of what uses it, if that is one option, or if it costs nothing.
//!
//! None of it makes a cycle possible that was not: operands that could be part of one (those in the same strongly connected component)
//! are left out only if another way to them stays. An option that replaces another brings into use what the other needs as well,
//! which is below the class in any solution, or what lies in other components, from where nothing leads back.
//!
//! What comes in with a replacement may be an option that was replaced itself. It is replaced in turn, further down.

use super::program::{Choice, Program};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::unionfind::UnionFind;
use std::collections::BTreeMap;

/// Classes that are compared with each other, at most: what each needs is a set of them, and these are kept for all.
const MOST_CLASSES: usize = 20_000;

/// A smaller program, with what was decided on the way.
pub struct Reduction {
    /// What is left, under the numbers of the program given. Classes that are gone have no option.
    pub program: Program,
    /// Classes that are gone, with the place of the option that each has where it is needed.
    pub decided: Vec<(usize, usize)>,
    /// What all solutions pay for classes that are gone.
    pub cost: u64,
}

impl Reduction {
    /// Reduces until nothing changes; `None` where no solution is free of cycles.
    pub fn of(program: &Program) -> Option<Reduction> {
        let mut reduction = Reduction { program: program.clone(), decided: Vec::new(), cost: 0 };
        let classes = reduction.program.classes.iter_mut().enumerate();
        classes.for_each(|(class, options)| options.retain(|option| !option.operands.contains(&class)));
        // What is cheap to see first, so that little is left for the rest.
        while reduction.round(false)? {}
        while reduction.round(true)? {}
        Some(reduction)
    }

    /// Whether it changed anything.
    fn round(&mut self, compare: bool) -> Option<bool> {
        let structure = Structure::of(&mut self.program);
        let mut changed = false;
        if compare {
            let knowledge = Knowledge::of(&self.program, &structure)?;
            for class in structure.order.iter().copied() {
                let kept = knowledge.kept(&self.program.classes[class], class, &structure);
                changed |= kept != self.program.classes[class];
                self.program.classes[class] = kept;
            }
            self.program.roots = knowledge.always;
        }
        let settled = self.settle(&structure);
        Some(self.contract(&structure) | settled | changed)
    }

    /// Roots with one option that are in no cycle leave the program; what they need become roots.
    fn settle(&mut self, structure: &Structure) -> bool {
        let (mut is_root, mut settled) = (vec![false; self.program.classes.len()], vec![false; self.program.classes.len()]);
        let mut stack = std::mem::take(&mut self.program.roots);
        while let Some(class) = stack.pop() {
            if std::mem::replace(&mut is_root[class], true) || structure.in_cycle(class) {
                continue;
            }
            if let [only] = &self.program.classes[class][..] {
                self.cost = self.cost.saturating_add(only.cost);
                self.decided.push((class, only.place));
                stack.extend_from_slice(&only.operands);
                settled[class] = true;
                self.program.classes[class].clear();
            }
        }
        self.program.roots = (0..is_root.len()).filter(|class| is_root[*class] && !settled[*class]).collect();
        let options = self.program.classes.iter_mut().flatten();
        // What is a root costs nothing more; only where it may be in a cycle does it matter who needs it.
        options.for_each(|option| option.operands.retain(|operand| !settled[*operand]));
        settled.contains(&true)
    }

    /// Classes with one option become part of what uses them.
    fn contract(&mut self, structure: &Structure) -> bool {
        let count = self.program.classes.len();
        let (mut uses, mut is_root) = (vec![0; count], vec![false; count]);
        self.program.classes.iter().flatten().flat_map(|option| &option.operands).for_each(|operand| uses[*operand] += 1);
        self.program.roots.iter().for_each(|root| is_root[*root] = true);
        let mut contracted: BTreeMap<usize, Choice> = BTreeMap::new();
        // Operands come first, so what goes into a class is what is left of them.
        for class in structure.order.iter().copied() {
            for option in &mut self.program.classes[class] {
                if option.operands.iter().any(|operand| contracted.contains_key(operand)) {
                    let operands = std::mem::take(&mut option.operands);
                    for operand in operands {
                        match contracted.get(&operand) {
                            None => option.operands.push(operand),
                            Some(inside) => {
                                option.cost = option.cost.saturating_add(inside.cost);
                                option.operands.extend_from_slice(&inside.operands);
                            }
                        }
                    }
                    option.operands.sort_unstable();
                    option.operands.dedup();
                }
            }
            let alone = |options: &[Choice]| matches!(options, [only] if only.cost == 0 || uses[class] == 1);
            if !is_root[class] && !structure.in_cycle(class) && alone(&self.program.classes[class]) {
                for only in self.program.classes[class].drain(..) {
                    self.decided.push((class, only.place));
                    contracted.insert(class, only);
                }
            }
        }
        !contracted.is_empty()
    }
}

/// Classes in order, and which of them may be in a cycle.
struct Structure {
    /// Those that can be needed; operands before what uses them, but for cycles.
    order: Vec<usize>,
    /// The strongly connected component of each, and how many classes it has.
    component: Vec<(usize, usize)>,
}

impl Structure {
    /// Clears classes that cannot be needed.
    fn of(program: &mut Program) -> Structure {
        let count = program.classes.len();
        let (mut graph, mut reached) = (DiGraph::<(), ()>::new(), vec![false; count]);
        (0..count).for_each(|_| _ = graph.add_node(()));
        let mut stack = program.roots.clone();
        while let Some(class) = stack.pop() {
            if !std::mem::replace(&mut reached[class], true) {
                for operand in program.classes[class].iter().flat_map(|option| &option.operands) {
                    graph.add_edge(NodeIndex::new(class), NodeIndex::new(*operand), ());
                    stack.push(*operand);
                }
            }
        }
        (0..count).filter(|class| !reached[*class]).for_each(|class| program.classes[class].clear());
        let (mut order, mut component) = (Vec::new(), vec![(0, 0); count]);
        for (number, members) in kosaraju_scc(&graph).into_iter().enumerate() {
            members.iter().for_each(|member| component[member.index()] = (number, members.len()));
            order.extend(members.into_iter().map(NodeIndex::index).filter(|class| reached[*class]));
        }
        Structure { order, component }
    }

    fn in_cycle(&self, class: usize) -> bool {
        self.component[class].1 > 1
    }

    fn together(&self, a: usize, b: usize) -> bool {
        self.component[a].0 == self.component[b].0
    }
}

/// What is known of classes, whatever is taken.
struct Knowledge {
    /// The number of each class among those that operands connect it with.
    numbers: Vec<usize>,
    /// Which set of connected classes it belongs to.
    sets: Vec<usize>,
    /// The classes of its set that each needs, itself included, as bits; `None` where it cannot be taken.
    needs: Vec<Option<Vec<u64>>>,
    /// What it costs by itself, at most.
    costs: Vec<u64>,
    /// What all solutions need, in ascending order.
    always: Vec<usize>,
    is_always: Vec<bool>,
}

impl Knowledge {
    /// `None` where no solution is free of cycles.
    fn of(program: &Program, structure: &Structure) -> Option<Knowledge> {
        let count = program.classes.len();
        let mut is_always = vec![false; count];
        program.roots.iter().for_each(|root| is_always[*root] = true);
        let mut joined = UnionFind::new(count);
        for class in &structure.order {
            for operand in program.classes[*class].iter().flat_map(|option| &option.operands) {
                joined.union(*class, *operand);
            }
        }
        let sets = joined.into_labeling();
        let (mut sizes, mut numbers) = (vec![0; count], vec![0; count]);
        for class in &structure.order {
            numbers[*class] = sizes[sets[*class]];
            sizes[sets[*class]] += 1;
        }
        let mut known = Knowledge { numbers, sets, needs: vec![None; count], costs: vec![u64::MAX; count], always: Vec::new(), is_always };
        // Beginning with everything and taking away: what stays is needed by all solutions that have no cycle.
        loop {
            let news = structure.order.iter().fold(false, |news, class| known.learn(program, &sizes, *class) | news);
            if !news {
                break;
            }
        }
        for root in &program.roots {
            let set = known.needs[*root].clone()?;
            for class in structure.order.iter().filter(|class| known.sets[**class] == known.sets[*root]) {
                known.is_always[*class] |= has(&set, known.numbers[*class]);
            }
        }
        known.always = (0..count).filter(|class| known.is_always[*class]).collect();
        Some(known)
    }

    /// Takes from what is known of its operands what can be known of a class; whether that is news.
    fn learn(&mut self, program: &Program, sizes: &[usize], class: usize) -> bool {
        let (mut all, mut cost): (Option<Vec<u64>>, u64) = (None, self.costs[class]);
        let size = sizes[self.sets[class]];
        for option in &program.classes[class] {
            let Some(needed) = self.needed(option, class, size) else { continue };
            cost = cost.min(self.cost(option.cost, option.operands.iter()));
            match &mut all {
                None => all = Some(needed),
                Some(all) => all.iter_mut().zip(needed).for_each(|(a, b)| *a &= b),
            }
        }
        let Some(mut all) = all else { return false };
        if size <= MOST_CLASSES {
            all[self.numbers[class] / 64] |= 1 << (self.numbers[class] % 64);
        }
        let news = self.needs[class].as_ref() != Some(&all) || cost < self.costs[class];
        (self.needs[class], self.costs[class]) = (Some(all), cost);
        news
    }

    /// What an option of a class needs; `None` if that is the class itself, or cannot be taken.
    fn needed(&self, option: &Choice, class: usize, size: usize) -> Option<Vec<u64>> {
        let mut needed = vec![0; if size <= MOST_CLASSES { size.div_ceil(64) } else { 0 }];
        for operand in &option.operands {
            needed.iter_mut().zip(self.needs[*operand].as_ref()?).for_each(|(a, b)| *a |= b);
        }
        (!has(&needed, self.numbers[class]) && !option.operands.contains(&class)).then_some(needed)
    }

    fn cost<'a>(&self, own: u64, mut operands: impl Iterator<Item = &'a usize>) -> u64 {
        operands.try_fold(own, |sum, operand| sum.checked_add(self.costs[*operand])).unwrap_or(u64::MAX)
    }

    /// The options of a class that a best solution may have, each with the operands that matter.
    fn kept(&self, options: &[Choice], class: usize, structure: &Structure) -> Vec<Choice> {
        let mut sorted: Vec<&Choice> = options.iter().collect();
        sorted.sort_by_key(|option| (option.cost, option.operands.len(), option.place));
        let mut kept: Vec<(&Choice, Vec<u64>)> = Vec::new();
        for option in sorted {
            let size = self.needs[class].as_ref().map_or(0, |set| 64 * set.len());
            let Some(needed) = self.needed(option, class, size) else { continue };
            let outside = |operand: &usize| !structure.together(*operand, class);
            let worse = |(other, _): &(&Choice, Vec<u64>)| {
                let is_there = |operand: &&usize| has(&needed, self.numbers[**operand]) || self.is_always[**operand] && outside(operand);
                let new = other.operands.iter().filter(|operand| !is_there(operand));
                new.clone().all(|operand| outside(operand) || option.operands.contains(operand))
                    && self.cost(other.cost, new.filter(|operand| !option.operands.contains(operand))) <= option.cost
            };
            if !kept.iter().any(worse) {
                kept.push((option, needed));
            }
        }
        let matters = |operand: &usize, option: &Choice| {
            let needs_it =
                |other: &usize| other != operand && self.needs[*other].as_ref().is_some_and(|set| has(set, self.numbers[*operand]));
            let is_there = self.is_always[*operand] && !structure.together(*operand, class);
            !is_there && !option.operands.iter().any(needs_it)
        };
        let reduced = |option: &Choice| {
            let operands = option.operands.iter().copied().filter(|operand| matters(operand, option)).collect();
            Choice { operands, ..option.clone() }
        };
        let mut kept: Vec<Choice> = kept.into_iter().map(|(option, _)| reduced(option)).collect();
        kept.sort_by_key(|option| option.place);
        kept
    }
}

fn has(set: &[u64], number: usize) -> bool {
    set.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
}
