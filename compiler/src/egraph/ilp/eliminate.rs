//! The least of a sum of tables over variables that are 0 or 1, by taking out one variable after the other.
//!
//! All tables with a variable become one table without it, that has the least over both its values. What a table may have in variables
//! grows with how entangled the sum is, not with how long it is. Where a table would have too many, the tables are added in groups and
//! each group takes the value that is best for it alone: what comes out is a lower bound then.
//!
//! Source: Bertelè & Brioschi 1972, "Nonserial Dynamic Programming"; Dechter & Rish 2003, "Mini-Buckets: A General Scheme for Bounded
//! Inference".

use std::collections::BTreeSet;
use std::time::Instant;

/// What cannot be.
pub const NEVER: u64 = u64::MAX;

/// Variables that a table has at most once time is over.
const VARIABLES_AFTERWARDS: usize = 8;

/// Costs by the values of variables.
#[derive(Clone, Debug)]
pub struct Table {
    /// In ascending order.
    pub variables: Vec<usize>,
    /// Bit `i` of a place is the value of the variable `i` of this table. Sums that do not fit are [`NEVER`].
    pub costs: Vec<u64>,
}

/// What came out.
pub struct Eliminated {
    /// The least sum, or less.
    pub bound: u64,
    /// Whether it is the least sum, and `values` have it.
    pub exact: bool,
    /// Of each variable.
    pub values: Vec<bool>,
    /// Variables of the largest table.
    pub widest: usize,
}

/// Which value a group of tables prefers for a variable, by the values of its others.
struct Preference {
    variable: usize,
    others: Vec<usize>,
    /// A bit for each place of the others.
    ones: Vec<u64>,
}

impl Table {
    /// A table of what a function gives for values, by place among the variables, which ascend.
    pub fn new(variables: Vec<usize>, cost: impl Fn(&dyn Fn(usize) -> bool) -> u64) -> Table {
        let costs = (0..1usize << variables.len()).map(|place| cost(&|at| place >> at & 1 == 1)).collect();
        Table { variables, costs }
    }
}

/// The least of the sum of the tables. Without a deadline, what needs larger tables is not even bounded.
pub fn eliminate(variables: usize, tables: Vec<Table>, most_variables: usize, deadline: Option<Instant>) -> Eliminated {
    let (order, fits) = order(variables, &tables, most_variables);
    if !fits && deadline.is_none() {
        return Eliminated { bound: 0, exact: false, values: vec![false; variables], widest: 0 };
    }
    let mut turn = vec![0; variables];
    order.iter().enumerate().for_each(|(at, variable)| turn[*variable] = at);
    let mut result = Eliminated { bound: 0, exact: true, values: vec![false; variables], widest: 0 };
    let mut waiting: Vec<Vec<Table>> = vec![Vec::new(); variables];
    let mut put = |table: Table, waiting: &mut Vec<Vec<Table>>| match table.variables.iter().min_by_key(|variable| turn[**variable]) {
        Some(first) => waiting[*first].push(table),
        None => result.bound = result.bound.saturating_add(table.costs[0]),
    };
    tables.into_iter().for_each(|table| put(table, &mut waiting));
    let mut preferences = Vec::new();
    for variable in &order {
        let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let most = if over { most_variables.min(VARIABLES_AFTERWARDS) } else { most_variables };
        let groups = groups(std::mem::take(&mut waiting[*variable]), most);
        result.exact &= groups.len() <= 1;
        for group in groups {
            let (table, preference) = without(*variable, &group);
            result.widest = result.widest.max(table.variables.len());
            preferences.push(preference);
            put(table, &mut waiting);
        }
    }
    // Backwards, so that the others have their values.
    for Preference { variable, others, ones } in preferences.into_iter().rev() {
        let place = others.iter().enumerate().fold(0, |place, (at, other)| place | usize::from(result.values[*other]) << at);
        result.values[variable] |= ones[place / 64] >> (place % 64) & 1 == 1;
    }
    result
}

