//! Reductions in the canonical order: 16 virtual lanes, lane l taking row-major positions l, l + 16, l + 32, … ascending, merged
//! by a fixed tree. Whether a machine vector holds neighbouring positions or neighbouring points, the bits are the same.

use super::context::{Context, Value};
use super::fold::{Fold, ORDER_LANES};
use super::nest::flat;
use super::stage::{has_rest, over, whole_vectors};
use crate::kernel::{Axis, Combine, ExprId, Keep, Reduction, row_major};
use crate::tile::{Builder, Reg, Type};
use kiln_ir::{Dim, Symbol};

/// Reductions over at most so many points are written out.
const UNROLLED_POINTS: i64 = 16;

fn folds(cx: &Context, reductions: &[Reduction]) -> Vec<Fold> {
    reductions.iter().map(|r| Fold::new(r, cx.exprs.get(r.value).dtype)).collect()
}

/// The value at this point, and its position where that is kept.
fn value_at(cx: &mut Context, b: &mut Builder, fold: Fold, value: ExprId, position: &Dim, lanes: u32) -> (Reg, Option<Reg>) {
    let value = cx.eval(b, value);
    let value = cx.widened(b, value, lanes);
    let position = (fold.keep != Keep::Value).then(|| {
        let reg = cx.index_vector(b, position);
        if reg.ty.lanes == lanes { reg } else { b.splat(reg, lanes) }
    });
    (value, position)
}

/// The state after the value at this point.
pub(super) fn stepped(cx: &mut Context, b: &mut Builder, fold: Fold, value: ExprId, state: &[Reg], position: &Dim, lanes: u32) -> Vec<Reg> {
    let (value, position) = value_at(cx, b, fold, value, position, lanes);
    fold.step(b, state, value, position)
}

fn push_results(cx: &mut Context, b: &mut Builder, folds: &[Fold], states: &[Vec<Reg>]) {
    for (fold, state) in folds.iter().zip(states) {
        let reg = fold.finish(b, state);
        let level = cx.top();
        cx.accumulators.push(Value { reg, level });
    }
}

/// Splits registers in a row into the folds' states.
fn states(folds: &[Fold], regs: &[Reg]) -> Vec<Vec<Reg>> {
    let mut rest = regs;
    folds
        .iter()
        .map(|fold| {
            let (state, others) = rest.split_at(fold.parts());
            rest = others;
            state.to_vec()
        })
        .collect()
}

/// One point after the other (with neighbouring parallel points in the machine's lanes, if it has any).
pub(super) fn point_by_point(cx: &mut Context, b: &mut Builder, axes: &[Axis], reductions: &[Reduction]) {
    let lanes = cx.lanes.as_ref().map_or(1, |l| l.1);
    let folds = folds(cx, reductions);
    let extents: Option<Vec<i64>> = axes.iter().map(|a| a.extent.as_const()).collect();
    let states = match extents {
        Some(extents) if extents.iter().product::<i64>() <= UNROLLED_POINTS => unrolled(cx, b, axes, &extents, reductions, &folds, lanes),
        _ => match (axes, reductions, &folds[..]) {
            ([axis], [reduction], [fold]) if fold.is_ordered() => vec![in_registers(cx, b, axis, reduction, *fold, lanes)],
            _ => looped(cx, b, axes, reductions, &folds, lanes),
        },
    };
    push_results(cx, b, &folds, &states);
}

