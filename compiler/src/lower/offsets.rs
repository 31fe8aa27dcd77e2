//! Index arithmetic: dims become scalar registers and addresses, each part computed where its symbols are bound.

use super::Arg;
use super::context::{Base, Context, Value};
use crate::kernel::ExprId;
use crate::tile::{Builder, Lane, Reg, Type};
use kiln_ir::Dim;
use kiln_ir::dim::{Atom, Term};
use std::collections::BTreeMap;

/// An address and a constant byte offset from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub reg: Reg,
    pub offset: i32,
}

impl Context<'_> {
    /// The dim over registers and sizes: indices replaced, at the present lane.
    pub fn resolve(&self, dim: &Dim) -> Dim {
        let mut changed = false;
        dim.visit_symbols(&mut |s| changed |= self.replacement(s).is_some());
        if !changed {
            return dim.clone();
        }
        let replace = |s: &kiln_ir::Symbol| {
            let dim = self.resolve(&self.replacement(s)?);
            let is_vector = self.lanes.as_ref().is_some_and(|(v, _)| v == s);
            Some(if is_vector { dim + Dim::from(i64::from(self.lane)) } else { dim })
        };
        dim.substitute(&replace).simplify(&self.ranges)
    }

    /// As [`Context::resolve`], but the index of the lanes stays.
    pub fn resolve_but_lanes(&self, dim: &Dim) -> Dim {
        let replace = |s: &kiln_ir::Symbol| match &self.lanes {
            Some((v, _)) if v == s => None,
            _ => self.replacement(s).map(|d| self.resolve(&d)),
        };
        dim.substitute(&replace)
    }

    /// With scalar index arithmetic standing for one lane.
    pub fn at_lane<R>(&mut self, lane: u32, inside: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.lane, lane);
        let result = inside(self);
        self.lane = before;
        result
    }

    /// The scalar value of any dim at this point (and lane).
    pub fn index(&mut self, b: &mut Builder, dim: &Dim) -> Reg {
        let resolved = self.resolve(dim);
        self.index_value(b, &resolved).reg
    }

    /// The scalar value of a resolved dim.
    pub fn index_value(&mut self, b: &mut Builder, dim: &Dim) -> Value {
        if let Some(c) = dim.as_const() {
            return self.remembered_dim(b, dim, 0, |_, b| b.index(c));
        }
        if let Some(s) = dim.as_symbol()
            && ExprId::of_symbol(s).is_none()
        {
            return self.symbol(b, s);
        }
        let level = self.dim_level(dim);
        if names_expression(dim) {
            // Its value depends on the lane and on accumulators, which the dim does not name: it is not remembered.
            let reg = self.at_level(b, level, |cx, b| cx.sum(b, dim, level));
            return Value { reg, level };
        }
        self.remembered_dim(b, dim, level, |cx, b| cx.sum(b, dim, level))
    }

    /// The sum of a dim's terms, in scope `level`: what is bound outside is one value from there.
    fn sum(&mut self, b: &mut Builder, dim: &Dim, level: usize) -> Reg {
        let (mut outside, mut here, mut constant) = (vec![], vec![], 0);
        for term in dim.terms() {
            if term.atoms.is_empty() {
                constant = term.coefficient;
            } else if term.atoms.iter().all(|a| self.is_outside(a, level)) {
                outside.push(term);
            } else {
                here.push(term);
            }
        }
        let mut total: Option<Reg> = None;
        if !outside.is_empty() {
            total = Some(self.index_value(b, &Dim::from_terms(outside)).reg);
        }
        // Additions first, so that a subtraction has something to subtract from.
        here.sort_by_key(|t| t.coefficient < 0);
        for term in here {
            let negative = term.coefficient < 0 && total.is_some();
            let positive = Term { coefficient: if negative { term.coefficient.wrapping_neg() } else { term.coefficient }, ..term };
            let product = self.product(b, &positive, level);
            total = Some(match total {
                None => product,
                Some(sum) if negative => b.sub(sum, product),
                Some(sum) => b.add(sum, product),
            });
        }
        let total = total.unwrap_or_else(|| b.index(0));
        b.add_int(total, constant)
    }

    fn term_level(&self, term: &Term) -> usize {
        term.atoms.iter().map(|a| self.dim_level(&a.to_dim())).max().unwrap_or(0)
    }

    /// Whether an atom is bound outside scope `level`; what names an expression is computed where it is used.
    fn is_outside(&self, atom: &Atom, level: usize) -> bool {
        let dim = atom.to_dim();
        self.dim_level(&dim) < level && !names_expression(&dim)
    }

    fn product(&mut self, b: &mut Builder, term: &Term, level: usize) -> Reg {
        let (outside, here): (Vec<Atom>, Vec<Atom>) = term.atoms.iter().cloned().partition(|a| self.is_outside(a, level));
        let mut product: Option<Reg> = None;
        for atom in &here {
            let value = self.atom(b, atom);
            product = Some(match product {
                None => value,
                Some(p) => b.mul(p, value),
            });
        }
        let factor = Dim::from_terms([Term { atoms: outside, coefficient: term.coefficient }]);
        match (product, factor.as_const()) {
            (Some(p), Some(c)) => times(b, p, c),
            (Some(p), None) => {
                let factor = self.index_value(b, &factor).reg;
                b.mul(p, factor)
            }
            (None, Some(c)) => b.index(c),
            (None, None) => self.factors(b, term),
        }
    }

    /// A product all of whose factors are bound outside of the scope that asks.
    fn factors(&mut self, b: &mut Builder, term: &Term) -> Reg {
        let mut product: Option<Reg> = None;
        for atom in &term.atoms {
            let value = self.atom(b, atom);
            product = Some(match product {
                None => value,
                Some(p) => b.mul(p, value),
            });
        }
        let product = product.unwrap_or_else(|| b.index(1));
        times(b, product, term.coefficient)
    }

    fn atom(&mut self, b: &mut Builder, atom: &Atom) -> Reg {
        match atom {
            Atom::Symbol(s) => match ExprId::of_symbol(s) {
                Some(id) => self.integer_expr(b, id),
                None => self.symbol(b, s).reg,
            },
            Atom::FloorDiv(x, d) => self.floor_div(b, x, d),
            Atom::Mod(x, d) => {
                if let Some(c) = d.as_const()
                    && c > 0
                    && (c & (c - 1)) == 0
                {
                    let x = self.index_value(b, x).reg;
                    let mask = b.index(c - 1);
                    return b.and(x, mask);
                }
                let quotient = self.floor_div(b, x, d);
                let (x, d) = (self.index_value(b, x).reg, self.index_value(b, d).reg);
                let whole = b.mul(quotient, d);
                b.sub(x, whole)
            }
            Atom::Min(x, y) => {
                let (x, y) = (self.index_value(b, x).reg, self.index_value(b, y).reg);
                b.min_s(x, y)
            }
            Atom::Max(x, y) => {
                let (x, y) = (self.index_value(b, x).reg, self.index_value(b, y).reg);
                b.max_s(x, y)
            }
            Atom::Bcast(x, y) => {
                let (x, y) = (self.index_value(b, x).reg, self.index_value(b, y).reg);
                let one = b.index(1);
                let is_one = b.eq(x, one);
                b.select(is_one, y, x)
            }
        }
    }

    /// `⌊x / d⌋` for a positive `d`; 0 where `d` is 0, which only empty axes have.
    fn floor_div(&mut self, b: &mut Builder, x: &Dim, d: &Dim) -> Reg {
        let range = self.ranges.range(x);
        let value = self.index_value(b, x).reg;
        if let Some(c) = d.as_const()
            && c > 0
        {
            if c & (c - 1) == 0 {
                let shift = b.index(i64::from(c.trailing_zeros()));
                return b.shr_s(value, shift);
            }
            if range.min >= 0 && range.max < 1 << 31 && c < 1 << 31 {
                // ⌊x/c⌋ = ⌊x·m / 2^(31+k)⌋ with k = ⌈log₂ c⌉, m = ⌈2^(31+k) / c⌉ ≤ 2³², for x below 2³¹.
                // Source: Granlund & Montgomery 1994, theorem 4.2.
                let power = 31 + (64 - (c - 1).leading_zeros()) as i64;
                let multiplier = ((1i128 << power) + i128::from(c) - 1) / i128::from(c);
                let (multiplier, shift) = (b.index(multiplier as i64), b.index(power));
                let product = b.mul(value, multiplier);
                return b.shr_u(product, shift);
            }
        }
        let divisor = self.index_value(b, d).reg;
        if range.min >= 0 {
            return b.div_u(value, divisor);
        }
        let quotient = b.div_s(value, divisor);
        let product = b.mul(quotient, divisor);
        let is_above = b.gt(product, value);
        let less = b.add_int(quotient, -1);
        b.select(is_above, less, quotient)
    }

    /// The value of an integer expression at this point (and lane), as a scalar i64.
    fn integer_expr(&mut self, b: &mut Builder, id: ExprId) -> Reg {
        let dtype = self.exprs.get(id).dtype;
        let lane = self.lane;
        let value = self.at_lane(0, |cx| cx.eval(b, id)).reg;
        let value = if value.ty.is_scalar() { value } else { b.extract(value, lane) };
        match value.ty.lane {
            Lane::I64 => value,
            Lane::I8 | Lane::I16 | Lane::I32 if dtype.class() == kiln_ir::dtype::Class::Unsigned => b.extend_u(value, Lane::I64),
            Lane::I8 | Lane::I16 | Lane::I32 => b.extend_s(value, Lane::I64),
            Lane::Mask => {
                let (one, zero) = (b.index(1), b.index(0));
                b.select(value, one, zero)
            }
            Lane::F32 | Lane::F64 => panic!("lower: a floating expression is used as an index"),
        }
    }

    /// The pointer of a base.
    fn base(&mut self, b: &mut Builder, base: Base) -> Reg {
        match base {
            Base::Buffer(id) => self.argument(b, Arg::Buffer(id)),
            Base::Own(reg, _) => reg,
        }
    }

    /// `base + offset · size` for a resolved element offset: the parts of outer scopes are added there, constants stay apart.
    pub fn address(&mut self, b: &mut Builder, base: Base, offset: &Dim, size: u32) -> Address {
        let bytes = offset * Dim::from(i64::from(size));
        let mut parts: BTreeMap<usize, Vec<Term>> = BTreeMap::new();
        let mut constant = 0i64;
        for term in bytes.terms() {
            if term.atoms.is_empty() {
                constant = term.coefficient;
            } else {
                parts.entry(self.term_level(&term)).or_default().push(term);
            }
        }
        let near = (constant.unsigned_abs() < 1 << 30).then_some(constant as i32);
        if near.is_none() {
            parts.entry(0).or_default().push(Term { atoms: vec![], coefficient: constant });
        }
        let base_level = if let Base::Own(_, level) = base { level } else { 0 };
        let mut reg = self.base(b, base);
        let mut so_far = Dim::ZERO;
        for (level, terms) in parts {
            let level = level.max(base_level).max(self.address_floor());
            let part = Dim::from_terms(terms);
            so_far = so_far + &part;
            let before = reg;
            reg = if names_expression(&so_far) {
                let part = self.index_value(b, &part).reg;
                b.add(before, part)
            } else {
                self.remembered_address(b, (base, so_far.clone()), level, |cx, b| {
                    let part = cx.index_value(b, &part).reg;
                    b.add(before, part)
                })
            };
        }
        Address { reg, offset: near.unwrap_or(0) }
    }

    fn address_floor(&self) -> usize {
        self.dim_level(&Dim::ZERO)
    }
}

/// `value · constant`, with a shift where one does.
pub(super) fn times(b: &mut Builder, value: Reg, constant: i64) -> Reg {
    if constant > 1 && constant & (constant - 1) == 0 {
        let shift = b.int(Type::I64, i64::from(constant.trailing_zeros()));
        return b.shl(value, shift);
    }
    b.mul_int(value, constant)
}

/// Whether a dim contains the value of an expression.
fn names_expression(dim: &Dim) -> bool {
    let mut found = false;
    dim.visit_symbols(&mut |symbol| found |= ExprId::of_symbol(symbol).is_some());
    found
}
