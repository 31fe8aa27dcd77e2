//! What commands say of GPUs: where there is one, it computes; where none is, or its driver is of no use, they say so and end with 1.

use kiln_ir::DType;
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::write_npz;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const RELU: &str = "module m {\n  fn predict(%x: f32[n, 3]) {\n    %y = relu %x\n    return %y\n  }\n}\n";

fn kiln(place: &Path, arguments: &[&str], libraries: Option<&Path>) -> Output {
    let mut command = command(place, arguments);
    if let Some(libraries) = libraries {
        // The assembler of this machine makes machine code of other devices.
        command.env("LD_LIBRARY_PATH", libraries).env("KILN_PTXAS", "");
    }
    command.output().expect("kiln starts")
}

/// The program in a directory, which keeps its caches there.
fn command(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.current_dir(place).args(arguments).env("XDG_CACHE_HOME", place.join("caches"));
    command
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

/// A recurrent layer. Its time is open.
#[cfg(target_os = "linux")]
const RECURRENT: &str = "
module recurrent {
  fn predict(%x: f32[time, 2, 4], %w: f32[64, 4], %r: f32[64, 16], %bias: f32[128], %h0: f32[2, 16], %c0: f32[2, 16]) {
    %y, %h, %c = lstm %x, %w, %r, %bias, %h0, %c0 {hidden = 16, activations = [sigmoid, tanh, tanh], alphas = [0.0, 0.0, 0.0],
      betas = [0.0, 0.0, 0.0], clip = none, input_forget = false, reverse = false, has_lengths = false, has_peepholes = false}
    return %y, %h, %c
  }
}
";

/// A product that warpgroups multiply.
const PRODUCT: &str = "module m {
  fn predict(%x: bf16[n, 64], %w: bf16[64, 64]) {
    %y = dot %x, %w {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]}
    %z = relu %y
    return %z
  }
}
";

#[test]
#[cfg(target_os = "linux")]
fn a_device_with_a_tensor_copy_engine_is_tuned() {
    // The copy engine's way computes the same.
    answered_otherwise(PRODUCT, &["--dim", "n=65"], |answer| answer.starts_with("128x"), "128x64 by the copy engine");
}

#[test]
#[cfg(target_os = "linux")]
fn loops_that_one_kernel_takes_are_tuned() {
    answered_otherwise(RECURRENT, &["--dim", "time=3"], |answer| answer.contains("kernel"), "by one kernel, clusters of 4");
}

/// Tunes a model, which asks one question that has such answers, and checks it with another answer to that in place of the one that was
/// kept, whichever was the fastest here.
#[cfg(target_os = "linux")]
fn answered_otherwise(model: &str, sizes: &[&str], is_one: impl Fn(&str) -> bool, other: &str) {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("model.kiln"), model).expect("writes");
    let libraries = interpreter(place.path());
    let run = |arguments: &[&str]| {
        let mut command = command(place.path(), arguments);
        command.args(sizes).env("LD_LIBRARY_PATH", &libraries).env("KILN_PTXAS", "").env("KILN_CUDA_DRIVER_CAPABILITY", "9.0");
        let ran = command.output().expect("kiln starts");
        assert!(ran.status.success(), "{arguments:?}: {}{}", text(&ran.stdout), text(&ran.stderr));
        text(&ran.stderr)
    };
    let told = run(&["bench", "model.kiln", "--backend", "ptx", "--tune=300", "--runs", "2", "--seconds", "0.01"]);
    assert!(told.contains("tuned: "), "{told}");
    let kept = place.path().join("caches/kiln/tuned.json");
    let text = fs::read_to_string(&kept).expect("it is kept");
    let mut answers: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut changed = 0;
    visit(&mut answers, &mut |answer| {
        if is_one(answer) {
            *answer = other.into();
            changed += 1;
        }
    });
    assert_eq!(changed, 1, "{text}");
    fs::write(&kept, answers.to_string()).expect("writes");
    let told = run(&["check", "model.kiln", "--backend", "ptx", "--tune"]);
    assert!(told.contains("tuned before"), "{told}");
}

