//! Loads and stores: contiguous, strided or lane by lane; guarded where bounds cannot be proved.

use super::context::{Active, Base, Context, Elsewhere};
use super::offsets::Address;
use super::ops::{lane_of, memory_of};
use crate::kernel::{Access, Bound, Combine, ExprId, ExprKind, Store};
use crate::tile::{Builder, Reg, Type};
use kiln_ir::dim::Atom;
use kiln_ir::{DType, Dim, Symbol};

/// How a dim moves from lane to lane.
pub(crate) struct Along {
    /// What the next lane adds.
    pub step: Dim,
    /// That holds only where each of these quotients is the same for the first and the last lane.
    pub splits: Vec<(Dim, Dim)>,
}

/// Lanes of an access that lie equally far apart, inside all bounds, where the conditions hold.
struct Straight {
    step: Dim,
    conditions: Vec<Reg>,
    /// Whether no lane is inside where they do not.
    alike: bool,
    /// Whether the lanes that are inside lie beside each other where they do not.
    neighbours: bool,
}

/// How `dim` moves along `index`; `None` where it is no sum of multiples of it, whole or split by quotients.
pub(crate) fn along(dim: &Dim, index: &Symbol, varies: &dyn Fn(&Symbol) -> bool) -> Option<Along> {
    let atom_varies = |a: &Atom| {
        let mut found = false;
        a.to_dim().visit_symbols(&mut |s| found |= varies(s));
        found
    };
    let mut result = Along { step: Dim::ZERO, splits: vec![] };
    for term in dim.terms() {
        let varying: Vec<usize> = (0..term.atoms.len()).filter(|&i| atom_varies(&term.atoms[i])).collect();
        let position = match varying[..] {
            [] => continue,
            [position] => position,
            _ => return None,
        };
        let mut others = term.clone();
        let atom = others.atoms.remove(position);
        let inner = match &atom {
            Atom::Symbol(s) if s == index => Along { step: Dim::ONE, splits: vec![] },
            Atom::Symbol(_) | Atom::Min(..) | Atom::Max(..) | Atom::Bcast(..) => return None,
            Atom::FloorDiv(x, d) | Atom::Mod(x, d) => {
                let mut divisor_varies = false;
                d.visit_symbols(&mut |s| divisor_varies |= varies(s));
                let mut part = along(x, index, varies)?;
                part.step.as_const()?;
                if divisor_varies {
                    return None;
                }
                if !part.step.is(0) {
                    part.splits.push((x.clone(), d.clone()));
                    if matches!(atom, Atom::FloorDiv(..)) {
                        part.step = Dim::ZERO;
                    }
                }
                part
            }
        };
        result.step = result.step + Dim::from_terms([others]) * &inner.step;
        for split in inner.splits {
            if !result.splits.contains(&split) {
                result.splits.push(split);
            }
        }
    }
    Some(result)
}

/// What lanes hold that nothing is loaded for.
fn none(b: &mut Builder, ty: Type) -> Reg {
    if ty.lane.is_float() { b.float(ty, 0.0) } else { b.int(ty, 0) }
}

