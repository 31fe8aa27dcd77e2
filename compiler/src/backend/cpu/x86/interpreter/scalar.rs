//! Instructions on general-purpose registers and opmasks.

use super::{Cpu, low_bits, register_bytes};
use iced_x86::{Instruction, Mnemonic, OpKind};

impl Cpu<'_> {
    /// Whether the condition of a jump, set or move holds.
    pub(super) fn holds(&self, mnemonic: Mnemonic) -> bool {
        use Mnemonic::*;
        match mnemonic {
            Je | Sete | Cmove => self.zero,
            Setne | Cmovne => !self.zero,
            Jl | Setl | Cmovl => self.sign != self.overflow,
            Jge | Setge => self.sign == self.overflow,
            Setle => self.zero || self.sign != self.overflow,
            Setg | Cmovg => !self.zero && self.sign == self.overflow,
            Setb | Cmovb => self.carry,
            Setae | Cmovae => !self.carry,
            Setbe => self.carry || self.zero,
            Seta | Cmova => !self.carry && !self.zero,
            Setp | Cmovp => self.parity,
            Setnp => !self.parity,
            Cmovns => !self.sign,
            _ => panic!("{mnemonic:?} has no condition"),
        }
    }

    fn set_flags(&mut self, result: u64, bytes: u32) {
        self.zero = result & low_bits(bytes) == 0;
        self.sign = result >> (8 * bytes - 1) & 1 != 0;
        self.parity = (result as u8).count_ones().is_multiple_of(2);
        (self.carry, self.overflow) = (false, false);
    }

    fn compare(&mut self, a: u64, b: u64, bytes: u32) {
        let result = a.wrapping_sub(b) & low_bits(bytes);
        self.set_flags(result, bytes);
        let top = 8 * bytes - 1;
        self.carry = a < b;
        self.overflow = ((a ^ b) & (a ^ result)) >> top & 1 != 0;
    }

    /// Executes the instruction if it is one of these.
    pub(super) fn scalar(&mut self, i: &Instruction) -> Result<bool, String> {
        use Mnemonic::*;
        let op_bytes = |op: u32| match i.op_kind(op) {
            OpKind::Register => register_bytes(i, op),
            _ => i.memory_size().size() as u32,
        };
        match i.mnemonic() {
            Mov => {
                let bytes = op_bytes(0);
                let value = self.read_int(i, 1, bytes)?;
                self.write_int(i, 0, bytes, value)?;
            }
            Movzx => {
                let value = self.read_int(i, 1, op_bytes(1))?;
                self.write_int(i, 0, op_bytes(0), value)?;
            }
            Movsx | Movsxd => {
                let from = op_bytes(1);
                let value = signed(self.read_int(i, 1, from)?, from) as u64;
                self.write_int(i, 0, op_bytes(0), value)?;
            }
            Lea => {
                let address = self.address(i);
                self.write_int(i, 0, op_bytes(0), address)?;
            }
            Push => {
                let value = self.read_int(i, 0, 8)?;
                self.int[4] -= 8;
                self.write_memory(self.int[4], 8, value)?;
            }
            Pop => {
                let value = self.read_memory(self.int[4], 8)?;
                self.int[4] += 8;
                self.write_int(i, 0, 8, value)?;
            }
            Xchg => {
                let (a, b) = (self.read_int(i, 0, 8)?, self.read_int(i, 1, 8)?);
                self.write_int(i, 0, 8, b)?;
                self.write_int(i, 1, 8, a)?;
            }
            Add | Sub | And | Or | Xor => {
                let bytes = op_bytes(0);
                let (a, b) = (self.read_int(i, 0, bytes)?, self.read_int(i, 1, bytes)?);
                let result = match i.mnemonic() {
                    Add => a.wrapping_add(b),
                    Sub => a.wrapping_sub(b),
                    And => a & b,
                    Or => a | b,
                    _ => a ^ b,
                };
                // Nobody reads flags of arithmetic.
                self.set_flags(result, bytes);
                self.write_int(i, 0, bytes, result)?;
            }
            Not | Neg => {
                let bytes = op_bytes(0);
                let a = self.read_int(i, 0, bytes)?;
                self.write_int(i, 0, bytes, if i.mnemonic() == Not { !a } else { a.wrapping_neg() })?;
            }
            Imul => {
                let bytes = op_bytes(0);
                let last = i.op_count() - 1;
                let (a, b) = (self.read_int(i, last - 1, bytes)?, self.read_int(i, last, bytes)?);
                self.write_int(i, 0, bytes, a.wrapping_mul(b))?;
            }
            Shl | Shr | Sar => {
                let bytes = op_bytes(0);
                let (a, n) = (self.read_int(i, 0, bytes)?, i.immediate(1) & (8 * u64::from(bytes) - 1));
                self.write_int(i, 0, bytes, shifted(i.mnemonic(), a, n, bytes))?;
            }
            Shlx | Shrx | Sarx => {
                let bytes = op_bytes(0);
                let (a, n) = (self.read_int(i, 1, bytes)?, self.read_int(i, 2, bytes)? & (8 * u64::from(bytes) - 1));
                let kind = match i.mnemonic() {
                    Shlx => Shl,
                    Shrx => Shr,
                    _ => Sar,
                };
                self.write_int(i, 0, bytes, shifted(kind, a, n, bytes))?;
            }
            Bzhi => {
                let bytes = op_bytes(0);
                let (a, n) = (self.read_int(i, 1, bytes)?, self.read_int(i, 2, bytes)? & 0xff);
                self.write_int(i, 0, bytes, if n < 64 { a & ((1 << n) - 1) } else { a })?;
            }
            Cmp => {
                let bytes = op_bytes(0);
                let (a, b) = (self.read_int(i, 0, bytes)?, self.read_int(i, 1, bytes)?);
                self.compare(a, b, bytes);
            }
            Test => {
                let bytes = op_bytes(0);
                let both = self.read_int(i, 0, bytes)? & self.read_int(i, 1, bytes)?;
                self.set_flags(both, bytes);
            }
            Sete | Setne | Setl | Setle | Setg | Setge | Setb | Setbe | Seta | Setae | Setp | Setnp => {
                let holds = self.holds(i.mnemonic());
                self.write_int(i, 0, 1, u64::from(holds))?;
            }
            Cmove | Cmovne | Cmovl | Cmovg | Cmovb | Cmova | Cmovae | Cmovns | Cmovp => {
                if self.holds(i.mnemonic()) {
                    let value = self.read_int(i, 1, 8)?;
                    self.write_int(i, 0, 8, value)?;
                }
            }
            Cqo => self.int[2] = ((self.int[0] as i64) >> 63) as u64,
            Cdq => self.int[2] = ((self.int[0] as i32) >> 31) as u32 as u64,
            Idiv | Div => self.divide(i, op_bytes(0))?,
            Kmovq => {
                let value = self.read_mask_or_int(i, 1)?;
                match i.op_kind(0) {
                    OpKind::Register if i.op_register(0).is_k() => self.mask[i.op_register(0).number()] = value,
                    _ => self.write_int(i, 0, 8, value)?,
                }
            }
            Kandq | Kandnq | Korq | Kxorq => {
                let (a, b) = (self.mask[i.op_register(1).number()], self.mask[i.op_register(2).number()]);
                self.mask[i.op_register(0).number()] = match i.mnemonic() {
                    Kandq => a & b,
                    Kandnq => !a & b,
                    Korq => a | b,
                    _ => a ^ b,
                };
            }
            Knotq => self.mask[i.op_register(0).number()] = !self.mask[i.op_register(1).number()],
            Kshiftlq | Kshiftrq => {
                let (a, n) = (self.mask[i.op_register(1).number()], i.immediate(2) as u32);
                let result = if i.mnemonic() == Kshiftlq { a.checked_shl(n) } else { a.checked_shr(n) };
                self.mask[i.op_register(0).number()] = result.unwrap_or(0);
            }
            Vucomiss | Vucomisd => {
                let wide = i.mnemonic() == Vucomisd;
                let (a, b) = (self.read_vector(i, 0, 8)?, self.read_vector(i, 1, if wide { 8 } else { 4 })?);
                let (a, b) = (super::vector::float(&a, 0, wide), super::vector::float(&b, 0, wide));
                let unordered = a.is_nan() || b.is_nan();
                self.zero = unordered || a == b;
                self.carry = unordered || a < b;
                self.parity = unordered;
                (self.sign, self.overflow) = (false, false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_mask_or_int(&self, i: &Instruction, op: u32) -> Result<u64, String> {
        match i.op_kind(op) {
            OpKind::Register if i.op_register(op).is_k() => Ok(self.mask[i.op_register(op).number()]),
            _ => self.read_int(i, op, 8),
        }
    }

    fn divide(&mut self, i: &Instruction, bytes: u32) -> Result<(), String> {
        let divisor = self.read_int(i, 0, bytes)?;
        let bits = 8 * bytes;
        let dividend = u128::from(self.int[2] & low_bits(bytes)) << bits | u128::from(self.int[0] & low_bits(bytes));
        let (quotient, remainder) = if i.mnemonic() == Mnemonic::Idiv {
            let dividend = (dividend << (128 - 2 * bits)) as i128 >> (128 - 2 * bits);
            let divisor = i128::from(signed(divisor, bytes));
            let quotient = dividend.checked_div(divisor).ok_or("division by zero")?;
            if quotient != i128::from(signed(quotient as u64 & low_bits(bytes), bytes)) {
                return Err("a quotient that does not fit".into());
            }
            (quotient as u64, (dividend % divisor) as u64)
        } else {
            let divisor = u128::from(divisor);
            let quotient = dividend.checked_div(divisor).ok_or("division by zero")?;
            (quotient as u64, (dividend % divisor) as u64)
        };
        self.int[0] = quotient & low_bits(bytes);
        self.int[2] = remainder & low_bits(bytes);
        Ok(())
    }
}

fn signed(value: u64, bytes: u32) -> i64 {
    let spare = 64 - 8 * bytes;
    ((value << spare) as i64) >> spare
}

fn shifted(kind: Mnemonic, a: u64, n: u64, bytes: u32) -> u64 {
    match kind {
        Mnemonic::Shl => a << n,
        Mnemonic::Shr => a >> n,
        _ => (signed(a, bytes) >> n) as u64,
    }
}
