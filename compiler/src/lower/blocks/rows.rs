//! Nests with reductions along memory, by as many threads a row as share it in few pieces of 16 bytes: each row is read once.
//!
//! ```text
//! a row:   threads take neighbouring pieces, and those as far on as there are threads; values stay in registers from stage to stage
//!          partial results meet by shuffles in half a warp, and through shared memory beyond it
//! ```
//!
//! Where a row is too long for registers, stages read it in shared memory ([`copied_rows`](super::copied_rows)), or, of open length, again
//! from the device's, which the cache still holds.
//! Sums are in an order of their own, which follows from usual sizes: not for those who want the canonical one.

use super::copied_rows::{self, CopiedRow};
use super::strides::{Moves, moves};
use super::teams::{self, Flat, TeamStage, split, store_all};
use super::tiles::usual;
use crate::kernel::{Axis, Body, ExprKind, Kernel, Nest, Program, Reduction, Stage, Store};
use crate::lower::context::{Context, Value};
use crate::lower::fold::Fold;
use crate::lower::nest::Tasks;
use crate::lower::ops::select;
use crate::lower::rewrite::map_dims;
use crate::lower::tasks::{bind_all, for_each_number};
use crate::tile::{Builder, CooperativeStmt, EXCHANGE_LANES, Reg};
use kiln_ir::{DType, Dim, Ranges, Symbol};
use std::collections::BTreeMap;

/// Threads that exchange values by shuffles.
const TEAM: i64 = EXCHANGE_LANES as i64;
/// Rows shorter than this are left to teams of half a warp.
const LEAST_ELEMENTS: i64 = 96;
/// Bytes that a thread takes at once.
const PIECE_BYTES: i64 = 16;
/// Elements of a piece, at most.
const MOST_LANES: i64 = 8;
/// Elements of a row that a thread keeps in registers.
const MOST_KEPT: i64 = 32;
/// Blocks of copied rows on a multiprocessor: while one waits for memory, others compute and store.
const BESIDE: u32 = 3;
/// With more elements of a row in registers, a block of [`MOST_THREADS`] would fill most of a multiprocessor.
const FEW_KEPT: i64 = 8;
/// Pieces that a thread asks for at once.
const AT_ONCE: i64 = 8;
/// Elements of a copied row that a thread takes at once, at least those of a piece.
const COPIED_AT_ONCE: i64 = 4;
/// Pieces of a thread where there are rows enough.
const PIECES: i64 = 4;
/// Threads of a block where several rows share it, and at most.
const BLOCK: i64 = 128;
const MOST_THREADS: i64 = 512;
/// Threads that keep a GPU busy.
const ENOUGH_THREADS: i64 = 132 * 1024;

/// A nest whose rows threads share.
pub(in crate::lower) struct Rows {
    parallel: Vec<Axis>,
    stages: Vec<TeamStage>,
    /// Threads of a row.
    along: i64,
    /// Threads of a block.
    threads: i64,
    /// Elements of a piece.
    lanes: i64,
    work: Dim,
    /// Rows that stages read in shared memory.
    copied: Vec<CopiedRow>,
    /// Whether stages load what earlier ones store.
    exchanges_memory: bool,
}

