//! The cheapest choice of e-nodes of all, or a bound of what it costs: what [`super::extract`] takes where pieces are small, and what it
//! is compared with.
//!
//! As an integer linear program, every option of a class is a variable, 1 where it is taken; a class is needed where an option that was
//! taken has it as an operand, and then one of its options is taken. [`reduce`] takes out what every choice does, [`pieces`] has what is
//! left, which falls apart into pieces that depend on nothing outside them, and [`eliminate`] solves each by taking out one variable after
//! the other. Its tables are as large as pieces are entangled, not as they are long, so that repeated blocks cost no more than one does
//! for each.
//!
//! Source: Yang et al. 2021, "Equality Saturation for Tensor Graph Superoptimization", §5.1, for the program.

mod eliminate;
mod pieces;
pub mod program;
mod reduce;
#[cfg(test)]
mod tests;

use super::choices::Choices;
use super::convert::Embedded;
use super::cost::Cost;
use super::extract::Extraction;
use super::lang::ENode;
use egg::Id;
use program::{Program, Solution};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Variables of a table, at most: 128 MiB of costs.
const MOST_VARIABLES: usize = 24;

/// Variables of a table, at most, where no time is given: what is solved with them takes about as long as steps do.
const FEW_VARIABLES: usize = 10;

/// How good a choice can be.
pub struct Proof {
    /// The best choice that was found.
    pub extraction: Extraction,
    /// No choice costs less.
    pub bound: u64,
    /// Whether tables were too large, or time was over, before the best was proven to be that.
    pub interrupted: bool,
    /// Pieces that depend on nothing outside them, without what every choice does.
    pub pieces: usize,
    /// Variables of the largest table.
    pub widest: usize,
    /// How long it took.
    pub time: Duration,
}

/// The cheapest choice and its cost's lower bound, beginning with one that is known, within a time.
pub fn extract_by_ilp(program: &Embedded, cost: &dyn Cost, known: &BTreeMap<Id, ENode>, limit: Duration) -> Proof {
    let start = Instant::now();
    let mut choices = Choices::new(program, cost, &BTreeSet::new());
    for (class, id) in choices.ids.iter().enumerate() {
        let at = known.get(id).and_then(|node| choices.options[class].iter().position(|option| option.node == *node));
        choices.chosen[class] = at.unwrap_or(choices.chosen[class]);
    }
    let cost_before = total(&choices, &choices.chosen).unwrap_or(u64::MAX);
    let solution = solution(&choices, Some(start + limit), MOST_VARIABLES);
    let cost_after = take(&mut choices, &solution, cost_before);
    let extraction = Extraction { choice: choices.all(), cost_before, cost_after };
    let (bound, interrupted) = (solution.bound.min(cost_after), !solution.solved);
    Proof { extraction, bound, interrupted, pieces: solution.pieces, widest: solution.widest, time: start.elapsed() }
}

/// Makes a choice of this cost the best of all, as far as small tables suffice: its cost then.
pub fn improve(choices: &mut Choices, cost: u64) -> u64 {
    let solution = solution(choices, None, FEW_VARIABLES);
    take(choices, &solution, cost)
}

fn solution(choices: &Choices, deadline: Option<Instant>, most_variables: usize) -> Solution {
    let mut program = Program { classes: Vec::new(), roots: choices.outputs.clone() };
    choices.options.iter().for_each(|options| _ = program.add(options.iter().map(|option| (option.cost, option.operands.clone()))));
    program.solve(deadline, most_variables).unwrap_or_default()
}

/// Takes a solution for a choice of this cost, if it costs less: the cost of what is chosen then.
fn take(choices: &mut Choices, solution: &Solution, cost: u64) -> u64 {
    let mut chosen = choices.chosen.clone();
    solution.taken.iter().for_each(|(class, option)| chosen[*class] = *option);
    match total(choices, &chosen).filter(|total| *total < cost) {
        Some(total) => {
            choices.chosen = chosen;
            total
        }
        None => cost,
    }
}

/// Cost of a choice; `None` if it has a cycle.
fn total(choices: &Choices, chosen: &[usize]) -> Option<u64> {
    let needed = choices.needed(chosen).ok()?;
    Some(needed.into_iter().map(|class| choices.options[class][chosen[class]].cost).sum())
}
