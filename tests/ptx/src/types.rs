//! Types of PTX operands and which registers may stand where.

use std::fmt;

/// What the bits of a type mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bits,
    Unsigned,
    Signed,
    Float,
    Brain,
    Tensor32,
    Predicate,
}

/// A fundamental type of PTX: kind, width of an element and how many are packed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Type {
    pub kind: Kind,
    pub bits: u32,
    pub packed: u32,
}

impl Type {
    pub(crate) const fn new(kind: Kind, bits: u32) -> Type {
        Type { kind, bits, packed: 1 }
    }
    pub(crate) const B16: Type = Type::new(Kind::Bits, 16);
    pub(crate) const B32: Type = Type::new(Kind::Bits, 32);
    pub(crate) const B64: Type = Type::new(Kind::Bits, 64);
    pub(crate) const U32: Type = Type::new(Kind::Unsigned, 32);
    pub(crate) const S32: Type = Type::new(Kind::Signed, 32);
    pub(crate) const U64: Type = Type::new(Kind::Unsigned, 64);
    pub(crate) const F16: Type = Type::new(Kind::Float, 16);
    pub(crate) const F32: Type = Type::new(Kind::Float, 32);
    pub(crate) const F64: Type = Type::new(Kind::Float, 64);
    pub(crate) const BF16: Type = Type::new(Kind::Brain, 16);
    pub(crate) const TF32: Type = Type::new(Kind::Tensor32, 32);
    pub(crate) const PRED: Type = Type::new(Kind::Predicate, 1);

    /// The type spelled `name`, without its leading dot.
    pub(crate) fn parse(name: &str) -> Option<Type> {
        Some(match name {
            "pred" => Type::PRED,
            "f16x2" => Type { packed: 2, ..Type::F16 },
            "bf16" => Type::BF16,
            "bf16x2" => Type { packed: 2, ..Type::BF16 },
            "tf32" => Type::TF32,
            "b128" => Type::new(Kind::Bits, 128),
            _ => {
                let kind = match name.as_bytes().first()? {
                    b'b' => Kind::Bits,
                    b'u' => Kind::Unsigned,
                    b's' => Kind::Signed,
                    b'f' => Kind::Float,
                    _ => return None,
                };
                let bits = match &name[1..] {
                    "8" if kind != Kind::Float => 8,
                    "16" => 16,
                    "32" => 32,
                    "64" => 64,
                    _ => return None,
                };
                Type::new(kind, bits)
            }
        })
    }

    /// Bits of the whole, packed elements included.
    pub(crate) fn width(self) -> u32 {
        self.bits * self.packed
    }

    /// Bytes in memory.
    pub(crate) fn bytes(self) -> u64 {
        u64::from(self.width()) / 8
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(self.kind, Kind::Signed | Kind::Unsigned)
    }

    pub(crate) fn is_signed(self) -> bool {
        self.kind == Kind::Signed
    }

    /// The low bits that a value of this type occupies.
    pub(crate) fn mask(self) -> u64 {
        mask(self.width())
    }

    /// Whether a register declared as `register` may be an operand of an instruction of this type (PTX ISA, "Type information":
    /// same size; bits agree with everything, integers with integers, floats with floats).
    pub(crate) fn accepts(self, register: Type) -> bool {
        if (self.kind == Kind::Predicate) != (register.kind == Kind::Predicate) {
            return false;
        }
        self.width() == register.width() && self.agrees(register)
    }

    /// As [`Type::accepts`], for loads, stores and conversions, whose registers may be wider than the type.
    pub(crate) fn accepts_wider(self, register: Type) -> bool {
        if (self.kind == Kind::Predicate) != (register.kind == Kind::Predicate) || register.width() < self.width() {
            return false;
        }
        if self.width() == register.width() {
            return self.agrees(register);
        }
        let float = |t: Type| !matches!(t.kind, Kind::Bits | Kind::Signed | Kind::Unsigned);
        if float(self) { register.kind == Kind::Bits } else { !float(register) || self.kind == Kind::Bits }
    }

    fn agrees(self, register: Type) -> bool {
        match (self.kind, register.kind) {
            (Kind::Bits, _) | (_, Kind::Bits) => true,
            (Kind::Signed | Kind::Unsigned, Kind::Signed | Kind::Unsigned) => true,
            (Kind::Tensor32, Kind::Float) => false,
            (a, b) => a == b && self.packed == register.packed,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.kind {
            Kind::Bits => "b",
            Kind::Unsigned => "u",
            Kind::Signed => "s",
            Kind::Float => "f",
            Kind::Brain => "bf",
            Kind::Tensor32 => "tf",
            Kind::Predicate => return f.write_str(".pred"),
        };
        write!(f, ".{letter}{}", self.bits)?;
        if self.packed > 1 { write!(f, "x{}", self.packed) } else { Ok(()) }
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The low `bits` bits.
pub(crate) fn mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// The low `bits` bits of `value` as a signed number.
pub(crate) fn sign_extend(value: u64, bits: u32) -> i64 {
    let shift = 64 - bits.min(64);
    ((value << shift) as i64) >> shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_agree_by_size_and_kind() {
        let t = |name| Type::parse(name).unwrap();
        assert!(t("s32").accepts(t("u32")) && t("f32").accepts(t("b32")) && t("b32").accepts(t("f32")));
        assert!(!t("s32").accepts(t("f32")) && !t("u32").accepts(t("u64")) && !t("f32").accepts(t("u32")));
        assert!(t("u8").accepts_wider(t("u32")) && !t("f32").accepts_wider(t("f64")) && !t("u32").accepts_wider(t("u16")));
        assert!(Type::parse("q32").is_none() && Type::parse("f8").is_none());
        assert_eq!(t("bf16x2").to_string(), ".bf16x2");
    }
}
