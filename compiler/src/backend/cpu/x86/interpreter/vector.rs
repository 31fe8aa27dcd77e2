//! Instructions on vector registers.

use super::{Cpu, register_bytes};
use half::f16;
use iced_x86::{Instruction, Mnemonic, OpKind};

type Bytes = [u8; 64];

/// Lane `at` of 4 or 8 bytes.
fn lane(v: &Bytes, at: usize, wide: bool) -> u64 {
    match wide {
        true => u64::from_le_bytes(v[8 * at..8 * at + 8].try_into().expect("8 bytes")),
        false => u64::from(u32::from_le_bytes(v[4 * at..4 * at + 4].try_into().expect("4 bytes"))),
    }
}

fn set_lane(v: &mut Bytes, at: usize, wide: bool, value: u64) {
    match wide {
        true => v[8 * at..8 * at + 8].copy_from_slice(&value.to_le_bytes()),
        false => v[4 * at..4 * at + 4].copy_from_slice(&(value as u32).to_le_bytes()),
    }
}

/// Lane `at` as a float; f32 is widened, which loses nothing.
pub(super) fn float(v: &Bytes, at: usize, wide: bool) -> f64 {
    if wide { f64::from_bits(lane(v, at, true)) } else { f64::from(f32::from_bits(lane(v, at, false) as u32)) }
}

fn signed_lane(v: &Bytes, at: usize, wide: bool) -> i64 {
    if wide { lane(v, at, true) as i64 } else { i64::from(lane(v, at, false) as u32 as i32) }
}

/// What two floats give, in the precision of the lane.
fn arithmetic(m: Mnemonic, a: u64, b: u64, wide: bool) -> u64 {
    use Mnemonic::*;
    macro_rules! of {
        ($float:ty, $bits:ty) => {{
            let (x, y) = (<$float>::from_bits(a as $bits), <$float>::from_bits(b as $bits));
            let result = match m {
                Vaddps | Vaddpd | Vaddss | Vaddsd => x + y,
                Vsubps | Vsubpd | Vsubss | Vsubsd => x - y,
                Vmulps | Vmulpd | Vmulss | Vmulsd => x * y,
                Vdivps | Vdivpd | Vdivss | Vdivsd => x / y,
                Vminps | Vminpd | Vminss | Vminsd => {
                    if x < y {
                        x
                    } else {
                        y
                    }
                }
                Vmaxps | Vmaxpd | Vmaxss | Vmaxsd => {
                    if x > y {
                        x
                    } else {
                        y
                    }
                }
                Vsqrtps | Vsqrtpd | Vsqrtss | Vsqrtsd => y.sqrt(),
                // In two steps, of which the second alone rounds.
                Vscalefps | Vscalefpd | Vscalefss | Vscalefsd => {
                    let half = (y.floor() / 2.0).floor();
                    x * half.exp2() * (y.floor() - half).exp2()
                }
                _ => panic!("{m:?} is no arithmetic"),
            };
            u64::from(result.to_bits())
        }};
    }
    if wide { of!(f64, u64) } else { of!(f32, u32) }
}

fn multiply_add(acc: u64, a: u64, b: u64, wide: bool) -> u64 {
    match wide {
        true => f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(acc)).to_bits(),
        false => u64::from(f32::from_bits(a as u32).mul_add(f32::from_bits(b as u32), f32::from_bits(acc as u32)).to_bits()),
    }
}

fn rounded(a: u64, mode: u64, wide: bool) -> u64 {
    let x = if wide { f64::from_bits(a) } else { f64::from(f32::from_bits(a as u32)) };
    let y = match mode & 3 {
        0 => x.round_ties_even(),
        1 => x.floor(),
        2 => x.ceil(),
        _ => x.trunc(),
    };
    if wide { y.to_bits() } else { u64::from((y as f32).to_bits()) }
}

