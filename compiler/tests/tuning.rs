//! `--tune`: what is measured is told, kept where the environment says, and asked for again by the next command.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const NET: &str = "
input = [{ name = 'x', shape = [3, 9, 11] }]
layer = [
    { type = 'conv2d', filters = 8, kernel = 3, activation = 'relu' },
    { type = 'flatten' },
    { type = 'dense', units = 10 },
]
";

fn kiln(place: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.current_dir(place).args(arguments).env("XDG_CACHE_HOME", place.join("caches"));
    command.output().expect("kiln starts")
}

/// Benches the network; gives what was told beside the answer.
fn tuned(place: &Path) -> String {
    let ran = kiln(place, &["bench", "net.toml", "--tune", "--threads", "1", "--seconds", "0.01"]);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success() && String::from_utf8_lossy(&ran.stdout).starts_with("median "), "{told}");
    told
}

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("net.toml"), NET).expect("writes");
    place
}

#[test]
fn what_was_measured_is_not_measured_again() {
    let place = place();
    let told = tuned(place.path());
    assert!(told.starts_with("tuned: ") && told.contains(" choices are made otherwise, kernels take "), "{told}");
    assert_eq!(tuned(place.path()), "tuned before: nothing is left to measure\n");
    let kept = place.path().join("caches/kiln/tuned.json");
    let text = fs::read_to_string(&kept).expect("it is kept");
    assert!(text.contains("1 threads") && text.contains("Convolution "), "{text}");
    fs::write(&kept, &text[..text.len() / 2]).expect("writes");
    assert!(tuned(place.path()).starts_with("tuned: "), "half a file is none");
}

#[test]
fn without_a_place_to_keep_it_all_is_measured_every_time() {
    let place = place();
    fs::write(place.path().join("caches"), "no directory").expect("writes");
    assert!(tuned(place.path()).starts_with("tuned: "));
    assert!(tuned(place.path()).starts_with("tuned: "));
}

#[test]
fn a_tuned_program_computes_the_same() {
    let place = place();
    let compiled = kiln(place.path(), &["compile", "net.toml", "-o", "net", "--tune=20"]);
    assert!(compiled.status.success() && place.path().join("net").is_file(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let checked = kiln(place.path(), &["check", "net.toml", "--tune"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn nothing_is_tuned_where_nothing_runs() {
    let place = place();
    for arguments in [&["explain", "net.toml", "--tune"][..], &["compile", "net.toml", "-o", "-", "--emit", "ptx", "--tune"]] {
        let ran = kiln(place.path(), arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&ran.stderr).contains("--tune measures"), "{arguments:?}");
    }
    let ran = kiln(place.path(), &["bench", "net.toml", "--tune=-1"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("a number above 0"), "{}", String::from_utf8_lossy(&ran.stderr));
}
