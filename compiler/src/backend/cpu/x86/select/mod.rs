//! Tile instructions to machine instructions over virtual registers.
//!
//! A scalar is one register: integers, addresses and truth values (0 or 1) in general-purpose ones, floats in vector ones. A
//! vector is as many vector registers as it takes, the last lanes of a narrow one undefined. A mask of several lanes is one
//! opmask register under EVEX, a bit a lane; under VEX it is vectors of all-ones and zero lanes as wide as what was compared.
//!
//! Loads and stores take their address sums with them: `load [a + b]` needs no addition.

mod convert;
mod integer;
mod lanes;
mod masks;
mod memory;
mod vector;

use super::inst::{Base, Class, Function, Inst, Label, Line, Mem, VReg};
use super::table::{self, Row, ScalarRow, Width};
use crate::tile::{self, Lane, Loop, Reg, Stmt, TileProgram, Type};
use iced_x86::Code;
use smallvec::{SmallVec, smallvec};

/// The machine registers of a value.
#[derive(Clone, Debug, Default)]
struct Value {
    registers: SmallVec<[VReg; 4]>,
    /// Lane width of a vector mask under VEX; 0 for everything else.
    mask_bits: u32,
}

impl Value {
    fn one(register: VReg) -> Value {
        Value { registers: smallvec![register], mask_bits: 0 }
    }

    fn of(registers: impl IntoIterator<Item = VReg>) -> Value {
        Value { registers: registers.into_iter().collect(), mask_bits: 0 }
    }
}

/// What is known of a tile register besides its value.
#[derive(Clone, Copy)]
enum Fact {
    Unknown,
    Int(i64),
    /// A sum that only addresses use: no instruction computes it.
    Address {
        base: Reg,
        index: Option<Reg>,
        offset: i32,
    },
}

/// Lane width of vector masks that pass between blocks under VEX.
const CARRIED_MASK_BITS: u32 = 32;

struct Selector {
    f: Function,
    evex: bool,
    values: Vec<Value>,
    facts: Vec<Fact>,
    /// How often each tile register is read, and how often as the address of a load or store.
    uses: Vec<(u32, u32)>,
}

/// The machine function of a verified program that the emitter supports.
pub(super) fn select(program: &TileProgram, evex: bool) -> Function {
    let registers = program.registers as usize;
    let mut uses = vec![(0, 0); registers];
    count_uses(&program.body, &mut uses);
    let mut s =
        Selector { f: Function::default(), evex, values: vec![Value::default(); registers], facts: vec![Fact::Unknown; registers], uses };
    for param in &program.params {
        let register = s.f.register(Class::Int);
        s.f.params.push(register);
        s.values[param.index as usize] = Value::one(register);
    }
    s.block(&program.body);
    s.f.lines.push(Line::Return);
    drop_unread_constants(&mut s.f);
    s.f
}

/// Many constants end up inside instructions and are never read from their registers.
fn drop_unread_constants(function: &mut Function) {
    let mut is_read = vec![false; function.classes.len()];
    for line in &function.lines {
        line.visit(&mut |v| is_read[v.0 as usize] = true, &mut |_| {});
    }
    let constants = &function.constants;
    function.lines.retain(|line| {
        let mut needed = true;
        line.visit(&mut |_| {}, &mut |v| needed &= is_read[v.0 as usize] || !constants.contains(&v));
        needed
    });
}

