//! Random numbers by position: the n-th number of a stream is a function of the seed, the stream and n, so numbers agree on every
//! machine, in any order and on any number of threads.
//!
//! *Source*: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (Philox4x32-10); Wichura 1988, algorithm AS 241.

/// What the first and the third word of the counter are multiplied by in each round of Philox4x32.
pub const PHILOX_MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What is added to the words of the key after each round.
pub const PHILOX_WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
/// Rounds of Philox4x32-10.
pub const PHILOX_ROUNDS: usize = 10;

/// The lower and the upper half of a word, as keys and counters take them.
pub fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// One block of Philox4x32-10: 128 random bits of a counter.
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let ([mut k0, mut k1], [mut c0, mut c1, mut c2, mut c3]) = (key, counter);
    for _ in 0..PHILOX_ROUNDS {
        let first = u64::from(c0) * u64::from(PHILOX_MULTIPLIERS[0]);
        let second = u64::from(c2) * u64::from(PHILOX_MULTIPLIERS[1]);
        (c0, c1, c2, c3) = ((second >> 32) as u32 ^ c1 ^ k0, second as u32, (first >> 32) as u32 ^ c3 ^ k1, first as u32);
        k0 = k0.wrapping_add(PHILOX_WEYL[0]);
        k1 = k1.wrapping_add(PHILOX_WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// The number of the stream of a name.
pub fn stream_number(name: &str) -> u64 {
    // FNV-1a.
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// A sequence of random numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream {
    seed: u64,
    stream: u64,
}

impl Stream {
    /// The stream of a name: streams of different names are independent.
    pub fn named(seed: u64, name: &str) -> Stream {
        Stream { seed, stream: stream_number(name) }
    }

    /// The n-th number, 64 random bits.
    pub fn bits(&self, n: u64) -> u64 {
        let ([s0, s1], [n0, n1]) = (halves(self.stream), halves(n / 2));
        let block = philox(halves(self.seed), [n0, n1, s0, s1]);
        let pair = if n.is_multiple_of(2) { [block[0], block[1]] } else { [block[2], block[3]] };
        u64::from(pair[0]) << 32 | u64::from(pair[1])
    }

    /// The n-th number, uniform in the open interval 0..1: a multiple of 2⁻⁵² and a half more.
    pub fn uniform(&self, n: u64) -> f64 {
        ((self.bits(n) >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// The n-th number, normal with mean 0 and deviation 1.
    pub fn normal(&self, n: u64) -> f64 {
        normal_quantile(self.uniform(n))
    }

    /// The n-th number, normal with mean 0 and deviation 1 but within −2..2.
    pub fn truncated_normal(&self, n: u64) -> f64 {
        /// The share of a normal distribution below −2.
        const BELOW: f64 = 0.022_750_131_948_179_195;
        normal_quantile(BELOW + self.uniform(n) * (1.0 - 2.0 * BELOW))
    }
}

/// Where the share `p` of a normal distribution lies below, for p in 0..1. Relative error about 1e-16 (AS 241, PPND16).
#[allow(clippy::excessive_precision, reason = "the digits of the publication")]
pub fn normal_quantile(p: f64) -> f64 {
    let ratio = |r: f64, numerator: [f64; 8], denominator: [f64; 7]| {
        let top = numerator.iter().rev().fold(0.0, |sum, c| sum * r + c);
        top / (denominator.iter().rev().fold(0.0, |sum, c| (sum + c) * r) + 1.0)
    };
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * ratio(
            r,
            [
                3.3871328727963666080e0,
                1.3314166789178437745e2,
                1.9715909503065514427e3,
                1.3731693765509461125e4,
                4.5921953931549871457e4,
                6.7265770927008700853e4,
                3.3430575583588128105e4,
                2.5090809287301226727e3,
            ],
            [
                4.2313330701600911252e1,
                6.8718700749205790830e2,
                5.3941960214247511077e3,
                2.1213794301586595867e4,
                3.9307895800092710610e4,
                2.8729085735721942674e4,
                5.2264952788528545610e3,
            ],
        );
    }
    let r = (-(if q < 0.0 { p } else { 1.0 - p }).ln()).sqrt();
    let size = if r <= 5.0 {
        ratio(
            r - 1.6,
            [
                1.42343711074968357734e0,
                4.63033784615654529590e0,
                5.76949722146069140550e0,
                3.64784832476320460504e0,
                1.27045825245236838258e0,
                2.41780725177450611770e-1,
                2.27238449892691845833e-2,
                7.74545014278341407640e-4,
            ],
            [
                2.05319162663775882187e0,
                1.67638483018380384940e0,
                6.89767334985100004550e-1,
                1.48103976427480074590e-1,
                1.51986665636164571966e-2,
                5.47593808499534494600e-4,
                1.05075007164441684324e-9,
            ],
        )
    } else {
        ratio(
            r - 5.0,
            [
                6.65790464350110377720e0,
                5.46378491116411436990e0,
                1.78482653991729133580e0,
                2.96560571828504891230e-1,
                2.65321895265761230930e-2,
                1.24266094738807843860e-3,
                2.71155556874348757815e-5,
                2.01033439929228813265e-7,
            ],
            [
                5.99832206555887937690e-1,
                1.36929880922735805310e-1,
                1.48753612908506148525e-2,
                7.86869131145613259100e-4,
                1.84631831751005468180e-5,
                1.42151175831644588870e-7,
                2.04426310338993978564e-15,
            ],
        )
    };
    size.copysign(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_blocks() {
        // Random123, tests/kat_vectors, philox4x32 10.
        assert_eq!(philox([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 2], [u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        // Python: statistics.NormalDist().inv_cdf(p)
        let known = [(0.5, 0.0), (0.3, -0.524_400_512_708_041), (0.99, 2.326_347_874_040_840_8), (1e-20, -9.262_340_089_798_407)];
        for (p, expected) in known {
            assert!((normal_quantile(p) - expected).abs() <= 4e-15 * f64::abs(expected), "{p}: {}", normal_quantile(p));
        }
    }

    #[test]
    fn streams_have_the_moments_of_their_distribution() {
        let stream = Stream::named(7, "layer.weight");
        let mean = |f: &dyn Fn(u64) -> f64| (0..20_000).map(f).sum::<f64>() / 20_000.0;
        assert!((mean(&|n| stream.uniform(n)) - 0.5).abs() < 0.01);
        assert!(mean(&|n| stream.normal(n)).abs() < 0.03 && (mean(&|n| stream.normal(n).powi(2)) - 1.0).abs() < 0.05);
        // The variance of what is cut at two deviations.
        assert!((mean(&|n| stream.truncated_normal(n).powi(2)) - 0.7737).abs() < 0.03);
        assert!((0..20_000).all(|n| stream.truncated_normal(n).abs() <= 2.0));
        assert_ne!(stream.uniform(0), Stream::named(8, "layer.weight").uniform(0));
        assert_ne!(stream.uniform(0), Stream::named(7, "layer.bias").uniform(0));
    }
}