fn unrolled(
    cx: &mut Context,
    b: &mut Builder,
    axes: &[Axis],
    extents: &[i64],
    reductions: &[Reduction],
    folds: &[Fold],
    lanes: u32,
) -> Vec<Vec<Reg>> {
    let shape: Vec<usize> = extents.iter().map(|n| *n as usize).collect();
    // The state of each virtual lane, where one exists: at most 16 points, so each has its own.
    let mut taken: Vec<Vec<Option<Vec<Reg>>>> = folds.iter().map(|_| vec![None; ORDER_LANES as usize]).collect();
    for (position, point) in kiln_ir::tensor::indices(&shape).enumerate() {
        let point: Vec<(Symbol, Dim)> = axes.iter().zip(&point).map(|(a, i)| (a.index.clone(), Dim::from(*i))).collect();
        at_point(cx, &point, &mut |cx| {
            for (which, (reduction, fold)) in reductions.iter().zip(folds).enumerate() {
                let value = cx.eval(b, reduction.value);
                let value = cx.widened(b, value, lanes);
                if fold.keep == Keep::Value {
                    taken[which][position] = Some(vec![value]);
                    continue;
                }
                // Extremes do not depend on the order, so positions can be met as they ascend.
                let number = b.int(fold.few_positions(lanes), position as i64);
                let state = match taken[which][0].take() {
                    Some(state) => fold.step_behind(b, &state, value, number),
                    None => vec![value, number],
                };
                taken[which][0] = Some(state);
            }
        });
    }
    let mut results = Vec::new();
    for (fold, mut slots) in folds.iter().zip(taken) {
        let mut width = slots.len();
        while width > 1 {
            width /= 2;
            for low in 0..width {
                let high = slots[low + width].take();
                slots[low] = match (slots[low].take(), high) {
                    (Some(x), Some(y)) => Some(fold.merge(b, &x, &y)),
                    (x, None) => x,
                    (None, y) => y,
                };
            }
        }
        results.push(match slots[0].take() {
            None => fold.identity(b, lanes),
            // Lanes start from +0, so that −0 never comes out; values that are left out change nothing else.
            Some(state) if fold.is_ordered() && fold.combine == Combine::Sum => {
                let zero = fold.identity(b, lanes);
                fold.merge(b, &state, &zero)
            }
            Some(state) => state,
        });
    }
    results
}

/// With every axis at a constant.
pub(super) fn at_point(cx: &mut Context, point: &[(Symbol, Dim)], body: &mut dyn FnMut(&mut Context)) {
    match point {
        [] => body(cx),
        [(symbol, value), rest @ ..] => cx.replaced(symbol, value.clone(), |cx| at_point(cx, rest, body)),
    }
}

/// Partial results of the virtual lanes in stack memory: `[virtual lane][machine lane]`.
pub(super) struct Slots {
    memory: Reg,
    slot_bytes: u32,
    ty: Type,
}

impl Slots {
    pub(super) fn new(b: &mut Builder, fold: Fold, lanes: u32) -> Slots {
        let ty = fold.identity(b, lanes)[0].ty;
        let slot_bytes = fold.lane_bytes() * lanes;
        Slots { memory: b.scratch(slot_bytes * ORDER_LANES, 64), slot_bytes, ty }
    }

    pub(super) fn clear(&self, b: &mut Builder, fold: Fold) {
        let identity = fold.identity(b, self.ty.lanes)[0];
        for lane in 0..ORDER_LANES {
            b.store(memory(fold), identity, self.memory, (lane * self.slot_bytes) as i32);
        }
    }

    fn address(&self, b: &mut Builder, position: Reg) -> Reg {
        let mask = b.index(i64::from(ORDER_LANES) - 1);
        let lane = b.and(position, mask);
        let at = super::offsets::times(b, lane, i64::from(self.slot_bytes));
        b.add(self.memory, at)
    }

    /// Adds a value to the virtual lane of that number.
    pub(super) fn add_to_lane(&self, b: &mut Builder, fold: Fold, lane: u32, value: Reg) {
        let offset = (lane * self.slot_bytes) as i32;
        let old = b.load(memory(fold), self.ty, self.memory, offset);
        let new = fold.step(b, &[old], value, None)[0];
        b.store(memory(fold), new, self.memory, offset);
    }