fn count_uses(stmts: &[Stmt], uses: &mut [(u32, u32)]) {
    let mut read = |reg: &Reg| uses[reg.index as usize].0 += 1;
    for stmt in stmts {
        match stmt {
            Stmt::Let { inst, .. } => inst.operands().iter().for_each(&mut read),
            Stmt::Store { value, address, .. } => [value, address].into_iter().for_each(&mut read),
            Stmt::StoreStrided { value, address, stride, .. } => [value, address, stride].into_iter().for_each(&mut read),
            Stmt::Scatter { value, address, indices, .. } => [value, address, indices].into_iter().for_each(&mut read),
            Stmt::StoreMasked { value, address, mask, .. } => [value, address, mask].into_iter().for_each(&mut read),
            Stmt::Prefetch { address, .. } => read(address),
            Stmt::Cooperative(stmt) => stmt.operands().iter().for_each(&mut read),
            Stmt::Loop(l) => [&l.start, &l.end].into_iter().chain(&l.init).chain(&l.yields).for_each(&mut read),
            Stmt::If { condition, then, otherwise, .. } => [condition].into_iter().chain(&then.1).chain(&otherwise.1).for_each(&mut read),
        }
    }
    for stmt in stmts {
        match stmt {
            Stmt::Let { inst: tile::Inst::Load { address, .. } | tile::Inst::LoadMasked { address, .. }, .. }
            | Stmt::Store { address, .. }
            | Stmt::StoreMasked { address, .. }
            | Stmt::Prefetch { address, .. } => {
                uses[address.index as usize].1 += 1;
            }
            Stmt::Loop(l) => count_uses(&l.body, uses),
            Stmt::If { then, otherwise, .. } => {
                count_uses(&then.0, uses);
                count_uses(&otherwise.0, uses);
            }
            _ => {}
        }
    }
}

impl Selector {
    // ---- what everything is made of ----------------------------------------------------------------

    fn widest(&self) -> (u32, Width) {
        if self.evex { (512, Width::W512) } else { (256, Width::W256) }
    }

    /// How many registers hold a vector of so many bits, and how wide they are.
    fn layout_bits(&self, bits: u32) -> (usize, Width) {
        let (most, widest) = self.widest();
        match bits {
            ..=128 => (1, Width::W128),
            129..=256 => (1, Width::W256),
            _ => ((bits / most) as usize, widest),
        }
    }

    fn layout(&self, ty: Type) -> (usize, Width) {
        self.layout_bits(ty.lanes * ty.lane.bits())
    }

    fn value(&self, reg: Reg) -> Value {
        self.values[reg.index as usize].clone()
    }

    /// The register of a scalar.
    fn scalar(&mut self, reg: Reg) -> VReg {
        debug_assert!(!matches!(self.facts[reg.index as usize], Fact::Address { .. }), "{reg:?} was folded into addresses");
        self.values[reg.index as usize].registers[0]
    }

    fn known(&self, reg: Reg) -> Option<i64> {
        match self.facts[reg.index as usize] {
            Fact::Int(value) => Some(value),
            Fact::Unknown | Fact::Address { .. } => None,
        }
    }

    fn class_of(&self, ty: Type) -> Class {
        match ty.lane {
            Lane::Mask if !ty.is_scalar() && self.evex => Class::Mask,
            _ if ty.is_scalar() && !ty.lane.is_float() => Class::Int,
            _ => Class::Vector,
        }
    }

    fn int(&mut self) -> VReg {
        self.f.register(Class::Int)
    }

    fn vector(&mut self) -> VReg {
        self.f.register(Class::Vector)
    }

    fn push(&mut self, inst: Inst) {
        self.f.lines.push(Line::Inst(inst));
    }

    fn copy(&mut self, to: VReg, from: VReg) {
        self.f.lines.push(Line::Copy(smallvec![(to, from)]));
    }

    /// A new register written by an instruction with these operands.
    fn make(&mut self, class: Class, code: Code, uses: &[VReg], mem: Option<Mem>, imm: Option<i64>) -> VReg {
        let def = self.f.register(class);
        self.push(Inst {
            code,
            def: Some(def),
            modifies: false,
            uses: uses.iter().copied().collect(),
            mem,
            stores: false,
            imm,
            mask: None,
        });
        def
    }

    /// A vector operation.
    fn op(&mut self, row: Row, width: Width, uses: &[VReg]) -> VReg {
        self.make(Class::Vector, row.code(self.evex, width), uses, None, None)
    }