/// Predicates that the emitter uses.
fn compares(predicate: u64, a: f64, b: f64) -> bool {
    match predicate {
        0x00 => a == b,
        0x03 => a.is_nan() || b.is_nan(),
        0x04 => a != b,
        0x11 => a < b,
        0x12 => a <= b,
        0x1d => a >= b,
        0x1e => a > b,
        _ => panic!("predicate {predicate:#x}"),
    }
}

fn compares_ints<T: Ord>(predicate: u64, a: T, b: T) -> bool {
    match predicate {
        0 => a == b,
        1 => a < b,
        2 => a <= b,
        4 => a != b,
        5 => a >= b,
        6 => a > b,
        _ => panic!("predicate {predicate}"),
    }
}

/// Truncation as the machine does it: the least integer where there is no right one.
fn to_int(x: f64, wide: bool) -> u64 {
    let x = x.trunc();
    match wide {
        true if (-9223372036854775808.0..9223372036854775808.0).contains(&x) => x as i64 as u64,
        true => i64::MIN as u64,
        false if (-2147483648.0..2147483648.0).contains(&x) => x as i32 as u32 as u64,
        false => i32::MIN as u32 as u64,
    }
}

impl Cpu<'_> {
    /// Bytes of the operation: those of its widest vector register.
    fn vector_bytes(i: &Instruction) -> usize {
        (0..i.op_count())
            .filter(|op| i.op_kind(*op) == OpKind::Register && i.op_register(*op).is_vector_register())
            .map(|op| register_bytes(i, op) as usize)
            .max()
            .unwrap_or(16)
    }

    /// Each lane of the result from the lanes of the last two operands.
    fn zip(&mut self, i: &Instruction, wide: bool, f: impl Fn(u64, u64) -> u64) -> Result<(), String> {
        let bytes = Self::vector_bytes(i);
        let a = if i.op_count() > 2 { self.read_vector(i, 1, bytes)? } else { [0; 64] };
        let b = self.read_vector(i, if i.op_count() > 2 { 2 } else { 1 }, bytes)?;
        let mut result = [0; 64];
        for at in 0..bytes / if wide { 8 } else { 4 } {
            set_lane(&mut result, at, wide, f(lane(&a, at, wide), lane(&b, at, wide)));
        }
        self.write_vector(i, 0, bytes, &result)
    }

    /// The lowest lane from those of the last two operands, the others from the first of them.
    fn lowest(&mut self, i: &Instruction, wide: bool, f: impl Fn(u64, u64) -> u64) -> Result<(), String> {
        let (mut a, b) = (self.read_vector(i, 1, 16)?, self.read_vector(i, 2, if wide { 8 } else { 4 })?);
        let value = f(lane(&a, 0, wide), lane(&b, 0, wide));
        set_lane(&mut a, 0, wide, value);
        self.write_vector(i, 0, 16, &a)
    }

    fn set_mask(&mut self, i: &Instruction, bits: impl Iterator<Item = bool>) {
        self.mask[i.op_register(0).number()] = bits.enumerate().fold(0, |mask, (at, bit)| mask | u64::from(bit) << at);
    }

    /// Lanes of one size to lanes of another.
    fn lanes_to_lanes(&mut self, i: &Instruction, count: usize, from: usize, to: usize, f: impl Fn(u64) -> u64) -> Result<(), String> {
        let source = self.read_vector(i, 1, count * from)?;
        let mut result = [0; 64];
        for at in 0..count {
            let mut bits = [0; 8];
            bits[..from].copy_from_slice(&source[at * from..(at + 1) * from]);
            let value = f(u64::from_le_bytes(bits)).to_le_bytes();
            result[at * to..(at + 1) * to].copy_from_slice(&value[..to]);
        }
        let bytes = if i.op_kind(0) == OpKind::Memory { count * to } else { (count * to).max(16) };
        self.write_vector(i, 0, bytes, &result)
    }

    /// Executes the instruction if it is one of these.
    pub(super) fn vector(&mut self, i: &Instruction) -> Result<bool, String> {
        use Mnemonic::*;
        let m = i.mnemonic();
        let bytes = Self::vector_bytes(i);
        match m {
            Vmaskmovps | Vmaskmovpd => {
                let (wide, size) = if m == Vmaskmovpd { (true, 8) } else { (false, 4) };
                let (mask, address) = (self.read_vector(i, 1, bytes)?, self.address(i));
                let (stores, mut value) = (i.op_kind(0) == OpKind::Memory, [0; 64]);
                let source = if stores { self.read_vector(i, 2, bytes)? } else { value };
                for at in (0..bytes / size).filter(|at| signed_lane(&mask, *at, wide) < 0) {
                    let place = address + (at * size) as u64;
                    match stores {
                        true => self.write_memory(place, size as u32, lane(&source, at, wide))?,
                        false => set_lane(&mut value, at, wide, self.read_memory(place, size as u32)?),
                    }
                }
                if !stores {
                    self.write_vector(i, 0, bytes, &value)?;
                }
            }
            Vmovups | Vmovupd => {
                let value = self.read_vector(i, 1, bytes)?;
                self.write_vector(i, 0, bytes, &value)?;
            }
            Vmovss | Vmovsd => {
                let size = if m == Vmovsd { 8 } else { 4 };
                let mut value = self.read_vector(i, 1, size)?;
                value[size..].fill(0);
                self.write_vector(i, 0, if i.op_kind(0) == OpKind::Memory { size } else { 16 }, &value)?;
            }
            Vmovd | Vmovq => {
                let size = if m == Vmovq { 8 } else { 4 };
                let is_vector = |op: u32| i.op_kind(op) == OpKind::Register && i.op_register(op).is_vector_register();
                if is_vector(0) {
                    let mut value = [0; 64];
                    set_lane(&mut value, 0, m == Vmovq, self.read_int(i, 1, size)?);
                    self.write_vector(i, 0, 16, &value)?;
                } else {
                    let value = lane(&self.read_vector(i, 1, 16)?, 0, m == Vmovq);
                    self.write_int(i, 0, size, value)?;
                }
            }
            Vbroadcastss | Vbroadcastsd => {
                let wide = m == Vbroadcastsd;
                let value = lane(&self.read_vector(i, 1, if wide { 8 } else { 4 })?, 0, wide);
                let mut result = [0; 64];
                (0..bytes / if wide { 8 } else { 4 }).for_each(|at| set_lane(&mut result, at, wide, value));
                self.write_vector(i, 0, register_bytes(i, 0) as usize, &result)?;
            }
            Vpbroadcastw => {
                let value = self.read_vector(i, 1, 2)?;
                let result = std::array::from_fn(|at| value[at % 2]);
                self.write_vector(i, 0, register_bytes(i, 0) as usize, &result)?;
            }
            Vaddps | Vsubps | Vmulps | Vdivps | Vminps | Vmaxps | Vsqrtps | Vscalefps => {
                self.zip(i, false, |a, b| arithmetic(m, a, b, false))?
            }
            Vaddpd | Vsubpd | Vmulpd | Vdivpd | Vminpd | Vmaxpd | Vsqrtpd | Vscalefpd => {
                self.zip(i, true, |a, b| arithmetic(m, a, b, true))?
            }
            Vaddss | Vsubss | Vmulss | Vdivss | Vminss | Vmaxss | Vsqrtss | Vscalefss => {
                self.lowest(i, false, |a, b| arithmetic(m, a, b, false))?
            }
            Vaddsd | Vsubsd | Vmulsd | Vdivsd | Vminsd | Vmaxsd | Vsqrtsd | Vscalefsd => {
                self.lowest(i, true, |a, b| arithmetic(m, a, b, true))?
            }
            Vfmadd231ps | Vfmadd231pd => {
                let wide = m == Vfmadd231pd;
                let (acc, a, b) = (self.read_vector(i, 0, bytes)?, self.read_vector(i, 1, bytes)?, self.read_vector(i, 2, bytes)?);
                let mut result = [0; 64];
                for at in 0..bytes / if wide { 8 } else { 4 } {
                    set_lane(&mut result, at, wide, multiply_add(lane(&acc, at, wide), lane(&a, at, wide), lane(&b, at, wide), wide));
                }
                self.write_vector(i, 0, bytes, &result)?;
            }
            Vfmadd231ss | Vfmadd231sd => {
                let wide = m == Vfmadd231sd;
                let (mut acc, a) = (self.read_vector(i, 0, 16)?, self.read_vector(i, 1, 16)?);
                let b = self.read_vector(i, 2, if wide { 8 } else { 4 })?;
                let value = multiply_add(lane(&acc, 0, wide), lane(&a, 0, wide), lane(&b, 0, wide), wide);
                set_lane(&mut acc, 0, wide, value);
                self.write_vector(i, 0, 16, &acc)?;
            }
            Vandps | Vandpd | Vpand | Vpandd => self.zip(i, true, |a, b| a & b)?,
            Vorps | Vorpd | Vpor | Vpord => self.zip(i, true, |a, b| a | b)?,
            Vxorps | Vxorpd | Vpxor | Vpxord => self.zip(i, true, |a, b| a ^ b)?,
            Vroundps | Vrndscaleps | Vroundpd | Vrndscalepd => {
                let wide = matches!(m, Vroundpd | Vrndscalepd);
                let (a, mode) = (self.read_vector(i, 1, bytes)?, i.immediate(2));
                let mut result = [0; 64];
                (0..bytes / if wide { 8 } else { 4 })
                    .for_each(|at| set_lane(&mut result, at, wide, rounded(lane(&a, at, wide), mode, wide)));
                self.write_vector(i, 0, bytes, &result)?;
            }
            Vroundss | Vrndscaless => self.lowest(i, false, |_, b| rounded(b, i.immediate(3), false))?,
            Vroundsd | Vrndscalesd => self.lowest(i, true, |_, b| rounded(b, i.immediate(3), true))?,
            Vcmpps | Vcmppd => {
                let wide = m == Vcmppd;
                let (a, b, predicate) = (self.read_vector(i, 1, bytes)?, self.read_vector(i, 2, bytes)?, i.immediate(3));
                let count = bytes / if wide { 8 } else { 4 };
                let bits = (0..count).map(|at| compares(predicate, float(&a, at, wide), float(&b, at, wide)));
                if i.op_register(0).is_k() {
                    self.set_mask(i, bits);
                } else {
                    let mut result = [0; 64];
                    bits.enumerate().for_each(|(at, bit)| set_lane(&mut result, at, wide, if bit { u64::MAX } else { 0 }));
                    self.write_vector(i, 0, bytes, &result)?;
                }
            }
            Vpcmpd | Vpcmpq | Vpcmpud | Vpcmpuq => {
                let wide = matches!(m, Vpcmpq | Vpcmpuq);
                let (a, b, predicate) = (self.read_vector(i, 1, bytes)?, self.read_vector(i, 2, bytes)?, i.immediate(3));
                let bit = |at: usize| match m {
                    Vpcmpd | Vpcmpq => compares_ints(predicate, signed_lane(&a, at, wide), signed_lane(&b, at, wide)),
                    _ => compares_ints(predicate, lane(&a, at, wide), lane(&b, at, wide)),
                };
                self.set_mask(i, (0..bytes / if wide { 8 } else { 4 }).map(bit));
            }
            Vptestmd => {
                let (a, b) = (self.read_vector(i, 1, bytes)?, self.read_vector(i, 2, bytes)?);
                self.set_mask(i, (0..bytes / 4).map(|at| lane(&a, at, false) & lane(&b, at, false) != 0));
            }
            Vpcmpeqd => self.zip(i, false, |a, b| if a == b { u64::MAX } else { 0 })?,
            Vpcmpeqq => self.zip(i, true, |a, b| if a == b { u64::MAX } else { 0 })?,
            Vpcmpgtd => self.zip(i, false, |a, b| if a as u32 as i32 > b as u32 as i32 { u64::MAX } else { 0 })?,
            Vpcmpgtq => self.zip(i, true, |a, b| if a as i64 > b as i64 { u64::MAX } else { 0 })?,
            Vblendvps | Vblendvpd | Vblendmps | Vblendmpd | Vpblendmd | Vpblendmq => {
                let wide = matches!(m, Vblendvpd | Vblendmpd | Vpblendmq);
                let (a, b) = (self.read_vector(i, 1, bytes)?, self.read_vector(i, 2, bytes)?);
                let chosen: Vec<bool> = if i.op_count() > 3 {
                    let mask = self.read_vector(i, 3, bytes)?;
                    (0..bytes / if wide { 8 } else { 4 }).map(|at| signed_lane(&mask, at, wide) < 0).collect()
                } else {
                    let mask = self.mask[i.op_mask().number()];
                    (0..64).map(|at| mask >> at & 1 != 0).collect()
                };
                let mut result = [0; 64];
                for (at, is_second) in chosen.into_iter().take(bytes / if wide { 8 } else { 4 }).enumerate() {
                    set_lane(&mut result, at, wide, lane(if is_second { &b } else { &a }, at, wide));
                }
                self.write_vector(i, 0, bytes, &result)?;
            }
            Vpaddd => self.zip(i, false, |a, b| a.wrapping_add(b))?,
            Vpaddq => self.zip(i, true, |a, b| a.wrapping_add(b))?,
            Vpsubd => self.zip(i, false, |a, b| a.wrapping_sub(b))?,
            Vpsubq => self.zip(i, true, |a, b| a.wrapping_sub(b))?,
            Vpmulld => self.zip(i, false, |a, b| a.wrapping_mul(b))?,
            Vpmullq => self.zip(i, true, |a, b| a.wrapping_mul(b))?,
            Vpmuludq => self.zip(i, true, |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff))?,
            Vpminsd => self.zip(i, false, |a, b| (a as u32 as i32).min(b as u32 as i32) as u32 as u64)?,
            Vpmaxsd => self.zip(i, false, |a, b| (a as u32 as i32).max(b as u32 as i32) as u32 as u64)?,
            Vpminud => self.zip(i, false, u64::min)?,
            Vpmaxud => self.zip(i, false, u64::max)?,
            Vpminsq => self.zip(i, true, |a, b| (a as i64).min(b as i64) as u64)?,
            Vpmaxsq => self.zip(i, true, |a, b| (a as i64).max(b as i64) as u64)?,
            Vpminuq => self.zip(i, true, u64::min)?,
            Vpmaxuq => self.zip(i, true, u64::max)?,
            Vpabsd => self.zip(i, false, |_, b| u64::from((b as u32 as i32).unsigned_abs()))?,
            Vpabsq => self.zip(i, true, |_, b| (b as i64).unsigned_abs())?,
            Vpslld | Vpsrld | Vpsrad | Vpsllq | Vpsrlq | Vpsraq => {
                let wide = matches!(m, Vpsllq | Vpsrlq | Vpsraq);
                let (a, n) = (self.read_vector(i, 1, bytes)?, i.immediate(2));
                let mut result = [0; 64];
                for at in 0..bytes / if wide { 8 } else { 4 } {
                    set_lane(&mut result, at, wide, shifted_lane(m, &a, at, n, wide));
                }
                self.write_vector(i, 0, bytes, &result)?;
            }
            Vpsllvd | Vpsrlvd | Vpsravd | Vpsllvq | Vpsrlvq | Vpsravq => {
                let wide = matches!(m, Vpsllvq | Vpsrlvq | Vpsravq);
                let (a, b) = (self.read_vector(i, 1, bytes)?, self.read_vector(i, 2, bytes)?);
                let kind = match m {
                    Vpsllvd | Vpsllvq => Vpslld,
                    Vpsrlvd | Vpsrlvq => Vpsrld,
                    _ => Vpsrad,
                };
                let mut result = [0; 64];
                for at in 0..bytes / if wide { 8 } else { 4 } {
                    set_lane(&mut result, at, wide, shifted_lane(kind, &a, at, lane(&b, at, wide), wide));
                }
                self.write_vector(i, 0, bytes, &result)?;
            }
            Vcvtdq2ps => self.zip(i, false, |_, b| u64::from((b as u32 as i32 as f32).to_bits()))?,
            Vcvttps2dq => self.zip(i, false, |_, b| to_int(f64::from(f32::from_bits(b as u32)), false))?,
            Vcvtdq2pd => self.lanes_to_lanes(i, bytes / 8, 4, 8, |b| f64::from(b as u32 as i32).to_bits())?,
            Vcvtps2pd => self.lanes_to_lanes(i, bytes / 8, 4, 8, |b| f64::from(f32::from_bits(b as u32)).to_bits())?,
            Vcvtpd2ps => {
                self.lanes_to_lanes(i, register_bytes(i, 1) as usize / 8, 8, 4, |b| u64::from((f64::from_bits(b) as f32).to_bits()))?
            }
            Vcvtph2ps => self.lanes_to_lanes(i, bytes / 4, 2, 4, |b| u64::from(f16::from_bits(b as u16).to_f32().to_bits()))?,
            Vcvtps2ph => {
                if i.immediate(2) != 0 {
                    return Err("vcvtps2ph that does not round to nearest".into());
                }
                let half = |b| u64::from(f16::from_f32(f32::from_bits(b as u32)).to_bits());
                self.lanes_to_lanes(i, register_bytes(i, 1) as usize / 4, 4, 2, half)?
            }
            Vpmovdw => self.lanes_to_lanes(i, register_bytes(i, 1) as usize / 4, 4, 2, |b| b)?,
            Vpmovdb => self.lanes_to_lanes(i, register_bytes(i, 1) as usize / 4, 4, 1, |b| b)?,
            Vpmovqd => self.lanes_to_lanes(i, register_bytes(i, 1) as usize / 8, 8, 4, |b| b)?,
            Vpmovsxdq => self.lanes_to_lanes(i, bytes / 8, 4, 8, |b| i64::from(b as u32 as i32) as u64)?,
            Vpmovzxdq => self.lanes_to_lanes(i, bytes / 8, 4, 8, |b| b)?,
            Vpmovsxwd => self.lanes_to_lanes(i, bytes / 4, 2, 4, |b| i64::from(b as u16 as i16) as u64)?,
            Vpmovzxwd => self.lanes_to_lanes(i, bytes / 4, 2, 4, |b| b)?,
            Vpmovsxwq => self.lanes_to_lanes(i, bytes / 8, 2, 8, |b| i64::from(b as u16 as i16) as u64)?,
            Vpmovzxwq => self.lanes_to_lanes(i, bytes / 8, 2, 8, |b| b)?,
            Vpmovsxbd => self.lanes_to_lanes(i, bytes / 4, 1, 4, |b| i64::from(b as u8 as i8) as u64)?,
            Vpmovzxbd => self.lanes_to_lanes(i, bytes / 4, 1, 4, |b| b)?,
            Vpmovsxbq => self.lanes_to_lanes(i, bytes / 8, 1, 8, |b| i64::from(b as u8 as i8) as u64)?,
            Vpmovzxbq => self.lanes_to_lanes(i, bytes / 8, 1, 8, |b| b)?,
            Vcvtss2sd | Vcvtsd2ss => {
                let (mut a, wide) = (self.read_vector(i, 1, 16)?, m == Vcvtsd2ss);
                let x = float(&self.read_vector(i, 2, if wide { 8 } else { 4 })?, 0, wide);
                set_lane(&mut a, 0, !wide, if wide { u64::from((x as f32).to_bits()) } else { x.to_bits() });
                self.write_vector(i, 0, 16, &a)?;
            }
            Vcvtsi2ss | Vcvtsi2sd => {
                let size = register_bytes(i, 2);
                let (mut a, value) = (self.read_vector(i, 1, 16)?, self.read_int(i, 2, size)?);
                let value = if size == 8 { value as i64 } else { i64::from(value as u32 as i32) };
                let bits = if m == Vcvtsi2sd { (value as f64).to_bits() } else { u64::from((value as f32).to_bits()) };
                set_lane(&mut a, 0, m == Vcvtsi2sd, bits);
                self.write_vector(i, 0, 16, &a)?;
            }
            Vcvttss2si | Vcvttsd2si => {
                let wide = m == Vcvttsd2si;
                let x = float(&self.read_vector(i, 1, if wide { 8 } else { 4 })?, 0, wide);
                let size = register_bytes(i, 0);
                self.write_int(i, 0, size, to_int(x, size == 8))?;
            }
            _ => return self.shuffle(i),
        }
        Ok(true)
    }

    /// Instructions that move lanes.
    fn shuffle(&mut self, i: &Instruction) -> Result<bool, String> {
        use Mnemonic::*;
        let m = i.mnemonic();
        let bytes = Self::vector_bytes(i);
        let mut result = [0u8; 64];
        let mut width = bytes;
        match m {
            Vperm2f128 | Vshuff32x4 => {
                let (a, b) = (self.read_vector(i, 1, bytes)?, self.read_vector(i, 2, bytes)?);
                let parts = bytes / 16;
                for part in 0..parts {
                    let bits = i.immediate(3);
                    let (second, from) = match (m, parts) {
                        (Vperm2f128, _) => ((bits >> (4 * part + 1)) & 1 == 1, (bits >> (4 * part) & 1) as usize),
                        (_, 2) => (part == 1, (bits >> part & 1) as usize),
                        _ => (part > 1, (bits >> (2 * part) & 3) as usize),
                    };
                    let source = if second { &b } else { &a };
                    result[16 * part..16 * part + 16].copy_from_slice(&source[16 * from..16 * from + 16]);
                }
            }
            Vshufps | Vshufpd | Vunpcklps | Vunpckhps | Vpunpcklqdq | Vpunpckhqdq => {
                let (a, b) = (self.read_vector(i, 1, bytes)?, self.read_vector(i, 2, bytes)?);
                for part in 0..bytes / 16 {
                    for at in 0..4 {
                        // Lanes of 4 bytes: from which operand, and which of its part.
                        let (second, from) = match m {
                            Vshufps => (at > 1, (i.immediate(3) >> (2 * at) & 3) as usize),
                            Vshufpd => (at > 1, 2 * (i.immediate(3) >> (2 * part + at / 2) & 1) as usize + at % 2),
                            Vunpcklps => (at % 2 == 1, at / 2),
                            Vunpckhps => (at % 2 == 1, 2 + at / 2),
                            Vpunpcklqdq => (at > 1, at % 2),
                            _ => (at > 1, 2 + at % 2),
                        };
                        let value = lane(if second { &b } else { &a }, 4 * part + from, false);
                        set_lane(&mut result, 4 * part + at, false, value);
                    }
                }
            }
            Vpackusdw | Vpackuswb => {
                let (a, b) = (self.read_vector(i, 1, bytes)?, self.read_vector(i, 2, bytes)?);
                let to = if m == Vpackusdw { 2 } else { 1 };
                for part in (0..bytes).step_by(16) {
                    for at in 0..16 / to {
                        let (source, from) = (if at < 8 / to { &a } else { &b }, part + at % (8 / to) * 2 * to);
                        let value = match m {
                            Vpackusdw => i32::from_le_bytes(source[from..from + 4].try_into().expect("4 bytes")).clamp(0, 0xffff),
                            _ => i32::from(i16::from_le_bytes(source[from..from + 2].try_into().expect("2 bytes"))).clamp(0, 0xff),
                        };
                        result[part + at * to..part + (at + 1) * to].copy_from_slice(&value.to_le_bytes()[..to]);
                    }
                }
            }
            Vpshufd => {
                let a = self.read_vector(i, 1, bytes)?;
                for at in 0..bytes / 4 {
                    let from = (i.immediate(2) >> (2 * (at % 4)) & 3) as usize;
                    set_lane(&mut result, at, false, lane(&a, at / 4 * 4 + from, false));
                }
            }
            Vpermq => {
                let a = self.read_vector(i, 1, bytes)?;
                for at in 0..bytes / 8 {
                    let from = (i.immediate(2) >> (2 * (at % 4)) & 3) as usize;
                    set_lane(&mut result, at, true, lane(&a, at / 4 * 4 + from, true));
                }
            }
            Vextractf128 | Vextractf32x4 | Vextractf64x4 => {
                width = if m == Vextractf64x4 { 32 } else { 16 };
                let (a, at) = (self.read_vector(i, 1, bytes)?, i.immediate(2) as usize * width);
                result[..width].copy_from_slice(&a[at..at + width]);
            }
            Vinsertf128 | Vinsertf32x4 | Vinsertf64x4 => {
                let part = if m == Vinsertf64x4 { 32 } else { 16 };
                let (a, b) = (self.read_vector(i, 1, bytes)?, self.read_vector(i, 2, part)?);
                let at = i.immediate(3) as usize * part;
                result[..bytes].copy_from_slice(&a[..bytes]);
                result[at..at + part].copy_from_slice(&b[..part]);
            }
            Vinsertps => {
                let (a, b, imm) = (self.read_vector(i, 1, 16)?, self.read_vector(i, 2, 4)?, i.immediate(3));
                let from = if i.op_kind(2) == OpKind::Register { (imm >> 6) as usize } else { 0 };
                result[..16].copy_from_slice(&a[..16]);
                set_lane(&mut result, (imm >> 4 & 3) as usize, false, lane(&b, from, false));
                if imm & 15 != 0 {
                    return Err("insertps with zeros".into());
                }
            }
            Vmovhps => {
                let (a, b) = (self.read_vector(i, 1, 16)?, self.read_vector(i, 2, 8)?);
                set_lane(&mut result, 0, true, lane(&a, 0, true));
                set_lane(&mut result, 1, true, lane(&b, 0, true));
            }
            Vpextrd | Vpextrq => {
                let value = lane(&self.read_vector(i, 1, 16)?, i.immediate(2) as usize, m == Vpextrq);
                self.write_int(i, 0, if m == Vpextrq { 8 } else { 4 }, value)?;
                return Ok(true);
            }
            Vpextrw => {
                let (a, at) = (self.read_vector(i, 1, 16)?, 2 * i.immediate(2) as usize);
                self.write_int(i, 0, 2, u64::from(u16::from_le_bytes([a[at], a[at + 1]])))?;
                return Ok(true);
            }
            Vpinsrw => {
                let (a, value, at) = (self.read_vector(i, 1, 16)?, self.read_int(i, 2, 2)?, 2 * i.immediate(3) as usize);
                result[..16].copy_from_slice(&a[..16]);
                result[at..at + 2].copy_from_slice(&value.to_le_bytes()[..2]);
            }
            Vpinsrd | Vpinsrq => {
                let (a, value) = (self.read_vector(i, 1, 16)?, self.read_int(i, 2, if m == Vpinsrq { 8 } else { 4 })?);
                result[..16].copy_from_slice(&a[..16]);
                set_lane(&mut result, i.immediate(3) as usize, m == Vpinsrq, value);
            }
            _ => return Ok(false),
        }
        self.write_vector(i, 0, width, &result)?;
        Ok(true)
    }
}

/// A lane shifted as the vector shifts do: from the lane width on 0, or all sign bits.
fn shifted_lane(kind: Mnemonic, a: &Bytes, at: usize, n: u64, wide: bool) -> u64 {
    use Mnemonic::*;
    let bits = if wide { 64 } else { 32 };
    match kind {
        Vpsrad | Vpsraq => (signed_lane(a, at, wide) >> n.min(bits - 1)) as u64,
        _ if n >= bits => 0,
        Vpslld | Vpsllq => lane(a, at, wide) << n,
        _ => lane(a, at, wide) >> n,
    }
}
