//! Registers as Cranelift values: a scalar is one value; a vector is one or more 128-bit vectors in order of
//! lanes, where a vector narrower than 128 bits leaves the upper lanes of its only piece undefined.
//!
//! Masks: a scalar is an `i8` of 0 or 1; a vector keeps all-ones or zero lanes as wide as what was compared
//! (`mask_bits`), and is widened or narrowed where it meets another width.

use super::Lowering;
use crate::tile::{Lane, Reg, Shuffle, Type};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, Endianness, InstBuilder, MemFlagsData, Value, types};

/// The Cranelift values of one register.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    pub(super) values: Vec<Value>,
    /// Lane width of a vector mask; 0 for everything else.
    pub(super) mask_bits: u32,
}

impl Pieces {
    pub(super) fn scalar(value: Value) -> Pieces {
        Pieces::of(vec![value])
    }

    pub(super) fn of(values: Vec<Value>) -> Pieces {
        Pieces { values, mask_bits: 0 }
    }

    pub(super) fn mask(values: Vec<Value>, mask_bits: u32) -> Pieces {
        Pieces { values, mask_bits }
    }
}

/// Lane width of vector masks that pass between blocks.
pub(super) const CARRIED_MASK_BITS: u32 = 32;

/// The Cranelift scalar of a lane.
pub(super) fn scalar_type(lane: Lane) -> ir::Type {
    match lane {
        Lane::I8 | Lane::Mask => types::I8,
        Lane::I16 => types::I16,
        Lane::I32 => types::I32,
        Lane::I64 => types::I64,
        Lane::F32 => types::F32,
        Lane::F64 => types::F64,
    }
}

/// The 128-bit vector of a lane.
pub(super) fn vector_type(lane: Lane) -> ir::Type {
    let scalar = scalar_type(lane);
    scalar.by(128 / scalar.bits()).expect("a 128-bit vector of every scalar exists")
}

/// The 128-bit integer vector with lanes of this width.
pub(super) fn int_vector(bits: u32) -> ir::Type {
    match bits {
        8 => types::I8X16,
        16 => types::I16X8,
        32 => types::I32X4,
        64 => types::I64X2,
        _ => panic!("tile: no lanes of {bits} bits"),
    }
}

/// How many 128-bit vectors hold `lanes` lanes of `bits`.
pub(super) fn piece_count(lanes: u32, bits: u32) -> usize {
    (lanes * bits).div_ceil(128) as usize
}

/// The type of each block parameter that carries a register.
pub(super) fn carried_type(ty: Type) -> ir::Type {
    match ty {
        _ if ty.is_scalar() => scalar_type(ty.lane),
        _ if ty.lane == Lane::Mask => int_vector(CARRIED_MASK_BITS),
        _ => vector_type(ty.lane),
    }
}

/// How many block parameters carry a register.
pub(super) fn carried_count(ty: Type) -> usize {
    match ty {
        _ if ty.is_scalar() => 1,
        _ if ty.lane == Lane::Mask => piece_count(ty.lanes, CARRIED_MASK_BITS),
        _ => piece_count(ty.lanes, ty.lane.bits()),
    }
}

/// The integer lane of a width, for masks as numbers.
fn int_lane(bits: u32) -> Lane {
    match bits {
        8 => Lane::I8,
        16 => Lane::I16,
        32 => Lane::I32,
        _ => Lane::I64,
    }
}

