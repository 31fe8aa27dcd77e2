//! The operands that instructions of one lane are tried on, three to a row.

use super::values::{BF16, F16, F32, F64, INTEGERS, Random};

/// Every pair of special values with a third that walks through them, then `more` random ones.
fn pairs(special: &[u64], more: usize, mut random: impl FnMut() -> [u64; 3]) -> Vec<[u64; 3]> {
    let n = special.len();
    let all = (0..n * n).map(|i| [special[i / n], special[i % n], special[(i / n * 5 + i % n * 3) % n]]);
    let all: Vec<_> = all.collect();
    all.into_iter().chain((0..more).map(|_| random())).collect()
}

pub fn singles() -> Vec<[u64; 3]> {
    let mut random = Random(1);
    let special: Vec<u64> = F32.map(u64::from).to_vec();
    pairs(&special, 76, || {
        // Neighbouring exponents round; a third near the negative product cancels.
        let (a, b) = (random.f32(-4..4), random.f32(-4..4));
        let product = f32::from_bits(a) * f32::from_bits(b);
        let c = match random.below(4) {
            0 => (-product).to_bits() ^ random.below(4) as u32,
            1 => random.f32(-30..-20),
            2 => random.f32(-126..-120),
            _ => random.f32(-4..4),
        };
        let tiny = random.below(4) == 0;
        let a = if tiny { random.f32(-70..-60) } else { a };
        [a, if tiny { random.f32(-70..-60) } else { b }, c].map(u64::from)
    })
}

pub fn doubles() -> Vec<[u64; 3]> {
    let mut random = Random(2);
    pairs(&F64, 60, || {
        let (a, b) = (random.f64(-4..4), random.f64(-4..4));
        let product = f64::from_bits(a) * f64::from_bits(b);
        [a, b, if random.below(2) == 0 { (-product).to_bits() ^ random.below(4) } else { random.f64(-60..4) }]
    })
}

/// Halves, two in each operand.
fn halves(special: &[u16; 16], mut one: impl FnMut() -> u16) -> Vec<[u64; 3]> {
    let wide: Vec<u64> = (0..16).map(|i| u64::from(special[i]) | u64::from(special[(i * 7 + 3) % 16]) << 16).collect();
    pairs(&wide, 64, || [0; 3].map(|_: u64| u64::from(one()) | u64::from(one()) << 16))
}

pub fn integers() -> Vec<[u64; 3]> {
    let mut random = Random(5);
    pairs(&INTEGERS, 28, || {
        let shift = random.below(60);
        [random.next(), random.next() >> shift, random.next()]
    })
}

/// One operand: the special ones, then a grid over all exponents, then what matters near zero and one.
pub fn line() -> Vec<[u64; 3]> {
    let mut random = Random(6);
    let special = F32.to_vec();
    let grid = (0..256u32).map(|e| (e.min(254) << 23) | (random.next() as u32 & 0x807f_ffff)).collect::<Vec<_>>();
    let near = (0..60).map(|_| random.f32(-6..7)).collect::<Vec<_>>();
    let ones = (0..24u32).map(|i| 0x3f80_0000 - 12 + i).collect::<Vec<_>>();
    let edges = [-126.5f32, -127.0, -140.25, -149.0, -149.5, -150.0, -151.0, 127.0, 127.99999, 128.0, 1e-6, 88.0, 3.0, 4.0, 0.5, 0.25];
    let all = special.into_iter().chain(grid).chain(near).chain(ones).chain(edges.map(f32::to_bits));
    all.map(|v| [u64::from(v), 0, 0]).collect()
}

/// Angles between -100π and 100π, most within -2π and 2π, and the specials.
pub fn angles() -> Vec<[u64; 3]> {
    let mut random = Random(7);
    let some = (0..150).map(|i| {
        let span = if i % 3 == 0 { 314.0 } else { 6283.0 / 1000.0 };
        ((random.below(2_000_001) as f32 - 1e6) * 1e-6 * span).to_bits()
    });
    let special = [0u32, 0x8000_0000, 1, 0x8000_0001, 0x0080_0000, 0x3a00_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000];
    some.chain(special).map(|v| [u64::from(v), 0, 0]).collect()
}

/// Of all magnitudes.
pub fn quotients() -> Vec<[u64; 3]> {
    let mut random = Random(17);
    (0..160).map(|_| [u64::from(random.f32(-126..128)), u64::from(random.f32(-126..128)), 0]).collect()
}

