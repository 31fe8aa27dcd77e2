//! Products of a warpgroup: descriptors of all layouts, sizes, types, and how sums are rounded.
//!
//! Shared memory holds small whole numbers in disorder, so that an element from a wrong place gives a wrong sum.

use super::values::{Random, halves, words};
use super::{Bound, Case, Kind, Parameter, Stretch};

const TEXT: &str = include_str!("../kernels/golden/wgmma.ptx");
const IMAGE: usize = 32768;
const THREADS: usize = 128;

/// What shared memory and fragments hold.
#[derive(Clone, Copy)]
enum Values {
    /// -1, 0 and 1, so that all sums are exact.
    Whole,
    /// All magnitudes between these powers of two.
    Range(i32, i32),
    /// Any bits, NaN and infinities among them.
    Any,
}

/// A matrix descriptor: bytes of the start, between neighbours of the leading and of the strided dimension, and the layout.
#[derive(Clone, Copy)]
struct Descriptor {
    start: u64,
    leading: u64,
    stride: u64,
    /// Bytes of a swizzled row, or 16.
    row: u64,
}

impl Descriptor {
    fn bits(self) -> u64 {
        let layout = match self.row {
            128 => 1,
            64 => 2,
            32 => 3,
            _ => 0,
        };
        self.start >> 4 | (self.leading >> 4) << 16 | (self.stride >> 4) << 32 | layout << 62
    }
}

#[derive(Clone, Copy)]
struct One {
    name: &'static str,
    n: usize,
    k: usize,
    /// The types of d, a and b.
    types: [&'static str; 3],
    a: Descriptor,
    b: Descriptor,
    /// Bytes from one product to the next.
    steps: [u64; 2],
    products: usize,
    /// Bits that say whether a and b are transposed.
    transposed: [u8; 2],
    registers: bool,
    /// The first product forgets what the accumulator held.
    forget: bool,
    /// Of a and b, 1 or -1.
    scales: [i32; 2],
    values: Values,
}

impl One {
    fn elements(&self, seed: u64, bytes: usize) -> Vec<u8> {
        let mut random = Random(seed);
        let whole = |r: &mut Random| r.below(3) as f32 - 1.0;
        match (self.types[1], self.values) {
            ("bf16", Values::Whole) => halves((0..bytes / 2).map(|_| (whole(&mut random).to_bits() >> 16) as u16)),
            ("f16", Values::Whole) => halves((0..bytes / 2).map(|_| [0xbc00, 0, 0x3c00][random.below(3) as usize])),
            ("tf32", Values::Whole) => words((0..bytes / 4).map(|_| whole(&mut random).to_bits())),
            ("e4m3", Values::Whole) => (0..bytes).map(|_| [0xb8, 0, 0x38][random.below(3) as usize]).collect(),
            (_, Values::Whole) => (0..bytes).map(|_| random.next() as u8).collect(),
            ("bf16", Values::Range(low, high)) => halves((0..bytes / 2).map(|_| random.bf16(low..high))),
            ("f16", Values::Range(low, high)) => halves((0..bytes / 2).map(|_| random.f16(low..high))),
            ("tf32", Values::Range(low, high)) => words((0..bytes / 4).map(|_| random.f32(low..high))),
            (_, Values::Range(..)) => (0..bytes).map(|_| random.next() as u8 & 0xb7).collect(),
            (_, Values::Any) => (0..bytes).map(|_| random.next() as u8).collect(),
        }
    }