    /// Adds a value to the virtual lane of a position.
    pub(super) fn add(&self, b: &mut Builder, fold: Fold, position: Reg, value: Reg) {
        let at = self.address(b, position);
        let old = b.load(memory(fold), self.ty, at, 0);
        let new = fold.step(b, &[old], value, None)[0];
        b.store(memory(fold), new, at, 0);
    }

    /// What is in all of them.
    pub(super) fn all(&self, b: &mut Builder, fold: Fold) -> Vec<Vec<Reg>> {
        (0..ORDER_LANES).map(|lane| vec![b.load(memory(fold), self.ty, self.memory, (lane * self.slot_bytes) as i32)]).collect()
    }
}

/// Ordered folds are f32 or f64 in registers and stay so in memory.
fn memory(fold: Fold) -> crate::tile::Mem {
    use crate::tile::Mem;
    if fold.lane_bytes() == 4 { Mem::F32 } else { Mem::F64 }
}

/// One ordered fold along one axis: the virtual lanes stay in registers through whole groups of 16 points.
fn in_registers(cx: &mut Context, b: &mut Builder, axis: &Axis, reduction: &Reduction, fold: Fold, lanes: u32) -> Vec<Reg> {
    let identity = fold.identity(b, lanes);
    let init = vec![identity[0]; ORDER_LANES as usize];
    let whole = whole_vectors(cx, b, &axis.extent, ORDER_LANES);
    let group = Symbol::new(&format!("{}g", axis.index));
    cx.ranges.set_index(group.clone(), axis.extent.clone());
    let is_long = axis.extent.as_const().is_none_or(|n| n >= i64::from(ORDER_LANES));
    let totals = if is_long {
        cx.when_nonempty(b, &axis.extent.floor_div(&Dim::from(i64::from(ORDER_LANES))), &init, |cx, b| {
            let start = cx.index(b, &Dim::ZERO);
            cx.counted(b, &group, start, whole, i64::from(ORDER_LANES), &init, |cx, b, totals| {
                let step = |(lane, total): (usize, &Reg)| {
                    cx.replaced(&axis.index, Dim::from(group.clone()) + Dim::from(lane), |cx| {
                        stepped(cx, b, fold, reduction.value, &[*total], &Dim::ZERO, lanes)[0]
                    })
                };
                totals.iter().enumerate().map(step).collect()
            })
        })
    } else {
        init
    };
    if !has_rest(cx, &axis.extent, ORDER_LANES) {
        return fold.merge_all(b, totals.into_iter().map(|total| vec![total]).collect());
    }
    // The rest belongs to the first virtual lanes, one point each.
    if let Some(n) = cx.resolve(&axis.extent).as_const() {
        let whole = n - n % i64::from(ORDER_LANES);
        let mut totals = totals;
        for (total, place) in totals.iter_mut().zip(whole..n) {
            *total =
                cx.replaced(&axis.index, Dim::from(place), |cx| stepped(cx, b, fold, reduction.value, &[*total], &Dim::ZERO, lanes)[0]);
        }
        return fold.merge_all(b, totals.into_iter().map(|total| vec![total]).collect());
    }
    // Through memory, since which ones is not known.
    let slots = Slots::new(b, fold, lanes);
    for (lane, total) in totals.iter().enumerate() {
        b.store(memory(fold), *total, slots.memory, (lane as u32 * slots.slot_bytes) as i32);
    }
    cx.when_nonempty(b, &axis.extent, &[], |cx, b| {
        let end = cx.index(b, &axis.extent);
        cx.counted(b, &axis.index, whole, end, 1, &[], |cx, b, _| {
            let value = cx.eval(b, reduction.value);
            let value = cx.widened(b, value, lanes);
            let position = cx.index(b, &Dim::from(axis.index.clone()));
            slots.add(b, fold, position, value);
            vec![]
        })
    });
    let all = slots.all(b, fold);
    fold.merge_all(b, all)
}

