//! What registers hold (lanes × count) and what memory holds (every stored dtype).

/// What one lane of a register holds. Integers have no sign; the instruction says how it reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// 8-bit integer.
    I8,
    /// 16-bit integer.
    I16,
    /// 32-bit integer.
    I32,
    /// 64-bit integer; one lane of it is also an address.
    I64,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
    /// True or false, in whatever form the ISA keeps it.
    Mask,
}

impl Lane {
    /// Bits of one lane; a mask lane counts as 1.
    pub fn bits(self) -> u32 {
        match self {
            Lane::Mask => 1,
            Lane::I8 => 8,
            Lane::I16 => 16,
            Lane::I32 | Lane::F32 => 32,
            Lane::I64 | Lane::F64 => 64,
        }
    }

    /// `I8`, `I16`, `I32` or `I64`.
    pub fn is_int(self) -> bool {
        matches!(self, Lane::I8 | Lane::I16 | Lane::I32 | Lane::I64)
    }

    /// `F32` or `F64`.
    pub fn is_float(self) -> bool {
        matches!(self, Lane::F32 | Lane::F64)
    }

    /// The integer lane as wide as this number lane. Panics on `Mask`.
    pub fn same_width_int(self) -> Lane {
        match self {
            Lane::F32 => Lane::I32,
            Lane::F64 => Lane::I64,
            Lane::I8 | Lane::I16 | Lane::I32 | Lane::I64 => self,
            Lane::Mask => panic!("tile: a mask lane has no width"),
        }
    }

    /// The name in printed programs.
    pub fn name(self) -> &'static str {
        match self {
            Lane::I8 => "i8",
            Lane::I16 => "i16",
            Lane::I32 => "i32",
            Lane::I64 => "i64",
            Lane::F32 => "f32",
            Lane::F64 => "f64",
            Lane::Mask => "mask",
        }
    }
}

/// Most lanes a register may have: the sums of a thread for 256 columns of a product by four warps.
pub const MAX_LANES: u32 = 128;

/// The type of a register: `lanes` equal lanes. One lane is a scalar; more must be a power of two up to
/// 64. Any count works on any emitter (it uses as many machine registers as it takes), so that a
/// kernel may keep one lane count through chains that mix 8-bit and 64-bit values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Type {
    /// What each lane holds.
    pub lane: Lane,
    /// How many lanes.
    pub lanes: u32,
}

impl Type {
    /// Scalar 8-bit integer.
    pub const I8: Type = Type::scalar(Lane::I8);
    /// Scalar 16-bit integer.
    pub const I16: Type = Type::scalar(Lane::I16);
    /// Scalar 32-bit integer.
    pub const I32: Type = Type::scalar(Lane::I32);
    /// Scalar 64-bit integer or address.
    pub const I64: Type = Type::scalar(Lane::I64);
    /// Scalar binary32.
    pub const F32: Type = Type::scalar(Lane::F32);
    /// Scalar binary64.
    pub const F64: Type = Type::scalar(Lane::F64);
    /// Scalar truth value.
    pub const MASK: Type = Type::scalar(Lane::Mask);

    /// One lane of `lane`.
    pub const fn scalar(lane: Lane) -> Type {
        Type { lane, lanes: 1 }
    }

    /// The same lane kind, `lanes` of them: `Type::F32.times(4)`.
    pub const fn times(self, lanes: u32) -> Type {
        Type { lane: self.lane, lanes }
    }

    /// The same lane count of another lane kind.
    pub const fn with_lane(self, lane: Lane) -> Type {
        Type { lane, lanes: self.lanes }
    }

    /// One lane of this type.
    pub const fn element(self) -> Type {
        Type::scalar(self.lane)
    }

    /// The mask type of comparing two values of this type.
    pub const fn mask(self) -> Type {
        self.with_lane(Lane::Mask)
    }

    /// Whether the lane count is one a register may have: a power of two, or as many eights as sums of a warpgroup are.
    pub const fn is_valid(self) -> bool {
        (self.lanes.is_power_of_two() || self.lanes.is_multiple_of(8)) && self.lanes != 0 && self.lanes <= MAX_LANES
    }

    /// Whether this is a single lane.
    pub const fn is_scalar(self) -> bool {
        self.lanes == 1
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.lane.name())?;
        if self.lanes > 1 {
            write!(f, "x{}", self.lanes)?;
        }
        Ok(())
    }
}

/// How an element is stored in memory; little-endian, any alignment.
///
/// | memory | register lanes | load | store |
/// |---|---|---|---|
/// | `Bool` | `Mask` | byte ≠ 0 | 0 or 1 |
/// | `I8` … `I64` | integer at least as wide | sign-extends | keeps the low bits |
/// | `U8` … `U64` | integer at least as wide | zero-extends | keeps the low bits |
/// | `F16`, `BF16` | `F32` | exact | nearest, ties to even; overflow to ±∞; NaN stays NaN |
/// | `F32`, `F64` | the same | as is | as is |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the table above documents every row
pub enum Mem {
    Bool,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F16,
    BF16,
    F32,
    F64,
}

impl Mem {
    /// Bytes of one element.
    pub fn size_bytes(self) -> u32 {
        match self {
            Mem::Bool | Mem::I8 | Mem::U8 => 1,
            Mem::I16 | Mem::U16 | Mem::F16 | Mem::BF16 => 2,
            Mem::I32 | Mem::U32 | Mem::F32 => 4,
            Mem::I64 | Mem::U64 | Mem::F64 => 8,
        }
    }

    /// The narrowest register lane that holds every stored value.
    pub fn lane(self) -> Lane {
        match self {
            Mem::Bool => Lane::Mask,
            Mem::I8 | Mem::U8 => Lane::I8,
            Mem::I16 | Mem::U16 => Lane::I16,
            Mem::I32 | Mem::U32 => Lane::I32,
            Mem::I64 | Mem::U64 => Lane::I64,
            Mem::F16 | Mem::BF16 | Mem::F32 => Lane::F32,
            Mem::F64 => Lane::F64,
        }
    }

    /// Whether a register lane can be loaded from and stored to this memory type: the lane of
    /// [`Mem::lane`], or for integers any wider one.
    pub fn fits(self, lane: Lane) -> bool {
        let narrowest = self.lane();
        narrowest == lane || (narrowest.is_int() && lane.is_int() && lane.bits() > narrowest.bits())
    }

    /// Whether widening integer loads zero-extend.
    pub fn is_unsigned(self) -> bool {
        matches!(self, Mem::U8 | Mem::U16 | Mem::U32 | Mem::U64)
    }

    /// The name in printed programs.
    pub fn name(self) -> &'static str {
        match self {
            Mem::Bool => "bool",
            Mem::I8 => "i8",
            Mem::U8 => "u8",
            Mem::I16 => "i16",
            Mem::U16 => "u16",
            Mem::I32 => "i32",
            Mem::U32 => "u32",
            Mem::I64 => "i64",
            Mem::U64 => "u64",
            Mem::F16 => "f16",
            Mem::BF16 => "bf16",
            Mem::F32 => "f32",
            Mem::F64 => "f64",
        }
    }
}
