//! How reductions combine values: identities, steps, merging of lanes, positions of extremes.

use super::ops::{lane_of, rounded};
use crate::kernel::{Combine, Keep, Reduction};
use crate::tile::{Builder, Lane, Reg, Type};
use kiln_ir::DType;
use kiln_ir::dtype::Class;

/// Virtual lanes of ordered reductions: lane l takes row-major positions l, l + 16, l + 32, …
pub(super) const ORDER_LANES: u32 = 16;

/// One reduction's arithmetic. Its state is one register, or two (value and position) where a position is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold {
    pub combine: Combine,
    pub keep: Keep,
    /// Element type of the values.
    pub dtype: DType,
}

/// `a` and `b` combined, unrounded.
pub(super) fn combined(b: &mut Builder, combine: Combine, dtype: DType, x: Reg, y: Reg) -> Reg {
    let (float, signed) = (dtype.is_float(), dtype.class() == Class::Signed);
    if dtype == DType::Bool {
        return match combine {
            Combine::Sum | Combine::Max | Combine::Or => b.or(x, y),
            Combine::Product | Combine::Min | Combine::And => b.and(x, y),
        };
    }
    match combine {
        Combine::Sum => b.add(x, y),
        Combine::Product => b.mul(x, y),
        Combine::Max if float => b.maximum(x, y),
        Combine::Min if float => b.minimum(x, y),
        Combine::Max if signed => b.max_s(x, y),
        Combine::Min if signed => b.min_s(x, y),
        Combine::Max => b.max_u(x, y),
        Combine::Min => b.min_u(x, y),
        Combine::And => b.and(x, y),
        Combine::Or => b.or(x, y),
    }
}

impl Fold {
    pub fn new(reduction: &Reduction, dtype: DType) -> Fold {
        Fold { combine: reduction.combine, keep: reduction.keep, dtype }
    }

    /// Whether the result depends on the order: it is then that of the virtual lanes.
    pub fn is_ordered(&self) -> bool {
        self.dtype.is_float() && matches!(self.combine, Combine::Sum | Combine::Product)
    }

    /// Registers of the state.
    pub fn parts(&self) -> usize {
        if self.keep == Keep::Value { 1 } else { 2 }
    }

    fn value_type(&self, lanes: u32) -> Type {
        Type::scalar(lane_of(self.dtype)).times(lanes)
    }

    /// The state before any value.
    pub fn identity(&self, b: &mut Builder, lanes: u32) -> Vec<Reg> {
        let ty = self.value_type(lanes);
        let value = if self.dtype == DType::Bool {
            b.int(ty, i64::from(matches!(self.combine, Combine::Product | Combine::Min | Combine::And)))
        } else if ty.lane.is_float() {
            b.float(
                ty,
                match self.combine {
                    Combine::Sum | Combine::Or => 0.0,
                    Combine::Product | Combine::And => 1.0,
                    Combine::Max => f64::NEG_INFINITY,
                    Combine::Min => f64::INFINITY,
                },
            )
        } else {
            let (least, greatest) = self.dtype.int_range().unwrap_or((0, 1));
            b.int(
                ty,
                match self.combine {
                    Combine::Sum | Combine::Or => 0,
                    Combine::Product => 1,
                    Combine::And => -1,
                    Combine::Max => least as i64,
                    Combine::Min => greatest as i64,
                },
            )
        };
        match self.keep {
            Keep::Value => vec![value],
            // Positions that lose against every real one.
            Keep::FirstPosition => vec![value, b.int(Type::I64.times(lanes), i64::MAX)],
            Keep::LastPosition => vec![value, b.int(Type::I64.times(lanes), -1)],
        }
    }

    /// The state after one more value per lane; `position` is there where positions are kept.
    pub fn step(&self, b: &mut Builder, state: &[Reg], value: Reg, position: Option<Reg>) -> Vec<Reg> {
        match (state, position) {
            ([old], _) => vec![combined(b, self.combine, self.dtype, *old, value)],
            ([_, _], Some(position)) => self.merge(b, state, &[value, position]),
            _ => panic!("lower: a reduction that keeps positions was given none"),
        }
    }

