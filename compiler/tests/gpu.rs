//! What commands say of GPUs: where there is one, it computes; where none is, or its driver is of no use, they say so and end with 1.

use kiln_ir::DType;
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::write_npz;
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

/// The directory of a driver that runs kernels on the interpreter of PTX.
#[cfg(target_os = "linux")]
fn interpreter(place: &Path) -> std::path::PathBuf {
    let here = std::env::current_exe().expect("a path");
    // Cargo builds it for this test, which names its crate.
    assert_eq!(kiln_cuda_driver::VERSION, 12_080);
    let built = here.parent().expect("a directory").join("libkiln_cuda_driver.so");
    let directory = place.join("driver");
    fs::create_dir(&directory).expect("makes a directory");
    for name in ["libcuda.so", "libcuda.so.1"] {
        fs::copy(&built, directory.join(name)).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    }
    directory
}

/// Runs a command that has to succeed, on the interpreter; gives what it printed.
#[cfg(target_os = "linux")]
fn succeeds(place: &Path, arguments: &[&str], libraries: &Path) -> String {
    let ran = kiln(place, arguments, Some(libraries));
    assert!(ran.status.success(), "{arguments:?}: {}{}", text(&ran.stdout), text(&ran.stderr));
    text(&ran.stdout)
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

/// A network with everything that a step needs: two layers, dropout, batch normalisation, and a state of the optimiser for each parameter.
const NETWORK: &str = "
seed = 3
outputs = ['scores']
[[input]]
name = 'x'
shape = [5]
[[layer]]
type = 'dense'
units = 9
activation = 'relu'
[[layer]]
type = 'batch_norm'
[[layer]]
type = 'dropout'
rate = 0.1
[[layer]]
type = 'dense'
name = 'scores'
units = 3
[train]
loss = 'sparse_cross_entropy'
optimiser = 'adam'
learning_rate = 0.01
batch = 8
epochs = 3
metrics = ['accuracy']
";

/// Samples of three classes; 29, so that the last batch has another size than the others.
fn table() -> String {
    let mut text = String::from("a,b,c,d,e,label\n");
    for row in 0..29 {
        let value = |column: i32| f64::from((row * 7 + column * 3) % 11) / 4.0 - 1.0;
        text += &format!("{},{},{},{},{},{}\n", value(0), value(1), value(2), value(3), value(4), row % 3);
    }
    text
}

#[test]
#[cfg(target_os = "linux")]
fn models_run_and_are_timed_on_a_driver() {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("relu.kiln"), RELU).expect("writes");
    fs::write(place.path().join("net.toml"), NETWORK).expect("writes");
    let libraries = interpreter(place.path());
    let run = |arguments: &[&str]| succeeds(place.path(), arguments, &libraries);
    assert!(run(&["devices"]).contains("Interpreter of PTX"));
    run(&["check", "relu.kiln", "--backend", "ptx"]);
    run(&["check", "net.toml", "--backend", "ptx"]);
    // Four runs: the first is launched kernel by kernel, the second recorded, later ones replayed.
    let timed = run(&["bench", "net.toml", "--backend", "ptx", "--runs", "4", "--breakdown", "--json", "--seconds", "60"]);
    let timed: serde_json::Value = serde_json::from_str(&timed).expect("JSON");
    let kernels = timed["kernels"].as_array().expect("kernels");
    assert!(!kernels.is_empty() && kernels.iter().all(|kernel| kernel["seconds"].as_f64() > Some(0.0)), "{timed}");
    assert!(kernels.iter().any(|kernel| kernel["operations"].as_i64() > Some(0)), "{timed}");
    assert!(run(&["bench", "net.toml", "--backend", "ptx", "--runs", "3", "--breakdown"]).contains("launches"));
}