/// Brings a nest into this form, if its rows are long enough. The kernel's expressions are then those to emit with.
pub(in crate::lower) fn form(kernel: &mut Kernel, program: &Program, sizes: &Ranges) -> Option<Rows> {
    let Flat { kernel: flat, stages, longest, work, exchanges_memory } = teams::flat(&with_shared_axes(kernel), program, sizes)?;
    let Body::Nest(Nest { parallel, .. }) = &flat.body else { return None };
    let parallel = parallel.clone();
    let reductions = stages.iter().filter_map(|stage| match stage {
        TeamStage::Reduce { axis, reductions } => Some(reductions.iter().map(|r| moves(&flat.exprs, r.value, &axis.index))),
        TeamStage::Sweep { .. } => None,
    });
    let along_memory: Vec<Moves> = reductions.flatten().collect();
    if longest < LEAST_ELEMENTS || along_memory.iter().all(|moves| *moves < Moves::Near) {
        return None;
    }
    let lanes = if along_memory.contains(&Moves::Near) { 1 } else { lanes(&flat, program, &stages) };
    let points: i64 = parallel.iter().map(|axis| usual(&axis.extent, program)).fold(1, i64::saturating_mul);
    let pieces = (longest + lanes - 1) / lanes;
    let most = if lanes == 1 { AT_ONCE } else { PIECES };
    let mut along = TEAM;
    while along < MOST_THREADS && (pieces > most * along || (points.saturating_mul(along) < ENOUGH_THREADS && pieces > along)) {
        along *= 2;
    }
    // Threads of other rows may not see what a row's store: each has a block of its own.
    let threads = if exchanges_memory { along } else { along.max(BLOCK) };
    let copied =
        if along == MOST_THREADS && longest > FEW_KEPT * along { copied_rows::rows(&flat, program, &parallel, &stages) } else { vec![] };
    *kernel = flat;
    Some(Rows { parallel, stages, along, threads, lanes, work, copied, exchanges_memory })
}

/// The kernel with one index for stages that run along axes alike, so that what they load is loaded once.
fn with_shared_axes(kernel: &Kernel) -> Kernel {
    let Body::Nest(nest) = &kernel.body else { return kernel.clone() };
    let lists = nest.stages.iter().map(|stage| match stage {
        Stage::Reduce { axes, .. } | Stage::Sweep { axes, .. } => &axes[..],
        Stage::Running { .. } => &[],
    });
    let (mut known, mut names): (Vec<&[Axis]>, BTreeMap<Symbol, Symbol>) = (vec![], BTreeMap::new());
    for axes in lists {
        let is_new = |axis: &Axis| known.iter().all(|list| list.iter().all(|other| other.index != axis.index));
        if !axes.iter().all(is_new) {
            continue;
        }
        let alike = known.iter().find(|list| list.iter().map(|axis| &axis.extent).eq(axes.iter().map(|axis| &axis.extent)));
        match alike {
            Some(list) => names.extend(axes.iter().zip(*list).map(|(axis, other)| (axis.index.clone(), other.index.clone()))),
            None => known.push(axes),
        }
    }
    let mut shared = map_dims(kernel, &|dim| dim.substitute(&|s| names.get(s).cloned().map(Dim::from)));
    if let Body::Nest(nest) = &mut shared.body {
        for stage in &mut nest.stages {
            let (Stage::Reduce { axes, .. } | Stage::Sweep { axes, .. }) = stage else { continue };
            axes.iter_mut().for_each(|axis| axis.index = names.get(&axis.index).unwrap_or(&axis.index).clone());
        }
    }
    shared
}

/// Neighbours that a thread takes at once: 16 bytes of the largest element that varies along a row, where rows are whole pieces.
fn lanes(kernel: &Kernel, program: &Program, stages: &[TeamStage]) -> i64 {
    let axes = || {
        stages.iter().filter_map(|stage| match stage {
            TeamStage::Reduce { axis, .. } => Some(axis),
            TeamStage::Sweep { axis, .. } => axis.as_ref(),
        })
    };
    let size = |dtype: DType| dtype.size_bytes() as i64;
    let loads = kernel.exprs.iter().filter_map(|(id, expr)| match &expr.kind {
        ExprKind::Load(access) if axes().any(|axis| kernel.exprs.symbols(id).contains(&axis.index)) => {
            Some(size(program.buffer(access.buffer).dtype))
        }
        _ => None,
    });
    let stores = stages.iter().flat_map(|stage| match stage {
        TeamStage::Sweep { axis: Some(_), stores } => stores.iter().map(|store| size(program.buffer(store.buffer).dtype)).collect(),
        _ => vec![],
    });
    let lanes = (PIECE_BYTES / loads.chain(stores).max().unwrap_or(PIECE_BYTES)).clamp(1, MOST_LANES);
    let is_whole = |axis: &Axis| axis.extent.terms().iter().all(|term| term.coefficient % lanes == 0);
    if axes().all(is_whole) { lanes } else { 1 }
}

