//! The digits network from its ONNX file to programs: an executable, and an object and libraries in a program written in C.

use kiln::artifact::describe::ModelFacts;
use kiln::artifact::write::{ArtifactKind, WeightsChoice};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::{Compiled, compile};
use kiln::frontend::onnx::{Options, import};
use kiln::pipeline::Config;
use kiln::runtime_object::RUNTIME_OBJECT;
use kiln_ir::eval::evaluate;
use kiln_ir::{DType, Module, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::{Npz, write_npz};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::bless::repository;
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::samples::Random;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

const PIXELS: usize = 28 * 28;
const CLASSES: usize = 10;
/// Batch sizes that the one artefact serves.
const BATCHES: [usize; 4] = [1, 7, 64, 1000];
/// What the stripped program may weigh, its weights included.
const MAX_BYTES: u64 = 1_500_000;
/// Parts of the mangled names of the reference interpreter and of the operators' reference semantics.
const INTERPRETER: [&str; 2] = ["7kiln_ir4eval", "7kiln_ir3ops"];

/// The network compiled for this machine, and a program of it in a directory of its own.
struct Digits {
    directory: TempDir,
    module: Module,
    compiled: Compiled,
}

impl Digits {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self) -> PathBuf {
        self.path("digits")
    }
}

fn digits() -> &'static Digits {
    static DIGITS: OnceLock<Digits> = OnceLock::new();
    DIGITS.get_or_init(|| {
        let module = import(&repository().join("examples/digits/digits.onnx"), &Options::default());
        let module = module.unwrap_or_else(|errors| panic!("{errors:?}"));
        let facts = ModelFacts::new(&module.name, "", &module.metadata).expect("the model's metadata can be read");
        let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
        let compiled = compile(&module, target, facts, &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
        let digits = Digits { directory: tempfile::tempdir().expect("a place for files"), module, compiled };
        write(&digits, ArtifactKind::Executable, &digits.program());
        digits
    })
}

