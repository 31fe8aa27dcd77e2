//! Conversions between lane kinds.

use super::Lowering;
use super::pieces::{Pieces, piece_count, scalar_type, vector_type};
use crate::tile::{Convert, Lane, Reg, Type};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Value, types};

impl Lowering<'_> {
    pub(super) fn convert(&mut self, op: Convert, a: Reg, to: Lane) -> Pieces {
        let pieces = self.get(a);
        match op {
            Convert::ExtendS => self.extend(&pieces, a.ty, to, true),
            Convert::ExtendU => self.extend(&pieces, a.ty, to, false),
            Convert::Wrap => self.wrap(&pieces, a.ty, to),
            Convert::IntToFloatS => self.int_to_float(&pieces, a.ty, to, true),
            Convert::IntToFloatU => self.int_to_float(&pieces, a.ty, to, false),
            Convert::FloatToIntS => self.float_to_int(&pieces, a.ty, to, true),
            Convert::FloatToIntU => self.float_to_int(&pieces, a.ty, to, false),
            Convert::FloatToFloat => self.float_to_float(&pieces, a.ty, to),
            Convert::Bitcast => {
                let ty = match a.ty.is_scalar() {
                    true => scalar_type(to),
                    false => vector_type(to),
                };
                let little = MemFlagsData::new().with_endianness(Endianness::Little);
                let cast = |&value: &Value| self.f.ins().bitcast(ty, little, value);
                Pieces::of(pieces.values.iter().map(cast).collect())
            }
        }
    }

    /// Integers of type `from` to wider lanes.
    pub(super) fn extend(&mut self, a: &Pieces, from: Type, to: Lane, signed: bool) -> Pieces {
        if from.is_scalar() {
            let ins = self.f.ins();
            return Pieces::scalar(match signed {
                true => ins.sextend(scalar_type(to), a.values[0]),
                false => ins.uextend(scalar_type(to), a.values[0]),
            });
        }
        let (mut values, mut bits) = (a.values.clone(), from.lane.bits());
        while bits < to.bits() {
            values = self.widen(&values, from.lanes, bits, signed);
            bits *= 2;
        }
        Pieces::of(values)
    }

    /// Integers of type `from` to narrower lanes.
    pub(super) fn wrap(&mut self, a: &Pieces, from: Type, to: Lane) -> Pieces {
        if from.is_scalar() {
            return Pieces::scalar(self.f.ins().ireduce(scalar_type(to), a.values[0]));
        }
        let (mut values, mut bits) = (a.values.clone(), from.lane.bits());
        while bits > to.bits() {
            values = self.narrow(&values, bits);
            bits /= 2;
        }
        Pieces::of(values)
    }

    fn int_to_float(&mut self, a: &Pieces, from: Type, to: Lane, signed: bool) -> Pieces {
        let ty = match from.is_scalar() {
            true => scalar_type(to),
            false => vector_type(to),
        };
        let mut ints = a.values.clone();
        if !from.is_scalar() && from.lane.bits() < to.bits() {
            // The widening and the conversion become one instruction.
            ints = vec![];
            for &piece in &a.values {
                ints.push(piece);
                if ints.len() < piece_count(from.lanes, to.bits()) {
                    ints.push(self.high_half_of_piece(piece));
                }
            }
            for value in &mut ints {
                let ins = self.f.ins();
                *value = match signed {
                    true => ins.swiden_low(*value),
                    false => ins.uwiden_low(*value),
                };
            }
        }
        let convert = |value: Value| {
            let ins = self.f.ins();
            match signed {
                true => ins.fcvt_from_sint(ty, value),
                false => ins.fcvt_from_uint(ty, value),
            }
        };
        Pieces::of(ints.into_iter().map(convert).collect())
    }

    fn float_to_int(&mut self, a: &Pieces, from: Type, to: Lane, signed: bool) -> Pieces {
        let ty = match from.is_scalar() {
            true => scalar_type(to),
            false => vector_type(to),
        };
        let convert = |&value: &Value| {
            let ins = self.f.ins();
            match signed {
                true => ins.fcvt_to_sint_sat(ty, value),
                false => ins.fcvt_to_uint_sat(ty, value),
            }
        };
        Pieces::of(a.values.iter().map(convert).collect())
    }

    fn float_to_float(&mut self, a: &Pieces, from: Type, to: Lane) -> Pieces {
        if from.is_scalar() {
            let value = a.values[0];
            return Pieces::scalar(match to {
                Lane::F64 => self.f.ins().fpromote(types::F64, value),
                _ => self.f.ins().fdemote(types::F32, value),
            });
        }
        let mut values = vec![];
        if to == Lane::F64 {
            for &piece in &a.values {
                values.push(self.f.ins().fvpromote_low(piece));
                if values.len() < piece_count(from.lanes, 64) {
                    let high = self.high_half_of_piece(piece);
                    values.push(self.f.ins().fvpromote_low(high));
                }
            }
        } else {
            for pair in a.values.chunks(2) {
                let mut value = self.f.ins().fvdemote(pair[0]);
                if let Some(&high) = pair.get(1) {
                    let high = self.f.ins().fvdemote(high);
                    value = self.join_low_halves(value, high);
                }
                values.push(value);
            }
        }
        Pieces::of(values)
    }
}
