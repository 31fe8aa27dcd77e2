//! Where temporaries lie in the arena.
//!
//! Each buffer gets an offset such that no two that live at the same time overlap. Sizes are dims, so buffers are grouped by
//! what they are multiples of: `4·batch·seq` and `12·batch·seq` are 4 and 12 times `batch·seq`. Inside a group, offsets are
//! planned in that unit, the largest buffer first, each into the smallest gap it fits (best fit); groups lie one behind the
//! other. Constant sizes are the group of the unit 1.
//!
//! Where symbols have a usual size, all of it is planned in numbers at these sizes, so that buffers of every kind share memory. With
//! up to k times as much of a symbol no buffer takes more than kᵈ times its place, d the highest power of it in any size, so offsets
//! times `⌈size / usual⌉ᵈ`, or 1, hold for any size.
//!
//! Source for the order: Pisarchyk & Lee 2020, "Efficient Memory Management for Deep Neural Net Inference", §4.3 (greedy by size).

use super::lifetime::{Lifetime, lifetimes};
use crate::kernel::{BufferId, Program, Step};
use kiln_ir::artifact::ALIGNMENT;
use kiln_ir::dim::Atom;
use kiln_ir::{Diagnostic, Dim, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// Constant sizes beyond this are refused: their sums must not overflow.
const LARGEST_BYTES: i64 = 1 << 56;

/// Offsets of temporaries from an aligned start.
#[derive(Clone, PartialEq, Debug)]
pub struct ArenaPlan {
    /// Byte offset of each buffer: a multiple of 64 for all sizes.
    pub offsets: BTreeMap<BufferId, Dim>,
    /// Bytes of all together.
    pub bytes: Dim,
}

/// Plans those of `buffers` that the steps touch.
///
/// Errors: `arena_too_large` when a buffer's constant size is beyond any memory.
pub fn plan_arena(program: &Program, steps: &[Step], buffers: &BTreeSet<BufferId>) -> Result<ArenaPlan, Diagnostic> {
    let mut sizes = Vec::new();
    for (id, lifetime) in lifetimes(steps) {
        if buffers.contains(&id) {
            sizes.push((id, lifetime, buffer_bytes(program, id)?));
        }
    }
    let usual = &program.usual_sizes;
    let excess = excess(usual, sizes.iter().map(|(.., bytes)| bytes));
    let mut groups: BTreeMap<Dim, Vec<Request>> = BTreeMap::new();
    for (id, lifetime, bytes) in sizes {
        let (unit, multiple) = match bytes.evaluate(&|s| usual.get(s).copied()) {
            Some(bytes) if excess.is_some() => (excess.clone().unwrap_or(Dim::ONE), bytes),
            _ => split_multiple(&bytes),
        };
        let bytes = (multiple as u64).next_multiple_of(ALIGNMENT as u64) as i64;
        groups.entry(unit).or_default().push(Request { id, lifetime, bytes });
    }
    let mut plan = ArenaPlan { offsets: BTreeMap::new(), bytes: Dim::ZERO };
    for (unit, requests) in groups {
        let (offsets, end) = best_fit(requests);
        for (id, offset) in offsets {
            plan.offsets.insert(id, &plan.bytes + &unit * Dim::from(offset));
        }
        plan.bytes = &plan.bytes + &unit * Dim::from(end);
    }
    Ok(plan)
}

/// What any plan of these buffers takes at least: the most bytes that are alive at one kernel, each buffer as it is placed. `None`
/// when a size is not known.
pub fn live_bytes(program: &Program, steps: &[Step], buffers: &BTreeSet<BufferId>, sizes: &dyn Fn(&Symbol) -> Option<i64>) -> Option<i64> {
    let mut changes: BTreeMap<usize, i64> = BTreeMap::new();
    for (id, lifetime) in lifetimes(steps).into_iter().filter(|(id, _)| buffers.contains(id)) {
        let bytes = buffer_bytes(program, id).ok()?.evaluate(sizes)?;
        let bytes = (bytes as u64).next_multiple_of(ALIGNMENT as u64) as i64;
        *changes.entry(lifetime.first).or_default() += bytes;
        *changes.entry(lifetime.last + 1).or_default() -= bytes;
    }
    let alive = changes.into_values().scan(0, |alive, change| {
        *alive += change;
        Some(*alive)
    });
    Some(alive.max().unwrap_or(0))
}

/// Size of a buffer in bytes.
///
/// Errors: `arena_too_large`.
pub fn buffer_bytes(program: &Program, id: BufferId) -> Result<Dim, Diagnostic> {
    let buffer = program.buffer(id);
    let bytes = buffer.elements() * Dim::from(buffer.dtype.size_bytes());
    let largest = bytes.terms().iter().map(|term| term.coefficient.saturating_abs()).max().unwrap_or(0);
    if largest > LARGEST_BYTES {
        let shape: Vec<String> = buffer.shape.iter().map(Dim::to_string).collect();
        let message = format!("`{}` is {}[{}], which is larger than any memory", buffer.name, buffer.dtype, shape.join(", "));
        return Err(Diagnostic::new("arena_too_large", message));
    }
    Ok(bytes)
}

struct Request {
    id: BufferId,
    lifetime: Lifetime,
    bytes: i64,
}

/// Offset of each request and the end of the last.
fn best_fit(mut requests: Vec<Request>) -> (Vec<(BufferId, i64)>, i64) {
    requests.sort_by_key(|r| (std::cmp::Reverse(r.bytes), r.lifetime.first, r.id));
    // Placed requests by offset.
    let mut placed: Vec<(i64, Request)> = Vec::new();
    for request in requests {
        let (mut end, mut best) = (0, None);
        for (offset, other) in placed.iter().filter(|(_, other)| other.lifetime.overlaps(request.lifetime)) {
            let gap = offset - end;
            if gap >= request.bytes && best.is_none_or(|(smallest, _)| gap < smallest) {
                best = Some((gap, end));
            }
            end = end.max(offset.saturating_add(other.bytes));
        }
        let offset = best.map_or(end, |(_, offset)| offset);
        let at = placed.partition_point(|(other, _)| *other <= offset);
        placed.insert(at, (offset, request));
    }
    let end = placed.iter().map(|(offset, request)| offset.saturating_add(request.bytes)).max().unwrap_or(0);
    (placed.into_iter().map(|(offset, request)| (request.id, offset)).collect(), end)
}

/// By how much sizes exceed what they are at the usual ones, at most; nothing where they are no sums of products of these symbols.
fn excess<'a>(usual: &BTreeMap<Symbol, i64>, sizes: impl Iterator<Item = &'a Dim>) -> Option<Dim> {
    let mut powers: BTreeMap<&Symbol, usize> = BTreeMap::new();
    for term in sizes.flat_map(Dim::terms) {
        let mut counts: BTreeMap<Symbol, usize> = BTreeMap::new();
        for atom in &term.atoms {
            let Atom::Symbol(symbol) = atom else { return None };
            *counts.entry(symbol.clone()).or_default() += 1;
        }
        if term.coefficient < 0 {
            return None;
        }
        for (symbol, count) in counts {
            let (symbol, _) = usual.get_key_value(&symbol)?;
            let most = powers.entry(symbol).or_default();
            *most = (*most).max(count);
        }
    }
    let factor = |symbol: &Symbol| Dim::from(symbol.clone()).ceil_div(&Dim::from(usual[symbol])).maximum(&Dim::ONE);
    let factors: Vec<Dim> = powers.into_iter().flat_map(|(symbol, power)| std::iter::repeat_n(factor(symbol), power)).collect();
    Some(Dim::product(&factors))
}