fn looped(cx: &mut Context, b: &mut Builder, axes: &[Axis], reductions: &[Reduction], folds: &[Fold], lanes: u32) -> Vec<Vec<Reg>> {
    let slots: Vec<Option<Slots>> = folds
        .iter()
        .map(|fold| {
            fold.is_ordered().then(|| {
                let slots = Slots::new(b, *fold, lanes);
                slots.clear(b, *fold);
                slots
            })
        })
        .collect();
    // Ordered folds carry nothing; the others carry their state.
    let free: Vec<Fold> = folds.iter().filter(|f| !f.is_ordered()).copied().collect();
    let init: Vec<Vec<Reg>> = free.iter().map(|f| f.identity(b, lanes)).collect();
    let position = row_major(axes);
    let carried = over(cx, b, axes, &flat(&init), &mut |cx, b, carried| {
        let mut old = states(&free, carried).into_iter();
        let mut new = Vec::new();
        for ((reduction, fold), slots) in reductions.iter().zip(folds).zip(&slots) {
            match slots {
                Some(slots) => {
                    let value = cx.eval(b, reduction.value);
                    let value = cx.widened(b, value, lanes);
                    let position = cx.index(b, &position);
                    slots.add(b, *fold, position, value);
                }
                None => {
                    let state = old.next().unwrap_or_default();
                    new.push(stepped(cx, b, *fold, reduction.value, &state, &position, lanes));
                }
            }
        }
        flat(&new)
    });
    let mut carried = states(&free, &carried).into_iter();
    folds
        .iter()
        .zip(&slots)
        .map(|(fold, slots)| match slots {
            Some(slots) => {
                let all = slots.all(b, *fold);
                fold.merge_all(b, all)
            }
            None => carried.next().unwrap_or_default(),
        })
        .collect()
}

/// Machine lanes along the last axis: 16 virtual lanes are 16/lanes vectors.
///
/// What is left at the end of a row, fewer than 16 elements, is one more step, in which lanes that there are not change nothing. Ordered
/// folds come here with several axes only where rows are multiples of 16.
pub(super) fn along_last(cx: &mut Context, b: &mut Builder, axes: &[Axis], reductions: &[Reduction], lanes: u32) {
    let folds = folds(cx, reductions);
    let Some((axis, outer)) = axes.split_last() else { panic!("lower: a reduction without axes has no last axis") };
    let total = Dim::product(axes.iter().map(|a| &a.extent));
    let empty: Vec<Vec<Reg>> = folds.iter().map(|f| f.identity(b, 1)).collect();
    let row = Row { axis, position: row_major(axes), reductions, folds: &folds, lanes };
    let result = cx.when_nonempty(b, &total, &flat(&empty), |cx, b| {
        let vectors = (ORDER_LANES / lanes).max(1);
        let mut init: Vec<Vec<Reg>> = Vec::new();
        for _ in 0..vectors {
            init.extend(folds.iter().map(|f| f.identity(b, lanes)));
        }
        let carried = over(cx, b, outer, &flat(&init), &mut |cx, b, carried| {
            let carried = row.whole_groups(cx, b, carried);
            row.rest(cx, b, &carried)
        });
        let groups: Vec<Vec<Vec<Reg>>> = carried.chunks(row.registers()).map(|group| states(&folds, group)).collect();
        let merged: Vec<Vec<Reg>> = folds
            .iter()
            .enumerate()
            .map(|(which, fold)| {
                let one = fold.merge_all(b, groups.iter().map(|g| g[which].clone()).collect());
                fold.merge_lanes(b, &one)
            })
            .collect();
        flat(&merged)
    });
    let result = states(&folds, &result);
    push_results(cx, b, &folds, &result);
}

/// One row of a reduction along its last axis.
struct Row<'a> {
    axis: &'a Axis,
    position: Dim,
    reductions: &'a [Reduction],
    folds: &'a [Fold],
    lanes: u32,
}

