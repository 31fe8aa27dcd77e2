//! Reproducible tensors for laws: random values, and the special ones on which arithmetic goes wrong first.

use kiln_ir::{DType, Tensor};

/// A small generator (SplitMix64); the same seed gives the same numbers everywhere.
pub struct Random(u64);

impl Random {
    /// Numbers from a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// An index below `n`, which is positive.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
}

/// Which values a tensor is filled with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// Ordinary numbers.
    Ordinary,
    /// Mostly special ones: zeros of both signs, infinities, NaN, subnormal, huge, halves; limits of integer types.
    Special,
}

/// A tensor of such values, inside `interval` (inclusive) if there is one.
pub fn tensor(dtype: DType, shape: &[usize], fill: Fill, interval: Option<(f64, f64)>, random: &mut Random) -> Tensor {
    let count = shape.iter().product();
    if dtype.is_float() {
        let values: Vec<f64> = (0..count).map(|_| float(dtype, fill, interval, random)).collect();
        Tensor::from_floats(dtype, shape.to_vec(), values)
    } else {
        let values: Vec<i128> = (0..count).map(|_| integer(dtype, fill, interval, random)).collect();
        Tensor::from_ints(dtype, shape.to_vec(), values)
    }
}

fn float(dtype: DType, fill: Fill, interval: Option<(f64, f64)>, random: &mut Random) -> f64 {
    let (low, high) = interval.unwrap_or((-4.0, 4.0));
    if fill == Fill::Ordinary {
        return low + (high - low) * random.unit();
    }
    let special = special_floats(dtype);
    let value = special[random.below(special.len())];
    match interval {
        Some(_) if !(low..=high).contains(&value) => [low, high][random.below(2)],
        _ => value,
    }
}

/// Zeros, infinities, NaN, the least subnormal and normal, the greatest finite value, halves and ordinary neighbours.
pub fn special_floats(dtype: DType) -> Vec<f64> {
    let (subnormal, normal, huge) = match dtype {
        DType::F16 => (2f64.powi(-24), 2f64.powi(-14), 65504.0),
        DType::BF16 => (2f64.powi(-133), 2f64.powi(-126), f64::from(f32::from_bits(0x7f7f_0000))),
        DType::F32 => (f64::from(f32::from_bits(1)), f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)),
        _ => (f64::from_bits(1), f64::MIN_POSITIVE, f64::MAX),
    };
    let magnitudes = [0.0, f64::INFINITY, subnormal, normal, huge, 0.5, 1.0, 1.5, 2.5, 3.0, 100.0];
    magnitudes.into_iter().flat_map(|v| [v, -v]).chain([f64::NAN]).collect()
}

fn integer(dtype: DType, fill: Fill, interval: Option<(f64, f64)>, random: &mut Random) -> i128 {
    let (least, greatest) = dtype.int_range().unwrap_or((0, 1));
    let (low, high) = match (interval, fill) {
        (Some((low, high)), _) => ((low as i128).max(least), (high as i128).min(greatest)),
        (None, Fill::Ordinary) => (least.max(-20), greatest.min(20)),
        (None, Fill::Special) => (least, greatest),
    };
    let special = [least, greatest, 0, 1, -1, 2, 7, 8, 63, 64];
    match fill {
        Fill::Special if random.below(3) > 0 => special[random.below(special.len())].clamp(low, high),
        _ => low + i128::from(random.bits() >> 1) % (high - low + 1),
    }
}
