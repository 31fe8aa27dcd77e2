//! Reduces angles of any size modulo π/2: the method of Payne and Hanek (1983).
//!
//! With |x| = m·2ᵉ (m of 53 bits), only bits of 2/π whose product with 2ᵉ lies below 4 matter, and 192 of them
//! leave the product m·2ᵉ·2/π mod 4 with 137 bits behind the point: enough for the 61 that can cancel.
//! Scalar integer code in a loop over lanes; it runs rarely.

use super::coefficients::{HALF_PI_SHORT, TWO_OVER_PI_WORDS};
use super::mul_const;
use super::trigonometric::Reduced;
use crate::tile::builder::Builder;
use crate::tile::ir::Reg;
use crate::tile::types::{Lane, Mem, Type};

/// Words of 32 bits in the window of 2/π.
const WINDOW: usize = 6;

/// Reduces F64 angles of magnitude at least 2²⁰; lanes that are smaller give something else.
pub(super) fn huge_angles(b: &mut Builder, x: Reg) -> Reduced {
    let bytes = 8 * x.ty.lanes;
    let table = b.scratch(4 * TWO_OVER_PI_WORDS.len() as u32, 8);
    for (at, pair) in TWO_OVER_PI_WORDS.chunks(2).enumerate() {
        let word = b.index((u64::from(pair[0]) | u64::from(pair[1]) << 32) as i64);
        b.store(Mem::I64, word, table, 8 * at as i32);
    }
    let [angles, highs, lows, quadrants] = [(); 4].map(|()| b.scratch(bytes, 16));
    b.store(Mem::F64, x, angles, 0);
    let (start, end) = (b.index(0), b.index(i64::from(bytes)));
    b.for_each(start, end, 8, |b, at| {
        let [from, high_to, low_to, quadrant_to] = [angles, highs, lows, quadrants].map(|base| b.add(base, at));
        let angle = b.load(Mem::F64, Type::F64, from, 0);
        let reduced = huge_angle(b, angle, table);
        b.store(Mem::F64, reduced.high, high_to, 0);
        b.store(Mem::F64, reduced.low, low_to, 0);
        b.store(Mem::I64, reduced.quadrant, quadrant_to, 0);
    });
    Reduced {
        high: b.load(Mem::F64, x.ty, highs, 0),
        low: b.load(Mem::F64, x.ty, lows, 0),
        quadrant: b.load(Mem::I64, x.ty.with_lane(Lane::I64), quadrants, 0),
    }
}

fn shl(b: &mut Builder, x: Reg, bits: i64) -> Reg {
    let bits = b.index(bits);
    b.shl(x, bits)
}

fn shr(b: &mut Builder, x: Reg, bits: i64) -> Reg {
    let bits = b.index(bits);
    b.shr_u(x, bits)
}

fn low_word(b: &mut Builder, x: Reg) -> Reg {
    let mask = b.index(0xffff_ffff);
    b.and(x, mask)
}

/// One scalar angle.
fn huge_angle(b: &mut Builder, x: Reg, table: Reg) -> Reduced {
    let bits = b.bitcast(x, Lane::I64);
    let exponent = shl(b, bits, 1);
    let exponent = shr(b, exponent, 53);
    let fraction_mask = b.index((1 << 52) - 1);
    let fraction = b.and(bits, fraction_mask);
    let implicit = b.index(1 << 52);
    let m = b.or(fraction, implicit);
    // e = exponent − 1075; the window starts at bit e − 2 of 2/π, which stands behind 64 zeros in the table.
    let first_bit = b.add_int(exponent, -1075 - 2 + 64);
    let zero = b.index(0);
    let first_bit = b.max_s(first_bit, zero);
    let window = window_at(b, table, first_bit);
    let product = low_product(b, m, &window);

    // The product's top two bits count quadrants; what follows, as a signed number, is the distance to the
    // nearest multiple of π/2.
    let pair = |b: &mut Builder, high: Reg, low: Reg| {
        let high = shl(b, high, 32);
        b.or(high, low)
    };
    let first = pair(b, product[0], product[1]);
    let second = pair(b, product[2], product[3]);
    let quadrant = shr(b, first, 62);
    let join = |b: &mut Builder, high: Reg, low: Reg| {
        let (high, low) = (shl(b, high, 2), shr(b, low, 62));
        b.or(high, low)
    };
    let third = pair(b, product[4], product[5]);
    let high = join(b, first, second);
    let low = join(b, second, third);
    let negative = shr(b, high, 63);
    let quadrant = b.add(quadrant, negative);
    // Magnitude of the two's complement pair: all bits flipped (one unit of 2⁻¹²⁸ does not count).
    let flip = b.sub(zero, negative);
    let (high, low) = (b.xor(high, flip), b.xor(low, flip));
    let (turn_high, turn_low) = fraction_to_floats(b, high, low);
    let (r_high, r_low) = times_half_pi(b, turn_high, turn_low);

    // The fraction's sign, then that of the angle, which also turns the quadrants back.
    let sign_of_x = shr(b, bits, 63);
    let sign = b.xor(negative, sign_of_x);
    let sign = shl(b, sign, 63);
    let signed = |b: &mut Builder, value: Reg| {
        let bits = b.bitcast(value, Lane::I64);
        let bits = b.xor(bits, sign);
        b.bitcast(bits, Lane::F64)
    };
    let (r_high, r_low) = (signed(b, r_high), signed(b, r_low));
    let turned = b.sub(zero, quadrant);
    let is_negative = b.ne(sign_of_x, zero);
    let quadrant = b.select(is_negative, turned, quadrant);
    // ∞ and NaN give NaN.
    let difference = b.sub(x, x);
    let r_high = b.add(r_high, difference);
    Reduced { high: r_high, low: r_low, quadrant }
}

