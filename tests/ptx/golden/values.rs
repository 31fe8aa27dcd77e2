//! Inputs of cases, the same on every machine.

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A normal f32 of either sign whose exponent lies in the range.
    pub fn f32(&mut self, exponents: std::ops::Range<i32>) -> u32 {
        let span = (exponents.end - exponents.start) as u64;
        let exponent = (exponents.start + self.below(span) as i32 + 127) as u32;
        (self.next() as u32 & 0x807f_ffff) | exponent << 23
    }

    pub fn f64(&mut self, exponents: std::ops::Range<i32>) -> u64 {
        let span = (exponents.end - exponents.start) as u64;
        let exponent = (exponents.start + self.below(span) as i32 + 1023) as u64;
        (self.next() & 0x800f_ffff_ffff_ffff) | exponent << 52
    }

    pub fn f16(&mut self, exponents: std::ops::Range<i32>) -> u16 {
        let span = (exponents.end - exponents.start) as u64;
        let exponent = (exponents.start + self.below(span) as i32 + 15) as u16;
        (self.next() as u16 & 0x83ff) | exponent << 10
    }

    pub fn bf16(&mut self, exponents: std::ops::Range<i32>) -> u16 {
        (self.f32(exponents) >> 16) as u16
    }
}

/// Little-endian bytes.
pub fn bytes<const N: usize>(values: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
    values.into_iter().flatten().collect()
}

pub fn words(values: impl IntoIterator<Item = u32>) -> Vec<u8> {
    bytes(values.into_iter().map(u32::to_le_bytes))
}

pub fn halves(values: impl IntoIterator<Item = u16>) -> Vec<u8> {
    bytes(values.into_iter().map(u16::to_le_bytes))
}

/// Zeros, ones, the ends of the ranges, and NaN of both kinds and signs.
pub const F32: [u32; 18] = [
    0x0000_0000,
    0x8000_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x0000_0001,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x8080_0000,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0x7f80_0001,
    0xffc1_2345,
    0x3f7f_ffff,
    0x4b00_0001,
];
pub const F64: [u64; 14] = [
    0,
    1 << 63,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0000,
    1,
    0x800f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
    0xffef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0xfff8_1234_5678_9abc,
];
pub const F16: [u16; 16] =
    [0x0000, 0x8000, 0x3c00, 0xbc00, 0x0001, 0x8001, 0x03ff, 0x0400, 0x8400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0x7c01, 0xfe12];
pub const BF16: [u16; 16] =
    [0x0000, 0x8000, 0x3f80, 0xbf80, 0x0001, 0x8001, 0x007f, 0x0080, 0x8080, 0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0, 0x7f81, 0xffd2];
pub const INTEGERS: [u64; 14] =
    [0, 1, u64::MAX, 2, 7, 0x7fff, 0x8000, 0x7fff_ffff, 0x8000_0000, 0x7fff_ffff_ffff_ffff, 1 << 63, 0xffff_8000_ffff_8000, 31, 32];
