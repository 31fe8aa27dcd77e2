//! Nests with reductions by teams of 16 threads, one for each virtual lane of the canonical order.
//!
//! ```text
//! rows:      a team is half a warp, its threads take neighbouring elements of one row; partial results are exchanged by shuffles
//! columns:   a block is 16 teams of neighbouring points, so that threads of a warp read neighbours; results go through shared memory
//! ```
//!
//! Thread l of a team combines the elements l, l + 16, l + 32, … of its point, and the 16 results are merged by the fixed tree: the bits are
//! those of one thread that keeps 16 partial results.

use super::strides::{Moves, moves};
use super::tiles::usual;
use crate::kernel::{Axis, Body, ExprId, Kernel, Nest, Program, Reduction, Stage, Store};
use crate::lower::context::{Context, Value};
use crate::lower::fold::{Fold, ORDER_LANES};
use crate::lower::nest::Tasks;
use crate::lower::reduce::stepped;
use crate::lower::rewrite::{flatten, merge_axes};
use crate::lower::tasks::for_each_number;
use crate::tile::{Builder, CooperativeStmt, EXCHANGE_LANES, Lane, Mem, Reg};
use kiln_ir::{Dim, Ranges, Symbol};

const _: () = assert!(ORDER_LANES == EXCHANGE_LANES);

/// Threads of a team.
const TEAM: i64 = ORDER_LANES as i64;
/// Teams of a block that compute rows: few, so that few rows are many blocks.
const ROW_TEAMS: i64 = 4;
/// Teams of a block that compute columns.
const COLUMN_TEAMS: i64 = 16;
/// Elements that a thread asks for before it combines the first of them.
const AT_ONCE: i64 = 4;
/// Fewer elements than this are combined by one thread.
const LEAST_ELEMENTS: i64 = 16;
/// As many points keep a GPU busy with a thread each.
const MANY_POINTS: i64 = 1 << 17;

/// How the threads of a block are spread over points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spread {
    /// Neighbouring threads are of one team.
    Rows,
    /// Neighbouring threads are of neighbouring teams.
    Columns,
}

/// A stage with one inner index, or none.
pub(super) enum TeamStage {
    Reduce { axis: Axis, reductions: Vec<Reduction> },
    Sweep { axis: Option<Axis>, stores: Vec<Store> },
}

/// A nest that teams compute.
pub(in crate::lower) struct Teams {
    parallel: Vec<Axis>,
    stages: Vec<TeamStage>,
    spread: Spread,
    /// Work of one point.
    work: Dim,
    /// Whether stages load what earlier ones store.
    exchanges_memory: bool,
}

/// A nest of reductions whose stages have one inner index each.
pub(super) struct Flat {
    pub kernel: Kernel,
    pub stages: Vec<TeamStage>,
    /// Elements of its longest reduction.
    pub longest: i64,
    /// Work of one point.
    pub work: Dim,
    /// Whether stages load what earlier ones store.
    pub exchanges_memory: bool,
}

/// A nest of reductions in that form, unless all of them are short.
pub(super) fn flat(kernel: &Kernel, program: &Program, sizes: &Ranges) -> Option<Flat> {
    let Body::Nest(nest) = &kernel.body else { return None };
    let longest = nest.stages.iter().filter_map(|stage| match stage {
        Stage::Reduce { axes, .. } => Some(axes.iter().map(|axis| usual(&axis.extent, program)).product::<i64>()),
        Stage::Sweep { .. } | Stage::Running { .. } => None,
    });
    let longest = longest.max()?;
    if nest.serial || longest < LEAST_ELEMENTS || nest.stages.iter().any(|stage| matches!(stage, Stage::Running { .. })) {
        return None;
    }
    let loaded = kernel.loads();
    let exchanges_memory = kernel.stores().iter().any(|store| loaded.contains(&store.buffer));
    let mut flat = merge_axes(kernel.clone(), sizes);
    let stages = flat_stages(&mut flat, sizes)?;
    let work = stages.iter().map(|stage| match stage {
        TeamStage::Reduce { axis, reductions } => &axis.extent * Dim::from(reductions.len() as i64),
        TeamStage::Sweep { axis, stores } => axis.as_ref().map_or(Dim::ONE, |axis| axis.extent.clone()) * Dim::from(stores.len() as i64),
    });
    let work = Dim::sum(&work.collect::<Vec<_>>());
    Some(Flat { kernel: flat, stages, longest, work, exchanges_memory })
}

