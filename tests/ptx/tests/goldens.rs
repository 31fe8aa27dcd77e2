//! The interpreter against hardware: every case of `golden/` gives what `goldens/NAME.golden` holds, bit by bit where PTX is exact and in
//! sums on tensor cores, within what the manual says where functions are approximate (`golden/floats.rs` has the bounds; with
//! `--nocapture` the test prints how much of them is used).
//!
//! The goldens were recorded by `record_goldens goldens` (`examples/record_goldens.rs`) on an NVIDIA H100 80GB HBM3 with a driver of CUDA
//! 13.0; each file names its GPU. KILN_PTX_GOLDENS names a folder with others.

#[path = "../golden/mod.rs"]
mod golden;
mod support;

use golden::file::{Golden, Outcome};
use golden::{Bound, Case, Kind, Parameter, Stretch};
use kiln_ptx::{Argument, Device, Module, Swizzle, TensorMap};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Schedules of the interpreter.
const SEEDS: u64 = 3;
/// How many elements of a stretch that differs are shown.
const SHOWN: usize = 3;

/// Where the goldens lie.
fn folder() -> PathBuf {
    std::env::var_os("KILN_PTX_GOLDENS").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens"), PathBuf::from)
}

/// Runs a case and gives its results.
fn run(case: &Case, module: &Module, seed: u64) -> Result<Vec<u8>, String> {
    let mut device = Device::new();
    let mut addresses = Vec::new();
    for parameter in &case.parameters {
        addresses.push(match parameter {
            Parameter::Data { bytes, .. } => {
                let address = device.alloc(bytes.len() as u64);
                device.write(address, bytes).map_err(|e| e.to_string())?;
                address
            }
            Parameter::Number(number) => *number,
            Parameter::Map(_) => 0,
        });
    }
    let arguments = case.parameters.iter().zip(&addresses).map(|(parameter, value)| match parameter {
        Parameter::Map(map) => Argument::TensorMap(TensorMap {
            address: addresses[map.of],
            element_bytes: map.element_bytes,
            dims: map.dims.clone(),
            strides: map.strides.clone(),
            box_dims: map.box_dims.clone(),
            swizzle: match map.swizzle {
                128 => Swizzle::B128,
                64 => Swizzle::B64,
                32 => Swizzle::B32,
                _ => Swizzle::None,
            },
        }),
        _ => Argument::U64(*value),
    });
    let arguments: Vec<Argument> = arguments.collect();
    device.launch(module, case.kernel, [case.blocks, 1, 1], [case.threads, 1, 1], 0, &arguments, seed).map_err(|e| e.to_string())?;
    let mut results = Vec::new();
    for (parameter, address) in case.parameters.iter().zip(&addresses) {
        if let Parameter::Data { bytes, result: true } = parameter {
            results.extend(device.read(*address, bytes.len() as u64).map_err(|e| e.to_string())?);
        }
    }
    Ok(results)
}

/// The value of an element.
fn value(kind: Kind, bits: u64) -> f64 {
    let narrow = |mantissa: u32, exponent: u32| {
        let (sign, power) = (bits >> (mantissa + exponent) & 1, (bits >> mantissa) & ((1 << exponent) - 1));
        let fraction = (bits & ((1 << mantissa) - 1)) as f64 / f64::from(1 << mantissa);
        let bias = (1 << (exponent - 1)) - 1;
        let size = match power {
            0 => fraction * f64::from(1 - bias).exp2(),
            p if p == (1 << exponent) - 1 => {
                if fraction == 0.0 {
                    f64::INFINITY
                } else {
                    f64::NAN
                }
            }
            p => (1.0 + fraction) * f64::from(p as i32 - bias).exp2(),
        };
        if sign == 1 { -size } else { size }
    };
    match kind {
        Kind::F16 => narrow(10, 5),
        Kind::BF16 => narrow(7, 8),
        Kind::F32 => f64::from(f32::from_bits(bits as u32)),
        _ => f64::from_bits(bits),
    }
}

/// A unit in the last place of a finite value.
fn unit(kind: Kind, value: f64) -> f64 {
    let (mantissa, least) = match kind {
        Kind::F16 => (10, -14),
        Kind::BF16 => (7, -126),
        Kind::F32 => (23, -126),
        _ => (52, -1022),
    };
    let exponent = if value == 0.0 { least } else { ((value.abs().to_bits() >> 52) as i32 - 1023).max(least) };
    f64::from(exponent - mantissa).exp2()
}

fn bits(kind: Kind, bytes: &[u8]) -> u64 {
    bytes[..kind.bytes()].iter().rev().fold(0, |w, b| w << 8 | u64::from(*b))
}

/// By what share of what is allowed two results of a stretch differ; `operand` is the first of an instruction of one lane.
fn share(stretch: &Stretch, hardware: u64, ours: u64, operand: Option<u64>) -> f64 {
    let (h, o) = (value(stretch.kind, hardware), value(stretch.kind, ours));
    let (relative, absolute) = match stretch.bound {
        Bound::Exact => (0.0, 0.0),
        Bound::Within { relative, absolute } => (relative, absolute),
        Bound::Circular => {
            let near = operand.is_some_and(|a| value(Kind::F32, a).abs() <= std::f64::consts::TAU);
            (0.0, if near { (-20.5f64).exp2() } else { (-14.7f64).exp2() })
        }
    };
    if hardware == ours {
        0.0
    } else if stretch.bound == Bound::Exact || !h.is_finite() || !o.is_finite() || h == 0.0 && o == 0.0 {
        f64::INFINITY
    } else {
        (h - o).abs() / (relative * h.abs()).max(absolute).max(unit(stretch.kind, h))
    }
}

