//! The small program as files: linked, loaded and called from C.

use super::*;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Two rows in, `y` and `s` out.
const CALLER: &str = r#"
#include "small.h"
#include <stdio.h>
#include <stdlib.h>
int main(void) {
  int64_t dims[1] = {2}, bytes = 0, shapes[3], detail = -1, huge[1] = {4001};
  if (small_arena_bytes(dims, 1, &bytes) || small_output_shapes(dims, shapes)) return 1;
  float x[6] = {0, 1, 2, 3, 4, 5}, y[6], s[2];
  const void *inputs[1] = {x};
  void *outputs[2] = {y, s};
  void *arena = aligned_alloc(KILN_ALIGNMENT, bytes);
  kiln_call call = {inputs, outputs, dims, arena, bytes, 0, 0, &detail, 0};
  int32_t status = small_predict(&call);
  printf("%d: %g %g %g %g %g %g, %g %g; %d %d %d\n", status, y[0], y[1], y[2], y[3], y[4], y[5], s[0], s[1],
    (int)shapes[0], (int)shapes[1], (int)shapes[2]);
  call.arena_bytes = bytes - 1;
  status = small_predict(&call);
  printf("%d needs %d more\n", status, (int)(detail - call.arena_bytes));
  call.dims = huge;
  status = small_predict(&call);
  printf("%d %d\n", status, (int)detail);
  return small_model.abi_version == KILN_ABI ? 0 : 1;
}
"#;

const EXPECTED: &str = "0: 2.5 10.5 22.5 8.5 16.5 28.5, 35.5 53.5; 2 3 2\n3 needs 1 more\n2 0\n";

fn write(kind: ArtifactKind, name: &str, weights: WeightsChoice) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a place for files");
    let out = directory.path().join(name);
    let (program, parameters) = small();
    compiled(program, parameters).write(kind, weights, &out, &ThreadPool::new(1)).expect("written");
    (directory, out)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn call_from_c(kind: ArtifactKind, name: &str) {
    let (directory, out) = write(kind, name, WeightsChoice::Embed);
    let (source, program) = (directory.path().join("caller.c"), directory.path().join("caller"));
    fs::write(&source, CALLER).expect("written");
    run(Command::new("cc").arg("-Wall").arg("-Werror").arg("-o").arg(&program).arg(&source).arg(&out));
    let printed = run(Command::new(&program).env("LD_LIBRARY_PATH", directory.path()));
    assert_eq!(printed, EXPECTED, "{kind:?}");
}

#[test]
fn objects_and_libraries_are_called_from_c() {
    call_from_c(ArtifactKind::Object, "small.o");
    call_from_c(ArtifactKind::StaticLibrary, "libsmall.a");
    call_from_c(ArtifactKind::SharedLibrary, "libsmall.so");
}

#[test]
fn an_object_refers_to_nothing_outside_and_its_bytes_repeat() {
    let (_first, one) = write(ArtifactKind::Object, "small.o", WeightsChoice::Embed);
    let (_second, other) = write(ArtifactKind::Object, "small.o", WeightsChoice::Embed);
    assert_eq!(fs::read(&one).expect("readable"), fs::read(&other).expect("readable"));
    let exported = run(Command::new("nm").args(["--defined-only", "--extern-only", "--format=just-symbols"]).arg(&one));
    insta::assert_snapshot!(exported, @"
    small_arena_bytes
    small_model
    small_output_shapes
    small_predict
    ");
}

/// No libcall for anything that a level lacks, and the same results but for fused multiply-adds, of which there are none here.
#[test]
fn every_cpu_level_stands_alone() {
    let pool = ThreadPool::new(1);
    for (name, level) in CpuLevel::NAMES {
        let Ok(target) = CpuTarget::host(level) else { continue };
        let (program, parameters) = small();
        let facts = ModelFacts { name: "small".into(), ..ModelFacts::default() };
        let compiled = Compiled::from_program(program, parameters, target.clone(), facts).expect("compiles");
        let directory = tempfile::tempdir().expect("a place for files");
        let out = directory.path().join("small.o");
        compiled.write(ArtifactKind::Object, WeightsChoice::Embed, &out, &pool).expect("written");
        assert_eq!(run(Command::new("nm").arg("--undefined-only").arg(&out)), "", "{name}");
        if target.runs_here() {
            let outputs = compiled.predictor(&pool).expect("compiles").run(&[small_input(2)], &pool).expect("runs");
            assert_eq!(outputs[1].floats(), [35.5, 53.5], "{name}");
        }
    }
}

#[test]
fn objects_for_another_architecture_are_written_here() {
    let (program, parameters) = small();
    let target = CpuTarget::of_triple("aarch64-unknown-linux-gnu".parse().expect("a triple"));
    let facts = ModelFacts { name: "small".into(), ..ModelFacts::default() };
    let compiled = Compiled::from_program(program, parameters, target, facts).expect("compiles");
    let directory = tempfile::tempdir().expect("a place for files");
    let out = directory.path().join("small.o");
    compiled.write(ArtifactKind::Object, WeightsChoice::Embed, &out, &ThreadPool::new(1)).expect("written");
    let bytes = fs::read(&out).expect("readable");
    assert_eq!((&bytes[..4], bytes[18]), (&b"\x7fELF"[..], 183), "an ELF object for AArch64");
    let refused = compiled.predictor(&ThreadPool::new(1));
    assert_eq!(refused.err().map(|error| error.code).as_deref(), cfg!(target_arch = "x86_64").then_some("cpu_host"));
}

#[test]
fn a_program_runs_by_itself() {
    for choice in [WeightsChoice::Embed, WeightsChoice::External] {
        let (directory, out) = write(ArtifactKind::Executable, "small", choice);
        let x = kiln_runtime::arrays::Array::from_bytes(DType::F32, vec![2, 3], small_input(2).bytes()).expect("small");
        let (input, output) = (directory.path().join("in.npz"), directory.path().join("out.npz"));
        kiln_runtime::npz::write_npz(&input, [("x", &x)]).expect("written");
        run(Command::new(&out).arg("--inputs").arg(&input).arg("--output").arg(&output).args(["--threads", "2"]));
        let s = kiln_runtime::npz::Npz::open(&output).expect("readable").read("s").expect("readable").expect("there");
        assert_eq!(s.bytes(), [35.5f32, 53.5].map(f32::to_le_bytes).concat());
        let libraries = run(Command::new("ldd").arg(&out));
        assert!(!libraries.contains("libgcc") && !libraries.contains("libstdc++"), "{libraries}");
    }
}