/// Brings a nest into the form that teams compute, if it gains from it. The kernel's expressions are then those to emit with.
pub(in crate::lower) fn form(kernel: &mut Kernel, program: &Program, sizes: &Ranges) -> Option<Teams> {
    let Flat { kernel: flat, stages, longest, work, exchanges_memory } = flat(kernel, program, sizes)?;
    let Body::Nest(Nest { parallel, .. }) = &flat.body else { return None };
    let (spread, parallel) = spread(&flat, program, parallel, &stages, longest, exchanges_memory)?;
    *kernel = flat;
    Some(Teams { parallel, stages, spread, work, exchanges_memory })
}

/// The stages with their inner indices joined; none where stages share some, but not all, of their indices.
fn flat_stages(kernel: &mut Kernel, sizes: &Ranges) -> Option<Vec<TeamStage>> {
    let Body::Nest(nest) = kernel.body.clone() else { return None };
    let lists = nest.stages.iter().map(|stage| match stage {
        Stage::Reduce { axes, .. } | Stage::Sweep { axes, .. } => axes.clone(),
        Stage::Running { axis, .. } => vec![axis.clone()],
    });
    let mut known: Vec<(Vec<Axis>, Axis)> = Vec::new();
    let mut joined = Vec::new();
    for (at, axes) in lists.enumerate() {
        let shares = |list: &[Axis]| list.iter().any(|axis| axes.iter().any(|other| other.index == axis.index));
        let axis = match (&axes[..], known.iter().find(|(list, _)| *list == axes)) {
            ([], _) => None,
            (_, Some((_, axis))) => Some(axis.clone()),
            _ if known.iter().any(|(list, _)| shares(list)) => return None,
            ([only], None) => Some(only.clone()),
            (_, None) => Some(flatten(kernel, &axes, &Symbol::new(&format!("#inner{at}")), sizes)),
        };
        if let Some(axis) = &axis {
            known.push((axes, axis.clone()));
        }
        joined.push(axis);
    }
    let Body::Nest(nest) = &kernel.body else { return None };
    let stages = nest.stages.iter().zip(joined).map(|(stage, axis)| match stage {
        // A reduction over nothing but one element has an index all the same.
        Stage::Reduce { reductions, .. } => {
            let axis = axis.unwrap_or_else(|| Axis { index: Symbol::new("#only"), extent: Dim::ONE });
            Some(TeamStage::Reduce { axis, reductions: reductions.clone() })
        }
        Stage::Sweep { stores, .. } => Some(TeamStage::Sweep { axis, stores: stores.clone() }),
        Stage::Running { .. } => None,
    });
    stages.collect()
}

/// How threads are spread, and the parallel indices with the one last along which neighbours lie; none where one thread a point does.
fn spread(
    kernel: &Kernel,
    program: &Program,
    parallel: &[Axis],
    stages: &[TeamStage],
    longest: i64,
    exchanges_memory: bool,
) -> Option<(Spread, Vec<Axis>)> {
    let points: i64 = parallel.iter().map(|axis| usual(&axis.extent, program)).product();
    let values = || {
        stages.iter().filter_map(|stage| if let TeamStage::Reduce { axis, reductions } = stage { Some((axis, reductions)) } else { None })
    };
    let along_rows =
        values().any(|(axis, reductions)| reductions.iter().any(|r| moves(&kernel.exprs, r.value, &axis.index) >= Moves::Near));
    if along_rows {
        return Some((Spread::Rows, parallel.to_vec()));
    }
    let near =
        |axis: &Axis| values().any(|(_, reductions)| reductions.iter().any(|r| moves(&kernel.exprs, r.value, &axis.index) >= Moves::Near));
    // Threads of other teams may not see what a team stores.
    if let Some(place) = parallel.iter().rposition(near).filter(|_| !exchanges_memory && longest >= 2 * LEAST_ELEMENTS) {
        let mut parallel = parallel.to_vec();
        let axis = parallel.remove(place);
        parallel.push(axis);
        return Some((Spread::Columns, parallel));
    }
    (points < MANY_POINTS).then(|| (Spread::Rows, parallel.to_vec()))
}

