//! What a call into generated code can answer, and what each answer means.

/// Result of `predict`, `arena_bytes` and `output_shapes`; the discriminant is the C value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Status {
    /// Success.
    Ok = 0,
    /// A symbol is outside its declared range; detail = index in `Signature::symbols`.
    SymbolRange = 1,
    /// A run-time condition on sizes does not hold; detail = index in `Signature::guards`.
    Guard = 2,
    /// The arena is too small or not aligned to 64 bytes; detail = bytes needed.
    Arena = 3,
    /// Sizes overflow 63 bits.
    Overflow = 4,
    /// An index in the data is outside its tensor; detail = index in `Signature::nodes`.
    Index = 5,
    /// The CPU lacks an instruction set that the code needs.
    Cpu = 6,
    /// No weights were given and none are embedded.
    NoWeights = 7,
    /// Code and caller were built for different versions of the ABI.
    AbiVersion = 8,
}

impl Status {
    /// Every status, in order of its code.
    pub const ALL: [Status; 9] = [
        Status::Ok,
        Status::SymbolRange,
        Status::Guard,
        Status::Arena,
        Status::Overflow,
        Status::Index,
        Status::Cpu,
        Status::NoWeights,
        Status::AbiVersion,
    ];

    /// The status of that C value, if it is one.
    pub fn from_code(code: i32) -> Option<Status> {
        Status::ALL.into_iter().find(|s| s.code() == code)
    }

    /// The C value.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// One clause for messages and for the C header.
    pub const fn text(self) -> &'static str {
        match self {
            Status::Ok => "success",
            Status::SymbolRange => "a dimension is outside its declared range",
            Status::Guard => "a condition on the input sizes does not hold",
            Status::Arena => "the arena is too small or not aligned to 64 bytes",
            Status::Overflow => "the sizes overflow",
            Status::Index => "an index is out of range",
            Status::Cpu => "this CPU lacks an instruction set that the code needs",
            Status::NoWeights => "no weights were given and none are embedded",
            Status::AbiVersion => "code and caller were built for different ABI versions",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for (code, status) in (0..).zip(Status::ALL) {
            assert_eq!(Status::from_code(code), Some(status));
        }
        assert_eq!(Status::from_code(9), None);
        assert_eq!(Status::from_code(-1), None);
    }
}