/// `dim = unit · multiple` with the largest such multiple; a constant is a multiple of 1.
fn split_multiple(dim: &Dim) -> (Dim, i64) {
    if let Some(constant) = dim.as_const() {
        return (Dim::ONE, constant.max(0));
    }
    let mut terms = dim.terms();
    let multiple = terms.iter().fold(0, |divisor, term| greatest_common_divisor(divisor, term.coefficient.saturating_abs()));
    terms.iter_mut().for_each(|term| term.coefficient /= multiple);
    (Dim::from_terms(terms), multiple)
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::testing::{chain, looped};

    /// Buffers of one plan that live together must not overlap, for these symbol values.
    fn assert_sound(program: &Program, plan: &ArenaPlan, value: i64) {
        let symbols = |_: &kiln_ir::Symbol| Some(value);
        let alive = lifetimes(&program.steps);
        let placed: Vec<(BufferId, i64, i64)> = (plan.offsets.iter())
            .map(|(id, offset)| {
                let bytes = buffer_bytes(program, *id).expect("small").evaluate(&symbols).expect("small");
                (*id, offset.evaluate(&symbols).expect("small"), bytes)
            })
            .collect();
        let total = plan.bytes.evaluate(&symbols).expect("small");
        for (i, (a, at, bytes)) in placed.iter().enumerate() {
            assert!(at % ALIGNMENT as i64 == 0 && at + bytes <= total);
            for (b, other, size) in &placed[i + 1..] {
                assert!(!alive[a].overlaps(alive[b]) || at + bytes <= *other || other + size <= *at, "{a:?} and {b:?} overlap");
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers_whatever_its_length() {
        let program = chain(&[Dim::from(100), Dim::from(100), Dim::from(100), Dim::from(100), Dim::from(100)]);
        let plan = plan_arena(&program, &program.steps, &(0..5).map(BufferId).collect()).expect("small");
        assert_eq!(plan.bytes, Dim::from(2 * 448));
        assert_eq!(live_bytes(&program, &program.steps, &(0..5).map(BufferId).collect(), &|_| None), Some(2 * 448));
        assert_sound(&program, &plan, 0);
    }

    #[test]
    fn symbolic_sizes_share_memory_within_their_unit() {
        let (n, m) = (Dim::symbol("n"), Dim::symbol("m"));
        let sizes = [&n * Dim::from(32), &n * Dim::from(16), &m * &n, Dim::from(3), &n * Dim::from(32), &n + &m, &n * Dim::from(16)];
        let program = chain(&sizes);
        let plan = plan_arena(&program, &program.steps, &(0..7).map(BufferId).collect()).expect("small");
        assert_eq!(plan.bytes.to_string(), "64*m + 64*m*n + 256*n + 64");
        for value in [0, 1, 5, 1000] {
            assert_sound(&program, &plan, value);
        }
    }

    #[test]
    fn usual_sizes_let_all_share_and_any_other_size_is_sound() {
        let n = Dim::symbol("n");
        let sizes = [&n * Dim::from(32), Dim::from(1000), &n * &n, Dim::from(900), &n * Dim::from(32) + Dim::from(7)];
        let mut program = chain(&sizes);
        let buffers = (0..5).map(BufferId).collect();
        let apart = plan_arena(&program, &program.steps, &buffers).expect("small");
        program.usual_sizes.insert(Symbol::new("n"), 30);
        let shared = plan_arena(&program, &program.steps, &buffers).expect("small");
        let at = |plan: &ArenaPlan, n: i64| plan.bytes.evaluate(&|_| Some(n)).expect("small");
        assert!(at(&shared, 30) < at(&apart, 30), "{} and {}", at(&shared, 30), at(&apart, 30));
        for value in [0, 1, 29, 30, 31, 60, 61, 1000] {
            assert_sound(&program, &shared, value);
        }
    }

    #[test]
    fn what_a_loop_carries_keeps_its_place_through_the_loop() {
        let program = looped();
        let plan = plan_arena(&program, &program.steps, &(0..program.buffers.len() as u32).map(BufferId).collect()).expect("small");
        assert_sound(&program, &plan, 4);
        let state = lifetimes(&program.steps)[&BufferId(1)];
        assert_eq!(state, Lifetime { first: 0, last: 4 });
        let scratch = lifetimes(&program.steps)[&BufferId(2)];
        assert_eq!(scratch, Lifetime { first: 1, last: 2 });
    }

    #[test]
    fn impossible_sizes_are_refused_by_name() {
        let program = chain(&[Dim::from(i64::MAX), Dim::ONE]);
        let error = plan_arena(&program, &program.steps, &[BufferId(0)].into()).expect_err("refused");
        insta::assert_snapshot!(error, @"error[arena_too_large]: `b0` is f32[9223372036854775807], which is larger than any memory");
    }
}
