//! Tile programs to Cranelift functions: scalar code and 128-bit vectors, on x86-64 and aarch64.
//!
//! A register becomes one scalar value or as many 128-bit vectors as it takes (`pieces.rs`). What the machine
//! lacks is written out first ([`crate::tile::expand`]), so no libcall is left on any ISA level.
//!
//! Measured: unrolled vector blocks (register tiles of a contraction) want `opt_level=none`, since the
//! optimiser sinks pure instructions to their uses and leaves loads in order, which spills; loops with few
//! live values may gain from `speed` (vector mathematics is about as fast at `none` with 8 lanes in flight). The
//! level belongs to the ISA, so the caller picks one per function.

mod abilities;
mod arithmetic;
mod convert;
mod memory;
mod pieces;

use crate::tile::expand::expand;
use crate::tile::{Inst, Lane, Loop, Reg, Stmt, TileProgram, Type};
use abilities::Machine;
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    self, AbiParam, BlockArg, Function, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind, UserFuncName, Value, types,
};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use pieces::Pieces;

/// Settings that tile code relies on: no probe of the stack (a libcall; frames are small), and the
/// optimisation level `"none"`, `"speed"` or `"speed_and_size"`.
pub fn settings(opt_level: &str) -> settings::Builder {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", opt_level),
        ("enable_probestack", "false"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("unwind_info", "false"),
    ] {
        flags.set(name, value).unwrap_or_else(|e| panic!("tile: Cranelift setting {name}={value}: {e}"));
    }
    flags
}

/// The signature of a tile program with this many parameters: C convention, all `i64`, no result.
pub fn signature(params: usize, isa: &dyn TargetIsa) -> Signature {
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params = vec![AbiParam::new(types::I64); params];
    signature
}

/// Whether [`Inst::Fma`] rounds once on this ISA; otherwise it is a product and a sum.
pub fn is_fma_fused(isa: &dyn TargetIsa) -> bool {
    Machine::of(isa).fma
}

/// The Cranelift function of a verified program.
pub fn lower(program: &TileProgram, isa: &dyn TargetIsa) -> Function {
    let machine = Machine::of(isa);
    let program = &expand(program, &machine);
    let mut function = Function::with_name_signature(UserFuncName::default(), signature(program.params.len(), isa));
    let mut context = FunctionBuilderContext::new();
    let mut lowering = Lowering {
        f: FunctionBuilder::new(&mut function, &mut context),
        machine,
        values: vec![Pieces::default(); program.registers as usize],
        facts: vec![Fact::Unknown; program.registers as usize],
        scratch: vec![],
    };
    lowering.program(program);
    lowering.f.finalize(isa.frontend_config());
    function
}

/// Machine code of one program; it refers to nothing outside itself.
#[derive(Clone, Debug)]
pub struct Code {
    /// The bytes, constants included.
    pub bytes: Vec<u8>,
    /// Where the bytes may start.
    pub align_bytes: u32,
}

/// Compiles a verified program. Panics when Cranelift refuses it or leaves a relocation: both are our bugs.
pub fn compile(program: &TileProgram, isa: &dyn TargetIsa) -> Code {
    let mut context = Context::for_function(lower(program, isa));
    let compiled = context
        .compile(isa, &mut ControlPlane::default())
        .unwrap_or_else(|e| panic!("tile: Cranelift refuses {}: {:?}\n{program}", program.name, e.inner));
    assert!(compiled.buffer.relocs().is_empty(), "tile: {} needs {:?}", program.name, compiled.buffer.relocs());
    Code { bytes: compiled.code_buffer().to_vec(), align_bytes: compiled.buffer.alignment.max(16) }
}

/// What is known about a register besides its value; lets shifts and divisions skip guards.
#[derive(Clone, Copy)]
enum Fact {
    Unknown,
    /// Every lane is this constant, its bits above the lane zero.
    Int(i64),
    /// Every lane is this scalar.
    Splat(Reg),
}

struct Lowering<'a> {
    f: FunctionBuilder<'a>,
    machine: Machine,
    values: Vec<Pieces>,
    facts: Vec<Fact>,
    /// The address of each scratch piece.
    scratch: Vec<Value>,
}