fn write(digits: &Digits, kind: ArtifactKind, out: &Path) {
    let written = digits.compiled.write(kind, WeightsChoice::Embed, out, &ThreadPool::new(1));
    written.unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

/// Random pictures; those of a small batch begin a larger one.
fn pictures(count: usize) -> Array {
    let mut random = Random::new(7);
    let mut array = Array::zeroed(DType::F32, vec![count, 1, 28, 28]).expect("small");
    (0..array.len()).for_each(|index| array.set_f64(index, random.unit()));
    array
}

/// Answers of the program for so many pictures.
fn answers(count: usize, threads: usize) -> Array {
    let digits = digits();
    let (input, output) = (digits.path(&format!("in-{count}-{threads}.npz")), digits.path(&format!("out-{count}-{threads}.npz")));
    write_npz(&input, [("image", &pictures(count))]).expect("written");
    let threads = threads.to_string();
    let mut program = Command::new(digits.program());
    succeed(program.arg("--inputs").arg(&input).arg("--output").arg(&output).args(["--threads", &threads]));
    let array = Npz::open(&output).expect("readable").read("probabilities").expect("readable").expect("bears the output's name");
    assert_eq!(array.shape(), [count, CLASSES]);
    array
}

/// Runs a command that must not fail.
fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn lines(command: &mut Command) -> Vec<String> {
    String::from_utf8_lossy(&succeed(command).stdout).lines().map(str::to_owned).collect()
}

fn interpreter_symbols(file: &Path) -> Vec<String> {
    let mut symbols = lines(Command::new("nm").arg(file));
    symbols.retain(|line| INTERPRETER.iter().any(|part| line.contains(part)));
    symbols
}

#[test]
fn one_program_gives_each_picture_the_same_bits_in_any_batch_on_any_number_of_threads() {
    let all = answers(1000, 1);
    for count in BATCHES {
        for threads in [1, 2] {
            let found = answers(count, threads);
            assert!(found.bytes() == &all.bytes()[..found.bytes().len()], "batch {count} on {threads} threads differs");
        }
    }
}

#[test]
fn the_program_answers_as_the_reference_interpreter_does() {
    let (digits, pictures, found) = (digits(), pictures(3), answers(3, 1));
    let input = Tensor::from_vec(DType::F32, pictures.shape().to_vec(), pictures.bytes().to_vec());
    let expected = evaluate(&digits.module, digits.module.predict().expect("a model"), &[input]).expect("evaluates");
    let found = Tensor::from_vec(DType::F32, found.shape().to_vec(), found.bytes().to_vec());
    // Sums of at most 576 products: the logits' errors of some 1e-5 are relative errors of the probabilities.
    let apart = difference(&found, &expected[0], Tolerance { absolute: 1e-7, relative: 5e-5 });
    assert_eq!(apart, None);
}

#[test]
fn there_is_one_code_body_and_no_interpreter() {
    let digits = digits();
    let (object, runtime) = (digits.path("body.o"), digits.path("kiln_runtime.o"));
    write(digits, ArtifactKind::Object, &object);
    fs::write(&runtime, RUNTIME_OBJECT).expect("written");
    let bodies = lines(Command::new("nm").args(["--defined-only", "--format=just-symbols"]).arg(&object));
    // One function to call and one that runs the kernels, whatever the batch.
    for part in ["_predict", "predict.launch"] {
        assert_eq!(bodies.iter().filter(|name| name.ends_with(part)).count(), 1, "{part} in {bodies:?}");
    }
    // These two are all that a program is linked from, beside the C library; the program itself has no symbols left.
    for file in [&object, &runtime] {
        assert_eq!(interpreter_symbols(file), Vec::<String>::new(), "{}", file.display());
    }
    assert_eq!(lines(Command::new("nm").arg(digits.program())), Vec::<String>::new());
    // The search finds the interpreter where it is: in this test.
    let here = interpreter_symbols(&std::env::current_exe().expect("a running program"));
    for part in INTERPRETER {
        assert!(here.iter().any(|line| line.contains(part)), "{part} is no part of the interpreter's names");
    }
}

#[test]
fn the_program_is_small_and_needs_the_c_library_only() {
    let program = digits().program();
    let bytes = fs::metadata(&program).expect("written").len();
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
    let family = ["linux-vdso", "libc.so", "libm.so", "ld-linux", "libpthread.so", "libdl.so"];
    for line in lines(Command::new("ldd").arg(&program)) {
        assert!(family.iter().any(|name| line.contains(name)), "links {line}");
    }
}

#[test]
fn object_and_libraries_give_the_same_bits_in_a_program_written_in_c() {
    let digits = digits();
    let expected = answers(7, 1);
    let input = digits.path("pictures.raw");
    fs::write(&input, pictures(7).bytes()).expect("written");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("files/abi/digits.c");
    for (kind, name) in
        [(ArtifactKind::Object, "digits.o"), (ArtifactKind::StaticLibrary, "libdigits.a"), (ArtifactKind::SharedLibrary, "libdigits.so")]
    {
        let (part, caller) = (digits.path(name), digits.path(&format!("caller-{name}")));
        write(digits, kind, &part);
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"]).arg(digits.directory.path());
        succeed(cc.arg(&source).arg(&part).arg("-o").arg(&caller));
        let mut run = Command::new(&caller);
        run.arg("7").stdin(File::open(&input).expect("written")).env("LD_LIBRARY_PATH", digits.directory.path());
        assert!(succeed(&mut run).stdout == expected.bytes(), "{name} gives other bits than the executable");
    }
    let exports = lines(Command::new("nm").args(["-D", "--defined-only", "--format=just-symbols"]).arg(digits.path("libdigits.so")));
    assert_eq!(exports, ["digits_arena_bytes", "digits_model", "digits_output_shapes", "digits_predict"]);
    assert_eq!(lines(Command::new("nm").args(["-D", "--undefined-only"]).arg(digits.path("libdigits.so"))), Vec::<String>::new());
}

#[test]
fn arrays_that_do_not_fit_are_refused_in_clear_words() {
    let refused = |dtype: DType, shape: &[usize]| {
        let input = digits().path("wrong.npz");
        write_npz(&input, [("image", &Array::zeroed(dtype, shape.to_vec()).expect("small"))]).expect("written");
        let output = Command::new(digits().program()).arg("--inputs").arg(&input).output().expect("starts");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
    };
    insta::assert_snapshot!(refused(DType::F32, &[2, 1, 28, 27]), @"
    error[input_shape]: input `image`: axis 3 must be 28, got f32[2, 1, 28, 27]
      at the model takes: image: f32[batch, 1, 28, 28]
    ");
    insta::assert_snapshot!(refused(DType::F32, &[2, PIXELS]), @"
    error[input_rank]: input `image`: expected rank 4, got f32[2, 784]
      at the model takes: image: f32[batch, 1, 28, 28]
    ");
    insta::assert_snapshot!(refused(DType::F64, &[2, 1, 28, 28]), @"
    error[input_dtype]: input `image`: expected f32, got f64[2, 1, 28, 28]
      at the model takes: image: f32[batch, 1, 28, 28]
      help: convert it with .astype(numpy.float32)
    ");
}
