//! A product of the loop: weights that stay in shared memory, times the state of a cluster's rows.
//!
//! ```text
//! weights[depth][column of the block]     state[row][depth]     sums[group][row][column of the block]
//! ```
//!
//! Groups of threads take parts of depth, four at a time, and each thread four neighbouring columns of all rows. Sums of the groups are
//! added where they are used.

use super::{AT_ONCE, MOST_ROWS, PersistentLoop, Phase, Position, THREADS};
use crate::kernel::{Axis, Contract, ExprId, Kernel, sum_dtype};
use crate::lower::context::{Context, Value};
use crate::lower::contract::operand;
use crate::lower::dot::{multiply_add, zero};
use crate::lower::ops::{lane_of, memory_of};
use crate::tile::{Builder, CooperativeStmt, Lane, PipelineStmt, Reg, Type};
use kiln_ir::{DType, Dim, Symbol};

/// Parts of depth at most: whoever needs a sum adds them up.
const MOST_GROUPS: i64 = 16;

/// A product of the state and weights.
pub(super) struct Product {
    /// What has rows: of the state.
    pub state: ExprId,
    /// What has columns: the weights.
    pub weights: ExprId,
    pub depth: Axis,
    /// Whether the blocks of a cluster meet before the state is taken.
    pub meets: bool,
    /// Of the sums.
    sum: DType,
    /// Of the weights in shared memory.
    kept: DType,
}

impl Product {
    /// A contraction over one axis of known extent.
    pub fn of(contract: &Contract, kernel: &Kernel) -> Option<Product> {
        let [depth] = &contract.depth[..] else { return None };
        depth.extent.as_const()?;
        let [state, weights] = [contract.lhs, contract.rhs].map(|id| kernel.exprs.get(id).dtype);
        let sum = sum_dtype(state);
        let kept = if matches!(weights, DType::F16 | DType::BF16) { weights } else { sum };
        let is_sum = lane_of(sum) != Lane::Mask;
        is_sum.then(|| Product { state: contract.lhs, weights: contract.rhs, depth: depth.clone(), meets: false, sum, kept })
    }

    fn length(&self) -> i64 {
        self.depth.extent.as_const().unwrap_or_else(|| panic!("lower: a depth that is not known"))
    }

    /// Depth with what is zero behind it.
    fn padded(&self) -> i64 {
        (self.length() + AT_ONCE - 1) / AT_ONCE * AT_ONCE
    }

    fn columns(&self, whole: &PersistentLoop, phase: &Phase) -> i64 {
        phase.times * whole.block_units()
    }

    pub fn weight_bytes(&self, whole: &PersistentLoop, phase: &Phase) -> i64 {
        self.padded() * self.columns(whole, phase) * self.kept.size_bytes() as i64
    }

    pub fn state_bytes(&self, whole: &PersistentLoop) -> i64 {
        whole.row_tile * self.padded() * self.sum.size_bytes() as i64
    }

    pub fn sum_bytes(&self, whole: &PersistentLoop, phase: &Phase) -> i64 {
        self.groups(whole, phase) * whole.row_tile * self.columns(whole, phase) * self.sum.size_bytes() as i64
    }

    /// Threads along columns.
    fn across(&self, whole: &PersistentLoop, phase: &Phase) -> i64 {
        ((self.columns(whole, phase) / AT_ONCE) as u64).next_power_of_two().min(THREADS as u64) as i64
    }

    /// Groups along depth.
    fn groups(&self, whole: &PersistentLoop, phase: &Phase) -> i64 {
        (THREADS / self.across(whole, phase)).min(self.padded() / AT_ONCE).clamp(1, MOST_GROUPS)
    }

    fn scalar(&self) -> Type {
        Type::scalar(lane_of(self.sum))
    }

    fn vector(&self) -> Type {
        self.scalar().times(AT_ONCE as u32)
    }