/// What a thread does at some of its elements, which lie at these places: carried values to those of the next turn.
type ElementsBody<'a> = dyn FnMut(&mut Context, &mut Builder, &[Dim], &[Reg]) -> Vec<Reg> + 'a;

/// What the threads of a team know.
struct Member {
    /// The thread's virtual lane.
    lane: Reg,
    /// Which team of the block it is of.
    team: Reg,
    /// Whether there is a point for the team; every team has one where none.
    exists: Option<Reg>,
}

/// Runs the stages of a point, with a barrier after what is stored where there is one.
pub(super) fn each_stage(
    cx: &mut Context,
    b: &mut Builder,
    stages: &[TeamStage],
    barrier: Option<CooperativeStmt>,
    run: &mut dyn FnMut(&mut Context, &mut Builder, &TeamStage),
) {
    let before = std::mem::take(&mut cx.accumulators);
    for stage in stages {
        run(cx, b, stage);
        if let (TeamStage::Sweep { .. }, Some(barrier)) = (stage, barrier) {
            b.together(barrier);
        }
        cx.next_stage();
    }
    cx.accumulators = before;
}

impl Teams {
    fn teams(&self) -> i64 {
        if self.spread == Spread::Rows { ROW_TEAMS } else { COLUMN_TEAMS }
    }

    /// Threads of a block.
    pub(in crate::lower) fn threads(&self) -> u32 {
        (TEAM * self.teams()) as u32
    }