/// [`WINDOW`] words of the table from this bit on, highest first.
fn window_at(b: &mut Builder, table: Reg, first_bit: Reg) -> Vec<Reg> {
    let word = shr(b, first_bit, 5);
    let at = shl(b, word, 2);
    let at = b.add(table, at);
    let within = b.index(31);
    let within = b.and(first_bit, within);
    let words: Vec<Reg> = (0..=WINDOW).map(|k| b.load(Mem::U32, Type::I64, at, 4 * k as i32)).collect();
    words
        .windows(2)
        .map(|pair| {
            let high = shl(b, pair[0], 32);
            let both = b.or(high, pair[1]);
            let shifted = b.shl(both, within);
            shr(b, shifted, 32)
        })
        .collect()
}

/// m · window modulo 2^(32·WINDOW), in words, highest first.
fn low_product(b: &mut Builder, m: Reg, window: &[Reg]) -> Vec<Reg> {
    let (m_low, m_high) = (low_word(b, m), shr(b, m, 32));
    let mut product = vec![m; WINDOW];
    let mut carry = b.index(0);
    for k in (0..WINDOW).rev() {
        let term = b.mul(m_low, window[k]);
        let sum = b.add(term, carry);
        product[k] = low_word(b, sum);
        carry = shr(b, sum, 32);
    }
    carry = b.index(0);
    for k in (1..WINDOW).rev() {
        let term = b.mul(m_high, window[k]);
        let sum = b.add(term, carry);
        let sum = b.add(sum, product[k - 1]);
        product[k - 1] = low_word(b, sum);
        carry = shr(b, sum, 32);
    }
    product
}

/// (high · 2⁶⁴ + low) / 2¹²⁸ as a sum of two floats.
fn fraction_to_floats(b: &mut Builder, high: Reg, low: Reg) -> (Reg, Reg) {
    let words = [shr(b, high, 32), low_word(b, high), shr(b, low, 32), low_word(b, low)];
    let mut sum = None;
    for (k, word) in words.into_iter().enumerate() {
        let term = b.int_to_float_s(word, Lane::F64);
        let term = mul_const(b, term, 2f64.powi(-32 * (k as i32 + 1)));
        sum = Some(match sum {
            None => (term, b.float(Type::F64, 0.0)),
            // The running sum is zero or larger than the term, so this finds exactly what was rounded away.
            Some((total, lost)) => {
                let next = b.add(total, term);
                let kept = b.sub(next, total);
                let rest = b.sub(term, kept);
                (next, b.add(lost, rest))
            }
        });
    }
    sum.expect("four words")
}

/// (high + low) · π/2 as a sum of two floats.
fn times_half_pi(b: &mut Builder, high: Reg, low: Reg) -> (Reg, Reg) {
    // The upper 26 bits of one times the upper 26 of the other are exact.
    let bits = b.bitcast(high, Lane::I64);
    let mask = b.index(!((1 << 27) - 1));
    let bits = b.and(bits, mask);
    let upper = b.bitcast(bits, Lane::F64);
    let lower = b.sub(high, upper);
    let lower = b.add(lower, low);
    let main = mul_const(b, upper, HALF_PI_SHORT[0]);
    let first = mul_const(b, upper, HALF_PI_SHORT[1]);
    let second = mul_const(b, lower, HALF_PI_SHORT[0]);
    let third = mul_const(b, lower, HALF_PI_SHORT[1]);
    let rest = b.add(second, third);
    let rest = b.add(first, rest);
    let sum = b.add(main, rest);
    let kept = b.sub(main, sum);
    (sum, b.add(kept, rest))
}