impl Lowering<'_> {
    /// The same 128 bits as another vector type.
    pub(super) fn cast(&mut self, ty: ir::Type, value: Value) -> Value {
        if self.f.func.dfg.value_type(value) == ty {
            return value;
        }
        let little = MemFlagsData::new().with_endianness(Endianness::Little);
        self.f.ins().bitcast(ty, little, value)
    }

    /// Bytes picked from two vectors; the result has the type of the first.
    fn shuffle(&mut self, a: Value, b: Value, bytes: [u8; 16]) -> Value {
        let ty = self.f.func.dfg.value_type(a);
        let (a, b) = (self.cast(types::I8X16, a), self.cast(types::I8X16, b));
        let mask = self.f.func.dfg.immediates.push(bytes.to_vec().into());
        let shuffled = self.f.ins().shuffle(a, b, mask);
        self.cast(ty, shuffled)
    }

    /// The lower 8 bytes of `a`, then those of `b`.
    pub(super) fn join_low_halves(&mut self, a: Value, b: Value) -> Value {
        self.interleave(a, b, 8)
    }

    /// Groups of `group` bytes from the lower halves of both, in turn (`punpckl…`).
    fn interleave(&mut self, a: Value, b: Value, group: u8) -> Value {
        let byte = |at: u8| {
            let (source, within) = (at / group % 2, at / group / 2 * group + at % group);
            16 * source + within
        };
        self.shuffle(a, b, std::array::from_fn(|at| byte(at as u8)))
    }

    /// The upper `bytes` of a piece of `2 · bytes`, moved to its start.
    fn upper_to_start(&mut self, a: Value, bytes: u8) -> Value {
        let pick = match bytes {
            // The patterns that SSE2 has: punpckhqdq, pshufd, pshuflw.
            8 => [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15],
            4 => [4, 5, 6, 7, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            _ => [2, 3, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        };
        self.shuffle(a, a, pick)
    }

    pub(super) fn high_half_of_piece(&mut self, a: Value) -> Value {
        self.upper_to_start(a, 8)
    }

    /// Integer vectors with lanes twice as wide.
    pub(super) fn widen(&mut self, values: &[Value], lanes: u32, bits: u32, signed: bool) -> Vec<Value> {
        let mut wide = vec![];
        for &value in values {
            let value = self.cast(int_vector(bits), value);
            let ins = self.f.ins();
            wide.push(match signed {
                true => ins.swiden_low(value),
                false => ins.uwiden_low(value),
            });
            if wide.len() < piece_count(lanes, 2 * bits) {
                let ins = self.f.ins();
                wide.push(match signed {
                    true => ins.swiden_high(value),
                    false => ins.uwiden_high(value),
                });
            }
        }
        wide
    }

    /// Integer vectors with lanes half as wide, of the low bits.
    pub(super) fn narrow(&mut self, values: &[Value], bits: u32) -> Vec<Value> {
        let mut narrow = vec![];
        for pair in values.chunks(2) {
            let (low, high) = (pair[0], pair[pair.len() - 1]);
            if bits == 64 {
                // shufps: the even 32-bit lanes of both.
                let even = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27];
                let low = self.cast(types::I32X4, low);
                narrow.push(self.shuffle(low, high, even));
                continue;
            }
            // Sign-extended from the low bits, so that the saturating pack of SSE2 keeps them.
            let [low, high] = [low, high].map(|value| {
                let shifted = self.f.ins().ishl_imm_u(value, i64::from(bits / 2));
                self.f.ins().sshr_imm_u(shifted, i64::from(bits / 2))
            });
            narrow.push(self.f.ins().snarrow(low, high));
        }
        narrow
    }

    /// A vector mask with lanes of another width.
    pub(super) fn mask_as(&mut self, mask: &Pieces, lanes: u32, bits: u32) -> Pieces {
        let (mut values, mut at) = (mask.values.clone(), mask.mask_bits);
        while at < bits {
            values = self.widen(&values, lanes, at, true);
            at *= 2;
        }
        while at > bits {
            values = match at {
                64 => self.narrow(&values, 64),
                // Lanes are 0 or −1: saturation does not change them.
                _ => values.chunks(2).map(|pair| self.f.ins().snarrow(pair[0], pair[pair.len() - 1])).collect(),
            };
            at /= 2;
        }
        Pieces::mask(values, bits)
    }

    /// All-ones in an integer lane of this width when the scalar mask holds, else zero.
    fn mask_lane(&mut self, mask: Value, bits: u32) -> Value {
        self.f.ins().bmask(scalar_type(int_lane(bits)), mask)
    }

    pub(super) fn int_constant(&mut self, ty: Type, value: i64) -> Pieces {
        let value = match ty.lane {
            Lane::Mask => i64::from(value != 0),
            _ => value,
        };
        if ty.is_scalar() {
            let scalar = scalar_type(ty.lane);
            // Cranelift wants the bits above the type to be zero.
            let bits = value & (-1i64 as u64 >> (64 - scalar.bits())) as i64;
            return Pieces::scalar(self.f.ins().iconst(scalar, bits));
        }
        let (bits, value) = match ty.lane {
            Lane::Mask => (CARRIED_MASK_BITS, -value),
            lane => (lane.bits(), value),
        };
        let bytes = value.to_le_bytes()[..bits as usize / 8].repeat(128 / bits as usize);
        let vector = self.vector_constant(int_vector(bits), bytes);
        let values = vec![vector; piece_count(ty.lanes, bits)];
        match ty.lane {
            Lane::Mask => Pieces::mask(values, bits),
            _ => Pieces::of(values),
        }
    }

    pub(super) fn float_constant(&mut self, ty: Type, value: f64) -> Pieces {
        let narrow = value as f32;
        if ty.is_scalar() {
            return Pieces::scalar(match ty.lane {
                Lane::F32 => self.f.ins().f32const(narrow),
                _ => self.f.ins().f64const(value),
            });
        }
        let bytes = match ty.lane {
            Lane::F32 => narrow.to_le_bytes().repeat(4),
            _ => value.to_le_bytes().repeat(2),
        };
        let vector = self.vector_constant(vector_type(ty.lane), bytes);
        Pieces::of(vec![vector; piece_count(ty.lanes, ty.lane.bits())])
    }

    fn vector_constant(&mut self, ty: ir::Type, bytes: Vec<u8>) -> Value {
        let constant = self.f.func.dfg.constants.insert(bytes.into());
        self.f.ins().vconst(ty, constant)
    }

    pub(super) fn splat(&mut self, ty: Type, scalar: Reg) -> Pieces {
        let value = self.scalar(scalar);
        if ty.is_scalar() {
            return Pieces::scalar(value);
        }
        if ty.lane == Lane::Mask {
            let lane = self.mask_lane(value, CARRIED_MASK_BITS);
            let vector = self.f.ins().splat(int_vector(CARRIED_MASK_BITS), lane);
            let count = piece_count(ty.lanes, CARRIED_MASK_BITS);
            return Pieces::mask(vec![vector; count], CARRIED_MASK_BITS);
        }
        let vector = self.f.ins().splat(vector_type(ty.lane), value);
        Pieces::of(vec![vector; piece_count(ty.lanes, ty.lane.bits())])
    }

    /// Vectors of scalars in order; `lane` is no mask.
    pub(super) fn build(&mut self, lane: Lane, scalars: &[Value]) -> Vec<Value> {
        let vector = vector_type(lane);
        let mut values = vec![];
        for group in scalars.chunks(vector.lane_count() as usize) {
            let mut value = match lane.bits() {
                32 | 64 => self.f.ins().scalar_to_vector(vector, group[0]),
                _ => self.f.ins().splat(vector, group[0]),
            };
            for (at, &scalar) in group.iter().enumerate().skip(1) {
                value = self.f.ins().insertlane(value, scalar, at as u8);
            }
            values.push(value);
        }
        values
    }

    /// One lane as a scalar.
    pub(super) fn extract(&mut self, ty: Type, pieces: &Pieces, lane: u32) -> Value {
        if ty.is_scalar() {
            return pieces.values[0];
        }
        let bits = match ty.lane {
            Lane::Mask => pieces.mask_bits,
            lane => lane.bits(),
        };
        let per_piece = 128 / bits;
        let piece = pieces.values[(lane / per_piece) as usize];
        let value = self.f.ins().extractlane(piece, (lane % per_piece) as u8);
        match ty.lane {
            Lane::Mask => self.f.ins().icmp_imm_s(IntCC::NotEqual, value, 0),
            _ => value,
        }
    }

    pub(super) fn insert(&mut self, vector: Reg, lane: u32, scalar: Reg) -> Pieces {
        if vector.ty.is_scalar() {
            return self.get(scalar);
        }
        let mut pieces = self.get(vector);
        let mut value = self.scalar(scalar);
        let bits = match vector.ty.lane {
            Lane::Mask => {
                value = self.mask_lane(value, pieces.mask_bits);
                pieces.mask_bits
            }
            lane => lane.bits(),
        };
        let per_piece = 128 / bits;
        let piece = &mut pieces.values[(lane / per_piece) as usize];
        *piece = self.f.ins().insertlane(*piece, value, (lane % per_piece) as u8);
        pieces
    }

    pub(super) fn half(&mut self, vector: Reg, high: bool) -> Pieces {
        let mut pieces = self.get(vector);
        let lanes = vector.ty.lanes / 2;
        if lanes == 1 {
            return Pieces::scalar(self.extract(vector.ty, &pieces, u32::from(high)));
        }
        let bits = match vector.ty.lane {
            Lane::Mask => pieces.mask_bits,
            lane => lane.bits(),
        };
        if lanes * bits >= 128 {
            let upper = pieces.values.split_off(pieces.values.len() / 2);
            if high {
                pieces.values = upper;
            }
        } else if high {
            pieces.values[0] = self.upper_to_start(pieces.values[0], (lanes * bits / 8) as u8);
        }
        pieces
    }

    /// Pieces of 128 bits are the fours.
    pub(super) fn shuffle_lanes(&mut self, op: Shuffle, a: Reg, b: Reg) -> Pieces {
        let (a, b) = (self.get(a), self.get(b));
        if op.moves_fours() {
            let both = [a.values, b.values].concat();
            return Pieces::of(both.into_iter().skip(usize::from(op == Shuffle::OddFours)).step_by(2).collect());
        }
        let byte = |at: usize| {
            let (second, lane) = op.source(at as u32 / 4, 4);
            16 * u8::from(second) + 4 * lane as u8 + at as u8 % 4
        };
        let bytes: [u8; 16] = std::array::from_fn(byte);
        Pieces::of(a.values.iter().zip(&b.values).map(|(a, b)| self.shuffle(*a, *b, bytes)).collect())
    }

    pub(super) fn concat(&mut self, a: Reg, b: Reg) -> Pieces {
        let (mut low, mut high) = (self.get(a), self.get(b));
        let lanes = a.ty.lanes;
        let is_mask = a.ty.lane == Lane::Mask;
        if lanes == 1 {
            let (lane, mask_bits) = match a.ty.lane {
                Lane::Mask => (int_lane(CARRIED_MASK_BITS), CARRIED_MASK_BITS),
                lane => (lane, 0),
            };
            let mut scalars = [low.values[0], high.values[0]];
            if is_mask {
                scalars = scalars.map(|s| self.mask_lane(s, mask_bits));
            }
            let values = self.build(lane, &scalars);
            return Pieces { values, mask_bits };
        }
        if is_mask {
            high = self.mask_as(&high, lanes, low.mask_bits);
        }
        let bits = if is_mask { low.mask_bits } else { a.ty.lane.bits() };
        if lanes * bits >= 128 {
            low.values.extend(high.values);
        } else {
            let group = (lanes * bits / 8) as u8;
            low.values[0] = self.interleave(low.values[0], high.values[0], group);
        }
        low
    }
}
