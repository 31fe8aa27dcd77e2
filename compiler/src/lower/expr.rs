//! Expressions to registers at a point: scalar, or one value per lane where they vary along the lanes' index.

use super::Arg;
use super::access::along;
use super::context::{Context, Value};
use super::ops;
use crate::kernel::{BinaryFn, ExprId, ExprKind, Scalar, UnaryFn};
use crate::tile::{Builder, Lane, Mem, Reg, Type, math};
use kiln_ir::dtype::Class;
use kiln_ir::{DType, Dim};

impl Context<'_> {
    /// The value of an expression: computed once, where all it depends on is bound.
    pub fn eval(&mut self, b: &mut Builder, id: ExprId) -> Value {
        if let ExprKind::Accumulator(n) = self.exprs.get(id).kind {
            return self.accumulator(b, n, self.exprs.get(id).dtype);
        }
        let key = self.key(id);
        if let Some(value) = self.known(id, &key) {
            return value;
        }
        let is_constant = matches!(self.exprs.get(id).kind, ExprKind::Constant(_));
        let level = if is_constant { 0 } else { self.level_of(self.needs(id)) };
        self.remember(b, key, level, |cx, b| cx.compute(b, id))
    }

    /// An accumulator. Positions are kept in whatever integers suit the reduction.
    fn accumulator(&mut self, b: &mut Builder, number: u32, dtype: DType) -> Value {
        let Value { reg, level } = self.accumulators[number as usize];
        let (lane, held) = (ops::lane_of(dtype), reg.ty.lane);
        let reg = match () {
            () if !lane.is_int() || !held.is_int() || lane == held => reg,
            () if lane.bits() > held.bits() => b.extend_s(reg, lane),
            () => b.wrap(reg, lane),
        };
        Value { reg, level }
    }

    /// The values of several expressions, with equal lane counts.
    fn operands<const N: usize>(&mut self, b: &mut Builder, ids: [ExprId; N]) -> [Reg; N] {
        let values = ids.map(|id| self.eval(b, id));
        let lanes = values.iter().map(|v| v.reg.ty.lanes).max().unwrap_or(1);
        values.map(|v| self.widened(b, v, lanes))
    }

    fn compute(&mut self, b: &mut Builder, id: ExprId) -> Reg {
        let expr = self.exprs.get(id).clone();
        match expr.kind {
            ExprKind::Constant(value) => ops::constant(b, expr.dtype, value),
            ExprKind::Index(dim) => self.index_vector(b, &dim),
            ExprKind::Load(access) => self.load(b, expr.dtype, &access),
            ExprKind::Unary(function, x) => {
                let dtype = self.exprs.get(x).dtype;
                let [x] = self.operands(b, [x]);
                let nearly = if self.approximates { ops::unary_nearly(b, function, dtype, x) } else { None };
                nearly.unwrap_or_else(|| ops::unary(b, function, dtype, x))
            }
            ExprKind::Binary(function, x, y) => {
                if self.approximates && function == BinaryFn::Div && self.is_share(x, y) {
                    // One division a row.
                    let one = self.add_expr(expr.dtype, ExprKind::Constant(Scalar::Float(1f64.to_bits())));
                    let reciprocal = self.add_expr(expr.dtype, ExprKind::Binary(BinaryFn::Div, one, y));
                    let [x, y] = self.operands(b, [x, reciprocal]);
                    return b.mul(x, y);
                }
                if let Some(value) = self.binary_with_constant(b, function, expr.dtype, x, y) {
                    return value;
                }
                let [x, y] = self.operands(b, [x, y]);
                ops::binary(b, function, expr.dtype, x, y)
            }
            ExprKind::Compare(function, x, y) => {
                let dtype = self.exprs.get(x).dtype;
                let [x, y] = self.operands(b, [x, y]);
                ops::compare(b, function, dtype, x, y)
            }
            ExprKind::Select(mask, x, y) => {
                let [mask, x, y] = self.operands(b, [mask, x, y]);
                ops::select(b, mask, x, y)
            }
            ExprKind::Cast(x) => {
                let from = self.exprs.get(x).dtype;
                let [x] = self.operands(b, [x]);
                ops::cast(b, from, expr.dtype, x)
            }
            ExprKind::Accumulator(n) => self.accumulator(b, n, expr.dtype).reg,
            ExprKind::CheckedIndex { index, extent, node } => self.checked_index(b, index, &extent, node),
        }
    }

    /// Whether a quotient is an exponential by a sum of its row.
    fn is_share(&self, x: ExprId, y: ExprId) -> bool {
        let [x, y] = [x, y].map(|id| self.exprs.get(id));
        let is_exponential = matches!(x.kind, ExprKind::Unary(UnaryFn::Exp, _));
        is_exponential && matches!(y.kind, ExprKind::Accumulator(_)) && x.dtype == DType::F32
    }

    /// Minimum and maximum with a constant need no care for NaN constants and, with a little, none for zeros: one or two
    /// instructions instead of the general form's five. 1 + erf, of which gelu is made, is less work than erf.
    fn binary_with_constant(&mut self, b: &mut Builder, function: BinaryFn, dtype: DType, x: ExprId, y: ExprId) -> Option<Reg> {
        if !matches!(function, BinaryFn::Min | BinaryFn::Max | BinaryFn::Add) || !dtype.is_float() {
            return None;
        }
        let value_of = |id: ExprId| match self.exprs.get(id).kind {
            ExprKind::Constant(Scalar::Float(bits)) => Some(f64::from_bits(bits)),
            _ => None,
        };
        let (constant, value, c) = match (value_of(x), value_of(y)) {
            (_, Some(c)) => (y, x, c),
            (Some(c), None) => (x, y, c),
            (None, None) => return None,
        };
        if function == BinaryFn::Add {
            let ExprKind::Unary(UnaryFn::Erf, x) = self.exprs.get(value).kind else { return None };
            let [x] = if c == 1.0 && dtype == DType::F32 && !self.approximates { self.operands(b, [x]) } else { return None };
            return Some(math::one_plus_erf(b, x));
        }
        let is_plus_zero = c == 0.0 && c.is_sign_positive();
        if c.is_nan() || (c == 0.0 && !is_plus_zero) {
            return None;
        }
        let [constant, value] = self.operands(b, [constant, value]);
        // The second operand is the answer for NaN and for two zeros.
        Some(match function {
            BinaryFn::Min => b.min_or_second(constant, value),
            _ => {
                let larger = b.max_or_second(constant, value);
                // max(0, −0) is 0: adding 0 turns −0 into it and changes nothing else.
                if is_plus_zero { b.add(larger, constant) } else { larger }
            }
        })
    }

    /// The value of a dim as i64 (in each lane).
    pub fn index_vector(&mut self, b: &mut Builder, dim: &Dim) -> Reg {
        let Some((index, lanes)) = self.lanes.clone().filter(|_| self.dim_varies(dim)) else {
            return self.index(b, dim);
        };
        let moving = along(&self.resolve_but_lanes(dim), &index, &|s| self.dim_varies(&Dim::from(s.clone())));
        if let Some(moving) = moving.filter(|m| m.splits.is_empty()) {
            let first = self.at_lane(0, |cx| cx.index(b, dim));
            let first = b.splat(first, lanes);
            let steps = self.lane_numbers(b, lanes);
            let steps = match moving.step.as_const() {
                Some(1) => steps,
                _ => {
                    let step = self.index(b, &moving.step);
                    let step = b.splat(step, lanes);
                    b.mul(steps, step)
                }
            };
            return b.add(first, steps);
        }
        let first = self.at_lane(0, |cx| cx.index(b, dim));
        let mut vector = b.splat(first, lanes);
        for lane in 1..lanes {
            let value = self.at_lane(lane, |cx| cx.index(b, dim));
            vector = b.insert(vector, lane, value);
        }
        vector
    }

    /// 0, 1, 2, … in i64 lanes.
    fn lane_numbers(&mut self, b: &mut Builder, lanes: u32) -> Reg {
        // Remembered under a name that no index has.
        let name = Dim::symbol(&format!("#lanes{lanes}"));
        self.remembered_dim(b, &name, 0, |_, b| {
            let mut vector = b.int(Type::I64.times(lanes), 0);
            for lane in 1..lanes {
                let number = b.index(i64::from(lane));
                vector = b.insert(vector, lane, number);
            }
            vector
        })
        .reg
    }

    /// Negative indices count from the end; one outside the axis stores the node in the error cell and becomes 0.
    fn checked_index(&mut self, b: &mut Builder, index: ExprId, extent: &Dim, node: u32) -> Reg {
        let dtype = self.exprs.get(index).dtype;
        let [index] = self.operands(b, [index]);
        let index = if index.ty.lane == Lane::I64 { index } else { ops::cast(b, dtype, DType::I64, index) };
        let extent = self.resolve(extent);
        let extent = self.index_value(b, &extent);
        let extent = self.widened(b, extent, index.ty.lanes);
        let zero = b.int(index.ty, 0);
        let wrapped = if dtype.class() == Class::Signed {
            let from_end = b.add(index, extent);
            let negative = b.lt(index, zero);
            b.select(negative, from_end, index)
        } else {
            index
        };
        let inside = b.lt_u(wrapped, extent);
        // Lanes that there are not hold no index.
        let inside = match self.active {
            Some(active) if active.mask.ty == inside.ty => {
                let left_out = b.not(active.mask);
                b.or(inside, left_out)
            }
            _ => inside,
        };
        let all_inside = b.reduce_lanes(inside, |b, x, y| b.and(x, y));
        let cell = self.argument(b, Arg::ErrorCell);
        let wrong = b.not(all_inside);
        b.if_then(wrong, |b| {
            let number = b.index(i64::from(node) + 1);
            b.store(Mem::I64, number, cell, 0);
        });
        b.select(inside, wrapped, zero)
    }
}