/// Halves in a, brain floats in b: the special ones and a walk through all exponents.
pub fn every_half() -> Vec<[u64; 3]> {
    let mut random = Random(13);
    let special =
        (0..16).map(|i| [u64::from(F16[i]) | u64::from(F16[15 - i]) << 16, u64::from(BF16[i]) | u64::from(BF16[15 - i]) << 16, 0]);
    let walk = (0..160).map(|_| {
        let f = |r: &mut Random| u64::from(r.f16(-14..8)) | u64::from(r.f16(-6..5)) << 16;
        let b = |r: &mut Random| u64::from(r.bf16(-14..8)) | u64::from(r.bf16(-6..5)) << 16;
        [f(&mut random), b(&mut random), 0]
    });
    let walk: Vec<_> = walk.collect();
    special.chain(walk).collect()
}

/// Values with positions and lengths inside and beyond the width.
pub fn fields() -> Vec<[u64; 3]> {
    let mut random = Random(14);
    let places = [0u64, 1, 7, 31, 32, 33, 63, 64, 65, 128, 255];
    let all = (0..places.len() * places.len()).map(|i| [random.next(), places[i / places.len()], places[i % places.len()]]);
    all.collect()
}

pub fn permutations() -> Vec<[u64; 3]> {
    let mut random = Random(15);
    (0..96).map(|i| [random.next(), random.next(), if i < 32 { i } else { random.next() }]).collect()
}

/// Values that conversions to integers tell apart.
pub fn convertible() -> Vec<u32> {
    let mut random = Random(8);
    let ends = [
        0.5f32,
        1.5,
        2.5,
        -0.5,
        -1.5,
        -2.5,
        0.49999997,
        0.99,
        -0.99,
        127.0,
        127.5,
        128.0,
        -128.0,
        -128.5,
        -129.0,
        255.0,
        255.5,
        256.0,
        32767.0,
        32767.5,
        32768.0,
        -32768.5,
        -32769.0,
        65535.0,
        65535.5,
        65536.0,
        2147483500.0,
        2147483648.0,
        -2147483648.0,
        -2147484000.0,
        4294967000.0,
        4294967296.0,
        9.2233715e18,
        9.223372e18,
        -9.223372e18,
        -9.3e18,
        1.8446743e19,
        1.8446744e19,
        1e30,
        -1e30,
        65504.0,
        65519.0,
        65520.0,
        6.1e-5,
        5.96e-8,
        2.98e-8,
        2.9e-8,
        448.0,
        464.0,
        465.0,
        57344.0,
        61440.0,
        0.001953125,
        0.0009765625,
        0.0009,
    ];
    let more = (0..64).map(|i| if i % 2 == 0 { random.f32(-16..34) } else { random.f32(-30..20) }).collect::<Vec<_>>();
    F32.into_iter().chain([0x7fff_ffff, 0xffff_ffff]).chain(ends.map(f32::to_bits)).chain(more).collect()
}

/// Each value as f32 in a and c, as f64 with further bits in b.
pub fn with_double(values: &[u32]) -> Vec<[u64; 3]> {
    let mut random = Random(16);
    let wide = |v: u32, noise: u64| (f64::from(f32::from_bits(v)).to_bits()) ^ if f32::from_bits(v).is_finite() { noise } else { 0 };
    let all = values.iter().enumerate();
    all.map(|(i, v)| {
        [u64::from(*v), wide(*v, if i % 2 == 0 { 0 } else { random.below(1 << 29) }), u64::from(values[(i * 7 + 5) % values.len()])]
    })
    .collect()
}

pub fn half_operands(special: &[u16; 16], seed: u64) -> Vec<[u64; 3]> {
    let mut random = Random(seed);
    let all = special.iter().map(|v| u64::from(*v)).chain((0..112).map(|_| random.next() & 0xffff)).collect::<Vec<_>>();
    all.iter().enumerate().map(|(i, v)| [v | all[(i * 11 + 3) % all.len()] << 16, 0, 0]).collect()
}

/// Pairs of f16.
pub fn f16s() -> Vec<[u64; 3]> {
    let mut random = Random(3);
    let mut all = halves(&F16, || random.f16(-6..6));
    // Products and sums that only just are not normal numbers.
    all.extend([[0x0400_8400, 0x3bff_3bff, 0], [0x0400_1400, 0x0400_9000, 0x0400_0400], [0x8400_0400, 0x0400_0400, 0x0400_8400]]);
    all
}

/// Pairs of bf16.
pub fn bf16s() -> Vec<[u64; 3]> {
    let mut random = Random(4);
    halves(&BF16, || random.bf16(-6..6))
}
