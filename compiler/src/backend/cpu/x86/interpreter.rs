//! Executes the emitter's machine code, decoded from its bytes: wide vectors are tested also where the CPU has none.
//!
//! Obvious and slow. It knows the instructions that the emitter uses and refuses all others; memory is the evaluator's, so that an
//! access outside of every region is an error. Registers start with nonsense.
//! Source: Intel SDM volume 2.

mod scalar;
mod vector;

use crate::tile::eval::Memory;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

/// Where the code lies for itself, and where it returns to.
const CODE: u64 = 0x4000_0000;
const RETURN: u64 = 0xdead_0000;
const STACK_BYTES: usize = 1 << 16;
/// More instructions than any sensible test needs.
const MOST_STEPS: u64 = 100_000_000;

/// The registers and flags.
struct Cpu<'a> {
    int: [u64; 16],
    vector: [[u8; 64]; 32],
    mask: [u64; 8],
    zero: bool,
    sign: bool,
    carry: bool,
    overflow: bool,
    parity: bool,
    code: &'a [u8],
    memory: &'a mut Memory,
}

/// Calls the code with these parameters.
///
/// Errors: an unknown instruction, an access outside every region, registers not given back as they were.
pub(crate) fn run(code: &[u8], params: &[i64], memory: &mut Memory) -> Result<(), String> {
    let stack = memory.add(vec![0xAA; STACK_BYTES]);
    let mut cpu = Cpu {
        int: std::array::from_fn(|at| 0x5a5a_0000_1111_0000 + at as u64),
        vector: [[0x5a; 64]; 32],
        mask: [0x5a5a_5a5a_5a5a_5a5a; 8],
        zero: false,
        sign: false,
        carry: false,
        overflow: false,
        parity: false,
        code,
        memory,
    };
    for (value, register) in params.iter().zip([7, 6, 2, 1, 8, 9]) {
        cpu.int[register] = *value as u64;
    }
    let top = (stack as u64 + STACK_BYTES as u64 - 64) | 8;
    cpu.int[4] = top;
    cpu.write_memory(top, 8, RETURN)?;
    let before = cpu.int;
    let mut ip = CODE;
    for _ in 0..MOST_STEPS {
        if ip == RETURN {
            let kept = [3, 5, 12, 13, 14, 15].iter().all(|r| cpu.int[*r] == before[*r]) && cpu.int[4] == top + 8;
            return if kept { Ok(()) } else { Err("a register that callers keep has changed".into()) };
        }
        let at = (ip - CODE) as usize;
        let bytes = code.get(at..).ok_or_else(|| format!("a jump to {at:#x}"))?;
        let mut decoder = Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        ip = cpu.step(&instruction)?;
    }
    Err("the code does not return".into())
}

