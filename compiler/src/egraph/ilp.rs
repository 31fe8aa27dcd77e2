//! The cheapest choice of e-nodes as an integer linear program: what [`super::extract`] is compared with.
//!
//! Every option of a class that is not needed anyway is a variable, 1 where it is taken. A class is needed where an option that was taken
//! has it as an operand; then one of its options is taken. Classes that every choice needs fall out, and what is left falls apart into
//! programs of a few variables each, equal ones for repeated blocks: each is solved once. Cycles are cut off where a solution has one.
//!
//! Source: Yang et al. 2021, "Equality Saturation for Tensor Graph Superoptimization", §5.1.

use super::choices::Choices;
use super::convert::Embedded;
use super::cost::Cost;
use super::extract::Extraction;
use super::lang::ENode;
use egg::Id;
use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOptions, Variable};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How good a choice can be.
pub struct Proof {
    /// The best choice that was found.
    pub extraction: Extraction,
    /// No choice costs less.
    pub bound: u64,
    /// Whether time was over before the best was proven to be that.
    pub interrupted: bool,
    /// How long it took.
    pub time: Duration,
}

/// What a solution takes: classes and options, by place.
type Taken = Vec<(usize, usize)>;

/// The cheapest choice and its cost's lower bound, beginning with one that is known, within a time.
pub fn extract_by_ilp(program: &Embedded, cost: &dyn Cost, known: &BTreeMap<Id, ENode>, limit: Duration) -> Proof {
    let start = Instant::now();
    let mut choices = Choices::new(program, cost, &BTreeSet::new());
    for (class, id) in choices.ids.iter().enumerate() {
        let at = known.get(id).and_then(|node| choices.options[class].iter().position(|option| option.node == *node));
        choices.chosen[class] = at.unwrap_or(choices.chosen[class]);
    }
    let cost_before = total(&choices, &choices.chosen).unwrap_or(u64::MAX);
    let (mut best, mut cost_after) = (choices.chosen.clone(), cost_before);
    let (mut bound, mut cuts) = (0, Vec::new());
    let mut solver = Solver::new(&choices, start + limit);
    loop {
        let solution = solver.solve(&cuts);
        bound = bound.max(solution.bound);
        let mut chosen = choices.chosen.clone();
        solution.taken.iter().for_each(|(class, option)| chosen[*class] = *option);
        match choices.needed(&chosen) {
            Ok(_) => {
                if let Some(total) = total(&choices, &chosen).filter(|total| *total < cost_after) {
                    (best, cost_after) = (chosen, total);
                }
                break;
            }
            Err(cycle) if Instant::now() < start + limit => cuts.push(cycle.into_iter().map(|class| (class, chosen[class])).collect()),
            Err(_) => {
                solver.interrupted = true;
                break;
            }
        }
    }
    let interrupted = solver.interrupted;
    // Proven, as exactly as the solver computes.
    let bound = if interrupted { bound.min(cost_after) } else { cost_after };
    choices.chosen = best;
    let extraction = Extraction { choice: choices.all(), cost_before, cost_after };
    Proof { extraction, bound, interrupted, time: start.elapsed() }
}

/// Cost of a choice; `None` if it has a cycle.
fn total(choices: &Choices, chosen: &[usize]) -> Option<u64> {
    let needed = choices.needed(chosen).ok()?;
    Some(needed.into_iter().map(|class| choices.options[class][chosen[class]].cost).sum())
}

struct Solver<'a> {
    choices: &'a Choices,
    deadline: Instant,
    interrupted: bool,
    /// Whether every choice needs the class.
    always: Vec<bool>,
    /// Classes that some choice needs and that are not settled.
    open: Vec<usize>,
    /// What all choices pay.
    fixed_cost: u64,
    /// Which classes the known choice needs.
    known: BTreeSet<usize>,
    /// Solutions of programs that were solved, by all that they consist of.
    solved: BTreeMap<Vec<u64>, Part>,
}

/// What a solution says.
struct Solution {
    taken: Taken,
    bound: u64,
}

/// The solution of a part, in places within it; none where time was over before any was found.
#[derive(Clone)]
struct Part {
    taken: Option<Taken>,
    bound: f64,
}

