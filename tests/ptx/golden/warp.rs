//! What a warp does together: products, matrices in shared memory, shuffles, votes, reductions.

use super::values::{BF16, F16, F32, Random, bytes, halves, words};
use super::{Bound, Case, Kind, Parameter, Stretch};

const PRODUCTS: &str = include_str!("../kernels/golden/mma.ptx");
const MATRICES: &str = include_str!("../kernels/golden/matrices.ptx");
const LANES: &str = include_str!("../kernels/golden/lanes.ptx");

/// Where operands of products come from: whole numbers whose sums are exact, numbers like those of networks, a wide range of magnitudes,
/// and sums in which large terms cancel.
const SETS: usize = 6;

/// An f32 for set `set`.
fn number(set: usize, random: &mut Random) -> f32 {
    match set {
        0 | 1 => random.below(9) as f32 - 4.0,
        2 => (random.below(2_000_001) as f32 - 1e6) * 1e-6,
        3 => f32::from_bits(random.f32(-1..1)),
        4 => f32::from_bits(random.f32(-10..10)),
        _ => f32::from_bits(random.f32(-24..14)),
    }
}

/// Rounds towards zero to bf16.
fn brain(v: f32) -> u16 {
    (v.to_bits() >> 16) as u16
}

/// Rounds towards zero to f16; what is too small becomes zero.
fn half(v: f32) -> u16 {
    let bits = v.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let exponent = (bits >> 23 & 0xff) as i32 - 112;
    match exponent {
        ..1 => sign,
        1..31 => sign | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16,
        _ => sign | 0x7bff,
    }
}

/// How the elements of a product are made.
#[derive(Clone, Copy)]
enum Element {
    F16,
    BF16,
    TF32,
    F64,
    Byte,
    /// 8-bit floats below 2 (e4m3) and 1 (e5m2).
    Tiny,
    /// Any bits, NaN and infinities among them.
    Any,
}

struct Product {
    kernel: &'static str,
    element: Element,
    /// Registers of a and b, and elements of c, of a lane.
    counts: [usize; 3],
    name: &'static str,
    /// What c and d are.
    sum: Kind,
}

fn factor(element: Element, registers: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut out = Vec::new();
    for set in 0..SETS {
        for _ in 0..32 * registers {
            let mut n = || number(set, &mut random);
            match element {
                Element::F16 => out.extend(halves([half(n()), half(n())])),
                Element::BF16 => out.extend(halves([brain(n()), brain(n())])),
                Element::TF32 => out.extend(n().to_le_bytes()),
                Element::F64 if set < 2 => out.extend(f64::from(n()).to_le_bytes()),
                Element::F64 => out.extend(random.f64(-4 - 8 * set as i32..4).to_le_bytes()),
                Element::Byte => out.extend((random.next() as u32).to_le_bytes()),
                Element::Any => out.extend((random.next() as u32).to_le_bytes()),
                Element::Tiny => out.extend((random.next() as u32 & 0xb7b7_b7b7).to_le_bytes()),
            }
        }
    }
    out
}

fn product(p: &Product) -> Case {
    let [a, b, c] = p.counts;
    let mut random = Random(70);
    let mut sums = Vec::new();
    for set in 0..SETS {
        for i in 0..32 * c {
            let n = number(set, &mut random) * if i % 3 == 0 { 64.0 } else { 1.0 };
            match p.sum {
                Kind::F32 => sums.extend(n.to_le_bytes()),
                Kind::F16 => sums.extend(half(n).to_le_bytes()),
                Kind::F64 => sums.extend(f64::from(n).to_le_bytes()),
                // Near the ends, so that saturation shows.
                _ if set == 5 => sums.extend((if i % 2 == 0 { i32::MAX - 9 } else { i32::MIN + 9 }).to_le_bytes()),
                _ => sums.extend((random.next() as u32 >> 12).to_le_bytes()),
            }
        }
    }
    let count = SETS * 32 * c;
    Case {
        name: format!("mma_{}", p.name),
        text: PRODUCTS.into(),
        kernel: p.kernel,
        blocks: SETS as u32,
        threads: 32,
        parameters: vec![
            Parameter::input(factor(p.element, a, 71)),
            Parameter::input(factor(p.element, b, 72)),
            Parameter::input(sums),
            Parameter::output(count * p.sum.bytes()),
        ],
        stretches: vec![Stretch { label: format!("mma of {}", p.kernel), count, kind: p.sum, bound: Bound::Exact }],
    }
}

/// Infinities, NaN, subnormal numbers and the ends of the ranges, alone among zeros and ones.
fn special_products(kernel: &'static str, special: [u16; 16]) -> Case {
    let mut random = Random(73);
    let one = special[2];
    let mut factor = |n: usize| {
        let all = (0..SETS * 32 * n * 2).map(|_| match random.below(12) {
            0 => special[random.below(16) as usize],
            1..5 => one,
            _ => 0,
        });
        halves(all.collect::<Vec<_>>())
    };
    let (a, b) = (factor(4), factor(2));
    let c = words((0..SETS * 32 * 4).map(|i| if i % 5 == 0 { F32[i / 5 % 18] } else { 0 }));
    let count = SETS * 32 * 4;
    Case {
        name: format!("mma_{kernel}_special"),
        text: PRODUCTS.into(),
        kernel,
        blocks: SETS as u32,
        threads: 32,
        parameters: vec![Parameter::input(a), Parameter::input(b), Parameter::input(c), Parameter::output(4 * count)],
        stretches: vec![Stretch { label: kernel.into(), count, kind: Kind::F32, bound: Bound::Exact }],
    }
}

