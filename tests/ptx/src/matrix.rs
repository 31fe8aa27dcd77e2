//! Fragments of matrix instructions: which lane and register hold which element, and the arithmetic.
//!
//! Source: PTX ISA 9.0, "Matrix Fragments for mma" and "Register Fragments for wgmma"; how sums are rounded: `tensor_core.rs`.

use crate::instruction::{Lanes, WARP};
use crate::numbers::{BF16, E4M3, E5M2, F16, Format, Rounding, TF32, f32_bits, f32_of, f64_bits};
use crate::tensor_core::Adder;
use crate::types::Type;

/// Element types of factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    BF16,
    TF32,
    F64,
    S8,
    U8,
    E4M3,
    E5M2,
}

impl Element {
    pub(crate) fn parse(name: &str) -> Option<Element> {
        Some(match name {
            "f16" => Element::F16,
            "bf16" => Element::BF16,
            "tf32" => Element::TF32,
            "f64" => Element::F64,
            "s8" => Element::S8,
            "u8" => Element::U8,
            "e4m3" => Element::E4M3,
            "e5m2" => Element::E5M2,
            _ => return None,
        })
    }

    pub(crate) fn bits(self) -> u32 {
        match self {
            Element::F64 => 64,
            Element::TF32 => 32,
            Element::F16 | Element::BF16 => 16,
            _ => 8,
        }
    }

    /// The type of a register of a fragment.
    pub(crate) fn register(self) -> Type {
        if self == Element::F64 { Type::F64 } else { Type::B32 }
    }

    /// Elements in a register.
    fn packed(self) -> u32 {
        (32 / self.bits()).max(1)
    }

    /// The format of a float that tensor cores add in their own way.
    pub(crate) fn format(self) -> Option<Format> {
        Some(match self {
            Element::F16 => F16,
            Element::BF16 => BF16,
            Element::TF32 => TF32,
            Element::E4M3 => E4M3,
            Element::E5M2 => E5M2,
            Element::F64 | Element::S8 | Element::U8 => return None,
        })
    }

    /// The value of the low bits of `bits`.
    pub(crate) fn value(self, bits: u64) -> f64 {
        match self {
            Element::F64 => f64::from_bits(bits),
            // tf32 reads the upper 19 bits and ignores the rest.
            Element::TF32 => f64::from(f32::from_bits(bits as u32 & 0xffff_e000)),
            Element::BF16 => f64::from(f32::from_bits((bits as u32) << 16)),
            Element::S8 => f64::from(bits as u8 as i8),
            Element::U8 => f64::from(bits as u8),
            narrow => narrow.format().map_or(f64::NAN, |f| f.decode(bits & crate::types::mask(narrow.bits()))),
        }
    }
}

/// Types of accumulators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accumulator {
    F16,
    F32,
    F64,
    S32,
}

impl Accumulator {
    pub(crate) fn parse(name: &str) -> Option<Accumulator> {
        Some(match name {
            "f16" => Accumulator::F16,
            "f32" => Accumulator::F32,
            "f64" => Accumulator::F64,
            "s32" => Accumulator::S32,
            _ => return None,
        })
    }

    pub(crate) fn register(self) -> Type {
        match self {
            Accumulator::F16 => Type::B32,
            Accumulator::F32 => Type::F32,
            Accumulator::F64 => Type::F64,
            Accumulator::S32 => Type::S32,
        }
    }

    /// Element `i` of a lane's fragment held in `registers`.
    pub(crate) fn read(self, register: impl Fn(usize) -> u64, i: usize) -> f64 {
        match self {
            Accumulator::F16 => F16.decode(register(i / 2) >> (16 * (i & 1)) & 0xffff),
            Accumulator::F32 => f64::from(f32_of(register(i))),
            Accumulator::F64 => f64::from_bits(register(i)),
            Accumulator::S32 => f64::from(register(i) as u32 as i32),
        }
    }

    /// The bits of `value`; `saturate` is for integers, which wrap without it.
    pub(crate) fn bits(self, value: f64, saturate: bool) -> u64 {
        match self {
            Accumulator::F16 => F16.encode(value, Rounding::Nearest, false),
            Accumulator::F32 => f32_bits(value as f32),
            Accumulator::F64 => f64_bits(value),
            Accumulator::S32 if saturate => u64::from(value as i32 as u32),
            Accumulator::S32 => u64::from(value as i64 as u32),
        }
    }
}

