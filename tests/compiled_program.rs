//! What every compiled program does, shown on a model written by hand in C and linked with the carried runtime:
//! pictures and arrays in, answers out, and an orderly end whatever is wrong around it.

use kiln::runtime_object::{LINK_FLAGS, RUNTIME_OBJECT};
use kiln_ir::DType;
use kiln_ir::artifact::{ABI_VERSION, Extent, Signature, SymbolDecl, TensorDecl, WeightsDecl, WeightsFooter, WeightsLocation};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::{Npz, write_npz};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

const PIXELS: usize = 784;
/// What a compiled program may weigh without its model's code and weights.
const MAX_BYTES: u64 = 1_100_000;

struct Classifier {
    directory: TempDir,
    program: PathBuf,
}

/// The program, linked once, with its weights as a tail.
fn classifier() -> &'static Classifier {
    static CLASSIFIER: OnceLock<Classifier> = OnceLock::new();
    CLASSIFIER.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let program = directory.path().join("classifier");
        link(&signature(WeightsLocation::Tail), &program, directory.path());
        append_weights(&program);
        Classifier { directory, program }
    })
}

fn weights() -> Vec<u8> {
    (0..PIXELS).flat_map(|i| (1.0 + (i % 3) as f32).to_le_bytes()).collect()
}

fn signature(location: WeightsLocation) -> Signature {
    let batch = || Extent::Expression("batch".to_owned());
    let tensor = |name: &str, shape| TensorDecl { name: name.to_owned(), dtype: DType::F32, shape };
    let sha256 = Sha256::digest(weights()).iter().map(|byte| format!("{byte:02x}")).collect();
    Signature {
        abi_version: ABI_VERSION,
        name: "classifier".to_owned(),
        compiler: "a person".to_owned(),
        model_sha256: String::new(),
        cpu: Vec::new(),
        symbols: vec![SymbolDecl { name: "batch".to_owned(), min: 1, max: Some(1000) }],
        inputs: vec![tensor("x", vec![batch(), Extent::Fixed(1), Extent::Fixed(28), Extent::Fixed(28)])],
        outputs: vec![tensor("p", vec![batch(), Extent::Fixed(PIXELS as i64)]), tensor("total", vec![batch()])],
        guards: Vec::new(),
        nodes: Vec::new(),
        weights: WeightsDecl { bytes: weights().len() as u64, sha256, location },
        data_dependent: false,
        flops: None,
        labels: None,
        image: None,
        audio: None,
        ctc: None,
        states: 0,
        text: None,
        scores: None,
    }
}

fn link(signature: &Signature, program: &Path, directory: &Path) {
    let object = directory.join("kiln_runtime.o");
    fs::write(&object, RUNTIME_OBJECT).expect("writes");
    let json = serde_json::to_string(signature).expect("plain data");
    let quoted = format!("-DSIGNATURE=\"{}\"", json.replace('"', "\\\""));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("files/abi/classifier.c");
    let cc =
        Command::new("cc").args(["-O1", "-Wl,-s"]).arg(quoted).arg(source).arg(&object).args(LINK_FLAGS).arg("-o").arg(program).output();
    let cc = cc.expect("cc starts");
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
}

fn append_weights(program: &Path) {
    let mut file = fs::read(program).expect("reads");
    let offset = file.len().next_multiple_of(4096);
    file.resize(offset, 0);
    file.extend_from_slice(&weights());
    let footer = WeightsFooter { offset: offset as u64, bytes: weights().len() as u64, sha256: Sha256::digest(weights()).into() };
    file.extend_from_slice(&footer.encode());
    fs::write(program, file).expect("writes");
}

