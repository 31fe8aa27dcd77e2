//! Bytes of a function whose registers are assigned: frame, moves, jumps, the constant pool behind the code.
//!
//! Frame, from the stack pointer up: scratch and slots, aligned to 64; saved registers; the caller's frame pointer.

use super::allocate::Allocated;
use super::inst::{Base, Class, Division, Inst, Label, Line, Mem, VReg};
use super::operands::{immediate_kind, int, int_operand, mask, vector, vector_operand};
use super::table::{self, Width};
use crate::backend::cpu::clif::Code as MachineCode;
use crate::tile::Scratch;
use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};
use std::collections::HashMap;

/// General-purpose registers by number, without the stack and the frame pointer.
pub(super) const INT_REGISTERS: [u8; 14] = [1, 6, 7, 8, 9, 10, 11, 0, 2, 3, 12, 13, 14, 15];
/// Those that callers keep values in.
const SAVED: [u8; 5] = [3, 12, 13, 14, 15];
/// Where the C convention of Unix passes integers.
const PARAMS: [u8; 6] = [7, 6, 2, 1, 8, 9];
/// Registers of a division.
pub(super) const RAX: u8 = 0;
pub(super) const RDX: u8 = 2;
/// Alignment of code, so that loops and constants are as they were laid out.
const ALIGN_BYTES: u32 = 64;
/// Where bodies of loops begin.
const LOOP_ALIGN_BYTES: usize = 32;

/// The code of a function.
pub(super) fn encode(allocated: &Allocated, scratch: &[Scratch], evex: bool) -> MachineCode {
    let frame = Frame::new(allocated, scratch, evex);
    let mut e =
        Emitter { allocated, frame, evex, encoder: Encoder::new(64), bytes: vec![], labels: HashMap::new(), jumps: vec![], pool: vec![] };
    e.prologue();
    let targets = e.loop_starts();
    for line in &allocated.function.lines {
        if let Line::Label(label) = line
            && targets.contains(label)
        {
            e.align(LOOP_ALIGN_BYTES);
        }
        e.line(line);
    }
    e.finish()
}

/// Where everything lies in the frame.
struct Frame {
    scratch: Vec<i32>,
    slots: Vec<i32>,
    bytes: i32,
    saved: Vec<u8>,
}

impl Frame {
    fn new(allocated: &Allocated, scratch: &[Scratch], evex: bool) -> Frame {
        let mut bytes = 0u32;
        let mut place = |size: u32, align: u32| {
            bytes = bytes.next_multiple_of(align);
            let at = bytes;
            bytes += size;
            at as i32
        };
        let vector = if evex { 64 } else { 32 };
        let scratch = scratch.iter().map(|s| place(s.size_bytes, s.align_bytes.max(1))).collect();
        let slots = allocated
            .slots
            .iter()
            .map(|class| match class {
                Class::Int | Class::Mask => place(8, 8),
                Class::Vector => place(vector, vector),
            })
            .collect();
        let uses = |register: &&u8| allocated.registers.iter().any(|(v, r)| r == *register && allocated.function.class(*v) == Class::Int);
        let saved = SAVED.iter().filter(uses).copied().collect();
        Frame { scratch, slots, bytes: bytes.next_multiple_of(64) as i32, saved }
    }
}

struct Emitter<'a> {
    allocated: &'a Allocated,
    frame: Frame,
    evex: bool,
    encoder: Encoder,
    bytes: Vec<u8>,
    labels: HashMap<Label, usize>,
    /// Ends of jumps, whose last four bytes are the distance to a label.
    jumps: Vec<(usize, Label)>,
    /// Distances to constants: where they stand, where their instruction ends, which constant.
    pool: Vec<(usize, usize, u32)>,
}

