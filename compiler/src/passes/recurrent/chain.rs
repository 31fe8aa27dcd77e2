//! Cells that hand their state to the next one, over consecutive steps of one tensor.

use super::cell::{Cell, Kind, cell};
use super::terms::Row;
use kiln_ir::{Dim, Graph, NodeId, Value};
use std::collections::{BTreeSet, HashMap};

/// Steps of a layer, in the order in which they are computed.
pub struct Chain {
    /// The cells.
    pub cells: Vec<Cell>,
    /// Which of the rows of each is the state.
    pub states: Vec<usize>,
    /// Whether each reads the step before the one that its predecessor reads.
    pub reverse: bool,
}

/// What a layer goes over: a tensor, its axis of time and the first step on it.
pub struct Sequence {
    /// The tensor.
    pub value: Value,
    /// Its axis of time.
    pub axis: usize,
    /// The least step.
    pub start: Dim,
}

impl Chain {
    /// The input of a cell: a tensor, its axis of time, and which step.
    fn input(&self, at: usize) -> Option<(Value, usize, &Dim)> {
        step_of(&self.cells[at].rows[1 - self.states[at]])
    }

    /// What it goes over.
    pub fn sequence(&self) -> Option<Sequence> {
        let (value, axis, index) = self.input(if self.reverse { self.cells.len() - 1 } else { 0 })?;
        Some(Sequence { value, axis, start: index.clone() })
    }
}

fn step_of(row: &Row) -> Option<(Value, usize, &Dim)> {
    row.step.as_ref().map(|(axis, index)| (row.value, *axis, index))
}

/// All chains of two cells or more. Each cell has the same weights, and reads the step behind, or before, that of its predecessor.
pub fn chains(graph: &Graph) -> Vec<Chain> {
    let mut open: Vec<Chain> = Vec::new();
    // Which chain a state ends, until a cell goes on from it.
    let mut ends: HashMap<Value, usize> = HashMap::new();
    for id in graph.order() {
        let Some(cell) = cell(graph, Value { node: id, result: 0 }) else { continue };
        let next = cell.next[0];
        let before = cell.rows.iter().enumerate().find_map(|(at, row)| {
            let end = row.step.is_none().then(|| ends.get(&row.value))??;
            goes_on(&open[*end], &cell, at).map(|first| (*end, row.value, at, first))
        });
        let chain = match before {
            Some((chain, state, at, (first, reverse))) => {
                ends.remove(&state);
                let growing = &mut open[chain];
                growing.states[0] = first;
                growing.reverse = reverse;
                growing.cells.push(cell);
                growing.states.push(at);
                chain
            }
            None => {
                // Where the state is not told by the kind of cell, the next one tells.
                open.push(Chain { cells: vec![cell], states: vec![1], reverse: false });
                open.len() - 1
            }
        };
        ends.insert(next, chain);
    }
    open.retain(|chain| chain.cells.len() > 1 && memory_stays_inside(graph, chain));
    open
}

/// Whether a cell whose row `at` is the last state goes on with a chain: which row of the first cell is its state then, and the
/// direction.
fn goes_on(chain: &Chain, cell: &Cell, at: usize) -> Option<(usize, bool)> {
    let last = chain.cells.len() - 1;
    let previous = &chain.cells[last];
    if previous.kind != cell.kind || previous.functions != cell.functions || previous.hidden != cell.hidden {
        return None;
    }
    let same_vectors = previous.biases == cell.biases && previous.reset_biases == cell.reset_biases && previous.peepholes == cell.peepholes;
    if !same_vectors || previous.clip != cell.clip || cell.memory.as_ref() != previous.next.get(1) {
        return None;
    }
    let same = |state: usize| {
        previous.weights[state] == cell.weights[at]
            && previous.weights[1 - state] == cell.weights[1 - at]
            && (!matches!(cell.kind, Kind::Gru { .. }) || state == 1)
    };
    let state = if last > 0 {
        Some(chain.states[last]).filter(|s| same(*s))
    } else {
        [1, 0].into_iter().find(|s| same(*s) && step_of(&previous.rows[1 - s]).is_some())
    }?;
    let (value, axis, index) = step_of(&cell.rows[1 - at])?;
    let (before, axis_before, index_before) = step_of(&previous.rows[1 - state])?;
    let distance = (index - index_before).as_const().filter(|d| value == before && axis == axis_before && d.abs() == 1)?;
    let reverse = distance < 0;
    (last == 0 || reverse == chain.reverse).then_some((if last == 0 { state } else { chain.states[0] }, reverse))
}

/// Layers give the memory cell of the last step alone, so no other step's may be read elsewhere.
fn memory_stays_inside(graph: &Graph, chain: &Chain) -> bool {
    let outputs: BTreeSet<NodeId> = graph.outputs().iter().map(|(_, v)| v.node).collect();
    chain.cells[..chain.cells.len() - 1].iter().all(|cell| match cell.next.get(1) {
        // One node bounds it for the state, one carries it on, and gates may see it.
        Some(memory) => {
            let users = 2 + cell.peepholes.iter().flatten().count();
            graph.users(memory.node).len() == users && !outputs.contains(&memory.node)
        }
        None => true,
    })
}