#[test]
#[cfg(target_os = "linux")]
fn training_on_a_driver_gives_the_bits_of_the_cpu() {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("net.toml"), NETWORK).expect("writes");
    fs::create_dir(place.path().join("data")).expect("makes a directory");
    ["train.csv", "test.csv"].iter().for_each(|name| fs::write(place.path().join("data").join(name), table()).expect("writes"));
    let libraries = interpreter(place.path());
    let run = |arguments: &[&str]| succeeds(place.path(), arguments, &libraries);
    let mut told = Vec::new();
    for backend in ["cpu", "ptx", "reference"] {
        run(&["train", "net.toml", "--data", "data", "--out", backend, "--backend", backend]);
        let parameters = format!("{backend}/model.safetensors");
        let measured = run(&["eval", "net.toml", "--data", "data", "--parameters", &parameters, "--backend", backend]);
        told.push((fs::read(place.path().join(&parameters)).expect("parameters"), measured));
    }
    assert_eq!(told[0].1, told[1].1);
    assert!(told[0].0 == told[1].0, "parameters differ");
    // The interpreter adds up in another order.
    assert_eq!(told[0].0.len(), told[2].0.len());
    // From parameters that are there, which is where the states on the device begin.
    for backend in ["cpu", "ptx"] {
        run(&["train", "net.toml", "--data", "data", "--out", "more", "--overwrite", "--backend", backend, "--epochs", "1"]
            .iter()
            .copied()
            .chain(["--parameters", "cpu/model.safetensors"])
            .collect::<Vec<_>>());
        told.push((fs::read(place.path().join("more/model.safetensors")).expect("parameters"), String::new()));
    }
    assert!(told[3].0 == told[4].0 && told[3].0 != told[0].0, "parameters differ");
    let mut x = Array::zeroed(DType::F32, vec![8, 5]).expect("small");
    (0..40).for_each(|at| x.set_f64(at, at as f64 / 40.0));
    let y = Array::zeroed(DType::I64, vec![8]).expect("small");
    write_npz(&place.path().join("batch.npz"), [("x", &x), ("y", &y)]).expect("writes");
    let timed = run(&["bench", "net.toml", "--train-step", "--inputs", "batch.npz", "--backend", "ptx", "--runs", "3", "--json"]);
    assert!(timed.contains("\"loss\":"), "{timed}");
}

#[test]
#[cfg(target_os = "linux")]
fn memory_that_a_gpu_lacks_is_told() {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("net.toml"), NETWORK).expect("writes");
    let libraries = interpreter(place.path());
    for (bytes, expected) in [("100", "the weights of the model are "), ("1200", "a run of these sizes needs ")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.current_dir(place.path()).args(["bench", "net.toml", "--dim", "batch=64", "--backend", "ptx"]);
        command.env("LD_LIBRARY_PATH", &libraries).env("KILN_CUDA_DRIVER_MEMORY", bytes);
        let ran = command.output().expect("kiln starts");
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains("error[memory]: no memory for ") && said.contains(expected), "{said}");
    }
}

#[test]
fn kernels_are_written_for_generations_of_gpus() {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("relu.kiln"), RELU).expect("writes");
    let run = |arguments: &[&str], ptxas: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.current_dir(place.path()).args(["compile", "relu.kiln"]).args(arguments);
        if let Some(ptxas) = ptxas {
            command.env("KILN_PTXAS", ptxas).envs(["PATH", "CUDA_HOME", "CUDA_PATH"].map(|name| (name, "")));
        }
        command.output().expect("kiln starts")
    };
    for (target, version, name) in [("cuda", "7.8", "sm_80"), ("cuda:sm_90a", "8.0", "sm_90a"), ("cuda:sm_120", "8.7", "sm_120")] {
        let made = run(&["--emit", "ptx", "--target", target, "-o", "-"], None);
        let made = text(&made.stdout);
        assert!(made.contains(&format!("\n.version {version}\n.target {name}\n")) && made.contains(".visible .entry k_"), "{made}");
    }
    for (arguments, said) in [
        (&["--emit", "ptx", "--target", "cuda:sm_70", "-o", "-"][..], "sm_89, sm_90, sm_90a"),
        (&["--emit", "exe", "--target", "cuda", "-o", "relu"], "--target cuda goes with --emit ptx"),
        (&["--emit", "cubin", "-o", "relu.cubin"], "--target cuda:sm_90a"),
    ] {
        let made = run(arguments, None);
        assert!(made.status.code() == Some(2) && text(&made.stderr).contains(said), "{}", text(&made.stderr));
    }
    let cubin = ["--emit", "cubin", "--target", "cuda:sm_90", "-o", "relu.cubin"];
    for (ptxas, said) in [("", "there is no `ptxas` here"), ("/nowhere/ptxas", "cannot start /nowhere/ptxas")] {
        let made = run(&cubin, Some(ptxas));
        assert!(made.status.code() == Some(1) && text(&made.stderr).contains(said), "{}", text(&made.stderr));
        assert!(!place.path().join("relu.cubin").exists());
    }
    // In continuous integration the assembler is there.
    match std::env::var_os("KILN_PTXAS") {
        None => eprintln!("skipped: no assembler in KILN_PTXAS"),
        Some(_) => {
            let made = run(&cubin, None);
            assert!(made.status.success(), "{}", text(&made.stderr));
            assert!(fs::read(place.path().join("relu.cubin")).expect("a cubin").starts_with(b"\x7fELF"));
        }
    }
}
