//! What is left of a program, in pieces that depend on nothing outside them, and the best solution of each.
//!
//! A piece is a sum of tables over variables that are 0 or 1: whether a class is needed, and whether an option is taken. An option that
//! is taken costs, and needs its operands; a class that is needed has an option. Cycles are cut off where a solution has one.

use super::eliminate::{NEVER, Table, eliminate};
use super::program::{Choice, Program, Solution};
use petgraph::unionfind::UnionFind;
use std::collections::BTreeMap;
use std::time::Instant;

/// Options in one table, at most: further ones hang on a variable of their own.
const MOST_OPTIONS: usize = 4;

/// See the head of this file.
pub struct Piece<'a> {
    /// Classes in ascending order, each with whether it is a root.
    classes: Vec<(usize, bool)>,
    program: &'a Program,
}

/// Where the variables of a class are.
struct Variables {
    /// Whether it is needed; roots always are.
    needed: Option<usize>,
    options: Vec<usize>,
}

/// The pieces of a program.
pub fn pieces(program: &Program) -> Vec<Piece<'_>> {
    let mut is_root = vec![false; program.classes.len()];
    program.roots.iter().for_each(|root| is_root[*root] = true);
    let mut sets = UnionFind::new(program.classes.len());
    for (class, options) in program.classes.iter().enumerate() {
        options.iter().flat_map(|option| &option.operands).for_each(|operand| _ = sets.union(class, *operand));
    }
    let mut members: BTreeMap<usize, Vec<(usize, bool)>> = BTreeMap::new();
    for class in (0..program.classes.len()).filter(|class| is_root[*class] || !program.classes[*class].is_empty()) {
        members.entry(sets.find(class)).or_default().push((class, is_root[class]));
    }
    members.into_values().map(|classes| Piece { classes, program }).collect()
}

impl Piece<'_> {
    /// The best solution, or as much as can be said of it until then; `None` if there is none.
    pub fn solve(&self, deadline: Option<Instant>, most_variables: usize) -> Option<Solution> {
        let (mut count, mut tables) = (0, Vec::new());
        let variables: BTreeMap<usize, Variables> =
            self.classes.iter().map(|(class, root)| (*class, self.add(*class, *root, &mut count))).collect();
        for class in variables.keys() {
            self.tables(*class, &variables, &mut count, &mut tables);
        }
        let mut bound = 0;
        loop {
            let found = eliminate(count, tables.clone(), most_variables, deadline);
            bound = bound.max(found.bound);
            if bound == NEVER {
                return None;
            }
            let taken = self.taken(&variables, &found.values);
            let cycles = self.cycles(&taken);
            let solved = found.exact && cycles.is_empty();
            if solved || !found.exact || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let taken = taken.into_iter().map(|(class, option)| (class, self.program.classes[class][option].place)).collect();
                return Some(Solution { taken, bound, solved, pieces: 1, widest: found.widest });
            }
            for cycle in cycles {
                let mut all: Vec<usize> = cycle.into_iter().map(|(class, option)| variables[&class].options[option]).collect();
                all.sort_unstable();
                let length = all.len();
                tables.push(Table::new(all, |is| if (0..length).all(is) { NEVER } else { 0 }));
            }
        }
    }

    fn options(&self, class: usize) -> &[Choice] {
        &self.program.classes[class]
    }

    fn add(&self, class: usize, root: bool, count: &mut usize) -> Variables {
        let mut next = || std::mem::replace(count, *count + 1);
        Variables { needed: (!root).then(&mut next), options: self.options(class).iter().map(|_| next()).collect() }
    }

    /// What a class and its options say of variables.
    fn tables(&self, class: usize, variables: &BTreeMap<usize, Variables>, count: &mut usize, tables: &mut Vec<Table>) {
        let Variables { needed, options } = &variables[&class];
        for (option, variable) in self.options(class).iter().zip(options) {
            tables.push(Table::new(vec![*variable], |is| if is(0) { option.cost } else { 0 }));
            for operand in option.operands.iter().filter_map(|operand| variables[operand].needed) {
                let (a, b) = (*variable, operand);
                let at = |of: usize| usize::from(of == a.max(b));
                tables.push(Table::new(vec![a.min(b), a.max(b)], |is| if is(at(a)) && !is(at(b)) { NEVER } else { 0 }));
            }
        }
        // One of the first, or one of those behind them.
        let (mut asked, mut left) = (*needed, &options[..]);
        loop {
            let (first, behind) = left.split_at(left.len().min(MOST_OPTIONS));
            let rest = (!behind.is_empty()).then(|| std::mem::replace(count, *count + 1));
            let mut all: Vec<usize> = first.iter().copied().chain(rest).chain(asked).collect();
            all.sort_unstable();
            let asked_at = asked.and_then(|asked| all.binary_search(&asked).ok());
            let length = all.len();
            let table = Table::new(all, |is| {
                let is_asked = asked_at.is_none_or(is);
                let has_one = (0..length).any(|at| Some(at) != asked_at && is(at));
                if is_asked && !has_one { NEVER } else { 0 }
            });
            tables.push(table);
            if rest.is_none() {
                return;
            }
            (asked, left) = (rest, behind);
        }
    }

    /// The options of classes that are needed, the cheapest where two are taken.
    fn taken(&self, variables: &BTreeMap<usize, Variables>, values: &[bool]) -> BTreeMap<usize, usize> {
        let option = |(class, of): (&usize, &Variables)| {
            let taken = (0..of.options.len()).filter(|option| values[of.options[*option]]);
            Some((*class, taken.min_by_key(|option| self.options(*class)[*option].cost)?))
        };
        variables.iter().filter_map(option).collect()
    }

    /// Cycles of what is taken, none of which shares a class with another.
    fn cycles(&self, taken: &BTreeMap<usize, usize>) -> Vec<Vec<(usize, usize)>> {
        let (mut found, mut done) = (Vec::new(), std::collections::BTreeSet::new());
        for root in taken.keys() {
            let mut path: Vec<(usize, usize)> = vec![(*root, 0)];
            while let Some((class, next)) = path.pop() {
                if next == 0 && done.contains(&class) {
                    continue;
                }
                if let Some(from) = path.iter().position(|(at, _)| *at == class).filter(|_| next == 0) {
                    found.push(path[from..].iter().map(|(class, _)| (*class, taken[class])).collect());
                    done.extend(path.drain(..).map(|(class, _)| class));
                    continue;
                }
                let operands = taken.get(&class).map_or(&[][..], |option| &self.options(class)[*option].operands);
                match operands.get(next) {
                    Some(operand) => path.extend([(class, next + 1), (*operand, 0)]),
                    None => _ = done.insert(class),
                }
            }
        }
        found
    }
}