    /// Emits the kernel.
    pub(in crate::lower) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let [_, thread, block, _] = b.params();
        let points = Dim::product(self.parallel.iter().map(|axis| &axis.extent));
        let index = Symbol::new("#thread");
        cx.ranges.set_index(index.clone(), Dim::from(i64::from(self.threads())));
        let number = Dim::from(index.clone());
        let of = |dim: Dim, cx: &mut Context, b: &mut Builder| cx.bound(&index, thread, |cx| cx.index(b, &dim));
        let (fast, slow) = match self.spread {
            Spread::Rows => (TEAM, false),
            Spread::Columns => (self.teams(), true),
        };
        let (quotient, rest) = (of(number.floor_div(&Dim::from(fast)), cx, b), of(number.modulo(&Dim::from(fast)), cx, b));
        let (team, lane) = if slow { (rest, quotient) } else { (quotient, rest) };
        let teams = b.index(self.teams());
        let first = b.mul(block, teams);
        let point = b.add(first, team);
        let count = cx.index(b, &points);
        let exists = b.lt(point, count);
        match self.spread {
            Spread::Rows => {
                cx.branch(
                    b,
                    exists,
                    false,
                    |cx, b| {
                        let member = Member { lane, team, exists: None };
                        for_each_number(cx, b, &self.parallel, point, point, |cx, b| self.point(cx, b, &member));
                        vec![]
                    },
                    |_, _| vec![],
                );
            }
            // All threads come to barriers: those without a point do what the last one's do, and store nothing.
            Spread::Columns => {
                let last = b.add_int(count, -1);
                let point = b.min_s(point, last);
                let member = Member { lane, team, exists: Some(exists) };
                for_each_number(cx, b, &self.parallel, point, point, |cx, b| self.point(cx, b, &member));
            }
        }
        Tasks { count: points.ceil_div(&Dim::from(self.teams())), work: &self.work * Dim::from(self.teams()) }
    }

    fn point(&self, cx: &mut Context, b: &mut Builder, member: &Member) {
        let barrier = self.exchanges_memory.then_some(CooperativeStmt::HalfWarpBarrier);
        each_stage(cx, b, &self.stages, barrier, &mut |cx, b, stage| match stage {
            TeamStage::Reduce { axis, reductions } => self.reduce(cx, b, member, axis, reductions),
            TeamStage::Sweep { axis, stores } => self.sweep(cx, b, member, axis.as_ref(), stores),
        });
    }

    /// Runs `body` at the thread's elements of an axis, several at a time while there are as many, carrying values.
    fn elements(&self, cx: &mut Context, b: &mut Builder, member: &Member, axis: &Axis, init: &[Reg], body: &mut ElementsBody) -> Vec<Reg> {
        let end = cx.index(b, &axis.extent);
        let (several, one) = (Symbol::new(&format!("{}s", axis.index)), Symbol::new(&format!("{}o", axis.index)));
        [&several, &one].into_iter().for_each(|symbol| cx.ranges.set_index(symbol.clone(), axis.extent.clone()));
        let (mut start, mut carried) = (member.lane, init.to_vec());
        if axis.extent.as_const().is_none_or(|n| n >= TEAM * AT_ONCE) {
            // So that the last of them is an element too.
            let whole = cx.index(b, &(&axis.extent - Dim::from(TEAM * (AT_ONCE - 1))));
            let init = [&[start], &carried[..]].concat();
            let places: Vec<Dim> = (0..AT_ONCE).map(|at| Dim::from(several.clone()) + Dim::from(at * TEAM)).collect();
            let results = cx.counted(b, &several, start, whole, TEAM * AT_ONCE, &init, |cx, b, carried| {
                let next = body(cx, b, &places, &carried[1..]);
                [&[b.add_int(carried[0], TEAM * AT_ONCE)], &next[..]].concat()
            });
            (start, carried) = (results[0], results[1..].to_vec());
        }
        let place = Dim::from(one.clone());
        cx.counted(b, &one, start, end, TEAM, &carried, |cx, b, carried| body(cx, b, std::slice::from_ref(&place), carried))
    }

    fn reduce(&self, cx: &mut Context, b: &mut Builder, member: &Member, axis: &Axis, reductions: &[Reduction]) {
        let folds: Vec<Fold> = reductions.iter().map(|r| Fold::new(r, cx.exprs.get(r.value).dtype)).collect();
        let identities: Vec<Vec<Reg>> = folds.iter().map(|fold| fold.identity(b, 1)).collect();
        let carried = cx.when_nonempty(b, &axis.extent, &identities.concat(), |cx, b| {
            self.elements(cx, b, member, axis, &identities.concat(), &mut |cx, b, places, carried| {
                // What memory gives is asked for before the first of it is used.
                for place in places {
                    cx.replaced(&axis.index, place.clone(), |cx| {
                        reductions.iter().for_each(|r| {
                            cx.eval(b, r.value);
                        })
                    });
                }
                let mut states = split(&folds, carried);
                for place in places {
                    cx.replaced(&axis.index, place.clone(), |cx| {
                        for ((state, fold), reduction) in states.iter_mut().zip(&folds).zip(reductions) {
                            *state = stepped(cx, b, *fold, reduction.value, state, &Dim::from(axis.index.clone()), 1);
                        }
                    });
                }
                states.concat()
            })
        });
        for (fold, state) in folds.iter().zip(split(&folds, &carried)) {
            let total = match self.spread {
                Spread::Rows => shuffled(b, *fold, state),
                Spread::Columns => self.through_memory(cx, b, member, *fold, &state),
            };
            let reg = fold.finish(b, &total);
            let level = cx.top();
            cx.accumulators.push(Value { reg, level });
        }
    }

    /// The results of a team's threads merged, which all of them get.
    fn through_memory(&self, cx: &mut Context, b: &mut Builder, member: &Member, fold: Fold, state: &[Reg]) -> Vec<Reg> {
        let places: Vec<(Mem, u32, Reg)> = state
            .iter()
            .map(|part| {
                let (mem, bytes) = memory_of(part.ty.lane);
                let piece = cx.at_level(b, 0, |_, b| b.shared(bytes * self.threads(), 16));
                (mem, bytes, piece)
            })
            .collect();
        let number = |b: &mut Builder, lane: Reg| {
            let teams = b.index(self.teams());
            let first = b.mul(lane, teams);
            b.add(first, member.team)
        };
        for (part, (mem, bytes, piece)) in state.iter().zip(&places) {
            let at = number(b, member.lane);
            let skipped = b.mul_int(at, i64::from(*bytes));
            let to = b.add(*piece, skipped);
            b.store(*mem, *part, to, 0);
        }
        b.together(CooperativeStmt::Barrier);
        let all: Vec<Vec<Reg>> = (0..ORDER_LANES)
            .map(|lane| {
                let parts = state.iter().zip(&places).map(|(part, (mem, bytes, piece))| {
                    let skipped = b.mul_int(member.team, i64::from(*bytes));
                    let from = b.add(*piece, skipped);
                    b.load(*mem, part.ty, from, (lane * self.teams() as u32 * bytes) as i32)
                });
                parts.collect()
            })
            .collect();
        let total = fold.merge_all(b, all);
        // The memory is free for the next point's.
        b.together(CooperativeStmt::Barrier);
        total
    }

    fn sweep(&self, cx: &mut Context, b: &mut Builder, member: &Member, axis: Option<&Axis>, stores: &[Store]) {
        let Some(axis) = axis else {
            // One thread stores what there is once.
            let none = b.index(0);
            let first = b.eq(member.lane, none);
            let stores_it = member.exists.map_or(first, |exists| b.and(first, exists));
            cx.branch(
                b,
                stores_it,
                false,
                |cx, b| {
                    store_all(cx, b, stores);
                    vec![]
                },
                |_, _| vec![],
            );
            return;
        };
        let all = |cx: &mut Context, b: &mut Builder| {
            cx.when_nonempty(b, &axis.extent, &[], |cx, b| {
                self.elements(cx, b, member, axis, &[], &mut |cx, b, places, _| {
                    for place in places {
                        cx.replaced(&axis.index, place.clone(), |cx| {
                            stores.iter().for_each(|store| {
                                cx.eval(b, store.value);
                            })
                        });
                    }
                    for place in places {
                        cx.replaced(&axis.index, place.clone(), |cx| store_all(cx, b, stores));
                    }
                    vec![]
                })
            })
        };
        match member.exists {
            None => drop(all(cx, b)),
            Some(exists) => {
                cx.branch(b, exists, false, all, |_, _| vec![]);
            }
        }
    }
}