    fn op_imm(&mut self, row: Row, width: Width, uses: &[VReg], imm: i64) -> VReg {
        self.make(Class::Vector, row.code(self.evex, width), uses, None, Some(imm))
    }

    /// A vector made from memory.
    fn op_mem(&mut self, row: Row, width: Width, mem: Mem) -> VReg {
        self.make(Class::Vector, row.code(self.evex, width), &[], Some(mem), None)
    }

    /// An operation on the lowest element or on 128 bits.
    fn low(&mut self, row: ScalarRow, uses: &[VReg]) -> VReg {
        self.make(Class::Vector, row.code(self.evex), uses, None, None)
    }

    fn low_imm(&mut self, row: ScalarRow, uses: &[VReg], imm: i64) -> VReg {
        self.make(Class::Vector, row.code(self.evex), uses, None, Some(imm))
    }

    fn low_mem(&mut self, row: ScalarRow, uses: &[VReg], mem: Mem) -> VReg {
        self.make(Class::Vector, row.code(self.evex), uses, Some(mem), None)
    }

    /// From the lowest element to a general-purpose register.
    fn low_to_int(&mut self, row: ScalarRow, from: VReg) -> VReg {
        self.make(Class::Int, row.code(self.evex), &[from], None, None)
    }

    /// An instruction that writes memory only.
    fn store_with(&mut self, code: Code, from: VReg, to: Mem, imm: Option<i64>) {
        self.push(Inst { code, def: None, modifies: false, uses: smallvec![from], mem: Some(to), stores: true, imm, mask: None });
    }

    /// A copy of `a` that an instruction then changes: `a ∘ b`.
    fn modify(&mut self, class: Class, code: Code, a: VReg, uses: &[VReg], imm: Option<i64>) -> VReg {
        let def = self.f.register(class);
        self.copy(def, a);
        self.push(Inst {
            code,
            def: Some(def),
            modifies: true,
            uses: uses.iter().copied().collect(),
            mem: None,
            stores: false,
            imm,
            mask: None,
        });
        def
    }

    /// Each register of `a`, with those of the others at the same place.
    fn each(&mut self, a: &Value, mut f: impl FnMut(&mut Self, usize, VReg) -> VReg) -> Value {
        let registers = a.registers.iter().enumerate().map(|(at, &r)| f(self, at, r)).collect();
        Value { registers, mask_bits: a.mask_bits }
    }

    /// A general-purpose constant.
    fn int_constant(&mut self, value: i64) -> VReg {
        let (code, imm) = match value {
            0..=0xffff_ffff => (Code::Mov_r32_imm32, value),
            v if i32::try_from(v).is_ok() => (Code::Mov_rm64_imm32, v),
            v => (Code::Mov_r64_imm64, v),
        };
        let register = self.make(Class::Int, code, &[], None, Some(imm));
        self.f.constants.insert(register);
        register
    }

    /// A vector with these bits in every lane of 4 or 8 bytes.
    fn splat_constant(&mut self, bits: u64, lane_bits: u32, width: Width) -> VReg {
        let register = if bits == 0 {
            let register = self.vector();
            self.f.lines.push(Line::Zero(register));
            register
        } else {
            let lane = &bits.to_le_bytes()[..lane_bits as usize / 8];
            match (lane_bits, width) {
                (64, Width::W128) => {
                    let whole = self.f.constant(&lane.repeat(2));
                    self.op_mem(table::LOAD, width, Mem::of(Base::Constant(whole)))
                }
                _ => {
                    let row = if lane_bits == 64 { table::SPLAT_MEM_64 } else { table::SPLAT_MEM_32 };
                    let lane = self.f.constant(lane);
                    self.op_mem(row, width, Mem::of(Base::Constant(lane)))
                }
            }
        };
        self.f.constants.insert(register);
        register
    }

    // ---- statements --------------------------------------------------------------------------------

