//! Chooses one e-node for each class so that the whole graph costs least; what is shared counts once.
//!
//! It starts from the graph as it was and takes another e-node for a class whenever that makes the whole cheaper: what becomes
//! unused goes with the old one, what is new comes with the new one. So the result never costs more than the graph given, and
//! each step is checked to close no cycle. The order of steps is that of ids, hence of the program. Classes that a rule replaces
//! together are exchanged in one step.

use super::convert::Embedded;
use super::cost::Cost;
use super::lang::ENode;
use super::saturate::Report;
use egg::Id;
use std::collections::{BTreeMap, BTreeSet};

/// Passes over all classes; one is mostly enough, as a step only helps others near it.
const MAX_PASSES: usize = 8;

/// How far below an e-node what it brings into use is improved before the whole is compared.
const DEPTH: usize = 3;

/// One e-node for each class.
pub struct Extraction {
    /// The choice, acyclic over all classes.
    pub choice: BTreeMap<Id, ENode>,
    /// Cost of the graph that was given.
    pub cost_before: u64,
    /// Cost of the choice.
    pub cost_after: u64,
}

/// Cost of the graph that a program was made of. Later, a rule may have found that parts of it are the same.
pub fn cost_as_given(program: &Embedded, cost: &dyn Cost) -> u64 {
    Search::new(program, cost, &BTreeSet::new()).total
}

/// The choice of the graph given, improved; see the head of this file. What these rules made is not taken.
pub fn extract(program: &Embedded, report: &Report, cost: &dyn Cost, without: &BTreeSet<&str>) -> Extraction {
    let made = |at: Id| {
        let mut node = program.egraph.nodes()[usize::from(at)].clone();
        node.operands.iter_mut().for_each(|id| *id = program.egraph.find(*id));
        node
    };
    let barred: BTreeSet<ENode> = report.log.iter().filter(|a| without.contains(a.rule)).map(|a| made(a.made)).collect();
    let mut sets: BTreeMap<usize, Vec<(Id, ENode)>> = BTreeMap::new();
    for application in report.log.iter().filter(|a| !without.contains(a.rule)) {
        if let Some(set) = application.set {
            sets.entry(set).or_default().push((program.egraph.find(application.root), made(application.made)));
        }
    }
    let mut search = Search::new(program, cost, &barred);
    let sets: Vec<Vec<(usize, usize)>> = sets.into_values().filter_map(|set| search.places(&set)).collect();
    let cost_before = search.total;
    for _ in 0..MAX_PASSES {
        let before = search.total;
        (0..search.options.len()).rev().for_each(|class| search.improve(class, DEPTH));
        search.journal.clear();
        sets.iter().for_each(|set| search.improve_together(set));
        if search.total == before {
            break;
        }
    }
    let choice = search.ids.iter().zip(&search.options).zip(&search.chosen);
    let choice = choice.map(|((id, options), chosen)| (*id, options[*chosen].node.clone())).collect();
    Extraction { choice, cost_before, cost_after: search.total }
}

/// An e-node with places of its operands in [`Search::ids`].
struct Alternative {
    node: ENode,
    operands: Vec<usize>,
    cost: u64,
}

struct Search {
    /// Classes, in ascending order.
    ids: Vec<Id>,
    options: Vec<Vec<Alternative>>,
    chosen: Vec<usize>,
    /// How many chosen, needed e-nodes and outputs use each class.
    uses: Vec<usize>,
    /// A class is above the operands of what is chosen for it.
    levels: Vec<usize>,
    /// Cost of everything in use.
    total: u64,
    /// Classes whose e-node was exchanged, with what was chosen before.
    journal: Vec<(usize, usize)>,
    /// How often levels were found.
    levellings: usize,
}

/// Where a search was, to go back to.
#[derive(Clone, Copy)]
struct Mark {
    journal: usize,
    levellings: usize,
}

impl Search {
    fn new(program: &Embedded, cost: &dyn Cost, barred: &BTreeSet<ENode>) -> Search {
        let first = program.first_choice();
        let ids: Vec<Id> = first.keys().copied().collect();
        let place = |id: &Id| ids.binary_search(&program.egraph.find(*id)).unwrap_or_else(|_| panic!("the class {id} has no e-node"));
        let mut search = Search {
            options: Vec::with_capacity(ids.len()),
            chosen: Vec::with_capacity(ids.len()),
            uses: vec![0; ids.len()],
            levels: vec![0; ids.len()],
            total: 0,
            journal: Vec::new(),
            levellings: 0,
            ids: Vec::new(),
        };
        for (id, node) in &first {
            let class = &program.egraph[*id];
            let alternative = |node: &ENode| Alternative {
                node: node.clone(),
                operands: node.operands.iter().map(place).collect(),
                cost: cost.of(&program.egraph, *id, node),
            };
            let allowed: Vec<&ENode> = class.nodes.iter().filter(|n| *n == node || !barred.contains(n)).collect();
            search.options.push(allowed.iter().map(|n| alternative(n)).collect());
            let chosen = allowed.iter().position(|n| *n == node);
            search.chosen.push(chosen.unwrap_or_else(|| panic!("the class {id} has lost its first e-node")));
        }
        let outputs: Vec<usize> = program.outputs().map(|id| place(&id)).collect();
        search.ids = ids;
        search.find_levels();
        outputs.into_iter().for_each(|output| search.hold(output));
        search
    }