impl Emitter<'_> {
    // ---- bytes -------------------------------------------------------------------------------------

    fn put(&mut self, instruction: &Instruction, constant: Option<u32>) {
        let ip = self.bytes.len() as u64;
        if let Err(error) = self.encoder.encode(instruction, ip) {
            panic!("tile: cannot encode {:?}: {error}", instruction.code());
        }
        let offsets = self.encoder.get_constant_offsets();
        let start = self.bytes.len();
        self.bytes.extend(self.encoder.take_buffer());
        if let Some(constant) = constant {
            self.pool.push((start + offsets.displacement_offset(), self.bytes.len(), constant));
        }
    }

    fn put_all(&mut self, instructions: &[Result<Instruction, iced_x86::IcedError>]) {
        for instruction in instructions {
            match instruction {
                Ok(instruction) => self.put(instruction, None),
                Err(error) => panic!("tile: {error}"),
            }
        }
    }

    /// Fills up with instructions that do nothing.
    fn align(&mut self, to: usize) {
        const NOPS: [&[u8]; 9] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        let mut missing = self.bytes.len().next_multiple_of(to) - self.bytes.len();
        while missing > 0 {
            let nop = NOPS[missing.min(NOPS.len()) - 1];
            self.bytes.extend(nop);
            missing -= nop.len();
        }
    }

    /// Labels that a later line jumps back to.
    fn loop_starts(&self) -> std::collections::HashSet<Label> {
        let (mut seen, mut starts) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        for line in &self.allocated.function.lines {
            match line {
                Line::Label(label) => {
                    seen.insert(*label);
                }
                Line::Jump(to) | Line::JumpIf { to, .. } if seen.contains(to) => {
                    starts.insert(*to);
                }
                _ => {}
            }
        }
        starts
    }

    fn finish(mut self) -> MachineCode {
        for (end, label) in std::mem::take(&mut self.jumps) {
            let target = self.labels[&label];
            self.bytes[end - 4..end].copy_from_slice(&((target as i64 - end as i64) as i32).to_le_bytes());
        }
        // The largest first, so that each is aligned to its size.
        let pool = &self.allocated.function.pool;
        let mut order: Vec<usize> = (0..pool.len()).collect();
        order.sort_by_key(|at| (std::cmp::Reverse(pool[*at].len()), *at));
        let mut places = vec![0; pool.len()];
        if !pool.is_empty() {
            let aligned = self.bytes.len().next_multiple_of(64);
            self.bytes.resize(aligned, 0xcc);
        }
        for at in order {
            places[at] = self.bytes.len();
            self.bytes.extend(&pool[at]);
        }
        for (displacement, end, constant) in std::mem::take(&mut self.pool) {
            let distance = places[constant as usize] as i64 - end as i64;
            self.bytes[displacement..displacement + 4].copy_from_slice(&(distance as i32).to_le_bytes());
        }
        MachineCode { bytes: self.bytes, align_bytes: ALIGN_BYTES }
    }

    // ---- operands ----------------------------------------------------------------------------------

    fn number(&self, v: VReg) -> u8 {
        *self.allocated.registers.get(&v).unwrap_or_else(|| panic!("tile: {v:?} has no register"))
    }

    /// The register as the instruction's operand number `at` names it.
    fn operand(&self, code: Code, at: u32, v: VReg) -> Register {
        let number = self.number(v);
        match self.allocated.function.class(v) {
            Class::Mask => mask(number),
            Class::Int => int_operand(code, at, number),
            Class::Vector => vector_operand(code, at, number),
        }
    }

    fn memory(&self, mem: &Mem) -> (MemoryOperand, Option<u32>) {
        let (index, scale) = match mem.index {
            Some((index, scale)) => (int(self.number(index), 64), scale),
            None => (Register::None, 1),
        };
        let (base, displacement, constant) = match mem.base {
            Base::Register(v) => (int(self.number(v), 64), mem.offset, None),
            Base::Scratch(at) => (Register::RSP, self.frame.scratch[at as usize] + mem.offset, None),
            Base::Slot(at) => (Register::RSP, self.frame.slots[at as usize] + mem.offset, None),
            // The distance is filled in once the pool has its place.
            Base::Constant(at) => (Register::RIP, self.bytes.len() as i32, Some(at)),
        };
        let size = if displacement == 0 && constant.is_none() { 0 } else { 1 };
        (MemoryOperand::new(base, index, scale, i64::from(displacement), size, false, Register::None), constant)
    }

    // ---- lines -------------------------------------------------------------------------------------

    fn line(&mut self, line: &Line) {
        match line {
            Line::Inst(inst) => self.inst(inst),
            Line::Divide(division) => self.divide(division),
            Line::Zero(def) => self.zero(*def),
            Line::Copy(pairs) => {
                let pairs: Vec<(Class, u8, u8)> =
                    pairs.iter().map(|(to, from)| (self.allocated.function.class(*to), self.number(*to), self.number(*from))).collect();
                self.parallel_moves(pairs);
            }
            Line::JumpIf { compare, jump, to } => {
                self.inst(compare);
                self.jump(*jump, *to);
            }
            Line::SetIf { compare, set, def, choice } => {
                self.inst(compare);
                let def = self.number(*def);
                match choice {
                    Some(choice) => {
                        let choice = self.number(*choice);
                        self.put_all(&[Instruction::with2(*set, int(def, 64), int(choice, 64))]);
                    }
                    None => self.put_all(&[
                        Instruction::with1(*set, int(def, 8)),
                        Instruction::with2(Code::Movzx_r32_rm8, int(def, 32), int(def, 8)),
                    ]),
                }
            }
            Line::Jump(to) => self.jump(Code::Jmp_rel32_64, *to),
            Line::Label(label) => {
                self.labels.insert(*label, self.bytes.len());
            }
            Line::Return => self.epilogue(),
        }
    }

    fn jump(&mut self, code: Code, to: Label) {
        self.put_all(&[Instruction::with_branch(code, self.bytes.len() as u64)]);
        self.jumps.push((self.bytes.len(), to));
    }

    fn inst(&mut self, inst: &Inst) {
        let mut instruction = Instruction::default();
        instruction.set_code(inst.code);
        let mut at = 0;
        let mut constant = None;
        let mut set_memory = |e: &Self, instruction: &mut Instruction, at: &mut u32, mem: &Mem| {
            let (operand, pool) = e.memory(mem);
            constant = pool;
            instruction.set_op_kind(*at, iced_x86::OpKind::Memory);
            instruction.set_memory_base(operand.base);
            instruction.set_memory_index(operand.index);
            instruction.set_memory_index_scale(operand.scale);
            instruction.set_memory_displacement64(operand.displacement as u64);
            instruction.set_memory_displ_size(operand.displ_size);
            *at += 1;
        };
        if let Some(mem) = inst.mem.as_ref().filter(|_| inst.stores) {
            set_memory(self, &mut instruction, &mut at, mem);
        }
        for v in inst.def.into_iter().chain(inst.uses.iter().copied()) {
            let register = self.operand(inst.code, at, v);
            instruction.set_op_kind(at, iced_x86::OpKind::Register);
            instruction.set_op_register(at, register);
            at += 1;
        }
        if let Some(mem) = inst.mem.as_ref().filter(|_| !inst.stores) {
            set_memory(self, &mut instruction, &mut at, mem);
        }
        if let Some(imm) = inst.imm {
            let kind = immediate_kind(inst.code, at);
            instruction.set_op_kind(at, kind);
            match kind {
                iced_x86::OpKind::Immediate64 => instruction.set_immediate64(imm as u64),
                iced_x86::OpKind::Immediate32to64 => instruction.set_immediate32to64(imm),
                iced_x86::OpKind::Immediate8 => instruction.set_immediate8(imm as u8),
                _ => instruction.set_immediate32(imm as u32),
            }
        }
        if let Some(v) = inst.mask {
            instruction.set_op_mask(mask(self.number(v)));
            instruction.set_zeroing_masking(inst.mem.is_some() && !inst.stores);
        }
        self.put(&instruction, constant);
    }

    fn zero(&mut self, def: VReg) {
        let number = self.number(def);
        match self.allocated.function.class(def) {
            Class::Vector => {
                let code = table::XOR_PS.code(self.evex, Width::W128);
                let register = vector(number, 128);
                self.put_all(&[Instruction::with3(code, register, register, register)]);
            }
            Class::Mask => self.put_all(&[Instruction::with3(Code::VEX_Kxorq_kr_kr_kr, mask(number), mask(number), mask(number))]),
            // Not `xor`, which would change the flags.
            Class::Int => self.put_all(&[Instruction::with2(Code::Mov_r32_imm32, int(number, 32), 0u32)]),
        }
    }

    fn divide(&mut self, d: &Division) {
        let bits = if d.wide { 64 } else { 32 };
        let (dividend, divisor, def) =
            (int(self.number(d.dividend), bits), int(self.number(d.divisor), bits), int(self.number(d.def), bits));
        let (rax, rdx) = (int(RAX, bits), int(RDX, bits));
        let moves = if d.wide { Code::Mov_r64_rm64 } else { Code::Mov_r32_rm32 };
        self.put_all(&[Instruction::with2(moves, rax, dividend)]);
        let extend = match (d.signed, d.wide) {
            (true, true) => Ok(Instruction::with(Code::Cqo)),
            (true, false) => Ok(Instruction::with(Code::Cdq)),
            (false, _) => Instruction::with2(Code::Xor_r32_rm32, int(RDX, 32), int(RDX, 32)),
        };
        let code = match (d.signed, d.wide) {
            (true, true) => Code::Idiv_rm64,
            (true, false) => Code::Idiv_rm32,
            (false, true) => Code::Div_rm64,
            (false, false) => Code::Div_rm32,
        };
        self.put_all(&[extend, Instruction::with1(code, divisor), Instruction::with2(moves, def, if d.remainder { rdx } else { rax })]);
    }

    // ---- moves -------------------------------------------------------------------------------------

    /// Moves that happen at once, one after the other: what nobody still reads is written first; cycles are exchanged.
    fn parallel_moves(&mut self, mut pairs: Vec<(Class, u8, u8)>) {
        pairs.retain(|(_, to, from)| to != from);
        while !pairs.is_empty() {
            let is_read = |class: Class, register: u8| pairs.iter().any(|(c, _, from)| *c == class && *from == register);
            match pairs.iter().position(|(class, to, _)| !is_read(*class, *to)) {
                Some(at) => {
                    let (class, to, from) = pairs.swap_remove(at);
                    self.move_register(class, to, from);
                }
                None => {
                    let (class, to, from) = pairs.swap_remove(0);
                    self.exchange(class, to, from);
                    // Whoever wanted the old value of `to` now finds it in `from`, and the other way round.
                    for (c, _, source) in &mut pairs {
                        if *c == class {
                            *source = match *source {
                                s if s == to => from,
                                s if s == from => to,
                                s => s,
                            };
                        }
                    }
                    pairs.retain(|(_, to, from)| to != from);
                }
            }
        }
    }

    fn move_register(&mut self, class: Class, to: u8, from: u8) {
        let width = if self.evex { Width::W512 } else { Width::W256 };
        let instruction = match class {
            Class::Int => Instruction::with2(Code::Mov_r64_rm64, int(to, 64), int(from, 64)),
            Class::Mask => Instruction::with2(Code::VEX_Kmovq_kr_km64, mask(to), mask(from)),
            Class::Vector => {
                let bits = if self.evex { 512 } else { 256 };
                Instruction::with2(table::LOAD.code(self.evex, width), vector(to, bits), vector(from, bits))
            }
        };
        self.put_all(&[instruction]);
    }

    fn exchange(&mut self, class: Class, a: u8, b: u8) {
        let three = |code: Code, a: Register, b: Register| {
            [Instruction::with3(code, a, a, b), Instruction::with3(code, b, a, b), Instruction::with3(code, a, a, b)]
        };
        match class {
            Class::Int => self.put_all(&[Instruction::with2(Code::Xchg_rm64_r64, int(a, 64), int(b, 64))]),
            Class::Mask => self.put_all(&three(Code::VEX_Kxorq_kr_kr_kr, mask(a), mask(b))),
            Class::Vector => {
                let (width, bits) = if self.evex { (Width::W512, 512) } else { (Width::W256, 256) };
                self.put_all(&three(table::XOR_PS.code(self.evex, width), vector(a, bits), vector(b, bits)));
            }
        }
    }

    // ---- frame -------------------------------------------------------------------------------------

    fn has_frame(&self) -> bool {
        self.frame.bytes > 0 || !self.frame.saved.is_empty()
    }

    fn prologue(&mut self) {
        if self.has_frame() {
            self.put_all(&[
                Instruction::with1(Code::Push_r64, Register::RBP),
                Instruction::with2(Code::Mov_r64_rm64, Register::RBP, Register::RSP),
            ]);
            for register in self.frame.saved.clone() {
                self.put_all(&[Instruction::with1(Code::Push_r64, int(register, 64))]);
            }
            if self.frame.bytes > 0 {
                self.put_all(&[
                    Instruction::with2(Code::Sub_rm64_imm32, Register::RSP, self.frame.bytes),
                    Instruction::with2(Code::And_rm64_imm8, Register::RSP, -64),
                ]);
            }
        }
        let mut moves = vec![];
        for (param, from) in self.allocated.function.params.iter().zip(PARAMS) {
            if let Some(slot) = self.allocated.param_slots.get(param) {
                let (to, _) = self.memory(&Mem::of(Base::Slot(*slot)));
                self.put_all(&[Instruction::with2(Code::Mov_rm64_r64, to, int(from, 64))]);
            } else if let Some(to) = self.allocated.registers.get(param) {
                moves.push((Class::Int, *to, from));
            }
        }
        self.parallel_moves(moves);
    }

    fn epilogue(&mut self) {
        // Code that follows may use SSE instructions, which are slow while upper halves are in use.
        self.put(&Instruction::with(Code::VEX_Vzeroupper), None);
        if self.has_frame() {
            let saved = self.frame.saved.clone();
            if self.frame.bytes > 0 {
                let back = MemoryOperand::with_base_displ(Register::RBP, -8 * saved.len() as i64);
                self.put_all(&[Instruction::with2(Code::Lea_r64_m, Register::RSP, back)]);
            }
            for register in saved.into_iter().rev() {
                self.put_all(&[Instruction::with1(Code::Pop_r64, int(register, 64))]);
            }
            self.put_all(&[Instruction::with1(Code::Pop_r64, Register::RBP)]);
        }
        self.put(&Instruction::with(Code::Retnq), None);
    }
}
