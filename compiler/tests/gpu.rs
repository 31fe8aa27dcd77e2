//! What commands say of GPUs: where there is one, it computes; where none is, or its driver is of no use, they say so and end with 1.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const RELU: &str = "module m {\n  fn predict(%x: f32[n, 3]) {\n    %y = relu %x\n    return %y\n  }\n}\n";

fn kiln(place: &Path, arguments: &[&str], libraries: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.current_dir(place).args(arguments);
    if let Some(libraries) = libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command.output().expect("kiln starts")
}

/// A directory with a library in place of the driver's.
#[cfg(target_os = "linux")]
fn driver(place: &Path, name: &str, source: &str) -> std::path::PathBuf {
    let directory = place.join(name);
    fs::create_dir(&directory).expect("makes a directory");
    fs::write(directory.join("stub.c"), source).expect("writes");
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.current_dir(&directory).args(["-shared", "-fPIC", "-o", "libcuda.so", "stub.c"]);
    assert!(command.status().expect("a C compiler").success());
    fs::copy(directory.join("libcuda.so"), directory.join("libcuda.so.1")).expect("copies");
    directory
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn devices_are_listed_and_the_first_gpu_runs_a_model_if_there_is_one() {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("relu.kiln"), RELU).expect("writes");
    let listed = kiln(place.path(), &["devices", "--json"], None);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let facts: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert!(facts["cpu"]["threads"].as_u64().is_some_and(|n| n > 0), "{facts}");
    let ran = kiln(place.path(), &["check", "relu.kiln", "--backend", "ptx"], None);
    let said = text(&ran.stderr);
    if facts["gpus"].as_array().is_some_and(|list| !list.is_empty()) {
        assert!(ran.status.success(), "{said}");
    } else {
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains("error[cuda_driver]: ") && said.contains("--backend cpu"), "{said}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn drivers_of_no_use_are_told() {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("relu.kiln"), RELU).expect("writes");
    let names = "const char *n = \"NAME\"; int cuGetErrorName(int e, const char **t) { *t = n; return 0; } int cuGetErrorString(int e, const char **t) { *t = n; return 0; }";
    let version = "int cuInit(unsigned f) { return 0; } int cuDriverGetVersion(int *v) { *v = 11040; return 0; }";
    let failing = format!("{names} int cuInit(unsigned f) {{ return 999; }}");
    for (name, source, expected) in [
        ("nothing", "int nothing;", "the NVIDIA driver lacks functions that are needed"),
        ("no_device", "int cuInit(unsigned f) { return 100; }", "no GPU that it may use"),
        ("old", version, "the NVIDIA driver is of CUDA 11.4: PTX 7.8 needs one of 11.8 or newer"),
        ("failing", failing.as_str(), "the NVIDIA driver could not start (NAME: NAME)"),
    ] {
        let libraries = driver(place.path(), name, source);
        for arguments in [&["check", "relu.kiln", "--backend", "ptx"][..], &["devices"]] {
            let ran = kiln(place.path(), arguments, Some(&libraries));
            let said = text(&ran.stdout) + &text(&ran.stderr);
            assert!(said.contains(expected), "{name}: {said}");
            assert!(!said.contains("panicked") && !said.contains("internal error"), "{name}: {said}");
            assert_eq!(ran.status.code(), Some(i32::from(arguments[0] == "check")), "{name}: {said}");
        }
    }
}
