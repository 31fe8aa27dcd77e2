//! What every class of an e-graph may be, with costs, and what is chosen: what extraction works on.

use super::convert::Embedded;
use super::cost::Cost;
use super::lang::ENode;
use super::order::Chosen;
use egg::Id;
use std::collections::{BTreeMap, BTreeSet};

/// An e-node with places of its operands in [`Choices::ids`].
pub struct Alternative {
    /// The e-node.
    pub node: ENode,
    /// Where its operands are.
    pub operands: Vec<usize>,
    /// What it costs, without them.
    pub cost: u64,
}

/// See the head of this file.
pub struct Choices {
    /// Classes, in ascending order. Everything else names them by their place in it.
    pub ids: Vec<Id>,
    /// What each may be.
    pub options: Vec<Vec<Alternative>>,
    /// Which of its options each is: of the graph given in the beginning.
    pub chosen: Vec<usize>,
    /// The classes of the outputs.
    pub outputs: Vec<usize>,
    /// Classes that have an option with this operand.
    users: Vec<Vec<usize>>,
}

impl Choices {
    /// Of a program, but for e-nodes that are barred.
    pub fn new(program: &Embedded, cost: &dyn Cost, barred: &BTreeSet<ENode>) -> Choices {
        let first = program.first_choice();
        let ids: Vec<Id> = first.keys().copied().collect();
        let place = |id: &Id| ids.binary_search(&program.egraph.find(*id)).unwrap_or_else(|_| panic!("the class {id} has no e-node"));
        let (mut all_options, mut all_chosen, mut users) = (Vec::new(), Vec::new(), vec![Vec::new(); ids.len()]);
        for (at, (id, node)) in first.iter().enumerate() {
            let class = &program.egraph[*id];
            let alternative = |node: &ENode| Alternative {
                node: node.clone(),
                operands: node.operands.iter().map(place).collect(),
                cost: cost.of(&program.egraph, *id, node),
            };
            let allowed: Vec<&ENode> = class.nodes.iter().filter(|n| *n == node || !barred.contains(n)).collect();
            let options: Vec<Alternative> = allowed.iter().map(|n| alternative(n)).collect();
            for operand in options.iter().flat_map(|option| &option.operands) {
                if users[*operand].last() != Some(&at) {
                    users[*operand].push(at);
                }
            }
            all_options.push(options);
            let chosen = allowed.iter().position(|n| *n == node);
            all_chosen.push(chosen.unwrap_or_else(|| panic!("the class {id} has lost its first e-node")));
        }
        let outputs = program.outputs().map(|id| place(&id)).collect();
        Choices { options: all_options, chosen: all_chosen, outputs, users, ids }
    }

    /// What is chosen for a class.
    pub fn current(&self, class: usize) -> &Alternative {
        &self.options[class][self.chosen[class]]
    }

    /// What is chosen, by class.
    pub fn all(&self) -> BTreeMap<Id, ENode> {
        self.ids.iter().enumerate().map(|(at, id)| (*id, self.current(at).node.clone())).collect()
    }

    /// Classes that the outputs need where each class is this one of its options, in ascending order.
    ///
    /// Errors: the classes of a cycle.
    pub fn needed(&self, chosen: &[usize]) -> Result<Vec<usize>, Vec<usize>> {
        let mut state = vec![State::New; self.ids.len()];
        for output in &self.outputs {
            let mut stack = vec![(*output, 0)];
            while let Some((class, next)) = stack.pop() {
                match state[class] {
                    State::Done => continue,
                    State::Open if next == 0 => {
                        // The classes that are open from it on.
                        let from = stack.iter().position(|(at, _)| *at == class).unwrap_or(0);
                        return Err(stack[from..].iter().map(|(at, _)| *at).collect());
                    }
                    State::New | State::Open => {}
                }
                state[class] = State::Open;
                match self.options[class][chosen[class]].operands.get(next) {
                    Some(operand) => stack.extend([(class, next + 1), (*operand, 0)]),
                    None => state[class] = State::Done,
                }
            }
        }
        Ok((0..self.ids.len()).filter(|class| state[*class] == State::Done).collect())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

impl Chosen for Choices {
    fn operands(&self, class: usize) -> &[usize] {
        &self.current(class).operands
    }

    fn possible_users(&self, class: usize) -> &[usize] {
        &self.users[class]
    }
}
