//! Code that computes dims: sizes, offsets and counts that are known only at run time.
//!
//! `floordiv` and `mod` round towards −∞; a divisor that is not positive gives 0, as it does in [`Dim`]. Nothing traps.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::FunctionBuilder;
use kiln_ir::Dim;
use kiln_ir::dim::{Atom, Symbol};
use std::collections::BTreeMap;

/// The values of symbols at a place in a function.
pub struct SizeCode {
    /// Address of the size symbols' values.
    pub dims: Value,
    /// Size symbols in the order of their values.
    pub order: Vec<Symbol>,
    /// Indices of the loops around this place.
    pub indices: BTreeMap<Symbol, Value>,
    /// When present, non-zero once any arithmetic overflowed or divided by what is not positive; otherwise arithmetic wraps.
    pub overflow: Option<Value>,
}

impl SizeCode {
    /// The value of a symbol. Panics when the program has no such symbol.
    pub fn symbol(&self, f: &mut FunctionBuilder, symbol: &Symbol) -> Value {
        if let Some(index) = self.indices.get(symbol) {
            return *index;
        }
        let position = self.order.iter().position(|s| s == symbol).unwrap_or_else(|| panic!("entry: unknown symbol {symbol}"));
        f.ins().load(types::I64, MemFlagsData::trusted().with_readonly(), self.dims, 8 * position as i32)
    }

    /// The value of a dim.
    pub fn value(&mut self, f: &mut FunctionBuilder, dim: &Dim) -> Value {
        let mut sum = None;
        for term in dim.terms() {
            let mut product = None;
            for atom in &term.atoms {
                let factor = self.atom(f, atom);
                product = Some(match product {
                    Some(before) => self.multiply(f, before, factor),
                    None => factor,
                });
            }
            let coefficient = term.coefficient;
            let product = match product {
                None => f.ins().iconst(types::I64, coefficient),
                Some(product) if coefficient == 1 => product,
                Some(product) => {
                    let coefficient = f.ins().iconst(types::I64, coefficient);
                    self.multiply(f, product, coefficient)
                }
            };
            sum = Some(match sum {
                Some(before) => self.add(f, before, product),
                None => product,
            });
        }
        sum.unwrap_or_else(|| f.ins().iconst(types::I64, 0))
    }

    /// `a + b`.
    pub fn add(&mut self, f: &mut FunctionBuilder, a: Value, b: Value) -> Value {
        if self.overflow.is_none() {
            return f.ins().iadd(a, b);
        }
        let (sum, overflowed) = f.ins().sadd_overflow(a, b);
        self.note(f, overflowed);
        sum
    }

    /// `a · b`.
    pub fn multiply(&mut self, f: &mut FunctionBuilder, a: Value, b: Value) -> Value {
        if self.overflow.is_none() {
            return f.ins().imul(a, b);
        }
        let (product, overflowed) = f.ins().smul_overflow(a, b);
        self.note(f, overflowed);
        product
    }

    /// Counts a failed condition (non-zero) as an overflow.
    pub fn note(&mut self, f: &mut FunctionBuilder, failed: Value) {
        self.overflow = self.overflow.map(|before| f.ins().bor(before, failed));
    }

    fn atom(&mut self, f: &mut FunctionBuilder, atom: &Atom) -> Value {
        let Some((a, b)) = atom.operands() else {
            let Atom::Symbol(symbol) = atom else { panic!("entry: {atom:?} has no operands") };
            return self.symbol(f, symbol);
        };
        let (a, b) = (self.value(f, a), self.value(f, b));
        if self.overflow.is_some() && matches!(atom, Atom::FloorDiv(..) | Atom::Mod(..)) {
            let undefined = f.ins().icmp_imm_s(IntCC::SignedLessThanOrEqual, b, 0);
            self.note(f, undefined);
        }
        match atom {
            Atom::Symbol(_) => a,
            Atom::FloorDiv(..) => divide(f, a, b).0,
            Atom::Mod(..) => divide(f, a, b).1,
            Atom::Min(..) => f.ins().smin(a, b),
            Atom::Max(..) => f.ins().smax(a, b),
            Atom::Bcast(..) => {
                let is_one = f.ins().icmp_imm_s(IntCC::Equal, a, 1);
                f.ins().select(is_one, b, a)
            }
        }
    }
}

/// Quotient and remainder towards −∞; both 0 for a divisor that is not positive.
fn divide(f: &mut FunctionBuilder, a: Value, b: Value) -> (Value, Value) {
    let one = f.ins().iconst(types::I64, 1);
    let zero = f.ins().iconst(types::I64, 0);
    let positive = f.ins().icmp_imm_s(IntCC::SignedGreaterThan, b, 0);
    let divisor = f.ins().select(positive, b, one);
    let towards_zero = f.ins().sdiv(a, divisor);
    let product = f.ins().imul(towards_zero, divisor);
    let rest = f.ins().isub(a, product);
    let negative = f.ins().icmp_imm_s(IntCC::SignedLessThan, rest, 0);
    let lower = f.ins().iadd_imm_s(towards_zero, -1);
    let quotient = f.ins().select(negative, lower, towards_zero);
    let raised = f.ins().iadd(rest, divisor);
    let remainder = f.ins().select(negative, raised, rest);
    (f.ins().select(positive, quotient, zero), f.ins().select(positive, remainder, zero))
}