impl Context<'_> {
    /// The element (of each lane) that an access names.
    pub fn load(&mut self, b: &mut Builder, dtype: DType, access: &Access) -> Reg {
        if let Some((_, held)) = self.held.iter().find(|(other, _)| other == access) {
            return *held;
        }
        let base = Base::Buffer(access.buffer);
        let ty = Type::scalar(lane_of(dtype));
        if let Some(Elsewhere { base, offset, .. }) = self.elsewhere.iter().find(|other| other.access == *access).cloned() {
            return match &self.lanes {
                Some((_, lanes)) if self.dim_varies(&offset) => self.load_vector(b, base, dtype, &offset, &Dim::ONE, ty.times(*lanes)),
                _ => self.load_scalar(b, base, dtype, &offset),
            };
        }
        let mut bounds: Vec<Bound> = self.axis_bounds(&access.offset);
        bounds.extend(access.bounds.iter().cloned());
        bounds.retain(|bound| !self.is_proved(bound));
        let otherwise = match (bounds.is_empty(), access.otherwise) {
            (true, _) => None,
            (false, Some(value)) => Some(self.eval(b, value)),
            (false, None) => {
                let zero = self.zero(dtype);
                Some(self.eval(b, zero))
            }
        };
        let lanes = match &self.lanes {
            Some((_, lanes)) if self.access_varies(access) => *lanes,
            _ => 1,
        };
        if lanes == 1 {
            let Some(otherwise) = otherwise else { return self.load_scalar(b, base, dtype, &access.offset) };
            let inside = self.all_inside(b, &bounds);
            return self.branch(b, inside, false, |cx, b| vec![cx.load_scalar(b, base, dtype, &access.offset)], |_, _| vec![otherwise.reg])
                [0];
        }
        let otherwise = otherwise.map(|value| self.widened(b, value, lanes));
        let one = |cx: &mut Self, b: &mut Builder, lane: u32| match otherwise {
            None => cx.load_scalar(b, base, dtype, &access.offset),
            Some(otherwise) => {
                let outside = b.extract(otherwise, lane);
                let inside = cx.all_inside(b, &bounds);
                cx.branch(b, inside, false, |cx, b| vec![cx.load_scalar(b, base, dtype, &access.offset)], |_, _| vec![outside])[0]
            }
        };
        let lane_by_lane = |cx: &mut Self, b: &mut Builder| {
            let mut vector: Option<Reg> = None;
            cx.each_lane(b, lanes, |cx: &mut Self, b, lane, is_active| {
                let scalar = match is_active {
                    None => one(cx, b, lane),
                    Some(is_active) => {
                        let zero = none(b, ty);
                        cx.branch(b, is_active, false, |cx, b| vec![one(cx, b, lane)], |_, _| vec![zero])[0]
                    }
                };
                vector = Some(match vector {
                    None => b.splat(scalar, lanes),
                    Some(v) => b.insert(v, lane, scalar),
                });
            });
            vector.unwrap_or_else(|| panic!("lower: a vector without lanes"))
        };
        let Some(Straight { step, conditions, alike, neighbours }) = self.straight(b, &access.offset, &bounds) else {
            return lane_by_lane(self, b);
        };
        if self.active.is_some() && !step.is(0) && !step.is(1) {
            return lane_by_lane(self, b);
        }
        if let Some(active) = self.active
            && conditions.is_empty()
            && step.is(1)
        {
            let first = self.at_lane(0, |cx| cx.resolve(&access.offset));
            if let Some(value) = self.kept_stored(access.buffer, &first, active.mask, ty.times(lanes)) {
                return value;
            }
        }
        let straight = |cx: &mut Self, b: &mut Builder| cx.load_vector(b, base, dtype, &access.offset, &step, ty.times(lanes));
        if conditions.is_empty() {
            return straight(self, b);
        }
        let condition = conditions.into_iter().reduce(|x, y| b.and(x, y)).unwrap_or_else(|| panic!("lower: no condition"));
        if let (true, Some(otherwise)) = (alike, otherwise) {
            return self.branch(b, condition, false, |cx, b| vec![straight(cx, b)], |_, _| vec![otherwise])[0];
        }
        if let (true, Some(otherwise)) = (neighbours && step.is(1) && self.isa.masks(dtype.size_bytes()), otherwise) {
            let edge = |cx: &mut Self, b: &mut Builder| vec![cx.load_edge(b, base, dtype, access, &bounds, otherwise)];
            return self.branch(b, condition, true, |cx, b| vec![straight(cx, b)], edge)[0];
        }
        self.branch(b, condition, true, |cx, b| vec![straight(cx, b)], |cx, b| vec![lane_by_lane(cx, b)])[0]
    }

    /// Neighbouring elements where they are inside all bounds, whose indices move with them or not at all; `otherwise` elsewhere.
    fn load_edge(&mut self, b: &mut Builder, base: Base, dtype: DType, access: &Access, bounds: &[Bound], otherwise: Reg) -> Reg {
        let lanes = otherwise.ty.lanes;
        let (moving, still): (Vec<&Bound>, Vec<&Bound>) = bounds.iter().partition(|bound| self.dim_varies(&bound.index));
        let still: Vec<Bound> = still.into_iter().cloned().collect();
        let is_there = self.at_lane(0, |cx| cx.all_inside(b, &still));
        let vector = |cx: &mut Self, b: &mut Builder| {
            let mut inside = cx.active.map(|active| active.mask);
            for bound in moving {
                // Those before the first one that is inside, and those up to the last one.
                let ends = [Dim::ZERO - &bound.index, &bound.extent - &bound.index].map(|end| {
                    let end = end.maximum(&Dim::ZERO).minimum(&Dim::from(i64::from(lanes)));
                    let count = cx.at_lane(0, |cx| cx.index(b, &end));
                    b.first_lanes(count, lanes)
                });
                let between = b.xor(ends[0], ends[1]);
                inside = Some(inside.map_or(between, |so_far| b.and(so_far, between)));
            }
            let mask = inside.unwrap_or_else(|| panic!("lower: no bound moves"));
            let active = Some(Active { mask, count: None });
            let loaded = cx.with_active(active, |cx| cx.load_vector(b, base, dtype, &access.offset, &Dim::ONE, otherwise.ty));
            vec![b.select(mask, loaded, otherwise)]
        };
        self.branch(b, is_there, true, vector, |_, _| vec![otherwise])[0]
    }

    /// Stores the value (of each lane).
    pub fn store(&mut self, b: &mut Builder, store: &Store) {
        let dtype = self.program.buffer(store.buffer).dtype;
        let value = self.eval(b, store.value);
        let bounds: Vec<Bound> = self.axis_bounds(&store.offset).into_iter().filter(|bound| !self.is_proved(bound)).collect();
        if bounds.is_empty() {
            return self.store_value(b, store, dtype, value);
        }
        let inside = self.all_inside(b, &bounds);
        self.branch(
            b,
            inside,
            false,
            |cx, b| {
                cx.store_value(b, store, dtype, value);
                vec![]
            },
            |_, _| vec![],
        );
    }

    /// Whether a store needs no check that it stays where its buffer is written.
    pub fn stays_inside(&self, store: &Store) -> bool {
        self.axis_bounds(&store.offset).iter().all(|bound| self.is_proved(bound))
    }

    fn store_value(&mut self, b: &mut Builder, store: &Store, dtype: DType, value: super::context::Value) {
        let base = Base::Buffer(store.buffer);
        self.overwrites(store.buffer);
        let lanes = match &self.lanes {
            Some((_, lanes)) if self.dim_varies(&store.offset) || !value.reg.ty.is_scalar() => *lanes,
            _ => return self.store_scalar(b, base, dtype, &store.offset, store.combine, value.reg),
        };
        let value = self.widened(b, value, lanes);
        let lane_by_lane = |cx: &mut Self, b: &mut Builder| {
            cx.each_lane(b, lanes, |cx: &mut Self, b, lane, is_active| {
                let scalar = b.extract(value, lane);
                let put = |cx: &mut Self, b: &mut Builder| cx.store_scalar(b, base, dtype, &store.offset, store.combine, scalar);
                match is_active {
                    None => put(cx, b),
                    Some(is_active) => {
                        let then = |cx: &mut Self, b: &mut Builder| {
                            put(cx, b);
                            vec![]
                        };
                        cx.branch(b, is_active, false, then, |_, _| vec![]);
                    }
                }
            });
        };
        let Straight { step, conditions, .. } = match self.straight(b, &store.offset, &[]) {
            Some(found) if store.combine.is_none() && !found.step.is(0) && (self.active.is_none() || found.step.is(1)) => found,
            _ => return lane_by_lane(self, b),
        };
        if conditions.is_empty() {
            if let Some(active) = self.active
                && step.is(1)
                && dtype.size_bytes() as u32 * 8 == value.ty.lane.bits()
            {
                let first = self.at_lane(0, |cx| cx.resolve(&store.offset));
                self.keep_stored(store.buffer, first, active.mask, value);
            }
            return self.store_vector(b, base, dtype, &store.offset, &step, value);
        }
        let condition = conditions.into_iter().reduce(|x, y| b.and(x, y)).unwrap_or_else(|| panic!("lower: no condition"));
        self.branch(
            b,
            condition,
            true,
            |cx, b| {
                cx.store_vector(b, base, dtype, &store.offset, &step, value);
                vec![]
            },
            |cx, b| {
                lane_by_lane(cx, b);
                vec![]
            },
        );
    }

    /// Runs `body` at each lane that there is or may be: then with whether it is there.
    fn each_lane(&mut self, b: &mut Builder, lanes: u32, mut body: impl FnMut(&mut Self, &mut Builder, u32, Option<Reg>)) {
        let active = self.active;
        for lane in 0..active.and_then(|active| active.count).unwrap_or(lanes) {
            let is_active = active.filter(|active| active.count.is_none()).map(|active| b.extract(active.mask, lane));
            self.at_lane(lane, |cx| body(cx, b, lane, is_active));
        }
    }

    /// Lanes of `offset` as a first element and a step, under conditions that also put every lane inside the bounds.
    fn straight(&mut self, b: &mut Builder, offset: &Dim, bounds: &[Bound]) -> Option<Straight> {
        let (index, lanes) = self.lanes.clone()?;
        let last = lanes - 1;
        let mut splits: Vec<(Dim, Dim)> = Vec::new();
        let mut moves = |cx: &Self, dim: &Dim| -> Option<Dim> {
            let dim = cx.resolve_but_lanes(dim);
            let found = along(&dim, &index, &|s| cx.dim_varies(&Dim::from(s.clone())))?;
            for split in found.splits {
                if !splits.contains(&split) {
                    splits.push(split);
                }
            }
            Some(found.step)
        };
        let step = moves(self, offset)?;
        let mut varying = Vec::new();
        for bound in bounds {
            if !moves(self, &bound.extent)?.is(0) {
                return None;
            }
            varying.push(moves(self, &bound.index)?);
        }
        let mut conditions = Vec::new();
        let alike = splits.is_empty() && varying.iter().all(|step| step.is(0));
        let neighbours = splits.is_empty() && varying.iter().all(|step| step.is(0) || step.is(1));
        for (x, d) in splits {
            match self.split_holds(&x, &d, lanes) {
                Some(true) => {}
                Some(false) => return None,
                None => {
                    let quotient = x.floor_div(&d);
                    let low = self.at_lane(0, |cx| cx.index(b, &quotient));
                    let high = self.at_lane(last, |cx| cx.index(b, &quotient));
                    conditions.push(b.eq(low, high));
                }
            }
        }
        for (bound, step) in bounds.iter().zip(varying) {
            let extent = self.index(b, &bound.extent);
            let low = self.at_lane(0, |cx| cx.index(b, &bound.index));
            conditions.push(b.lt_u(low, extent));
            if !step.is(0) {
                let high = self.at_lane(last, |cx| cx.index(b, &bound.index));
                conditions.push(b.lt_u(high, extent));
            }
        }
        Some(Straight { step, conditions, alike, neighbours })
    }

    /// Whether `⌊x/d⌋` is the same for all lanes, where that is known.
    fn split_holds(&self, x: &Dim, d: &Dim, lanes: u32) -> Option<bool> {
        let divisor = d.as_const()?;
        let (index, _) = self.lanes.as_ref()?;
        let step = along(x, index, &|s| self.dim_varies(&Dim::from(s.clone())))?.step.as_const()?;
        if step.saturating_mul(i64::from(lanes) - 1).saturating_abs() >= divisor {
            return Some(false);
        }
        // Whole groups of lanes that start at multiples of a divisor's divisor do not straddle.
        let first = self.resolve(x);
        let aligned = first.terms().iter().all(|t| t.coefficient % i64::from(lanes) == 0);
        (step == 1 && divisor % i64::from(lanes) == 0 && aligned).then_some(true)
    }

    /// The mask that says whether all bounds hold at this point (and lane).
    pub(super) fn all_inside(&mut self, b: &mut Builder, bounds: &[Bound]) -> Reg {
        let mut all: Option<Reg> = None;
        for bound in bounds {
            let index = self.index(b, &bound.index);
            let extent = self.index(b, &bound.extent);
            // Unsigned, so that negative indices are too large; extents are never negative.
            let holds = b.lt_u(index, extent);
            all = Some(match all {
                None => holds,
                Some(so_far) => b.and(so_far, holds),
            });
        }
        all.unwrap_or_else(|| b.int(Type::MASK, 1))
    }

    /// Whether a bound holds at every point of the kernel.
    pub(super) fn is_proved(&self, bound: &Bound) -> bool {
        // Where lanes run along an index, what is known of the first one says nothing of the others.
        let varies = |s: &Symbol| self.lanes.as_ref().is_some_and(|(index, _)| index == s);
        let constants = |s: &Symbol| self.replacement(s).filter(|d| d.as_const().is_some() && !varies(s));
        let fixed = |d: &Dim| d.substitute(&constants).simplify(&self.ranges);
        self.ranges.within(&fixed(&bound.index), &fixed(&bound.extent))
    }

    /// Axes that checked indices in an offset point into: nothing is read or written where one is empty.
    fn axis_bounds(&self, offset: &Dim) -> Vec<Bound> {
        let (mut bounds, mut ids) = (Vec::new(), Vec::new());
        offset.visit_symbols(&mut |s| ids.extend(ExprId::of_symbol(s)));
        while let Some(id) = ids.pop() {
            if let ExprKind::CheckedIndex { extent, .. } = &self.exprs.get(id).kind {
                bounds.push(Bound { index: Dim::ZERO, extent: extent.clone() });
            }
            ids.extend(self.exprs.operands(id));
        }
        bounds
    }

    fn access_varies(&self, access: &Access) -> bool {
        self.dim_varies(&access.offset)
            || access.bounds.iter().any(|b| self.dim_varies(&b.index) || self.dim_varies(&b.extent))
            || access.otherwise.is_some_and(|o| self.varies(o))
    }

    fn zero(&mut self, dtype: DType) -> ExprId {
        let zero = self.exprs.constant(dtype, 0.0);
        let kind = self.exprs.get(zero).kind.clone();
        self.add_expr(dtype, kind)
    }

    // ---- one element or one vector -----------------------------------------------------------------

    fn place(&mut self, b: &mut Builder, base: Base, dtype: DType, offset: &Dim) -> Address {
        let offset = self.resolve(offset);
        self.address(b, base, &offset, dtype.size_bytes() as u32)
    }

    /// The element at an offset (and lane).
    pub fn load_scalar(&mut self, b: &mut Builder, base: Base, dtype: DType, offset: &Dim) -> Reg {
        let at = self.place(b, base, dtype, offset);
        b.load(memory_of(dtype), Type::scalar(lane_of(dtype)), at.reg, at.offset)
    }

    fn load_vector(&mut self, b: &mut Builder, base: Base, dtype: DType, offset: &Dim, step: &Dim, ty: Type) -> Reg {
        let at = self.at_lane(0, |cx| cx.place(b, base, dtype, offset));
        match step.as_const() {
            Some(0) => b.load_splat(memory_of(dtype), ty, at.reg, at.offset),
            Some(1) => match self.active {
                None => b.load(memory_of(dtype), ty, at.reg, at.offset),
                Some(Active { count: Some(count), .. }) if !self.isa.masks(dtype.size_bytes()) => {
                    let zero = none(b, ty);
                    (0..count).fold(zero, |vector, lane| {
                        let place = at.offset + lane as i32 * dtype.size_bytes() as i32;
                        let scalar = b.load(memory_of(dtype), ty.element(), at.reg, place);
                        b.insert(vector, lane, scalar)
                    })
                }
                Some(Active { mask, .. }) => b.load_masked(memory_of(dtype), ty, at.reg, at.offset, mask),
            },
            _ => {
                let stride = self.index(b, &(step * Dim::from(dtype.size_bytes())));
                b.load_strided(memory_of(dtype), ty, at.reg, at.offset, stride)
            }
        }
    }

    fn store_scalar(&mut self, b: &mut Builder, base: Base, dtype: DType, offset: &Dim, combine: Option<Combine>, value: Reg) {
        let at = self.place(b, base, dtype, offset);
        let value = match combine {
            None => value,
            Some(combine) => {
                let old = b.load(memory_of(dtype), value.ty, at.reg, at.offset);
                let both = super::fold::combined(b, combine, dtype, old, value);
                super::ops::rounded(b, dtype, both)
            }
        };
        b.store(memory_of(dtype), value, at.reg, at.offset);
    }

    /// Stores lanes `step` elements apart, the first at `offset`.
    pub fn store_vector(&mut self, b: &mut Builder, base: Base, dtype: DType, offset: &Dim, step: &Dim, value: Reg) {
        let at = self.at_lane(0, |cx| cx.place(b, base, dtype, offset));
        if step.is(1) {
            return match self.active {
                None => b.store(memory_of(dtype), value, at.reg, at.offset),
                Some(Active { count: Some(count), .. }) if !self.isa.masks(dtype.size_bytes()) => {
                    for lane in 0..count {
                        let scalar = b.extract(value, lane);
                        b.store(memory_of(dtype), scalar, at.reg, at.offset + lane as i32 * dtype.size_bytes() as i32);
                    }
                }
                Some(Active { mask, .. }) => b.store_masked(memory_of(dtype), value, at.reg, at.offset, mask),
            };
        }
        let stride = self.index(b, &(step * Dim::from(dtype.size_bytes())));
        b.store_strided(memory_of(dtype), value, at.reg, at.offset, stride);
    }
}