/// Each text in a value.
#[cfg(target_os = "linux")]
fn visit(value: &mut serde_json::Value, each: &mut impl FnMut(&mut String)) {
    match value {
        serde_json::Value::String(text) => each(text),
        serde_json::Value::Array(list) => list.iter_mut().for_each(|value| visit(value, each)),
        serde_json::Value::Object(map) => map.values_mut().for_each(|value| visit(value, each)),
        _ => {}
    }
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
        let mut command = command(place.path(), &["bench", "net.toml", "--dim", "batch=64", "--backend", "ptx"]);
        command.env("LD_LIBRARY_PATH", &libraries).env("KILN_PTXAS", "").env("KILN_CUDA_DRIVER_MEMORY", bytes);
        let ran = command.output().expect("kiln starts");
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains("error[memory]: no memory for ") && said.contains(expected), "{said}");
    }
}

/// Lets a command assemble by what `KILN_PTXAS` names, and where nothing sets it, find no assembler.
fn assembled_by(command: &mut Command, ptxas: Option<&str>) {
    command.envs(["PATH", "CUDA_HOME", "CUDA_PATH"].map(|name| (name, "")));
    match ptxas {
        Some(ptxas) => command.env("KILN_PTXAS", ptxas),
        None => command.env_remove("KILN_PTXAS"),
    };
}

/// An assembler that makes machine code of the driver of tests, which is the text behind a head, and notes each start in `started`.
#[cfg(target_os = "linux")]
fn assembler(place: &Path, name: &str, body: &str) -> String {
    let path = place.join(name);
    let text = format!("#!/bin/sh\nPATH=/usr/bin:/bin\necho {name} >> '{}'\n{body}\n", place.join("started").display());
    // By another process: a file that is open for writing cannot be started, not even by a child that another thread starts meanwhile.
    let mut writer = Command::new("sh");
    writer.args(["-c", "printf '%s' \"$1\" > \"$0\" && chmod +x \"$0\""]).arg(&path).arg(text);
    assert!(writer.status().expect("a shell").success());
    path.to_str().expect("text").to_string()
}

/// What such an assembler does with `-arch=ARCH -o OUT TEXT` that is right.
#[cfg(target_os = "linux")]
fn assembles() -> String {
    let head = std::str::from_utf8(&kiln_cuda_driver::CUBIN[1..]).expect("text").trim_end();
    format!("[ \"$1\" = -arch=sm_80 ] || exit 9\n{{ printf '\\177{head}\\n'; cat \"$4\"; }} > \"$3\"")
}

/// How often an assembler was started.
#[cfg(target_os = "linux")]
fn starts(place: &Path, name: &str) -> usize {
    fs::read_to_string(place.join("started")).map_or(0, |lines| lines.lines().filter(|line| *line == name).count())
}

