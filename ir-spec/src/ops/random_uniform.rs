//! `random_uniform`: numbers drawn evenly from 0 up to 1, 1 excluded, by key and place.   y[n] = ⌊w / 2^(64 − p)⌋ · 2^−p
//!
//! Shapes: `key: u64[]` → `shape`, of element type `dtype`. n is the place in row-major order and w the first two words, the first
//! one on top, of the Philox4x32-10 block with `key` as key and [n, stream] as counter, lower halves first; p is the precision of
//! `dtype` in bits: 53, 24, 11 (f16) or 8 (bf16). So numbers agree on every machine and for any number of threads, different streams
//! of one key and different keys of one stream are independent, and the same key gives the same numbers again.
//! Constraints: (C0) one operand. (C1) it is `u64[]`. (C2) `dtype` is floating.
//! Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

use super::shape::operands;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::random::{PHILOX_MULTIPLIERS, PHILOX_ROUNDS, PHILOX_WEYL, halves, philox};
use crate::{Builder, DType, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct RandomUniform {
        /// The resulting shape.
        pub shape: Vec<Dim>,
        /// Which of the key's streams.
        pub stream: usize,
        /// The resulting element type.
        pub dtype: DType,
    }
}

/// The digits of a type: all its multiples of 2^−p from 0 to 1 are numbers of it.
fn precision(dtype: DType) -> u32 {
    match dtype {
        DType::F64 => 53,
        DType::F32 => 24,
        DType::F16 => 11,
        _ => 8,
    }
}

impl Operator for RandomUniform {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 1, "random_uniform_c0")?;
        if x[0] != TensorType::fixed(DType::U64, &[]) {
            return Err(TypeError::new("random_uniform_c1", format!("the key is u64[], not {}", x[0])));
        }
        if !self.dtype.is_float() {
            return Err(TypeError::new("random_uniform_c2", format!("is not defined on {}", self.dtype)));
        }
        Ok(vec![TensorType::new(self.dtype, self.shape.clone())])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let shape = super::constants(&self.shape)?;
        let key = halves(x[0].ints()[0] as u64);
        let ([s0, s1], p) = (halves(self.stream as u64), precision(self.dtype));
        let values = (0..shape.iter().product::<usize>() as u64).map(|n| {
            let [n0, n1] = halves(n);
            let [high, low, ..] = philox(key, [n0, n1, s0, s1]);
            let word = u64::from(high) << 32 | u64::from(low);
            (word >> (64 - p)) as f64 / (1u64 << p) as f64
        });
        Ok(vec![Tensor::from_floats(self.dtype, shape, values)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::Stops("it is a function of integers")
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let count = [Dim::product(&self.shape)];
        let number = |b: &mut Builder, value: u32| b.scalar(DType::U64, f64::from(value));
        let (low, half) = (number(b, u32::MAX), number(b, 32));
        // Words are held in u64, so that a product of two has room.
        let split = |b: &mut Builder, v: Value| [b.bit_and(v, low), b.shift_right(v, half)];
        let place = b.iota(DType::U64, &count, 0);
        let [mut k0, mut k1] = split(b, x[0]);
        let [mut c0, mut c1] = split(b, place);
        let [mut c2, mut c3] = halves(self.stream as u64).map(|half| number(b, half));
        let (multipliers, weyl) = (PHILOX_MULTIPLIERS.map(|m| number(b, m)), PHILOX_WEYL.map(|w| number(b, w)));
        for round in 0..PHILOX_ROUNDS {
            let (first, second) = (b.mul(c0, multipliers[0]), b.mul(c2, multipliers[1]));
            let ([first_low, first_high], [second_low, second_high]) = (split(b, first), split(b, second));
            let [left, right] = [(second_high, c1, k0), (first_high, c3, k1)].map(|(high, word, key)| {
                let mixed = b.bit_xor(high, word);
                b.bit_xor(mixed, key)
            });
            (c0, c1, c2, c3) = (left, second_low, right, first_low);
            if round + 1 < PHILOX_ROUNDS {
                let (next0, next1) = (b.add(k0, weyl[0]), b.add(k1, weyl[1]));
                (k0, k1) = (b.bit_and(next0, low), b.bit_and(next1, low));
            }
        }
        let p = precision(self.dtype);
        let bits = if p > 32 {
            let top = b.shift_left(c0, half);
            let word = b.bit_or(top, c1);
            let shift = number(b, 64 - p);
            b.shift_right(word, shift)
        } else {
            let shift = number(b, 32 - p);
            b.shift_right(c0, shift)
        };
        // Exact: the bits are no more than the type's precision.
        let wide = b.cast(bits, if p > 24 { DType::F64 } else { DType::F32 });
        let unit = b.scalar(b.dtype(wide), (-f64::from(p)).exp2());
        let scaled = b.mul(wide, unit);
        let y = b.cast(scaled, self.dtype);
        Meaning::Composite(vec![b.reshape(y, &self.shape)])
    }

    fn examples() -> Vec<Example> {
        let of = |shape: &[usize], stream, dtype| RandomUniform { shape: shape.iter().map(|&d| Dim::from(d)).collect(), stream, dtype };
        vec![
            Example::accepted(of(&[2, 3], 0, DType::F32), &["u64[]"]),
            Example::accepted(of(&[37], 0x1234_5678_9abc, DType::F64), &["u64[]"]),
            Example::accepted(of(&[5], 7, DType::F16), &["u64[]"]),
            Example::accepted(of(&[3, 0], 7, DType::BF16), &["u64[]"]),
            Example::accepted(of(&[], 1, DType::BF16), &["u64[]"]),
            Example::rejected("random_uniform_c0", of(&[2], 0, DType::F32), &[]),
            Example::rejected("random_uniform_c1", of(&[2], 0, DType::F32), &["i64[]"]),
            Example::rejected("random_uniform_c1", of(&[2], 0, DType::F32), &["u64[1]"]),
            Example::rejected("random_uniform_c2", of(&[2], 0, DType::I32), &["u64[]"]),
        ]
    }
}