/// An `mma.sync`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixShape {
    pub m: u32,
    pub n: u32,
    pub k: u32,
    a: Element,
    b: Element,
    to: Accumulator,
    from: Accumulator,
    saturate: bool,
}

impl MatrixShape {
    /// The shape, if the ISA has it for these types.
    pub(crate) fn new(
        (m, n, k): (u32, u32, u32),
        (a, b): (Element, Element),
        (to, from): (Accumulator, Accumulator),
        saturate: bool,
    ) -> Option<MatrixShape> {
        let float = |t| matches!(t, Accumulator::F32);
        let half = |t| matches!(t, Accumulator::F32 | Accumulator::F16);
        let fits = match (a, b) {
            (Element::F16, Element::F16) => half(to) && half(from) && to == from && (m, n) == (16, 8) && matches!(k, 8 | 16),
            (Element::BF16, Element::BF16) => float(to) && float(from) && (m, n) == (16, 8) && matches!(k, 8 | 16),
            (Element::TF32, Element::TF32) => float(to) && float(from) && (m, n) == (16, 8) && matches!(k, 4 | 8),
            (Element::F64, Element::F64) => {
                to == Accumulator::F64 && from == to && ((m, n, k) == (8, 8, 4) || (m, n) == (16, 8) && matches!(k, 4 | 8 | 16))
            }
            (Element::S8 | Element::U8, Element::S8 | Element::U8) => {
                to == Accumulator::S32 && from == to && (m, n) == (16, 8) && matches!(k, 16 | 32)
            }
            (Element::E4M3 | Element::E5M2, Element::E4M3 | Element::E5M2) => float(to) && float(from) && (m, n, k) == (16, 8, 32),
            _ => false,
        };
        let integer = to == Accumulator::S32;
        (fits && (!saturate || integer)).then_some(MatrixShape { m, n, k, a, b, to, from, saturate })
    }

    pub(crate) fn a_registers(&self) -> u32 {
        self.m * self.k / 32 / self.a.packed()
    }

    pub(crate) fn b_registers(&self) -> u32 {
        self.n * self.k / 32 / self.b.packed()
    }

    pub(crate) fn c_registers(&self, accumulator: Accumulator) -> u32 {
        self.m * self.n / 32 / if accumulator == Accumulator::F16 { 2 } else { 1 }
    }

    /// `d = a·b + c` for a whole warp, register by register.
    pub(crate) fn multiply(&self, a: &[&Lanes], b: &[&Lanes], c: &[&Lanes], d: &mut [Lanes]) {
        let (m, n, k) = (self.m as usize, self.n as usize, self.k as usize);
        let mut left = [0f64; 16 * 32];
        let mut right = [0f64; 32 * 8];
        for (r, register) in a.iter().enumerate() {
            for (lane, bits) in register.iter().enumerate() {
                for e in 0..self.a.packed() as usize {
                    let (row, column) = fragment_a(lane, r, e, self.a.packed() as usize, m);
                    left[row * k + column] = self.a.value(bits >> (self.a.bits() as usize * e));
                }
            }
        }
        for (r, register) in b.iter().enumerate() {
            for (lane, bits) in register.iter().enumerate() {
                for e in 0..self.b.packed() as usize {
                    let (row, column) = fragment_b(lane, r, e, self.b.packed() as usize);
                    right[column * k + row] = self.b.value(bits >> (self.b.bits() as usize * e));
                }
            }
        }
        let sums = Sums::new((self.a, self.b), self.to, false, &left[..m * k], &right[..n * k], k);
        let elements = m * n / WARP;
        for lane in 0..WARP {
            for i in 0..elements {
                let (row, column) = fragment_c(lane, i);
                let bits = sums.element(row, column, self.from.read(|r| c[r][lane], i), self.saturate);
                match self.to {
                    Accumulator::F16 if i & 1 == 1 => d[i / 2][lane] |= bits << 16,
                    Accumulator::F16 => d[i / 2][lane] = bits,
                    _ => d[i][lane] = bits,
                }
            }
        }
    }
}

/// The products of rows of one matrix with columns of another, each `k` long, as one instruction adds them.
pub(crate) struct Sums<'a> {
    left: &'a [f64],
    right: &'a [f64],
    k: usize,
    to: Accumulator,
    /// How floats are added, and the exponents of the factors.
    adder: Option<(Adder, Vec<i16>, Vec<i16>)>,
    /// 8-bit floats outside `wgmma`: added as halves are, and the accumulator afterwards.
    apart: bool,
}

