//! The interpreter against hardware: every case of `golden/` gives what `goldens/NAME.golden` holds, bit by bit where PTX is exact, within
//! what the manual says of approximate functions, and within what dropping low bits can change of sums on tensor cores.

#[path = "../golden/mod.rs"]
mod golden;
mod support;

use golden::file::Golden;
use golden::{Bound, Case, Kind, Parameter, Stretch};
use kiln_ptx::{Argument, Device, Module, Swizzle, TensorMap};
use std::path::{Path, PathBuf};

const SEEDS: u64 = 3;

fn folder() -> PathBuf {
    std::env::var_os("KILN_PTX_GOLDENS").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens"), PathBuf::from)
}

/// Runs a case; with `absolute`, on the magnitudes of its operands.
fn run(case: &Case, module: &Module, absolute: bool, seed: u64) -> Result<Vec<u8>, String> {
    let mut device = Device::new();
    let mut addresses = Vec::new();
    for parameter in &case.parameters {
        addresses.push(match parameter {
            Parameter::Data { bytes, magnitude, .. } => {
                let address = device.alloc(bytes.len() as u64);
                let mask = if absolute { magnitude.to_le_bytes() } else { [0xff; 8] };
                let masked: Vec<u8> = bytes.iter().zip(mask.iter().cycle()).map(|(b, m)| b & m).collect();
                device.write(address, &masked).map_err(|e| e.to_string())?;
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
        if let Parameter::Data { bytes, result: true, .. } = parameter {
            results.extend(device.read(*address, bytes.len() as u64).map_err(|e| e.to_string())?);
        }
    }
    Ok(results)
}

#[test]
fn dump() {
    let mut failed = 0;
    for case in golden::cases() {
        support::dump(&format!("golden_{}", case.name), &case.text);
        let module = Module::parse(&case.text).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        if let Err(e) = run(&case, &module, false, 1) {
            println!("{}: {e}", case.name);
            failed += 1;
        }
    }
    println!("{failed} failed");
}
