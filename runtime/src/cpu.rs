//! Does this CPU have what the code needs?

/// Those of `needed` (Rust's names of CPU features) that this CPU lacks or that are not known here.
pub fn missing_features(needed: &[String]) -> Vec<&str> {
    needed.iter().map(String::as_str).filter(|name| !has(name)).collect()
}

#[cfg(target_arch = "x86_64")]
fn has(feature: &str) -> bool {
    macro_rules! detect {
        ($($name:tt),*) => {
            match feature {
                $($name => std::is_x86_feature_detected!($name),)*
                _ => false,
            }
        };
    }
    detect!(
        "sse",
        "sse2",
        "sse3",
        "ssse3",
        "sse4.1",
        "sse4.2",
        "popcnt",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "bmi1",
        "bmi2",
        "lzcnt",
        "avx512f",
        "avx512bw",
        "avx512cd",
        "avx512dq",
        "avx512vl",
        "avx512vnni",
        "avx512bf16",
        "avx512vbmi",
        "avx512vpopcntdq",
        "avx512bitalg"
    )
}

#[cfg(target_arch = "aarch64")]
fn has(feature: &str) -> bool {
    macro_rules! detect {
        ($($name:tt),*) => {
            match feature {
                $($name => std::arch::is_aarch64_feature_detected!($name),)*
                _ => false,
            }
        };
    }
    detect!("neon", "fp16", "lse", "dotprod", "bf16", "i8mm", "sve")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has(_feature: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_features_are_missing_and_the_baseline_is_there() {
        let baseline = if cfg!(target_arch = "x86_64") { "sse2" } else { "neon" };
        assert_eq!(missing_features(&[baseline.to_owned(), "quantum".to_owned()]), ["quantum"]);
        assert!(missing_features(&[]).is_empty());
    }
}