impl<'a> Sums<'a> {
    /// `narrow` as in [`Adder::new`].
    pub(crate) fn new((a, b): (Element, Element), to: Accumulator, narrow: bool, left: &'a [f64], right: &'a [f64], k: usize) -> Sums<'a> {
        let adder = match (a.format(), b.format()) {
            (Some(x), Some(y)) => Some((Adder::new(to, narrow), Adder::exponents(x, left), Adder::exponents(y, right))),
            _ => None,
        };
        Sums { left, right, k, to, adder, apart: a.format().is_some() && a.bits() == 8 && !narrow }
    }

    /// The bits of the sum at a place, added to `c`.
    pub(crate) fn element(&self, row: usize, column: usize, c: f64, saturate: bool) -> u64 {
        let (row, column) = (row * self.k..(row + 1) * self.k, column * self.k..(column + 1) * self.k);
        let factors = (&self.left[row.clone()], &self.right[column.clone()]);
        match &self.adder {
            Some((adder, left, right)) if self.apart => {
                // The lower pair of every four elements, then the upper.
                let mut sum = 0.0;
                for pair in 0..2 {
                    let pick = |i: &usize| i / 2 % 2 == pair;
                    let chosen = |v: &[f64]| (0..self.k).filter(pick).map(|i| v[i]).collect::<Vec<_>>();
                    let exponents = |v: &[i16]| (0..self.k).filter(pick).map(|i| v[i]).collect::<Vec<_>>();
                    let factors = (&chosen(factors.0)[..], &chosen(factors.1)[..]);
                    let bits = adder.sum(factors, (&exponents(&left[row.clone()]), &exponents(&right[column.clone()])), sum);
                    sum = self.to.read(|_| bits, 0);
                }
                self.to.bits(sum + c, false)
            }
            Some((adder, left, right)) => adder.sum(factors, (&left[row], &right[column]), c),
            // Integers are exact; f64 is added up from the accumulator on.
            None => self.to.bits(factors.0.iter().zip(factors.1).fold(c, |sum, (x, y)| x.mul_add(*y, sum)), saturate),
        }
    }
}

/// Row and column of element `e` of register `r` of A, `packed` elements to a register, `m` rows.
pub(crate) fn fragment_a(lane: usize, r: usize, e: usize, packed: usize, m: usize) -> (usize, usize) {
    let (group, thread) = (lane / 4, lane % 4);
    if m == 8 {
        return (group, thread + 4 * r);
    }
    (group + 8 * (r & 1), packed * thread + e + 4 * packed * (r >> 1))
}

/// Row (along k) and column of element `e` of register `r` of B.
pub(crate) fn fragment_b(lane: usize, r: usize, e: usize, packed: usize) -> (usize, usize) {
    (packed * (lane % 4) + e + 4 * packed * r, lane / 4)
}

/// Row and column of element `i` of C and D; for `wgmma`, inside the 16 rows of the warp.
pub(crate) fn fragment_c(lane: usize, i: usize) -> (usize, usize) {
    (lane / 4 + 8 * (i >> 1 & 1), 2 * (lane % 4) + (i & 1) + 8 * (i >> 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_cover_every_element_once() {
        for (packed, k) in [(2, 16), (2, 8), (1, 8), (1, 4), (4, 32), (4, 16)] {
            let (mut a, mut b) = (vec![0; 16 * k], vec![0; 8 * k]);
            for lane in 0..32 {
                for e in 0..packed {
                    for r in 0..16 * k / 32 / packed {
                        let (row, column) = fragment_a(lane, r, e, packed, 16);
                        a[row * k + column] += 1;
                    }
                    for r in 0..8 * k / 32 / packed {
                        let (row, column) = fragment_b(lane, r, e, packed);
                        b[row * 8 + column] += 1;
                    }
                }
            }
            assert!(a.iter().chain(&b).all(|n| *n == 1), "packed {packed} k {k}");
        }
        let mut c = [0; 128];
        (0..32).for_each(|lane| (0..4).for_each(|i| c[fragment_c(lane, i).0 * 8 + fragment_c(lane, i).1] += 1));
        assert!(c.iter().all(|n| *n == 1));
    }
}