/// The sum of tables, as the least over a variable, and for which value it is that.
fn without(variable: usize, tables: &[Table]) -> (Table, Preference) {
    let all: BTreeSet<usize> = tables.iter().flat_map(|table| table.variables.iter().copied()).filter(|other| *other != variable).collect();
    let others: Vec<usize> = all.into_iter().collect();
    let count = 1usize << others.len();
    let mut walks: Vec<Walk> = tables.iter().map(|table| Walk::new(table, variable, &others)).collect();
    let (mut costs, mut ones) = (Vec::with_capacity(count), vec![0u64; count.div_ceil(64)]);
    for place in 0..count {
        let (mut zero, mut one) = (0u64, 0u64);
        for walk in &mut walks {
            zero = zero.saturating_add(walk.costs[walk.place]);
            one = one.saturating_add(walk.costs[walk.place + walk.stride]);
            walk.place = walk.place.wrapping_add(walk.steps[(place + 1).trailing_zeros() as usize]);
        }
        costs.push(zero.min(one));
        ones[place / 64] |= u64::from(one < zero) << (place % 64);
    }
    (Table { variables: others.clone(), costs }, Preference { variable, others, ones })
}

/// Goes through a table while the variables of a larger one count up.
struct Walk<'a> {
    costs: &'a [u64],
    place: usize,
    /// Between the two values of the variable that is taken out.
    stride: usize,
    /// By how much the place changes where so many low bits of the count fall from 1 to 0 and the next becomes 1.
    steps: Vec<usize>,
}

impl Walk<'_> {
    fn new<'a>(table: &'a Table, variable: usize, others: &[usize]) -> Walk<'a> {
        let stride = |other: &usize| table.variables.binary_search(other).map_or(0, |at| 1usize << at);
        let (mut steps, mut fallen) = (Vec::new(), 0usize);
        for other in others {
            steps.push(stride(other).wrapping_sub(fallen));
            fallen += stride(other);
        }
        // Behind the last place there is none.
        steps.push(0);
        Walk { costs: &table.costs, place: 0, stride: stride(&variable), steps }
    }
}

/// Tables in groups of so many variables at most, besides the one that is taken out; one group if that suffices.
fn groups(mut tables: Vec<Table>, most: usize) -> Vec<Vec<Table>> {
    tables.sort_by_key(|table| std::cmp::Reverse(table.variables.len()));
    let mut groups: Vec<(BTreeSet<usize>, Vec<Table>)> = Vec::new();
    for table in tables {
        let joined = |group: &BTreeSet<usize>| group.union(&table.variables.iter().copied().collect()).count();
        match groups.iter_mut().find(|(group, _)| joined(group) <= most + 1) {
            Some((group, members)) => {
                group.extend(&table.variables);
                members.push(table);
            }
            None => groups.push((table.variables.iter().copied().collect(), vec![table])),
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

/// An order in which tables stay small: the variable next whose neighbours are connected already but for the fewest pairs. Those with more
/// neighbours than a table may have come last; whether there was none.
fn order(variables: usize, tables: &[Table], most_variables: usize) -> (Vec<usize>, bool) {
    let mut neighbours: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); variables];
    for table in tables {
        for a in &table.variables {
            neighbours[*a].extend(table.variables.iter().filter(|b| *b != a));
        }
    }
    let missing = |neighbours: &[BTreeSet<usize>], variable: usize| {
        let around = &neighbours[variable];
        if around.len() > most_variables {
            return (usize::MAX, around.len());
        }
        let pairs = around.iter().map(|a| around.range(a + 1..).filter(|b| !neighbours[*a].contains(b)).count());
        (pairs.sum::<usize>(), around.len())
    };
    let mut ranks: Vec<(usize, usize)> = (0..variables).map(|variable| missing(&neighbours, variable)).collect();
    let mut queue: BTreeSet<(usize, usize, usize)> = (0..variables).map(|v| (ranks[v].0, ranks[v].1, v)).collect();
    let (mut order, mut fits) = (Vec::with_capacity(variables), true);
    while let Some((_, count, variable)) = queue.pop_first() {
        order.push(variable);
        if count > most_variables {
            // Any order of the rest will do: its tables are cut.
            fits = false;
            order.extend(queue.into_iter().map(|(_, _, variable)| variable));
            break;
        }
        let around = std::mem::take(&mut neighbours[variable]);
        for a in &around {
            neighbours[*a].remove(&variable);
            neighbours[*a].extend(around.iter().filter(|b| *b != a));
        }
        // Those around have other neighbours now, and what is next to two of them may have fewer pairs to connect.
        let mut changed = around.clone();
        around.iter().for_each(|a| changed.extend(&neighbours[*a]));
        for other in changed {
            let rank = missing(&neighbours, other);
            let old = std::mem::replace(&mut ranks[other], rank);
            queue.remove(&(old.0, old.1, other));
            queue.insert((rank.0, rank.1, other));
        }
    }
    (order, fits)
}
