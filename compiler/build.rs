//! Builds the runtime that compiled programs carry, so that the `kiln` binary works alone.
//!
//! runtime/ → static library (profile `artifact`) → one relocatable object without debug information or unreachable
//! functions → `$OUT_DIR/kiln_runtime.o`, which `src/runtime_object.rs` includes.
//! The inner cargo has a target directory of its own, hence never waits for the lock that the outer one holds.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What makes the runtime's bytes; everything else in ir-spec is left out of it by a feature.
const SOURCES: [&str; 10] = [
    "Cargo.lock",
    "Cargo.toml",
    "runtime/Cargo.toml",
    "runtime/src",
    "ir-spec/Cargo.toml",
    "ir-spec/src/artifact",
    "ir-spec/src/diagnostic.rs",
    "ir-spec/src/dtype.rs",
    "ir-spec/src/initialiser.rs",
    "ir-spec/src/random.rs",
];

/// The functions that programs' `main` call: what they do not reach is dropped, and when a program is linked, what its own does not.
const ENTRIES: [&str; 9] = [
    "kiln_runtime_main",
    "kiln_listener_main",
    "kiln_text_main",
    "kiln_tokenizer_main",
    "kiln_writer_main",
    "kiln_tokenizer_writer_main",
    "kiln_trainer_main",
    "kiln_tokenizer_trainer_main",
    "kiln_listener_trainer_main",
];

/// The standard library's objects hold their bitcode too, which nobody reads and which confuses `nm`.
const WITHOUT_BITCODE: &str = "SECTIONS { /DISCARD/ : { *(.llvmbc) *(.llvmcmd) } } INSERT AFTER .comment;\n";

fn main() {
    let workspace = variable("CARGO_MANIFEST_DIR").join("..");
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    let out = variable("OUT_DIR");
    let library = build_library(&workspace, &out.join("runtime-target"));
    combine(&library, &out.join("kiln_runtime.o"));
}

/// Compiles runtime/ to a static library.
fn build_library(workspace: &Path, target_dir: &Path) -> PathBuf {
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.current_dir(workspace);
    cargo.args(["rustc", "--package", "kiln-runtime", "--lib", "--crate-type", "staticlib", "--profile", "artifact", "--target", &target]);
    // Both, as a shared build directory would have a lock as well.
    cargo.arg("--target-dir").arg(target_dir).env("CARGO_BUILD_BUILD_DIR", target_dir);
    // Settings of the outer build that must not change these bytes, nor run clippy on them.
    for name in ["RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_INCREMENTAL"] {
        cargo.env_remove(name);
    }
    // Panic messages name source files: without the home directory of whoever built the tool.
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let remap = home.map_or(String::new(), |home| format!("--remap-path-prefix={}=", home.join("registry/src").display()));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", remap);
    run(&mut cargo);
    target_dir.join(target).join("artifact").join("libkiln_runtime.a")
}

/// Links what [`ENTRIES`] need into one object. Where the linker has no such mode, the whole library stands in for it.
fn combine(library: &Path, object: &Path) {
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        std::fs::copy(library, object).expect("the output directory is writable");
        return;
    }
    let script = object.with_extension("ld");
    std::fs::write(&script, WITHOUT_BITCODE).expect("the output directory is writable");
    let mut linker = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    linker.args(["-r", "-nostdlib", "-Wl,--gc-sections,--strip-debug,--discard-all"]);
    linker.args(ENTRIES.map(|entry| format!("-Wl,--undefined={entry}"))).arg(format!("-Wl,--entry={}", ENTRIES[0]));
    linker.arg("-T").arg(&script);
    linker.arg("-o").arg(object).arg(library);
    run(&mut linker);
}

fn run(command: &mut Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("building the runtime of compiled programs failed ({status}): {command:?}"),
        Err(error) => panic!("building the runtime of compiled programs failed: {error}: {command:?}"),
    }
}

fn variable(name: &str) -> PathBuf {
    PathBuf::from(env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}")))
}