impl Cpu<'_> {
    /// Executes one instruction; where the next one is.
    fn step(&mut self, i: &Instruction) -> Result<u64, String> {
        let next = i.next_ip();
        match i.mnemonic() {
            Mnemonic::Jmp => return Ok(i.near_branch64()),
            Mnemonic::Jl | Mnemonic::Jge | Mnemonic::Je => {
                let holds = self.holds(i.mnemonic());
                return Ok(if holds { i.near_branch64() } else { next });
            }
            Mnemonic::Ret => {
                let to = self.read_memory(self.int[4], 8)?;
                self.int[4] += 8;
                return Ok(to);
            }
            Mnemonic::Nop | Mnemonic::Prefetcht0 | Mnemonic::Prefetcht1 | Mnemonic::Prefetchw | Mnemonic::Vzeroupper => {
                if i.mnemonic() == Mnemonic::Vzeroupper {
                    self.vector[..16].iter_mut().for_each(|v| v[16..].fill(0));
                }
            }
            _ => {
                if !self.scalar(i)? && !self.vector(i)? {
                    return Err(format!("the interpreter does not know {:?}", i.code()));
                }
            }
        }
        Ok(next)
    }

    // ---- operands ----------------------------------------------------------------------------------

    fn address(&self, i: &Instruction) -> u64 {
        let register = |r: Register| match r {
            Register::None => 0,
            _ => self.int[r.number()],
        };
        if i.memory_base() == Register::RIP {
            return i.memory_displacement64();
        }
        let index = register(i.memory_index()).wrapping_mul(u64::from(i.memory_index_scale()));
        register(i.memory_base()).wrapping_add(index).wrapping_add(i.memory_displacement64())
    }

    fn read_memory(&self, address: u64, bytes: u32) -> Result<u64, String> {
        let inside = address.wrapping_sub(CODE) as usize;
        if let Some(constant) = self.code.get(inside..inside.saturating_add(bytes as usize)) {
            let mut value = [0; 8];
            value[..bytes as usize].copy_from_slice(constant);
            return Ok(u64::from_le_bytes(value));
        }
        self.memory.read(address as i64, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: u32, value: u64) -> Result<(), String> {
        self.memory.write(address as i64, bytes, value)
    }

    /// A general-purpose register, memory of that many bytes or an immediate.
    fn read_int(&self, i: &Instruction, op: u32, bytes: u32) -> Result<u64, String> {
        let value = match i.op_kind(op) {
            OpKind::Register => self.int[i.op_register(op).full_register().number()],
            OpKind::Memory => self.read_memory(self.address(i), bytes)?,
            _ => i.immediate(op),
        };
        Ok(value & low_bits(bytes))
    }

    /// Writes 32 bits with zeros above; 8 and 16 bits leave what is above.
    fn write_int(&mut self, i: &Instruction, op: u32, bytes: u32, value: u64) -> Result<(), String> {
        if i.op_kind(op) == OpKind::Memory {
            return self.write_memory(self.address(i), bytes, value);
        }
        let register = &mut self.int[i.op_register(op).full_register().number()];
        *register = match bytes {
            8 => value,
            4 => value & low_bits(4),
            _ => (*register & !low_bits(bytes)) | (value & low_bits(bytes)),
        };
        Ok(())
    }

    /// Bytes of one element in memory, and the opmask, of an instruction that loads or stores elements where that holds.
    fn masked(&self, i: &Instruction) -> Option<(usize, u64)> {
        use Mnemonic::*;
        let size = match i.mnemonic() {
            _ if i.op_mask() == Register::None => return None,
            Vpmovzxbd | Vpmovsxbd | Vpmovdb => 1,
            Vpmovzxwd | Vpmovsxwd | Vpmovdw | Vcvtph2ps | Vcvtps2ph => 2,
            Vmovups => 4,
            Vmovupd => 8,
            _ => return None,
        };
        Some((size, self.mask[i.op_mask().number()]))
    }

    /// A vector register, or as many bytes of memory.
    fn read_vector(&self, i: &Instruction, op: u32, bytes: usize) -> Result<[u8; 64], String> {
        if i.op_kind(op) == OpKind::Register {
            return Ok(self.vector[i.op_register(op).number()]);
        }
        let (mut value, address) = ([0; 64], self.address(i));
        if let Some((size, mask)) = self.masked(i) {
            if !i.zeroing_masking() {
                return Err("a masked load that keeps what it does not load".into());
            }
            for at in (0..bytes / size).filter(|at| mask >> at & 1 != 0) {
                let element = self.read_memory(address + (at * size) as u64, size as u32)?.to_le_bytes();
                value[at * size..(at + 1) * size].copy_from_slice(&element[..size]);
            }
            return Ok(value);
        }
        for at in (0..bytes).step_by(8) {
            let part = (bytes - at).min(8);
            let word = self.read_memory(address + at as u64, part as u32)?.to_le_bytes();
            value[at..at + part].copy_from_slice(&word[..part]);
        }
        Ok(value)
    }

    /// Writes so many bytes: a register with zeros above, or memory.
    fn write_vector(&mut self, i: &Instruction, op: u32, bytes: usize, value: &[u8; 64]) -> Result<(), String> {
        if i.op_kind(op) == OpKind::Register {
            let register = &mut self.vector[i.op_register(op).number()];
            *register = [0; 64];
            register[..bytes].copy_from_slice(&value[..bytes]);
            return Ok(());
        }
        let address = self.address(i);
        if let Some((size, mask)) = self.masked(i) {
            for at in (0..bytes / size).filter(|at| mask >> at & 1 != 0) {
                let mut element = [0; 8];
                element[..size].copy_from_slice(&value[at * size..(at + 1) * size]);
                self.write_memory(address + (at * size) as u64, size as u32, u64::from_le_bytes(element))?;
            }
            return Ok(());
        }
        for at in (0..bytes).step_by(8) {
            let part = (bytes - at).min(8);
            let mut word = [0; 8];
            word[..part].copy_from_slice(&value[at..at + part]);
            self.write_memory(address + at as u64, part as u32, u64::from_le_bytes(word))?;
        }
        Ok(())
    }
}

fn low_bits(bytes: u32) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

/// Bytes of a register as an operand names it.
fn register_bytes(i: &Instruction, op: u32) -> u32 {
    i.op_register(op).size() as u32
}