    fn current(&self, class: usize) -> &Alternative {
        &self.options[class][self.chosen[class]]
    }

    /// One use more, with everything that it needs and nothing else uses.
    fn hold(&mut self, class: usize) {
        let mut stack = vec![class];
        while let Some(class) = stack.pop() {
            self.uses[class] += 1;
            if self.uses[class] == 1 {
                self.total += self.current(class).cost;
                stack.extend_from_slice(&self.current(class).operands);
            }
        }
    }

    /// One use less, with everything that only it needed.
    fn release(&mut self, class: usize) {
        let mut stack = vec![class];
        while let Some(class) = stack.pop() {
            self.uses[class] -= 1;
            if self.uses[class] == 0 {
                self.total -= self.current(class).cost;
                stack.extend_from_slice(&self.current(class).operands);
            }
        }
    }

    /// Takes e-nodes for a class in use that make the whole cheaper. What one brings into use is improved with it, so deep: a part of a
    /// sum is no cheaper until the sum is of a part.
    fn improve(&mut self, class: usize, depth: usize) {
        if self.uses[class] == 0 {
            return;
        }
        for option in 0..self.options[class].len() {
            if option == self.chosen[class] || self.reaches(&self.options[class][option].operands, class) {
                continue;
            }
            let (before, mark) = (self.total, self.mark());
            self.switch(class, option);
            if self.options[class][option].operands.iter().any(|o| self.levels[*o] >= self.levels[class]) {
                self.find_levels();
            }
            if self.total >= before && depth > 0 {
                for operand in self.options[class][option].operands.clone() {
                    if self.uses[operand] == 1 {
                        self.improve(operand, depth - 1);
                    }
                }
            }
            if self.total >= before {
                self.undo(mark);
            }
        }
    }

    fn mark(&self) -> Mark {
        Mark { journal: self.journal.len(), levellings: self.levellings }
    }

    /// Takes back all exchanges since then.
    fn undo(&mut self, mark: Mark) {
        while self.journal.len() > mark.journal {
            if let Some((class, old)) = self.journal.pop() {
                self.switch(class, old);
                self.journal.pop();
            }
        }
        if self.levellings > mark.levellings {
            self.find_levels();
        }
    }

    /// Classes and their options, by place; `None` where one has no such option.
    fn places(&self, set: &[(Id, ENode)]) -> Option<Vec<(usize, usize)>> {
        let place = |(id, node): &(Id, ENode)| {
            let class = self.ids.binary_search(id).ok()?;
            Some((class, self.options[class].iter().position(|option| option.node == *node)?))
        };
        set.iter().map(place).collect()
    }

    /// Takes these options of classes that are all in use, if that makes the whole cheaper.
    fn improve_together(&mut self, set: &[(usize, usize)]) {
        if set.iter().any(|(class, option)| self.uses[*class] == 0 || self.chosen[*class] == *option) {
            return;
        }
        let (before, mark) = (self.total, self.mark());
        for (class, option) in set {
            // What was exchanged before may have made this one unused, or part of what it needs.
            if self.uses[*class] == 0 || self.reaches(&self.options[*class][*option].operands, *class) {
                return self.undo(mark);
            }
            self.switch(*class, *option);
            if self.options[*class][*option].operands.iter().any(|o| self.levels[*o] >= self.levels[*class]) {
                self.find_levels();
            }
        }
        if self.total >= before {
            self.undo(mark);
        }
    }

    fn switch(&mut self, class: usize, option: usize) {
        let old = self.current(class);
        let (old_cost, old_operands) = (old.cost, old.operands.clone());
        self.options[class][option].operands.clone().into_iter().for_each(|operand| self.hold(operand));
        self.total = self.total + self.options[class][option].cost - old_cost;
        old_operands.into_iter().for_each(|operand| self.release(operand));
        self.journal.push((class, self.chosen[class]));
        self.chosen[class] = option;
    }

    /// Whether one of these depends on the class. Only what is above it can.
    fn reaches(&self, from: &[usize], class: usize) -> bool {
        if from.iter().all(|at| *at != class && self.levels[*at] <= self.levels[class]) {
            return false;
        }
        let mut stack = from.to_vec();
        let mut seen = vec![false; self.ids.len()];
        while let Some(at) = stack.pop() {
            if at == class {
                return true;
            }
            if self.levels[at] > self.levels[class] && !std::mem::replace(&mut seen[at], true) {
                stack.extend_from_slice(&self.current(at).operands);
            }
        }
        false
    }

    /// Levels by the longest way down. Panics on a cycle, which no step makes.
    fn find_levels(&mut self) {
        const UNKNOWN: usize = usize::MAX;
        self.levellings += 1;
        self.levels.fill(UNKNOWN);
        for root in 0..self.ids.len() {
            let mut stack = vec![(root, 0)];
            while let Some((class, next)) = stack.pop() {
                if self.levels[class] != UNKNOWN {
                    continue;
                }
                assert!(stack.len() <= self.ids.len() + 1, "extraction chose a cycle");
                let operands = &self.current(class).operands;
                match operands.get(next) {
                    Some(operand) => stack.extend([(class, next + 1), (*operand, 0)]),
                    None => self.levels[class] = operands.iter().map(|o| self.levels[*o] + 1).max().unwrap_or(0),
                }
            }
        }
    }
}