impl Solver<'_> {
    fn new(choices: &Choices, deadline: Instant) -> Solver<'_> {
        let count = choices.ids.len();
        let (mut always, mut possible) = (vec![false; count], vec![false; count]);
        let mut stack = choices.outputs.clone();
        while let Some(class) = stack.pop() {
            if !std::mem::replace(&mut always[class], true)
                && let [only] = &choices.options[class][..]
            {
                stack.extend_from_slice(&only.operands);
            }
        }
        stack.clone_from(&choices.outputs);
        while let Some(class) = stack.pop() {
            if !std::mem::replace(&mut possible[class], true) {
                choices.options[class].iter().for_each(|option| stack.extend_from_slice(&option.operands));
            }
        }
        let settled = |class: usize| always[class] && choices.options[class].len() == 1;
        let fixed_cost = (0..count).filter(|class| settled(*class)).map(|class| choices.options[class][0].cost).sum();
        let open = (0..count).filter(|class| possible[*class] && !settled(*class)).collect();
        let known = choices.needed(&choices.chosen).unwrap_or_default().into_iter().collect();
        Solver { choices, deadline, interrupted: false, always, open, fixed_cost, known, solved: BTreeMap::new() }
    }

    /// Solves all parts; a cut is a set of options that must not be taken together.
    fn solve(&mut self, cuts: &[Taken]) -> Solution {
        let (mut taken, mut bound) = (Vec::new(), 0.0);
        let parts = self.parts(cuts);
        for (at, part) in parts.iter().enumerate() {
            let inside: Vec<Taken> =
                cuts.iter().filter(|cut| cut.iter().any(|(class, _)| part.binary_search(class).is_ok())).cloned().collect();
            let key = self.key(part, &inside);
            let found = match self.solved.get(&key) {
                Some(found) => found.clone(),
                None => {
                    // An equal share of what is left.
                    let left = self.deadline.saturating_duration_since(Instant::now());
                    let found = self.solve_without_cycles(part, inside, Instant::now() + left / (parts.len() - at) as u32);
                    self.solved.insert(key, found.clone());
                    found
                }
            };
            bound += found.bound;
            taken.extend(found.taken.iter().flatten().map(|(class, option)| (part[*class], *option)));
        }
        // Floating point: a proof is no more exact than the simplex.
        Solution { taken, bound: self.fixed_cost + (bound.max(0.0) * (1.0 - 1e-9)) as u64 }
    }

    /// Solves a part again and again, until its solution has no cycle in it.
    fn solve_without_cycles(&mut self, part: &[usize], mut cuts: Vec<Taken>, deadline: Instant) -> Part {
        cuts.extend(self.cycles_of_two(part));
        let mut bound = 0.0f64;
        loop {
            let mut found = self.solve_part(part, &cuts, deadline);
            (bound, found.bound) = (bound.max(found.bound), bound.max(found.bound));
            let chosen: BTreeMap<usize, usize> = found.taken.iter().flatten().map(|(at, option)| (part[*at], *option)).collect();
            let cycles = self.cycles(&chosen);
            if cycles.is_empty() {
                return found;
            }
            if Instant::now() >= deadline {
                self.interrupted = true;
                return Part { taken: None, bound };
            }
            cuts.extend(cycles);
        }
    }

    /// Pairs of options that are each other's operands.
    fn cycles_of_two(&self, part: &[usize]) -> Vec<Taken> {
        let uses = |class: usize, operand: usize| {
            let options = self.choices.options[class].iter().enumerate();
            options.filter(move |(_, option)| option.operands.contains(&operand)).map(|(at, _)| at)
        };
        let mut found = Vec::new();
        for class in part {
            for (at, option) in self.choices.options[*class].iter().enumerate() {
                for operand in option.operands.iter().filter(|operand| **operand > *class && part.binary_search(operand).is_ok()) {
                    found.extend(uses(*operand, *class).map(|other| vec![(*class, at), (*operand, other)]));
                }
            }
        }
        found
    }

    /// Cycles of what is chosen, none of which shares a class with another.
    fn cycles(&self, chosen: &BTreeMap<usize, usize>) -> Vec<Taken> {
        let (mut found, mut done) = (Vec::new(), BTreeSet::new());
        for root in chosen.keys() {
            let mut path: Vec<(usize, usize)> = vec![(*root, 0)];
            while let Some((class, next)) = path.pop() {
                if next == 0 && done.contains(&class) {
                    continue;
                }
                if let Some(from) = path.iter().position(|(at, _)| *at == class).filter(|_| next == 0) {
                    found.push(path[from..].iter().map(|(class, _)| (*class, chosen[class])).collect());
                    done.extend(path.drain(..).map(|(class, _)| class));
                    continue;
                }
                let operands = chosen.get(&class).map_or(&[][..], |option| &self.choices.options[class][*option].operands);
                match operands.get(next) {
                    Some(operand) => path.extend([(class, next + 1), (*operand, 0)]),
                    None => _ = done.insert(class),
                }
            }
        }
        found
    }

    /// Open classes that depend on each other's choices, each part in ascending order.
    fn parts(&self, cuts: &[Taken]) -> Vec<Vec<usize>> {
        let mut sets = petgraph::unionfind::UnionFind::new(self.choices.ids.len());
        for class in &self.open {
            for operand in self.choices.options[*class].iter().flat_map(|option| &option.operands) {
                if !self.always[*operand] {
                    sets.union(*class, *operand);
                }
            }
        }
        for cut in cuts {
            let inside = cut.iter().filter(|(class, _)| self.open.binary_search(class).is_ok());
            inside.clone().zip(inside.skip(1)).for_each(|((a, _), (b, _))| _ = sets.union(*a, *b));
        }
        let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        self.open.iter().for_each(|class| parts.entry(sets.find(*class)).or_default().push(*class));
        parts.into_values().collect()
    }

    /// All that a part consists of: equal parts have equal solutions.
    fn key(&self, part: &[usize], cuts: &[Taken]) -> Vec<u64> {
        let place = |class: &usize| part.binary_search(class).map_or(u64::MAX, |at| at as u64);
        let mut key = Vec::new();
        for class in part {
            let options = &self.choices.options[*class];
            key.extend([u64::from(self.always[*class]), u64::from(self.known.contains(class)), self.choices.chosen[*class] as u64]);
            key.push(options.len() as u64);
            for option in options {
                key.extend([option.cost, option.operands.len() as u64]);
                key.extend(option.operands.iter().map(place));
            }
        }
        cuts.iter().for_each(|cut| key.extend(cut.iter().flat_map(|(class, option)| [place(class), *option as u64])));
        key
    }

    fn solve_part(&mut self, part: &[usize], cuts: &[Taken], deadline: Instant) -> Part {
        let mut problem = Problem::new(OptimizationDirection::Minimize);
        let options = |class: usize| &self.choices.options[class];
        let add = |problem: &mut Problem, class: usize| -> Vec<Variable> {
            options(class).iter().map(|option| problem.add_binary_var(option.cost as f64)).collect()
        };
        let variables: Vec<Vec<Variable>> = part.iter().map(|class| add(&mut problem, *class)).collect();
        let of = |class: usize| part.binary_search(&class).ok();
        for (at, class) in part.iter().enumerate() {
            if self.always[*class] {
                let all: Vec<(Variable, f64)> = variables[at].iter().map(|variable| (*variable, 1.0)).collect();
                problem.add_constraint(&all, ComparisonOp::Ge, 1.0);
            }
            for (option, variable) in options(*class).iter().zip(&variables[at]) {
                if option.operands.contains(class) {
                    problem.add_constraint([(*variable, 1.0)], ComparisonOp::Le, 0.0);
                }
                let needs: BTreeSet<usize> =
                    option.operands.iter().filter(|o| **o != *class && !self.always[**o]).filter_map(|o| of(*o)).collect();
                for operand in needs {
                    let all = variables[operand].iter().map(|v| (*v, 1.0)).chain([(*variable, -1.0)]);
                    problem.add_constraint(all.collect::<Vec<_>>(), ComparisonOp::Ge, 0.0);
                }
            }
        }
        for cut in cuts {
            let inside: Vec<(Variable, f64)> =
                cut.iter().filter_map(|(class, option)| Some((variables[of(*class)?][*option], 1.0))).collect();
            let most = inside.len() as f64 - 1.0;
            problem.add_constraint(inside, ComparisonOp::Le, most);
        }
        let mut how = SolveOptions::default();
        how.time_limit = Some(deadline.saturating_duration_since(Instant::now()));
        let is_known = |class: usize, option: usize| self.known.contains(&class) && self.choices.chosen[class] == option;
        let start = part.iter().zip(&variables).flat_map(|(class, all)| {
            all.iter().enumerate().map(|(option, variable)| (*variable, f64::from(u8::from(is_known(*class, option)))))
        });
        how.warm_start = Some(start.collect());
        let outcome = problem.solve_with(how);
        let (solution, bound, optimal) = match &outcome {
            Ok(outcome) => (outcome.solution(), outcome.stats().best_bound, outcome.is_optimal()),
            // It found no way through its numbers: nothing is known.
            Err(_) => (None, None, false),
        };
        self.interrupted |= !optimal;
        let ones = |solution: &microlp::Solution| {
            let all = variables.iter().enumerate().flat_map(|(at, all)| all.iter().enumerate().map(move |(option, v)| (at, option, *v)));
            let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
            for (at, option, variable) in all {
                if solution.var_value(variable) > 0.5 {
                    // Of two, the cheaper one.
                    let cheaper = |old: &usize| options(part[at])[*old].cost <= options(part[at])[option].cost;
                    if !taken.get(&at).is_some_and(cheaper) {
                        taken.insert(at, option);
                    }
                }
            }
            taken.into_iter().collect::<Taken>()
        };
        let objective = solution.filter(|_| optimal).map(microlp::Solution::objective);
        Part { taken: solution.map(ones), bound: objective.or(bound).unwrap_or(0.0) }
    }
}