    fn block(&mut self, stmts: &[Stmt]) {
        let mut at = 0;
        while at < stmts.len() {
            if let [first, second, ..] = &stmts[at..]
                && let Some(value) = self.splat_of_load(first, second)
            {
                let Stmt::Let { result, .. } = second else { panic!("tile: a splat is a Let") };
                self.values[result.index as usize] = value;
                at += 2;
                continue;
            }
            self.stmt(&stmts[at]);
            at += 1;
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let { result, inst } => {
                if let Some(fact) = self.address_sum(inst, *result) {
                    self.facts[result.index as usize] = fact;
                    return;
                }
                if let tile::Inst::Int(value) = *inst {
                    self.facts[result.index as usize] = Fact::Int(value);
                }
                self.values[result.index as usize] = self.inst(inst, result.ty);
            }
            Stmt::Store { mem, value, address, offset } => self.store(*mem, *value, *address, *offset),
            Stmt::StoreStrided { mem, value, address, offset, stride } => self.store_strided(*mem, *value, *address, *offset, *stride),
            Stmt::Scatter { mem, value, address, offset, indices } => self.scatter(*mem, *value, *address, *offset, *indices),
            Stmt::StoreMasked { mem, value, address, offset, mask } => self.store_masked(*mem, *value, *address, *offset, *mask),
            Stmt::Prefetch { address, offset, wanted } => self.prefetch(*address, *offset, *wanted),
            Stmt::Cooperative(stmt) => panic!("x86: `{stmt}` is for GPUs"),
            Stmt::Loop(l) => self.counted_loop(l),
            Stmt::If { condition, then, otherwise, results } => {
                let results: Vec<Value> = results.iter().map(|r| self.fresh(*r)).collect();
                let (no, after) = (self.f.label(), self.f.label());
                let condition = self.scalar(*condition);
                self.jump_if(Code::Test_rm32_r32, &[condition, condition], None, Code::Je_rel32_64, no);
                self.block(&then.0);
                self.carry(&results, &then.1);
                self.f.lines.push(Line::Jump(after));
                self.f.lines.push(Line::Label(no));
                self.block(&otherwise.0);
                self.carry(&results, &otherwise.1);
                self.f.lines.push(Line::Label(after));
            }
        }
    }

    /// The sum of an address and something that only addresses use.
    fn address_sum(&mut self, inst: &tile::Inst, result: Reg) -> Option<Fact> {
        let tile::Inst::Binary(tile::Binary::Add, a, b) = *inst else { return None };
        let (uses, as_address) = self.uses[result.index as usize];
        let plain = |s: &Self, r: Reg| !matches!(s.facts[r.index as usize], Fact::Address { .. });
        if result.ty != Type::I64 || uses != as_address || uses == 0 || !plain(self, a) || !plain(self, b) {
            return None;
        }
        let small = |s: &Self, r: Reg| s.known(r).and_then(|n| i32::try_from(n).ok());
        Some(match (small(self, a), small(self, b)) {
            (_, Some(offset)) => Fact::Address { base: a, index: None, offset },
            (Some(offset), None) => Fact::Address { base: b, index: None, offset },
            (None, None) => Fact::Address { base: a, index: Some(b), offset: 0 },
        })
    }

    /// The memory operand of an access.
    fn place(&mut self, address: Reg, offset: i32) -> Mem {
        let (base, index, sum) = match self.facts[address.index as usize] {
            Fact::Address { base, index, offset } => (base, index, offset),
            Fact::Unknown | Fact::Int(_) => (address, None, 0),
        };
        let index = index.map(|index| (self.scalar(index), 1));
        let base = self.scalar(base);
        match sum.checked_add(offset) {
            Some(offset) => Mem { base: Base::Register(base), index, offset },
            None => {
                let far = self.modify(Class::Int, Code::Add_rm64_imm32, base, &[], Some(i64::from(sum)));
                Mem { base: Base::Register(far), index, offset }
            }
        }
    }