/// Some neighbours of a row.
struct Piece {
    /// The first, or the last ones of the row where there are none.
    place: Dim,
    /// Whether there are any, where that is not certain.
    exists: Option<Reg>,
}

/// What is done at pieces: carried values to those of the next turn.
type PiecesBody<'a> = dyn FnMut(&mut Context, &mut Builder, &[Piece], &[Reg]) -> Vec<Reg> + 'a;

/// A thread's place.
struct Member {
    /// The thread's number in the block.
    thread: Reg,
    /// The row's number in the block.
    team: Reg,
    /// Whether there is a row, where that is not certain.
    exists: Option<Reg>,
}

impl Rows {
    /// Threads of a block.
    pub(in crate::lower) fn threads(&self) -> u32 {
        self.threads as u32
    }

    /// Rows of a block.
    fn rows(&self) -> i64 {
        self.threads / self.along
    }

    /// Emits the kernel.
    pub(in crate::lower) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let [_, thread, block, _] = b.params();
        cx.approximates = cx.stores_halves;
        let points = Dim::product(self.parallel.iter().map(|axis| &axis.extent));
        let index = Symbol::new("#thread");
        cx.ranges.set_index(index.clone(), Dim::from(self.threads));
        let number = Dim::from(index.clone());
        let of = |dim: Dim, cx: &mut Context, b: &mut Builder| cx.bound(&index, thread, |cx| cx.index(b, &dim));
        let (team, own) = (of(number.floor_div(&Dim::from(self.along)), cx, b), of(number.modulo(&Dim::from(self.along)), cx, b));
        let (mut point, mut exists) = (block, None);
        if self.rows() > 1 {
            // All threads come to barriers: those without a row do what the last one's do, and store nothing.
            let rows = b.index(self.rows());
            let first = b.mul(block, rows);
            let number = b.add(first, team);
            let count = cx.index(b, &points);
            exists = Some(b.lt(number, count));
            let last = b.add_int(count, -1);
            point = b.min_s(number, last);
        }
        if !self.copied.is_empty() {
            b.set_blocks_beside(BESIDE);
        }
        cx.forget_after_stages(&self.copied.iter().map(CopiedRow::access).collect::<Vec<_>>());
        let member = Member { thread, team, exists };
        let x = Axis { index: Symbol::new("#x"), extent: Dim::from(self.along) };
        cx.ranges.set_index(x.index.clone(), x.extent.clone());
        for_each_number(cx, b, &self.parallel, point, point, |cx, b| {
            bind_all(cx, std::slice::from_ref(&x), &[own], Box::new(|cx| self.point(cx, b, &member)));
        });
        Tasks { count: points.ceil_div(&Dim::from(self.rows())), work: &self.work * Dim::from(self.rows()) }
    }

    fn point(&self, cx: &mut Context, b: &mut Builder, member: &Member) {
        if !self.copied.is_empty() {
            cx.elsewhere = self.copied.iter().map(|row| row.begin(cx, b, self.along)).collect();
            for stmt in [CooperativeStmt::EndCopies, CooperativeStmt::WaitForCopies(0), CooperativeStmt::Barrier] {
                b.together(stmt);
            }
        }
        let barrier = self.exchanges_memory.then_some(CooperativeStmt::Barrier);
        teams::each_stage(cx, b, &self.stages, barrier, &mut |cx, b, stage| match stage {
            TeamStage::Reduce { axis, reductions } => self.reduce(cx, b, member, axis, reductions),
            TeamStage::Sweep { axis, stores } => self.sweep(cx, b, member, axis.as_ref(), stores),
        });
        cx.elsewhere.clear();
        // Shared memory is free for the next rows'.
        b.together(CooperativeStmt::Barrier);
    }

    /// Runs `body` at the thread's pieces of a row, as many at a time as it keeps.
    fn pieces(&self, cx: &mut Context, b: &mut Builder, axis: &Axis, init: &[Reg], body: &mut PiecesBody) -> Vec<Reg> {
        let step = self.along * self.lanes;
        let own = Dim::symbol("#x") * Dim::from(self.lanes);
        let known = axis.extent.as_const();
        let keeps = self.copied.is_empty();
        let all = known.map(|extent| (extent + step - 1) / step).filter(|pieces| keeps && pieces * self.lanes <= MOST_KEPT);
        let count = all.unwrap_or(if keeps { (MOST_KEPT / self.lanes).min(AT_ONCE) } else { (COPIED_AT_ONCE / self.lanes).max(1) });
        let last = (&axis.extent - Dim::from(self.lanes)).maximum(&Dim::ZERO);
        let is_whole = axis.extent.terms().iter().all(|term| term.coefficient % (step * count) == 0);
        let piece = |cx: &mut Context, b: &mut Builder, at: i64, from: &Dim| {
            let place = from + &own + Dim::from(at * step);
            if is_whole || all.is_some() && known.is_some_and(|extent| (at + 1) * step <= extent) {
                return Piece { place, exists: None };
            }
            let (first, end) = (cx.index(b, &place), cx.index(b, &axis.extent));
            Piece { place: place.minimum(&last), exists: Some(b.lt(first, end)) }
        };
        if all.is_some() {
            let pieces: Vec<Piece> = (0..count).map(|at| piece(cx, b, at, &Dim::ZERO)).collect();
            return body(cx, b, &pieces, init);
        }
        let from = Symbol::new(&format!("{}from", axis.index));
        cx.ranges.set_index(from.clone(), axis.extent.clone());
        let (start, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &axis.extent));
        cx.counted(b, &from, start, end, step * count, init, |cx, b, carried| {
            let pieces: Vec<Piece> = (0..count).map(|at| piece(cx, b, at, &Dim::from(from.clone()))).collect();
            body(cx, b, &pieces, carried)
        })
    }

    /// With lanes along the axis from a place on.
    fn at<R>(&self, cx: &mut Context, axis: &Axis, place: &Dim, inside: impl FnOnce(&mut Context) -> R) -> R {
        match self.lanes {
            1 => cx.replaced(&axis.index, place.clone(), inside),
            lanes => cx.vectored(&axis.index, place.clone(), lanes as u32, inside),
        }
    }

    fn reduce(&self, cx: &mut Context, b: &mut Builder, member: &Member, axis: &Axis, reductions: &[Reduction]) {
        let lanes = self.lanes as u32;
        let folds: Vec<Fold> = reductions.iter().map(|r| Fold::new(r, cx.exprs.get(r.value).dtype)).collect();
        let init: Vec<Reg> = folds.iter().flat_map(|fold| fold.identity(b, lanes)).collect();
        let carried = cx.when_nonempty(b, &axis.extent, &init, |cx, b| {
            self.pieces(cx, b, axis, &init, &mut |cx, b, pieces, carried| {
                // What memory gives is asked for before the first of it is used.
                for piece in pieces {
                    self.at(cx, axis, &piece.place, |cx| {
                        reductions.iter().for_each(|r| {
                            cx.eval(b, r.value);
                        });
                    });
                }
                let mut states = split(&folds, carried);
                for piece in pieces {
                    for ((state, fold), reduction) in states.iter_mut().zip(&folds).zip(reductions) {
                        *state = self.at(cx, axis, &piece.place, |cx| {
                            let value = cx.eval(b, reduction.value);
                            let value = cx.widened(b, value, lanes);
                            let mut one = vec![value];
                            if fold.parts() > 1 {
                                let position = cx.index_vector(b, &Dim::from(axis.index.clone()));
                                one.push(if position.ty.lanes == lanes { position } else { b.splat(position, lanes) });
                            }
                            if let Some(exists) = piece.exists {
                                let exists = if lanes == 1 { exists } else { b.splat(exists, lanes) };
                                let identity = fold.identity(b, lanes);
                                one = one.iter().zip(identity).map(|(part, none)| select(b, exists, *part, none)).collect();
                            }
                            fold.merge(b, state, &one)
                        });
                    }
                }
                states.concat()
            })
        });
        for (fold, state) in folds.iter().zip(split(&folds, &carried)) {
            let state = fold.merge_lanes(b, &state);
            let state = teams::shuffled(b, *fold, state);
            let total = if self.along > TEAM { self.through_memory(cx, b, member, *fold, &state) } else { state };
            let reg = fold.finish(b, &total);
            let level = cx.top();
            cx.accumulators.push(Value { reg, level });
        }
    }

    /// The results of a row's half-warps merged, which all of its threads get.
    fn through_memory(&self, cx: &mut Context, b: &mut Builder, member: &Member, fold: Fold, state: &[Reg]) -> Vec<Reg> {
        let teams = self.along / TEAM;
        let places: Vec<_> = state
            .iter()
            .map(|part| {
                let (mem, bytes) = teams::memory_of(part.ty.lane);
                let piece = cx.at_level(b, 0, |_, b| b.shared(bytes * (self.threads / TEAM) as u32, 16));
                (mem, i64::from(bytes), piece)
            })
            .collect();
        let index = Symbol::new("#thread");
        let of = |dim: Dim, cx: &mut Context, b: &mut Builder| cx.bound(&index, member.thread, |cx| cx.index(b, &dim));
        let number = Dim::from(index.clone());
        let half = of(number.floor_div(&Dim::from(TEAM)), cx, b);
        let lane = of(number.modulo(&Dim::from(TEAM)), cx, b);
        let none = b.index(0);
        let is_first = b.eq(lane, none);
        cx.branch(
            b,
            is_first,
            false,
            |_, b| {
                for (part, (mem, bytes, piece)) in state.iter().zip(&places) {
                    let skipped = b.mul_int(half, *bytes);
                    let to = b.add(*piece, skipped);
                    b.store(*mem, *part, to, 0);
                }
                vec![]
            },
            |_, _| vec![],
        );
        b.together(CooperativeStmt::Barrier);
        let all: Vec<Vec<Reg>> = (0..teams)
            .map(|team| {
                let parts = state.iter().zip(&places).map(|(part, (mem, bytes, piece))| {
                    let skipped = b.mul_int(member.team, teams * bytes);
                    let from = b.add(*piece, skipped);
                    b.load(*mem, part.ty, from, (team * bytes) as i32)
                });
                parts.collect()
            })
            .collect();
        fold.merge_all(b, all)
    }

    fn sweep(&self, cx: &mut Context, b: &mut Builder, member: &Member, axis: Option<&Axis>, stores: &[Store]) {
        let guarded = |cx: &mut Context, b: &mut Builder, exists: Option<Reg>, store: &mut dyn FnMut(&mut Context, &mut Builder)| {
            let exists = match (exists, member.exists) {
                (Some(x), Some(y)) => Some(b.and(x, y)),
                (x, y) => x.or(y),
            };
            let Some(exists) = exists else { return store(cx, b) };
            cx.branch(
                b,
                exists,
                false,
                |cx, b| {
                    store(cx, b);
                    vec![]
                },
                |_, _| vec![],
            );
        };
        let Some(axis) = axis else {
            // One thread stores what there is once.
            let (own, none) = (cx.index(b, &Dim::symbol("#x")), b.index(0));
            let is_first = b.eq(own, none);
            return guarded(cx, b, Some(is_first), &mut |cx, b| store_all(cx, b, stores));
        };
        cx.when_nonempty(b, &axis.extent, &[], |cx, b| {
            self.pieces(cx, b, axis, &[], &mut |cx, b, pieces, _| {
                for piece in pieces {
                    self.at(cx, axis, &piece.place, |cx| {
                        stores.iter().for_each(|store| {
                            cx.eval(b, store.value);
                        });
                    });
                }
                for piece in pieces {
                    guarded(cx, b, piece.exists, &mut |cx, b| self.at(cx, axis, &piece.place, |cx| store_all(cx, b, stores)));
                }
                vec![]
            })
        });
    }
}
