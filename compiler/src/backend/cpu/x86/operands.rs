//! What an instruction's operands are: how wide a register it names, how an immediate is kept.

use iced_x86::{Code, OpCodeOperandKind, OpKind, Register};

/// Bits of the register that operand `at` names. Panics where it is none.
fn register_bits(code: Code, at: u32) -> u32 {
    use OpCodeOperandKind::*;
    match code.op_code().op_kind(at) {
        r8_or_mem | r8_reg => 8,
        r16_or_mem | r16_reg => 16,
        r32_or_mem | r32_reg | r32_rm | r32_opcode | r32_vvvv => 32,
        r64_or_mem | r64_reg | r64_rm | r64_opcode | r64_vvvv => 64,
        xmm_or_mem | xmm_reg | xmm_rm | xmm_vvvv | xmm_is4 => 128,
        ymm_or_mem | ymm_reg | ymm_rm | ymm_vvvv | ymm_is4 => 256,
        zmm_or_mem | zmm_reg | zmm_rm | zmm_vvvv => 512,
        kind => panic!("tile: operand {at} of {code:?} is {kind:?}, no register of ours"),
    }
}

/// The general-purpose register of that number as operand `at` names it.
pub(super) fn int_operand(code: Code, at: u32, number: u8) -> Register {
    int(number, register_bits(code, at))
}

/// The vector register of that number as operand `at` names it.
pub(super) fn vector_operand(code: Code, at: u32, number: u8) -> Register {
    vector(number, register_bits(code, at))
}

/// How the immediate that is operand `at` is kept.
pub(super) fn immediate_kind(code: Code, at: u32) -> OpKind {
    match code.op_code().op_kind(at) {
        OpCodeOperandKind::imm8 => OpKind::Immediate8,
        OpCodeOperandKind::imm32 => OpKind::Immediate32,
        OpCodeOperandKind::imm32sex64 => OpKind::Immediate32to64,
        OpCodeOperandKind::imm64 => OpKind::Immediate64,
        kind => panic!("tile: operand {at} of {code:?} is {kind:?}, no immediate of ours"),
    }
}

/// A general-purpose register of 64, 32, 16 or 8 bits.
pub(super) fn int(number: u8, bits: u32) -> Register {
    let number = u32::from(number);
    match bits {
        64 => Register::RAX + number,
        32 => Register::EAX + number,
        16 => Register::AX + number,
        // spl, bpl, sil and dil stand before r8l; ah to bh, which have their numbers, are never meant.
        _ if number < 4 => Register::AL + number,
        _ => Register::SPL + (number - 4),
    }
}

/// A vector register of 128, 256 or 512 bits.
pub(super) fn vector(number: u8, bits: u32) -> Register {
    let first = match bits {
        128 => Register::XMM0,
        256 => Register::YMM0,
        _ => Register::ZMM0,
    };
    first + u32::from(number)
}

/// An opmask register.
pub(super) fn mask(number: u8) -> Register {
    Register::K0 + u32::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_have_their_names() {
        assert_eq!([int(3, 8), int(6, 8), int(8, 8)], [Register::BL, Register::SIL, Register::R8L]);
        assert_eq!([int(1, 32), int(15, 64)], [Register::ECX, Register::R15]);
        assert_eq!([vector(17, 512), vector(2, 128), mask(7)], [Register::ZMM17, Register::XMM2, Register::K7]);
    }
}
