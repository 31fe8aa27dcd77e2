//! Floating-point formats narrower than f64: encoding with any rounding, decoding, and sums whose one rounding comes last.

/// Rounding of PTX: nearest even, towards zero, down, up, nearest with ties away from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
    NearestAway,
}

/// A binary format with subnormals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub mantissa: u32,
    pub exponent: u32,
    /// No infinities, one NaN pattern per sign (`e4m3`).
    pub finite: bool,
}

pub(crate) const F16: Format = Format { mantissa: 10, exponent: 5, finite: false };
pub(crate) const BF16: Format = Format { mantissa: 7, exponent: 8, finite: false };
pub(crate) const TF32: Format = Format { mantissa: 10, exponent: 8, finite: false };
pub(crate) const F32: Format = Format { mantissa: 23, exponent: 8, finite: false };
pub(crate) const E4M3: Format = Format { mantissa: 3, exponent: 4, finite: true };
pub(crate) const E5M2: Format = Format { mantissa: 2, exponent: 5, finite: false };

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    /// The exponent of the least normal number.
    pub(crate) fn least(self) -> i32 {
        1 - self.bias()
    }

    /// The NaN that instructions give.
    pub(crate) fn nan(self) -> u64 {
        (1 << (self.mantissa + self.exponent)) - 1
    }

    fn largest(self) -> u64 {
        if self.finite { self.nan() - 1 } else { (((1 << self.exponent) - 1) << self.mantissa) - 1 }
    }

    /// The value of `bits`.
    pub(crate) fn decode(self, bits: u64) -> f64 {
        let sign = if bits >> (self.mantissa + self.exponent) & 1 == 1 { -1.0 } else { 1.0 };
        let exponent = (bits >> self.mantissa) & ((1 << self.exponent) - 1);
        let mantissa = bits & ((1 << self.mantissa) - 1);
        if self.finite && bits & self.nan() == self.nan() {
            return f64::NAN;
        }
        if !self.finite && exponent == (1 << self.exponent) - 1 {
            return if mantissa == 0 { sign * f64::INFINITY } else { f64::NAN };
        }
        let (significand, power) = match exponent {
            0 => (mantissa, 1 - self.bias() - self.mantissa as i32),
            e => (mantissa | 1 << self.mantissa, e as i32 - self.bias() - self.mantissa as i32),
        };
        sign * significand as f64 * power_of_two(power)
    }

    /// The pattern nearest to `value` in the sense of `rounding`; `saturate` gives the largest number instead of infinity.
    pub(crate) fn encode(self, value: f64, rounding: Rounding, saturate: bool) -> u64 {
        if value.is_nan() {
            return self.nan();
        }
        let bits = value.to_bits();
        let negative = bits >> 63 == 1;
        let sign = u64::from(negative) << (self.mantissa + self.exponent);
        let overflow = || {
            let towards = match rounding {
                Rounding::Zero => true,
                Rounding::Down => !negative,
                Rounding::Up => negative,
                Rounding::Nearest | Rounding::NearestAway => false,
            };
            if saturate || towards {
                sign | self.largest()
            } else if self.finite {
                sign | self.nan()
            } else {
                sign | (self.largest() + 1)
            }
        };
        if value.is_infinite() {
            return match (saturate, self.finite) {
                (true, _) => sign | self.largest(),
                (false, true) => sign | self.nan(),
                (false, false) => sign | (self.largest() + 1),
            };
        }
        if value == 0.0 {
            return sign;
        }
        // value = significand · 2^(exponent − 52), normalised so that bit 52 is set (subnormals of f64 lie far below every format).
        let raw = (bits >> 52 & 0x7ff) as i32;
        let exponent = if raw == 0 { -1074 } else { raw - 1023 };
        let significand = bits & ((1 << 52) - 1) | u64::from(raw != 0) << 52;
        let least = 1 - self.bias();
        let dropped = 52 - self.mantissa as i32 + (least - exponent).max(0);
        let (kept, rest, half) =
            if dropped >= 64 { (0, 1, 2) } else { (significand >> dropped, significand & ((1u64 << dropped) - 1), 1u64 << (dropped - 1)) };
        let up = match rounding {
            Rounding::Nearest => rest > half || rest == half && kept & 1 == 1,
            Rounding::NearestAway => rest >= half,
            Rounding::Zero => false,
            Rounding::Down => negative && rest != 0,
            Rounding::Up => !negative && rest != 0,
        };
        let base = if exponent < least { 0 } else { ((exponent - least) as u64) << self.mantissa };
        // The hidden bit of a normal number adds the one that `base` lacks; a carry moves to the next exponent by itself.
        let pattern = base + kept + u64::from(up);
        if pattern > self.largest() { overflow() } else { sign | pattern }
    }
}

fn power_of_two(power: i32) -> f64 {
    f64::from_bits(((power + 1023) as u64) << 52)
}

