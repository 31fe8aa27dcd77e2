//! How fast the interpreter runs: `cargo run --manifest-path tests/ptx/Cargo.toml --example speed`.

use kiln_ptx::{Argument, Device, Module};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (name, text, block, tile, n) in [
        ("gemm_tiled", include_str!("../kernels/gemm_tiled.ptx"), [16, 16, 1], 16, 192u32),
        ("gemm_mma", include_str!("../kernels/gemm_mma.ptx"), [64, 1, 1], 32, 512),
    ] {
        let module = Module::parse(text)?;
        let mut device = Device::new();
        let element = if name == "gemm_mma" { 2 } else { 4 };
        let bytes = u64::from(n * n) * element;
        let (a, b, c) = (device.alloc(bytes), device.alloc(bytes), device.alloc(u64::from(n * n) * 4));
        for factor in [a, b] {
            device.write(factor, &vec![0; bytes as usize])?;
        }
        let mut arguments = vec![Argument::U64(a), Argument::U64(b), Argument::U64(c)];
        arguments.extend(vec![Argument::U32(n); if name == "gemm_mma" { 5 } else { 3 }]);
        let start = Instant::now();
        let done = device.launch(&module, name, [n / tile, n / tile, 1], block, 0, &arguments, 1)?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{name} {n}: {} lane instructions in {:.0} ms, {:.1} million a second; {:.1} million multiply-adds a second",
            done.lane_instructions,
            seconds * 1e3,
            done.lane_instructions as f64 / seconds / 1e6,
            f64::from(n).powi(3) / seconds / 1e6
        );
    }
    arithmetic()
}

/// A loop without memory.
fn arithmetic() -> Result<(), Box<dyn std::error::Error>> {
    let text = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry spin() {\n.reg .pred %p; .reg .b32 %i; .reg .f32 %f<3>;
        mov.u32 %i, 0; mov.f32 %f0, 0f3F800000; mov.f32 %f1, 0f3F000000;
        L: fma.rn.f32 %f0, %f0, %f1, %f1; add.u32 %i, %i, 1; xor.b32 %i, %i, 0; setp.lt.u32 %p, %i, 100000; @%p bra L;\nret;\n}";
    let module = Module::parse(text)?;
    let start = Instant::now();
    let done = Device::new().launch(&module, "spin", [4, 1, 1], [128, 1, 1], 0, &[], 1)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("arithmetic: {:.1} million lane instructions a second", done.lane_instructions as f64 / seconds / 1e6);
    Ok(())
}
