//! Programs at random against all their choices, one after the other.

use super::pieces::pieces;
use super::program::{Program, Solution};
use super::reduce::Reduction;
use std::time::{Duration, Instant};

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    /// A few classes with one to `most_options` options of up to three operands, some of which make cycles.
    fn program(&mut self, most_classes: usize, most_options: usize, cyclic: bool) -> Program {
        let classes = 1 + self.below(most_classes);
        let mut program = Program::default();
        for class in 0..classes {
            let below = if cyclic && self.below(3) == 0 { classes } else { class };
            let options: Vec<(u64, Vec<usize>)> = (0..1 + self.below(most_options))
                .map(|_| {
                    let operands = if below == 0 { 0 } else { self.below(4) };
                    // Many ties, and many that cost nothing.
                    let cost = [0, 0, 1, 2, 3, 7, 20][self.below(7)];
                    (cost, (0..operands).map(|_| self.below(below)).collect())
                })
                .collect();
            program.add(options);
        }
        program.roots = (0..1 + self.below(2)).map(|_| classes - 1 - self.below(classes.min(3))).collect();
        program
    }
}

/// What a choice for each class costs; `None` where it has a cycle, or a class without options.
fn cost(program: &Program, chosen: &dyn Fn(usize) -> Option<usize>) -> Option<u64> {
    fn visit(program: &Program, chosen: &dyn Fn(usize) -> Option<usize>, class: usize, seen: &mut [u8]) -> Option<u64> {
        match seen[class] {
            0 => {
                seen[class] = 1;
                let choice = program.classes[class].iter().find(|option| Some(option.place) == chosen(class))?;
                let below: Option<u64> = choice.operands.iter().map(|operand| visit(program, chosen, *operand, seen)).sum();
                seen[class] = 2;
                Some(choice.cost + below?)
            }
            1 => None,
            _ => Some(0),
        }
    }
    let mut seen = vec![0; program.classes.len()];
    program.roots.iter().map(|root| visit(program, chosen, *root, &mut seen)).sum()
}

/// The least cost of all choices.
fn least(program: &Program) -> Option<u64> {
    let counts: Vec<usize> = program.classes.iter().map(|options| options.len().max(1)).collect();
    let (mut turn, mut least) = (vec![0; counts.len()], None);
    loop {
        let place = |class: usize| program.classes[class].get(turn[class]).map(|option| option.place);
        least = [least, cost(program, &place)].into_iter().flatten().min();
        let Some(next) = (0..counts.len()).find(|at| turn[*at] + 1 < counts[*at]) else { return least };
        turn[next] += 1;
        turn[..next].fill(0);
    }
}

fn in_a_minute() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

fn cost_of(program: &Program, solution: &Solution) -> Option<u64> {
    cost(program, &|class| solution.taken.iter().find(|(at, _)| *at == class).map(|(_, place)| *place))
}

#[test]
fn solutions_cost_the_least_of_all_choices_and_have_no_cycle() {
    let mut random = Random(1);
    let (mut without, mut open) = (0, 0);
    for round in 0..6000 {
        let program = match round % 3 {
            0 => random.program(6, 4, true),
            1 => random.program(9, 3, round % 2 == 0),
            _ => random.program(4, 8, true),
        };
        let expected = least(&program);
        let found = program.solve(in_a_minute(), 30);
        match (&found, expected) {
            (Some(found), Some(expected)) => {
                assert!(found.solved && found.bound == expected, "{program:?}: {found:?} and not {expected}");
                assert_eq!(cost_of(&program, found), Some(expected), "{program:?}: {found:?}");
                open += usize::from(found.pieces > 0);
            }
            (None, None) => without += 1,
            _ => panic!("{program:?}: {found:?} and not {expected:?}"),
        }
    }
    assert!(without > 100 && open > 100, "{without} without a solution, {open} with pieces");
}

#[test]
fn pieces_are_solved_without_being_reduced() {
    let mut random = Random(4);
    let (mut without, mut wide) = (0, 0);
    for round in 0..3000 {
        let program = random.program(7, 3 + 4 * (round % 2), round % 3 > 0);
        let solutions: Option<Vec<Solution>> = pieces(&program).iter().map(|piece| piece.solve(in_a_minute(), 60)).collect();
        let expected = least(&program);
        match solutions {
            None => assert_eq!(expected, None, "{program:?}"),
            Some(solutions) => {
                assert!(solutions.iter().all(|solution| solution.solved));
                assert_eq!(Some(solutions.iter().map(|solution| solution.bound).sum()), expected, "{program:?}");
                wide += usize::from(solutions.iter().any(|solution| solution.widest > 4));
            }
        }
        without += usize::from(expected.is_none());
    }
    assert!(without > 50 && wide > 50, "{without} without a solution, {wide} with wide tables");
}

#[test]
fn small_tables_and_no_time_give_bounds() {
    let mut random = Random(2);
    let (mut below, mut solved) = (0, 0);
    for round in 0..3000 {
        let program = random.program(10, 3, round % 4 == 0);
        let Some(expected) = least(&program) else { continue };
        let deadline = if round % 5 == 0 { Some(Instant::now()) } else { None };
        let found = program.solve(deadline, 1 + round % 2).unwrap_or_else(|| panic!("{program:?}"));
        assert!(found.bound <= expected, "{program:?}: {found:?} and not {expected}");
        if found.solved {
            assert_eq!((found.bound, cost_of(&program, &found)), (expected, Some(expected)), "{program:?}: {found:?}");
        }
        below += usize::from(found.bound < expected);
        solved += usize::from(found.solved);
    }
    assert!(below > 10 && solved > 1000, "{below} bounds are below, {solved} solved");
}

#[test]
fn a_reduction_keeps_the_least_cost() {
    let mut random = Random(3);
    let mut left = 0;
    for _ in 0..3000 {
        let program = random.program(8, 4, true);
        let reduced = Reduction::of(&program).and_then(|reduced| Some(reduced.cost + least(&reduced.program)?));
        assert_eq!(reduced, least(&program), "{program:?}");
        left += Reduction::of(&program).map_or(0, |reduced| usize::from(reduced.program.roots.len() > 1));
    }
    assert!(left > 10, "{left} with more than one root left");
}

/// Blocks behind each other, in each of which three values may share one that is made at once: the length makes no difference.
#[test]
fn chains_of_blocks_are_solved_whatever_their_length() {
    let mut program = Program::default();
    let mut last = program.add([(0, vec![])]);
    const BLOCKS: u64 = 2000;
    for block in 0..BLOCKS {
        // Together they cost 40; apart 30, or 60 in every other block.
        let whole = program.add([(40, vec![last])]);
        let apart = if block % 2 == 0 { 10 } else { 20 };
        let parts: Vec<usize> = (0..3).map(|_| program.add([(apart, vec![last]), (0, vec![whole])])).collect();
        let other = program.add([(1, vec![parts[0], parts[1]]), (2, vec![parts[1], parts[2]])]);
        last = program.add([(1, vec![other, parts[2]])]);
    }
    program.roots = vec![last];
    let found = program.solve(in_a_minute(), 20).unwrap_or_else(|| panic!("it has a solution"));
    // Without the third part the second option of `other` costs one more and saves one part.
    let (even, odd) = (2 * 10 + 2 + 1, 40 + 1 + 1);
    assert!(found.solved && found.widest < 8, "{}", found.widest);
    assert_eq!((found.bound, cost_of(&program, &found)), (BLOCKS / 2 * (even + odd), Some(found.bound)));
}