    /// Copies the weights of the block's units to shared memory, zeros where there are none.
    pub fn keep_weights(&self, whole: &PersistentLoop, phase: &Phase, cx: &mut Context, b: &mut Builder, position: &Position, to: Reg) {
        let (columns, units) = (self.columns(whole, phase), whole.block_units());
        let shape = [self.padded(), columns];
        self.fill(cx, b, position, shape, (to, self.kept), &mut |cx, b, depth, column| {
            let unit = cx.index(b, &column.modulo(&Dim::from(units)));
            let time = cx.index(b, &(column.floor_div(&Dim::from(units)) * Dim::from(whole.units)));
            // Weights have no row: the first one exists.
            let none = b.index(0);
            let at = whole.at(b, position, none, unit);
            let (depth, all) = (cx.index(b, depth), b.index(whole.units));
            let has_unit = b.lt(at.unit, all);
            let column = b.add(time, at.unit);
            let axis = phase.column.as_ref().unwrap_or_else(|| panic!("lower: a product has columns"));
            self.where_deep(cx, b, depth, has_unit, |cx, b| cx.bound(&axis.index, column, |cx| operand(cx, b, self.weights, self.sum)))
        });
    }

    /// What `value` gives at a point of depth, or zero where that or something else does not exist.
    fn where_deep(
        &self,
        cx: &mut Context,
        b: &mut Builder,
        depth: Reg,
        exists: Reg,
        value: impl FnOnce(&mut Context, &mut Builder) -> Reg,
    ) -> Reg {
        let length = b.index(self.length());
        let has_depth = b.lt(depth, length);
        let exists = b.and(has_depth, exists);
        let none = zero(b, self.scalar());
        cx.branch(b, exists, false, |cx, b| vec![cx.bound(&self.depth.index, depth, |cx| value(cx, b))], |_, _| vec![none])[0]
    }

    /// Sums of the block's columns and the cluster's rows, left in shared memory for all threads of the block.
    #[allow(clippy::too_many_arguments)] // a kernel has this many parts
    pub fn multiply(
        &self,
        whole: &PersistentLoop,
        phase: &Phase,
        cx: &mut Context,
        b: &mut Builder,
        position: &Position,
        weights: Reg,
        [state, sums]: [Reg; 2],
    ) {
        let shape = [whole.row_tile, self.padded()];
        self.fill(cx, b, position, shape, (state, self.sum), &mut |cx, b, row, depth| {
            let (row, depth, none) = (cx.index(b, row), cx.index(b, depth), b.index(0));
            let at = whole.at(b, position, row, none);
            let has_row = b.lt(at.row, position.rows);
            self.where_deep(cx, b, depth, has_row, |cx, b| match &phase.row {
                Some(axis) => cx.bound(&axis.index, at.row, |cx| operand(cx, b, self.state, self.sum)),
                None => operand(cx, b, self.state, self.sum),
            })
        });
        // The state is taken now, and may be stored anew when all blocks have taken it.
        let meets = phase.meets && whole.cluster > 1;
        if meets {
            b.pipeline(PipelineStmt::ArriveCluster);
        }
        b.together(CooperativeStmt::Barrier);
        let (across, groups) = (self.across(whole, phase), self.groups(whole, phase));
        let columns = b.index(across);
        let (x, group) = (b.rem_u(position.thread, columns), b.div_u(position.thread, columns));
        let (most, all) = (b.index(groups), b.index(self.columns(whole, phase) / AT_ONCE));
        let takes_part = b.lt(group, most);
        b.if_then(takes_part, |b| {
            b.loop_carrying(x, all, across, &[], |b, quad, _| {
                self.columns_of_thread(whole, phase, b, [group, quad], weights, [state, sums]);
                vec![]
            });
        });
        if meets {
            b.pipeline(PipelineStmt::WaitForCluster);
        }
        b.together(CooperativeStmt::Barrier);
    }

