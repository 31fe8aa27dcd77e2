//! Numbers as text that reads back to the same bits.
//!
//! Floats use the shortest decimal that rounds to them, `inf`, `-inf` and `nan` for the canonical quiet NaN; any other NaN is
//! its bits in hexadecimal, `0x7fc00001`, which is accepted for every float.

use crate::{DType, Tensor};
use half::{bf16, f16};

/// The elements of a tensor in order.
pub(super) fn print_elements(tensor: &Tensor) -> Vec<String> {
    let dtype = tensor.dtype();
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => {
            tensor.bytes().chunks_exact(dtype.size_bytes()).map(|bytes| print_float(dtype, bits_of(bytes))).collect()
        }
        // Anything but 0 and 1 would be a malformed tensor; its bits still read back as a number.
        DType::Bool => tensor.bytes().iter().map(|b| print_bool(*b)).collect(),
        DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => {
            tensor.ints().iter().map(i128::to_string).collect()
        }
    }
}

fn print_bool(byte: u8) -> String {
    match byte {
        0 => "false".into(),
        1 => "true".into(),
        other => other.to_string(),
    }
}

fn bits_of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |bits, b| bits << 8 | u64::from(*b))
}

/// One float of any type, from its bits.
pub(super) fn print_float(dtype: DType, bits: u64) -> String {
    let value = match dtype {
        DType::F16 => f16::from_bits(bits as u16).to_f64(),
        DType::BF16 => bf16::from_bits(bits as u16).to_f64(),
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
        _ => f64::from_bits(bits),
    };
    if value.is_nan() {
        return if bits == canonical_nan(dtype) { "nan".into() } else { format!("{bits:#x}") };
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    // The shortest decimal of an f32 is short for 16-bit floats too, and unambiguous.
    if dtype == DType::F64 { format!("{value:?}") } else { format!("{:?}", value as f32) }
}

fn canonical_nan(dtype: DType) -> u64 {
    match dtype {
        DType::F16 => 0x7e00,
        DType::BF16 => 0x7fc0,
        DType::F32 => 0x7fc0_0000,
        _ => 0x7ff8_0000_0000_0000,
    }
}

/// The bytes of one element. Errors: what is wrong with the text.
pub(super) fn parse_element(dtype: DType, text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("expected a value of {dtype}, found `{text}`");
    let size = dtype.size_bytes();
    if let Some((low, high)) = dtype.int_range() {
        let value = match (dtype, text) {
            (DType::Bool, "true") => 1,
            (DType::Bool, "false") => 0,
            _ => text.parse::<i128>().map_err(|_| wrong())?,
        };
        // A stored bool is a byte; other bytes than 0 and 1 are for the verifier to refuse.
        let high = if dtype == DType::Bool { 255 } else { high };
        return if (low..=high).contains(&value) {
            Ok(value.to_le_bytes()[..size].to_vec())
        } else {
            Err(format!("{text} is outside {low}..={high}, the range of {dtype}"))
        };
    }
    Ok(parse_float(dtype, text).ok_or_else(wrong)?.to_le_bytes()[..size].to_vec())
}

/// The bits of a float.
pub(super) fn parse_float(dtype: DType, text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        let bits = u64::from_str_radix(digits, 16).ok()?;
        return (dtype.size_bytes() == 8 || bits >> (8 * dtype.size_bytes()) == 0).then_some(bits);
    }
    match text {
        "nan" => return Some(canonical_nan(dtype)),
        "inf" | "-inf" => {}
        // Rust would accept `infinity`, `+1` and `.5`; one spelling is enough.
        _ if text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit()) => {}
        _ => return None,
    }
    Some(match dtype {
        DType::F16 => f16::from_f64(text.parse().ok()?).to_bits().into(),
        DType::BF16 => bf16::from_f64(text.parse().ok()?).to_bits().into(),
        DType::F32 => text.parse::<f32>().ok()?.to_bits().into(),
        _ => text.parse::<f64>().ok()?.to_bits(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_16_bit_float_reads_back() {
        for dtype in [DType::F16, DType::BF16] {
            for bits in 0..=u64::from(u16::MAX) {
                let text = print_float(dtype, bits);
                assert_eq!(parse_float(dtype, &text), Some(bits), "{dtype} {text}");
            }
        }
    }

    #[test]
    fn wide_floats_read_back() {
        let mut bits = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            assert_eq!(parse_float(DType::F64, &print_float(DType::F64, bits)), Some(bits));
            let low = bits >> 32;
            assert_eq!(parse_float(DType::F32, &print_float(DType::F32, low)), Some(low));
        }
        for value in [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, f32::MIN_POSITIVE, 1e-45, f32::MAX] {
            let bits = u64::from(value.to_bits());
            assert_eq!(parse_float(DType::F32, &print_float(DType::F32, bits)), Some(bits));
        }
    }

    #[test]
    fn integers_keep_to_their_range() {
        assert_eq!(parse_element(DType::I8, "-128"), Ok(vec![0x80]));
        assert_eq!(parse_element(DType::U64, "18446744073709551615"), Ok(vec![0xff; 8]));
        for (dtype, text) in [(DType::I8, "128"), (DType::U8, "-1"), (DType::I32, "1.5"), (DType::Bool, "yes"), (DType::F32, "0x123456789")]
        {
            assert!(parse_element(dtype, text).is_err(), "{dtype} {text}");
        }
    }
}