    fn jump_if(&mut self, compare: Code, uses: &[VReg], imm: Option<i64>, jump: Code, to: Label) {
        let uses = uses.iter().copied().collect();
        let compare = Inst { code: compare, def: None, modifies: false, uses, mem: None, stores: false, imm, mask: None };
        self.f.lines.push(Line::JumpIf { compare, jump, to });
    }

    /// The test stands at the end of the body, and once before it.
    fn counted_loop(&mut self, l: &Loop) {
        let (body, after) = (self.f.label(), self.f.label());
        let index = self.int();
        let carried: Vec<Value> = l.carried.iter().map(|r| self.fresh(*r)).collect();
        let start = self.scalar(l.start);
        self.carry(&carried, &l.init);
        self.copy(index, start);
        match (self.known(l.start), self.known(l.end)) {
            (Some(start), Some(end)) if start < end => {}
            _ => {
                let end = self.scalar(l.end);
                self.jump_if(Code::Cmp_r64_rm64, &[index, end], None, Code::Jge_rel32_64, after);
            }
        }
        self.values[l.index.index as usize] = Value::one(index);
        self.f.lines.push(Line::Label(body));
        self.block(&l.body);
        let next = match i32::try_from(l.step) {
            Ok(step) => {
                self.make(Class::Int, Code::Lea_r64_m, &[], Some(Mem { base: Base::Register(index), index: None, offset: step }), None)
            }
            Err(_) => {
                let step = self.int_constant(l.step);
                self.modify(Class::Int, Code::Add_r64_rm64, index, &[step], None)
            }
        };
        let mut pairs = self.carried_pairs(&carried, &l.yields);
        pairs.push((index, next));
        self.f.lines.push(Line::Copy(pairs));
        match self.known(l.end).and_then(|n| i32::try_from(n).ok()) {
            Some(end) => self.jump_if(Code::Cmp_rm64_imm32, &[index], Some(i64::from(end)), Code::Jl_rel32_64, body),
            None => {
                let end = self.scalar(l.end);
                self.jump_if(Code::Cmp_r64_rm64, &[index, end], None, Code::Jl_rel32_64, body);
            }
        }
        self.f.lines.push(Line::Label(after));
        // What the loop carried last is its result: nothing writes it after the loop.
        for (result, value) in l.results.iter().zip(carried) {
            self.values[result.index as usize] = value;
        }
    }

    /// Registers for a value that blocks pass on.
    fn fresh(&mut self, reg: Reg) -> Value {
        let class = self.class_of(reg.ty);
        let is_vector_mask = reg.ty.lane == Lane::Mask && class == Class::Vector;
        let (count, mask_bits) = match class {
            Class::Int | Class::Mask => (1, 0),
            Class::Vector if is_vector_mask => (self.layout_bits(reg.ty.lanes * CARRIED_MASK_BITS).0, CARRIED_MASK_BITS),
            Class::Vector => (self.layout(reg.ty).0, 0),
        };
        let value = Value { registers: (0..count).map(|_| self.f.register(class)).collect(), mask_bits };
        self.values[reg.index as usize] = value.clone();
        value
    }

    fn carried_pairs(&mut self, to: &[Value], from: &[Reg]) -> SmallVec<[(VReg, VReg); 2]> {
        let mut pairs = SmallVec::new();
        for (to, from) in to.iter().zip(from) {
            let mut value = self.value(*from);
            if value.mask_bits != 0 {
                value = self.mask_as(&value, from.ty.lanes, CARRIED_MASK_BITS);
            }
            pairs.extend(to.registers.iter().copied().zip(value.registers));
        }
        pairs
    }

    fn carry(&mut self, to: &[Value], from: &[Reg]) {
        let pairs = self.carried_pairs(to, from);
        if !pairs.is_empty() {
            self.f.lines.push(Line::Copy(pairs));
        }
    }