impl Lowering<'_> {
    fn program(&mut self, program: &TileProgram) {
        let entry = self.f.create_block();
        self.f.append_block_params_for_function_params(entry);
        self.f.switch_to_block(entry);
        self.f.seal_block(entry);
        for (reg, value) in program.params.iter().zip(self.f.block_params(entry).to_vec()) {
            self.values[reg.index as usize] = Pieces::scalar(value);
        }
        self.scratch = program.scratch.iter().map(|s| self.stack(*s)).collect();
        self.block(&program.body);
        self.f.ins().return_(&[]);
    }

    /// A stack slot; frames are aligned to 16 bytes, so more is made by hand.
    fn stack(&mut self, scratch: crate::tile::Scratch) -> Value {
        let slack = scratch.align_bytes.max(16) - 16;
        let slot = self.f.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, scratch.size_bytes + slack, 4));
        let start = self.f.ins().stack_addr(types::I64, slot, 0);
        if slack == 0 {
            return start;
        }
        let align = i64::from(scratch.align_bytes);
        let end = self.f.ins().iadd_imm_s(start, align - 1);
        self.f.ins().band_imm_s(end, -align)
    }

    fn get(&self, reg: Reg) -> Pieces {
        self.values[reg.index as usize].clone()
    }

    /// The one value of a scalar register.
    fn scalar(&self, reg: Reg) -> Value {
        self.values[reg.index as usize].values[0]
    }

    fn constant(&self, reg: Reg) -> Option<i64> {
        match self.facts[reg.index as usize] {
            Fact::Int(value) => Some(value),
            Fact::Unknown | Fact::Splat(_) => None,
        }
    }

    fn block(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let { result, inst } => {
                let value = self.inst(inst, result.ty);
                self.values[result.index as usize] = value;
                self.facts[result.index as usize] = match *inst {
                    Inst::Int(value) => Fact::Int(wrapped(result.ty.lane, value)),
                    Inst::Splat(scalar) => match self.facts[scalar.index as usize] {
                        Fact::Int(value) => Fact::Int(value),
                        Fact::Unknown | Fact::Splat(_) => Fact::Splat(scalar),
                    },
                    _ => Fact::Unknown,
                };
            }
            Stmt::Store { mem, value, address, offset } => {
                let raw = self.raw_of_lanes(*mem, *value);
                self.store_consecutive(*mem, value.ty.lanes, &raw, *address, *offset);
            }
            Stmt::StoreStrided { mem, value, address, offset, stride } => {
                let raw = self.raw_of_lanes(*mem, *value);
                let places = self.strided_places(*address, *stride, value.ty.lanes);
                self.store_lanes(*mem, &raw, &places, *offset);
            }
            Stmt::Scatter { mem, value, address, offset, indices } => {
                let raw = self.raw_of_lanes(*mem, *value);
                let places = self.indexed_places(*address, *indices);
                self.store_lanes(*mem, &raw, &places, *offset);
            }
            Stmt::StoreMasked { .. } => panic!("clif: masked stores are expanded"),
            // Cranelift has no such instruction.
            Stmt::Prefetch { .. } => {}
            Stmt::Cooperative(stmt) => panic!("clif: `{stmt}` is for GPUs"),
            Stmt::Loop(l) => self.counted_loop(l),
            Stmt::If { condition, then, otherwise, results } => {
                let (yes, no, after) = (self.f.create_block(), self.f.create_block(), self.f.create_block());
                let condition = self.scalar(*condition);
                self.f.ins().brif(condition, yes, &[], no, &[]);
                self.add_params(after, results);
                for (block, (stmts, yields)) in [(yes, then), (no, otherwise)] {
                    self.f.switch_to_block(block);
                    self.f.seal_block(block);
                    self.block(stmts);
                    let args = self.args(yields);
                    self.f.ins().jump(after, &args);
                }
                self.f.seal_block(after);
                self.f.switch_to_block(after);
            }
        }
    }

    /// The test stands at the end of the body, and once before it.
    fn counted_loop(&mut self, l: &Loop) {
        let (body, after) = (self.f.create_block(), self.f.create_block());
        let (start, end) = (self.scalar(l.start), self.scalar(l.end));
        let init = self.args(&l.init);
        let mut enter = vec![BlockArg::Value(start)];
        enter.extend(&init);
        match (self.constant(l.start), self.constant(l.end)) {
            (Some(start), Some(end)) if start < end => {
                self.f.ins().jump(body, &enter);
            }
            _ => {
                let any = self.f.ins().icmp(IntCC::SignedLessThan, start, end);
                self.f.ins().brif(any, body, &enter, after, &init);
            }
        }
        let index = self.f.append_block_param(body, types::I64);
        self.values[l.index.index as usize] = Pieces::scalar(index);
        self.add_params(body, &l.carried);
        self.f.switch_to_block(body);
        self.block(&l.body);
        let next = self.f.ins().iadd_imm_s(index, l.step);
        let more = self.f.ins().icmp(IntCC::SignedLessThan, next, end);
        let yields = self.args(&l.yields);
        let mut again = vec![BlockArg::Value(next)];
        again.extend(&yields);
        self.f.ins().brif(more, body, &again, after, &yields);
        self.f.seal_block(body);
        self.add_params(after, &l.results);
        self.f.seal_block(after);
        self.f.switch_to_block(after);
    }

    /// Block parameters that become the values of `regs`.
    fn add_params(&mut self, block: ir::Block, regs: &[Reg]) {
        for reg in regs {
            let ty = pieces::carried_type(reg.ty);
            let values = (0..pieces::carried_count(reg.ty)).map(|_| self.f.append_block_param(block, ty)).collect();
            let mask_bits = match reg.ty {
                Type { lanes: 1, .. } => 0,
                ty if ty.lane == Lane::Mask => pieces::CARRIED_MASK_BITS,
                _ => 0,
            };
            self.values[reg.index as usize] = Pieces { values, mask_bits };
        }
    }

    fn args(&mut self, regs: &[Reg]) -> Vec<BlockArg> {
        let mut args = vec![];
        for reg in regs {
            let mut value = self.get(*reg);
            if value.mask_bits != 0 {
                value = self.mask_as(&value, reg.ty.lanes, pieces::CARRIED_MASK_BITS);
            }
            args.extend(value.values.into_iter().map(BlockArg::Value));
        }
        args
    }

    fn inst(&mut self, inst: &Inst, ty: Type) -> Pieces {
        match *inst {
            Inst::Int(value) => self.int_constant(ty, value),
            Inst::Float(bits) => self.float_constant(ty, f64::from_bits(bits)),
            Inst::Scratch(at) => Pieces::scalar(self.scratch[at as usize]),
            Inst::Splat(scalar) => self.splat(ty, scalar),
            Inst::Load { mem, address, offset } => {
                let raw = self.load_consecutive(mem, ty.lanes, address, offset);
                self.lanes_of_raw(mem, ty, raw)
            }
            Inst::LoadStrided { mem, address, offset, stride } => {
                let places = self.strided_places(address, stride, ty.lanes);
                let raw = self.load_lanes(mem, &places, offset);
                self.lanes_of_raw(mem, ty, raw)
            }
            Inst::Gather { mem, address, offset, indices } => {
                let places = self.indexed_places(address, indices);
                let raw = self.load_lanes(mem, &places, offset);
                self.lanes_of_raw(mem, ty, raw)
            }
            Inst::LoadMasked { .. } | Inst::FirstLanes(_) => panic!("clif: {inst} is expanded"),
            Inst::Unary(op, a) => self.unary(op, a),
            Inst::Binary(op, a, b) => self.binary(op, a, b),
            Inst::Fma(a, b, c) => {
                let (a, b, c) = (self.get(a), self.get(b), self.get(c));
                let pieces = (0..a.values.len()).map(|p| self.f.ins().fma(a.values[p], b.values[p], c.values[p])).collect();
                Pieces::of(pieces)
            }
            Inst::Compare(op, a, b) => self.compare(op, a, b),
            Inst::Select(mask, a, b) => self.select(mask, a, b),
            Inst::Convert(op, a) => self.convert(op, a, ty.lane),
            Inst::Extract(a, lane) => {
                let a_pieces = self.get(a);
                Pieces::scalar(self.extract(a.ty, &a_pieces, lane))
            }
            Inst::Insert { vector, lane, scalar } => self.insert(vector, lane, scalar),
            Inst::Half { vector, high } => self.half(vector, high),
            Inst::Concat(a, b) => self.concat(a, b),
            Inst::Shuffle(op, a, b) => self.shuffle_lanes(op, a, b),
            Inst::Cooperative(inst) => panic!("clif: `{inst}` is for GPUs"),
        }
    }
}

/// The low bits that a lane keeps.
fn wrapped(lane: Lane, value: i64) -> i64 {
    (value as u64 & (u64::MAX >> (64 - lane.bits()))) as i64
}

/// Any alignment, and never a trap: an address outside memory is a fault of the process, not of the code.
fn plain() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}