impl Row<'_> {
    fn index(&self, cx: &mut Context, suffix: &str) -> Symbol {
        let symbol = Symbol::new(&format!("{}{suffix}", self.axis.index));
        cx.ranges.set_index(symbol.clone(), self.axis.extent.clone());
        symbol
    }

    /// Registers of the states of all folds.
    fn registers(&self) -> usize {
        self.folds.iter().map(Fold::parts).sum()
    }

    /// All folds one step further, with lanes from `first` on. Lanes that there are not stay as they are.
    fn vector_step(&self, cx: &mut Context, b: &mut Builder, first: Dim, carried: &[Reg]) -> Vec<Reg> {
        let states = states(self.folds, carried);
        let next: Vec<Vec<Reg>> = cx.vectored(&self.axis.index, first, self.lanes, |cx| {
            let turns = self.reductions.iter().zip(self.folds).zip(&states);
            turns
                .map(|((reduction, fold), state)| {
                    let (value, position) = value_at(cx, b, *fold, reduction.value, &self.position, self.lanes);
                    let Some(active) = cx.active else { return fold.step(b, state, value, position) };
                    let mut identity = fold.identity(b, self.lanes).into_iter();
                    let mut chosen = |reg: Reg| {
                        let identity = identity.next().unwrap_or_else(|| panic!("lower: a state has a part for each of its values"));
                        super::ops::select(b, active.mask, reg, identity)
                    };
                    let (value, position) = (chosen(value), position.map(&mut chosen));
                    fold.step(b, state, value, position)
                })
                .collect()
        });
        flat(&next)
    }

    /// The loop over whole groups of 16; carries `vectors × folds` states.
    fn whole_groups(&self, cx: &mut Context, b: &mut Builder, carried: &[Reg]) -> Vec<Reg> {
        if self.axis.extent.as_const().is_some_and(|n| n < i64::from(ORDER_LANES)) {
            return carried.to_vec();
        }
        let start = cx.index(b, &Dim::ZERO);
        let end = whole_vectors(cx, b, &self.axis.extent, ORDER_LANES);
        let group = self.index(cx, "g");
        cx.counted(b, &group, start, end, i64::from(ORDER_LANES.max(self.lanes)), carried, |cx, b, carried| {
            let mut next = Vec::new();
            for (which, state) in carried.chunks(self.registers()).enumerate() {
                let first = Dim::from(group.clone()) + Dim::from(which as i64 * i64::from(self.lanes));
                next.extend(self.vector_step(cx, b, first, state));
            }
            next
        })
    }

    /// The last elements of a row, fewer than 16: each belongs to the virtual lane that the vectors of a whole group hold it in.
    fn rest(&self, cx: &mut Context, b: &mut Builder, carried: &[Reg]) -> Vec<Reg> {
        if !has_rest(cx, &self.axis.extent, ORDER_LANES) {
            return carried.to_vec();
        }
        let (extent, all) = (cx.resolve(&self.axis.extent), i64::from(ORDER_LANES));
        let mut next = Vec::new();
        for (which, state) in carried.chunks(self.registers()).enumerate() {
            let before = which as i64 * i64::from(self.lanes);
            let step = |cx: &mut Context, b: &mut Builder, first: &Dim, state: &[Reg]| {
                let active = cx.first_lanes(b, &(&extent - first), self.lanes);
                cx.with_active(active, |cx| self.vector_step(cx, b, first.clone(), state))
            };
            next.extend(match extent.as_const() {
                Some(n) if n % all <= before => state.to_vec(),
                Some(n) => step(cx, b, &Dim::from(n - n % all + before), state),
                None => {
                    let index = self.index(cx, &format!("r{which}"));
                    let whole = whole_vectors(cx, b, &extent, ORDER_LANES);
                    let (start, end) = (b.add_int(whole, before), cx.index_value(b, &extent).reg);
                    cx.counted(b, &index, start, end, all, state, |cx, b, state| step(cx, b, &Dim::from(index.clone()), state))
                }
            });
        }
        next
    }
}