    fn case(&self) -> Case {
        let [d, a, b] = self.types;
        let (class, kind, count) = match d {
            "f32" => ("f32", Kind::F32, self.n / 2),
            "f16" => ("b32", Kind::F16, self.n / 4),
            _ => ("s32", Kind::Bits32, self.n / 2),
        };
        let list = |name: &str, from: usize, n: usize| (from..from + n).map(|i| format!("%{name}{i}")).collect::<Vec<_>>().join(", ");
        let mut loads: String = (0..count).map(|i| format!("    ld.global.{class} %d{i}, [%rd3+{}];\n", 4 * i)).collect();
        if self.registers {
            loads += &(0..4 * self.products).map(|i| format!("    ld.global.b32 %a{i}, [%rd4+{}];\n", 4 * i)).collect::<String>();
        }
        let mut products = String::new();
        for p in 0..self.products {
            let first = if self.registers { format!("{{{}}}", list("a", 4 * p, 4)) } else { "%rd1".into() };
            let keep = if p == 0 && self.forget { "%p2" } else { "%p1" };
            let scales = if d == "s32" { String::new() } else { format!(", {}, {}", self.scales[0], self.scales[1]) };
            let transposed = match (matches!(a, "f16" | "bf16"), self.registers) {
                (false, _) => String::new(),
                (true, true) => format!(", {}", self.transposed[1]),
                (true, false) => format!(", {}, {}", self.transposed[0], self.transposed[1]),
            };
            products += &format!(
                "    wgmma.mma_async.sync.aligned.m64n{}k{}.{d}.{a}.{b} {{{}}}, {first}, %rd2, {keep}{scales}{transposed};\n",
                self.n,
                self.k,
                list("d", 0, count)
            );
            if p + 1 < self.products {
                let [x, y] = self.steps.map(|s| s >> 4);
                products += &format!("    add.u64 %rd1, %rd1, {x};\n    add.u64 %rd2, %rd2, {y};\n");
            }
        }
        let stores: String = (0..count).map(|i| format!("    st.global.{class} [%rd5+{}], %d{i};\n", 4 * i)).collect();
        let text = TEXT
            .replace("$steps products", "Products")
            .replace("$first_step", &self.steps[0].to_string())
            .replace("$second_step", &self.steps[1].to_string())
            .replace("$class", class)
            .replace("$count", &count.to_string())
            .replace("$bytes", &(4 * count).to_string())
            .replace("$fragment", &(16 * self.products).to_string())
            .replace("$loads\n", &loads)
            .replace("$products\n", &products)
            .replace("$stores\n", &stores);
        let mut random = Random(120);
        let sum = |r: &mut Random| match self.values {
            Values::Whole => r.below(3) as f32 - 1.0,
            Values::Range(_, high) => f32::from_bits(r.f32(high - 4..high + 4)),
            Values::Any => f32::from_bits(r.next() as u32),
        };
        let sums = match d {
            "f32" => words((0..THREADS * count).map(|_| sum(&mut random).to_bits())),
            "f16" => halves((0..THREADS * count * 2).map(|_| [0x4900, 0xc500, 0, 0x3c00, 0x5000][random.below(5) as usize])),
            _ => words((0..THREADS * count).map(|_| random.next() as u32 >> 14)),
        };
        let elements = THREADS * count * 4 / kind.bytes();
        Case {
            name: format!("wgmma_{}", self.name),
            text,
            kernel: "k",
            blocks: 1,
            threads: THREADS as u32,
            parameters: vec![
                Parameter::input(self.elements(121, IMAGE)),
                Parameter::Number(self.a.bits()),
                Parameter::Number(self.b.bits()),
                Parameter::input(sums),
                Parameter::input(self.elements(122, THREADS * 16 * self.products)),
                Parameter::output(THREADS * count * 4),
            ],
            stretches: vec![Stretch { label: self.name.into(), count: elements, kind, bound: Bound::Exact }],
        }
    }
}

pub fn cases() -> Vec<Case> {
    let at = |start, leading, stride, row| Descriptor { start, leading, stride, row };
    // Rows of k: eight of them make a tile, `stride` apart.
    let b128 = |start| at(start, 16, 1024, 128);
    let base = One {
        name: "n64",
        n: 64,
        k: 16,
        types: ["f32", "bf16", "bf16"],
        a: b128(0),
        b: b128(8192),
        steps: [32, 32],
        products: 1,
        transposed: [0, 0],
        registers: false,
        forget: false,
        scales: [1, 1],
        values: Values::Whole,
    };
    // Columns of m or n are contiguous: 64 of them make a tile of eight k; tiles follow along k, and panels of 64 columns along n.
    let across = |start| at(start, 8192, 1024, 128);
    let (small, narrow) = (One { n: 32, ..base }, One { n: 8, ..base });
    let f16 = ["f32", "f16", "f16"];
    let all = [
        base,
        One { name: "n8", n: 8, ..base },
        One { name: "n128", n: 128, types: f16, ..base },
        One { name: "n256", n: 256, b: b128(0), ..base },
        One { name: "n24", n: 24, ..small },
        One { name: "four_products", products: 4, ..small },
        One { name: "four_products_f16", products: 4, types: f16, forget: true, ..small },
        One { name: "forget", forget: true, ..narrow },
        One { name: "scales", scales: [-1, 1], ..narrow },
        One { name: "both_scales", scales: [-1, -1], ..narrow },
        One { name: "swizzle_64", a: at(0, 16, 512, 64), b: at(8192, 16, 512, 64), products: 2, ..small },
        One { name: "swizzle_32", a: at(0, 16, 256, 32), b: at(8192, 16, 256, 32), ..small },
        // Cores of 8 rows of 16 bytes: along k one lead apart, along m and n one stride.
        One { name: "no_swizzle", a: at(0, 128, 256, 16), b: at(8192, 2048, 128, 16), ..small },
        One { name: "no_swizzle_apart", a: at(0, 4096, 384, 16), b: at(16, 1040, 176, 16), ..small },
        One { name: "wide_stride", a: at(0, 16, 2048, 128), b: at(1024, 16, 3072, 128), ..small },
        One { name: "b_across", n: 64, b: across(8192), transposed: [0, 1], ..small },
        One { name: "b_across_n128", n: 128, b: across(0), transposed: [0, 1], steps: [32, 2048], products: 4, ..small },
        One { name: "b_across_f16", n: 72, types: f16, b: at(0, 2048, 1024, 128), transposed: [0, 1], forget: true, ..small },
        One { name: "b_across_n24", n: 24, b: across(0), transposed: [0, 1], ..small },
        One { name: "b_across_n256", n: 256, b: across(0), transposed: [0, 1], ..small },
        One { name: "a_across", a: across(8192), transposed: [1, 0], steps: [2048, 32], products: 4, ..narrow },
        One { name: "both_across", a: across(0), b: across(8192), transposed: [1, 1], steps: [2048, 2048], products: 2, ..small },
        One { name: "both_across_64", a: at(0, 4096, 512, 64), b: at(8192, 2048, 512, 64), transposed: [1, 1], ..small },
        One { name: "both_across_32", a: at(0, 2048, 256, 32), b: at(8192, 512, 256, 32), transposed: [1, 1], ..small },
        One { name: "b_across_no_swizzle", b: at(8192, 128, 256, 16), transposed: [0, 1], ..small },
        One { name: "b_across_no_swizzle_apart", b: at(8192, 2048, 384, 16), transposed: [0, 1], ..small },
        One { name: "a_across_no_swizzle", a: at(8192, 2048, 384, 16), transposed: [1, 0], ..narrow },
        One { name: "registers", registers: true, ..small },
        One { name: "registers_across", registers: true, b: across(0), transposed: [0, 1], steps: [0, 2048], products: 2, ..small },
        One { name: "registers_f16", registers: true, types: f16, products: 2, ..narrow },
        // The start is not where the pattern of the swizzle begins.
        One { name: "shifted", a: b128(256), b: b128(8192 + 384), ..narrow },
        One { name: "f16_sums", types: ["f16", "f16", "f16"], products: 2, ..small },
        One { name: "tf32", k: 8, types: ["f32", "tf32", "tf32"], products: 2, ..small },
        One { name: "e4m3", k: 32, types: ["f32", "e4m3", "e4m3"], products: 2, ..small },
        One { name: "s8", k: 32, types: ["s32", "s8", "s8"], products: 2, ..narrow },
        One { name: "u8_s8", k: 32, types: ["s32", "u8", "s8"], ..narrow },
        One { name: "rounding_bf16", products: 1, values: Values::Range(-1, 1), ..narrow },
        One { name: "rounding_bf16_wide", products: 1, values: Values::Range(-8, 8), ..narrow },
        One { name: "rounding_bf16_four", products: 4, values: Values::Range(-4, 2), ..narrow },
        One { name: "rounding_f16", types: f16, products: 1, values: Values::Range(-4, 2), ..narrow },
        One { name: "rounding_f16_sums", types: ["f16", "f16", "f16"], products: 1, values: Values::Range(-6, 0), ..narrow },
        One { name: "rounding_tf32", k: 8, types: ["f32", "tf32", "tf32"], products: 1, values: Values::Range(-4, 2), ..narrow },
        One { name: "any_bf16", values: Values::Any, ..narrow },
        One { name: "any_f16", types: f16, values: Values::Any, ..narrow },
        One { name: "any_tf32", k: 8, types: ["f32", "tf32", "tf32"], values: Values::Any, ..narrow },
        One { name: "any_e4m3", k: 32, types: ["f32", "e4m3", "e5m2"], values: Values::Any, ..narrow },
        One { name: "e5m2_f16", k: 32, types: ["f16", "e5m2", "e4m3"], values: Values::Range(0, 1), ..narrow },
        One { name: "rounding_e4m3_two", k: 32, types: ["f32", "e4m3", "e4m3"], products: 2, values: Values::Range(0, 1), ..narrow },
        One { name: "rounding_e4m3", k: 32, types: ["f32", "e4m3", "e4m3"], products: 1, values: Values::Range(0, 1), ..narrow },
    ];
    all.iter().map(One::case).collect()
}