/// `a + b` rounded to odd, so that a second rounding to a narrower format is right.
pub(crate) fn add_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    if !sum.is_finite() || sum == 0.0 {
        return sum;
    }
    let bb = sum - a;
    let error = (a - (sum - bb)) + (b - bb);
    if error == 0.0 || sum.to_bits() & 1 == 1 {
        return sum;
    }
    // The exact sum lies between `sum` and its neighbour on the side of `error`: take the odd one of the two.
    let away = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away { sum.to_bits() + 1 } else { sum.to_bits() - 1 })
}

/// The f32 in the low bits of a register.
pub(crate) fn f32_of(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// The register bits of an f32, with the one NaN that instructions give.
pub(crate) fn f32_bits(value: f32) -> u64 {
    if value.is_nan() { 0x7fff_ffff } else { u64::from(value.to_bits()) }
}

/// The register bits of an f64, with the NaN that instructions make.
pub(crate) fn f64_bits(value: f64) -> u64 {
    f64_result(value, &[])
}

/// The register bits of an f64. A NaN is that of the first operand that is one, made quiet: PTX promises nothing of it, Hopper does so.
pub(crate) fn f64_result(value: f64, operands: &[u64]) -> u64 {
    if !value.is_nan() {
        return value.to_bits();
    }
    let given = operands.iter().find(|o| f64::from_bits(**o).is_nan());
    given.map_or(0xfff8_0000_0000_0000, |o| o | 1 << 51)
}

/// Exact results become zeros that would be subnormal, were they rounded to the bits of the mantissa wherever these lie.
pub(crate) fn flush_exact(value: f64, format: Format, rounding: Rounding) -> f64 {
    const RAISED: i32 = 12;
    let smallest = power_of_two(format.least());
    // Rounded where there are normal numbers.
    let rounded = || format.decode(format.encode(value * power_of_two(RAISED), rounding, false)).abs();
    if value.abs() < smallest && rounded() < smallest * power_of_two(RAISED) { 0f64.copysign(value) } else { value }
}

/// [`add_odd`], whose zero is negative when sums are rounded down and an operand is negative.
pub(crate) fn add_towards(a: f64, b: f64, rounding: Rounding) -> f64 {
    let sum = add_odd(a, b);
    let negative = a.is_sign_negative() || b.is_sign_negative();
    if sum == 0.0 && rounding == Rounding::Down && negative { -0.0 } else { sum }
}

/// Subnormal f32 become zeros of the same sign.
pub(crate) fn flush(value: f32, ftz: bool) -> f32 {
    if ftz && value.is_subnormal() { 0f32.copysign(value) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_a_round_trip() {
        for format in [F16, BF16] {
            for bits in 0..1u64 << 16 {
                let value = format.decode(bits);
                if !value.is_nan() {
                    assert_eq!(format.encode(value, Rounding::Nearest, false), bits, "{format:?} {bits:#x}");
                }
            }
        }
        for format in [E4M3, E5M2] {
            for bits in (0..256u64).filter(|b| !format.decode(*b).is_nan()) {
                assert_eq!(format.encode(format.decode(bits), Rounding::Nearest, false), bits);
            }
        }
        assert_eq!(E4M3.decode(0x7e), 448.0);
    }

    #[test]
    fn f32_rounds_as_the_processor_does() {
        let mut state = 1u64;
        for _ in 0..100_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let value = f64::from_bits(state & !(0x7ff << 52) | ((800 + (state >> 52 & 0x1ff)) << 52));
            let ours = F32.encode(value, Rounding::Nearest, false) as u32;
            assert_eq!(ours, (value as f32).to_bits(), "{value:e}");
        }
    }

    #[test]
    fn directed_rounding_brackets() {
        assert_eq!(F16.encode(1.0 + 1e-9, Rounding::Up, false), 0x3c01);
        assert_eq!(F16.encode(1.0 + 1e-9, Rounding::Down, false), 0x3c00);
        assert_eq!(F16.encode(-1.0 - 1e-9, Rounding::Down, false), 0xbc01);
        assert_eq!(F16.encode(1e9, Rounding::Zero, false), 0x7bff);
        assert_eq!(F16.encode(1e9, Rounding::Nearest, false), 0x7c00);
        assert_eq!(F16.encode(65519.0, Rounding::Nearest, false), 0x7bff);
        assert_eq!(F16.encode(65520.0, Rounding::Nearest, false), 0x7c00);
        assert_eq!(F16.encode(2f64.powi(-25), Rounding::Nearest, false), 0);
        assert_eq!(F16.encode(2f64.powi(-25) * 1.01, Rounding::Nearest, false), 1);
    }

    #[test]
    fn sums_to_odd_keep_the_last_doubt() {
        let sum = add_odd(1.0, 2f64.powi(-80));
        assert!(sum > 1.0 && F32.encode(sum, Rounding::Up, false) == 0x3f80_0001);
        assert_eq!(F32.encode(add_odd(1.0, -(2f64.powi(-80))), Rounding::Zero, false), 0x3f7f_ffff);
    }
}