    /// The state after one more value whose position is behind all others.
    pub fn step_behind(&self, b: &mut Builder, state: &[Reg], value: Reg, position: Reg) -> Vec<Reg> {
        let take = match self.keep {
            Keep::FirstPosition => self.better(b, value, state[0]),
            _ => {
                let worse = self.better(b, state[0], value);
                b.not(worse)
            }
        };
        vec![super::ops::select(b, take, value, state[0]), b.select(take, position, state[1])]
    }

    /// Lanes that hold positions beside values where few integers do.
    pub fn few_positions(&self, lanes: u32) -> Type {
        let lane = match lane_of(self.dtype) {
            Lane::Mask => Lane::I32,
            lane => lane.same_width_int(),
        };
        Type::scalar(lane).times(lanes)
    }

    /// Two states as one.
    pub fn merge(&self, b: &mut Builder, x: &[Reg], y: &[Reg]) -> Vec<Reg> {
        let ([xv, xp], [yv, yp]) = (x, y) else {
            return vec![combined(b, self.combine, self.dtype, x[0], y[0])];
        };
        let better = self.better(b, *yv, *xv);
        let worse = self.better(b, *xv, *yv);
        // Neither is better: the position decides.
        let earlier = if self.keep == Keep::FirstPosition { b.lt(*yp, *xp) } else { b.gt(*yp, *xp) };
        let not_worse = b.not(worse);
        let tie_won = b.and(not_worse, earlier);
        let take = b.or(better, tie_won);
        vec![super::ops::select(b, take, *yv, *xv), b.select(take, *yp, *xp)]
    }

    /// Whether `x` is more extreme than `y`; NaN is more extreme than any number.
    fn better(&self, b: &mut Builder, x: Reg, y: Reg) -> Reg {
        let max = self.combine == Combine::Max;
        let compare = if max { crate::kernel::CompareFn::Greater } else { crate::kernel::CompareFn::Less };
        let beyond = super::ops::compare(b, compare, self.dtype, x, y);
        if !self.dtype.is_float() {
            return beyond;
        }
        let (x_nan, y_number) = (b.ne(x, x), b.eq(y, y));
        let only_x = b.and(x_nan, y_number);
        b.or(beyond, only_x)
    }

    /// The lanes merged to a scalar state by the fixed tree.
    pub fn merge_lanes(&self, b: &mut Builder, state: &[Reg]) -> Vec<Reg> {
        let mut state = state.to_vec();
        while state[0].ty.lanes > 1 {
            let low: Vec<Reg> = state.iter().map(|r| b.low_half(*r)).collect();
            let high: Vec<Reg> = state.iter().map(|r| b.high_half(*r)).collect();
            state = self.merge(b, &low, &high);
        }
        state
    }

    /// The 16 virtual lanes (in order, in as many states as that takes) merged by the fixed tree: lane l with l + 8, then + 4, + 2, + 1.
    /// States that hold one virtual lane in many points' lanes are merged point by point.
    pub fn merge_all(&self, b: &mut Builder, mut states: Vec<Vec<Reg>>) -> Vec<Reg> {
        while states.len() > 1 {
            let high = states.split_off(states.len() / 2);
            states = states.iter().zip(&high).map(|(x, y)| self.merge(b, x, y)).collect();
        }
        states.remove(0)
    }

    /// What the reduction yields: the value rounded to its type, or the position (0 when there was no value).
    pub fn finish(&self, b: &mut Builder, state: &[Reg]) -> Reg {
        match (self.keep, state) {
            (Keep::Value, [value]) => rounded(b, self.dtype, *value),
            (keep, [_, position]) => {
                let zero = b.int(position.ty, 0);
                let none = b.int(position.ty, if keep == Keep::FirstPosition { i64::MAX } else { -1 });
                let is_none = b.eq(*position, none);
                b.select(is_none, zero, *position)
            }
            _ => panic!("lower: a reduction's state has the wrong parts"),
        }
    }

    /// Bytes of one lane in memory, for ordered folds.
    pub fn lane_bytes(&self) -> u32 {
        match lane_of(self.dtype) {
            Lane::F32 => 4,
            _ => 8,
        }
    }
}