fn run(arguments: &[&str]) -> Output {
    let Classifier { program, directory } = classifier();
    Command::new(program).args(arguments).current_dir(directory.path()).output().expect("starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes `n` pictures with one bright pixel each, at place 7, 8, …, and gives the file's path.
fn batch(name: &str, n: usize) -> String {
    let mut array = Array::zeroed(DType::F32, vec![n, 1, 28, 28]).expect("small");
    (0..n).for_each(|item| array.set_f64(item * PIXELS + 7 + item % 700, 2.0));
    let path = classifier().directory.path().join(name);
    write_npz(&path, [("x", &array)]).expect("writes");
    path.to_str().expect("plain").to_owned()
}

#[test]
fn arrays_of_any_batch_give_the_same_bits_on_one_and_two_threads() {
    for n in [1, 7, 64, 1000] {
        let input = batch(&format!("in{n}.npz"), n);
        let outputs = ["1", "2"].map(|threads| {
            let name = format!("out{n}-{threads}.npz");
            let ran = run(&["--inputs", &input, "--output", &name, "--threads", threads, "--top", "1"]);
            assert!(ran.status.success(), "{}", text(&ran.stderr));
            let said = text(&ran.stdout);
            assert!(said.starts_with("p[0]\n  class 7 ") && said.contains(" 100.00 %\n"), "{said}");
            fs::read(classifier().directory.path().join(name)).expect("written")
        });
        assert_eq!(outputs[0], outputs[1]);
        let mut npz = Npz::open(&classifier().directory.path().join(format!("out{n}-1.npz"))).expect("opens");
        let total = npz.read("total").expect("reads").expect("is there");
        assert_eq!(total.get_f64(n - 1), 2.0 * (1 + (7 + (n - 1) % 700) % 3) as f64);
    }
}

#[test]
fn it_is_small_needs_the_c_library_only_and_holds_no_interpreter() {
    let program = &classifier().program;
    let bytes = fs::metadata(program).expect("there").len();
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
    let ldd = Command::new("ldd").arg(program).output().expect("ldd starts");
    let family = ["linux-vdso", "libc.so", "libm.so", "ld-linux", "libpthread.so", "libdl.so"];
    for line in text(&ldd.stdout).lines() {
        assert!(family.iter().any(|name| line.contains(name)), "links {line}");
    }
    for foreign in ["kiln_ir::eval", "kiln_ir3ops", "petgraph", "cranelift"] {
        assert!(!RUNTIME_OBJECT.windows(foreign.len()).any(|window| window == foreign.as_bytes()), "the runtime holds {foreign}");
    }
}

#[test]
fn its_bytes_name_no_directory_of_the_machine_that_built_it() {
    let home = std::env::var("HOME").unwrap_or_default();
    let manifest = env!("CARGO_MANIFEST_DIR");
    for path in [home.as_str(), manifest, ".cargo/registry"].into_iter().filter(|path| path.len() > 3) {
        assert!(!RUNTIME_OBJECT.windows(path.len()).any(|window| window == path.as_bytes()), "the runtime names {path}");
    }
}

#[test]
fn bench_answers_one_json_object() {
    let ran = run(&["--bench", "--dim", "batch=3", "--runs", "20", "--seconds", "5", "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("one JSON object");
    assert_eq!((answer["runs"].as_u64(), answer["weight_bytes"].as_u64()), (Some(20), Some(4 * PIXELS as u64)));
}

#[test]
fn a_closed_or_full_output_and_missing_files_end_in_an_orderly_way() {
    let input = batch("orderly.npz", 1);
    let run_with = |stdout: Stdio, arguments: &[&str]| {
        Command::new(&classifier().program).args(arguments).stdout(stdout).stderr(Stdio::piped()).output().expect("starts")
    };
    let full = || File::options().write(true).open("/dev/full").expect("Linux has it");
    let ran = run_with(full().into(), &["--inputs", &input]);
    assert_eq!(
        (ran.status.code(), text(&ran.stderr).trim()),
        (Some(1), "error[file]: cannot write to standard output: No space left on device")
    );
    let ran = run_with(Stdio::null(), &["--inputs", &input, "--output", "/dev/full"]);
    assert_eq!((ran.status.code(), text(&ran.stderr).trim()), (Some(1), "error[file]: cannot write /dev/full: No space left on device"));
    let ran = run_with(Stdio::null(), &["--inputs", "/nowhere/in.npz"]);
    assert_eq!(
        (ran.status.code(), text(&ran.stderr).trim()),
        (Some(1), "error[file]: cannot read /nowhere/in.npz: No such file or directory")
    );
    // Standard output closed: the next opened file must not take its place.
    let output = classifier().directory.path().join("closed.npz");
    let shell = format!("{} --inputs {input} --output {} >&-", classifier().program.display(), output.display());
    let ran = Command::new("sh").arg("-c").arg(shell).output().expect("starts");
    assert_eq!((ran.status.code(), text(&ran.stderr)), (Some(0), String::new()));
    assert_eq!(Npz::open(&output).expect("whole").names(), ["p", "total"]);
    // A reader that has gone away.
    let shell = format!("{} --help | true", classifier().program.display());
    let ran = Command::new("sh").arg("-c").arg(shell).output().expect("starts");
    assert!(!text(&ran.stderr).contains("panicked"));
}

#[test]
fn weights_are_found_behind_it_beside_it_or_where_told_and_are_verified() {
    assert!(run(&["--verify"]).status.success());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = batch("weights.npz", 1);
    let program = directory.path().join("external");
    link(&signature(WeightsLocation::External("c.weights".to_owned())), &program, directory.path());
    let run = |arguments: &[&str]| Command::new(&program).args(arguments).args(["--inputs", &input]).output().expect("starts");
    let ran = run(&[]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(text(&ran.stderr).contains("keep c.weights beside the executable"), "{}", text(&ran.stderr));
    fs::write(directory.path().join("c.weights"), weights()).expect("writes");
    assert!(run(&["--verify"]).status.success());
    let other = directory.path().join("other");
    fs::write(&other, vec![0; weights().len()]).expect("writes");
    let other = other.to_str().expect("plain");
    assert!(run(&["--weights", other]).status.success());
    assert_eq!(run(&["--weights", other, "--verify"]).status.code(), Some(1));
    // A program that was cut says so.
    let cut = directory.path().join("cut");
    let whole = fs::read(&classifier().program).expect("reads");
    fs::copy(&classifier().program, &cut).expect("copies");
    fs::write(&cut, &whole[..whole.len() - 100]).expect("writes");
    let ran = Command::new(&cut).args(["--inputs", &input]).output().expect("starts");
    assert!(text(&ran.stderr).contains("no weights at its end"), "{}", text(&ran.stderr));
}
