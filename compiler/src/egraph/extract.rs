//! Chooses one e-node for each class so that the whole graph costs least; what is shared counts once.
//!
//! It starts from the graph as it was and takes another e-node for a class whenever that makes the whole cheaper: what becomes
//! unused goes with the old one, what is new comes with the new one. So the result never costs more than the graph given, and
//! each step is checked to close no cycle. The order of steps is that of ids, hence of the program. Classes that a rule replaces
//! together are exchanged in one step. Where pieces of the choice are small, the best of all comes after the steps ([`super::ilp`]).

use super::choices::Choices;
use super::convert::Embedded;
use super::cost::Cost;
use super::ilp::improve;
use super::lang::ENode;
use super::order::Order;
use super::saturate::Report;
use egg::Id;
use std::collections::{BTreeMap, BTreeSet};

/// Passes over all classes; one is mostly enough, as a step only helps others near it.
const MAX_PASSES: usize = 8;

/// How far below an e-node what it brings into use is improved before the whole is compared.
const DEPTH: usize = 3;

/// One e-node for each class.
pub struct Extraction {
    /// The choice, acyclic over the classes that the outputs need.
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
        (0..search.choices.ids.len()).rev().for_each(|class| search.improve(class, DEPTH));
        search.journal.clear();
        sets.iter().for_each(|set| search.improve_together(set));
        if search.total == before {
            break;
        }
    }
    let Search { mut choices, total, .. } = search;
    let cost_after = improve(&mut choices, total);
    Extraction { choice: choices.all(), cost_before, cost_after }
}

struct Search {
    choices: Choices,
    order: Order,
    /// How many chosen, needed e-nodes and outputs use each class.
    uses: Vec<usize>,
    /// Cost of everything in use.
    total: u64,
    /// Classes whose e-node was exchanged, with what was chosen before.
    journal: Vec<(usize, usize)>,
}

impl Search {
    fn new(program: &Embedded, cost: &dyn Cost, barred: &BTreeSet<ENode>) -> Search {
        let choices = Choices::new(program, cost, barred);
        let order = Order::new(&choices, choices.ids.len());
        let mut search = Search { order, uses: vec![0; choices.ids.len()], total: 0, journal: Vec::new(), choices };
        search.choices.outputs.clone().into_iter().for_each(|output| search.hold(output));
        search
    }

    /// One use more, with everything that it needs and nothing else uses.
    fn hold(&mut self, class: usize) {
        let mut stack = vec![class];
        while let Some(class) = stack.pop() {
            self.uses[class] += 1;
            if self.uses[class] == 1 {
                self.total += self.choices.current(class).cost;
                stack.extend_from_slice(&self.choices.current(class).operands);
            }
        }
    }

    /// One use less, with everything that only it needed.
    fn release(&mut self, class: usize) {
        let mut stack = vec![class];
        while let Some(class) = stack.pop() {
            self.uses[class] -= 1;
            if self.uses[class] == 0 {
                self.total -= self.choices.current(class).cost;
                stack.extend_from_slice(&self.choices.current(class).operands);
            }
        }
    }

    /// Takes e-nodes for a class in use that make the whole cheaper. What one brings into use is improved with it, so deep: a part of a
    /// sum is no cheaper until the sum is of a part.
    fn improve(&mut self, class: usize, depth: usize) {
        if self.uses[class] == 0 {
            return;
        }
        for option in 0..self.choices.options[class].len() {
            if option == self.choices.chosen[class] || self.closes_a_cycle(class, option) {
                continue;
            }
            let (before, mark) = (self.total, self.journal.len());
            self.switch(class, option);
            if self.total >= before && depth > 0 {
                for operand in self.choices.options[class][option].operands.clone() {
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

    /// Takes back all exchanges behind the first so many.
    fn undo(&mut self, mark: usize) {
        while self.journal.len() > mark {
            if let Some((class, old)) = self.journal.pop() {
                self.switch(class, old);
                self.journal.pop();
            }
        }
    }

    /// Classes and their options, by place; `None` where one has no such option.
    fn places(&self, set: &[(Id, ENode)]) -> Option<Vec<(usize, usize)>> {
        let place = |(id, node): &(Id, ENode)| {
            let class = self.choices.ids.binary_search(id).ok()?;
            Some((class, self.choices.options[class].iter().position(|option| option.node == *node)?))
        };
        set.iter().map(place).collect()
    }

    /// Takes these options of classes that are all in use, if that makes the whole cheaper.
    fn improve_together(&mut self, set: &[(usize, usize)]) {
        if set.iter().any(|(class, option)| self.uses[*class] == 0 || self.choices.chosen[*class] == *option) {
            return;
        }
        let (before, mark) = (self.total, self.journal.len());
        for (class, option) in set {
            // What was exchanged before may have made this one unused, or part of what it needs.
            if self.uses[*class] == 0 || self.closes_a_cycle(*class, *option) {
                return self.undo(mark);
            }
            self.switch(*class, *option);
        }
        if self.total >= before {
            self.undo(mark);
        }
    }

    fn closes_a_cycle(&mut self, class: usize, option: usize) -> bool {
        self.order.reaches(&self.choices, &self.choices.options[class][option].operands, class)
    }

    /// Takes an option that closes no cycle.
    fn switch(&mut self, class: usize, option: usize) {
        self.order.raise(&self.choices, class, &self.choices.options[class][option].operands);
        let old = self.choices.current(class);
        let (old_cost, old_operands) = (old.cost, old.operands.clone());
        self.choices.options[class][option].operands.clone().into_iter().for_each(|operand| self.hold(operand));
        self.total = self.total + self.choices.options[class][option].cost - old_cost;
        self.journal.push((class, self.choices.chosen[class]));
        self.choices.chosen[class] = option;
        old_operands.into_iter().for_each(|operand| self.release(operand));
    }
}