    /// Sums of four columns and all rows over a group's part of depth.
    fn columns_of_thread(
        &self,
        whole: &PersistentLoop,
        phase: &Phase,
        b: &mut Builder,
        [group, quad]: [Reg; 2],
        weights: Reg,
        [state, sums]: [Reg; 2],
    ) {
        debug_assert!(whole.row_tile <= MOST_ROWS);
        let (columns, size, kept) = (self.columns(whole, phase), self.sum.size_bytes() as i64, self.kept.size_bytes() as i64);
        let (rows, mem) = (whole.row_tile, memory_of(self.sum));
        let first = b.mul_int(quad, AT_ONCE * kept);
        let weights = b.add(weights, first);
        let (from, end) = (b.mul_int(group, AT_ONCE), b.index(self.padded()));
        let start = vec![zero(b, self.vector()); rows as usize];
        let step = self.groups(whole, phase) * AT_ONCE;
        let totals = b.loop_carrying(from, end, step, &start, |b, depth, totals| {
            let mut totals = totals.to_vec();
            let (of_state, of_weights) = (b.mul_int(depth, size), b.mul_int(depth, columns * kept));
            let (state, weights) = (b.add(state, of_state), b.add(weights, of_weights));
            let factors: Vec<Reg> = (0..rows).map(|row| b.load(mem, self.vector(), state, (row * self.padded() * size) as i32)).collect();
            for at in 0..AT_ONCE {
                let four = b.load(memory_of(self.kept), self.vector(), weights, (at * columns * kept) as i32);
                for (factor, total) in factors.iter().zip(&mut totals) {
                    let factor = b.extract(*factor, at as u32);
                    let factor = b.splat(factor, AT_ONCE as u32);
                    *total = multiply_add(b, factor, four, *total);
                }
            }
            totals
        });
        let (of_group, of_quad) = (b.mul_int(group, rows * columns * size), b.mul_int(quad, AT_ONCE * size));
        let to = b.add(sums, of_group);
        let to = b.add(to, of_quad);
        totals.iter().zip(0..).for_each(|(total, row)| b.store(mem, *total, to, (row * columns * size) as i32));
    }

    /// The sum of a row and a unit of the block, in one of the unit's columns.
    #[allow(clippy::too_many_arguments)] // a place has this many parts
    pub fn total(
        &self,
        whole: &PersistentLoop,
        phase: &Phase,
        cx: &Context,
        b: &mut Builder,
        [row, unit]: [Reg; 2],
        time: i64,
        sums: Reg,
    ) -> Value {
        let (columns, size) = (self.columns(whole, phase), self.sum.size_bytes() as i64);
        let (of_row, of_unit) = (b.mul_int(row, columns * size), b.mul_int(unit, size));
        let from = b.add(sums, of_row);
        let from = b.add(from, of_unit);
        let own = time * whole.block_units() * size;
        let apart = whole.row_tile * columns * size;
        let parts =
            (0..self.groups(whole, phase)).map(|group| b.load(memory_of(self.sum), self.scalar(), from, (own + group * apart) as i32));
        let parts: Vec<Reg> = parts.collect();
        let total = parts.into_iter().reduce(|total, part| b.add(total, part));
        Value { reg: total.unwrap_or_else(|| panic!("lower: a sum has parts")), level: cx.top() }
    }

    /// Fills rows of shared memory with values, all threads of the block together.
    #[allow(clippy::type_complexity)] // a callback
    fn fill(
        &self,
        cx: &mut Context,
        b: &mut Builder,
        position: &Position,
        [rows, columns]: [i64; 2],
        (to, dtype): (Reg, DType),
        value: &mut dyn FnMut(&mut Context, &mut Builder, &Dim, &Dim) -> Reg,
    ) {
        let element = Symbol::new("#element");
        cx.ranges.set_index(element.clone(), Dim::from(rows * columns));
        let end = b.index(rows * columns);
        cx.counted(b, &element, position.thread, end, THREADS, &[], |cx, b, _| {
            let place = Dim::from(element.clone());
            let (row, column) = (place.floor_div(&Dim::from(columns)), place.modulo(&Dim::from(columns)));
            let value = value(cx, b, &row, &column);
            let offset = cx.index(b, &(place * Dim::from(dtype.size_bytes())));
            let at = b.add(to, offset);
            b.store(memory_of(dtype), value, at, 0);
            vec![]
        });
    }
}