    fn inst(&mut self, inst: &tile::Inst, ty: Type) -> Value {
        match *inst {
            tile::Inst::Int(value) => self.int_value(ty, value),
            tile::Inst::Float(bits) => self.float_value(ty, f64::from_bits(bits)),
            tile::Inst::Scratch(at) => {
                let place = Mem::of(Base::Scratch(at));
                Value::one(self.make(Class::Int, Code::Lea_r64_m, &[], Some(place), None))
            }
            tile::Inst::Splat(scalar) => self.splat(ty, scalar),
            tile::Inst::Load { mem, address, offset } => self.load(mem, ty, address, offset),
            tile::Inst::LoadStrided { mem, address, offset, stride } => self.load_strided(mem, ty, address, offset, stride),
            tile::Inst::Gather { mem, address, offset, indices } => self.gather(mem, ty, address, offset, indices),
            tile::Inst::LoadMasked { mem, address, offset, mask } => self.load_masked(mem, ty, address, offset, mask),
            tile::Inst::FirstLanes(count) => self.first_lanes(count, ty.lanes),
            tile::Inst::Unary(op, a) if self.class_of(ty) == Class::Int => Value::one(self.int_unary(op, a)),
            tile::Inst::Unary(op, a) => self.vector_unary(op, a),
            tile::Inst::Binary(op, a, b) if self.class_of(ty) == Class::Int => Value::one(self.int_binary(op, a, b)),
            tile::Inst::Binary(op, a, b) => self.vector_binary(op, a, b),
            tile::Inst::Fma(a, b, c) => self.fma(a, b, c),
            tile::Inst::Compare(op, a, b) if ty.is_scalar() => Value::one(self.scalar_compare(op, a, b)),
            tile::Inst::Compare(op, a, b) => self.vector_compare(op, a, b),
            tile::Inst::Select(mask, a, b) if ty.is_scalar() => Value::one(self.scalar_select(mask, a, b)),
            tile::Inst::Select(mask, a, b) => self.vector_select(mask, a, b),
            tile::Inst::Convert(op, a) => self.convert(op, a, ty),
            tile::Inst::Extract(a, lane) => self.extract(a, lane),
            tile::Inst::Insert { vector, lane, scalar } => self.insert(vector, lane, scalar),
            tile::Inst::Half { vector, high } => self.half(vector, high),
            tile::Inst::Concat(a, b) => self.concat(a, b),
            tile::Inst::Shuffle(op, a, b) => self.shuffle(op, a, b),
            tile::Inst::Cooperative(inst) => panic!("x86: `{inst}` is for GPUs"),
        }
    }

    fn int_value(&mut self, ty: Type, value: i64) -> Value {
        match (ty.lane, ty.is_scalar()) {
            (Lane::Mask, true) => Value::one(self.int_constant(i64::from(value != 0))),
            (Lane::Mask, false) => self.mask_constant(ty, value != 0),
            (Lane::I32, true) => Value::one(self.int_constant(i64::from(value as u32))),
            (_, true) => Value::one(self.int_constant(value)),
            (lane, false) => {
                let (count, width) = self.layout(ty);
                let bits = if lane == Lane::I32 { u64::from(value as u32) } else { value as u64 };
                let register = self.splat_constant(bits, lane.bits(), width);
                Value::of(std::iter::repeat_n(register, count))
            }
        }
    }

    fn float_value(&mut self, ty: Type, value: f64) -> Value {
        let bits = if ty.lane == Lane::F32 { u64::from((value as f32).to_bits()) } else { value.to_bits() };
        let (count, width) = if ty.is_scalar() { (1, Width::W128) } else { self.layout(ty) };
        // Registers of their own: sums that start from one constant each want one to overwrite.
        let registers: Vec<VReg> = (0..count).map(|_| self.splat_constant(bits, ty.lane.bits(), width)).collect();
        Value::of(registers)
    }
}