/// A store may overwrite what the value of another is made of.
pub(super) fn store_all(cx: &mut Context, b: &mut Builder, stores: &[Store]) {
    let values: Vec<ExprId> = stores.iter().map(|store| store.value).collect();
    values.into_iter().for_each(|value| {
        cx.eval(b, value);
    });
    stores.iter().for_each(|store| cx.store(b, store));
}

/// The results of the half-warp's threads merged by the fixed tree. All get the same: a result and its partner's merge to the same bits
/// either way round.
pub(super) fn shuffled(b: &mut Builder, fold: Fold, mut state: Vec<Reg>) -> Vec<Reg> {
    let mut flip = ORDER_LANES / 2;
    while flip > 0 {
        let other: Vec<Reg> = state.iter().map(|part| b.from_lane(*part, flip)).collect();
        state = fold.merge(b, &state, &other);
        flip /= 2;
    }
    state
}

/// Registers in a row as the folds' states.
pub(super) fn split(folds: &[Fold], regs: &[Reg]) -> Vec<Vec<Reg>> {
    let mut rest = regs;
    let state = |fold: &Fold| {
        let (state, others) = rest.split_at(fold.parts());
        rest = others;
        state.to_vec()
    };
    folds.iter().map(state).collect()
}

/// How a lane is kept in memory, and in how many bytes.
pub(super) fn memory_of(lane: Lane) -> (Mem, u32) {
    let mem = match lane {
        Lane::Mask => Mem::Bool,
        Lane::I8 => Mem::I8,
        Lane::I16 => Mem::I16,
        Lane::I32 => Mem::I32,
        Lane::I64 => Mem::I64,
        Lane::F32 => Mem::F32,
        Lane::F64 => Mem::F64,
    };
    (mem, mem.size_bytes())
}
