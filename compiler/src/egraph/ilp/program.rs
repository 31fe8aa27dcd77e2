//! Choices as a program: which option each class takes, so that all needed classes have one, none depends on itself, and the costs of
//! those that are needed add up to the least. Shared classes count once.

use super::pieces::pieces;
use super::reduce::Reduction;
use std::time::Instant;

/// What a class may be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Choice {
    /// Cost without that of the operands.
    pub cost: u64,
    /// Classes that are then needed: ascending, each once.
    pub operands: Vec<usize>,
    /// Its place among the options of the program that was given.
    pub place: usize,
}

/// Classes by number, and those that are needed in any case.
#[derive(Clone, Default, Debug)]
pub struct Program {
    /// The options of each class; a class without any cannot be taken.
    pub classes: Vec<Vec<Choice>>,
    /// Needed in any case.
    pub roots: Vec<usize>,
}

/// What is known of the best solution.
#[derive(Clone, Default, Debug)]
pub struct Solution {
    /// Classes with the place of their option, in a best solution. Those of pieces that are not solved are missing.
    pub taken: Vec<(usize, usize)>,
    /// No solution costs less.
    pub bound: u64,
    /// Whether what is taken is proven to be the best.
    pub solved: bool,
    /// How many pieces were left that depend on nothing outside them.
    pub pieces: usize,
    /// Variables of the largest table.
    pub widest: usize,
}

impl Program {
    /// Adds a class with these options, as costs with operands, and gives its number.
    pub fn add(&mut self, options: impl IntoIterator<Item = (u64, Vec<usize>)>) -> usize {
        let choice = |(place, (cost, mut operands)): (usize, (u64, Vec<usize>))| {
            operands.sort_unstable();
            operands.dedup();
            Choice { cost, operands, place }
        };
        self.classes.push(options.into_iter().enumerate().map(choice).collect());
        self.classes.len() - 1
    }

    /// The best solution, or as much as can be said of it until then, if that is given, with tables of at most so many variables; `None`
    /// where no solution is free of cycles.
    pub fn solve(&self, deadline: Option<Instant>, most_variables: usize) -> Option<Solution> {
        let reduced = Reduction::of(self)?;
        let mut solution = Solution { taken: reduced.decided, bound: reduced.cost, solved: true, pieces: 0, widest: 0 };
        for piece in pieces(&reduced.program) {
            let found = piece.solve(deadline, most_variables)?;
            solution.bound = solution.bound.saturating_add(found.bound);
            solution.solved &= found.solved;
            solution.widest = solution.widest.max(found.widest);
            solution.pieces += 1;
            if found.solved {
                solution.taken.extend(found.taken);
            }
        }
        Some(solution)
    }
}