/// Compares a case with its golden under every schedule. Errors: what differs, a few elements of each stretch.
fn compare(case: &Case) -> Result<(), Vec<String>> {
    let fail = |message: String| Err(vec![format!("{}: {message}", case.name)]);
    let module = support::module(&format!("golden_{}", case.name), &case.text);
    let path = folder().join(format!("{}.golden", case.name));
    let golden = match std::fs::read(&path).and_then(|file| Golden::read(&file)) {
        Ok(golden) => golden,
        Err(error) => return fail(format!("no golden: {}: {error}", path.display())),
    };
    for seed in 0..SEEDS {
        match (run(case, &module, seed), &golden.outcome) {
            (Ok(ours), Outcome::Results(hardware)) => differences(case, seed, hardware, &ours)?,
            // Only copies of tensors are stopped.
            (Err(fault), Outcome::Stopped(_)) if fault.contains("cp.async.bulk.tensor") => {}
            (Ok(_), Outcome::Stopped(error)) => return fail(format!("hardware stops with {error}, the interpreter does not")),
            (Err(fault), _) => return fail(fault),
        }
    }
    Ok(())
}

/// What differs between the results of hardware and ours.
fn differences(case: &Case, seed: u64, hardware: &[u8], ours: &[u8]) -> Result<(), Vec<String>> {
    if hardware.len() != ours.len() {
        return Err(vec![format!("{}: {} bytes in the golden, not {}", case.name, hardware.len(), ours.len())]);
    }
    let (mut wrong, mut at) = (Vec::new(), 0);
    for stretch in &case.stretches {
        let (width, mut differ, mut largest) = (stretch.kind.bytes(), Vec::new(), 0f64);
        for i in 0..stretch.count {
            let [h, o] = [hardware, ours].map(|r| bits(stretch.kind, &r[at + i * width..]));
            let given = operands(case, i, stretch.count);
            let share = share(stretch, h, o, given.map(|g| g[0]));
            largest = largest.max(share);
            if share > 1.0 {
                let of = given.map_or(String::new(), |g| format!(" of {:#x}, {:#x}, {:#x}", g[0], g[1], g[2]));
                differ.push(format!("    {i}: hardware {h:#x}, interpreter {o:#x}{of}"));
            }
        }
        at += stretch.count * width;
        if !differ.is_empty() {
            let shown = differ.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n");
            let of = format!("{} of {} differ under schedule {seed}", differ.len(), stretch.count);
            wrong.push(format!("{}: {}: {of}\n{shown}", case.name, stretch.label));
        } else if stretch.bound != Bound::Exact && seed == 0 {
            println!("{}: {}: at most {largest:.3} of what is allowed", case.name, stretch.label);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// The operands of an instruction of one lane.
fn operands(case: &Case, i: usize, count: usize) -> Option<[u64; 3]> {
    match case.parameters.first() {
        // Halves come two at a time.
        Some(Parameter::Data { bytes: all, .. }) if case.parameters.len() == 3 && all.len() % 24 == 0 && count >= all.len() / 24 => {
            let row = 24 * (i / (count / (all.len() / 24)));
            Some([0, 8, 16].map(|n| bits(Kind::Bits64, &all[row + n..])))
        }
        _ => None,
    }
}

fn check(mine: impl Fn(&str) -> bool) {
    let wrong: Vec<String> = golden::cases().iter().filter(|c| mine(&c.name)).filter_map(|c| compare(c).err()).flatten().collect();
    assert!(wrong.is_empty(), "{} stretches differ from hardware\n{}", wrong.len(), wrong.join("\n"));
}

const FAMILIES: [&str; 6] = ["mma_", "matrix_", "lanes_", "copies_", "tensor_", "wgmma_"];

#[test]
fn instructions_of_one_lane() {
    check(|name| !FAMILIES.iter().any(|f| name.starts_with(f)));
}

#[test]
fn products_of_a_warp() {
    check(|name| name.starts_with("mma_"));
}

#[test]
fn products_of_a_warpgroup() {
    check(|name| name.starts_with("wgmma_"));
}

#[test]
fn matrices_in_shared_memory() {
    check(|name| name.starts_with("matrix_"));
}

#[test]
fn lanes_together() {
    check(|name| name.starts_with("lanes_"));
}

#[test]
fn copies_in_the_background() {
    check(|name| name.starts_with("copies_"));
}

#[test]
fn boxes_of_tensors() {
    check(|name| name.starts_with("tensor_"));
}

#[test]
fn goldens_are_those_of_the_table() {
    let names: BTreeSet<String> = golden::cases().into_iter().map(|c| c.name).collect();
    assert_eq!(names.len(), golden::cases().len(), "two cases have one name");
    let files = std::fs::read_dir(folder()).expect("a folder of goldens").map(|f| f.expect("a file").path());
    let stems: BTreeSet<String> = files
        .filter(|p| p.extension().is_some_and(|e| e == "golden"))
        .map(|p| p.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    assert_eq!(stems, names, "goldens and cases differ");
}