fn matrices() -> Vec<Case> {
    let mut random = Random(80);
    // Every 16-byte row once, in disorder, so that stores do not meet.
    let mut rows: Vec<u32> = (0..128).collect();
    for i in (1..rows.len()).rev() {
        rows.swap(i, random.below(i as u64 + 1) as usize);
    }
    let offsets = words(rows[..32].iter().map(|r| r * 16));
    let input = halves(0..1024);
    let names: [(&'static str, usize); 12] = [
        ("load_x1", 128),
        ("load_x2", 256),
        ("load_x4", 512),
        ("load_x1_trans", 128),
        ("load_x2_trans", 256),
        ("load_x4_trans", 512),
        ("store_x1", 2048),
        ("store_x2", 2048),
        ("store_x4", 2048),
        ("store_x1_trans", 2048),
        ("store_x2_trans", 2048),
        ("store_x4_trans", 2048),
    ];
    let case = |(kernel, size): (&'static str, usize)| Case {
        name: format!("matrix_{kernel}"),
        text: MATRICES.into(),
        kernel,
        blocks: 1,
        threads: 32,
        parameters: vec![Parameter::input(input.clone()), Parameter::input(offsets.clone()), Parameter::output(size)],
        stretches: vec![Stretch { label: kernel.into(), count: size / 4, kind: Kind::Bits32, bound: Bound::Exact }],
    };
    names.into_iter().map(case).collect()
}

/// Words of value, b and c for the 32 lanes of each set.
fn lanes(kernel: &'static str, operands: Vec<[u32; 3]>, results: usize) -> Case {
    let sets = operands.len() / 32;
    let count = operands.len() * results;
    Case {
        name: format!("lanes_{kernel}"),
        text: LANES.into(),
        kernel,
        blocks: sets as u32,
        threads: 32,
        parameters: vec![Parameter::input(bytes(operands.iter().flatten().map(|w| w.to_le_bytes()))), Parameter::output(4 * count)],
        stretches: vec![Stretch { label: kernel.into(), count, kind: Kind::Bits32, bound: Bound::Exact }],
    }
}

fn together() -> Vec<Case> {
    let mut random = Random(90);
    let distances = [0u32, 1, 2, 3, 5, 8, 13, 16, 17, 31, 33, 63];
    let bounds = [0x1f, 0, 0x1f1f, 0x1e01, 0x1c03, 0x1807, 0x100f, 0x0f1f, 0x0a15, 0x1515, 0x030c, 0xffff];
    let mut operands = Vec::new();
    for b in distances {
        for c in bounds {
            operands.extend((0..32).map(|lane| [lane | 0x100, b, c]));
        }
    }
    // A place and bounds of its own for each lane.
    for _ in 0..16 {
        operands.extend((0..32).map(|lane| [lane | 0x200, random.next() as u32 & 0x3f, random.next() as u32 & 0x1f1f]));
    }
    let mut all: Vec<Case> = ["shuffle_up", "shuffle_down", "shuffle_bfly", "shuffle_idx"].map(|k| lanes(k, operands.clone(), 2)).into();
    let votes = (0..24u32).flat_map(|set| {
        let mut random = Random(91 + u64::from(set));
        let few = 1 + u64::from(set % 5);
        // Values alike in many lanes; in some sets all votes are the same, and all members are one group.
        (0..32).map(move |_| {
            let value = match set % 4 {
                0 => 1,
                1 => 0,
                _ => random.next() as u32,
            };
            let members = if set % 6 == 0 { 1 } else { random.next() as u32 & 1 };
            [value, members | (random.below(few) as u32) << 1, if set % 3 == 0 { 7 } else { random.below(few) as u32 }]
        })
    });
    let votes: Vec<_> = votes.collect();
    all.push(lanes("votes", votes.clone(), 10));
    all.push(lanes("reductions", votes.into_iter().map(|[v, b, c]| [v ^ (c << 29), b, c]).collect(), 9));
    all
}

pub fn cases() -> Vec<Case> {
    let row = |kernel, element, counts, name, sum| product(&Product { kernel, element, counts, name, sum });
    let mut all = vec![
        row("f16_k16", Element::F16, [4, 2, 4], "f16_k16", Kind::F32),
        row("f16_k8", Element::F16, [2, 1, 4], "f16_k8", Kind::F32),
        row("f16_f16", Element::F16, [4, 2, 4], "f16_f16", Kind::F16),
        row("bf16_k16", Element::BF16, [4, 2, 4], "bf16_k16", Kind::F32),
        row("bf16_k8", Element::BF16, [2, 1, 4], "bf16_k8", Kind::F32),
        row("tf32_k8", Element::TF32, [4, 2, 4], "tf32_k8", Kind::F32),
        row("tf32_k4", Element::TF32, [2, 1, 4], "tf32_k4", Kind::F32),
        row("f64", Element::F64, [1, 1, 2], "f64", Kind::F64),
        row("f64_k16", Element::F64, [8, 4, 4], "f64_k16", Kind::F64),
        row("s8", Element::Byte, [4, 2, 4], "s8", Kind::Bits32),
        row("u8_s8", Element::Byte, [2, 1, 4], "u8_s8", Kind::Bits32),
        row("e4m3", Element::Tiny, [4, 2, 4], "e4m3", Kind::F32),
        row("e4m3", Element::Any, [4, 2, 4], "e4m3_any", Kind::F32),
        row("f16_k16", Element::Any, [4, 2, 4], "f16_any", Kind::F32),
        row("bf16_k16", Element::Any, [4, 2, 4], "bf16_any", Kind::F32),
        row("tf32_k8", Element::Any, [4, 2, 4], "tf32_any", Kind::F32),
        special_products("f16_k16", F16),
        special_products("bf16_k16", BF16),
    ];
    all.extend(matrices());
    all.extend(together());
    all
}