/// Times a model on the driver of tests: what was loaded, and what was said.
#[cfg(target_os = "linux")]
fn loaded(place: &Path, libraries: &Path, ptxas: Option<&str>, caches: &Path) -> (String, String) {
    let mut command = command(place, &["bench", "relu.kiln", "--backend", "ptx", "--runs", "2", "--json"]);
    assembled_by(&mut command, ptxas);
    let ran = command.env("LD_LIBRARY_PATH", libraries).env("XDG_CACHE_HOME", caches).output().expect("kiln starts");
    let said = text(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    let timed: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    (timed["image"].as_str().expect("what was loaded").to_string(), said)
}

#[test]
#[cfg(target_os = "linux")]
fn kernels_are_loaded_as_machine_code_where_it_can_be_made() {
    let place = tempfile::tempdir().expect("a directory");
    let place = place.path();
    fs::write(place.join("relu.kiln"), RELU).expect("writes");
    let libraries = interpreter(place);
    let caches = place.join("caches");
    let right = assembler(place, "right", &assembles());
    let loaded = |ptxas: Option<&str>, caches: &Path| loaded(place, &libraries, ptxas, caches);
    let cubin = ("cubin".to_string(), String::new());
    // Several at once with nothing kept, then once more.
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| loaded(Some(&right), &caches))).collect();
        all.into_iter().for_each(|one| assert_eq!(one.join().expect("loaded"), cubin));
    });
    let first = starts(place, "right");
    assert_eq!(loaded(Some(&right), &caches), cubin);
    assert_eq!(starts(place, "right"), first);
    let kept: Vec<_> = fs::read_dir(caches.join("kiln/cubins")).expect("kept").map(|file| file.expect("there").path()).collect();
    let [kept] = &kept[..] else { panic!("{kept:?}") };
    let whole = fs::read(kept).expect("readable");
    fs::write(kept, &whole[..whole.len() / 2]).expect("writes");
    assert_eq!(loaded(Some(&right), &caches), cubin);
    assert_eq!((starts(place, "right"), fs::read(kept).expect("readable")), (first + 1, whole));
    // Where nothing can be kept.
    assert_eq!(loaded(Some(&right), Path::new("/dev/null")), cubin);
    let mut check = command(place, &["check", "relu.kiln", "--backend", "ptx"]);
    assembled_by(&mut check, Some(&right));
    let checked = check.env("LD_LIBRARY_PATH", &libraries).output().expect("kiln starts");
    assert!(checked.status.success() && checked.stderr.is_empty(), "{}", text(&checked.stderr));

    assert_eq!(loaded(Some(""), &caches), ("ptx".to_string(), String::new()));
    let refusing = assembler(place, "refusing", "echo 'line 7: no such instruction' >&2\nexit 255");
    let foreign = assembler(place, "foreign", "printf '\\177ELF of another device' > \"$3\"");
    for (ptxas, why) in [
        (None, "note: there is no `ptxas` here"),
        (Some(refusing.as_str()), "refusing does not take the kernels for sm_80\n  so the driver assembles"),
        (Some(refusing.as_str()), "\n  help: line 7: no such instruction\n"),
        (Some(foreign.as_str()), "note: the NVIDIA driver could not load the machine code of the kernels (CUDA_ERROR_INVALID_IMAGE: "),
    ] {
        let (image, said) = loaded(ptxas, &caches);
        assert!(image == "ptx" && said.contains(why), "{image}: {said}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_functions_of_a_training_say_once_how_they_are_loaded() {
    let place = tempfile::tempdir().expect("a directory");
    let place = place.path();
    fs::write(place.join("net.toml"), NETWORK).expect("writes");
    fs::create_dir(place.join("data")).expect("makes a directory");
    ["train.csv", "test.csv"].iter().for_each(|name| fs::write(place.join("data").join(name), table()).expect("writes"));
    let libraries = interpreter(place);
    let (right, refusing) = (assembler(place, "right", &assembles()), assembler(place, "refusing", "exit 255"));
    for (ptxas, name, notes) in [(&refusing, "refusing", 1), (&right, "right", 0)] {
        let out = format!("by_{name}");
        let mut command = command(place, &["train", "net.toml", "--data", "data", "--out", &out, "--backend", "ptx", "--epochs", "1"]);
        assembled_by(&mut command, Some(ptxas));
        let ran = command.env("LD_LIBRARY_PATH", &libraries).output().expect("kiln starts");
        let said = text(&ran.stderr);
        assert!(ran.status.success() && said.matches("note: ").count() == notes, "{said}");
        // The step, the evaluation and the trace.
        assert_eq!(starts(place, name), 3);
    }
    let parameters = |name: &str| fs::read(place.join(name).join("model.safetensors")).expect("parameters");
    assert!(parameters("by_refusing") == parameters("by_right"), "parameters differ");
}

#[test]
#[cfg(target_os = "linux")]
fn the_driver_is_asked_for_before_an_assembler() {
    let place = tempfile::tempdir().expect("a directory");
    let place = place.path();
    fs::write(place.join("relu.kiln"), RELU).expect("writes");
    let no_device = driver(place, "no_device", "int cuInit(unsigned f) { return 100; }");
    let interpreter = interpreter(place);
    let right = assembler(place, "right", &assembles());
    for (libraries, ptxas, expected) in [
        (&no_device, right.as_str(), "no GPU that it may use"),
        (&no_device, "/nowhere/ptxas", "no GPU that it may use"),
        (&interpreter, "/nowhere/ptxas", "error[ptxas]: KILN_PTXAS is to name NVIDIA's assembler, but /nowhere/ptxas is no file"),
    ] {
        let mut command = command(place, &["check", "relu.kiln", "--backend", "ptx"]);
        assembled_by(&mut command, Some(ptxas));
        let ran = command.env("LD_LIBRARY_PATH", libraries).output().expect("kiln starts");
        let said = text(&ran.stderr);
        assert!(ran.status.code() == Some(1) && said.contains(expected) && !said.contains("note: "), "{said}");
    }
    assert_eq!(starts(place, "right"), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn assemblers_are_listed() {
    let place = tempfile::tempdir().expect("a directory");
    let place = place.path();
    let right = assembler(place, "right", "echo 'Cuda compilation tools, release 13.0, V13.0.88'");
    let silent = assembler(place, "silent", "exit 1");
    for (ptxas, expected, code) in [
        (Some(right.as_str()), format!("\nptxas    {right}, release 13.0, V13.0.88\n"), "null"),
        (Some(silent.as_str()), format!("\nno ptxas {silent} does not say its version\n"), "error[ptxas]"),
        (Some("/nowhere/ptxas"), "/nowhere/ptxas is no file\n".to_string(), "error[ptxas]"),
        (Some(""), "\nno ptxas KILN_PTXAS is empty".to_string(), "error[ptxas]"),
        (None, "\nno ptxas there is no `ptxas` here".to_string(), "error[ptxas]"),
    ] {
        let run = |arguments: &[&str]| {
            let mut command = command(place, arguments);
            assembled_by(&mut command, ptxas);
            let ran = command.output().expect("kiln starts");
            assert!(ran.status.success(), "{}", text(&ran.stderr));
            text(&ran.stdout)
        };
        let listed = run(&["devices"]);
        assert!(listed.contains(&expected), "{listed}");
        let told: serde_json::Value = serde_json::from_str(&run(&["devices", "--json"])).expect("JSON");
        assert!(told["assembler_error"].to_string().contains(code), "{told}");
        let path = if code == "null" {
            serde_json::json!({ "path": right, "version": "release 13.0, V13.0.88" })
        } else {
            serde_json::Value::Null
        };
        assert_eq!(told["assembler"], path);
    }
}

#[test]
fn kernels_are_written_for_generations_of_gpus() {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("relu.kiln"), RELU).expect("writes");
    let run = |arguments: &[&str], ptxas: Option<Option<&str>>| {
        let mut command = command(place.path(), &["compile", "relu.kiln"]);
        command.args(arguments);
        if let Some(ptxas) = ptxas {
            assembled_by(&mut command, ptxas);
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
    for (ptxas, said) in [
        (None, "there is no `ptxas` here"),
        (Some(""), "KILN_PTXAS is empty"),
        (Some("/nowhere/ptxas"), "KILN_PTXAS is to name NVIDIA's assembler, but /nowhere/ptxas is no file"),
    ] {
        let made = run(&cubin, Some(ptxas));
        assert!(made.status.code() == Some(1) && text(&made.stderr).contains(said), "{}", text(&made.stderr));
        assert!(!place.path().join("relu.cubin").exists());
    }
    // In continuous integration the assembler is there.
    match std::env::var_os("KILN_PTXAS").filter(|named| !named.is_empty()) {
        None => eprintln!("skipped: no assembler in KILN_PTXAS"),
        Some(_) => {
            let made = run(&cubin, None);
            assert!(made.status.success(), "{}", text(&made.stderr));
            assert!(fs::read(place.path().join("relu.cubin")).expect("a cubin").starts_with(b"\x7fELF"));
        }
    }
}
