//! Whatever the text says: an error, a fault or a result, never a panic; and the same seed gives the same.

mod support;

use kiln_ptx::{Argument, Device, Module, Swizzle, TensorMap};
use support::upload;

/// A small generator, so that failures come again.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// Damages a text: words are lost, doubled, exchanged, or replaced by others of the same text.
fn damage(text: &str, draw: &mut Draw) -> String {
    let mut words: Vec<&str> = text.split_inclusive([' ', '\n', ',']).collect();
    for _ in 0..=draw.below(3) {
        let (i, j) = (draw.below(words.len()), draw.below(words.len()));
        match draw.below(4) {
            0 => drop(words.remove(i)),
            1 => words.insert(i, words[i]),
            2 => words.swap(i, j),
            _ => words[i] = words[j],
        }
    }
    words.concat()
}

#[test]
fn damaged_kernels_never_panic() {
    let kernels = [
        (include_str!("../kernels/gemm_tiled.ptx"), [16, 16, 1], 3),
        (include_str!("../kernels/gemm_mma.ptx"), [64, 1, 1], 5),
        (include_str!("../kernels/gemm_wgmma.ptx"), [160, 1, 1], 3),
        (include_str!("../cuda/softmax.ptx"), [64, 1, 1], 1),
        (include_str!("../cuda/reduce.ptx"), [64, 1, 1], 0),
        (include_str!("../cuda/gemm.ptx"), [16, 16, 1], 3),
    ];
    let mut draw = Draw(7);
    let (mut parsed, mut ran, mut refused) = (0, 0, 0);
    for (text, block, sizes) in kernels {
        for _ in 0..150 {
            let damaged = damage(text, &mut draw);
            let Ok(module) = Module::parse(&damaged) else {
                refused += 1;
                continue;
            };
            parsed += 1;
            let mut device = Device::new();
            device.set_step_limit(20_000);
            let data = upload(&mut device, &[1f32; 1024][..]);
            let map = TensorMap {
                address: data,
                element_bytes: 2,
                dims: vec![32, 64],
                strides: vec![64],
                box_dims: vec![64, 64],
                swizzle: Swizzle::B128,
            };
            let mut arguments = if text.contains("wgmma") {
                vec![
                    Argument::TensorMap(map.clone()),
                    Argument::TensorMap(TensorMap { box_dims: vec![64, 32], ..map }),
                    Argument::U64(data),
                ]
            } else {
                vec![Argument::U64(data); if sizes < 3 { 2 + usize::from(sizes == 0) } else { 3 }]
            };
            arguments.extend(vec![Argument::U32(32); sizes]);
            if sizes == 0 {
                arguments.push(Argument::U64(100));
            }
            let Some(name) = module.kernel_names().next().map(str::to_string) else { continue };
            ran += usize::from(device.launch(&module, &name, [2, 1, 1], block, 0, &arguments, parsed as u64).is_ok());
        }
    }
    assert!(
        refused > 100 && parsed > 100 && ran > 10,
        "{refused} refused, {parsed} parsed, {ran} ran: the damage is not of the right kind"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let module = Module::parse(include_str!("../cuda/reduce.ptx")).unwrap();
    let run = |seed| {
        let mut device = Device::new();
        let (x, partials, total) = (upload(&mut device, &[1f32; 500][..]), device.alloc(64), device.alloc(8));
        let arguments = [Argument::U64(x), Argument::U64(partials), Argument::U64(total), Argument::U64(500)];
        device.launch(&module, "reduce_sum", [4, 1, 1], [64, 1, 1], 0, &arguments, seed).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_eq!(run(1).blocks, 4);
    // Reduction kernels do the same work in every order.
    assert_eq!(run(1).lane_instructions, run(2).lane_instructions);
}

#[test]
fn odd_texts_are_refused() {
    for text in [
        "",
        ".version 8.0",
        ".version 8.0\n.target sm_80\n.visible .entry k(",
        ".version 8.0\n.target sm_80\n.visible .entry k() { .reg .b32 %r<99999999>; }",
        ".version 8.0\n.target sm_80\n.visible .entry k() { .local .b8 x[999999999999999]; }",
        ".version 8.0\n.target sm_80\n.visible .entry k() { .local .align 4 .b8 x[1000000]; ret; }",
        ".version 8.0\n.target sm_80\n.shared .align 3 .b8 x[4];",
        ".version 8.0\n.target sm_80\n.visible .entry k() { .reg .b32 %tid; ret; }",
        ".version 8.0\n.target sm_80\n.address_size 32\n",
        "\u{1F600}",
        "/*",
    ] {
        assert!(Module::parse(text).is_err(), "{text}");
    }
}
